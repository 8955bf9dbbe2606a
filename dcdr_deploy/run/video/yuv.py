"""Y'CbCr to R'G'B' and back, exact to the rounding of a code: pure numpy, no FFmpeg.

swscale's conversions are up to three codes of ten bits off, which shows in patches that are measured. Formulae are
those of ITU-R BT.709-6, items 3.2 to 3.5, and BT.2100-2, tables 6 and 9, for any K_R and K_B. Where chroma of 4:2:0 and
4:2:2 lies is a layout's matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.engines.passes import YuvMatrix
from dcdr_deploy.imaging.lookup import Table, look_up_codes
from dcdr_deploy.imaging.transfer import LUMINANCE_REC709
from dcdr_deploy.system.strips import Scratch, for_strips

Plane = NDArray[np.uint8] | NDArray[np.uint16]
Planes = tuple[NDArray[np.uint16], ...]
Luma = tuple[float, float]

BT709_LUMA: Luma = (LUMINANCE_REC709[0], LUMINANCE_REC709[2])
"""K_R, K_B of BT.709."""

BT2020_LUMA: Luma = (0.2627, 0.0593)
"""K_R, K_B of BT.2020 and BT.2100 with non-constant luminance."""

TOP = 65535
"""R'G'B' of 1.0 as a code here."""


@dataclass(frozen=True)
class Layout:
    """How planes hold a picture.

    Attributes:
        bits: of a sample, 8 to 16.
        across, down: luma samples for each of chroma, along a row and along a column: 2, 2 for 4:2:0; 2, 1 for 4:2:2;
            1, 1 for 4:4:4; 4, 1 for 4:1:1, which is read only.
        centred: chroma lies in the middle between luma samples along a row (JPEG, MPEG-1), and not beside the left one.
        level: chroma lies beside the upper luma sample of a column, and not in the middle. Of 4:2:0 neither is H.273's
            Chroma420SampleLocType 0, ``centred`` alone 1, ``level`` alone 2, both are 3.
    """

    bits: int
    across: int = 1
    down: int = 1
    centred: bool = False
    level: bool = False

    def chroma_size(self, height: int, width: int) -> tuple[int, int]:
        """Return (rows, columns) of a chroma plane."""
        return -(-height // self.down), -(-width // self.across)

    def plane_sizes(self, height: int, width: int) -> tuple[tuple[int, int], ...]:
        """Return (rows, columns) of the planes Y', Cb and Cr."""
        chroma = self.chroma_size(height, width)
        return (height, width), chroma, chroma

    def room(self, height: int, width: int) -> Planes:
        """Return arrays for Y', Cb and Cr of a size, which hold anything."""
        return tuple(np.empty(size, np.uint16) for size in self.plane_sizes(height, width))

    @property
    def rows_above(self) -> int:
        """How many rows before a strip's first its chroma is made of, see :func:`from_rgb`."""
        return int(self.level and self.down == 2)


@dataclass(frozen=True)
class _Range:
    """Codes of black, of neutral chroma, and the spans of luma and chroma."""

    black: float
    span: float
    neutral: float
    chroma_span: float

    @classmethod
    def of(cls, bits: int, full: bool) -> _Range:
        if full:
            top = float((1 << bits) - 1)
            return cls(0, top, float(1 << (bits - 1)), top)
        step = float(1 << (bits - 8))
        return cls(16 * step, 219 * step, 128 * step, 224 * step)


def to_rgb(planes: tuple[Plane, ...], layout: Layout, luma: Luma, *, full_range: bool) -> NDArray[np.uint16]:
    """Return R'G'B' of a picture, (H, W, 3) uint16 where 65535 is 1.0; what lies outside [0, 1] is clipped.

    Args:
        planes: Y' (H, W), Cb and Cr in the size of :meth:`Layout.chroma_size`; Y' alone is gray.
        layout: of the planes.
        luma: K_R and K_B.
        full_range: black and white are the first and the last code.
    """
    if len(planes) == 1:
        return rgb_codes(planes * 3, layout.bits, full_range=full_range)
    height, width = planes[0].shape
    found = np.empty((height, width, 3), np.uint16)
    numbers, samples = decoding_matrix(layout.bits, luma, full_range=full_range), np.arange(1 << 8 * planes[0].itemsize)
    of_luma = np.asarray((samples - numbers.black) * numbers.scale, np.float32)
    of_chroma = np.asarray((samples - numbers.neutral) * numbers.chroma_scale, np.float32)

    def convert(start: int, stop: int) -> None:
        import cv2

        size = stop - start, width
        y = look_up_codes(of_luma, planes[0][start:stop], _scratch.array("luma", size, np.float32))
        cb, cr = (_enlarged(plane, of_chroma, layout, start, stop, width) for plane in planes[1:3])
        of_green = _mixed(cr, numbers.green_red, cb, numbers.green_blue, "green")
        r, g, b = _scratch.array("codes", (3, *size), np.uint16)
        cv2.addWeighted(cr, numbers.red, y, 1, 0, r, cv2.CV_16U)  # OpenCV rounds and clips
        cv2.add(of_green, y, g, dtype=cv2.CV_16U)
        cv2.addWeighted(cb, numbers.blue, y, 1, 0, b, cv2.CV_16U)
        cv2.merge([r, g, b], found[start:stop])

    for _ in for_strips(height, convert):
        pass
    return found


def decoding_matrix(bits: int, luma: Luma, *, full_range: bool) -> YuvMatrix:
    """Return the numbers of :func:`to_rgb` for samples of so many bits."""
    codes = _Range.of(bits, full_range)
    red, blue = 2 * (1 - luma[0]), 2 * (1 - luma[1])
    green = 1 - luma[0] - luma[1]
    return YuvMatrix(
        black=codes.black,
        scale=TOP / codes.span,
        neutral=codes.neutral,
        chroma_scale=TOP / codes.chroma_span,
        red=red,
        blue=blue,
        green_red=-luma[0] * red / green,
        green_blue=-luma[1] * blue / green,
    )


def rgb_codes(planes: tuple[Plane, ...], bits: int, *, full_range: bool) -> NDArray[np.uint16]:
    """Return R'G'B' planes (R, G, B, each (H, W)) as (H, W, 3) uint16 where 65535 is 1.0."""
    codes = _Range.of(bits, full_range)
    table = np.clip((np.arange(1 << bits) - codes.black) * (TOP / codes.span) + 0.5, 0, TOP).astype(np.uint16)
    # What FFmpeg does not decode but pass on ("rawvideo") may have bits above.
    return np.stack([table.take(plane, mode="clip") for plane in planes], axis=-1)


def from_rgb(
    signal: Sequence[Table] | NDArray[np.float32],
    layout: Layout,
    luma: Luma = BT2020_LUMA,
    out: Planes | None = None,
    above: int = 0,
) -> Planes:
    """Return Y', Cb and Cr of R'G'B' in limited range; the numbers are those of :func:`encoding_matrix`.

    Chroma is averaged about the place where it lies: by 1 2 1 along an axis where that is a luma sample's, by the mean
    of two where it is their middle. Stripes as fine as luma samples become their mean by both. Beyond the edges the
    outermost samples go on.

    Args:
        signal: R', G' and B', each (above + H, W) in [0, 1]; H and W are multiples of the layout's ``down`` and
            ``across``.
        layout: of the planes to make, not ``centred``.
        luma: K_R and K_B.
        out: arrays to write into, Y' (H, W), Cb and Cr in the size of :meth:`Layout.chroma_size`.
        above: rows before the first one that is written, 0 or 1: a strip of a picture needs those of
            :attr:`Layout.rows_above`, if the picture has them.
    """
    import cv2

    (r, g, b), (red, blue), codes = signal, luma, _Range.of(layout.bits, full=False)
    planes = out or layout.room(r.shape[0] - above, r.shape[1])
    y = _mixed(_mixed(r, red, g, 1 - red - blue, "luma"), 1, b, blue, "luma")
    cv2.addWeighted(y[above:], codes.span, y[above:], 0, codes.black, planes[0], cv2.CV_16U)  # which rounds
    for plane, channel, weight in ((planes[1], b, blue), (planes[2], r, red)):
        difference = _reduced(_mixed(channel, 1, y, -1, "difference"), layout, above)
        cv2.addWeighted(
            difference, codes.chroma_span / (2 * (1 - weight)), difference, 0, codes.neutral, plane, cv2.CV_16U
        )
    return planes


def encoding_matrix(bits: int, luma: Luma = BT2020_LUMA) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return (3, 3) from R'G'B' to codes less their offsets, and the offsets (3,) with half a code for rounding."""
    codes = _Range.of(bits, full=False)
    red, blue = luma
    weights = np.array([red, 1 - red - blue, blue])
    rows = [
        weights * codes.span,
        (np.array([0, 0, 1]) - weights) / (2 * (1 - blue)) * codes.chroma_span,
        (np.array([1, 0, 0]) - weights) / (2 * (1 - red)) * codes.chroma_span,
    ]
    offsets = np.array([codes.black, codes.neutral, codes.neutral]) + 0.5
    return np.asarray(np.stack(rows), np.float32), offsets.astype(np.float32)


def _enlarged(plane: Plane, table: Table, layout: Layout, start: int, stop: int, width: int) -> Table:
    """Return rows ``start`` to ``stop`` of a chroma plane at the size of luma, linear between its samples.

    Args:
        plane: of codes.
        table: what they stand for.
        layout, start, stop, width: of luma.
    """
    import cv2

    if layout.down == 1:
        rows = look_up_codes(table, plane[start:stop])
    else:
        near = np.arange(start // 2 - 1, (stop - 1) // 2 + 2).clip(0, len(plane) - 1)  # one before and one behind
        samples = look_up_codes(table, plane[near])
        twice = np.stack(_between(samples[:-2], samples[1:-1], samples[2:], centred=not layout.level), axis=1)
        rows = twice.reshape(-1, plane.shape[1])[start % 2 : start % 2 + stop - start]
    for step in reversed(range(layout.across.bit_length() - 1)):  # 4:1:1 twice
        wider = np.asarray(cv2.copyMakeBorder(rows, 0, 0, 1, 1, cv2.BORDER_REPLICATE), np.float32)
        pairs = cv2.merge(_between(wider[:, :-2], rows, wider[:, 2:], centred=layout.centred))
        rows = np.asarray(pairs, np.float32).reshape(len(rows), -1)[:, : -(-width >> step)]
    return rows


def _between(before: Table, here: Table, after: Table, *, centred: bool) -> tuple[Table, Table]:
    """Interpolate samples at twice the rate: return what lies at places 2 k and 2 k + 1, the same shape each.

    Place 2 k lies at sample k, and 2 k + 1 in the middle between it and the next one; where samples are centred, a
    quarter of their distance before and behind sample k.
    """
    if centred:
        return _mixed(here, 0.75, before, 0.25, "even"), _mixed(here, 0.75, after, 0.25, "odd")
    return here, _mixed(here, 0.5, after, 0.5, "odd")


_scratch = Scratch()


def _mixed(one: Table, share: float, other: Table, other_share: float, name: str) -> Table:
    """Return a weighted sum in this thread's scratch memory of a name."""
    import cv2

    out = _scratch.array(name, one.shape, np.float32)
    cv2.addWeighted(one, share, other, other_share, 0, out)
    return out


def _reduced(chroma: Table, layout: Layout, above: int) -> Table:
    """Return chroma (above + n, W) at the layout's size, as :func:`from_rgb` says."""
    import cv2

    if layout.down == 2 and layout.level:
        if not above:
            chroma = np.asarray(cv2.copyMakeBorder(chroma, 1, 0, 0, 0, cv2.BORDER_REPLICATE), np.float32)
        around = _mixed(chroma[:-2:2], 0.25, chroma[2::2], 0.25, "rows")
        chroma = _mixed(chroma[1::2], 0.5, around, 1, "rows")
    elif layout.down == 2:
        chroma = _mixed(chroma[above::2], 0.5, chroma[above + 1 :: 2], 0.5, "rows")
    else:
        chroma = chroma[above:]
    if layout.across == 2:
        pairs = chroma.reshape(len(chroma), -1, 2)
        here, right = np.ascontiguousarray(pairs[..., 0]), np.ascontiguousarray(pairs[..., 1])
        left = np.concatenate([here[:, :1], right[:, :-1]], axis=1)
        chroma = _mixed(here, 0.5, left + right, 0.25, "across")
    return chroma
