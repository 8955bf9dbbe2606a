"""Checkpoint to ONNX: operators, functions, FP16, verification; needs torch and onnx (extra ``export``)."""

from __future__ import annotations

from dcdr_deploy.errors import MissingDependency
from dcdr_deploy.system.packages import install_line, installed

EXPORT_PACKAGES = ("torch", "torchvision", "onnx", "onnxscript", "safetensors")


def require_export_packages(*names: str) -> None:
    """Say in one line what has to be installed, before an import fails somewhere.

    Args:
        names: packages that are needed; all of the extra ``export`` by default.

    Raises:
        MissingDependency: one is missing.
    """
    missing = [name for name in names or EXPORT_PACKAGES if not installed(name)]
    if missing:
        raise MissingDependency(f"this needs {', '.join(missing)}: {install_line('export')}")
