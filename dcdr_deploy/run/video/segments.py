"""What a video run has encoded so far: closed segments beside the target, from which a killed run goes on.

A folder ``<target>.parts`` holds for each segment its packets, one after the other, and once it is whole an index in
JSON, which is written last. A segment begins with a key frame and needs no other one. What is not whole is encoded
again, so that a run that was interrupted gives the same bytes as one that was not.

Several processes may write segments into a folder, even the same one: each writes packets into a file of its own, and
the index says in which they lie and by which settings they were made.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from dcdr_deploy.errors import OutputError
from dcdr_deploy.run.video.frames import BEGINNING, ResumePoint
from dcdr_deploy.run.video.source import FrameIdentity
from dcdr_deploy.run.video.sums import Sums
from dcdr_deploy.system.file_faults import FULL, UnwritableError, is_of_files, reason_of
from dcdr_deploy.system.files import atomic_path, vanished
from dcdr_deploy.system.locks import IsLocked, locked
from dcdr_deploy.system.temporary import flush_to_disk, is_temporary

PARTS_SUFFIX = ".parts"

_LOCK_FILE, _INDEX, _PACKETS = "lock", ".json", ".packets"
_OWN = re.compile(rf"\d{{6,}}({re.escape(_INDEX)}|-[0-9a-f]{{8}}{re.escape(_PACKETS)})")


@dataclass(frozen=True)
class Segment:
    """A closed segment.

    Attributes:
        number: from 0.
        file: name of the file that holds the packets.
        after: how far the segments before it go.
        packets: stamp, bytes and whether it is a key frame, in the order of decoding.
        last_duration: of the picture shown last, in ticks.
        seen: the frame of the source that was decoded last; ``None`` if none was.
        sums: of its frames.
        ends: nothing comes after it.
    """

    number: int
    file: str
    after: ResumePoint
    packets: tuple[tuple[int, int, bool], ...]
    last_duration: int
    seen: FrameIdentity | None
    sums: Sums
    ends: bool

    def stamps(self) -> list[int]:
        """Return the stamps in the order shown."""
        return sorted(stamp for stamp, _, _ in self.packets)

    @property
    def reached(self) -> ResumePoint:
        """How far the video is written with it."""
        return ResumePoint(self.after.frames + self.sums.frames, self.stamps()[-1], self.seen)

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
        after = ResumePoint(**{**data["after"], "seen": _seen(data["after"]["seen"])})
        if Path(data["file"]).name != data["file"]:
            raise ValueError(data["file"])
        parts = {"after": after, "packets": packets, "seen": _seen(data["seen"]), "sums": Sums.from_json(data["sums"])}
        return cls(**{**data, **parts})


def _seen(data: dict[str, Any] | None) -> FrameIdentity | None:
    return None if data is None else FrameIdentity(**data)


class SegmentFile:
    """The packets of a segment that is being written."""

    def __init__(self, path: Path, number: int, after: ResumePoint = BEGINNING) -> None:
        self._path = path
        self._number = number
        self._after = after
        self._file: IO[bytes] = path.open("wb")
        self._packets: list[tuple[int, int, bool]] = []

    def add(self, stamp: int, data: bytes, *, is_key: bool) -> None:
        """Append a packet."""
        self._file.write(data)
        self._packets.append((stamp, len(data), is_key))

    def described(self, last_duration: int, seen: FrameIdentity | None, sums: Sums, *, ends: bool) -> Segment:
        """Return what was written; it can be read from now on."""
        self._file.flush()
        packets = tuple(self._packets)
        return Segment(self._number, self._path.name, self._after, packets, last_duration, seen, sums, ends)

    def close(self) -> None:
        """Close the file; it counts for nothing until its index is written."""
        self._file.close()


class Workplace:
    """The folder of a run; from :func:`opened`, or from :func:`shared` for those who help.

    Attributes:
        whole: segments that are, by number; there may be gaps, and what follows one may not fit what comes to fill it.
    """

    def __init__(self, folder: Path, key: str, whole: Iterable[Segment] = ()) -> None:
        self._folder = folder
        self._key = key
        self.whole = {segment.number: segment for segment in whole}

    @property
    def segments(self) -> list[Segment]:
        """Those from the beginning on without a gap, each begun where the one before ends."""
        found: list[Segment] = []
        reached = BEGINNING
        while (segment := self.whole.get(len(found))) is not None and segment.after == reached:
            found.append(segment)
            reached = segment.reached
            if segment.ends:
                break
        return found

    @property
    def reached(self) -> ResumePoint:
        """How far :attr:`segments` go."""
        segments = self.segments
        return segments[-1].reached if segments else BEGINNING

    @property
    def ends(self) -> bool:
        """Whether nothing comes after :attr:`segments`."""
        segments = self.segments
        return bool(segments) and segments[-1].ends

    def begin_segment(self, number: int, after: ResumePoint) -> SegmentFile:
        """Begin a segment.

        Args:
            number: from 0.
            after: how far the segments before it go.
        """
        return SegmentFile(self._folder / f"{number:06d}-{secrets.token_hex(4)}{_PACKETS}", number, after)

    def close_segment(self, file: SegmentFile, segment: Segment) -> None:
        """Make a segment count, once all of it is on the disk."""
        file.close()
        flush_to_disk(self._folder / segment.file)
        with atomic_path(self._folder / f"{segment.number:06d}{_INDEX}") as temporary:
            temporary.write_text(json.dumps({"key": self._key, "segment": segment.as_json()}), encoding="utf-8")
        self.add(segment)

    def add(self, segment: Segment) -> None:
        """Take a segment that is whole, by whomever; another one of its number goes."""
        before = self.whole.get(segment.number)
        self.whole[segment.number] = segment
        if before is not None and before.file != segment.file:
            (self._folder / before.file).unlink(missing_ok=True)

    def look_again(self) -> None:
        """Take what other processes have closed here and not yet told."""
        for index in sorted(self._folder.glob(f"*{_INDEX}")):
            segment = _read(index, self._key)
            if segment is not None and segment.number not in self.whole:
                self.add(segment)

    def packets(self, segment: Segment) -> Iterator[tuple[int, bytes, bool]]:
        """Yield stamp, bytes and whether it is a key frame of each packet."""
        with (self._folder / segment.file).open("rb") as file:
            for stamp, size, is_key in segment.packets:
                yield stamp, file.read(size), is_key

    def remove(self) -> None:
        """Remove the folder, unless it holds what no run has written: the target is whole."""
        with suppress(OSError):
            for path in _written_by_runs(self._folder):
                path.unlink(missing_ok=True)
            (self._folder / _LOCK_FILE).unlink(missing_ok=True)
            self._folder.rmdir()


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
        with _faults_told(target):
            folder.mkdir(parents=True, exist_ok=True)
            with locked(folder / _LOCK_FILE):
                place = Workplace(folder, key, _whole_segments(folder, key))
                try:
                    with _faults_told(target), _faults_themselves():  # the folder may be removed below
                        yield place
                finally:
                    place.look_again()
                    if not place.whole:  # nothing to go on from
                        place.remove()
    except IsLocked as error:
        raise OutputError(f"{target}: another run is at it; wait for its end, or name another file") from error


@contextmanager
def shared(target: Path, key: str) -> Iterator[Workplace]:
    """Give the folder of a target to another process than the one that has opened it.

    Args:
        target, key: as of :func:`opened`.

    Raises:
        OutputError: an OSError in the block; one line.
    """
    with _faults_told(target), _faults_themselves():
        yield Workplace(parts_of(target), key)


@contextmanager
def _faults_told(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if not is_of_files(error):
            raise
        parts = parts_of(target)
        if not parts.exists():
            raise vanished(parts) from error
        remedy = "free some space" if error.errno in FULL else "mend that"
        whole = f": it goes on from {parts}" if any(parts.glob(f"*{_INDEX}")) else ""
        raise OutputError(
            f"{target}: cannot be written: {reason_of(error)}; {remedy}, and run the same command again{whole}"
        ) from error


@contextmanager
def _faults_themselves() -> Iterator[None]:
    """Give back the OSError of a file that could not be written: whoever wrote it does not know what is kept."""
    try:
        yield
    except UnwritableError as error:
        raise (error.__cause__ if isinstance(error.__cause__, OSError) else error) from None


def parts_of(target: Path) -> Path:
    """Return the folder in which a target is put together."""
    return target.with_name(target.name + PARTS_SUFFIX)


def _whole_segments(folder: Path, key: str) -> list[Segment]:
    """Return what is whole and of a key; all else that runs wrote goes, such as what one that was killed had begun."""
    found = [segment for index in sorted(folder.glob(f"*{_INDEX}")) if (segment := _read(index, key)) is not None]
    kept = {*(segment.file for segment in found), *(f"{each.number:06d}{_INDEX}" for each in found)}
    for path in _written_by_runs(folder):
        if path.name not in kept:
            path.unlink(missing_ok=True)
    return found


def _written_by_runs(folder: Path) -> list[Path]:
    """Segments and their indices, whole or not; people may have files of their own in a folder of that name."""
    there = (path for path in folder.iterdir() if _OWN.fullmatch(path.name) or is_temporary(path.name))
    return [path for path in there if path.is_file()]


def _read(index: Path, key: str) -> Segment | None:
    with suppress(OSError, ValueError, TypeError, KeyError):
        data = json.loads(index.read_text(encoding="utf-8"))
        segment = Segment.from_json(data["segment"]) if data["key"] == key else None
        if segment is not None and index.name == f"{segment.number:06d}{_INDEX}":
            size = (index.parent / segment.file).stat().st_size
            return segment if size == sum(size for _, size, _ in segment.packets) else None
    return None
