"""JPEG (ITU-T T.81) by Pillow; what libjpeg has no code for is named by the frame header."""

from __future__ import annotations

from dcdr_deploy.imaging import jpeg_file
from dcdr_deploy.imaging.decoders.common import StoredSamples, UnreadableError, unsupported
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


def decode_jpeg(data: bytes) -> StoredSamples:
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
    for each in jpeg_file.markers(data, jpeg_file.ALONE | jpeg_file.ENDS):
        if each.marker in _FRAMES or each.marker in _HUFFMAN_FRAMES:
            precision = data[each.begin] if each.begin < len(data) else 8
            depth = f"{precision}-bit" if precision != 8 else ""
            return " ".join(word for word in (_FRAMES.get(each.marker, ""), depth) if word)
        if each.marker == jpeg_file.START_OF_SCAN:
            return ""
    return ""
