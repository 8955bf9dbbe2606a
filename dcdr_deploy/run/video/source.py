"""SDR videos as they come: what a file says of itself, and its frames one after the other with their time stamps."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.errors import InputError
from dcdr_deploy.imaging.colour import by_encoding
from dcdr_deploy.run.video.colours import Colours
from dcdr_deploy.run.video.deinterlacing import Deinterlacer
from dcdr_deploy.run.video.package import load
from dcdr_deploy.run.video.planes import PixelFormat, checksum, planes_of
from dcdr_deploy.run.video.yuv import Plane, rgb_codes, to_rgb


@dataclass(frozen=True)
class VideoInfo:
    """What is known of a video before it is decoded.

    Attributes:
        path: the file.
        codec: FFmpeg's name.
        width, height: pixels as stored.
        rotation: degrees counter-clockwise, a multiple of 90, by which a player turns the picture.
        sar: width of a pixel over its height, as stored.
        rate: frames a second, on average.
        time_base: seconds of a tick of the stamps.
        begin: stamp of the first frame as far as the file says.
        frames: how many there should be; ``None`` if the file does not say.
        seconds: how long it should be; ``None`` if the file does not say.
        tolerance: seconds by which it may be shorter all the same.
        format: of the pixels.
        colours: what samples stand for.
        interlaced: whether the file says so.
        origin: seconds that are taken off all stamps: the clock's start in broadcasts, else 0.
        notes: sentences about what was taken for want of better, and what is left out.
    """

    path: Path
    codec: str
    width: int
    height: int
    rotation: int
    sar: Fraction
    rate: Fraction
    time_base: Fraction
    begin: int
    frames: int | None
    seconds: Fraction | None
    tolerance: Fraction
    format: PixelFormat
    colours: Colours
    interlaced: bool
    origin: Fraction
    notes: tuple[str, ...] = ()

    @property
    def shown_size(self) -> tuple[int, int]:
        """(height, width) in pixels after the rotation."""
        return (self.height, self.width) if self.rotation % 180 == 0 else (self.width, self.height)

    @property
    def shown_sar(self) -> Fraction:
        """Width of a pixel over its height after the rotation."""
        return self.sar if self.rotation % 180 == 0 else 1 / self.sar

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
    """

    stamp: int
    duration: int
    planes: tuple[Plane, ...] = field(repr=False)
    checksum: int


@dataclass(frozen=True)
class LostFrame:
    """A frame that cannot be decoded.

    Attributes:
        stamp: when it would be shown, in ticks; ``None`` if not even that can be told.
    """

    stamp: int | None


@dataclass(frozen=True)
class Seen:
    """A frame by which an earlier run is found again: its stamp and its checksum."""

    stamp: int
    checksum: int


class VideoSource:
    """An open video; from :func:`open_video`.

    Attributes:
        info: what is known of it.
        last: the frame that was decoded last; ``None`` before the first.
    """

    def __init__(self, container: Any, stream: Any, info: VideoInfo, *, deinterlace: bool) -> None:
        self._container = container
        self._stream = stream
        self._deinterlace = deinterlace
        self._enters = True
        self.info = info
        self.last: SourceFrame | None = None

    def frames(self, begin: int | None = None, seen: Seen | None = None) -> Iterator[SourceFrame | LostFrame]:
        """Yield frames in the order shown; a later call begins anew.

        Args:
            begin: only those shown at this stamp or later.
            seen: only those after this one, which an earlier run saw. The file is entered at a key frame before it, and
                read from its beginning if another picture comes out there, or after :meth:`read_through`.

        Raises:
            InputError: a frame is interlaced and nothing is to be done about it, or frames change their size.
        """
        if seen is not None:
            frames = self._from(seen.stamp)
            if not any(_is_there(frame, seen) for frame in itertools.takewhile(_not_after(seen.stamp), frames)):
                frames = self._from(None)
                for _ in itertools.takewhile(lambda frame: not _is_there(frame, seen), frames):
                    pass
            yield from frames
            return
        frames = self._from(begin)
        first = next(frames, None)
        if begin is not None and first is not None and not _not_after(begin)(first):
            frames = self._from(None)  # the file cannot be entered so far ahead
            first = next(frames, None)
        everything = frames if first is None else itertools.chain([first], frames)
        yield from (frame for frame in everything if begin is None or frame.stamp is None or frame.stamp >= begin)

    def read_through(self) -> None:
        """Have the file read from its beginning from now on: entered at a key frame, it gave other frames."""
        self._enters = False

    def _from(self, stamp: int | None) -> Iterator[SourceFrame | LostFrame]:
        """Return the frames from a key frame before a stamp on, ``None`` for the file's beginning."""
        av = load()
        number = self._stream.index
        self._container.close()
        self._container = av.open(str(self.info.path), metadata_errors="replace")
        self._stream = self._container.streams[number]
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

    def _decode(self) -> Iterator[SourceFrame | LostFrame]:
        deinterlacer = Deinterlacer(self._stream) if self._deinterlace else None
        for frame in self._raw():
            if isinstance(frame, LostFrame):
                yield frame
                continue
            if deinterlacer is None:
                if frame.interlaced_frame:
                    raise InputError(f"{self.info.path}: is interlaced; `deinterlace` makes whole frames of it")
                yield self._taken(frame)
            else:
                yield from map(self._taken, deinterlacer.frames(frame))
        if deinterlacer is not None:
            yield from map(self._taken, deinterlacer.frames(None))

    def _raw(self) -> Iterator[Any]:
        """Yield FFmpeg's frames, and what was lost between them: packets whose stamps no frame came with."""
        av = load()
        expected: list[int] = []
        regular = not self.info.interlaced  # two fields may be two packets
        for packet in self._container.demux(self._stream):
            if packet.size and packet.pts is not None and not packet.is_discard:
                heapq.heappush(expected, packet.pts)
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                frames = []
                if not regular:
                    yield LostFrame(packet.pts)
            for frame in frames:
                while regular and expected and frame.pts is not None and expected[0] < frame.pts:
                    yield LostFrame(heapq.heappop(expected))
                if expected and expected[0] == frame.pts:
                    heapq.heappop(expected)
                else:
                    regular = False  # stamps of frames are not those of packets
                if frame.is_corrupt:
                    yield LostFrame(frame.pts)
                else:
                    yield frame
        if regular:
            yield from (LostFrame(heapq.heappop(expected)) for _ in range(len(expected)))

    def _taken(self, frame: Any) -> SourceFrame:
        planes = planes_of(frame, self.info.format)
        if planes[0].shape != (self.info.height, self.info.width):
            raise InputError(f"{self.info.path}: its picture changes size on the way; cut it there first")
        tick, own = self.info.time_base, frame.time_base or self.info.time_base
        before = self.last
        if frame.pts is None:  # of files without stamps: one after the other
            stamp = self.info.begin if before is None else before.stamp + max(before.duration, 1)
        else:
            stamp = round(frame.pts * own / tick)
        duration = round((frame.duration or 0) * own / tick)
        self.last = SourceFrame(stamp, duration, planes, checksum(planes))
        return self.last

    def shortfall(self, count: int) -> str:
        """Return what is missing at the end of a file that was read to its end; empty if nothing is.

        Args:
            count: frames that came out.
        """
        info = self.info
        if self.last is None or info.seconds is None:
            return ""
        ends = info.seconds_of(self.last.stamp + self.last.duration)
        if ends >= float(info.seconds) - float(info.tolerance):
            return ""
        frames = f"{count} of {info.frames} frames" if info.frames else f"{count} frames"
        return f"it breaks off: {frames} came out, {ends:.3f} s of {float(info.seconds):.3f} s; the rest is missing"


def _not_after(stamp: int) -> Callable[[SourceFrame | LostFrame], bool]:
    return lambda frame: frame.stamp is None or frame.stamp <= stamp


def _is_there(frame: SourceFrame | LostFrame, seen: Seen) -> bool:
    return isinstance(frame, SourceFrame) and (frame.stamp, frame.checksum) == (seen.stamp, seen.checksum)


def rgb_of(frame: SourceFrame, info: VideoInfo) -> NDArray[np.uint16]:
    """Return a frame as the network takes it: (H, W, 3) uint16, sRGB-encoded Rec. 709, upright, C-contiguous."""
    kind, about = info.format, info.colours
    if about.luma is None:
        rgb = rgb_codes(frame.planes, kind.layout.bits, full_range=about.full_range)
    else:
        rgb = to_rgb(frame.planes, kind.layout, about.luma, full_range=about.full_range)
    if about.convert is not None:
        rgb = by_encoding(rgb, about.convert)
    return np.ascontiguousarray(np.rot90(rgb, info.rotation // 90)) if info.rotation else rgb
