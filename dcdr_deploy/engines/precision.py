"""Model files are of one precision; where another is asked for they are refused, with the way to the other file."""

from __future__ import annotations

from pathlib import Path

from dcdr_deploy.engines.base import EngineOptions
from dcdr_deploy.errors import EngineError
from dcdr_deploy.modelfile.onnx_file import OnnxModel


def require_precision(options: EngineOptions, given: str, source: Path, remedy: str) -> None:
    """Refuse a model file of another precision than the one asked for.

    Args:
        options: what was asked for.
        given: the file's precision, ``"fp32"`` or ``"fp16"``.
        source: the file; the message begins with it.
        remedy: how to get one of the other precision; the message ends with it.

    Raises:
        EngineError: another precision was asked for.
    """
    if options.precision not in ("auto", given):
        raise EngineError(f"{source} is {given}, not {options.precision} as asked for; {remedy}")


def require_precision_of_onnx(options: EngineOptions, model: OnnxModel) -> None:
    """Refuse an ONNX file where another precision is asked for: it is of one.

    Raises:
        EngineError: as :func:`require_precision`; the message says how to get the other file.
    """
    switch = "with" if options.precision == "fp16" else "without"
    remedy = f"export the checkpoint {switch} --fp16, or leave the precision to the file"
    require_precision(options, model.precision, model.path, remedy)
