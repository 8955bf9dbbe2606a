"""SDR videos as they come: what a file says of itself, and its frames one after the other with their time stamps."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.engines.passes import Samples
from dcdr_deploy.errors import InputError
from dcdr_deploy.imaging.colour import by_encoding
from dcdr_deploy.run.video.decoding import LostFrame, cut_exactly, decoded
from dcdr_deploy.run.video.deinterlacing import Deinterlacer
from dcdr_deploy.run.video.orientation import Orientation
from dcdr_deploy.run.video.package import exact, load, open_source
from dcdr_deploy.run.video.passes import samples_of
from dcdr_deploy.run.video.planes import checksum, planes_of
from dcdr_deploy.run.video.reading import Reading, Readings, left_out_of
from dcdr_deploy.run.video.window import Window
from dcdr_deploy.run.video.yuv import Plane, rgb_codes, to_rgb
from dcdr_deploy.system.words import number_of


@dataclass(frozen=True)
class VideoInfo:
    """What is known of a video before it is decoded.

    Attributes:
        path: the file.
        codec: FFmpeg's name.
        width, height: pixels as stored.
        orientation: how a player turns the picture.
        sar: width of a pixel over its height, as stored.
        rate: frames a second, on average.
        time_base: seconds of a tick of the stamps.
        begin: stamp of the first frame that can be decoded; what the file says where there is none.
        frames: how many there should be; ``None`` if the file does not say.
        seconds: how long it should be; ``None`` if the file does not say.
        tolerance: seconds by which it may be shorter all the same.
        colours: what the samples of the first frame stand for, in words.
        interlaced: whether the file says so.
        origin: seconds that are taken off all stamps: the clock's start in broadcasts, else 0; no later than the first
            frame.
        notes: sentences about what was taken for want of better, and what is left out.
        window: rows and columns that the container wants shown; ``None`` for all.
    """

    path: Path
    codec: str
    width: int
    height: int
    orientation: Orientation
    sar: Fraction
    rate: Fraction
    time_base: Fraction
    begin: int
    frames: int | None
    seconds: Fraction | None
    tolerance: Fraction
    colours: str
    interlaced: bool
    origin: Fraction
    notes: tuple[str, ...] = ()
    window: Window | None = None

    @property
    def shown_size(self) -> tuple[int, int]:
        """(height, width) in pixels of the window after the rotation."""
        rows, columns = self.window or (slice(0, self.height), slice(0, self.width))
        size = rows.stop - rows.start, columns.stop - columns.start
        return size if not self.orientation.sideways else size[::-1]

    @property
    def shown_sar(self) -> Fraction:
        """Width of a pixel over its height after the rotation."""
        return 1 / self.sar if self.orientation.sideways else self.sar

    def seconds_of(self, stamp: int) -> float:
        """Return the time of a stamp from the first frame on."""
        return float((stamp - self.begin) * self.time_base)


@dataclass(frozen=True)
class SourceFrame:
    """A decoded frame.

    Attributes:
        stamp: when it is shown, in ticks.
        duration: for how long, in ticks; 0 if not known.
        planes: copies of FFmpeg's.
        checksum: of the planes.
        reading: how they are read.
    """

    stamp: int
    duration: int
    planes: tuple[Plane, ...] = field(repr=False)
    checksum: int
    reading: Reading


@dataclass(frozen=True)
class OtherFrame:
    """A frame that is not read, such as one of another size.

    Attributes:
        stamp: when it is shown, in ticks.
        reason: why, for people.
    """

    stamp: int
    reason: str


@dataclass(frozen=True)
class FrameIdentity:
    """A frame by which an earlier run is found again: its stamp and its checksum."""

    stamp: int
    checksum: int


_STAMPED_HERE_AND_THERE = ("mpeg",)
"""FFmpeg's names of formats that are entered at their beginning only: stamps between those stated depend on where."""

AnyFrame = SourceFrame | LostFrame | OtherFrame


class VideoSource:
    """An open video; from :func:`dcdr_deploy.run.video.opening.open_video`.

    Attributes:
        info: what is known of it.
        last: the frame that was decoded last; ``None`` before the first.
    """

    def __init__(
        self, container: Any, stream: Any, info: VideoInfo, readings: Readings, *, deinterlace: bool, stamps: str
    ) -> None:
        self._container = container
        self._stream = stream
        self._readings = readings
        self._stamps = stamps
        self._deinterlace = deinterlace
        self._enters = container.format.name not in _STAMPED_HERE_AND_THERE
        self._left_out: dict[str, None] = {}
        self.info = info
        self.last: SourceFrame | None = None

    def frames(self, begin: int | None = None, seen: FrameIdentity | None = None) -> Iterator[AnyFrame]:
        """Yield frames in the order shown; a later call begins anew.

        Args:
            begin: only those shown at this stamp or later.
            seen: only those after this one, which an earlier run saw. The file is entered at a key frame before it, and
                read from its beginning if another picture comes out there, or after :meth:`read_through`.
        """
        if seen is not None:
            frames = self._from(seen.stamp)
            if not any(_is_there(frame, seen) for frame in itertools.takewhile(_not_after(seen.stamp), frames)):
                frames = self._from(None)
                for _ in itertools.takewhile(lambda frame: not _is_there(frame, seen), frames):
                    pass
            yield from frames
            return
        frames = self._entered(begin) if begin is not None else self._from(None)
        yield from (frame for frame in frames if begin is None or frame.stamp is None or frame.stamp >= begin)

    def _entered(self, stamp: int) -> Iterator[AnyFrame]:
        """Return frames from one at a stamp or before it on; what comes first there is whole.

        Behind some key frames lie pictures that are shown before them and refer to earlier ones; transport streams have
        no index, and may be entered too late, or behind their end.
        """
        frames = self._from(stamp)
        lost: list[AnyFrame] = []
        first = next(frames, None)
        while isinstance(first, LostFrame):
            lost.append(first)
            first = next(frames, None)
        if first is None or not _not_after(stamp)(first):
            return self._from(None)
        return itertools.chain(lost, [first], frames)

    def read_through(self) -> None:
        """Have the file read from its beginning from now on: entered at a key frame, it gave other frames."""
        self._enters = False

    def _from(self, stamp: int | None) -> Iterator[AnyFrame]:
        """Return the frames from a key frame before a stamp on, ``None`` for the file's beginning."""
        av = load()
        number = self._stream.index
        self._container.close()
        self._container = open_source(self.info.path)
        self._stream = cut_exactly(self._container.streams[number])
        self.last = None
        if self._enters and stamp is not None and stamp > self.info.begin:
            try:
                self._container.seek(stamp, stream=self._stream, backward=True)
            except av.error.FFmpegError:  # no index, or none that reaches so far
                return self._from(None)
        return self._decode()

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def _decode(self) -> Iterator[AnyFrame]:
        deinterlacer = Deinterlacer(self.info.time_base) if self._deinterlace else None
        fields = self.info.interlaced  # two may be two packets
        lost: list[LostFrame] = []  # behind the frame that is held back
        for frame in decoded(self._container, self._stream, stamps=self._stamps, one_each=not fields):
            if isinstance(frame, LostFrame):
                if deinterlacer is not None and deinterlacer.holds:
                    lost.append(frame)
                else:
                    yield frame
            elif deinterlacer is None:
                yield self._taken(frame)
            else:
                yield from map(self._taken, deinterlacer.frames(frame))
                yield from lost
                lost = []
        if deinterlacer is not None:
            yield from map(self._taken, deinterlacer.frames(None))
        yield from lost

    def _taken(self, frame: Any) -> SourceFrame | OtherFrame:
        info, tick = self.info, self.info.time_base
        own, before = exact(frame.time_base) or tick, self.last
        if frame.pts is None:  # of files without stamps: one after the other
            stamp = info.begin if before is None else before.stamp + max(before.duration, 1)
        else:
            stamp = round(frame.pts * own / tick)
        try:
            if (frame.width, frame.height) != (info.width, info.height):
                raise InputError(
                    f"its picture becomes {frame.width}x{frame.height} and was {info.width}x{info.height}; cut it "
                    "there first, or `end` before"
                )
            if frame.interlaced_frame and not self._deinterlace:
                raise InputError("it is interlaced; `deinterlace` makes whole frames of it")
            reading = self._readings.of(frame)
            planes = planes_of(frame, reading.format)
        except InputError as error:
            return OtherFrame(stamp, f"{info.path}: from {info.seconds_of(stamp):.3f} s on {error}")
        self._left_out.update(dict.fromkeys(left_out_of(frame)))
        duration = round((frame.duration or 0) * own / tick)
        self.last = SourceFrame(stamp, duration, planes, checksum(planes), reading)
        return self.last

    @property
    def changes(self) -> list[str]:
        """Sentences about what the frames so far hold that the first one did not."""
        kinds = self._readings.kinds
        found = [sentence for sentence in self._left_out if sentence not in self.info.notes]
        if kinds > 1:
            found.insert(0, f"its colours or samples change on the way: {kinds} kinds, each taken as it says")
        return found

    def shortfall(self, count: int, trailing: Sequence[int | None] = ()) -> str:
        """Return what is missing at the end of a file that was read to its end; empty if nothing is.

        Args:
            count: frames that came out.
            trailing: stamps of frames after them that could not be decoded.
        """
        info = self.info
        if self.last is None:
            return ""
        # Some formats know no length of a picture, or a tick for it.
        ends = info.seconds_of(self.last.stamp) + max(float(self.last.duration * info.time_base), float(1 / info.rate))
        if info.seconds is not None and ends < float(info.seconds) - float(info.tolerance):
            frames = f"{count} of {number_of(info.frames, 'frame')}" if info.frames else number_of(count, "frame")
            return f"it breaks off: {frames} came out, {ends:.3f} s of {float(info.seconds):.3f} s; the rest is missing"
        if trailing:
            return f"it breaks off: what comes after {ends:.3f} s cannot be decoded; frames left out: {len(trailing)}"
        return ""


def _not_after(stamp: int) -> Callable[[AnyFrame], bool]:
    return lambda frame: frame.stamp is None or frame.stamp <= stamp


def _is_there(frame: AnyFrame, seen: FrameIdentity) -> bool:
    return isinstance(frame, SourceFrame) and (frame.stamp, frame.checksum) == (seen.stamp, seen.checksum)


def rgb_of(frame: SourceFrame, info: VideoInfo) -> NDArray[np.uint16]:
    """Return a frame as the network takes it: (H, W, 3) uint16, sRGB-encoded Rec. 709, upright, C-contiguous."""
    kind, about = frame.reading.format, frame.reading.colours
    if about.luma is None:
        rgb = rgb_codes(frame.planes, kind.layout.bits, full_range=about.full_range)
    else:
        rgb = to_rgb(frame.planes, kind.layout, about.luma, full_range=about.full_range)
    if about.convert is not None:
        rgb = by_encoding(rgb, about.convert)
    return info.orientation.upright(rgb if info.window is None else rgb[info.window])


def device_samples_of(frame: SourceFrame, info: VideoInfo) -> Samples:
    """Return a frame as an engine's device takes it: its planes, where nothing but their matrix is between them and
    what :func:`rgb_of` gives, else that."""
    kind, about = frame.reading.format, frame.reading.colours
    plain = about.convert is None and not kind.is_rgb and info.window is None and info.orientation == Orientation()
    if about.luma is None or not plain or max(kind.layout.across, kind.layout.down) > 2:
        return Samples((rgb_of(frame, info),))
    return samples_of(frame.planes, kind.layout, about.luma, full_range=about.full_range)
