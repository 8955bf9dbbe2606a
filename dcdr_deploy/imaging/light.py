"""What the light of a result is in absolute terms, and in which colours and curve a file holds it.

The network's result is *relative light*: linear Rec. 709, 1.0 = SDR diffuse white. Times the reference white it is
*absolute light* in cd/m2, which PQ and HLG hold. Files for viewing (*delivery*: PQ, HLG) end at a peak, reached by the
roll-off of BT.2390 (:mod:`dcdr_deploy.imaging.delivery`); linear files keep relative light without a limit.

The light is display-referred: its mid-tones are those of a finished SDR picture, whose tone curve and grade stay in it.
"""

from __future__ import annotations

from dataclasses import dataclass

from dcdr_deploy.errors import InputError
from dcdr_deploy.imaging import primaries as p

SDR_WHITE_NITS = 203.0
"""Luminance of SDR diffuse white in an HDR picture, in cd/m2 (ITU-R BT.2408-7, 2.1)."""

PEAK_NITS = 1000.0
"""Where delivered light ends by default, in cd/m2: HLG's nominal display, and what most HDR10 is graded for."""

LINEAR, PQ, HLG = "linear", "pq", "hlg"
TRANSFERS = (LINEAR, PQ, HLG)

PRIMARIES: dict[str, p.Chromaticities] = {
    "rec709": p.REC709,
    "p3": p.DISPLAY_P3,
    "rec2020": p.REC2020,
    "acescg": p.ACES_AP1,
    "aces2065-1": p.ACES_AP0,
}
"""Primaries that files can be written in, with their white."""

COLOUR_CODE = {"rec709": 1, "rec2020": 9, "p3": 12}
"""ColourPrimaries of ITU-T H.273, table 2, as in cICP, nclx and video."""

TRANSFER_CODE = {LINEAR: 8, PQ: 16, HLG: 18}
"""TransferCharacteristics of ITU-T H.273, table 3."""

DISPLAY, SCENE = "display", "scene"
TAGS = (DISPLAY, SCENE)

COLOUR_VOLUME = p.REC709
"""Primaries of the mastering display that files name: nothing that is written lies outside of Rec. 709."""

BLACK_NITS = 0.0001
"""Black of that display, cd/m2: the smallest number of SMPTE ST 2086."""

LEAST_CHOSEN_NITS, MOST_CHOSEN_NITS = 1.0, 10_000.0
"""Ends of what a reference white or a peak may be chosen as, cd/m2."""


@dataclass(frozen=True)
class Light:
    """How relative light is written.

    Attributes:
        reference_white: cd/m2 of 1.0, 1 to 10000.
        peak_nits: cd/m2 that delivered light does not exceed, 1 to 10000; linear files have no limit.
        primaries: a key of :data:`PRIMARIES`; ``None`` is the format's own: Rec. 709 where light is linear, Rec. 2020
            in PQ and HLG.
        transfer: one of :data:`TRANSFERS`; ``None`` is the format's own.
        tag: what a linear file calls its light: ``"display"``, which it is, or ``"scene"`` for programs that know no
            other linear light.

    Raises:
        InputError: a value out of range, or an unknown name.
    """

    reference_white: float = SDR_WHITE_NITS
    peak_nits: float = PEAK_NITS
    primaries: str | None = None
    transfer: str | None = None
    tag: str = DISPLAY

    def __post_init__(self) -> None:
        for name, nits in (("reference white", self.reference_white), ("peak", self.peak_nits)):
            if not LEAST_CHOSEN_NITS <= nits <= MOST_CHOSEN_NITS:  # NaN too
                raise InputError(f"{name} must be {LEAST_CHOSEN_NITS:g} to {MOST_CHOSEN_NITS:g} cd/m2, not {nits:g}")
        for name, value, known in (
            ("primaries", self.primaries, tuple(PRIMARIES)),
            ("transfer", self.transfer, TRANSFERS),
            ("tag", self.tag, TAGS),
        ):
            if value is not None and value not in known:
                raise InputError(f"unknown {name} {value!r}; choose one of {', '.join(known)}")

    @property
    def is_delivery(self) -> bool:
        """Whether light is absolute and ends at ``peak_nits``."""
        return self.transfer in (PQ, HLG)

    @property
    def chromaticities(self) -> p.Chromaticities:
        """x, y of the primaries and the white; Rec. 709 where none are chosen yet."""
        return PRIMARIES[self.primaries or "rec709"]
