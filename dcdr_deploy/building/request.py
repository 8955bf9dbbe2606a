"""From what a user asked for to settings: which package, which GPUs, which shapes, which file name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dcdr_deploy.building.settings import DEFAULT_TILE, BuildSettings
from dcdr_deploy.engines.tensorrt import trt_api
from dcdr_deploy.errors import EngineError, MissingDependency, ModelError, OutputError
from dcdr_deploy.modelfile.names import DCRB, DOMAIN, ENGINE_SUFFIX
from dcdr_deploy.modelfile.onnx_file import OnnxModel
from dcdr_deploy.system import hardware

CURRENT = "current"
"""In place of a compute capability: the GPU of this machine."""


@dataclass(frozen=True)
class BuildRequest:
    """What a user asked for; ``None`` leaves the choice to :func:`resolve`.

    Attributes:
        package: ``"tensorrt"`` or ``"tensorrt-rtx"``; ``None`` for the one that is installed and fits the GPU.
        sms: compute capabilities such as 86, or :data:`CURRENT`; empty for the GPU of this machine.
        fp16: convert an FP32 model; an FP16 model stays as it is anyway.
        plugin: the fused kernel takes the deformable blocks; ``None`` for a model that has them, and nothing else that
            the kernel would have to take.
        tile: (height, width); ``None`` for a static model's own size, else the default in the network's multiples.
        max_batch: most images in a call.
        dynamic: heights and widths up to the tile's longer edge instead of the tile only.
        workspace: GiB.
        timing_cache: see :class:`BuildSettings`.
    """

    package: str | None = None
    sms: tuple[int | str, ...] = ()
    fp16: bool = False
    plugin: bool | None = None
    tile: tuple[int, int] | None = None
    max_batch: int = 1
    dynamic: bool = False
    workspace: float | None = None
    timing_cache: Path | None = None


@dataclass(frozen=True)
class Builder:
    """A package as it is on this machine.

    Attributes:
        name: as in :data:`trt_api.PACKAGES`.
        version: empty if it cannot be used.
        sms: what it builds for by request; empty for one that builds for the GPU that is there only.
        problem: why it cannot be used; empty if it can.
    """

    name: str
    version: str
    sms: tuple[int, ...] = ()
    problem: str = ""

    def misfit(self, sms: Sequence[int], present: int | None) -> str:
        """Return why it cannot build for ``sms`` on a machine with the GPU ``present``; empty if it can."""
        if self.problem:
            return self.problem
        if self.sms:
            unknown = [sm for sm in sms if sm not in self.sms]
            return f"{self.name} builds for {_names(self.sms)}, not for {_names(unknown)}" if unknown else ""
        if list(sms) == [present]:
            return ""
        there = "which has none" if present is None else f"which is {_names([present])}"
        return f"{self.name} builds for the GPU of the machine it runs on, {there}"


def installed_builders() -> list[Builder]:
    """Return every package as it is here, best first. Imports those that are installed."""
    return [_builder(name) for name in trt_api.PACKAGES]


def _builder(name: str) -> Builder:
    version = trt_api.version(name)
    if version is None:
        return Builder(name, "", problem=f"{name} is not installed")
    try:
        api = trt_api.load_api(name)
    except (MissingDependency, EngineError) as error:
        return Builder(name, "", problem=str(error))
    # Newer versions of the full package carry the list of RTX too, and build for the GPU that is there all the same.
    sms = trt_api.builder_sms(api) if trt_api.get_package(name).targets_sms else ()
    return Builder(name, version, sms)


def present_sm() -> int | None:
    """Return the compute capability of this machine's first GPU, such as 86; ``None`` without one."""
    return next(iter(hardware.compute_capabilities()), None)


def resolve(
    request: BuildRequest, model: OnnxModel, builders: Sequence[Builder], present: int | None
) -> tuple[BuildSettings, Builder]:
    """Fill in what the request leaves open.

    Args:
        request: what was asked for.
        model: the ONNX file.
        builders: the packages, best first.
        present: compute capability of this machine's GPU, ``None`` without one.

    Returns:
        The settings, and the package that builds.

    Raises:
        MissingDependency: no package, or not the one named, is installed; with the lines that install them.
        EngineError: no GPU to build for, one that the package does not build for, or settings out of range.
        ModelError: the model was exported for other shapes.
    """
    usable = _usable(request.package, builders)
    sms = _target_sms(request.sms, present)
    builder = _choose(usable, sms, present)
    settings = BuildSettings(
        package=builder.name,
        sms=sms,
        fp16=request.fp16 or model.precision == "fp16",
        plugin=has_blocks(model) if request.plugin is None else request.plugin,
        tile=request.tile or model.fixed_size or default_tile(model.metadata.size_multiple),
        max_batch=request.max_batch,
        dynamic=request.dynamic,
        workspace=request.workspace,
        timing_cache=request.timing_cache,
    )
    _check_shapes(settings, model)
    return settings, builder


def default_tile(multiple: int) -> tuple[int, int]:
    """The tile where none was asked for, in multiples of what the network takes."""
    height, width = (-(-edge // multiple) * multiple for edge in DEFAULT_TILE)
    return height, width


def has_blocks(model: OnnxModel) -> bool:
    """Whether the plugin has something to take in a model, and can take all that is ours."""
    return {name for domain, name in model.operators if domain == DOMAIN} == {DCRB}


def _usable(wanted: str | None, builders: Sequence[Builder]) -> list[Builder]:
    """Return the packages to choose from: the one named, or all that work."""
    if wanted is not None:
        builders = [each for each in builders if each.name == trt_api.get_package(wanted).name]
    usable = [each for each in builders if not each.problem]
    if usable:
        return usable
    if wanted is not None and trt_api.get_package(wanted).install in builders[0].problem:
        raise MissingDependency(builders[0].problem)
    lines = " or ".join(trt_api.PACKAGES[each.name].install for each in builders)
    raise MissingDependency(f"{'; '.join(each.problem for each in builders)}; install: {lines}")


def _target_sms(wanted: Sequence[int | str], present: int | None) -> tuple[int, ...]:
    named = {sm for sm in wanted if isinstance(sm, int)}
    if not wanted or CURRENT in wanted:
        if present is None:
            raise EngineError(
                "this machine has no NVIDIA GPU to build for; name the GPUs with `sms`, such as `sms` 86,89 "
                "(75: RTX 20, 86: RTX 30, 89: RTX 40, 120: RTX 50)"
            )
        named.add(present)
    return tuple(sorted(named))


def _choose(usable: Sequence[Builder], sms: Sequence[int], present: int | None) -> Builder:
    misfits = {each.name: each.misfit(sms, present) for each in usable}
    for each in usable:
        if not misfits[each.name]:
            return each
    others = [trt_api.PACKAGES[name].install for name in trt_api.PACKAGES if name not in misfits]
    remedy = f"; the other package: {' or '.join(others)}" if others else ""
    raise EngineError("; ".join(misfits.values()) + remedy)


def _check_shapes(settings: BuildSettings, model: OnnxModel) -> None:
    fixed = model.fixed_size
    if fixed is not None and (settings.dynamic or settings.size != fixed):
        raise ModelError(
            f"{model.path} was exported for {fixed[0]}x{fixed[1]} only; leave out `tile` and `dynamic`, "
            "or export it again without --static"
        )
    multiple = model.metadata.size_multiple
    if any(edge % multiple for edge in settings.size):
        height, width = settings.size
        raise ModelError(
            f"{model.path} takes heights and widths that are multiples of {multiple}, not {height}x{width}"
        )
    if model.max_batch is not None and settings.max_batch > model.max_batch:
        raise ModelError(
            f"{model.path} was exported for {model.max_batch} image a call; leave out `max_batch`, "
            "or export it again without --static"
        )


def output_path(output: Path | None, source: Path, folder: Path, settings: BuildSettings) -> Path:
    """Return where the engine goes: ``model.<precision>.<sm>.engine`` unless the user named a file.

    Args:
        output: a file or folder that the user named, or ``None``.
        source: the ONNX file, which lends its name.
        folder: where the engine goes if nothing was named.
        settings: what is built.

    Raises:
        OutputError: a file name with another suffix, by which no backend would know it.
    """
    suffix = ENGINE_SUFFIX
    stem = source.stem.removesuffix(".fp16").removesuffix(".fp32")
    name = f"{stem}.{settings.precision}.sm{'-'.join(map(str, settings.sms))}{suffix}"
    if output is None:
        return folder / name
    if output.is_dir():
        return output / name
    if output.suffix.lower() != suffix:
        raise OutputError(f"{output}: an engine file needs the suffix {suffix}")
    return output


def expected_facts(settings: BuildSettings, version: str) -> Mapping[str, object]:
    """Return the sidecar's entries that follow from settings and the package's version."""
    profile = settings.profile()
    return {
        "package": settings.package,
        "package_version": version,
        "sms": settings.sms,
        "precision": settings.precision,
        "min_shape": profile.smallest,
        "opt_shape": profile.best,
        "max_shape": profile.largest,
        "workspace": settings.workspace,
    }


def _names(sms: Sequence[int]) -> str:
    return ", ".join(f"SM{sm}" for sm in sms)
