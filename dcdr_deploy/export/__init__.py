"""Checkpoint to ONNX: operators, functions, FP16, verification; needs torch and onnx (extra ``export``)."""

from __future__ import annotations

from importlib.util import find_spec

from dcdr_deploy.errors import MissingDependency

EXPORT_PACKAGES = ("torch", "torchvision", "onnx", "onnxscript", "safetensors")


def require_export_packages() -> None:
    """Say in one line what has to be installed, before an import fails somewhere.

    Raises:
        MissingDependency: a package of the extra ``export`` is missing.
    """
    missing = [name for name in EXPORT_PACKAGES if find_spec(name) is None]
    if missing:
        raise MissingDependency(f"this needs {', '.join(missing)}: pip install 'dcdr-deploy[export]'")
