"""What a picture says of itself beside its pixels: the raw blocks of Exif, XMP and IPTC, found in any input format."""

from __future__ import annotations

import zlib
from collections.abc import Callable

from dcdr_deploy.imaging import exif_block, isobmff, jpeg_file
from dcdr_deploy.imaging.decoders import items, jxl, png
from dcdr_deploy.imaging.decoders.common import UnreadableError
from dcdr_deploy.imaging.frame import Kept

XMP_KEYWORD = b"XML:com.adobe.xmp"
RAW_IPTC = b"Raw profile type iptc"
TIFF_XMP, TIFF_IPTC = 700, 33723
_RAW_EXIF = (b"Raw profile type exif", b"Raw profile type APP1")
_LONGEST = 2**24


def kept_of(data: bytes, format_name: str) -> Kept:
    """Find the blocks in a file.

    Args:
        data: the file, which a decoder has read.
        format_name: of ``formats.FORMATS``.

    Returns:
        What was found: damaged containers and blocks that are cut short have none.
    """
    find = _FINDERS.get(format_name)
    try:
        return find(data) if find is not None else Kept()
    except (UnreadableError, isobmff.BrokenContainerError, zlib.error, LookupError, ValueError):
        return Kept()  # metadata cost no picture


def _jpeg(data: bytes) -> Kept:
    return Kept(
        jpeg_file.body_of(data, jpeg_file.APP1, jpeg_file.EXIF),
        jpeg_file.body_of(data, jpeg_file.APP1, jpeg_file.XMP),
        jpeg_file.iptc_of(data),
        jpeg_file.xmp_extensions_of(data),
    )


def _png(data: bytes) -> Kept:
    exif = xmp = iptc = None
    for kind, body in png.ancillary(data):
        keyword, _, rest = body.partition(b"\0")
        if kind == b"eXIf":
            exif = body
        elif kind == b"iTXt" and keyword == XMP_KEYWORD:
            packed = rest[:1] == b"\1"
            text = rest[2:].split(b"\0", 2)[-1]
            xmp = _inflated(text) if packed else text
        elif kind in (b"zTXt", b"tEXt") and keyword in (RAW_IPTC, *_RAW_EXIF):
            block = _raw_profile(_inflated(rest[1:]) if kind == b"zTXt" else rest)
            if keyword == RAW_IPTC:
                iptc = _bare(block)
            elif block.startswith(jpeg_file.EXIF):
                exif = exif or block.removeprefix(jpeg_file.EXIF)
    return Kept(exif, xmp, iptc)


def _raw_profile(text: bytes) -> bytes:
    """ImageMagick's way to put a block into a text: a line with its name, one with its length, hexadecimal digits."""
    _, _, rest = text.lstrip(b"\n").partition(b"\n")
    _, _, digits = rest.partition(b"\n")
    return bytes.fromhex(digits.decode("ascii", "replace"))


def _bare(block: bytes) -> bytes | None:
    """IPTC's records, which lie in a text bare or in Photoshop's resources."""
    if not block.startswith(b"8BIM"):
        return block or None
    size = len(block) + 2 + len(jpeg_file.PHOTOSHOP)
    segment = b"\xff\xed" + size.to_bytes(2, "big") + jpeg_file.PHOTOSHOP + block
    return jpeg_file.iptc_of(b"\xff\xd8" + segment) if size < 2**16 else None


def _inflated(packed: bytes) -> bytes:
    return zlib.decompressobj().decompress(packed, _LONGEST)


def _webp(data: bytes) -> Kept:
    found: dict[bytes, bytes] = {}
    at = 12
    while at + 8 <= len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        if data[at : at + 4] in (b"EXIF", b"XMP "):
            found.setdefault(data[at : at + 4], data[at + 8 : at + 8 + size])
        at += 8 + size + size % 2
    exif = found.get(b"EXIF")
    return Kept(exif.removeprefix(jpeg_file.EXIF) if exif else None, found.get(b"XMP "))


def _tiff(data: bytes) -> Kept:
    """Of a classic TIFF the directories are Exif's; BigTIFF has another form, which nobody calls Exif."""
    found = exif_block.parse(data)
    xmp, iptc = found.picture.get(TIFF_XMP), found.picture.get(TIFF_IPTC)
    # The file itself would be held as long as its picture is worked on.
    block = exif_block.assembled(exif_block.relevant(found))
    return Kept(block, xmp.data if xmp else None, exif_block.bytes_of_longs(iptc, data[:2]) if iptc else None)


def _items(data: bytes) -> Kept:
    container = isobmff.read(data)
    return Kept(*items.described(container, container.primary))


def _jxl(data: bytes) -> Kept:
    parts = list(jxl.boxes_of(data))
    return Kept(jxl.exif_of(parts), next((body for kind, body in parts if kind == b"xml "), None))


_FINDERS: dict[str, Callable[[bytes], Kept]] = {
    "JPEG": _jpeg,
    "PNG": _png,
    "WebP": _webp,
    "TIFF": _tiff,
    "AVIF": _items,
    "HEIC": _items,
    "JPEG XL": _jxl,
}
