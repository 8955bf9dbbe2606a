"""Parameters of HDR-VDP-2.2, fitted by its authors, under the names that their release gives them."""

from __future__ import annotations

from dataclasses import dataclass

RGB_TO_LMSR = (
    (0.1989961203379287, 0.04100586040758893, 6.150630884864325e-05, 0.01437736862111919),
    (0.40476260703812544, 0.25492330644134564, 0.0006959174513330266, 0.4809208410841319),
    (0.05439061925532116, 0.050012248959300676, 0.007037567895370686, 0.45427589566935994),
)
"""What R, G, B of the option rgb_display "ccfl-lcd" excite in L, M, S cones and rods.

Each number is the integral over 360 to 780 nm of the emission of one primary of an LCD with CCFL backlight times a
sensitivity: Smith and Pokorny 1975 for the cones, CIE 1951 scotopic for the rods. L + M is the luminance.
"""

COLOR_ENCODINGS = ("rgb-bt.709", "rgb-native")
"""Accepted names. Release 2.2.0 takes "rgb-native", a name of version 3, silently and scores it as "rgb-bt.709"."""

_DALY_PEAK_CONTRAST = 0.006894596  # contrast threshold at the peak of Daly's CSF for 30 cd/m2


@dataclass(frozen=True)
class Options:
    """Options of HDR-VDP-2.2 that may be changed; the defaults are the release's.

    Attributes:
        surround_l: luminance around the picture in cd/m2, one number or one a channel; -1 stands for the geometric mean
            of each channel of the reference.
        peak_sensitivity: negative logarithm of the contrast threshold at the peak of sensitivity.
        mask_p, mask_q: logarithms of the exponents of excitation and inhibition.
        mask_self, mask_xo, mask_xn: logarithms of the weights of masking by the same band, by other orientations and by
            neighbouring frequencies.
        psych_func_slope: logarithm of the slope of the psychometric function.
        rod_sensitivity: logarithm of a factor on the rods' sensitivity.
        do_mtf: blur by the optics of the eye.
        do_masking: contrast masking.
        do_spatial_pooling: large areas are seen more easily than small ones.
    """

    surround_l: float | tuple[float, float, float] = 1e-5
    peak_sensitivity: float = 2.4
    mask_p: float = 0.544068
    mask_q: float = 0.49576
    mask_self: float = 0.189065
    mask_xo: float = 0.449199
    mask_xn: float = 1.52512
    psych_func_slope: float = 0.5440680443502757  # log10(3.5)
    rod_sensitivity: float = 0.0
    do_mtf: bool = True
    do_masking: bool = True
    do_spatial_pooling: bool = True

    @property
    def sensitivity_correction(self) -> float:
        """Factor on the photoreceptors' responses that sets the absolute sensitivity."""
        return float(_DALY_PEAK_CONTRAST / 10.0**-self.peak_sensitivity)


_FOCUSED, _NEAR = 0.99727370023777070, 0.061466549455263  # share of light not strayed; share of strayed light nearby

MTF_A = (_FOCUSED * 0.426, _FOCUSED * 0.574, (1 - _FOCUSED) * _NEAR, (1 - _FOCUSED) * (1 - _NEAR))
MTF_B = (0.028, 0.37, 37.0, 360.0)
"""Weights and decay constants (in degrees) of the four exponentials of the eye's modulation transfer function."""

CSF_LUMS = (0.002, 0.02, 0.2, 2.0, 20.0, 150.0)
CSF_PARAMS = (
    (0.991265, 3.74038, 0.50722, 4.46044),
    (0.800889, 3.54104, 0.682505, 4.94958),
    (0.476505, 4.37453, 0.750315, 5.28678),
    (0.405782, 4.40602, 0.935314, 5.61425),
    (0.334278, 3.79542, 1.07327, 6.4635),
    (0.394533, 2.7755, 1.16577, 7.45665),
)
"""Neural contrast sensitivity: for each luminance in cd/m2 the parameters p1, p2, p3 and the gain."""

CSF_SA = (30.162, 4.0627, 1.6596, 0.2712)
"""Peak and shape (p6, p7, p8) of the joint luminance sensitivity of cones and rods."""

CSF_SR_PAR = (1.1732, 1.1478, 1.2167, 0.5547, 2.9899, 1.1414)
"""Rods: luminance of the peak, scale and exponent below it, scale and exponent above it, logarithm of the gain."""

QUALITY_BAND_FREQ = (15.0, 7.5, 3.75, 1.875, 0.9375, 0.4688, 0.2344)
QUALITY_BAND_W = (0.2832, 0.2142, 0.2690, 0.0398, 0.0003, 0.0003, 0.0002)
"""Weights of the bands in the quality score by frequency in cycles per degree; linear between, constant beyond."""
