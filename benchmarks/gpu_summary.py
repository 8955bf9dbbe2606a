"""What the steps of gpu_all.py have come to: kept as JSON beside their results, shown as a table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import text_tables
from text_files import write_text

from dcdr_deploy._version import __version__
from dcdr_deploy.errors import InputError
from dcdr_deploy.system import hardware

NAME = "summary.json"
DONE, FAILED, LATE, INTERRUPTED, LEFT_OUT = "done", "failed", "late", "interrupted", "left out"


@dataclass(frozen=True)
class Ending:
    """How a step ended.

    Attributes:
        how: :data:`DONE` or one of the others.
        why: in words, or empty.
        seconds: that it took.
        files: its log and results, as paths in the folder of all results.
        command: the command line.
        machine: GPUs and version of this package.
    """

    how: str
    why: str = ""
    seconds: float = 0.0
    files: tuple[str, ...] = ()
    command: str = ""
    machine: str = ""

    @property
    def words(self) -> str:
        """How and why."""
        return f"{self.how}, {self.why}" if self.why else self.how


def machine() -> str:
    """The GPUs of this machine as their driver names them, and this package's version."""
    gpus = [f"{gpu.name} (driver {gpu.driver})" for gpu in hardware.nvidia_gpus()]
    return f"{', '.join(gpus) or 'no NVIDIA GPU'}; dcdr-deploy {__version__}"


def read(folder: Path) -> dict[str, Ending]:
    """Endings by steps' names, as an earlier run left them; none where there was none.

    Raises:
        InputError: the file there is no summary.
    """
    path = folder / NAME
    if not path.is_file():
        return {}
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return {name: Ending(**{**fields, "files": tuple(fields["files"])}) for name, fields in kept.items()}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{path} is no summary of gpu_all.py; move it away or choose another folder") from error


def write(folder: Path, endings: Mapping[str, Ending]) -> None:
    """Keep endings by steps' names."""
    text = json.dumps({name: asdict(ending) for name, ending in endings.items()}, indent=1)
    write_text(folder / NAME, f"{text}\n")


def markdown(endings: Mapping[str, Ending]) -> str:
    """A table: step, seconds, how it ended, files."""
    rows = [["step", "s", "ended", "files"]]
    for name, each in endings.items():
        rows.append([name, f"{each.seconds:.0f}" if each.seconds else "", each.words, ", ".join(each.files)])
    return text_tables.markdown(rows)
