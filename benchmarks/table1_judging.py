"""Figures of the networks of Table 1 on held-out pictures, as they are and behind a fitted tone curve."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import TimeoutError as OutOfTimeError
from concurrent.futures import as_completed
from pathlib import Path

import numpy as np
from held_out import PEAK, HeldOutPicture, panorama_views, photographs
from judgement import PEAK_NITS, itp_codes, itp_distance
from numpy.typing import NDArray
from processes import Workers

from dcdr_deploy.evaluation.align import CannotAlignError, by_curve
from dcdr_deploy.evaluation.regions import is_overexposed
from dcdr_deploy.imaging.transfer import srgb_to_linear
from dcdr_deploy.metrics.pair import Mask, Pair, masked_mean
from dcdr_deploy.metrics.psnr import clipped_region
from dcdr_deploy.metrics.registry import LOWER, METRICS, Metric
from dcdr_deploy.scenes.camera import LDR_MAX
from dcdr_deploy.system.files import atomic_path

SETS = {"all": "all held-out pictures (the paper: Test Set 1)", "over": "the overexposed ones (the paper: Test Set 2)"}
CURVES = {"": "as it is", "_curve": "behind a tone curve that is fitted where nothing clips"}

PAPERS = ("psnr-l", "psnr-mu10", "ssim-l", "lpips-alex-l", "hdrvdp2-q")
"""Metrics of the paper's Table 1, in its order, by our names; which LPIPS it is, the paper does not say."""
OWN = ("pu21-psnr", "delta-itp", "delta-uv")
"""What we measure beside them."""

MULTIPLE = 32
"""Pictures are cut to multiples of this, so that every network sees the same ones without padding."""

Figures = dict[str, float]
"""By set, metric and curve: ``all_psnr-l``, ``over_delta-uv_curve``."""


def _itp(pair: Pair, mask: Mask | None) -> float:
    found, truth = (itp_codes(np.minimum(each, PEAK_NITS).reshape(-1, 3)) for each in pair.in_nits())
    return masked_mean(itp_distance(found, truth).reshape(pair.size), mask)


DELTA_ITP = Metric(
    "delta-itp", "Delta ITP", "ITU-R BT.2124, 1 is just visible", _itp, better=LOWER, digits=2, absolute=True
)


def metric(name: str) -> Metric:
    """A metric by its name."""
    return DELTA_ITP if name == DELTA_ITP.name else METRICS[name]


def computed(names: Sequence[str] = (*PAPERS, *OWN)) -> list[str]:
    """Those metrics that can be computed on this machine."""
    return [name for name in names if not metric(name).missing()]


def held_out(
    photos: Sequence[Path], panoramas: Sequence[Path], split: str, size: int, count: int
) -> list[HeldOutPicture]:
    """Pictures of a split, ``count`` in all and as many of each kind that there is, cut to :data:`MULTIPLE`."""
    kinds = [(draw, folders) for draw, folders in ((photographs, photos), (panorama_views, panoramas)) if folders]
    pictures: list[HeldOutPicture] = []
    for draw, folders in kinds:
        for picture in draw(folders, split, size, most=count // len(kinds)):
            rows, columns = (side - side % MULTIPLE for side in picture.ldr.shape[:2])
            cut = (slice(rows), slice(columns))
            parts = (np.ascontiguousarray(each[cut]) for each in (picture.ldr, picture.truth, picture.known))
            pictures.append(HeldOutPicture(picture.name, picture.kind, *parts))
    return pictures


def save(pictures: Iterable[HeldOutPicture], path: Path) -> None:
    """Write pictures where other processes find them: ``ldrN``, ``truthN``, ``knownN`` of an .npz file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {}
    for number, picture in enumerate(pictures):
        arrays |= {f"ldr{number}": picture.ldr, f"truth{number}": picture.truth, f"known{number}": picture.known}
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)


def trivial(sdr: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Inverse sRGB / peak: what no network has to be asked for."""
    return (srgb_to_linear(sdr.astype(np.float32) / np.float32(LDR_MAX)) / PEAK).astype(np.float32)


def figures_of(
    found: NDArray[np.float32],
    ldr: NDArray[np.uint8],
    truth: NDArray[np.float32],
    known: NDArray[np.bool_],
    names: Sequence[str],
) -> Figures:
    """Figures of one result, by metric and curve.

    Args:
        found: linear (H, W, 3), 1.0 = full scale.
        ldr: what it was made of, (H, W, 3).
        truth: likewise linear.
        known: (H, W), False where nobody knows the truth. Metrics of whole pictures find no difference there.
        names: of metrics.
    """
    found = np.nan_to_num(found, nan=0.0, posinf=1.0, neginf=0.0)
    try:
        curved = by_curve(found, truth, known & ~clipped_region(ldr))
    except CannotAlignError:  # next to nothing is unclipped
        curved = found
    figures = {}
    for result, curve in zip((found, curved), CURVES, strict=True):
        shown = np.where(known[..., None], result, truth).clip(0, 1).astype(np.float32)
        pair = Pair(shown, truth, PEAK_NITS)
        for name in names:
            chosen = metric(name)
            figures[name + curve] = float(chosen.score(pair, known if chosen.regional else None))
    return figures


def _judge(pictures: Path, number: int, predictions: Path | None, names: Sequence[str]) -> tuple[bool, Figures]:
    """Whether a picture is overexposed, and the figures of what a network made of it; of :func:`trivial` for none."""
    with np.load(pictures) as arrays:
        ldr, truth, known = (arrays[f"{name}{number}"] for name in ("ldr", "truth", "known"))
    if predictions is None:
        found = trivial(ldr)
    else:
        with np.load(predictions) as results:
            found = results[str(number)]
    return is_overexposed(ldr), figures_of(found, ldr, truth, known, names)


def judge(
    runs: Mapping[str, Path | None],
    pictures: Path,
    count: int,
    names: Sequence[str],
    processes: int,
    end: float = float("inf"),
    say: Callable[[str], None] = lambda text: None,
) -> tuple[dict[str, Figures], int]:
    """Mean figures of several runs over the same pictures.

    Args:
        runs: file of predictions by the name of a run; ``None`` for :func:`trivial`.
        pictures: what :func:`save` wrote.
        count: how many those are.
        names: of metrics.
        processes: that judge.
        end: when to stop, on :func:`time.monotonic`'s clock. What was judged for all runs by then counts.
        say: told when time is up, and which run cannot be judged; that one is left out.

    Returns:
        Figures by the names of runs, and over how many pictures.
    """
    judged = dict(runs)
    found: dict[tuple[int, str], tuple[bool, Figures]] = {}
    pool = Workers(processes)
    try:
        tasks = {
            pool.submit(_judge, pictures, number, path, tuple(names)): (number, run)
            for number in range(count)
            for run, path in runs.items()
        }
        for task in as_completed(tasks, timeout=None if end == float("inf") else max(end - time.monotonic(), 0)):
            number, run = tasks[task]
            try:
                found[number, run] = task.result()
            except Exception as error:
                if judged.pop(run, "") != "":
                    say(f"{run} cannot be judged: {type(error).__name__}: {error}")
    except OutOfTimeError:
        say("time is up before all pictures are judged")
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    whole = [number for number in range(count) if judged and all((number, run) in found for run in judged)]
    return {run: means([found[number, run] for number in whole], names) for run in judged}, len(whole)


def means(rows: Sequence[tuple[bool, Figures]], names: Sequence[str]) -> Figures:
    """Means over pictures, over all and over the overexposed ones; NaN where there are none."""
    chosen: dict[str, Callable[[bool], bool]] = {"all": lambda over: True, "over": lambda over: over}
    keys = [name + curve for name in names for curve in CURVES]
    figures = {}
    for each, counts in chosen.items():
        picked = [row for over, row in rows if counts(over)]
        for key in keys:
            values = [row[key] for row in picked if not np.isnan(row[key])]
            figures[f"{each}_{key}"] = float(np.mean(values)) if values else float("nan")
        figures[f"{each}_pictures"] = len(picked)
    return figures


def spare_processes(kept: int = 1) -> int:
    """Processors of this machine but ``kept``, at least one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores - kept)
