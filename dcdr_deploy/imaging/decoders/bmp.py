"""Windows bitmaps by Pillow, with what headers of version 4 and 5 say of colours (Microsoft, BITMAPV5HEADER)."""

from __future__ import annotations

import struct

from dcdr_deploy.imaging.declared import Declared
from dcdr_deploy.imaging.decoders.common import Stored
from dcdr_deploy.imaging.decoders.with_pillow import decode_with

_FILE_HEADER = 14
_VERSION_5 = 124
_COLOUR_SPACE, _PROFILE = 56, 112  # bytes of the header
_SRGB, _EMBEDDED = b"BGRs", b"DEBM"  # four-character codes, little-endian


def decode_bmp(data: bytes) -> Stored:
    """Windows and OS/2 bitmaps of 1 to 32 bits a pixel.

    Calibrated colours (end points and gamma in a header of version 4) are not looked at: writers leave them empty.

    Raises:
        UnreadableError: damaged, or of a kind that Pillow does not decode.
    """
    from PIL import BmpImagePlugin

    stored = decode_with(BmpImagePlugin.BmpImageFile, data)
    stored.declared = _declared(data)
    return stored


def _declared(data: bytes) -> Declared:
    (size,) = struct.unpack_from("<I", data, _FILE_HEADER)
    if size < _VERSION_5 or len(data) < _FILE_HEADER + _VERSION_5:
        return Declared()
    kind = data[_FILE_HEADER + _COLOUR_SPACE : _FILE_HEADER + _COLOUR_SPACE + 4]
    if kind == _EMBEDDED:
        start, length = struct.unpack_from("<II", data, _FILE_HEADER + _PROFILE)
        return Declared(icc=data[_FILE_HEADER + start : _FILE_HEADER + start + length] or b"\0")
    return Declared(srgb=kind == _SRGB)
