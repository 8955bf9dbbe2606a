"""What a run tells beside its progress, for a :data:`~dcdr_deploy.system.progress.Listener`.

An event that is none of these is the progress of the file begun last, in tiles, or a note.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dcdr_deploy.run.reports import Failure, FileReport
from dcdr_deploy.run.video.reports import VideoReport
from dcdr_deploy.system.progress import Event

if TYPE_CHECKING:
    from dcdr_deploy.engines.base import EngineInfo
    from dcdr_deploy.run.selection import ModelChoice


@dataclass(frozen=True, kw_only=True)
class ModelChosen(Event):
    """A model is about to be loaded, and why that one."""

    choice: ModelChoice


@dataclass(frozen=True, kw_only=True)
class EngineReady(Event):
    """The model is loaded, and this is what it runs on."""

    info: EngineInfo


@dataclass(frozen=True, kw_only=True)
class FilesFound(Event):
    """``total`` files are to be converted; these outputs of a folder run are up to date already."""

    unchanged: tuple[Path, ...] = ()


@dataclass(frozen=True, kw_only=True)
class FileBegun(Event):
    """It is a file's turn: its inference begins, or its failure to be read comes next."""

    source: Path


@dataclass(frozen=True, kw_only=True)
class FileConverted(Event):
    """A file's outputs are written."""

    report: FileReport | VideoReport


@dataclass(frozen=True, kw_only=True)
class FramesDone(Event):
    """So many frames of the video begun last are written, and so many a second since this run began."""

    fps: float


@dataclass(frozen=True, kw_only=True)
class FileFailed(Event):
    """A file of a folder run was given up."""

    failure: Failure
