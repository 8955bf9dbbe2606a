"""Whether a checkpoint is there at all: asked before torch is loaded, which takes seconds."""

from __future__ import annotations

from pathlib import Path

from dcdr_deploy.errors import CheckpointError
from dcdr_deploy.modelfile.names import CHECKPOINT_SUFFIXES


def require_checkpoint(path: Path) -> None:
    """Refuse what cannot be a checkpoint's file.

    Raises:
        CheckpointError: a folder, no file, or an empty one.
    """
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder: name the checkpoint file in it ({', '.join(CHECKPOINT_SUFFIXES)})")
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint; check the path")
    if path.stat().st_size == 0:
        raise CheckpointError(f"{path} is empty: copy or download it again")
