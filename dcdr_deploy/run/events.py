"""What a run tells while it works. The library prints nothing; who wants to show progress passes a Listener."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dcdr_deploy.run.reports import Failure

if TYPE_CHECKING:
    from dcdr_deploy.engines.base import EngineInfo
    from dcdr_deploy.run.reports import FileReport
    from dcdr_deploy.run.selection import ModelChoice


class Listener:
    """Does nothing; override what is of interest. All methods are called on the thread that started the run."""

    def note(self, sentence: str) -> None:
        """Tell something that is no error but should not pass silently."""

    def model_chosen(self, choice: ModelChoice) -> None:
        """Tell which model is about to be loaded, and why."""

    def engine_ready(self, info: EngineInfo) -> None:
        """Tell what the model runs on."""

    def files_found(self, count: int, unchanged: Sequence[Path]) -> None:
        """Tell how many files are to be converted, and the outputs of a folder run that are up to date already."""

    def file_begun(self, source: Path) -> None:
        """Tell that it is a file's turn: its inference begins, or its failure to be read comes next."""

    def tiles_done(self, done: int, total: int) -> None:
        """Tell the progress of the file begun last; starts again at 0 when memory ran out and tiles got smaller."""

    def file_converted(self, report: FileReport) -> None:
        """Tell that a file's outputs are written."""

    def file_failed(self, failure: Failure) -> None:
        """Tell that a file of a folder run was given up."""


SILENT = Listener()
