"""What a video's samples stand for: tags of ITU-T H.273, and what is taken where a file says nothing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dcdr_deploy.errors import InputError
from dcdr_deploy.imaging import h273
from dcdr_deploy.imaging import primaries as p
from dcdr_deploy.imaging.encoding import Encoding
from dcdr_deploy.imaging.h273 import Curve
from dcdr_deploy.imaging.transfer import srgb_to_linear
from dcdr_deploy.run.video.yuv import BT709_LUMA, BT2020_LUMA, Luma

UNSPECIFIED = frozenset({0, 2, 3})
"""Code points that say nothing: reserved ones and "unspecified" (H.273, tables 2 to 4)."""

RGB_MATRIX = 0
FULL_RANGE = 2
"""FFmpeg's AVCOL_RANGE_JPEG; 1 is limited, 0 is not said."""

LUMA: dict[int, Luma] = {
    1: BT709_LUMA,
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: BT2020_LUMA,
}
"""K_R and K_B by MatrixCoefficients (H.273, table 4), without constant luminance and without those that are no linear
combination."""

SCREEN_TRANSFERS = frozenset({1, 6, 11, 12, 13, 14, 15})
"""Video cameras' curves and sRGB. What is meant is the light of a screen (BT.1886), not of the camera's sensor, and
the network was trained on sRGB codes, whose curve is a screen's in a lit room: samples stay as they are."""

HD_WIDTH, HD_HEIGHT = 1280, 576
"""A picture at least so wide, or higher than this, is taken for BT.709; mpv's rule."""


@dataclass(frozen=True)
class Tags:
    """Code points as a decoder reports them.

    Attributes:
        primaries, transfer, matrix: of H.273; 2 is unspecified.
        range: FFmpeg's: 0 not said, 1 limited, 2 full.
    """

    primaries: int = 2
    transfer: int = 2
    matrix: int = 2
    range: int = 0

    def or_else(self, other: Tags) -> Tags:
        """Return these tags, and another's where nothing is said; its range too where nothing at all is."""
        ours, others = (self.primaries, self.transfer, self.matrix), (other.primaries, other.transfer, other.matrix)
        first, second, third = (b if a in UNSPECIFIED else a for a, b in zip(ours, others, strict=True))
        # A decoder says limited where its stream says nothing.
        silent = all(mine in UNSPECIFIED for mine in ours)
        return Tags(first, second, third, (other.range or self.range) if silent else (self.range or other.range))

    def differences(self, other: Tags) -> list[str]:
        """Return of what another says something else, in words."""
        return [
            name
            for name in ("primaries", "transfer", "matrix")
            if (mine := getattr(self, name)) != (theirs := getattr(other, name))
            and not {mine, theirs} & UNSPECIFIED
            and not (name == "transfer" and {mine, theirs} <= SCREEN_TRANSFERS)
        ]


@dataclass(frozen=True)
class Colours:
    """How samples become sRGB-encoded Rec. 709 RGB.

    Attributes:
        luma: K_R, K_B of the matrix; ``None`` for RGB.
        full_range: whether black and white are the first and the last code.
        convert: from R'G'B' to sRGB-encoded Rec. 709, where they are something else.
        name: in words.
        note: what was taken for want of a tag; empty where all was said.
    """

    luma: tuple[float, float] | None
    full_range: bool
    convert: Encoding | None
    name: str
    note: str = ""


def refuse_hdr(transfer: int) -> None:
    """Refuse a transfer characteristic of HDR.

    Raises:
        InputError: it is one.
    """
    if transfer in (h273.PQ, h273.HLG):
        raise InputError(f"is HDR already ({h273.TRANSFERS[transfer].name}); this tool makes HDR of SDR")


def resolve(
    tags: Tags,
    width: int,
    height: int,
    *,
    is_rgb: bool,
    is_gray: bool = False,
    full_by_format: bool = False,
    full_gray: bool = False,
) -> Colours:
    """Return what the samples of a video are.

    Args:
        tags: what the file says.
        width, height: pixels as coded.
        is_rgb: samples are RGB, by their pixel format.
        is_gray: there is luma only.
        full_by_format: the pixel format says full range (FFmpeg's yuvj420p and its like).
        full_gray: where no range is said gray has full range, as RGB has; all else is limited.

    Raises:
        InputError: the video is HDR, or its matrix is none of :data:`LUMA`.
    """
    refuse_hdr(tags.transfer)
    hd = width >= HD_WIDTH or height > HD_HEIGHT
    guessed = []
    luma = None
    if not is_rgb:
        matrix = tags.matrix
        if matrix in UNSPECIFIED or matrix == RGB_MATRIX:
            matrix = 1 if hd else 6
            guessed += [] if is_gray else ["matrix BT.709" if hd else "matrix BT.601"]
        if matrix not in LUMA:
            raise InputError(f"has matrix coefficients {matrix} of H.273, which are not read; convert it to BT.709")
        luma = LUMA[matrix]
    primaries = tags.primaries
    if primaries not in h273.PRIMARIES:
        primaries = 1 if hd or is_rgb else {576: 5, 480: 6, 486: 6}.get(height, 1)
        if primaries != 1:
            guessed.append(f"primaries BT.601 of {height} lines")
    full = full_by_format or tags.range == FULL_RANGE or (tags.range == 0 and (is_rgb or (is_gray and full_gray)))
    if is_gray and tags.range == 0:
        guessed.append("full range" if full else "limited range")
    encoding = _encoding(primaries, tags.transfer)
    name = _name(luma, primaries, encoding, full)
    note = f"its colours are not tagged: taken as {' and '.join(guessed)}" if guessed else ""
    return Colours(luma, full, encoding, name, note)


def _encoding(primaries: int, transfer: int) -> Encoding | None:
    """Return what must be converted; ``None`` where samples are taken as sRGB."""
    colours = h273.PRIMARIES[primaries]
    matrix = None if p.is_rec709(colours) else p.to_rec709(colours)
    known = h273.TRANSFERS.get(transfer)
    curve: Curve
    if known is None or known.curve is None or transfer in SCREEN_TRANSFERS:
        curve, name = _srgb, "as shown on a screen"
    else:
        curve, name = known.curve, known.name
    if matrix is None and curve is _srgb:
        return None
    return Encoding(f"{p.name_of(colours)}, {name}", "tags", (curve,), matrix)


def _srgb(encoded: np.ndarray) -> np.ndarray:
    return np.asarray(srgb_to_linear(encoded), np.float64)


def _name(luma: tuple[float, float] | None, primaries: int, encoding: Encoding | None, full: bool) -> str:
    matrix = "RGB" if luma is None else {LUMA[1]: "BT.709", LUMA[6]: "BT.601", LUMA[9]: "BT.2020"}.get(luma, "YCbCr")
    space = p.name_of(h273.PRIMARIES[primaries]) if encoding is None else encoding.name
    return f"{matrix}, {space}, {'full' if full else 'limited'} range"
