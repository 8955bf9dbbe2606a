"""What the numbers of an OpenEXR part mean: chromaticities, colorInteropID, adoptedNeutral, ACES containers.

Precedence: ``colorInteropID`` names curve and primaries at once (Color Interop Forum, "Color Space Encodings for
Texture Assets and CG Rendering"); then the attribute ``chromaticities``; then ``acesImageContainerFlag`` (SMPTE ST
2065-4); else Rec. 709, OpenEXR's own default.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.imaging import primaries as p
from dcdr_deploy.imaging.decoders.common import UnreadableError
from dcdr_deploy.imaging.hdr_transfer import pq_decode
from dcdr_deploy.imaging.light import SDR_WHITE_NITS
from dcdr_deploy.imaging.transfer import srgb_to_linear

_Curve = Callable[[NDArray[np.float32]], NDArray[np.floating[Any]]]

_PRIMARIES: dict[str, p.Chromaticities] = {
    "rec709": p.REC709,
    "rec2020": p.REC2020,
    "p3d65": p.DISPLAY_P3,
    "adobergb": p.ADOBE_RGB,
    "ap0": p.ACES_AP0,
    "ap1": p.ACES_AP1,
    "ciexyzd65": p.XYZ,
    "xyzd65": p.XYZ,
}
_XYZ_OF_D65 = ("ciexyzd65", "xyzd65")
_NOTHING_SAID = ("", "unknown")


def _power(exponent: float) -> _Curve:
    return lambda x: np.copysign(np.abs(x) ** np.float32(exponent), x)


_CURVES: dict[str, _Curve | None] = {
    "lin": None,
    "srgb": srgb_to_linear,
    "srgbe": srgb_to_linear,
    "g18": _power(1.8),
    "g22": _power(2.2),
    "g24": _power(2.4),
    "g26": _power(2.6),
    "pq": lambda x: pq_decode(x) / SDR_WHITE_NITS,
}


@dataclass(frozen=True)
class Meaning:
    """How stored RGB becomes linear Rec. 709.

    Attributes:
        chromaticities: of the RGB.
        matrix: (3, 3) to linear Rec. 709; ``None`` where nothing changes.
        curve: stored value -> linear light; ``None`` where it is that.
        notes: what is converted, and what was passed over.
    """

    chromaticities: p.Chromaticities = p.REC709
    matrix: NDArray[np.float64] | None = None
    curve: _Curve | None = None
    notes: tuple[str, ...] = ()

    def to_rec709(self, rgb: NDArray[np.float32]) -> NDArray[np.float32]:
        """(H, W, 3) float32 -> (H, W, 3) float32, unclipped."""
        linear = rgb if self.curve is None else np.asarray(self.curve(rgb), np.float32)
        return linear if self.matrix is None else p.convert(linear, self.matrix)


def meaning_of(header: Mapping[str, Any], first: Mapping[str, Any]) -> Meaning:
    """Read a part's colour attributes; those that it lacks are taken from the file's first part.

    Raises:
        UnreadableError: the channels are data, or encoded in a way that has no light without a display.
    """
    stated = {
        name: header.get(name, first.get(name))
        for name in ("colorInteropID", "chromaticities", "adoptedNeutral", "acesImageContainerFlag")
    }
    notes: list[str] = []
    chromaticities = _chromaticities(stated["chromaticities"], notes)
    name = _text(stated["colorInteropID"])
    if name.lower() == "data":
        raise UnreadableError(
            "says by its colorInteropID that its channels are data and no colours, as those of gain maps are; name the "
            "picture itself"
        )
    curve: _Curve | None = None
    neutral = None
    by = "chromaticities"
    known = _by_name(name)
    if known is not None:
        primaries, curve_name = known
        if chromaticities is not None and p.name_of(chromaticities) != p.name_of(_PRIMARIES[primaries]):
            notes.append(f"its chromaticities ({p.name_of(chromaticities)}) contradict its colorInteropID, which holds")
        curve, by = _CURVES[curve_name], f"colorInteropID {name}"
        chromaticities = _PRIMARIES[primaries]
        if primaries in _XYZ_OF_D65:
            neutral = p.REC709[6:]
    elif name.lower() not in _NOTHING_SAID:
        notes.append(f"colorInteropID {name!r} is not known here and was passed over")
    if chromaticities is None and stated["acesImageContainerFlag"] == 1:
        chromaticities, by = p.ACES_AP0, "acesImageContainerFlag"
    chromaticities = chromaticities or p.REC709
    matrix, neutral_note = _matrix(chromaticities, neutral or _pair(stated["adoptedNeutral"]), notes)
    if matrix is not None or curve is not None:
        encoding = "" if curve is None else f", {curve_name} encoded"
        notes.append(
            f"converted to linear Rec. 709 from {p.name_of(chromaticities)}{encoding} by its {by}{neutral_note}"
        )
    return Meaning(chromaticities, matrix, curve, tuple(notes))


def _text(value: Any) -> str:
    try:
        return str(value or "").strip()
    except UnicodeDecodeError:  # the binding keeps what is no UTF-8 as bytes
        return ""


def _by_name(name: str) -> tuple[str, str] | None:
    """Primaries and curve in a colorInteropID such as ``lin_ap1_scene``; ``None`` for names that are not known."""
    words = name.lower().rpartition(":")[2].split("_")
    if len(words) != 3 or words[1] not in _PRIMARIES or words[2] not in ("scene", "display"):
        return None
    if words[0] == "hlg":
        raise UnreadableError("is encoded as HLG, which has no light without a display; export it as linear light")
    return (words[1], words[0]) if words[0] in _CURVES else None


def _matrix(
    chromaticities: p.Chromaticities, neutral: tuple[float, ...] | None, notes: list[str]
) -> tuple[NDArray[np.float64] | None, str]:
    white = chromaticities[6:]
    if neutral is not None and np.abs(np.subtract(neutral, white)).max() < 1e-3:
        neutral = None
    if neutral is None and p.is_rec709(chromaticities):
        return None, ""
    said = "" if neutral is None else f", neutral at {neutral[0]:.4g} {neutral[1]:.4g}"
    try:
        return p.to_rec709(chromaticities, neutral), said
    except p.ImpossiblePrimariesError as reason:
        notes.append(f"its colour attributes were passed over: {reason}")
        return None, ""


def _chromaticities(value: Any, notes: list[str]) -> p.Chromaticities | None:
    if value is None:
        return None
    try:
        numbers = tuple(float(number) for number in np.ravel(np.asarray(value, np.float64)))
        p.to_rec709(numbers)
    except (TypeError, ValueError) as reason:  # ImpossiblePrimariesError among them
        notes.append(f"its chromaticities were passed over: {reason}")
        return None
    return numbers  # type: ignore[return-value]


def _pair(value: Any) -> tuple[float, ...] | None:
    try:
        numbers = tuple(float(number) for number in np.ravel(np.asarray(value, np.float64)))
    except (TypeError, ValueError):
        return None
    return numbers if len(numbers) == 2 and np.isfinite(numbers).all() else None
