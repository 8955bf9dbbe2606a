"""What a folder run has finished: a line of JSON for each output, appended as soon as the output is whole.

A killed run loses nothing but the file it was at; a line cut short by a crash is ignored and dropped by the next run.
"""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dcdr_deploy._version import __version__
from dcdr_deploy.engines.base import EngineInfo
from dcdr_deploy.errors import OutputError
from dcdr_deploy.system.files import atomic_path, file_sha256

MANIFEST_NAME = ".dcdr-manifest.jsonl"


@dataclass(frozen=True)
class Entry:
    """One finished output.

    Attributes:
        output: relative to the output folder, with slashes.
        input: name of the input file.
        size: bytes of the input.
        mtime_ns: its time of modification in nanoseconds.
        settings: :func:`settings_key` of the run.
        preview: whether a preview was written beside it.
    """

    output: str
    input: str
    size: int
    mtime_ns: int
    settings: str
    preview: bool


def make_entry(output: str, source: Path, settings: str, preview: bool) -> Entry:
    """Describe the present state of an input.

    Raises:
        OSError: the input is gone.
    """
    state = source.stat()
    return Entry(output, source.name, state.st_size, state.st_mtime_ns, settings, preview)


def settings_key(info: EngineInfo, **settings: Any) -> str:
    """Return a digest of all that decides an output's numbers beside the input: version, model, precision, settings.

    Backend, device, threads and batch are left out: they agree within rounding, and a folder begun on one machine may
    be finished on another.

    Args:
        info: the engine; its model file is read as a whole.
        settings: plain data.
    """
    model = file_sha256(info.model) if info.model is not None else json.dumps(asdict(info.metadata), sort_keys=True)
    content = {"version": __version__, "model": model, "precision": info.precision, **settings}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


class Manifest:
    """The finished outputs of a folder; safe to use from several threads.

    Raises:
        OutputError: the file cannot be read or written.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / MANIFEST_NAME
        self._lock = threading.Lock()
        self._entries = self._load()

    def holds(self, entry: Entry) -> bool:
        """Tell whether an output was made from this input with these settings; a preview more does no harm."""
        known = self._entries.get(entry.output)
        return known is not None and known == Entry(
            entry.output, entry.input, entry.size, entry.mtime_ns, entry.settings, entry.preview or known.preview
        )

    def add(self, entry: Entry) -> None:
        """Record a finished output, in the file too.

        Raises:
            OutputError: the file cannot be written.
        """
        with self._lock:
            self._entries[entry.output] = entry
            try:
                with self._path.open("a", encoding="utf-8") as stream:
                    stream.write(_line(entry))
            except OSError as error:
                raise OutputError(f"{self._path}: cannot be written: {error.strerror or error}") from error

    def _load(self) -> dict[str, Entry]:
        try:
            lines = self._path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise OutputError(f"{self._path}: cannot be read: {error.strerror or error}; delete it") from error
        found = [entry for entry in map(_parse, lines) if entry is not None]
        entries = {entry.output: entry for entry in found}  # the last line on an output counts
        if len(entries) < len(lines):
            with atomic_path(self._path) as temporary:
                temporary.write_text("".join(map(_line, entries.values())), encoding="utf-8")
        return entries


def _line(entry: Entry) -> str:
    return json.dumps(asdict(entry)) + "\n"


def _parse(line: str) -> Entry | None:
    if not line.endswith("\n"):
        return None  # cut short
    try:
        return Entry(**json.loads(line))
    except (ValueError, TypeError):  # no JSON, or other keys: damaged, or of another version
        return None
