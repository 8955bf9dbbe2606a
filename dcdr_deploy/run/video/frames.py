"""Which frames of a source are written, and at which stamps: the part asked for, what was lost, what repeats."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.engines.passes import Samples
from dcdr_deploy.errors import InputError
from dcdr_deploy.run.video.decoding import LostFrame
from dcdr_deploy.run.video.options import REPEAT, SKIP, VideoOptions
from dcdr_deploy.run.video.source import (
    AnyFrame,
    FrameIdentity,
    OtherFrame,
    SourceFrame,
    VideoSource,
    device_samples_of,
    rgb_of,
)

_RESTARTED = 1
"""Seconds; stamps that do not rise by less are a writer's slips, by more those of another recording (FFmpeg's rule)."""

_LEAPT = 12 * 3600
"""Seconds; half of what a transport stream's clock can count, which a damaged stamp makes of a little."""

_APART = Fraction(1, 1000)
"""Seconds after the picture before to which one is moved whose stamp does not rise: Matroska's tick."""


@dataclass(frozen=True)
class Picture:
    """A frame to be written.

    Attributes:
        number: from 0, over what this run does.
        stamp: when it is shown, in ticks of the source.
        duration: for how long, in ticks; 0 if not known.
        rgb: what the network takes, (H, W, 3) uint16; ``None`` where it is the same as the picture before.
        seen: the frame of the source that was decoded last; ``None`` if none was.
        lost: stamps since the picture before of frames that could not be decoded, ``None`` where that is not known.
        mended: its stamp did not come after that of the picture before and was moved.
    """

    number: int
    stamp: int
    duration: int
    rgb: NDArray[np.uint16] | None
    seen: FrameIdentity | None
    lost: tuple[int | None, ...] = ()
    mended: bool = False


@dataclass(frozen=True)
class ResumePoint:
    """How far a video is written.

    Attributes:
        frames: so many of them are.
        stamp: of the last one; ``None`` before the first.
        seen: the frame of the source that was decoded last; ``None`` before the first.
    """

    frames: int = 0
    stamp: int | None = None
    seen: FrameIdentity | None = None


BEGINNING = ResumePoint()


class Selection:
    """Gives the pictures of a source one after the other; from one thread at a time, unless a method says otherwise.

    Attributes:
        ended: no further picture comes.
        complete: that is so because the source ended, and not because no more was wanted.
        trailing: stamps of frames after the last picture that could not be decoded; as of :class:`Picture`.
    """

    def __init__(
        self,
        source: VideoSource,
        options: VideoOptions,
        reached: ResumePoint = BEGINNING,
        frames: int | None = None,
        whole_every: int = 0,
    ) -> None:
        """Set up.

        Args:
            source: of the frames.
            options: which part, and what becomes of frames that cannot be decoded.
            reached: what is written already, and is not given again.
            frames: most that are given; ``None`` for as many as the options want.
            whole_every: pictures whose number is a multiple of it are given even where they repeat the one before, so
                that a run may begin there; 0 for none.
        """
        self.ended = self.complete = False
        self.trailing: tuple[int | None, ...] = ()
        self._source = source
        self._options = options
        self._last = reached.stamp
        self._whole_every = whole_every
        wanted = None if options.frames is None else options.frames - reached.frames
        self._room = min((most for most in (wanted, frames) if most is not None), default=None)
        begin = None if options.start is None else _stamp_at(source, options.start)
        self._end = None if options.end is None else _stamp_at(source, options.end)
        self._frames: Iterator[AnyFrame] = source.frames(begin, reached.seen)
        self._before: SourceFrame | None = None
        self._number = 0

    def next(self) -> Picture | None:
        """Return the next picture, ``None`` after the last one.

        Raises:
            InputError: a frame cannot be decoded and that is to end the run; one is HDR, interlaced or of another size;
                or the clock begins anew.
        """
        found = self.look()
        return None if found is None else self.whole(*found)

    def whole(self, picture: Picture, frame: SourceFrame | None) -> Picture:
        """Return a picture of :meth:`look` with its pixels; from any thread."""
        return picture if frame is None else replace(picture, rgb=rgb_of(frame, self._source.info))

    def samples(self, frame: SourceFrame) -> Samples:
        """Return a frame as a device takes it; from any thread."""
        return device_samples_of(frame, self._source.info)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the pictures in pixels."""
        return self._source.info.shown_size

    def look(self) -> tuple[Picture, SourceFrame | None] | None:
        """Return the next picture without its pixels, and the frame that they come from; ``None`` after the last one.

        The frame is ``None`` where the picture is the same as the one before.

        Raises:
            InputError: as :meth:`next`.
        """
        lost: list[int | None] = []
        damaged: LostFrame | None = None  # and whether anything comes after it is not known yet
        while not self.ended:
            frame = next(self._frames, None) if self._room is None or self._number < self._room else None
            if frame is None:
                self.ended = True
                self.complete = self._room is None or self._number < self._room
            elif frame.stamp is not None and self._end is not None and frame.stamp >= self._end:
                self.ended = True
                self._refuse(damaged)
            elif isinstance(frame, OtherFrame):
                self._refuse(damaged)
                raise InputError(frame.reason)
            elif isinstance(frame, SourceFrame):
                self._refuse(damaged)
                return self._picture(frame, frame.stamp, frame.duration, tuple(lost))
            elif self._last is None or frame.stamp is None or frame.stamp > self._last:
                lost.append(frame.stamp)
                if self._options.on_error not in (SKIP, REPEAT) and not frame.headless:
                    damaged = damaged or frame
                repeated = self._source.last if self._options.on_error == REPEAT else None
                if repeated is not None and frame.stamp is not None:
                    return self._picture(repeated, frame.stamp, repeated.duration, tuple(lost))
        self.trailing += tuple(lost)
        return None

    def _refuse(self, damaged: LostFrame | None) -> None:
        """Refuse a frame that cannot be decoded, now that the file does not break off there."""
        if damaged is not None:
            where = "somewhere" if damaged.stamp is None else f"at {self._source.info.seconds_of(damaged.stamp):.3f} s"
            raise InputError(
                f"{self._source.info.path}: the frame {where} cannot be decoded; `on_error` skip leaves such frames "
                "out, repeat shows the one before instead"
            )

    def _refuse_jump(self, before: int, stamp: int) -> None:
        """Refuse a clock that begins anew, or leaps by more than any picture is shown."""
        info = self._source.info
        ahead = (stamp - before) * info.time_base
        if not -_RESTARTED < ahead < _LEAPT:
            raise InputError(
                f"{info.path}: its clock jumps {'ahead' if ahead > 0 else 'back'} by {abs(float(ahead)):.3f} s after "
                f"{info.seconds_of(before):.3f} s; set that right first, for example by ffmpeg -i "
                f"{shlex.quote(str(info.path))} -map 0 -c copy whole.mkv"
            )

    def _picture(
        self, frame: SourceFrame, stamp: int, duration: int, lost: tuple[int | None, ...]
    ) -> tuple[Picture, SourceFrame | None]:
        mended = self._last is not None and stamp <= self._last
        if self._last is not None:
            self._refuse_jump(self._last, stamp)
            if mended:
                stamp = self._last + math.ceil(_APART / self._source.info.time_base)
        begins = self._whole_every > 0 and self._number % self._whole_every == 0
        same = not begins and self._before is not None and _are_equal(self._before, frame)
        picture = Picture(self._number, stamp, duration, None, FrameIdentity(frame.stamp, frame.checksum), lost, mended)
        self._number += 1
        self._last, self._before = stamp, frame
        return picture, None if same else frame


def _stamp_at(source: VideoSource, seconds: Fraction) -> int:
    return source.info.begin + -int(-seconds // source.info.time_base)  # the first tick at that time or later


def _are_equal(before: SourceFrame, after: SourceFrame) -> bool:
    if before is after:
        return True
    if before.reading is not after.reading:
        return False
    return before.checksum == after.checksum and all(map(np.array_equal, before.planes, after.planes))
