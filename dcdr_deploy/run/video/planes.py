"""FFmpeg's frames as numpy planes and back, without a conversion."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.errors import InputError
from dcdr_deploy.run.video.package import load
from dcdr_deploy.run.video.yuv import Layout, Plane, Planes

_YUV = re.compile(r"yuv(?P<jpeg>j?)(?P<chroma>420|422|444)p(?P<bits>\d+)?(le)?")
_RGB = re.compile(r"gbrp(?P<bits>\d+)?(le)?")
_GRAY = re.compile(r"gray(?P<bits>\d+)?(le)?")
_SUBSAMPLING = {"420": (2, 2), "422": (2, 1), "444": (1, 1)}
_MOST_BITS = 12


@dataclass(frozen=True)
class PixelFormat:
    """What can be read of FFmpeg's pixel formats.

    Attributes:
        name: FFmpeg's.
        layout: of the planes.
        is_rgb: planes are G, B and R.
        is_gray: there is luma only.
        full_range: the format itself says full range.
    """

    name: str
    layout: Layout
    is_rgb: bool = False
    is_gray: bool = False
    full_range: bool = False


_LIKE = {
    "nv12": "yuv420p",
    "nv21": "yuv420p",
    "nv16": "yuv422p",
    "nv24": "yuv444p",
    "p010le": "yuv420p10le",
    "p210le": "yuv422p10le",
    "uyvy422": "yuv422p",
    "yuyv422": "yuv422p",
    "yuv411p": "yuv444p",
    "yuv410p": "yuv444p",
    "yuv440p": "yuv444p",
    "yuva420p": "yuv420p",
    "yuva422p": "yuv422p",
    "yuva444p": "yuv444p",
    "yuva444p10le": "yuv444p10le",
    "yuva444p12le": "yuv444p12le",
    "yuva422p10le": "yuv422p10le",
    "v210": "yuv422p10le",
    **dict.fromkeys(("rgb24", "bgr24", "rgba", "bgra", "argb", "abgr", "rgb0", "bgr0", "0rgb", "0bgr"), "gbrp"),
    **dict.fromkeys(("pal8", "rgb565le", "rgb555le", "gbrap"), "gbrp"),
    **dict.fromkeys(("rgb48le", "rgb48be", "rgba64le", "rgba64be", "gbrp16le", "gbrap12le"), "gbrp12le"),
    "x2rgb10le": "gbrp10le",
    "gbrap10le": "gbrp10le",
}
"""Formats that swscale only unpacks into planes: the same samples (alpha is dropped, 16 bits become 12)."""


def pixel_format(name: str) -> PixelFormat:
    """Return what a pixel format is read as.

    Raises:
        InputError: it is not read.
    """
    name = _LIKE.get(name, name)
    for pattern in (_YUV, _RGB, _GRAY):
        match = pattern.fullmatch(name)
        bits = int(match["bits"] or 8) if match is not None else 0
        if match is None or not 8 <= bits <= _MOST_BITS:
            continue
        if pattern is _YUV:
            jpeg = bool(match["jpeg"])
            across, down = _SUBSAMPLING[match["chroma"]]
            return PixelFormat(name, Layout(bits, across, down, centred=jpeg), full_range=jpeg)
        return PixelFormat(name, Layout(bits), is_rgb=pattern is _RGB, is_gray=pattern is _GRAY)
    raise InputError(f"has the pixel format {name}, which is not read; convert it to yuv420p or yuv422p10le first")


def planes_of(frame: Any, wanted: PixelFormat) -> tuple[Plane, ...]:
    """Return copies of a decoded frame's planes, each (rows, columns) uint8 or uint16; R, G, B for RGB.

    Args:
        frame: PyAV's.
        wanted: from :func:`pixel_format` for the frame's format.
    """
    if frame.format.name != wanted.name:
        # On several threads swscale leaves rows of gray in one frame of fifty or so (PyAV 18.1, p010le).
        frame = frame.reformat(format=wanted.name, threads=1)
    kind = np.uint8 if wanted.layout.bits == 8 else np.uint16
    chroma = wanted.layout.chroma_size(frame.height, frame.width)
    sizes = [(frame.height, frame.width), chroma, chroma][: 1 if wanted.is_gray else 3]
    planes = [_rows(plane, size, kind).copy() for plane, size in zip(frame.planes, sizes, strict=False)]
    return (planes[2], planes[0], planes[1]) if wanted.is_rgb else tuple(planes)


def frame_of(size: tuple[int, int], layout: Layout, name: str, write: Callable[[Planes], object]) -> Any:
    """Return a frame of PyAV whose samples are written in place: a copy of a 3840x2160 one takes 20 ms.

    Args:
        size: (height, width) in pixels.
        layout: of its planes.
        name: FFmpeg's name of a planar format of more than 8 bits, or p010le, which holds Cb and Cr side by side and
            samples in the upper bits.
        write: called with Y', Cb and Cr, which it fills.
    """
    frame = load().VideoFrame(size[1], size[0], name)
    sizes = (size, layout.chroma_size(*size), layout.chroma_size(*size))
    if name != "p010le":
        write(tuple(_rows(plane, each, np.uint16) for plane, each in zip(frame.planes, sizes, strict=True)))
        return frame
    luma, *chroma = planes = tuple(np.empty(each, np.uint16) for each in sizes)
    write(planes)
    both = np.stack(chroma, axis=-1).reshape(chroma[0].shape[0], -1)
    for plane, samples in zip(frame.planes, (luma, both), strict=True):
        _rows(plane, samples.shape, np.uint16)[...] = samples << np.uint16(6)
    return frame


def checksum(planes: tuple[Plane, ...]) -> int:
    """Return a number that other pictures do not have, for all practical purposes together with equal sizes."""
    value = 0
    for plane in planes:
        value = zlib.crc32(np.ascontiguousarray(plane).data, value)
    return value


def _rows(plane: Any, size: tuple[int, ...], kind: type[np.generic]) -> NDArray[Any]:
    """View a plane of FFmpeg, whose rows may be longer than the picture's."""
    samples = np.frombuffer(plane, kind)
    return samples.reshape(-1, plane.line_size // np.dtype(kind).itemsize)[: size[0], : size[1]]
