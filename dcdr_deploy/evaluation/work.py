"""The work on one pair: read, normalise, score. What a worker process does."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from dcdr_deploy.errors import InputError
from dcdr_deploy.evaluation.pairing import PairFiles
from dcdr_deploy.evaluation.regions import REGIONS, WHOLE, Ldr, is_overexposed, read_ldr
from dcdr_deploy.evaluation.scale import FullScale, to_full_scale
from dcdr_deploy.imaging.exr import SDR_WHITE_NITS
from dcdr_deploy.imaging.read_hdr import read_hdr
from dcdr_deploy.metrics.pair import Pair
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
    """

    metrics: tuple[str, ...]
    full_scale: FullScale = None
    white_nits: float = SDR_WHITE_NITS
    overexposed: bool = False


@dataclass(frozen=True)
class PairScores:
    """What came of one pair.

    Attributes:
        name: the pair's.
        scores: see :data:`Scores`.
        beyond: share of the truth's pixels with a channel above full scale; they count as full scale in the metrics of
            the paper.
        unscaled: names of metrics left out because the luminance of full scale is not known.
    """

    name: str
    scores: Scores
    beyond: float = 0.0
    unscaled: tuple[str, ...] = field(default=())


def score_pair(files: PairFiles, task: Task) -> PairScores | None:
    """Score one pair; ``None`` where it is not selected.

    Raises:
        InputError: a file cannot be read, sizes differ, or a picture is too small for a metric.
    """
    ldr = None if files.ldr is None else read_ldr(files.ldr)
    if task.overexposed and ldr is not None and not is_overexposed(ldr):
        return None
    truth = read_hdr(files.truth)
    pair = to_full_scale(read_hdr(files.prediction), truth, task.full_scale, task.white_nits)
    if ldr is not None and ldr.shape[:2] != truth.size:
        raise InputError(
            f"{files.ldr}: {ldr.shape[1]} x {ldr.shape[0]} pixels, but {files.truth} is "
            f"{truth.size[1]} x {truth.size[0]}; they must be of one size"
        )
    metrics = [METRICS[name] for name in task.metrics]
    _check_size(files, pair, metrics)
    unscaled = tuple(metric.name for metric in metrics if metric.absolute and pair.nits is None)
    return PairScores(
        files.name,
        _scores(pair, ldr, [metric for metric in metrics if metric.name not in unscaled]),
        beyond=float((pair.truth > 1).any(axis=-1).mean()),
        unscaled=unscaled,
    )


def _scores(pair: Pair, ldr: Ldr | None, metrics: list[Metric]) -> dict[str, dict[str, float]]:
    scores = {WHOLE.name: {metric.name: metric.score(pair, None) for metric in metrics}}
    if ldr is None:
        return scores
    for region in REGIONS:
        if region.mask is None:
            continue
        mask = region.mask(ldr)
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
                "each way; leave it out with --metrics"
            )


def mean(values: list[float]) -> float:
    """Mean of the figures that are there; NaN where none is, infinite where one is."""
    there = [value for value in values if not math.isnan(value)]
    return float(np.mean(there)) if there else math.nan
