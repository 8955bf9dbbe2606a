"""The metrics by name. Adding one is adding an entry to :data:`METRICS`."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from dcdr_deploy.errors import InputError
from dcdr_deploy.imaging.transfer import luminance
from dcdr_deploy.metrics import colorvideovdp, lpips_distance, ntire2021, pu21, ssim
from dcdr_deploy.metrics.chromaticity import uv_difference
from dcdr_deploy.metrics.hdrvdp2 import MINIMUM_SIZE, Result, hdrvdp2
from dcdr_deploy.metrics.pair import Array, Mask, Pair, masked_mean, masked_mse
from dcdr_deploy.metrics.psnr import psnr_from_mse
from dcdr_deploy.system.packages import install_line

HIGHER, LOWER = "higher", "lower"

PIXELS_PER_DEGREE = 24.0
"""The paper's viewing distance (section 4.1.2)."""


def _nothing_missing() -> str:
    return ""


@dataclass(frozen=True)
class Metric:
    """A figure for a pair of pictures.

    Attributes:
        name: for the command line and for machines.
        title: for tables: variant and version; ``{version}`` stands for that of ``package``.
        description: what goes in and how it is normalised.
        score: the figure for the whole picture (mask ``None``) or for the pixels of a mask.
        better: ``"higher"`` or ``"lower"``.
        digits: after the decimal point in tables.
        regional: whether it has a meaning for part of a picture.
        absolute: whether it needs the luminance of full scale.
        minimum_size: least width and height of a picture.
        package: distribution that computes it; empty for our own code.
        missing: why it cannot be computed on this machine; empty where it can.
    """

    name: str
    title: str
    description: str
    score: Callable[[Pair, Mask | None], float]
    better: str = HIGHER
    digits: int = 2
    regional: bool = True
    absolute: bool = False
    minimum_size: int = 1
    package: str = ""
    missing: Callable[[], str] = _nothing_missing

    @property
    def heading(self) -> str:
        """The title with the version of the package that is installed."""
        return self.title.replace("{version}", self._version())

    def _version(self) -> str:
        try:
            return version(self.package)
        except (PackageNotFoundError, ValueError):
            return "?"


def _psnr_l(pair: Pair, mask: Mask | None) -> float:
    return psnr_from_mse(masked_mse(*pair.linear(), mask))


def _psnr_mu(pair: Pair, mask: Mask | None) -> float:
    return psnr_from_mse(masked_mse(*pair.mu_encoded(), mask))


def _psnr_by_maximum(pair: Pair, mask: Mask | None) -> float:
    pictures = pair.once("ntire maximum", lambda: ntire2021.by_maximum(pair.prediction, pair.truth))
    return psnr_from_mse(masked_mse(*pictures, mask))


def _psnr_compressed(gamma: float) -> Callable[[Pair, Mask | None], float]:
    def score(pair: Pair, mask: Mask | None) -> float:
        pictures = pair.once(f"ntire {gamma}", lambda: ntire2021.compressed(pair.prediction, pair.truth, gamma))
        return psnr_from_mse(masked_mse(*pictures, mask))

    return score


def _uv(pair: Pair, mask: Mask | None) -> float:
    return masked_mean(pair.once("uv", lambda: uv_difference(pair.prediction, pair.truth)), mask)


def _ssim(key: str, encoded: Callable[[Pair], tuple[Array, Array]], data_range: float) -> Callable[..., float]:
    def score(pair: Pair, mask: Mask | None) -> float:
        return masked_mean(pair.once(f"ssim {key}", lambda: ssim.ssim_map(*encoded(pair), data_range)), mask)

    return score


def _lpips(backbone: str, key: str, encoded: Callable[[Pair], tuple[Array, Array]]) -> Callable[..., float]:
    def score(pair: Pair, mask: Mask | None) -> float:
        if mask is None:
            return lpips_distance.distance(backbone, *encoded(pair))
        distances = pair.once(f"lpips {backbone} {key}", lambda: lpips_distance.distance_map(backbone, *encoded(pair)))
        return masked_mean(distances, mask)

    return score


def _pu_colours(pair: Pair) -> tuple[Array, Array]:
    a, b = pair.in_nits()
    return pair.once("pu colours", lambda: (pu21.encode(a), pu21.encode(b)))


def _pu_luminance(pair: Pair) -> tuple[Array, Array]:
    a, b = pair.in_nits()
    return pair.once("pu luminance", lambda: (pu21.encode(luminance(a)), pu21.encode(luminance(b))))


def _pu_psnr(pair: Pair, mask: Mask | None) -> float:
    return psnr_from_mse(masked_mse(*_pu_colours(pair), mask) / pu21.RANGE**2)


def _hdrvdp2(key: str, pictures: Callable[[Pair], tuple[Array, Array]]) -> Callable[[Pair], Result]:
    def compute(pair: Pair) -> Result:
        test, reference = pictures(pair)
        return pair.once(key, lambda: hdrvdp2(test, reference, pixels_per_degree=PIXELS_PER_DEGREE))

    return compute


def _hdrvdp2_metrics(
    name: str, tag: str, what: str, pictures: Callable[[Pair], tuple[Array, Array]], absolute: bool
) -> tuple[Metric, ...]:
    """Quality, detection and contrast of one way to feed the model; they share the computation."""
    result = _hdrvdp2(name, pictures)

    def contrast(pair: Pair, mask: Mask | None) -> float:
        values = result(pair).C_map if mask is None else result(pair).C_map[mask]
        return float(values.max()) if values.size else float("nan")

    def detection(pair: Pair, mask: Mask | None) -> float:
        return 1 - 0.5 ** contrast(pair, mask)

    shared: dict[str, Any] = {"absolute": absolute, "minimum_size": MINIMUM_SIZE}
    model = f"our own HDR-VDP-2.2 in double precision, rgb-bt.709, {PIXELS_PER_DEGREE:g} pixels per degree, {what}"
    return (
        Metric(
            f"{name}-q",
            f"HDR-VDP-2.2.1-Q-{tag}",
            f"quality, 100 for identical pictures: {model}",
            lambda pair, _: result(pair).Q221,
            regional=False,
            **shared,
        ),
        Metric(
            f"{name}-pdet",
            f"HDR-VDP-2.2-Pdet-{tag}",
            f"probability that a difference is seen: {model}",
            detection,
            better=LOWER,
            digits=4,
            **shared,
        ),
        Metric(
            f"{name}-cmax",
            f"HDR-VDP-2.2-Cmax-{tag}",
            f"largest threshold-normalised contrast, 1 is just visible: {model}",
            contrast,
            better=LOWER,
            digits=3,
            **shared,
        ),
    )


def _without_skimage() -> str:
    if importlib.util.find_spec("skimage") is None:
        return f"the package scikit-image is not installed: {install_line('evaluate')}"
    return ""


_ENCODINGS: tuple[tuple[str, str, str, Callable[[Pair], tuple[Array, Array]]], ...] = (
    ("l", "L", "linear light in [0, 1] of the full scale", Pair.linear),
    ("mu10", "mu10", "the mu-law with mu = 10 of linear light in [0, 1]", Pair.mu_encoded),
)

_SSIM: dict[str, Any] = {
    "digits": 4,
    "minimum_size": ssim.WINDOW,
    "package": "scikit-image",
    "missing": _without_skimage,
}

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("psnr-l", "PSNR-L", "dB; linear light in [0, 1] of the full scale", _psnr_l),
        Metric("psnr-mu10", "PSNR-mu10", "dB; the mu-law with mu = 10 of linear light in [0, 1]", _psnr_mu),
        *(
            Metric(
                f"ssim-{key}",
                f"SSIM-{tag}",
                f"mean of R, G, B; 11 x 11 Gaussian window; {what}",
                _ssim(key, encoded, 1.0),
                **_SSIM,
            )
            for key, tag, what, encoded in _ENCODINGS
        ),
        *(
            Metric(
                f"lpips-{backbone}-{key}",
                f"LPIPS-{lpips_distance.WEIGHTS_VERSION}-{backbone}-{tag}",
                f"learned distance, backbone {backbone}, linear layers v{lpips_distance.WEIGHTS_VERSION}; {what}",
                _lpips(backbone, key, encoded),
                better=LOWER,
                digits=4,
                minimum_size=lpips_distance.MINIMUM_SIZE,
                package="lpips",
                missing=partial(lpips_distance.missing, backbone),
            )
            for backbone in lpips_distance.BACKBONES
            for key, tag, what, encoded in _ENCODINGS
        ),
        *_hdrvdp2_metrics(
            "hdrvdp2", "unit", "values in [0, 1] taken as cd/m2, as the paper does", Pair.linear, absolute=False
        ),
        Metric("psnr-l-ntire21", "PSNR-L-NTIRE21", "dB; both divided by the truth's maximum", _psnr_by_maximum),
        Metric(
            "psnr-mu5000-ntire21",
            "PSNR-mu5000-NTIRE21",
            "dB; divided by the 99th percentile of the truth, tanh, mu-law with mu = 5000; for linear files",
            _psnr_compressed(1.0),
        ),
        Metric(
            "psnr-mu5000-ntire21-gamma",
            "PSNR-mu5000-NTIRE21-g2.24",
            "dB; as the challenge's script: the stored values are raised to 2.24 first; for gamma-encoded files",
            _psnr_compressed(ntire2021.GAMMA),
        ),
        Metric(
            "delta-uv",
            "Delta-u'v'",
            "mean distance in CIE 1976 u'v' chromaticity, 0.004 is just visible; linear light, channels from 1e-4 on",
            _uv,
            better=LOWER,
            digits=4,
        ),
        Metric("pu21-psnr", "PU21-PSNR", "dB for 256; R, G, B in cd/m2 encoded by PU21", _pu_psnr, absolute=True),
        Metric(
            "pu21-ssim",
            "PU21-SSIM",
            "luminance in cd/m2 encoded by PU21, range 256; 11 x 11 Gaussian window",
            _ssim("pu21", _pu_luminance, pu21.RANGE),
            absolute=True,
            **_SSIM,
        ),
        *_hdrvdp2_metrics("hdrvdp2-nits", "cd/m2", "values in cd/m2", Pair.in_nits, absolute=True),
        Metric(
            "cvvdp",
            "ColorVideoVDP-{version}",
            f"JOD, 10 for identical pictures; cd/m2 on the package's display {colorvideovdp.DISPLAY}",
            lambda pair, _: colorvideovdp.quality(*pair.in_nits()),
            digits=3,
            regional=False,
            absolute=True,
            minimum_size=16,
            package="cvvdp",
            missing=colorvideovdp.missing,
        ),
    )
}

PAPER = "paper"
ALL = "all"
SETS: dict[str, tuple[str, ...]] = {
    PAPER: ("psnr-l", "psnr-mu10", "ssim-l", "ssim-mu10", "lpips-alex-l", "lpips-alex-mu10", "hdrvdp2-q"),
    "ntire21": ("psnr-l-ntire21", "psnr-mu5000-ntire21"),
    "nits": ("pu21-psnr", "pu21-ssim", "hdrvdp2-nits-q", "hdrvdp2-nits-pdet", "cvvdp"),
    ALL: tuple(METRICS),
}
"""Names that stand for several metrics; ``paper`` is what its Table 1 lists."""


def chosen_metrics(names: Iterable[str]) -> tuple[Metric, ...]:
    """The metrics of names and set names, each once, in the order asked for.

    Raises:
        InputError: an unknown name.
    """
    found: dict[str, Metric] = {}
    for name in names:
        if name not in SETS and name not in METRICS:
            known = ", ".join((*SETS, *METRICS))
            raise InputError(f"unknown metric {name!r}; choose among: {known}")
        for member in SETS.get(name, (name,)):
            found[member] = METRICS[member]
    return tuple(found.values())
