"""What a folder run has finished: a line of JSON for each output, appended as soon as the output is whole.

A killed run loses nothing but the file it was at; a line cut short by a crash is ignored and dropped by the next run.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from stat import S_ISREG
from typing import Any

from dcdr_deploy._version import __version__
from dcdr_deploy.engines.base import EngineInfo
from dcdr_deploy.errors import OutputError
from dcdr_deploy.system.file_faults import unwritable
from dcdr_deploy.system.files import atomic_path, file_sha256, make_folder, open_to_append, vanished

MANIFEST_NAME = ".dcdr-manifest.jsonl"


@dataclass(frozen=True)
class ManifestEntry:
    """One finished output.

    Attributes:
        output: relative to the output folder, with slashes.
        input: where the input was, for people; what counts is its content.
        sha256: of the input's content: another picture of the same name, size and time is another picture.
        settings: :func:`settings_key` of the run.
        size: bytes of the output as it was written.
        preview_size: bytes of the preview beside it; 0 where none was written.
        gain_map_size: bytes of its gain map; 0 where none was written.
    """

    output: str
    input: str
    sha256: str
    settings: str
    size: int
    preview_size: int
    gain_map_size: int = 0


@dataclass(frozen=True)
class PlannedOutput:
    """What a run is to make of an input; attributes as of :class:`ManifestEntry`.

    Attributes:
        output: relative to the output folder, with slashes.
        input: the input file.
        sha256: of the input's content.
        settings: :func:`settings_key` of the run.
        preview: whether a preview is wanted.
    """

    output: str
    input: str
    sha256: str
    settings: str
    preview: bool

    def done(self, path: Path, preview: Path | None, gain_map: Path | None) -> ManifestEntry:
        """The entry once the files are there.

        Raises:
            OSError: one of them is not.
        """
        sizes = (0 if each is None else each.stat().st_size for each in (path, preview, gain_map))
        return ManifestEntry(self.output, self.input, self.sha256, self.settings, *sizes)


def describe(output: str, source: Path, settings: str, preview: bool) -> PlannedOutput:
    """Describe the present state of an input; reads it as a whole.

    Raises:
        OSError: the input is gone or cannot be read.
    """
    return PlannedOutput(output, str(source.absolute()), file_sha256(source), settings, preview)


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


def size_of_file(path: Path) -> int | None:
    """Return a file's bytes, ``None`` where no regular file is."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size if S_ISREG(found.st_mode) else None


class Manifest:
    """The finished outputs of a folder; safe to use from several threads.

    Raises:
        OutputError: the file cannot be read or written.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / MANIFEST_NAME
        self._lock = threading.Lock()
        self._entries = self._load()

    def knows(self, output: str) -> bool:
        """Tell whether anything is recorded of an output."""
        return output in self._entries

    def knows_cut(self, output: str, path: Path) -> bool:
        """Tell whether an output lies there with fewer bytes than were written, such as the rest of a copy."""
        known, size = self._entries.get(output), size_of_file(path)
        return known is not None and size is not None and size < known.size

    def holds(
        self,
        wanted: PlannedOutput,
        path: Path,
        preview: Path,
        gain_map: Path | None,
        size_of: Callable[[Path], int | None] = size_of_file,
    ) -> bool:
        """Tell whether an output was made from this content with these settings and lies there as it was written.

        So do its preview and its gain map, where they are wanted; one more than that does no harm.

        Args:
            wanted: the output.
            path, preview: where they lie.
            gain_map: likewise; ``None`` where none is wanted.
            size_of: gives a file's bytes, ``None`` where there is none.
        """
        known = self._entries.get(wanted.output)
        if known is None or (known.sha256, known.settings) != (wanted.sha256, wanted.settings):
            return False
        if wanted.preview and not (known.preview_size and size_of(preview) == known.preview_size):
            return False
        if gain_map is not None and not (known.gain_map_size and size_of(gain_map) == known.gain_map_size):
            return False
        return size_of(path) == known.size

    def replaces(self, wanted: PlannedOutput) -> str:
        """Where the picture was that an output was made of, if it was another one that is still there; else empty."""
        known = self._entries.get(wanted.output)
        if known is None or known.input == wanted.input or known.sha256 == wanted.sha256:
            return ""
        with suppress(OSError, ValueError):
            return known.input if Path(known.input).is_file() else ""
        return ""

    def begin(self) -> None:
        """Make folder and file. By the file the folder is known again until the run ends.

        Raises:
            OutputError: they cannot be made.
        """
        make_folder(self._path.parent)
        self._append("", make=True)

    def require_folder(self) -> None:
        """Refuse to go on in a folder that is not the one of :meth:`begin`.

        Raises:
            OutputError: it was deleted, moved or unmounted.
        """
        if not os.path.lexists(self._path):
            raise vanished(self._path.parent)

    def add(self, entry: ManifestEntry) -> None:
        """Record a finished output, in the file too.

        Raises:
            OutputError: the file cannot be written, or is gone.
        """
        with self._lock:
            self._entries[entry.output] = entry
            self._append(_line(entry))

    def _append(self, line: str, *, make: bool = False) -> None:
        try:
            with open_to_append(self._path, make=make) as stream:
                stream.write(line)
        except FileNotFoundError as error:
            raise vanished(self._path.parent) from error
        except OSError as error:
            raise unwritable(self._path, error) from error

    def _load(self) -> dict[str, ManifestEntry]:
        try:
            lines = self._path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise OutputError(f"{self._path}: cannot be read: {error.strerror or error}; delete it") from error
        found = [entry for entry in map(_parse, lines) if entry is not None]
        entries = {entry.output: entry for entry in found}  # the last line on an output counts
        if not entries and lines:
            self._path.unlink(missing_ok=True)
        elif len(entries) < len(lines):
            with atomic_path(self._path) as temporary:
                temporary.write_text("".join(map(_line, entries.values())), encoding="utf-8")
        return entries


def _line(entry: ManifestEntry) -> str:
    return json.dumps(asdict(entry)) + "\n"


def _parse(line: str) -> ManifestEntry | None:
    if not line.endswith("\n"):
        return None  # cut short
    try:
        entry = ManifestEntry(**json.loads(line))
    except (ValueError, TypeError, RecursionError):  # no JSON, or other keys: cut short, or of another version
        return None
    texts = (entry.output, entry.input, entry.sha256, entry.settings)
    numbers = (entry.size, entry.preview_size, entry.gain_map_size)
    fits = all(isinstance(text, str) for text in texts) and all(type(number) is int for number in numbers)
    return entry if fits else None
