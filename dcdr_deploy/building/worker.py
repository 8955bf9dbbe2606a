"""The child process that builds: ``python -m dcdr_deploy.building.worker``.

Parsers and builders are native code that can abort the process they run in, so they run in one of their own.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dcdr_deploy.building.settings import BuildSettings
from dcdr_deploy.export.loading import load_onnx
from dcdr_deploy.modelfile.sidecar import sidecar_path
from dcdr_deploy.system import worker
from dcdr_deploy.system.file_faults import unwritable
from dcdr_deploy.system.progress import Event, Listener


def build(request: Mapping[str, Any], listener: Listener) -> dict[str, Any]:
    """Build an engine file.

    Args:
        request: ``"onnx"`` and ``"engine"`` (paths), ``"settings"`` (see :func:`settings_to_data`).
        listener: told of stages and of the builder's phases.

    Returns:
        ``"plugin_version"`` (``None`` without the plugin), ``"plugin_layers"``, ``"layer_types"`` and
        ``"layer_precisions"``, see ``network.BuiltEngine``.

    Raises:
        DcdrError: the model does not fit, a package is missing, the build failed, or the file cannot be written.
    """
    from dcdr_deploy.building.network import build_serialized
    from dcdr_deploy.building.prepare import plugin_version, prepare

    settings = settings_from_data(request["settings"])
    path, engine = Path(request["onnx"]), Path(request["engine"])
    listener(Event("preparing the graph"))
    prepared = prepare(load_onnx(path), settings, str(path))
    cubins = {}
    version = plugin_version(prepared)
    if version is not None:
        from dcdr_deploy.engines.cuda.compiler import compile_cubin
        from dcdr_deploy.engines.tensorrt.plugin_forms import FORMS

        for sm in settings.sms:
            listener(Event(f"compiling the kernel for SM{sm}"))
            cubins[sm] = compile_cubin(FORMS[version].source, sm)
    listener(Event(f"building with {settings.package}"))

    def log(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    built = build_serialized(prepared.SerializeToString(), settings, cubins, listener, log)
    try:
        engine.write_bytes(built.engine)
    except OSError as error:
        raise unwritable(request["target"], error) from None
    return {
        "plugin_version": version,
        "plugin_layers": built.plugin_layers,
        "layer_types": built.layer_types,
        "layer_precisions": built.layer_precisions,
    }


def gate(request: Mapping[str, Any], listener: Listener) -> dict[str, Any]:
    """Compare the engine at ``"engine"`` with its model at ``"onnx"`` in ONNX Runtime.

    Returns:
        ``"passed"``, ``"finite"`` and ``"figures"`` for the sidecar, see ``gate.GateResult``.
    """
    from dcdr_deploy.engines.tensorrt.engine import open_engine
    from dcdr_deploy.run.gate import run_gate

    listener(Event("comparing with ONNX Runtime"))
    with open_engine(Path(request["engine"])) as engine:
        result = run_gate(engine, Path(request["onnx"]))
    return {"passed": result.passed, "finite": result.finite, "figures": result.figures()}


JOBS: worker.Jobs = {"build": build, "gate": gate}


def settings_to_data(settings: BuildSettings) -> dict[str, Any]:
    """Return settings as plain data for a line of JSON."""
    data = dict(vars(settings))
    cache = data.pop("timing_cache")
    return {**data, "timing_cache": None if cache is None else str(cache)}


def settings_from_data(data: Mapping[str, Any]) -> BuildSettings:
    """Return the settings that :func:`settings_to_data` gave."""
    tile, cache = data["tile"], data["timing_cache"]
    return BuildSettings(
        **{
            **data,
            "sms": tuple(data["sms"]),
            "tile": None if tile is None else (tile[0], tile[1]),
            "timing_cache": None if cache is None else Path(cache),
        }
    )


def _unfinished(request: Mapping[str, Any]) -> list[Path]:
    """Return the temporary files of a job: the engine and its sidecar, before the parent gives them their names."""
    if "engine" not in request:
        return []
    engine = Path(request["engine"])
    return [engine, sidecar_path(engine)]


def main() -> None:
    """Do one job, see :func:`dcdr_deploy.system.worker.main`."""
    worker.main(JOBS, _unfinished)


if __name__ == "__main__":
    main()
