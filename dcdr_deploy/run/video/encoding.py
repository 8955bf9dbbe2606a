"""Light becomes planes, planes become the packets of a segment."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.errors import OutputError
from dcdr_deploy.imaging.delivery import ContentLight, Delivery
from dcdr_deploy.run.video.package import load, reason
from dcdr_deploy.run.video.planes import frame_of
from dcdr_deploy.run.video.segments import SegmentFile
from dcdr_deploy.run.video.target import Codec, Geometry, Target
from dcdr_deploy.run.video.yuv import from_rgb

Planes = tuple[NDArray[np.uint16], ...]


def padded_size(size: tuple[int, int], codec: Codec) -> tuple[int, int]:
    """Return (height, width) as the codec's chroma needs it: whole samples."""
    layout = codec.layout
    return -(-size[0] // layout.down) * layout.down, -(-size[1] // layout.across) * layout.across


def planes_of_light(linear: NDArray[np.float32], delivery: Delivery, codec: Codec) -> tuple[Planes, ContentLight]:
    """Return a picture's planes in BT.2020, limited range, and how bright it is.

    Args:
        linear: (H, W, 3) in network units.
        delivery: into PQ or HLG.
        codec: whose layout the planes get; odd edges are repeated where it needs even ones.
    """
    signal, light = delivery.signals(linear)
    height, width = padded_size(linear.shape[:2], codec)
    missing = (height - linear.shape[0], width - linear.shape[1])
    if any(missing):
        signal = np.pad(signal, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="edge")
    return from_rgb(signal, codec.layout), light


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

    def add(self, planes: Planes, stamp: int) -> None:
        """Encode a picture.

        Raises:
            OutputError: the encoder failed.
            OSError: the packets cannot be written.
        """
        frame = frame_of(planes, self._target.encoder.pixel_format)
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
