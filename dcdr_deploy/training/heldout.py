"""Judging weights on scenes that training never saw, against the trivial conversion inverse sRGB / peak.

Whole-picture PSNR hides what the network is for, because most pixels are not clipped. So errors are pooled twice: over
clipped pixels with their 8 px surround, and over everything; and the gain of every crop is kept, because pooled errors
hide crops that became worse. Colour is judged on its own, as the distance in u'v' chromaticity over clipped pixels: a
cast there costs hardly a decibel, and is what a viewer sees first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field

import numpy as np
import numpy.typing as npt

from dcdr_deploy.imaging.transfer import srgb_to_linear
from dcdr_deploy.metrics.chromaticity import uv_difference
from dcdr_deploy.metrics.psnr import PooledError, clipped_region, mu_law, psnr_from_mse
from dcdr_deploy.scenes.camera import LDR_MAX, TARGET_MAX, CameraModel, simulate
from dcdr_deploy.scenes.panorama import PanoramaSet
from dcdr_deploy.scenes.procedural import street_scene

FloatImage = npt.NDArray[np.float32]
Predict = Callable[[FloatImage], FloatImage]
"""SDR (H, W, 3) float32 in [0, 1] to linear HDR (H, W, 3) in network units."""


@dataclass(frozen=True)
class HeldOutPair:
    """One test crop: name, SDR (H, W, 3) uint8, linear truth (H, W, 3) uint16, and where that is known: bool (H, W).

    ``known`` is ``None`` where it is known everywhere; what is not known counts nowhere.
    """

    name: str
    ldr: npt.NDArray[np.uint8]
    target: npt.NDArray[np.uint16]
    known: npt.NDArray[np.bool_] | None = None


def held_out_pairs(
    panoramas: PanoramaSet, views: int, scene_seeds: Iterable[int], camera: CameraModel, size: int, seed: int
) -> list[HeldOutPair]:
    """Crops of held-out panoramas (``views`` in all) and procedural scenes, deterministic by ``seed``."""
    pairs = []
    for view in range(views):
        rng = np.random.default_rng((seed, 0, view))
        pairs.append(HeldOutPair(f"view#{view}", *simulate(panoramas.random_view(rng, size), camera, rng)))
    for scene in scene_seeds:
        rng = np.random.default_rng((seed, 1, scene))
        pairs.append(HeldOutPair(f"scene#{scene}", *simulate(street_scene(scene, size), camera, rng)))
    return pairs


@dataclass(frozen=True)
class Gain:
    """Figures of a network and of the baseline over one kind of pixels, in dB of PSNR-mu (mu = 10)."""

    baseline: float
    network: float

    @property
    def gain(self) -> float:
        """Network minus baseline."""
        return self.network - self.baseline


@dataclass(frozen=True)
class ColourError:
    """Mean distances in u'v' chromaticity over clipped pixels, of the baseline and of a network."""

    baseline: float
    network: float

    @property
    def gain(self) -> float:
        """Baseline minus network: what the colours came closer to the truth by."""
        return self.baseline - self.network


@dataclass(frozen=True)
class HeldOutReport:
    """Result of :func:`judge`.

    Attributes:
        clipped: pooled over clipped pixels and their surround.
        everything: pooled over all pixels.
        unclipped: pooled over the pixels outside that region.
        crop_gains: gain of each crop over all its pixels, by name.
        crop_colours: of each crop in which something clips, by name.
    """

    clipped: Gain
    everything: Gain
    unclipped: Gain
    crop_gains: dict[str, float] = field(default_factory=dict)
    crop_colours: dict[str, ColourError] = field(default_factory=dict)

    @property
    def median_crop_gain(self) -> float:
        """Median gain per crop in dB."""
        return float(np.median(list(self.crop_gains.values())))

    @property
    def colour(self) -> ColourError:
        """Mean over the crops; NaN when nothing clips anywhere."""
        errors = [(each.baseline, each.network) for each in self.crop_colours.values()]
        return ColourError(*map(float, np.mean(errors, axis=0))) if errors else ColourError(float("nan"), float("nan"))

    def summary(self) -> dict[str, float]:
        """The figures as flat data for metrics files and tables."""
        values = {"median_crop_gain": self.median_crop_gain, "worst_crop_gain": min(self.crop_gains.values())}
        values = {key: round(value, 3) for key, value in values.items()}
        for name in ("clipped", "everything", "unclipped"):
            values |= _flat(name, getattr(self, name), digits=3)
        if self.crop_colours:
            worst = min(each.gain for each in self.crop_colours.values())
            values |= _flat("uv", self.colour, digits=4) | {"uv_worst_crop_gain": round(worst, 4)}
        return values


def _flat(name: str, figures: Gain | ColourError, digits: int) -> dict[str, float]:
    """Both figures and their gain, rounded, under keys that begin with ``name``."""
    return {f"{name}_{key}": round(value, digits) for key, value in {**asdict(figures), "gain": figures.gain}.items()}


def baseline(ldr: FloatImage, peak: float) -> FloatImage:
    """The trivial conversion: inverse sRGB / peak."""
    return (srgb_to_linear(ldr) / peak).astype(np.float32)


def judge(pairs: Iterable[HeldOutPair], predict: Predict, peak: float) -> HeldOutReport:
    """Compare a network with the baseline on held-out pairs."""
    pools = {kind: (PooledError(), PooledError()) for kind in ("clipped", "everything", "unclipped")}
    names = []
    colours = {}
    for pair in pairs:
        names.append(pair.name)
        ldr = pair.ldr.astype(np.float32) / np.float32(LDR_MAX)
        linear_truth = pair.target.astype(np.float64) / TARGET_MAX
        linear = [baseline(ldr, peak), predict(ldr)]
        truth, candidates = mu_law(linear_truth), [mu_law(each) for each in linear]
        region = clipped_region(pair.ldr)
        known = np.ones_like(region) if pair.known is None else pair.known
        masks = {"clipped": region & known, "everything": known, "unclipped": ~region & known}
        for kind, mask in masks.items():
            for pool, candidate in zip(pools[kind], candidates, strict=True):
                pool.add(candidate, truth, mask)
        if (clipped := clipped_region(pair.ldr, surround=0) & known).any():
            errors = [float(uv_difference(each, linear_truth)[clipped].mean()) for each in linear]
            colours[pair.name] = ColourError(*errors)
    gains = {kind: Gain(before.psnr, after.psnr) for kind, (before, after) in pools.items()}
    before, after = pools["everything"]
    crops = [psnr_from_mse(b) - psnr_from_mse(a) for a, b in zip(before.per_picture, after.per_picture, strict=True)]
    return HeldOutReport(**gains, crop_gains=dict(zip(names, crops, strict=True)), crop_colours=colours)
