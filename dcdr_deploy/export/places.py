"""The files that an export takes and makes, looked at before torch is loaded, which takes seconds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dcdr_deploy.errors import InputError
from dcdr_deploy.imaging.formats import SUFFIXES
from dcdr_deploy.modelfile.checkpoint_file import require_checkpoint
from dcdr_deploy.modelfile.names import ONNX_SUFFIX
from dcdr_deploy.system.files import check_writable, files_in, refuse_overwriting


def default_output(checkpoint: Path, fp16: bool) -> Path:
    """``model.onnx`` beside ``model.pth``; ``model.fp16.onnx`` for FP16."""
    return checkpoint.with_suffix(f".fp16{ONNX_SUFFIX}" if fp16 else ONNX_SUFFIX)


def checked_output(
    checkpoint: Path, output: Path | None, fp16: bool, part: Sequence[Path] = (), calibration: Path | None = None
) -> Path:
    """Return the file to write. Refuse files that are not there, and an output that cannot be written.

    Args:
        checkpoint: to be read.
        output: to be written; ``None`` for :func:`default_output`.
        fp16: what is written is FP16.
        part: checkpoints of other parts.
        calibration: folder of pictures.

    Raises:
        CheckpointError: no such checkpoint.
        InputError: the output would replace one or is no .onnx, or the folder holds no pictures.
        OutputError: the output cannot be written.
    """
    require_checkpoint(checkpoint)
    output = output or default_output(checkpoint, fp16)
    if output.suffix != ONNX_SUFFIX:
        raise InputError(f"{output}: an exported model needs the suffix .onnx")
    for source in (checkpoint, *part):
        refuse_overwriting(output, source)
    for source in part:
        require_checkpoint(source)
    if calibration is not None:
        calibration_files(calibration)
    check_writable(output)
    return output


def calibration_files(folder: Path) -> list[Path]:
    """Pictures of a folder on which offsets are measured.

    Raises:
        InputError: there are none.
    """
    paths = files_in(folder, SUFFIXES) if folder.is_dir() else []
    if not paths:
        raise InputError(f"{folder} holds no pictures to measure offsets on")
    return paths
