"""What a folder run left behind."""

from __future__ import annotations

from pathlib import Path

from dcdr_deploy.run.manifest import MANIFEST_NAME
from dcdr_deploy.run.reports import FolderReport


def files_below(folder: Path) -> set[str]:
    """All files but the manifest."""
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and path.name != MANIFEST_NAME
    }


def converted(report: FolderReport) -> set[str]:
    return {file.source.name for file in report.files}
