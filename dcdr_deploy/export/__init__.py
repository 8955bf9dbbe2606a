"""Checkpoint to ONNX: operators, functions, FP16, verification; needs torch and onnx (extra ``export``)."""

from __future__ import annotations

from dcdr_deploy.system.packages import require

EXPORT_PACKAGES = ("torch", "torchvision", "onnx", "onnxscript", "safetensors")


def require_export_packages(*names: str) -> None:
    """As :func:`dcdr_deploy.system.packages.require`, for ``names`` or all that the extra ``export`` installs."""
    require(names or EXPORT_PACKAGES, "export")
