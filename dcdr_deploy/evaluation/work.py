"""The work on one pair: read, normalise, align, score. What a worker process does."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from dcdr_deploy.errors import InputError
from dcdr_deploy.evaluation import align
from dcdr_deploy.evaluation.pairing import PairFiles
from dcdr_deploy.evaluation.regions import REGIONS, WHOLE, Ldr, is_overexposed, read_ldr
from dcdr_deploy.evaluation.scale import FullScale, check_sizes, to_full_scale
from dcdr_deploy.imaging.light import SDR_WHITE_NITS
from dcdr_deploy.imaging.read_hdr import DEFAULT_OPTIONS, HdrOptions, Picture, read_hdr
from dcdr_deploy.metrics.pair import Mask, Pair
from dcdr_deploy.metrics.psnr import clipped_region
from dcdr_deploy.metrics.registry import METRICS, Metric

Scores = Mapping[str, Mapping[str, float]]
"""Region name -> metric name -> figure. NaN where a region has no pixels."""


@dataclass(frozen=True)
class Task:
    """What is asked of every pair.

    Attributes:
        metrics: names, of those that can be computed here.
        full_scale: see scale.py.
        white_nits: luminance of SDR white in cd/m2.
        overexposed: leave out pictures that are not in Test Set 2.
        align: one of :data:`align.ALIGNMENTS`.
        reading: how HDR files are read.
    """

    metrics: tuple[str, ...]
    full_scale: FullScale = None
    white_nits: float = SDR_WHITE_NITS
    overexposed: bool = False
    align: str = align.NONE
    reading: HdrOptions = DEFAULT_OPTIONS


@dataclass(frozen=True)
class PairScores:
    """What came of one pair.

    Attributes:
        name: the pair's.
        scores: see :data:`Scores`.
        beyond: share of the truth's pixels with a channel above full scale; they count as full scale in the metrics of
            the paper.
        unscaled: names of metrics left out because the luminance of full scale is not known.
        stops: log2 of median luminance, prediction over truth, before any alignment; NaN where one is black.
        masked: pixels with NaN or infinity in one of the two, which do not count.
        notes: what was converted, chosen or left out while reading, by file.
    """

    name: str
    scores: Scores
    beyond: float = 0.0
    unscaled: tuple[str, ...] = field(default=())
    stops: float = math.nan
    masked: int = 0
    notes: tuple[str, ...] = ()


def score_pair(files: PairFiles, task: Task) -> PairScores | None:
    """Score one pair; ``None`` where it is not selected.

    Raises:
        InputError: a file cannot be read, sizes differ, no pixel is finite in both, or a picture is too small for a
            metric.
    """
    ldr = None if files.ldr is None else read_ldr(files.ldr)
    if task.overexposed and ldr is not None and not is_overexposed(ldr):
        return None
    truth, prediction = read_hdr(files.truth, task.reading), read_hdr(files.prediction, task.reading)
    _same_size(files, ldr, truth)
    valid = _valid(prediction, truth)
    if valid is not None and not valid.any():
        raise InputError(f"{files.prediction}: has no pixel that is finite in this and in {files.truth}; leave it out")
    pair, stops = _aligned(files, prediction, truth, valid, ldr, task)
    if valid is not None:  # metrics of whole pictures see the same light there; the others leave it out
        pair = Pair(np.where(valid[..., None], pair.prediction, pair.truth), pair.truth, pair.nits)
    metrics = [METRICS[name] for name in task.metrics]
    _check_size(files, pair, metrics)
    unscaled = tuple(metric.name for metric in metrics if metric.absolute and pair.nits is None)
    return PairScores(
        files.name,
        _scores(pair, ldr, [metric for metric in metrics if metric.name not in unscaled], valid),
        beyond=float((pair.truth > 1).any(axis=-1).mean()),
        unscaled=unscaled,
        stops=stops,
        masked=0 if valid is None else int((~valid).sum()),
        notes=tuple(f"{picture.path}: {note}" for picture in (prediction, truth) for note in picture.notes),
    )


def _valid(prediction: Picture, truth: Picture) -> Mask | None:
    """Pixels that are finite in both; ``None`` where all are."""
    if prediction.size != truth.size:
        return None  # refused with both names by to_full_scale
    masks = [picture.invalid for picture in (prediction, truth) if picture.invalid is not None]
    return ~np.logical_or.reduce(masks) if masks else None


def _aligned(
    files: PairFiles, prediction: Picture, truth: Picture, valid: Mask | None, ldr: Ldr | None, task: Task
) -> tuple[Pair, float]:
    """Both at full scale and aligned as asked for, and how many stops they are apart without."""
    try:
        if task.align == align.PERCENTILE:
            check_sizes(prediction, truth)
            stops = math.nan
            if prediction.integer == truth.integer:
                stops = align.stops_apart(prediction.pixels, truth.pixels, valid)
            bright = np.float32(align.DISPLAY_RANGE[1])
            both = [align.by_percentiles(picture.pixels, valid) / bright for picture in (prediction, truth)]
            return Pair(both[0], both[1], float(bright)), stops
        pair = to_full_scale(prediction, truth, task.full_scale, task.white_nits)
        stops = align.stops_apart(pair.prediction, pair.truth, valid)
        if task.align == align.GAIN:
            return Pair(align.by_gain(pair.prediction, pair.truth, valid)[0], pair.truth, pair.nits), stops
        if task.align == align.CURVE:
            assert ldr is not None  # the settings ask for it
            unclipped = ~clipped_region(ldr, 0) if valid is None else valid & ~clipped_region(ldr, 0)
            return Pair(align.by_curve(pair.prediction, pair.truth, unclipped), pair.truth, pair.nits), stops
        return pair, stops
    except align.CannotAlignError as reason:
        raise InputError(f"{files.truth}: this, or its prediction, {reason}; leave `align` out") from reason


def _same_size(files: PairFiles, ldr: Ldr | None, truth: Picture) -> None:
    if ldr is not None and ldr.shape[:2] != truth.size:
        raise InputError(
            f"{files.ldr}: {ldr.shape[1]} x {ldr.shape[0]} pixels, but {files.truth} is "
            f"{truth.size[1]} x {truth.size[0]}; they must be of one size"
        )


def _scores(pair: Pair, ldr: Ldr | None, metrics: list[Metric], valid: Mask | None) -> dict[str, dict[str, float]]:
    scores = {WHOLE.name: {metric.name: metric.score(pair, valid if metric.regional else None) for metric in metrics}}
    if ldr is None:
        return scores
    for region in REGIONS:
        if region.mask is None:
            continue
        mask = region.mask(ldr) if valid is None else region.mask(ldr) & valid
        scores[region.name] = {
            metric.name: metric.score(pair, mask) if mask.any() else math.nan for metric in metrics if metric.regional
        }
    return scores


def _check_size(files: PairFiles, pair: Pair, metrics: list[Metric]) -> None:
    least = min(pair.size)
    for metric in metrics:
        if least < metric.minimum_size:
            raise InputError(
                f"{files.truth}: {pair.size[1]} x {pair.size[0]} pixels, but {metric.name} needs {metric.minimum_size} "
                "each way; leave it out with `metrics`"
            )


def mean(values: list[float]) -> float:
    """Mean of the figures that are there; NaN where none is, infinite where one is."""
    there = [value for value in values if not math.isnan(value)]
    return float(np.mean(there)) if there else math.nan
