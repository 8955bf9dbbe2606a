"""What Exif says of a picture's colours (Exif 2.32, 4.6.5; DCF 2.0, JEITA CP-3461B)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from dcdr_deploy.imaging.declared import Declared
from dcdr_deploy.imaging.primaries import Chromaticities

if TYPE_CHECKING:
    from PIL import Image

TRANSFER_FUNCTION, WHITE_POINT, PRIMARY_CHROMATICITIES = 301, 318, 319
_EXIF_DIRECTORY, _INTEROPERABILITY_DIRECTORY = 34665, 40965
_COLOR_SPACE, _GAMMA, _INTEROPERABILITY_INDEX = 40961, 42240, 1
_SRGB, _ADOBE_RGB, _UNCALIBRATED = 1, 2, 65535  # 2 is no value of the standard, but some cameras write it
_OPTION_FILE = "R03"
"""InteroperabilityIndex of a DCF option file: Adobe RGB (1998)."""


def declare(exif: Image.Exif, declared: Declared) -> None:
    """Add what an Exif block, or a TIFF's directories, say of colours. Damaged ones say nothing."""
    from dcdr_deploy.imaging.decoders.common import PILLOW_ERRORS

    try:
        own: Mapping[int, Any] = exif.get_ifd(_EXIF_DIRECTORY)
        declared.exif_space = _space(own.get(_COLOR_SPACE), _interoperability_index(exif))
        declared.tiff_gamma = _positive(own.get(_GAMMA))
        declare_colorimetry(exif, declared)
    except PILLOW_ERRORS:
        return


def _interoperability_index(exif: Image.Exif) -> object:
    try:
        return exif.get_ifd(_INTEROPERABILITY_DIRECTORY).get(_INTEROPERABILITY_INDEX, "")
    except KeyError:  # Pillow before 13, where there is no such directory
        return ""


def declare_colorimetry(tags: Mapping[int, Any], declared: Declared) -> None:
    """Add TransferFunction, WhitePoint and PrimaryChromaticities of a TIFF's, or Exif's, first directory."""
    declared.tiff_chromaticities = _chromaticities(tags.get(WHITE_POINT), tags.get(PRIMARY_CHROMATICITIES))
    table = tags.get(TRANSFER_FUNCTION)
    if table is not None:
        declared.tiff_table = _table(table)
        if declared.tiff_table is None:
            declared.notes.append("TIFF TransferFunction ignored: it has no entry for each code")


def _space(value: object, index: object) -> str:
    text = index.decode("latin-1") if isinstance(index, bytes) else str(index)
    if value == _ADOBE_RGB or (value in (None, _UNCALIBRATED) and text.strip("\0 ").upper() == _OPTION_FILE):
        return "Adobe RGB"
    return {None: "", _SRGB: "sRGB"}.get(value if isinstance(value, int) else None, "uncalibrated")


def _positive(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError, ArithmeticError):
        return None
    return number if 0.2 <= number <= 20 else None


def _chromaticities(white: Any, primaries: Any) -> Chromaticities | None:
    try:
        numbers = [float(number) for number in (*primaries, *(white if white is not None else (0.3127, 0.3290)))]
    except (TypeError, ValueError, ArithmeticError):
        return None
    if len(numbers) != 8 or not np.isfinite(numbers).all():
        return None
    return tuple(numbers)  # type: ignore[return-value]


def _table(value: Any) -> Any:
    """(2^bits,) or (2^bits, 3) uint16, or ``None`` for another form."""
    if not isinstance(value, tuple) or not all(isinstance(number, int) and 0 <= number < 65536 for number in value):
        return None
    codes = np.array(value, np.uint16)
    if codes.size in (256, 65536):
        return codes
    if codes.size in (3 * 256, 3 * 65536):
        return np.ascontiguousarray(codes.reshape(3, -1).T)
    return None
