"""Windows bitmaps by Pillow, with what headers of version 4 and 5 say of colours (Microsoft, BITMAPV5HEADER)."""

from __future__ import annotations

import struct

from dcdr_deploy.imaging import h273
from dcdr_deploy.imaging import primaries as p
from dcdr_deploy.imaging.declared import Declared, Stated, is_srgb_gamma
from dcdr_deploy.imaging.decoders.common import StoredSamples
from dcdr_deploy.imaging.decoders.with_pillow import decode_with

_FILE_HEADER = 14
_VERSION_4, _VERSION_5 = 108, 124
_COLOUR_SPACE, _END_POINTS, _PROFILE = 56, 60, 112  # bytes of the header
_CALIBRATED, _SRGB, _EMBEDDED, _LINKED = bytes(4), b"BGRs", b"DEBM", b"KNIL"  # four-character codes, little-endian
_ONE_OF_XYZ, _ONE_OF_GAMMA = 2**30, 2**16
_D65 = p.REC709[6:]
_GAMMAS = (0.2, 20.0)


def decode_bmp(data: bytes) -> StoredSamples:
    """Windows and OS/2 bitmaps of 1 to 32 bits a pixel.

    An alpha channel of nothing but 0 is none: writers that have no alpha leave those bytes empty.

    Raises:
        UnreadableError: damaged, or of a kind that Pillow does not decode.
    """
    from PIL import BmpImagePlugin

    stored = decode_with(BmpImagePlugin.BmpImageFile, data)
    stored.declared = _declared(data)
    if stored.alpha is not None and not stored.alpha.any():
        stored.alpha = None
        stored.notes.append("alpha ignored: it is 0 everywhere")
    return stored


def _declared(data: bytes) -> Declared:
    (size,) = struct.unpack_from("<I", data, _FILE_HEADER)
    if size < _VERSION_4 or len(data) < _FILE_HEADER + size:
        return Declared()
    header = data[_FILE_HEADER : _FILE_HEADER + size]
    kind = header[_COLOUR_SPACE : _COLOUR_SPACE + 4]
    if kind == _EMBEDDED and size >= _VERSION_5:
        start, length = struct.unpack_from("<II", header, _PROFILE)
        return Declared(icc=data[_FILE_HEADER + start : _FILE_HEADER + start + length] or b"\0")
    if kind == _LINKED:
        return Declared(notes=["ICC profile ignored: the file only names it, and does not hold it"])
    if kind == _CALIBRATED:
        return Declared(stated=_calibrated(header))
    return Declared(srgb=kind == _SRGB)


def _calibrated(header: bytes) -> Stated | None:
    """Primaries and gamma by end points; ``None`` where a writer left them empty, or they make no sense.

    End points are XYZ. Where each of them adds up to 1 they are chromaticities, and white is D65.
    """
    numbers = struct.unpack_from("<12I", header, _END_POINTS)
    points = [[number / _ONE_OF_XYZ for number in numbers[at : at + 3]] for at in (0, 3, 6)]
    gammas = [number / _ONE_OF_GAMMA for number in numbers[9:]]
    sums = [sum(point) for point in points]
    if min(sums) <= 0 or not _GAMMAS[0] <= min(gammas) <= max(gammas) <= _GAMMAS[1]:
        return None
    red, green, blue = ((x / whole, y / whole) for (x, y, _), whole in zip(points, sums, strict=True))
    total = [sum(each) for each in zip(*points, strict=True)]
    is_xy = all(abs(whole - 1) < 1e-3 for whole in sums)
    white = _D65 if is_xy else (total[0] / sum(total), total[1] / sum(total))
    colours = (*red, *green, *blue, *white)
    gamma = sum(gammas) / 3
    if is_srgb_gamma(gamma, colours):
        return Stated("BMP header", colours, h273.SRGB)
    return Stated("BMP header", colours, h273.UNSPECIFIED, 1 / gamma)
