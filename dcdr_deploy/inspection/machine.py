"""What this machine has and which backends work on it: the report behind ``dcdr-deploy doctor``."""

from __future__ import annotations

import platform
from typing import Any

from dcdr_deploy._version import __version__
from dcdr_deploy.engines import registry
from dcdr_deploy.engines.tensorrt import trt_api
from dcdr_deploy.system import hardware, packages

_PACKAGES = (
    "numpy",
    "opencv-python-headless",
    "OpenEXR",
    "pillow",
    "pillow-heif",
    "imagecodecs",
    "av",
    "click",
    "tqdm",
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
