"""JPEG (ITU-T T.81) by Pillow; what libjpeg has no code for is named by the frame header."""

from __future__ import annotations

import struct

from dcdr_deploy.imaging.decoders.common import Stored, UnreadableError, unsupported
from dcdr_deploy.imaging.decoders.with_pillow import decode_with

_FRAMES = {
    0xC3: "lossless",
    0xC5: "hierarchical",
    0xC6: "hierarchical",
    0xC7: "hierarchical",
    0xC9: "arithmetic coding",
    0xCA: "arithmetic coding",
    0xCB: "lossless, arithmetic coding",
    0xCD: "hierarchical",
    0xCE: "hierarchical",
    0xCF: "hierarchical",
    0xF7: "JPEG-LS",
}
"""Processes beyond baseline, extended and progressive Huffman coding, by marker (T.81, table B.1)."""

_HUFFMAN_FRAMES = (0xC0, 0xC1, 0xC2)
_NO_LENGTH = frozenset({0x01, *range(0xD0, 0xDA)})
_START_OF_SCAN = 0xDA


def decode_jpeg(data: bytes) -> Stored:
    """Baseline and progressive JPEG: gray, YCbCr, RGB, CMYK and YCCK (Adobe's inverted inks are turned round).

    Raises:
        UnreadableError: damaged, or of a kind of JPEG that libjpeg does not decode, such as 12 bits.
    """
    from PIL import JpegImagePlugin

    try:
        return decode_with(JpegImagePlugin.JpegImageFile, data)
    except UnreadableError as refusal:
        kind = unusual_kind(data)
        if kind:
            raise unsupported(f"{kind} JPEG is not supported") from refusal
        raise


def unusual_kind(data: bytes) -> str:
    """``"12-bit"``, ``"lossless"`` and the like by the frame header; empty for usual files and without a header."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # fill
            at += 1
            continue
        if marker in _NO_LENGTH:
            at += 2
            continue
        (length,) = struct.unpack_from(">H", data, at + 2)
        if marker in _FRAMES or marker in _HUFFMAN_FRAMES:
            precision = data[at + 4] if at + 4 < len(data) else 8
            depth = f"{precision}-bit" if precision != 8 else ""
            return " ".join(word for word in (_FRAMES.get(marker, ""), depth) if word)
        if marker == _START_OF_SCAN:
            return ""
        at += 2 + length
    return ""
