"""What a file says about the light of its samples, and which of its statements holds.

Order of precedence: cICP, ICC profile, fields of a format's own (HEIF, AVIF, JPEG XL), sRGB, gAMA/cHRM (W3C PNG, third
edition, 4.3), then Exif's ColorSpace with the interoperability index of DCF (JEITA CP-3461), then TIFF's
TransferFunction, WhitePoint and PrimaryChromaticities (TIFF 6.0, section 20). A statement that is broken or says
nothing is passed over, which is told. Samples of which nothing is said are sRGB in an SDR picture and linear in an HDR
file; that is for the reader to decide.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.imaging import h273, icc
from dcdr_deploy.imaging import primaries as p
from dcdr_deploy.imaging.encoding import SAME_PRIMARIES, Encoding
from dcdr_deploy.imaging.h273 import Curve
from dcdr_deploy.imaging.transfer import srgb_to_linear

ADOBE_GAMMA = 563 / 256
"""Adobe RGB (1998) color image encoding, 4.3.4.2."""

TIFF_GAMMA = 2.2
"""What TIFF 6.0, section 20, says where TransferFunction is left out beside PrimaryChromaticities."""

_SRGB_GAMMA = (2.17, 2.23)  # gAMA is 0.45455 for sRGB (PNG 11.3.2.2), and writers round it
_GAMMA_RANGE = (0.2, 20.0)
_SPACE_OF_CHANNELS = {1: "GRAY", 3: "RGB", 4: "CMYK"}


@dataclass(frozen=True)
class Stated:
    """Primaries and curve of RGB samples by fields of a format's own, such as HEIF's box ``colr`` of type ``nclx``.

    Attributes:
        by: what says so, as users know it.
        primaries: chromaticities, or a code point of ITU-T H.273; 2 (unspecified) counts as Rec. 709.
        transfer: code point of ITU-T H.273; 2 (unspecified) counts as sRGB. Not looked at beside a ``gamma``.
        gamma: exponent of encoding, 0.45455 for a display's 2.2.
    """

    by: str
    primaries: int | p.Chromaticities
    transfer: int
    gamma: float | None = None


@dataclass
class Declared:
    """The statements of one file, as found.

    Attributes:
        cicp: primaries, transfer, matrix, full-range flag of a cICP chunk (ITU-T H.273).
        icc: the embedded ICC profile.
        stated: primaries and curve by fields of the format.
        srgb: whether an sRGB chunk, or another plain statement of sRGB, is there.
        gamma: gAMA: the exponent of encoding, 0.45455 for a display's 2.2.
        chromaticities: cHRM.
        exif_space: ``"sRGB"``, ``"Adobe RGB"`` or ``"uncalibrated"`` by Exif; empty without.
        tiff_table: TransferFunction, (2^bits,) or (2^bits, 3) uint16.
        tiff_chromaticities: WhitePoint and PrimaryChromaticities, of a TIFF or of Exif's first directory.
        tiff_gamma: Exif's tag Gamma.
        own_peak: the scale that files of this tool carry.
        notes: sentences about statements that could not be read.
    """

    cicp: tuple[int, int, int, int] | None = None
    icc: bytes | None = None
    stated: Stated | None = None
    srgb: bool = False
    gamma: float | None = None
    chromaticities: p.Chromaticities | None = None
    exif_space: str = ""
    tiff_table: NDArray[np.uint16] | None = None
    tiff_chromaticities: p.Chromaticities | None = None
    tiff_gamma: float | None = None
    own_peak: str | None = None
    notes: list[str] = field(default_factory=list)


class _PassedOver(Exception):
    """A statement that cannot be followed; the next in the order is asked."""


def resolve(declared: Declared, channels: int) -> Encoding:
    """The encoding that holds.

    Args:
        declared: the statements.
        channels: 1 gray, 3 RGB, 4 CMYK (of which only an ICC profile can say anything).

    Returns:
        The encoding; one with ``by`` empty, and sRGB, where nothing is said.
    """
    notes = list(declared.notes)
    icc_report = "none"
    for asked in _ORDER if channels < 4 else (_by_icc,):
        try:
            found = asked(declared, channels)
        except (_PassedOver, p.ImpossiblePrimariesError, icc.BrokenProfileError) as reason:
            if asked is _by_icc:
                icc_report = f"ignored: {reason}"
                notes.append(f"ICC profile ignored: {reason}")
            else:
                notes.append(f"{_STATEMENT[asked]} ignored: {reason}")
            continue
        if found is not None:
            report = found.icc if asked is _by_icc else icc_report
            return replace(found, icc=report, notes=(*notes, *found.notes))
    return Encoding("sRGB", "", (_srgb,), icc=icc_report, notes=tuple(notes))


def _srgb(encoded: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(srgb_to_linear(encoded), np.float64)


def _power(exponent: float) -> Curve:
    return lambda encoded: np.maximum(encoded, 0) ** exponent


def _matrix(chromaticities: p.Chromaticities, channels: int) -> NDArray[np.float64] | None:
    # Gray has no primaries; its white is the picture's white.
    return None if channels == 1 or p.is_rec709(chromaticities) else p.to_rec709(chromaticities)


def _by_cicp(declared: Declared, channels: int) -> Encoding | None:
    if declared.cicp is None:
        return None
    colours, transfer, matrix, full_range = declared.cicp
    if transfer in (h273.PQ, h273.HLG):
        name, chromaticities = h273.TRANSFERS[transfer].name, h273.PRIMARIES.get(colours, p.REC709)
        matrix_of_hdr = _matrix(chromaticities, channels)
        return Encoding(
            f"{p.name_of(chromaticities)}, {name}", "cICP", (), matrix_of_hdr, hdr=name, narrow=not full_range
        )
    if matrix != 0:
        raise _PassedOver(f"matrix coefficients {matrix}, where samples are RGB")
    known = h273.TRANSFERS.get(transfer)
    if known is None or known.curve is None or (colours not in h273.PRIMARIES and channels > 1):
        raise _PassedOver(f"primaries {colours} and transfer {transfer} name no colour space")
    chromaticities = h273.PRIMARIES.get(colours, p.REC709)
    name = f"{p.name_of(chromaticities)}, {known.name}"
    if not full_range:
        name = f"{name}, narrow range"
    return Encoding(name, "cICP", (known.curve,), _matrix(chromaticities, channels), narrow=not full_range)


def _by_icc(declared: Declared, channels: int) -> Encoding | None:
    if not declared.icc:
        return None
    profile = icc.parse(declared.icc)
    name = profile.description or "an unnamed profile"
    hdr = _hdr_of(profile)
    # Colorants rounded to 1/65536 would move the darkest codes of 16 bits for nothing.
    is_rec709 = profile.matrix is None or np.abs(profile.matrix - np.eye(3)).max() <= SAME_PRIMARIES
    matrix = None if is_rec709 else profile.matrix
    if hdr:
        return Encoding(name, "ICC profile", matrix=matrix, hdr=hdr, icc=f"{hdr}: {name}")
    space = _SPACE_OF_CHANNELS[channels]
    if profile.space != space and not (space == "GRAY" and profile.space == "RGB"):
        raise icc.BrokenProfileError(f"a profile for {profile.space} in a picture of {space}")
    simple = profile.curves is not None and not profile.has_lut
    if simple and profile.curves is not None:
        encoding = Encoding(name, "ICC profile", profile.curves, matrix, icc=f"converted from {name}")
        if encoding.is_srgb:
            return Encoding("sRGB", "ICC profile", (_srgb,), icc="sRGB")
        return encoding
    # Where a profile has a matrix beside its tables, 16 bits keep their depth by it.
    return Encoding(name, "ICC profile", profile.curves or (), matrix, declared.icc, icc=f"converted from {name}")


def _hdr_of(profile: icc.Profile) -> str:
    """``"PQ"`` or ``"HLG"`` where a profile is of one: by code point (ICC.1:2022, 9.2.17), curve or name."""
    code = None
    if profile.cicp is not None:
        code = profile.cicp[1]
    elif profile.curves is not None:
        code = h273.of_curve(profile.curves[0])
    if code not in (h273.PQ, h273.HLG):
        code = icc.hdr_by_name(profile.description)
    return h273.TRANSFERS[code].name if code in (h273.PQ, h273.HLG) else ""


def _by_stated(declared: Declared, channels: int) -> Encoding | None:
    stated = declared.stated
    if stated is None:
        return None
    if isinstance(stated.primaries, int):
        code = 1 if stated.primaries == h273.UNSPECIFIED else stated.primaries
        if code not in h273.PRIMARIES:
            raise _PassedOver(f"primaries {code} name no colour space")
        colours = h273.PRIMARIES[code]
    else:
        colours = stated.primaries
    matrix = _matrix(colours, channels)
    if stated.gamma is not None:
        exponent = 1 / stated.gamma if stated.gamma > 0 else 0.0
        if not _GAMMA_RANGE[0] <= exponent <= _GAMMA_RANGE[1]:
            raise _PassedOver(f"a gamma of {stated.gamma:g}")
        return Encoding(f"{p.name_of(colours)}, gamma {exponent:.4g}", stated.by, (_power(exponent),), matrix)
    transfer = h273.TRANSFERS.get(h273.SRGB if stated.transfer == h273.UNSPECIFIED else stated.transfer)
    if transfer is None:
        raise _PassedOver(f"transfer {stated.transfer} names no curve")
    name = f"{p.name_of(colours)}, {transfer.name}"
    if transfer.curve is None:
        return Encoding(name, stated.by, (), matrix, hdr=transfer.name)
    encoding = Encoding(name, stated.by, (transfer.curve,), matrix)
    return Encoding("sRGB", stated.by, (_srgb,)) if encoding.is_srgb else encoding


def _by_srgb(declared: Declared, channels: int) -> Encoding | None:
    return Encoding("sRGB", "sRGB chunk", (_srgb,)) if declared.srgb else None


def _by_gamma(declared: Declared, channels: int) -> Encoding | None:
    stated = {"gAMA": declared.gamma, "cHRM": declared.chromaticities}
    notes: list[str] = []
    exponent = None
    if declared.gamma is not None:
        exponent = 1 / declared.gamma if declared.gamma > 0 else 0.0
        if not _GAMMA_RANGE[0] <= exponent <= _GAMMA_RANGE[1]:
            if declared.chromaticities is None:
                raise _PassedOver(f"a gamma of {declared.gamma:g}")
            notes.append(f"gAMA chunk ignored: a gamma of {declared.gamma:g}")
            exponent, stated["gAMA"] = None, None
    by = " and ".join(kind for kind, value in stated.items() if value is not None)
    if not by:
        return None
    colours = declared.chromaticities or p.REC709
    curve: Curve
    if exponent is None or is_srgb_gamma(exponent, colours):
        curve, name = _srgb, "sRGB's curve"
    else:
        curve, name = _power(exponent), "linear" if abs(exponent - 1) < 1e-3 else f"gamma {exponent:.4g}"
    try:
        matrix = _matrix(colours, channels)
    except p.ImpossiblePrimariesError as reason:  # the curve may be right all the same
        colours, matrix = p.REC709, None
        notes.append(f"cHRM chunk ignored: {reason}")
    return Encoding(f"{p.name_of(colours)}, {name}", by, (curve,), matrix, notes=tuple(notes))


def is_srgb_gamma(exponent: float, colours: p.Chromaticities) -> bool:
    """Whether a gamma stands for sRGB's curve: 2.2 beside its primaries, which writers state for want of a better word.

    libpng takes gAMA so. ImageMagick writes the primaries of sRGB into TIFF, where no curve means 2.2.
    """
    return p.is_rec709(colours) and _SRGB_GAMMA[0] < exponent < _SRGB_GAMMA[1]


def _by_exif(declared: Declared, channels: int) -> Encoding | None:
    if declared.exif_space == "sRGB":
        return Encoding("sRGB", "Exif", (_srgb,))
    if declared.exif_space == "Adobe RGB":
        return Encoding("Adobe RGB (1998)", "Exif", (_power(ADOBE_GAMMA),), _matrix(p.ADOBE_RGB, channels))
    if declared.exif_space and declared.tiff_chromaticities is None and declared.tiff_table is None:
        raise _PassedOver("it says that the colours are not sRGB, and not what they are; taken as sRGB")
    return None


def _by_tiff(declared: Declared, channels: int) -> Encoding | None:
    table, colours = declared.tiff_table, declared.tiff_chromaticities
    if table is None and colours is None:
        return None
    if table is not None:
        columns = table[:, None] if table.ndim == 1 or channels == 1 else table
        curves = tuple(_from_table(column) for column in columns.T[: max(channels, 1)])
        encoding = Encoding("", "", curves)
        name = "sRGB's curve" if encoding.is_srgb else "linear" if encoding.is_linear else "a curve of its own"
    else:
        exponent = declared.tiff_gamma or TIFF_GAMMA
        curves, name = (_power(exponent),), f"gamma {exponent:.4g}"
        if is_srgb_gamma(exponent, colours or p.REC709):
            curves, name = (_srgb,), "sRGB's curve"
    chromaticities = colours or p.REC709
    return Encoding(
        f"{p.name_of(chromaticities)}, {name}", "TIFF colorimetry tags", curves, _matrix(chromaticities, channels)
    )


def _from_table(codes: NDArray[np.uint16]) -> Curve:
    nodes = np.linspace(0, 1, len(codes))
    values = codes.astype(np.float64) / 65535
    return lambda encoded: np.interp(encoded, nodes, values)


_Statement = Callable[[Declared, int], "Encoding | None"]
_ORDER: tuple[_Statement, ...] = (_by_cicp, _by_icc, _by_stated, _by_srgb, _by_gamma, _by_exif, _by_tiff)
_STATEMENT: dict[_Statement, str] = {
    _by_cicp: "cICP chunk",
    _by_icc: "ICC profile",
    _by_stated: "colour description",
    _by_srgb: "sRGB chunk",
    _by_gamma: "gAMA/cHRM chunks",
    _by_exif: "Exif colour space",
    _by_tiff: "TIFF colorimetry tags",
}
