"""From an ONNX file to an engine with its sidecar: reuse, build in a child process, compare, rename."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dcdr_deploy._version import __version__
from dcdr_deploy.building.request import (
    BuildRequest,
    expected_facts,
    installed_builders,
    output_path,
    present_sm,
    resolve,
)
from dcdr_deploy.building.settings import BuildSettings
from dcdr_deploy.building.worker import settings_to_data
from dcdr_deploy.engines.compare import BUILT
from dcdr_deploy.engines.cuda.compiler import source_hash
from dcdr_deploy.engines.tensorrt import trt_api
from dcdr_deploy.engines.tensorrt.plugin_forms import FORMS
from dcdr_deploy.errors import EngineError, MissingDependency, ModelError
from dcdr_deploy.modelfile.metadata import encode
from dcdr_deploy.modelfile.names import DCRB, DOMAIN
from dcdr_deploy.modelfile.onnx_file import OnnxModel, read_model
from dcdr_deploy.modelfile.sidecar import Sidecar, atomic_pair, mark_verified, read_sidecar, write
from dcdr_deploy.system import packages
from dcdr_deploy.system.child import Worker, run_job
from dcdr_deploy.system.children import module_command
from dcdr_deploy.system.files import file_sha256
from dcdr_deploy.system.progress import Event, Listener, silent

WORKER = Worker(module_command("dcdr_deploy.building.worker"), "build process")


@dataclass(frozen=True)
class BuildReport:
    """What was built.

    Attributes:
        engine: the file.
        source: the ONNX file.
        sidecar: what stands beside the engine.
        reused: the engine was there already, from the same inputs and versions.
        seconds: the build took; 0 for an engine that was reused.
        layer_types: layers of the network as the package parsed it, counts by type; empty if reused.
        layer_precisions: the same, by type and then by the data type of their first output.
    """

    engine: Path
    source: Path
    sidecar: Sidecar
    reused: bool
    seconds: float = 0.0
    layer_types: dict[str, int] = field(default_factory=dict)
    layer_precisions: dict[str, dict[str, int]] = field(default_factory=dict)


def build_engine(
    source: Path,
    output: Path | None = None,
    request: BuildRequest | None = None,
    listener: Listener = silent,
    folder: Path | None = None,
) -> BuildReport:
    """Build an engine from an exported ONNX file.

    Args:
        source: the ONNX file.
        output: engine file or folder to write to; by default ``model.<precision>.<sm>.engine`` in ``folder``.
        request: package, GPUs, shapes.
        listener: told of stages, of the builder's phases, which nest and repeat, and of notes.
        folder: where the engine goes unless ``output`` says otherwise; by default beside the ONNX file.

    Returns:
        The report. An intact engine of the same file, settings and versions is reused.

    Raises:
        MissingDependency: a package is not installed; the message holds the line that installs it.
        ModelError: the model is missing, damaged, not ours, or does not fit the request.
        EngineError: no GPU to build for, the build failed or crashed, or its results are wrong; nothing was written.
        OutputError: the engine cannot be written.
    """
    request = request or BuildRequest()
    model = read_model(source)
    present = present_sm()
    settings, builder = resolve(request, model, installed_builders(), present)
    if not packages.installed("onnx"):
        install = trt_api.get_package(builder.name).install
        raise MissingDependency(f"building engines needs the package onnx, which is not installed: {install}")
    target = output_path(output, source, source.parent if folder is None else folder, settings)
    facts = _facts(source, model, settings, builder.version)
    existing = _reusable(target, facts)
    if existing is not None:
        return BuildReport(target, source, existing, reused=True)
    if settings.timing_cache is not None and builder.sms:
        unused = f"{builder.name} measures nothing while it builds; the timing cache stays unused"
        listener(Event(note=unused))
    started = time.perf_counter()
    with atomic_pair(target) as temporary:
        build_request = {
            "onnx": str(source),
            "engine": str(temporary),
            "target": str(target),
            "settings": settings_to_data(settings),
        }
        built = run_job(WORKER, "build", build_request, listener)
        plugin = {name: built[name] for name in ("plugin_version", "plugin_layers")}
        kernel_hash = _kernel_hash(built["plugin_version"])
        sidecar = Sidecar(engine_sha256=file_sha256(temporary), kernel_hash=kernel_hash, **plugin, **facts)
        write(temporary, sidecar)
        if present in settings.sms:
            sidecar = _verify(source, temporary, sidecar, listener)
    seconds = time.perf_counter() - started
    return BuildReport(target, source, sidecar, False, seconds, built["layer_types"], built["layer_precisions"])


def _facts(source: Path, model: OnnxModel, settings: BuildSettings, version: str) -> dict[str, Any]:
    """Return the sidecar's entries that are known before the build; an engine with the same ones need not be built."""
    try:
        onnx_sha256 = file_sha256(source)
    except OSError as error:
        raise ModelError(f"model {source} cannot be read: {error.strerror or error}") from None
    metadata = replace(model.metadata, extra={**model.metadata.extra, "precision": settings.precision})
    return {
        **expected_facts(settings, version),
        "onnx_sha256": onnx_sha256,
        "metadata": encode(metadata),
        "plugin": f"{DOMAIN}::{DCRB}" if settings.plugin else None,
        "tool_version": __version__,
    }


def _reusable(target: Path, facts: Mapping[str, Any]) -> Sidecar | None:
    """Return the sidecar of an intact engine that the same build would give again, ``None`` if there is none."""
    try:
        existing = read_sidecar(target)
    except ModelError:  # none there, or not as it was written: it is built again
        return None
    same = all(getattr(existing, name) == value for name, value in facts.items())
    known = existing.plugin_version is None or existing.plugin_version in FORMS
    return existing if same and known and existing.kernel_hash == _kernel_hash(existing.plugin_version) else None


def _kernel_hash(plugin_version: str | None) -> str | None:
    return None if plugin_version is None else source_hash(FORMS[plugin_version].source)


def _verify(source: Path, engine: Path, sidecar: Sidecar, listener: Listener) -> Sidecar:
    """Compare the engine's results with ONNX Runtime's, on the GPU that is here.

    Raises:
        EngineError: they differ too much, or are not finite.
    """
    request = {"onnx": str(source), "engine": str(engine)}
    result = run_job(WORKER, "gate", request, listener)
    if not result["passed"]:
        needed = BUILT[sidecar.precision].min_psnr
        figure = f"PSNR {result['figures']['psnr']:.1f} dB, {needed:.0f} needed"
        found = figure if result["finite"] else "NaN or infinity"
        raise EngineError(
            f"{source}: the engine's results are not ONNX Runtime's ({found}), so it was not kept; try "
            f"{'`plugin` none' if sidecar.plugin else 'another package'}"
            f"{' or leave out `fp16`' if sidecar.precision == 'fp16' else ''}"
        )
    return mark_verified(engine, sidecar, result["figures"])
