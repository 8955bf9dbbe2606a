"""What a gain map means, in both standards' words, and where it lies in the file.

- ISO 21496-1:2025, annex C.2 (the binary metadata) in APP2 segments of both pictures;
- Adobe's Gain Map specification 1.0 (``hdrgm``) and Android's Ultra HDR format 1.0 (``Container``) as XMP;
- CIPA DC-007, Multi-Picture Format, for readers that look for the second picture by it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from fractions import Fraction

from dcdr_deploy.imaging.gain_map import HDRGM
from dcdr_deploy.imaging.jpeg_file import GAIN_MAP, MULTI_PICTURE
from dcdr_deploy.imaging.ultrahdr.segments import APP2, Segment, segment
from dcdr_deploy.imaging.xmp_write import description

CONTAINER = "http://ns.google.com/photos/1.0/container/"
ITEM = "http://ns.google.com/photos/1.0/container/item/"

DENOMINATOR = 1_000_000
"""Of all fractions: XMP's six decimals say the same."""

_MULTICHANNEL, _BASE_COLOUR_SPACE = 0x80, 0x40
_MPF_HEADER = b"MM\0*" + struct.pack(">I", 8)
_BASELINE_PRIMARY = 0x030000  # DC-007, 5.2.3.3.1
_UNDEFINED_TYPE = 0


@dataclass(frozen=True)
class GainMap:
    """How codes become light: ``hdr = (sdr + offset) x 2^(weight x stops) - offset`` per channel.

    It is linear light in the SDR picture's own colour space, and ``stops = least + code / 255 x (most - least)``.

    Attributes:
        least: stops of code 0.
        most: stops of code 255; above ``least``.
        offset: in units of SDR white.
        headroom: stops above SDR white that a display must have for the whole gain, above 0; with less of it ``weight``
            is the part that it has.
        channels: 1 or 3.
    """

    least: float
    most: float
    offset: float
    headroom: float
    channels: int


def iso_of_base() -> Segment:
    """Return the segment that says of the SDR picture that a gain map follows: its version."""
    return segment(APP2, GAIN_MAP + struct.pack(">HH", 0, 0))


def iso_of_map(gain_map: GainMap) -> Segment:
    """Return the segment of the gain map's own JPEG (ISO 21496-1, C.2.2)."""
    flags = _BASE_COLOUR_SPACE | (_MULTICHANNEL if gain_map.channels == 3 else 0)
    body = struct.pack(">HHB", 0, 0, flags) + _unsigned(0) + _unsigned(gain_map.headroom)
    channel = _signed(gain_map.least) + _signed(gain_map.most) + _unsigned(1)
    channel += _signed(gain_map.offset) + _signed(gain_map.offset)
    return segment(APP2, GAIN_MAP + body + channel * gain_map.channels)


def xmp_of_map(gain_map: GainMap) -> str:
    """Return the description of the gain map's own JPEG."""
    offset = _decimal(gain_map.offset)
    attributes = {
        "Version": "1.0",
        "BaseRenditionIsHDR": "False",
        "GainMapMin": _decimal(gain_map.least),
        "GainMapMax": _decimal(gain_map.most),
        "Gamma": "1",
        "OffsetSDR": offset,
        "OffsetHDR": offset,
        "HDRCapacityMin": "0",
        "HDRCapacityMax": _decimal(gain_map.headroom),
    }
    return description({"hdrgm": HDRGM}, {f"hdrgm:{name}": value for name, value in attributes.items()})


def xmp_of_base(length: int) -> str:
    """Return the description of the SDR picture: what the file holds.

    Args:
        length: bytes of the gain map's JPEG.
    """
    items = (
        '<Container:Item Item:Semantic="Primary" Item:Mime="image/jpeg"/>',
        f'<Container:Item Item:Semantic="GainMap" Item:Mime="image/jpeg" Item:Length="{length}"/>',
    )
    listed = "".join(f'<rdf:li rdf:parseType="Resource">{item}</rdf:li>' for item in items)
    return description(
        {"hdrgm": HDRGM, "Container": CONTAINER, "Item": ITEM},
        {"hdrgm:Version": "1.0"},
        f"<Container:Directory><rdf:Seq>{listed}</rdf:Seq></Container:Directory>",
    )


def mpf(primary: int, secondary: int, offset: int) -> Segment:
    """Return the index of the two pictures (CIPA DC-007, 5.2).

    Args:
        primary: bytes of the first picture, all segments included.
        secondary: bytes of the second.
        offset: of the second from this segment's TIFF header, which begins 8 bytes after the segment does.
    """
    entries = struct.pack(">IIIHH", _BASELINE_PRIMARY, primary, 0, 0, 0)
    entries += struct.pack(">IIIHH", _UNDEFINED_TYPE, secondary, offset, 0, 0)
    directory = struct.pack(">H", 3)
    directory += struct.pack(">HHI4s", 0xB000, 7, 4, b"0100")
    directory += struct.pack(">HHII", 0xB001, 4, 1, 2)
    at = len(_MPF_HEADER) + len(directory) + 12 + 4
    directory += struct.pack(">HHII", 0xB002, 7, len(entries), at) + struct.pack(">I", 0)
    return segment(APP2, MULTI_PICTURE + _MPF_HEADER + directory + entries)


def as_stored(value: float) -> float:
    """Return a number as both standards' words hold it."""
    return _numerator(value) / DENOMINATOR


def _numerator(value: float) -> int:
    return round(Fraction(value) * DENOMINATOR)


def _decimal(value: float) -> str:
    return f"{value:.6f}"


def _signed(value: float) -> bytes:
    return struct.pack(">iI", _numerator(value), DENOMINATOR)


def _unsigned(value: float) -> bytes:
    return struct.pack(">II", _numerator(value), DENOMINATOR)
