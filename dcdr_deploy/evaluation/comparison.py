"""Scoring many pairs: over processes, with a few pairs in flight at a time, so that memory does not grow with them."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass

from dcdr_deploy.errors import InputError
from dcdr_deploy.evaluation.align import ALIGNMENTS, CURVE, NONE
from dcdr_deploy.evaluation.pairing import PairFiles
from dcdr_deploy.evaluation.report import EvaluationReport
from dcdr_deploy.evaluation.scale import FullScale, check_full_scale
from dcdr_deploy.evaluation.work import PairScores, Task, score_pair
from dcdr_deploy.imaging.light import SDR_WHITE_NITS
from dcdr_deploy.imaging.read_hdr import DEFAULT_OPTIONS, HdrOptions, read_hdr
from dcdr_deploy.metrics.registry import PAPER, chosen_metrics
from dcdr_deploy.system import hardware
from dcdr_deploy.system.children import killed_workers_told, safe_path
from dcdr_deploy.system.interrupts import unheard_by_children
from dcdr_deploy.system.progress import Event, Listener, silent
from dcdr_deploy.system.words import number_of

BYTES_PER_PIXEL = 1100
"""What a process needs for a pair at most; measured with all of our own metrics at 1920 x 1080, rounded up."""

_QUEUED_PER_WORKER = 4  # names only, so that workers go on while the oldest pair takes long


@dataclass(frozen=True)
class EvaluationSettings:
    """How pairs are evaluated.

    Attributes:
        metrics: names of metrics or of sets of them (metrics/registry.py).
        full_scale: linear value of EXR and Radiance files that counts as 1.0, in units of SDR white; ``"gt-max"`` for
            the maximum of each truth; ``None`` for what the files say.
        white_nits: luminance of SDR white in cd/m2.
        overexposed: only pairs whose SDR picture belongs to Test Set 2.
        align: how predictions are brought to the scale of their truths, one of align.py's.
        reading: how HDR files are read.
        jobs: processes; ``None`` for one a processor core, or as many as fit into memory by the first truth's size.

    Raises:
        InputError: a value that makes no sense.
    """

    metrics: tuple[str, ...] = (PAPER,)
    full_scale: FullScale = None
    white_nits: float = SDR_WHITE_NITS
    overexposed: bool = False
    align: str = NONE
    reading: HdrOptions = DEFAULT_OPTIONS
    jobs: int | None = None

    def __post_init__(self) -> None:
        if not chosen_metrics(self.metrics):
            raise InputError("no metrics are asked for; name some, or leave the option out")
        check_full_scale(self.full_scale)
        if not 0 < self.white_nits < float("inf"):
            raise InputError(f"luminance of white {self.white_nits}: give a positive number of cd/m2")
        if self.align not in ALIGNMENTS:
            raise InputError(f"unknown alignment {self.align!r}; choose one of {', '.join(ALIGNMENTS)}")
        if self.jobs is not None and self.jobs < 1:
            raise InputError(f"{self.jobs} processes: give 1 or more")


def evaluate(
    pairs: Sequence[PairFiles],
    settings: EvaluationSettings | None = None,
    listener: Listener = silent,
) -> EvaluationReport:
    """Score pairs by every metric that can be computed on this machine.

    Args:
        pairs: from :func:`~dcdr_deploy.evaluation.pairing.find_pairs`.
        settings: how they are evaluated.
        listener: told of each pair that was scored, by its name.

    Raises:
        InputError: a pair that cannot be scored (work.py), none at all or none selected, ``overexposed`` without SDR
            pictures.
        EngineError: a worker process died.
    """
    settings = settings or EvaluationSettings()
    if not pairs:
        raise InputError("there are no pairs to evaluate; name pictures and their ground truths")
    if settings.overexposed and any(pair.ldr is None for pair in pairs):
        raise InputError("Test Set 2 is chosen by the SDR pictures; name their folder with `ldr`")
    if settings.align == CURVE and any(pair.ldr is None for pair in pairs):
        raise InputError("the curve is fitted where the SDR pictures are not clipped; name their folder with `ldr`")
    metrics = chosen_metrics(settings.metrics)
    missing = {metric.name: reason for metric in metrics if (reason := metric.missing())}
    task = Task(
        tuple(metric.name for metric in metrics if metric.name not in missing),
        settings.full_scale,
        settings.white_nits,
        settings.overexposed,
        settings.align,
        settings.reading,
    )
    jobs = min(settings.jobs or _fitting_jobs(pairs[0], settings.reading), len(pairs))
    found: dict[str, PairScores] = {}
    listener(Event(total=len(pairs)))
    for done, (files, scored) in enumerate(_score_all(pairs, task, jobs), start=1):
        if scored is not None:
            found[files.name] = scored
        listener(Event(files.name, done, len(pairs)))
    if not found:
        raise InputError(
            f"none of {number_of(len(pairs), 'picture')} is overexposed by the rule of Test Set 2; leave it out"
        )
    ordered = tuple(found[pair.name] for pair in pairs if pair.name in found)
    return EvaluationReport(metrics, ordered, missing, considered=len(pairs), align=settings.align)


def _fitting_jobs(first: PairFiles, reading: HdrOptions = DEFAULT_OPTIONS) -> int:
    """How many processes the cores and the memory take; the first truth stands for all."""
    cores = hardware.cpu_threads()
    memory = hardware.available_memory()
    if cores == 1 or memory is None:
        return cores
    height, width = read_hdr(first.truth, reading).size
    return max(1, min(cores, memory // (height * width * BYTES_PER_PIXEL)))


def _score_all(pairs: Sequence[PairFiles], task: Task, jobs: int) -> Iterator[tuple[PairFiles, PairScores | None]]:
    """Score pairs, in order."""
    if jobs == 1:
        for files in pairs:
            yield files, score_pair(files, task)
        return
    # Not forked: a fork copies locks of libraries' threads in whatever state they are.
    context = multiprocessing.get_context("spawn")
    per_worker = max(1, hardware.cpu_threads() // jobs)
    others = set(multiprocessing.active_children())
    with safe_path():  # its locks start a process too
        executor = ProcessPoolExecutor(jobs, context, initializer=_prepare_worker, initargs=(per_worker,))
    with killed_workers_told("try fewer with `jobs`"), executor as pool:
        waiting = iter(pairs)
        running: deque[tuple[PairFiles, Future[PairScores | None]]] = deque()
        try:
            while True:
                with unheard_by_children(), safe_path():
                    for files in itertools.islice(waiting, _QUEUED_PER_WORKER * jobs - len(running)):
                        running.append((files, pool.submit(score_pair, files, task)))
                if not running:
                    return
                # In order: of several bad pairs it is always the first that is told.
                files, future = running[0]
                scored = future.result()
                running.popleft()
                yield files, scored
        finally:
            for child in set(multiprocessing.active_children()) - others if running else ():
                child.terminate()  # ended early: nobody waits for what they are at
            pool.shutdown(wait=True, cancel_futures=True)


def _prepare_worker(threads: int) -> None:
    """Keep libraries from starting a thread a core in every process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where it is not inherited: Windows
    os.environ["OMP_NUM_THREADS"] = str(threads)  # read when PyTorch is imported
    import cv2

    cv2.setNumThreads(threads)
