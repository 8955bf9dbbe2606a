"""A script for VapourSynth with vs-mlrt from a model file: what is known of it, checked, and what OpenVINO needs."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

from dcdr_deploy.errors import InputError, MissingDependency, ModelError
from dcdr_deploy.imaging.light import SDR_WHITE_NITS
from dcdr_deploy.modelfile.metadata import LARGEST_EDGE, ModelMetadata
from dcdr_deploy.modelfile.names import DOMAIN, ENGINE_SUFFIX, ONNX_SUFFIX
from dcdr_deploy.modelfile.onnx_file import read_model
from dcdr_deploy.modelfile.sidecar import read_sidecar
from dcdr_deploy.serving.vapoursynth_script import BACKENDS, Script, script_text
from dcdr_deploy.system.files import atomic_path
from dcdr_deploy.system.packages import install_line

ENGINE_PACKAGES = {"trt": "tensorrt", "trt_rtx": "tensorrt-rtx"}
"""What runs the engines of a backend."""

FIXED = "ov"
"""The backend whose models are of one size and of standard operators alone: OpenVINO's ONNX reader does not know
DeformConv, and cannot tell shapes behind functions inside a model."""


@dataclass(frozen=True)
class ScriptOptions:
    """How a script is to run a model.

    Attributes:
        backend: of vs-mlrt: ort, trt, trt_rtx or ov.
        tile: (height, width) in pixels of a tile; ``None`` for whole frames. What ov is made for.
        reference_white: cd/m2 of SDR white.
        source: the video where none is given to the script.

    Raises:
        InputError: a value out of range, or a name that is not known.
    """

    backend: str = "ort"
    tile: tuple[int, int] | None = None
    reference_white: float = SDR_WHITE_NITS
    source: str = "film.mkv"

    def __post_init__(self) -> None:
        if self.backend not in BACKENDS:
            raise InputError(f"unknown backend {self.backend!r}; choose one of {', '.join(BACKENDS)}")
        if not (math.isfinite(self.reference_white) and 48 <= self.reference_white <= 1000):
            raise InputError(f"`reference_white` must be 48 to 1000 cd/m2, not {self.reference_white:g}")
        if self.tile is not None and not all(1 <= edge <= LARGEST_EDGE for edge in self.tile):
            raise InputError(f"`tile` must be 1x1 to {LARGEST_EDGE}x{LARGEST_EDGE}, not {self.tile[0]}x{self.tile[1]}")


@dataclass(frozen=True)
class WrittenScript:
    """What was written.

    Attributes:
        script: the file for vspipe.
        model: what it loads.
        notes: what the user should know.
    """

    script: Path
    model: Path
    notes: tuple[str, ...]


def write_script(output: Path, model: Path, options: ScriptOptions) -> WrittenScript:
    """Write a script, and beside it the form of the model that OpenVINO takes.

    Args:
        output: the .vpy file.
        model: an .onnx file for ort and ov, an .engine file for trt and trt_rtx.
        options: how it is to run.

    Raises:
        ModelError: the file is no model of ours, or the backend cannot run it.
        InputError: an option does not fit the model, or the output is no .vpy.
        OutputError: it cannot be written.
        MissingDependency: onnx is not installed, which ov's form needs.
    """
    if output.suffix.lower() != ".vpy":
        raise InputError(f"{output}: VapourSynth's scripts are named .vpy")
    if options.backend in ENGINE_PACKAGES:
        metadata, tile = _of_engine(model, options)
    else:
        metadata, tile = _of_onnx(model, options)
    loaded, notes = model.absolute(), []
    if options.backend == FIXED:
        assert tile is not None  # _of_onnx asks for one
        loaded = output.with_name(f"{output.stem}.ov.onnx").absolute()
        _write_plain(model, loaded, (1, 3, *tile))
        notes.append(f"{loaded.name} is made for frames or tiles of {tile[0]}x{tile[1]} (HxW) alone")
    if metadata.sees_whole_picture and tile is not None:
        notes.append("this network sees the whole picture: tiles differ from each other")
    script = Script(
        options.backend,
        os.fspath(loaded),
        metadata.peak,
        metadata.size_multiple,
        _overlap(metadata, tile),
        tile,
        options.reference_white,
        options.source,
    )
    with atomic_path(output) as temporary:
        temporary.write_text(script_text(script), encoding="utf-8")
    return WrittenScript(output, loaded, tuple(notes))


def _of_onnx(path: Path, options: ScriptOptions) -> tuple[ModelMetadata, tuple[int, int] | None]:
    if path.suffix.lower() != ONNX_SUFFIX:
        raise ModelError(f"{path}: {options.backend} takes {ONNX_SUFFIX} files; `dcdr-deploy export` makes one")
    model = read_model(path)
    tile = _whole(options.tile, model.metadata)
    if model.fixed_size is not None:
        height, width = model.fixed_size
        if tile not in (None, (height, width)):
            raise InputError(f"{path} takes tiles of {height}x{width} (HxW) alone; leave `tile` out")
        return model.metadata, (height, width)
    if options.backend == FIXED and tile is None:
        raise InputError("ov runs models of one size; give the frame's, or a tile's, such as `tile` 1080x1920")
    return model.metadata, tile


def _of_engine(path: Path, options: ScriptOptions) -> tuple[ModelMetadata, tuple[int, int] | None]:
    package = ENGINE_PACKAGES[options.backend]
    build = f"build one with `dcdr-deploy build-engine --backend {package} --plugin none`"
    if path.suffix.lower() != ENGINE_SUFFIX:
        raise ModelError(f"{path}: {options.backend} takes engines; {build}")
    sidecar = read_sidecar(path)
    if sidecar.package != package:
        raise ModelError(
            f"{path} was built with {sidecar.package}, {options.backend} runs engines of {package}; {build}"
        )
    if sidecar.plugin is not None:
        raise ModelError(f"{path} holds the plugin {sidecar.plugin}, which vs-mlrt cannot load; {build}")
    metadata = sidecar.model_metadata(str(path))
    tile = _whole(options.tile, metadata)
    if tile is None:
        tile = sidecar.opt_shape[1], sidecar.opt_shape[2]
    for edge, least, most in zip(tile, sidecar.min_shape[1:], sidecar.max_shape[1:], strict=True):
        if not least <= edge <= most:
            raise InputError(
                f"{path} takes tiles with edges of {least} to {most} pixels, not `tile` {tile[0]}x{tile[1]}"
            )
    return metadata, tile


def _whole(tile: tuple[int, int] | None, metadata: ModelMetadata) -> tuple[int, int] | None:
    """Return a tile's size as the network takes it: the next multiples."""
    multiple = metadata.size_multiple
    return None if tile is None else (-(-tile[0] // multiple) * multiple, -(-tile[1] // multiple) * multiple)


def _overlap(metadata: ModelMetadata, tile: tuple[int, int] | None) -> int:
    """Return the context on each side of a tile, of which at least half of a small one stays."""
    return metadata.overlap if tile is None else min(metadata.overlap, min(tile) // 4)


def _write_plain(path: Path, target: Path, shape: tuple[int, int, int, int]) -> None:
    """Write a model in standard operators alone, of one size, with the shape of every tensor in it.

    Raises:
        MissingDependency: onnx is not installed.
        ModelError: the model does not take this size.
    """
    try:
        import onnx.inliner
        import onnx.shape_inference

        from dcdr_deploy.export.operators import function_bodies
    except ModuleNotFoundError as error:
        raise MissingDependency(
            f"the model for OpenVINO is made by the package onnx, which is not installed: {install_line('export')}"
        ) from error
    model = onnx.load(path)
    foreign = [function for function in model.functions if function.domain != DOMAIN]
    del model.functions[:]
    model.functions.extend([*foreign, *function_bodies("gridsample")])
    model = onnx.inliner.inline_local_functions(model)
    for value in (*model.graph.input, *model.graph.output):
        for dimension, size in zip(value.type.tensor_type.shape.dim, shape, strict=True):
            dimension.dim_value = size
    del model.graph.value_info[:]
    del model.metadata_props[:]  # `run` would take it for a model that lies in the working directory
    try:
        inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except onnx.shape_inference.InferenceError as error:
        raise ModelError(f"{path}: cannot be made for {shape[3]}x{shape[2]}: {str(error).splitlines()[0]}") from error
    with atomic_path(target) as temporary:
        onnx.save(inferred, temporary)
