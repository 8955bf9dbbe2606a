"""What this machine has and which backends work on it: the report behind ``dcdr-deploy doctor``."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from typing import Any

from dcdr_deploy._version import __version__
from dcdr_deploy.engines import hardware, packages, registry, trt_api

_PACKAGES = (
    "numpy",
    "opencv-python-headless",
    "OpenEXR",
    "pillow",
    "click",
    "rich",
    "onnxruntime-gpu",
    "onnxruntime",
    "openvino",
    *(name for package in trt_api.PACKAGES.values() for name in package.distributions),
    "cuda-bindings",
    "nvidia-cuda-nvrtc",
    "nvidia-cuda-runtime",
    "torch",
    "torchvision",
    "onnx",
    "onnxscript",
    "safetensors",
    "av",
)


def report(*, deep: bool = False) -> dict[str, Any]:
    """Collect versions, devices and the state of every backend.

    Args:
        deep: load the packages that take seconds (torch) instead of reading their version only.

    Returns:
        Plain data for ``--json``: ``"dcdr-deploy"`` and ``"python"`` (versions), ``"system"``, ``"packages"`` (version,
        or ``None`` if not installed), ``"cpu"``, ``"memory"`` (bytes), ``"gpus"`` and ``"backends"``, each by name.
    """
    return {
        "dcdr-deploy": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "packages": {name: packages.version(name) for name in _PACKAGES},
        "cpu": {"name": hardware.cpu_name(), "threads": hardware.cpu_threads()},
        "memory": {"total": hardware.total_memory(), "available": hardware.available_memory()},
        "gpus": [
            {
                "index": gpu.index,
                "name": gpu.name,
                "memory_total": gpu.memory_total,
                "memory_free": gpu.memory_free,
                "driver": gpu.driver,
                "compute_capability": gpu.compute_capability,
            }
            for gpu in hardware.nvidia_gpus()
        ],
        "backends": {
            name: {
                "ok": state.ok,
                "reason": state.reason,
                "versions": state.versions,
                "devices": list(state.devices),
                "install": state.install,
                "role": registry.BACKENDS[name].role,
                "suffixes": list(registry.BACKENDS[name].suffixes),
            }
            for name, state in registry.availabilities(deep=deep).items()
        },
    }


def format_report(data: Mapping[str, Any]) -> str:
    """Return a report of :func:`report` as plain text, without a newline at the end."""
    return "\n".join(_lines(data))


def _lines(data: Mapping[str, Any]) -> Iterator[str]:
    yield f"dcdr-deploy {data['dcdr-deploy']}, Python {data['python']}, {data['system']}"
    yield f"CPU: {data['cpu']['name']}, {data['cpu']['threads']} threads"
    yield f"Memory: {_gib(data['memory']['available'])} free of {_gib(data['memory']['total'])}"
    if not data["gpus"]:
        yield "GPU: no NVIDIA GPU found (nvidia-smi)"
    for gpu in data["gpus"]:
        memory = f"{_gib(gpu['memory_free'])} free of {_gib(gpu['memory_total'])}"
        yield f"GPU {gpu['index']}: {gpu['name']}, {memory}, sm {gpu['compute_capability']}, driver {gpu['driver']}"
    yield ""
    yield "Backends"
    for name, state in data["backends"].items():
        notes = [
            ", ".join(state["devices"]),
            " ".join(f"{n} {v}" for n, v in state["versions"].items()),
            state["reason"],
        ]
        yield f"  {name:<13} {'ok' if state['ok'] else 'no':<3} {state['role']}"
        yield from (f"  {'':<13}     {note}" for note in notes if note)
        if state["install"]:
            yield f"  {'':<13}     install: {state['install']}"
    yield ""
    yield "Packages"
    for name, version in data["packages"].items():
        yield f"  {name:<23} {version or '-'}"


def _gib(size: int | None) -> str:
    return "unknown" if size is None else f"{size / 2**30:.1f} GiB"
