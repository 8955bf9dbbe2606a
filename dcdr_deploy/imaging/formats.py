"""Which files are pictures that can be read, told by their first bytes; suffixes only serve folder discovery."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dcdr_deploy.imaging import isobmff, jxl_header
from dcdr_deploy.imaging.decoders import avif, bmp, heif, jpeg, jxl, png, tiff, with_pillow
from dcdr_deploy.imaging.decoders.common import StoredSamples, UnreadableError

EMPTY = "is empty (zero bytes); copy or export it again"
"""What is told of a file without content."""

SIGNATURE_BYTES = 64
"""How many bytes from the start of a file are enough for :func:`identify`."""


@dataclass(frozen=True)
class PictureFormat:
    """A readable format.

    Attributes:
        name: as users call it.
        suffixes: lower case, with the dot.
        matches: whether the first bytes of a file are of this format.
        decode: file bytes -> stored samples; raises ``UnreadableError``.
    """

    name: str
    suffixes: tuple[str, ...]
    matches: Callable[[bytes], bool]
    decode: Callable[[bytes], StoredSamples]


def _starts(*signatures: bytes) -> Callable[[bytes], bool]:
    return lambda head: head.startswith(signatures)


def _is_tiff(head: bytes) -> bool:
    classic_or_big = head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"))
    return classic_or_big and head[8:10] != b"CR"  # Canon CR2 is a TIFF with this mark


_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_HEIF_BRANDS = frozenset(
    {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"mif2", b"msf1"}
)


def _is_avif(head: bytes) -> bool:
    return not isobmff.brands(head).isdisjoint(_AVIF_BRANDS)


def _is_heif(head: bytes) -> bool:
    return not isobmff.brands(head).isdisjoint(_HEIF_BRANDS)


FORMATS: tuple[PictureFormat, ...] = (
    PictureFormat("PNG", (".png",), _starts(png.SIGNATURE), png.decode_png),
    PictureFormat("JPEG", (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"), _starts(b"\xff\xd8\xff"), jpeg.decode_jpeg),
    PictureFormat("WebP", (".webp",), lambda h: h[:4] == b"RIFF" and h[8:12] == b"WEBP", with_pillow.decode_webp),
    PictureFormat("TIFF", (".tif", ".tiff"), _is_tiff, tiff.decode_tiff),
    PictureFormat("BMP", (".bmp", ".dib"), _starts(b"BM"), bmp.decode_bmp),
    PictureFormat("AVIF", (".avif",), _is_avif, avif.decode_avif),
    PictureFormat("HEIC", (".heic", ".heif", ".hif"), _is_heif, heif.decode_heif),
    PictureFormat("JPEG XL", (".jxl",), _starts(jxl_header.CODESTREAM, jxl_header.CONTAINER), jxl.decode_jxl),
)

SUFFIXES: frozenset[str] = frozenset(suffix for picture in FORMATS for suffix in picture.suffixes)
"""Suffixes (lower case, with the dot) under which folder runs look for pictures."""

READABLE = "8- or 16-bit SDR picture as " + ", ".join(f.name for f in FORMATS[:-1]) + f" or {FORMATS[-1].name}"

_RAW = "a camera RAW file"
VIDEO = "a video"
"""What :func:`name_of` calls all of them."""

_QUICKTIME = frozenset({b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"})  # older files begin with no brand
_REFUSED: tuple[tuple[str, Callable[[bytes], bool]], ...] = (
    ("OpenEXR, which is HDR already", _starts(b"\x76\x2f\x31\x01")),
    ("Radiance HDR, which is HDR already", _starts(b"#?")),
    ("a NumPy array, which is HDR already", _starts(b"\x93NUMPY")),
    ("a portable float map, which is HDR already", _starts(b"PF\n", b"Pf\n")),
    (_RAW, _starts(b"II*\0\x10\0\0\0CR", b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"FUJIFILM")),
    (_RAW, lambda h: h[4:12] == b"ftypcrx "),
    (
        VIDEO,
        lambda h: h[4:8] in _QUICKTIME or h[:4] == b"\x1a\x45\xdf\xa3" or (h[:4] == b"RIFF" and h[8:12] == b"AVI "),
    ),
    ("JPEG 2000", _starts(b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51")),
    ("JPEG XR", _starts(b"II\xbc")),
    ("GIF", _starts(b"GIF8")),
    ("Photoshop", _starts(b"8BPS")),
    ("PDF", _starts(b"%PDF")),
)


def identify(head: bytes) -> PictureFormat:
    """The format of a file by its first :data:`SIGNATURE_BYTES` bytes.

    Raises:
        UnreadableError: empty, a known format that is not taken, or unknown content.
    """
    if not head:
        raise UnreadableError(EMPTY)
    for picture in FORMATS:
        if picture.matches(head):
            return picture
    refused = _refused(head)
    raise UnreadableError(f"is {refused or 'no picture by its content'}; give an {READABLE}")


def name_of(head: bytes) -> str:
    """The name of a format, of those too that are refused, by a file's first bytes; empty where it is none of them."""
    return next((picture.name for picture in FORMATS if picture.matches(head)), "") or _refused(head)


def _refused(head: bytes) -> str:
    return next((name for name, matches in _REFUSED if matches(head)), "")
