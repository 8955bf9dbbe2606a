"""One video in, numbered HDR pictures out: ``shot.%06d.exr``.

A list beside them, ``.dcdr-frames.<name>.jsonl``, says which frame each is of, when it is shown, and by which settings
it was made. A picture counts once it has a line there; a run that was killed goes on after the last one.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.engines.base import EngineInfo
from dcdr_deploy.errors import OutputError
from dcdr_deploy.imaging.own import check_replaced
from dcdr_deploy.imaging.write import StoredLight, check_output, stored_light, write_image
from dcdr_deploy.imaging.writers.base import WriteOptions
from dcdr_deploy.run.described import cut_note, header
from dcdr_deploy.run.events import FileBegun, FileConverted
from dcdr_deploy.run.recovery import Recovery
from dcdr_deploy.run.runner import Runner
from dcdr_deploy.run.sequence import Sequence
from dcdr_deploy.run.video.frames import BEGINNING, Picture, ResumePoint, Selection
from dcdr_deploy.run.video.opening import open_video
from dcdr_deploy.run.video.prepared import Network, Prepared, VideoSettings
from dcdr_deploy.run.video.reports import VideoReport
from dcdr_deploy.run.video.source import FrameIdentity
from dcdr_deploy.run.video.sums import Sums
from dcdr_deploy.run.video.work import Work
from dcdr_deploy.system.file_faults import is_of_files, reason_of, remedy_for
from dcdr_deploy.system.files import atomic_path, open_to_append, vanished
from dcdr_deploy.system.locks import IsLocked, locked
from dcdr_deploy.system.progress import Listener, silent

FIRST = 1
"""Number of the first picture."""


@dataclass(frozen=True)
class _Line:
    """A picture that is whole: its frame's stamp, the size of its file, and what was counted of it."""

    stamp: int
    size: int
    seen: FrameIdentity | None
    sums: Sums

    def as_text(self) -> str:
        content = {**asdict(self), "sums": self.sums.as_json()}
        return json.dumps(content) + "\n"

    @classmethod
    def parse(cls, text: str) -> _Line:
        data = json.loads(text)
        seen = None if data["seen"] is None else FrameIdentity(**data["seen"])
        return cls(**{**data, "seen": seen, "sums": Sums.from_json(data["sums"])})


@dataclass(frozen=True)
class _Still:
    """A picture that was written, and the share of its pixels that are brighter than the file can hold."""

    path: Path
    cut: float


class StillSink:
    """Writes pictures of one sequence; a sink of work.py.

    Attributes:
        written: pictures on the list.
    """

    def __init__(
        self,
        pattern: Sequence,
        done: int,
        journal: IO[str],
        info: EngineInfo,
        settings: VideoSettings,
        write: WriteOptions,
    ) -> None:
        """Set up.

        Args:
            pattern: names of the files.
            done: pictures that are there already.
            journal: the list of those that are whole.
            info: of the engine that computes them.
            settings: what is made of the video.
            write: compression, depth, light.
        """
        peak = info.metadata.peak
        self.written = done
        self._pattern = pattern
        self._done = done
        self._journal = journal
        self._given: dict[str, Any] = {
            "peak": peak,
            "options": write,
            "largest": peak * 2**settings.dials.exposure,
        }
        self._metadata = header(info, settings.noted())

    @property
    def end(self) -> float:
        """Where the light of the files ends, in units of SDR white."""
        end, _ = self._held(self._pattern.path(FIRST), np.zeros((1, 1, 3), np.float32)).cut_off()
        return end

    def make(self, picture: Picture, linear: NDArray[np.float32]) -> _Still:
        """Write a picture.

        Raises:
            OutputError: it cannot be written, or the folder is gone.
        """
        self._require_folder()
        path = self._path(picture)
        write_image(path, linear, metadata=self._metadata, **self._given)
        _, cut = self._held(path, linear).cut_off()
        return _Still(path, cut)

    def write(self, picture: Picture, made: _Still, recovery: Recovery, *, repeated: bool) -> None:
        """Put a picture on the list; one that repeats another is a copy of its file."""
        path = self._path(picture)
        if repeated:
            with atomic_path(path) as temporary:
                shutil.copyfile(made.path, temporary)
        sums = Sums.of(picture, recovery, None, repeated=repeated, cut=made.cut)
        self._journal.write(_Line(picture.stamp, path.stat().st_size, picture.seen, sums).as_text())
        self._journal.flush()
        self.written += 1

    def finish(self) -> None:
        """Nothing is held back.

        Raises:
            OutputError: the folder is gone.
        """
        self._require_folder()

    def _require_folder(self) -> None:
        if not os.path.lexists(_journal_path(self._pattern)):
            raise vanished(self._pattern.folder)

    def _held(self, path: Path, linear: NDArray[np.float32]) -> StoredLight:
        return stored_light(path, linear, **self._given)

    def _path(self, picture: Picture) -> Path:
        return self._pattern.path(FIRST + self._done + picture.number)


class PreparedStills(Prepared):
    """A video whose frames may be written as pictures; made before a model is loaded, converted once.

    Attributes:
        output: the pattern of their names.
    """

    def __init__(self, source: Path, pattern: Sequence, settings: VideoSettings, write: WriteOptions) -> None:
        """Check source and target.

        Raises:
            InputError: as :class:`Prepared`, or a picture that this tool has not written would be replaced.
            OutputError: the pictures cannot be written.
            MissingDependency: PyAV, or what writes the format, is not installed.
        """
        first = pattern.path(FIRST)
        if first.suffix.lower() in (".jpg", ".jpeg"):
            raise OutputError(f"{pattern.text}: Ultra HDR is made of pictures, not of videos; write .avif or .exr")
        check_output(first, write)
        if os.path.isdir(pattern.folder):  # noqa: PTH112 - as in outputs.py
            for path in pattern.there().values():
                check_replaced(path)
        super().__init__(source, settings)
        if self.info.shown_sar != 1:
            self.notes.append(f"pictures do not say that their pixels are {self.info.shown_sar} as wide as high")
        self._pattern, self._write = pattern, write
        self.output = Path(pattern.text)

    def convert(self, runner: Runner, listener: Listener = silent) -> VideoReport:
        """Run the network over every frame and write the results.

        Raises:
            InputError: a frame cannot be decoded and that is to end the run, or nothing comes out.
            OutputError: a picture cannot be written, or another run is at them.
            EngineError: the model cannot be run.
        """
        started = time.perf_counter()
        listener(FileBegun(source=self.info.path))
        video, info = self.settings.video, runner.engine.info
        with ExitStack() as stack:
            head = {"key": self._key(runner), "time_base": str(self.info.time_base)}
            journal, before = stack.enter_context(_journal(self._pattern, head, self._kept))
            source = stack.enter_context(open_video(self.info.path, deinterlace=video.deinterlace))
            selection = Selection(source, video, _reached(before), whole_every=self.settings.run_frames)
            sink = StillSink(self._pattern, len(before), journal, info, self.settings, self._write)
            work = Work(selection, self.restoring(runner), sink, self.counting(listener, len(before)))
            work.run()
            lines = _lines(_journal_path(self._pattern), self._pattern)
            if len(lines) < sink.written:
                gone = self._pattern.path(FIRST + len(lines))
                raise OutputError(f"{gone}: is gone since it was written; run the same command again")
            if not lines:
                _journal_path(self._pattern).unlink()
                raise self.empty()
            self.note_end(source, selection, len(lines))
        height, width = self.info.shown_size
        sums = sum((line.sums for line in lines), Sums(lost=selection.trailing))
        self.notes += cut_note(sink.end, sums.cut, "up to {} of a frame's pixels")
        report = self.report(
            info,
            sums,
            time.perf_counter() - started,
            output=self.output,
            height=height,
            width=width,
            fresh=work.fresh,
            stages=work.seconds,
            codec=self._pattern.path(FIRST).suffix.lstrip(".").upper(),
            encoder="",
            transfer=self._write.light.transfer or "",
            max_cll=None,
            max_fall=None,
        )
        listener(FileConverted(report=report))
        return report

    def _kept(self, lines: list[_Line]) -> list[_Line]:
        """Return the lines of whole runs of steadied frames, or all if no frame comes after them."""
        every, video = self.settings.run_frames, self.settings.video
        if not every or len(lines) % every == 0:
            return lines
        with open_video(self.info.path, deinterlace=video.deinterlace) as source:
            after = Selection(source, video, _reached(lines)).look()
        return lines if after is None else lines[: len(lines) // every * every]

    def _key(self, runner: Runner) -> str:
        return self.key(Network.of(runner), write=asdict(self._write))


def _reached(lines: list[_Line]) -> ResumePoint:
    return ResumePoint(len(lines), lines[-1].stamp, lines[-1].seen) if lines else BEGINNING


def _journal_path(pattern: Sequence) -> Path:
    return pattern.folder / f".dcdr-frames.{pattern.before}{pattern.after}.jsonl"


@contextmanager
def _journal(
    pattern: Sequence, head: dict[str, str], kept: Callable[[list[_Line]], list[_Line]]
) -> Iterator[tuple[IO[str], list[_Line]]]:
    """Give the list of a sequence, to be added to, and what stands in it by the same settings; keep others out.

    Args:
        pattern: of the pictures' names.
        head: what the first line says: the settings' key, and seconds of a tick.
        kept: returns which of the lines a run goes on from; the others are taken off the list.

    Raises:
        OutputError: another run is at it, it cannot be written, or it is gone.
    """
    path = _journal_path(pattern)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _removed(path.with_suffix(".lock")), locked(path.with_suffix(".lock")):
            lines = kept(_lines(path, pattern) if _key_of(path) == head["key"] else [])
            with atomic_path(path) as temporary:
                temporary.write_text("".join([json.dumps(head) + "\n", *(line.as_text() for line in lines)]))
            with open_to_append(path) as stream:
                try:
                    yield stream, lines
                except (OSError, OutputError) as error:
                    if not os.path.lexists(path):
                        raise vanished(pattern.folder) from error
                    raise
    except IsLocked as error:
        raise OutputError(f"{pattern.text}: another run is at it; wait for its end, or name other files") from error
    except OSError as error:
        if not is_of_files(error):
            raise
        raise OutputError(f"{pattern.text}: cannot be written: {reason_of(error)}; {remedy_for(error)}") from error


@contextmanager
def _removed(lock: Path) -> Iterator[None]:
    """Remove a lock's file at the end, unless it is another run's."""
    try:
        yield
    except IsLocked:
        raise
    except BaseException:
        lock.unlink(missing_ok=True)
        raise
    lock.unlink(missing_ok=True)


def _key_of(path: Path) -> str:
    with suppress(OSError, ValueError, AttributeError), path.open(encoding="utf-8") as stream:
        return str(json.loads(stream.readline()).get("key", ""))
    return ""


def _lines(path: Path, pattern: Sequence) -> list[_Line]:
    """Return the lines up to the first that is broken or whose file is not there as it was written."""
    found: list[_Line] = []
    with suppress(OSError, ValueError, TypeError, KeyError), path.open(encoding="utf-8") as stream:
        next(stream, None)
        for text in stream:
            line = _Line.parse(text)
            if pattern.path(FIRST + len(found)).stat().st_size != line.size:
                break
            found.append(line)
    return found
