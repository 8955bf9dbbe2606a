"""FFmpeg's frames as numpy planes and back, without a conversion."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from dcdr_deploy.errors import InputError
from dcdr_deploy.run.video.package import load
from dcdr_deploy.run.video.yuv import Layout, Plane, Planes

Told = TypeVar("Told")

_CHROMA = {(1, 1): "444", (2, 1): "422", (2, 2): "420", (4, 1): "411", (1, 2): "440", (4, 4): "444"}
"""FFmpeg's word for luma samples for each of chroma, across and down; of 4:1:0 swscale makes 4:4:4."""

_MOST_BITS = 16
_OTHER = re.compile(r"f(16|32)(le|be)$|^xyz|msb(le|be)$")
"""Floats, CIE XYZ, and samples in the upper bits of their bytes; names say it, PyAV does not."""


@dataclass(frozen=True)
class PixelFormat:
    """What can be read of FFmpeg's pixel formats.

    Attributes:
        name: FFmpeg's, of one that has a plane for each channel: the format itself, or what it is unpacked into.
        layout: of the planes.
        order: numbers of the planes of Y', Cb and Cr, of R, G and B, or of Y' alone; alpha is dropped.
        is_rgb: planes are R, G and B.
        is_big_endian: the first byte of a sample is the higher one.
        full_range: the format itself says full range.
    """

    name: str
    layout: Layout
    order: tuple[int, ...]
    is_rgb: bool = False
    is_big_endian: bool = False
    full_range: bool = False

    @property
    def is_gray(self) -> bool:
        """There is luma only."""
        return len(self.order) == 1


def pixel_format(name: str, *, centred: bool = False, level: bool = False) -> PixelFormat:
    """Return what a pixel format is read as.

    Args:
        name: FFmpeg's.
        centred, level: where chroma lies, as of :class:`Layout`.

    Raises:
        InputError: it is not read.
    """
    av = load()
    size = 64
    about = av.VideoFormat(name, size, size)
    channels = [channel for channel in about.components if not channel.is_alpha]
    bits = max((channel.bits for channel in channels), default=0)
    if not 0 < bits <= _MOST_BITS or about.is_bayer or _OTHER.search(name):
        raise _unread(name)
    is_rgb = about.is_rgb or about.has_palette or bits == 1
    across, down = (1, 1) if is_rgb else (size // channels[-1].width, size // channels[-1].height)
    places = tuple(channel.plane for channel in channels)
    has_planes = len({channel.plane for channel in about.components}) == len(about.components)
    if not has_planes or bits < 8 or about.has_palette or down == 4:
        bits = max(bits, 8)
        kind = "gbrp" if is_rgb else "gray" if len(channels) == 1 else f"yuv{_CHROMA[across, down]}p"
        name = kind if bits == 8 else f"{kind}{bits}le"
        return pixel_format(name, centred=centred, level=level)
    layout = Layout(bits, across, down, centred=centred, level=level)
    return PixelFormat(name, layout, places, is_rgb, about.is_big_endian, full_range=name.startswith("yuvj"))


def _unread(name: str) -> InputError:
    return InputError(f"has the pixel format {name}, which is not read; convert it to yuv420p or yuv422p10le first")


def planes_of(frame: Any, wanted: PixelFormat) -> tuple[Plane, ...]:
    """Return copies of a decoded frame's planes, each (rows, columns) uint8 or uint16; R, G, B for RGB.

    Args:
        frame: PyAV's.
        wanted: from :func:`pixel_format` for the frame's format.

    Raises:
        InputError: FFmpeg cannot unpack the format.
    """
    if frame.format.name != wanted.name:
        # On several threads swscale leaves rows of gray in one frame of fifty or so (PyAV 18.1, p010le).
        try:
            frame = frame.reformat(format=wanted.name, threads=1)
        except load().error.FFmpegError as error:
            raise _unread(frame.format.name) from error
    chroma = (frame.height, frame.width) if wanted.is_rgb else wanted.layout.chroma_size(frame.height, frame.width)
    sizes = [(frame.height, frame.width), chroma, chroma]
    planes = (rows_of(frame.planes[place], size, wanted) for place, size in zip(wanted.order, sizes, strict=False))
    return tuple(np.array(plane, plane.dtype.newbyteorder("=")) for plane in planes)


def rows_of(plane: Any, size: tuple[int, ...], kind: PixelFormat) -> NDArray[Any]:
    """View a plane of a frame in a format, (rows, columns)."""
    return _rows(plane, size, np.uint8 if kind.layout.bits == 8 else ">u2" if kind.is_big_endian else "<u2")


def frame_of(size: tuple[int, int], layout: Layout, name: str, write: Callable[[Planes], Told]) -> tuple[Any, Told]:
    """Return a frame of PyAV whose samples are written in place, as a copy of a 3840x2160 one takes 20 ms.

    Args:
        size: (height, width) in pixels.
        layout: of its planes.
        name: FFmpeg's name of a planar format of more than 8 bits, or p010le, which holds Cb and Cr side by side and
            samples in the upper bits.
        write: called with Y', Cb and Cr, which it fills; what it returns is returned too.
    """
    frame = load().VideoFrame(size[1], size[0], name)
    if name != "p010le":
        pairs = zip(frame.planes, layout.plane_sizes(*size), strict=True)
        return frame, write(tuple(_rows(plane, each, np.uint16) for plane, each in pairs))
    luma, *chroma = planes = layout.room(*size)
    told = write(planes)
    both = np.stack(chroma, axis=-1).reshape(chroma[0].shape[0], -1)
    for plane, samples in zip(frame.planes, (luma, both), strict=True):
        _rows(plane, samples.shape, np.uint16)[...] = samples << np.uint16(6)
    return frame, told


def checksum(planes: tuple[Plane, ...]) -> int:
    """Return a number that other pictures do not have, for all practical purposes together with equal sizes."""
    value = 0
    for plane in planes:
        value = zlib.crc32(np.ascontiguousarray(plane).data, value)
    return value


def _rows(plane: Any, size: tuple[int, ...], kind: DTypeLike) -> NDArray[Any]:
    """View a plane of FFmpeg, whose rows may be longer than the picture's."""
    samples = np.frombuffer(plane, kind)
    return samples.reshape(-1, plane.line_size // samples.itemsize)[: size[0], : size[1]]
