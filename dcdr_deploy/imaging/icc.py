"""ICC profiles: what a colour conversion needs of them (ICC.1:2010, identical to ISO 15076-1).

Only gray and matrix/TRC profiles are understood here; profiles with look-up tables go to LittleCMS (``colour.py``).
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.imaging import h273
from dcdr_deploy.imaging import primaries as p
from dcdr_deploy.imaging.h273 import Curve

_PQ_WORDS = re.compile(r"\bPQ\b|\bST ?2084\b|2100[_ ]PQ", re.IGNORECASE)
_HLG_WORDS = re.compile(r"\bHLG\b|\bB67\b|2100[_ ]HLG", re.IGNORECASE)
_HEADER_SIZE = 128
_CLASS, _SPACE, _PCS, _SIGNATURE = slice(12, 16), slice(16, 20), slice(20, 24), slice(36, 40)
_NO_COLOUR_SPACE = (b"link", b"abst", b"nmcl")  # classes that may not be embedded (ICC.1:2022, 7.2.5)
_LUT_TAGS = (b"A2B0", b"A2B1")
_COLUMNS = (b"rXYZ", b"gXYZ", b"bXYZ")
_CURVES = (b"rTRC", b"gTRC", b"bTRC")
_LARGEST_CURVE = 65536
_LONGEST_NAME = 512  # bytes
_WHITE_TOLERANCE = 0.4  # of the colorants' sum beside D50: that of D65 has 1.32 times its Z
_PARAMETERS = (1, 3, 4, 5, 7)  # numbers in a parametric curve, by function type (table 65)

# Linear sRGB -> XYZ relative to D50: the colorants of the sRGB profile of the IEC 61966-2-1 authors, Bradford-adapted.
SRGB_TO_PCS = np.array(
    [
        [0.43606567, 0.38514709, 0.14307785],
        [0.22248840, 0.71687317, 0.06060791],
        [0.01391602, 0.09707642, 0.71409607],
    ]
)


class BrokenProfileError(ValueError):
    """Bytes that are no ICC profile, or one whose tags cannot be read."""


Tag = bytes | memoryview


@dataclass(frozen=True)
class Profile:
    """A profile's colour space and, where it is simple, its mathematics.

    Attributes:
        space: ``"RGB"``, ``"GRAY"``, ``"CMYK"``, ...
        description: the profile's own name, for reports.
        curves: device value in [0, 1] -> linear light in [0, 1]; three for RGB, one for gray, ``None`` if not simple.
        matrix: (3, 3), linear device RGB -> linear sRGB, unclipped; ``None`` for gray and for profiles that are not
            simple. White maps to white exactly.
        has_lut: whether the profile has look-up tables, which take precedence over the matrix (ICC.1, 8.10).
        cicp: code points of ITU-T H.273 in a ``cicp`` tag (ICC.1:2022, 9.2.17): primaries, transfer, matrix, range.
    """

    space: str
    description: str
    curves: tuple[Curve, ...] | None
    matrix: NDArray[np.float64] | None
    has_lut: bool
    cicp: tuple[int, int, int, int] | None = None


def parse(data: bytes) -> Profile:
    """Read a profile.

    Raises:
        BrokenProfileError: no profile, or tags that lie outside it or have an unknown form.
    """
    if len(data) < _HEADER_SIZE + 4 or data[_SIGNATURE] != b"acsp":
        raise BrokenProfileError("not an ICC profile")
    if data[_CLASS] in _NO_COLOUR_SPACE:
        raise BrokenProfileError(f"class {data[_CLASS].decode('latin-1')!r} describes no colour space")
    tags = _tag_table(data)
    space = data[_SPACE].decode("latin-1").strip()
    has_lut = any(tag in tags for tag in _LUT_TAGS)
    curves: tuple[Curve, ...] | None = None
    matrix = None
    if space == "RGB" and data[_PCS] == b"XYZ " and all(tag in tags for tag in (*_COLUMNS, *_CURVES)):
        curves = tuple(_curve(tags[tag]) for tag in _CURVES)
        matrix = _to_linear_srgb(np.stack([_xyz(tags[tag]) for tag in _COLUMNS], axis=1))
    elif space == "GRAY" and b"kTRC" in tags:
        curves = (_gray_curve(tags[b"kTRC"], data[_PCS]),)
    return Profile(space, _description(tags.get(b"desc", b"")), curves, matrix, has_lut, _cicp(tags.get(b"cicp", b"")))


def _cicp(tag: Tag) -> tuple[int, int, int, int] | None:
    if tag[:4] != b"cicp" or len(tag) < 12:
        return None
    primaries, transfer, matrix, full_range = tag[8:12]
    return primaries, transfer, matrix, full_range


def hdr_by_name(description: str) -> int | None:
    """Code point of PQ or HLG where a profile's name says it: profiles of tables have no curve to look at."""
    for code, words in ((h273.PQ, _PQ_WORDS), (h273.HLG, _HLG_WORDS)):
        if words.search(description):
            return code
    return None


def _tag_table(data: bytes) -> dict[bytes, memoryview]:
    """Tags by name; views, as any number of them may lie in the same place."""
    view = memoryview(data)
    (count,) = struct.unpack_from(">I", data, _HEADER_SIZE)
    if _HEADER_SIZE + 4 + 12 * count > len(data):
        raise BrokenProfileError("tag table beyond the end")
    tags = {}
    for entry in range(_HEADER_SIZE + 4, _HEADER_SIZE + 4 + 12 * count, 12):
        name, offset, size = struct.unpack_from(">4sII", data, entry)
        if offset + size > len(data):
            raise BrokenProfileError(f"tag {name.decode('latin-1')} beyond the end")
        tags[name] = view[offset : offset + size]
    return tags


def _xyz(tag: Tag) -> NDArray[np.float64]:
    if len(tag) < 20 or tag[:4] != b"XYZ ":
        raise BrokenProfileError("colorant of an unknown form")
    return _fixed(tag, 8, 3)


def _fixed(tag: Tag, offset: int, count: int) -> NDArray[np.float64]:
    """``count`` numbers of type s15Fixed16."""
    if offset + 4 * count > len(tag):
        raise BrokenProfileError("tag too short")
    return np.frombuffer(tag, ">i4", count, offset).astype(np.float64) / 65536


def _to_linear_srgb(columns: NDArray[np.float64]) -> NDArray[np.float64]:
    """Device RGB -> linear sRGB, both relative to the D50 of the profile connection space.

    Colorants are rounded, and those of some displays' profiles add up to D65 instead of D50: they are adapted, so that
    neutrals stay neutral.
    """
    white, pcs_white = columns.sum(axis=1), SRGB_TO_PCS.sum(axis=1)
    if not np.all(np.isfinite(white)) or np.any(np.abs(white / pcs_white - 1) > _WHITE_TOLERANCE):
        raise BrokenProfileError("colorants that do not add up to white")
    adapted = p.adaptation(_xy(white), _xy(pcs_white)) @ columns / white[1]
    matrix: NDArray[np.float64] = np.linalg.solve(SRGB_TO_PCS, adapted)
    return matrix


def _xy(xyz: NDArray[np.float64]) -> tuple[float, float]:
    return float(xyz[0] / xyz.sum()), float(xyz[1] / xyz.sum())


def _gray_curve(tag: Tag, pcs: bytes) -> Curve:
    """A gray profile's curve leads to the neutral axis of its connection space: to Y, or to L* of CIELAB (F.2)."""
    curve = _curve(tag)
    if pcs != b"Lab ":
        return curve
    return lambda x: _luminance_of_lightness(curve(x))


def _luminance_of_lightness(lightness: NDArray[np.float64]) -> NDArray[np.float64]:
    """L*/100 -> Y, both in [0, 1] (CIE 15:2004, 8.2.1)."""
    root = (100 * lightness + 16) / 116
    return np.where(root > 6 / 29, root**3, (root - 4 / 29) * 108 / 841)


def _curve(tag: Tag) -> Curve:
    if len(tag) >= 12 and tag[:4] == b"curv":
        return _sampled_curve(tag)
    if len(tag) >= 12 and tag[:4] == b"para":
        return _parametric_curve(tag)
    raise BrokenProfileError("tone curve of an unknown form")


def _sampled_curve(tag: Tag) -> Curve:
    """Type ``curv`` (10.5): identity, a gamma as u8Fixed8, or equidistant samples."""
    (count,) = struct.unpack_from(">I", tag, 8)
    if count == 0:
        return lambda x: x
    if count > _LARGEST_CURVE or 12 + 2 * count > len(tag):
        raise BrokenProfileError("tone curve beyond the end")
    samples = np.frombuffer(tag, ">u2", count, 12).astype(np.float64)
    if count == 1:
        gamma = float(samples[0]) / 256
        return lambda x: x**gamma
    nodes = np.linspace(0, 1, count)
    return lambda x: np.interp(x, nodes, samples / 65535)


def _parametric_curve(tag: Tag) -> Curve:
    """Type ``para`` (10.15), function types 0 to 4, all as one: (a x + b)^g + e from d upwards, c x + f below."""
    (kind,) = struct.unpack_from(">H", tag, 8)
    if kind >= len(_PARAMETERS):
        raise BrokenProfileError(f"parametric curve of type {kind}")
    g, *rest = _fixed(tag, 12, _PARAMETERS[kind])
    a, b, c, d, e, f = 1.0, 0.0, 0.0, 0.0, 0.0, 0.0
    if kind in (1, 2):
        a, b = rest[:2]
        e = f = rest[2] if kind == 2 else 0.0
        if a == 0:
            raise BrokenProfileError("parametric curve without a slope")
        d = -b / a
    elif kind == 3:
        a, b, c, d = rest
    elif kind == 4:
        a, b, c, d, e, f = rest

    def curve(x: NDArray[np.float64]) -> NDArray[np.float64]:
        power = np.maximum(a * x + b, 0) ** g + e
        return np.clip(np.where(x >= d, power, c * x + f), 0, 1)

    return curve


def _description(tag: Tag) -> str:
    """The name in a ``desc`` tag of version 2 (ASCII) or 4 (mluc, UTF-16); empty where there is none to read."""
    if tag[:4] == b"desc" and len(tag) >= 12:
        (length,) = struct.unpack_from(">I", tag, 8)
        text = bytes(tag[12 : 12 + min(length, _LONGEST_NAME)]).decode("latin-1")
    elif tag[:4] == b"mluc" and len(tag) >= 28:
        length, offset = struct.unpack_from(">II", tag, 20)
        text = bytes(tag[offset : offset + min(length, _LONGEST_NAME)]).decode("utf-16-be", "replace")
    else:
        return ""
    return " ".join(text.replace("\0", " ").split())
