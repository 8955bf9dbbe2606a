"""How close results come to the truth of held-out pictures: figures of single pictures, and what many of them say.

Errors are those of PSNR-mu (mu = 10) over clipped pixels with their 8 px surround, over the others, and over
everything. Colours of clipped pixels are judged by their distance in CIE 1976 u'v' chromaticity. What the photograph
itself clipped counts nowhere. On demand also PU21-PSNR and delta ITP at 1,000 cd/m2, and what is left of the error
after one fitted tone curve a picture. What all methods share is computed once a picture, in :class:`Reference`, and in
single precision where that moves no figure that is shown.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from baselines import BASELINES
from held_out import PEAK, HeldOutPicture
from numpy.typing import NDArray

from dcdr_deploy.errors import NonFiniteError
from dcdr_deploy.imaging.frame import CLIPPED_CODE
from dcdr_deploy.imaging.hdr_transfer import pq_encode
from dcdr_deploy.imaging.transfer import srgb_to_linear
from dcdr_deploy.metrics import pu21
from dcdr_deploy.metrics.chromaticity import uv_difference
from dcdr_deploy.metrics.psnr import PAPER_MU, psnr_from_mse
from dcdr_deploy.scenes.camera import brightest_channel

PLAIN = next(iter(BASELINES))
NETWORK = "network"
REGIONS = ("clipped", "unclipped", "everything")
SURROUND = 8
"""Pixels around clipped ones that are judged with them."""

PEAK_NITS = 1000.0
"""Luminance of full scale, in cd/m2, for PU21 and delta ITP."""

CURVE_BINS = 256
CURVE_PIXELS = 250_000
"""A tone curve is fitted to an even grid of about so many pixels, where a picture has more."""

REC709_TO_LMS = (
    np.array([[1688, 2146, 262], [683, 2951, 462], [99, 309, 3688]])
    / 4096
    @ np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])
)
"""ITU-R BT.2087-0, 2.2 (Rec. 709 to Rec. 2020), then ITU-R BT.2100-2, table 7."""
LMS_TO_ITP = np.array([[2048, 2048, 0], [6610 / 2, -13613 / 2, 7003 / 2], [17933, -17390, -543]]) / 4096
"""ITU-R BT.2100-2, table 7, with Ct halved to T (ITU-R BT.2124-0)."""

WORSE, MUCH_WORSE = 0.3, 1.0
"""Decibels of clipped pixels by which a picture counts as worse than the plain conversion, and as much worse."""

_logger = logging.getLogger(__name__)

Figures = dict[str, float]
Predict = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
Codes = NDArray[np.float32]


def mu_codes(light: NDArray[np.floating]) -> Codes:
    """The mu-law (mu = 10) of light, 1.0 = peak, in float32: a fifth of the time of metrics.psnr.mu_law."""
    code = np.clip(light, 0, 1, dtype=np.float32)
    code *= np.float32(PAPER_MU)
    code += np.float32(1)
    np.log(code, out=code)
    code *= np.float32(1 / np.log1p(PAPER_MU))
    return code


@dataclass(frozen=True)
class Reference:
    """A held-out picture with what every method's result is compared with; places are those of the flat picture.

    Attributes:
        picture: the picture.
        everything: whether the slow figures are wanted too.
    """

    picture: HeldOutPicture
    everything: bool

    @cached_property
    def known(self) -> NDArray[np.float32]:
        """1 where the truth is known, else 0, (H x W,)."""
        return self.picture.known.ravel().astype(np.float32)

    @cached_property
    def hard(self) -> NDArray[np.uint8]:
        """1 where a channel is clipped, else 0, (H, W)."""
        return np.asarray(brightest_channel(self.picture.ldr) >= CLIPPED_CODE, np.uint8)

    @cached_property
    def clipped(self) -> NDArray[np.intp]:
        """Places of known pixels that are clipped or within :data:`SURROUND` of one that is."""
        near = cv2.dilate(self.hard, np.ones((2 * SURROUND + 1,) * 2, np.uint8))
        return np.flatnonzero(near.astype(bool) & self.picture.known)

    @cached_property
    def bright(self) -> NDArray[np.intp]:
        """Places of known pixels that are clipped."""
        return np.flatnonzero(self.hard.astype(bool) & self.picture.known)

    @cached_property
    def codes(self) -> Codes:
        """Mu-law codes of the truth, (H x W, 3)."""
        return mu_codes(self.picture.truth).reshape(-1, 3)

    @cached_property
    def nits(self) -> NDArray[np.float32]:
        """The truth at :attr:`clipped`, (N, 3) in cd/m2."""
        return nits_at(self.picture.truth, self.clipped)

    @cached_property
    def pu(self) -> NDArray[np.float64]:
        """PU21 codes of :attr:`nits`."""
        return pu21.encode(self.nits)

    @cached_property
    def itp(self) -> NDArray[np.float64]:
        """ITP of :attr:`nits`."""
        return itp_codes(self.nits)


def nits_at(light: NDArray[np.floating], places: NDArray[np.intp]) -> NDArray[np.float32]:
    """Light (H, W, 3), 1.0 = peak, at places of the flat picture: (N, 3) in cd/m2."""
    return np.clip(light.reshape(-1, 3)[places], 0, 1) * np.float32(PEAK_NITS)


def figures_of(result: NDArray[np.floating], reference: Reference) -> Figures:
    """Squared errors (sum and count a region) and u'v' distance of a result (H, W, 3), linear, 1.0 = peak.

    With ``reference.everything`` also the PU21 error and delta ITP of clipped pixels and their surround, at
    :data:`PEAK_NITS`, and the mu-law error that is left when the result may pass one rising curve
    (:func:`fitted_curve`).
    """
    codes = mu_codes(result).reshape(-1, 3)
    off = codes - reference.codes
    error = np.einsum("nc,nc->n", off, off)
    whole = float(np.dot(error.astype(np.float64), reference.known)) / 3
    region = reference.clipped
    inside = float(error[region].sum(dtype=np.float64)) / 3
    total = float(reference.known.sum(dtype=np.float64))
    values: Figures = {
        "clipped sum": inside,
        "clipped count": float(region.size),
        "unclipped sum": max(whole - inside, 0.0),
        "unclipped count": total - region.size,
        "everything sum": whole,
        "everything count": total,
        "uv": float("nan"),
    }
    if reference.bright.size:
        light, truth = (each.reshape(-1, 3)[reference.bright] for each in (result, reference.picture.truth))
        values["uv"] = float(uv_difference(light, truth).mean())
    if reference.everything and region.size:
        nits = nits_at(result, region)
        values["pu sum"] = float(((pu21.encode(nits) - reference.pu) ** 2).mean(axis=-1).sum())
        values["itp"] = float(itp_distance(itp_codes(nits), reference.itp).mean())
        curve = fitted_curve(codes, reference.codes, reference.picture.known)
        after = (np.interp(codes[region], *curve) - reference.codes[region]) ** 2
        values["aligned sum"] = float(after.mean(axis=-1).sum())
    return values


def fitted_curve(
    codes: Codes, wanted: Codes, known: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The rising curve, one for all channels, that brings a result closest to the truth: points (codes, wanted codes).

    Isotonic regression of mu-law codes on :data:`CURVE_BINS` bins of equal width: what a wrong tone curve costs goes,
    what is misplaced or has the wrong colour stays. Within a bin the curve is a line through the bins' mean codes, so
    that a right curve is left as it is.

    Args:
        codes: mu-law codes of the result, (H x W, 3) or (H, W, 3).
        wanted: those of the truth.
        known: (H, W); the others say nothing. Where none is known the curve is the identity.
    """
    step = max(1, round((known.size / CURVE_PIXELS) ** 0.5))
    grid = known[::step, ::step]
    code, aim = (each.reshape(*known.shape, 3)[::step, ::step][grid].ravel() for each in (codes, wanted))
    place = np.minimum((code * CURVE_BINS).astype(np.intp), CURVE_BINS - 1)
    count, total, where = (np.bincount(place, weights, CURVE_BINS) for weights in (None, aim, code))
    filled = np.flatnonzero(count)
    if not filled.size:
        return np.array([0.0, 1.0]), np.array([0.0, 1.0])
    weights = count[filled].astype(float)
    return where[filled] / weights, isotonic(total[filled] / weights, weights)


def isotonic(values: NDArray[np.floating], weights: NDArray[np.floating]) -> NDArray[np.float64]:
    """The rising sequence nearest to ``values`` by weighted squares (pool adjacent violators)."""
    blocks: list[tuple[float, float, int]] = []
    for value, weight in zip(values, weights, strict=True):
        blocks.append((float(value), float(weight), 1))
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (a, wa, na), (b, wb, nb) = blocks[-2:]
            blocks[-2:] = [((a * wa + b * wb) / (wa + wb), wa + wb, na + nb)]
    return np.repeat([block[0] for block in blocks], [block[2] for block in blocks])


def itp_codes(nits: NDArray[np.floating]) -> NDArray[np.float64]:
    """ITP of linear Rec. 709 light in cd/m2, (N, 3) -> (N, 3): ITU-R BT.2124-0, annex 1."""
    return np.asarray(pq_encode(nits @ REC709_TO_LMS.T) @ LMS_TO_ITP.T)


def itp_distance(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.float64]:
    """Delta E ITP of ITP codes, (N, 3) -> (N,): ITU-R BT.2124-0, annex 1."""
    return np.asarray(720 * np.sqrt(((a - b) ** 2).sum(axis=-1)))


def judged(
    picture: HeldOutPicture, results: Mapping[str, NDArray[np.floating]], everything: bool
) -> dict[str, Figures]:
    """Figures of each method's result."""
    reference = Reference(picture, everything)
    return {name: figures_of(result, reference) for name, result in results.items()}


def compared(
    picture: HeldOutPicture, predictors: Mapping[str, Predict], everything: bool, baselines: bool = False
) -> dict[str, Figures]:
    """Figures of the plain conversion, of networks, and where ``baselines`` of the other conversions too.

    Results are judged one after the other, so that one at a time is held. A network that gives NaN or infinity for a
    picture has no figures there, which is logged.
    """
    reference = Reference(picture, everything)
    linear = srgb_to_linear(picture.ldr.astype(np.float32) / np.float32(255))
    found = {
        name: figures_of(BASELINES[name](linear, PEAK) / np.float32(PEAK), reference)
        for name in (BASELINES if baselines else [PLAIN])
    }
    for name, predict in predictors.items():
        try:
            found[name] = figures_of(predict(picture.ldr), reference)
        except NonFiniteError as error:
            _logger.warning("%s, %s: %s", name, picture.name, error)
    return found


def evaluate(
    pictures: Iterable[HeldOutPicture], predictors: Mapping[str, Predict], everything: bool = False
) -> dict[str, dict[str, Figures]]:
    """Figures of every picture by method, in this process; judging.py does the same with many."""
    return {picture.name: compared(picture, predictors, everything) for picture in pictures}


def gain(before: Figures, after: Figures, region: str) -> float:
    """Decibels that a picture gains in a region; NaN where it has no such pixels."""
    if not before[f"{region} count"]:
        return float("nan")
    a, b = (max(each[f"{region} sum"] / each[f"{region} count"], 1e-12) for each in (before, after))
    return psnr_from_mse(b) - psnr_from_mse(a)


def pooled(figures: Sequence[Figures], key: str, region: str) -> float:
    """Mean of an error over all pixels of a region; NaN where there are none."""
    count = sum(each[f"{region} count"] for each in figures)
    return sum(each.get(key, 0.0) for each in figures) / count if count else float("nan")


def summary(pictures: Mapping[str, Mapping[str, Figures]], method: str) -> dict[str, float]:
    """Figures of a method over many pictures, against the plain conversion.

    Pooled gains weigh every pixel alike; the others are of the pictures' gains on clipped pixels.
    """
    before = [each[PLAIN] for each in pictures.values()]
    after = [each[method] for each in pictures.values()]
    values: dict[str, float] = {"pictures": len(pictures)}
    for region in REGIONS:
        plain, own = (psnr_from_mse(pooled(side, f"{region} sum", region)) for side in (before, after))
        values[region], values[f"{region} gain"] = own, own - plain if own != plain else 0.0
    gains = np.array([gain(a, b, "clipped") for a, b in zip(before, after, strict=True)])
    gains = gains[np.isfinite(gains)] if np.isfinite(gains).any() else gains[:1]
    quartiles = np.percentile(gains, [25, 50, 75])
    values |= dict(zip(("lower quartile", "median", "upper quartile"), map(float, quartiles), strict=True))
    values |= {"worst": float(gains.min()), "worse": float((gains < -WORSE).mean())}
    values["lose over 1 dB"] = float((gains < -MUCH_WORSE).mean())
    uv = np.array([[a["uv"], b["uv"]] for a, b in zip(before, after, strict=True)])
    both = np.isfinite(uv).all(axis=-1)
    uv = uv[both].mean(axis=0) if both.any() else uv[0]
    values |= {"uv plain": float(uv[0]), "uv": float(uv[1])}
    if any("pu sum" in each for each in after):
        plain, own = (pooled(side, "pu sum", "clipped") for side in (before, after))
        values["pu"] = 10 * float(np.log10(pu21.RANGE**2 / max(own, 1e-12)))
        values["pu gain"] = 10 * float(np.log10(plain / max(own, 1e-12)))
        plain, own = (pooled(side, "aligned sum", "clipped") for side in (before, after))
        values["aligned gain"] = 10 * float(np.log10(plain / max(own, 1e-12)))
        itp = [np.mean([each["itp"] for each in side if "itp" in each]) for side in (before, after)]
        values |= {"itp plain": float(itp[0]), "itp": float(itp[1])}
    return values
