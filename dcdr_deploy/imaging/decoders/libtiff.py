"""The libtiff that Pillow decodes with: which of TIFF's compressions it was built for, and silence.

Pillow has no call for either. Its extension module is linked to the library, whose functions can be found through it;
where they cannot (Windows, static builds), every compression counts as built in, and libtiff's own lines may appear.
"""

from __future__ import annotations

import ctypes
import functools
from contextlib import suppress

COMPRESSIONS: dict[int, str] = {
    1: "none",
    2: "CCITT RLE",
    3: "CCITT Group 3",
    4: "CCITT Group 4",
    5: "LZW",
    6: "old-style JPEG",
    7: "JPEG",
    8: "deflate",
    32771: "CCITT RLE, word-aligned",
    32773: "PackBits",
    32809: "ThunderScan",
    32946: "deflate",
    33003: "JPEG 2000",
    33005: "JPEG 2000",
    32908: "PixarFilm",
    32909: "PixarLog",
    34661: "JBIG",
    34676: "SGI LogLuv",
    34677: "SGI LogLuv, 24 bits",
    34712: "JPEG 2000",
    34887: "LERC",
    34892: "lossy JPEG of DNG",
    34925: "LZMA",
    34933: "PNG",
    34934: "JPEG XR",
    50000: "Zstandard",
    50001: "WebP",
    50002: "JPEG XL",
    52546: "JPEG XL",
}
"""Names by the number in tag 259, for messages."""

_BY_PILLOW_ITSELF = frozenset({1, 32771})
_BY_LIBTIFF = frozenset({2, 3, 4, 5, 6, 7, 8, 32773, 32809, 32946, 34925, 50000, 50001})
"""What Pillow hands to libtiff."""


def name_of(compression: int) -> str:
    """The name of a compression, with its number where it has none here."""
    return COMPRESSIONS.get(compression, f"number {compression}")


def can_decode(compression: int) -> bool:
    """Whether Pillow's libtiff has been built with a compression."""
    if compression in _BY_PILLOW_ITSELF:
        return True
    if compression not in _BY_LIBTIFF:
        return False
    library = _library()
    return library is None or bool(library.TIFFIsCODECConfigured(ctypes.c_uint16(compression)))


@functools.cache
def silence() -> None:
    """Keep libtiff from printing: what it says arrives as an error, and is told once by our own sentence."""
    library = _library()
    if library is not None:
        for setter in (library.TIFFSetErrorHandler, library.TIFFSetWarningHandler):
            setter.restype, setter.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
            setter(None)


@functools.cache
def _library() -> ctypes.CDLL | None:
    from PIL import Image

    # Pillow's type stubs do not know that its core is a module with a file.
    path = getattr(Image.core, "__file__", None)
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(path)
        if path and library.TIFFIsCODECConfigured and library.TIFFSetErrorHandler and library.TIFFSetWarningHandler:
            return library
    return None
