"""Light becomes frames of FFmpeg, frames become the packets of segments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.engines.passes import Finished, Signal
from dcdr_deploy.errors import OutputError
from dcdr_deploy.imaging.delivery import ContentLight, Delivery
from dcdr_deploy.run.recovery import Recovery
from dcdr_deploy.run.video.codecs import Codec
from dcdr_deploy.run.video.frames import BEGINNING, Picture, ResumePoint
from dcdr_deploy.run.video.package import load, reason
from dcdr_deploy.run.video.passes import signal_of
from dcdr_deploy.run.video.planes import Told, frame_of
from dcdr_deploy.run.video.segments import Segment, SegmentFile, Workplace
from dcdr_deploy.run.video.sinks import Restoring
from dcdr_deploy.run.video.source import FrameIdentity
from dcdr_deploy.run.video.sums import Sums
from dcdr_deploy.run.video.target import Geometry, Target
from dcdr_deploy.run.video.yuv import Planes, from_rgb

Encoded = tuple[Any, ContentLight]
"""A picture as PyAV's frame, and how bright it is."""


def padded_size(size: tuple[int, int], codec: Codec) -> tuple[int, int]:
    """Return (height, width) as the codec's chroma needs it: whole samples."""
    layout = codec.layout
    return -(-size[0] // layout.down) * layout.down, -(-size[1] // layout.across) * layout.across


def frame_of_light(linear: NDArray[np.float32], delivery: Delivery, target: Target) -> Encoded:
    """Return a picture as the encoder takes it, in BT.2020, limited range, and how bright it is.

    Args:
        linear: (H, W, 3) float32 in network units.
        delivery: into PQ or HLG.
        target: whose layout the planes get; odd edges are repeated where it needs even ones.
    """
    return _frame(linear.shape[:2], target, lambda planes: _fill(planes, linear, delivery, target))


def _frame(size: tuple[int, int], target: Target, write: Callable[[Planes], Told]) -> tuple[Any, Told]:
    """Return a picture of a size as the encoder takes it, and what ``write``, which fills its planes, returns."""
    return frame_of(padded_size(size, target.codec), target.codec.layout, target.encoder.pixel_format, write)


def samples_of_light(linear: NDArray[np.float32], delivery: Delivery, target: Target) -> Planes:
    """Return the samples Y', Cb and Cr that :func:`frame_of_light` puts into a frame."""
    planes = target.codec.layout.room(*padded_size(linear.shape[:2], target.codec))
    _fill(planes, linear, delivery, target)
    return planes


def _fill(planes: Planes, linear: NDArray[np.float32], delivery: Delivery, target: Target) -> ContentLight:
    """Write the samples of light, and return how bright it is."""
    (height, width), layout = linear.shape[:2], target.codec.layout
    size, above = planes[0].shape, layout.rows_above

    def encode(start: int, rgb: NDArray[np.float32]) -> None:
        before = min(start, above)
        stop = start + rgb.shape[1] - before
        missing = size[0] - height if stop == height else 0, size[1] - width
        if any(missing):
            rgb = np.pad(rgb, ((0, 0), (0, missing[0]), (0, missing[1])), mode="edge")
        rows = slice(start, stop + missing[0])
        of_chroma = slice(rows.start // layout.down, rows.stop // layout.down)
        from_rgb(rgb, layout, out=(planes[0][rows], planes[1][of_chroma], planes[2][of_chroma]), above=before)

    return delivery.give_signals(linear, encode, above)


class SegmentEncoder:
    """An encoder for one segment: its first picture is a key frame, and none refers to another segment."""

    def __init__(self, target: Target, picture: Geometry, file: SegmentFile) -> None:
        """Open the encoder.

        Raises:
            OutputError: it does not open.
        """
        av = load()
        self._target = target
        self._picture = picture
        self._file = file
        self._context = av.CodecContext.create(target.encoder.name, "w")
        target.configure(self._context, picture)
        self._context.flags |= av.codec.context.Flags.global_header
        self._faults = av.error.FFmpegError
        try:
            self._context.open()
        except self._faults as error:
            raise OutputError(
                f"{target.path}: the encoder {target.encoder.name} does not open: {reason(error)}"
            ) from error

    def add(self, frame: Any, stamp: int) -> None:
        """Encode a picture, shown at a stamp; the same one may come again.

        Raises:
            OutputError: the encoder failed.
            OSError: the packets cannot be written.
        """
        frame.pts, frame.time_base = stamp, self._picture.time_base
        for name, code in self._target.code_points.items():  # ProRes takes them from here
            setattr(frame, name, code)
        self._write(frame)

    def finish(self) -> None:
        """Write what the encoder holds back.

        Raises:
            OutputError, OSError: as :meth:`add`.
        """
        self._write(None)

    def _write(self, frame: Any) -> None:
        try:
            packets = self._context.encode(frame)
        except self._faults as error:
            raise OutputError(f"{self._target.path}: {self._target.encoder.name} failed: {reason(error)}") from error
        for packet in packets:
            self._file.add(packet.pts, bytes(packet), is_key=packet.is_keyframe)


@dataclass
class _Open:
    """The segment being encoded."""

    file: SegmentFile
    encoder: SegmentEncoder
    sums: Sums = field(default_factory=Sums)
    seen: FrameIdentity | None = None
    last_duration: int = 0

    def finished(self, *, ends: bool) -> Segment:
        """Empty the encoder and return what was written."""
        self.encoder.finish()
        return self.file.described(self.last_duration, self.seen, self.sums, ends=ends)


class SegmentSink:
    """Encodes pictures into segments of one length; a sink of work.py."""

    def __init__(
        self,
        target: Target,
        picture: Geometry,
        place: Workplace,
        delivery: Delivery,
        frames: int,
        reached: ResumePoint = BEGINNING,
    ) -> None:
        """Set up.

        Args:
            target, picture: of the encoder.
            place: where segments go.
            delivery: how light is written.
            frames: of a segment.
            reached: how far the segments go that are there already.
        """
        self._target = target
        self._picture = picture
        self._place = place
        self._delivery = delivery
        self._frames = frames
        self._reached = reached
        self._open: _Open | None = None

    def make(self, picture: Picture, linear: NDArray[np.float32]) -> Encoded:
        """Return the picture as a frame."""
        return frame_of_light(linear, self._delivery, self._target)

    def signal(self, restoring: Restoring) -> Signal:
        """Return how light becomes samples, for a device that makes them."""
        peak = restoring.runner.engine.info.metadata.peak
        return signal_of(self._delivery, self._target.codec.layout, restoring.dials, peak)

    def samples(self, linear: NDArray[np.float32]) -> Planes:
        """Return the samples of light, made by the processor."""
        return samples_of_light(linear, self._delivery, self._target)

    def make_of_samples(self, size: tuple[int, int], write: Callable[[Planes], Finished]) -> tuple[Encoded, Finished]:
        """Return a frame whose samples a device writes, and what it tells of them."""
        frame, finished = _frame(size, self._target, write)
        light = ContentLight(finished.largest, finished.total / (size[0] * size[1]))
        return (frame, light), finished

    def write(self, picture: Picture, made: Encoded, recovery: Recovery, *, repeated: bool) -> None:
        """Encode a picture, and close the segment that it is the last of."""
        frame, light = made
        if self._open is None:
            file = self._place.begin_segment(self._reached.frames // self._frames, self._reached)
            self._open = _Open(file, SegmentEncoder(self._target, self._picture, file))
        now = self._open
        now.encoder.add(frame, picture.stamp)
        now.seen, now.last_duration = picture.seen, picture.duration
        now.sums += Sums.of(picture, recovery, light, repeated=repeated)
        if now.sums.frames == self._frames:
            self._close(ends=False)

    def finish(self) -> None:
        """Close the last segment."""
        self._close(ends=True)

    def stopped(self) -> Segment | None:
        """Return the segment that was being encoded when the run ended early, ``None`` if there is none.

        It can be read from the folder, but does not count as whole.
        """
        return None if self._open is None else self._open.finished(ends=False)

    def release(self) -> None:
        """Close the file that is open."""
        if self._open is not None:
            self._open.file.close()

    def _close(self, *, ends: bool) -> None:
        if self._open is not None:
            now, self._open = self._open, None
            segment = now.finished(ends=ends)
            self._place.close_segment(now.file, segment)
            self._reached = segment.reached
