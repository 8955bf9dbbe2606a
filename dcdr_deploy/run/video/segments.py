"""What a video run has encoded so far: closed segments beside the target, from which a killed run goes on.

A folder ``<target>.parts`` holds for each segment its packets, one after the other, and once it is whole an index in
JSON, which is written last. A segment begins with a key frame and needs no other one. What is not whole is encoded
again, so that a run that was interrupted gives the same bytes as one that was not.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from dcdr_deploy.errors import OutputError
from dcdr_deploy.run.video.source import Seen
from dcdr_deploy.run.video.sums import Sums
from dcdr_deploy.system.files import atomic_path
from dcdr_deploy.system.locks import IsLocked, locked
from dcdr_deploy.system.temporary import flush_to_disk

PARTS_SUFFIX = ".parts"

_RUN_FILE, _LOCK_FILE = "run.json", "lock"


@dataclass(frozen=True)
class Segment:
    """A closed segment.

    Attributes:
        number: from 0.
        packets: stamp, bytes and whether it is a key frame, in the order of decoding.
        last_duration: of the picture shown last, in ticks.
        seen: the frame of the source that was decoded last; ``None`` if none was.
        sums: of its frames.
        ends: nothing comes after it.
    """

    number: int
    packets: tuple[tuple[int, int, bool], ...]
    last_duration: int
    seen: Seen | None
    sums: Sums
    ends: bool

    def stamps(self) -> list[int]:
        """Return the stamps in the order shown."""
        return sorted(stamp for stamp, _, _ in self.packets)

    def as_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {**asdict(self), "sums": self.sums.as_json()}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Segment:
        """Read what :meth:`as_json` gives.

        Raises:
            ValueError, TypeError, KeyError: it is something else.
        """
        packets = tuple((int(stamp), int(size), bool(key)) for stamp, size, key in data["packets"])
        seen = None if data["seen"] is None else Seen(**data["seen"])
        return cls(**{**data, "packets": packets, "seen": seen, "sums": Sums.from_json(data["sums"])})


class SegmentFile:
    """The packets of a segment that is being written."""

    def __init__(self, path: Path, number: int) -> None:
        self._path = path
        self._number = number
        self._file: IO[bytes] = path.open("wb")
        self._packets: list[tuple[int, int, bool]] = []

    def add(self, stamp: int, data: bytes, *, is_key: bool) -> None:
        """Append a packet."""
        self._file.write(data)
        self._packets.append((stamp, len(data), is_key))

    def described(self, last_duration: int, seen: Seen | None, sums: Sums, *, ends: bool) -> Segment:
        """Return what was written; it can be read from now on."""
        self._file.flush()
        return Segment(self._number, tuple(self._packets), last_duration, seen, sums, ends)

    def close(self) -> None:
        """Close the file; it counts for nothing until its index is written."""
        self._file.close()


class Workplace:
    """The folder of a run; from :func:`opened`.

    Attributes:
        segments: those that are whole.
    """

    def __init__(self, folder: Path, segments: list[Segment]) -> None:
        self._folder = folder
        self.segments = segments

    def begin_segment(self) -> SegmentFile:
        """Begin the segment after the last one that is whole."""
        number = len(self.segments)
        return SegmentFile(self._packets_of(number), number)

    def close_segment(self, file: SegmentFile, segment: Segment) -> None:
        """Make a segment count, once all of it is on the disk."""
        file.close()
        flush_to_disk(self._packets_of(segment.number))
        with atomic_path(self._index_of(segment.number)) as temporary:
            temporary.write_text(json.dumps(segment.as_json()), encoding="utf-8")
        self.segments.append(segment)

    def packets(self, segment: Segment) -> Iterator[tuple[int, bytes, bool]]:
        """Yield stamp, bytes and whether it is a key frame of each packet."""
        with self._packets_of(segment.number).open("rb") as file:
            for stamp, size, is_key in segment.packets:
                yield stamp, file.read(size), is_key

    def _packets_of(self, number: int) -> Path:
        return self._folder / f"{number:06d}.packets"

    def _index_of(self, number: int) -> Path:
        return self._folder / f"{number:06d}.json"

    def remove(self) -> None:
        """Remove the folder: the target is whole."""
        shutil.rmtree(self._folder, ignore_errors=True)


@contextmanager
def opened(target: Path, key: str) -> Iterator[Workplace]:
    """Open the folder of a target, and keep others out meanwhile.

    Args:
        target: the file that is being made.
        key: of all that decides about the packets: segments of another one are dropped.

    Raises:
        OutputError: another run is at the same target, or an OSError here or in the block; one line.
    """
    folder = parts_of(target)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / _LOCK_FILE):
            place = Workplace(folder, _whole_segments(folder, key))
            try:
                yield place
            finally:
                if not place.segments:  # nothing to go on from
                    place.remove()
    except IsLocked as error:
        raise OutputError(f"{target}: another run is at it; wait for its end, or name another file") from error
    except OSError as error:
        raise OutputError(
            f"{target}: cannot be written: {error.strerror or error}; free some space, or mend what is wrong, and run "
            f"the same command again: it goes on from {folder}"
        ) from error


def parts_of(target: Path) -> Path:
    """Return the folder in which a target is put together."""
    return target.with_name(target.name + PARTS_SUFFIX)


def _whole_segments(folder: Path, key: str) -> list[Segment]:
    run = folder / _RUN_FILE
    known = ""
    with suppress(OSError, ValueError, AttributeError):
        known = json.loads(run.read_text(encoding="utf-8")).get("key", "")
    if known != key:
        for path in folder.iterdir():
            if path.name != _LOCK_FILE and path.is_file():
                path.unlink()
        with atomic_path(run) as temporary:
            temporary.write_text(json.dumps({"key": key}), encoding="utf-8")
        return []
    found: list[Segment] = []
    with suppress(OSError, ValueError, TypeError, KeyError):  # the first that is not there, or not whole
        while not (found and found[-1].ends):
            index = folder / f"{len(found):06d}.json"
            segment = Segment.from_json(json.loads(index.read_text(encoding="utf-8")))
            size = index.with_suffix(".packets").stat().st_size
            if segment.number != len(found) or size != sum(size for _, size, _ in segment.packets):
                break
            found.append(segment)
    return found
