"""Where chroma lies between luma samples: a stream may say it, and of what PyAV knows only its swscale is told.

So ramps are put into a frame in place of its chroma, and are measured after swscale has enlarged them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dcdr_deploy.run.video.planes import pixel_format, rows_of

_CENTRED_CODECS = frozenset({"mjpeg", "mjpegb", "mpeg1video", "h261", "h263", "theora"})
"""Their chroma lies in the middle along rows and columns (JFIF; ISO/IEC 11172-2; H.261, H.263; Theora)."""

_ALWAYS_SAYS = frozenset({"h264", "hevc", "mpeg2video"})
"""Codecs whose decoders of FFmpeg always say where; of others the middle may be what swscale takes where nothing is."""

_STEP, _AT, _SIZE = 4, 10, 48  # of a ramp, in codes of 8 bits a sample of chroma; the sample measured; pixels needed


@dataclass(frozen=True)
class Siting:
    """Where chroma lies (H.273, ChromaLocType).

    Attributes:
        centred: along a row in the middle between luma samples, and not beside the left one.
        level: along a column beside the upper luma sample, and not in the middle.
    """

    centred: bool = False
    level: bool = False


def by_codec(codec: str) -> Siting:
    """Return what is taken where nothing is said."""
    return Siting(centred=codec in _CENTRED_CODECS)


def measured(frame: Any, codec: str) -> Siting:
    """Return where the chroma of a frame lies, as its stream says, or what is taken where it does not.

    Args:
        frame: PyAV's; its samples are lost.
        codec: FFmpeg's name.
    """
    kind = pixel_format(frame.format.name)
    layout = kind.layout
    if kind.name != frame.format.name or (layout.across, layout.down) not in ((2, 2), (2, 1)):
        return by_codec(codec)
    if min(frame.width, frame.height) < _SIZE:
        return by_codec(codec)
    scale = 1 << (layout.bits - 8)
    frame.make_writable()
    for number, axis in ((1, 1), (2, 0)):
        plane = rows_of(frame.planes[number], layout.chroma_size(frame.height, frame.width), kind)
        ramp = np.minimum(np.arange(plane.shape[axis]), 31) * (_STEP * scale)
        plane[...] = ramp[None, :] if axis else ramp[:, None]
    whole = pixel_format("yuv444p" if layout.bits == 8 else f"yuv444p{layout.bits}le")
    large = frame.reformat(format=whole.name, interpolation="BILINEAR", threads=1)
    size = (frame.height, frame.width)
    across, down = (rows_of(large.planes[number], size, whole) for number in (1, 2))
    # Beside a luma sample it has its value; in the middle between two, the left one has a quarter of a step less.
    left, upper = _STEP * _AT * scale, _STEP * scale / 8
    found = Siting(
        centred=float(across[2 * _AT, 2 * _AT]) < left - upper,
        level=layout.down == 2 and abs(float(down[2 * _AT, 2 * _AT]) - left) < upper,
    )
    unsaid = found == Siting(centred=True) and codec not in _ALWAYS_SAYS
    return by_codec(codec) if unsaid else found
