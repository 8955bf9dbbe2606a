"""Several networks trained at a time on one machine, step by step together.

A small network's step is bound by the queueing of its kernels, so that a GPU has room for several. Each network has a
process of its own. None goes more than :data:`LEAD` steps ahead of the slowest: at any moment all have seen the same
samples, one pace is everybody's pace, and a run that ends with the clock ends at the same step for all. Where no number
of steps is given, it is the one that fits the time at that pace. Who fails, or stands still, leaves the others alone.
"""

from __future__ import annotations

import json
import multiprocessing
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import torch
from shared_samples import SharedSamples
from text_files import write_text

from dcdr_deploy.errors import DcdrError
from dcdr_deploy.models import count_parameters
from dcdr_deploy.scenes.camera import LDR_MAX
from dcdr_deploy.system.files import atomic_path
from dcdr_deploy.training.asked import CHECKPOINT_NAME
from dcdr_deploy.training.assembly import predictor, run_training
from dcdr_deploy.training.loop import LoopOptions, create_state, evaluation_network
from dcdr_deploy.training.recipe import Recipe
from dcdr_deploy.training.state import TrainingState

LEAD = 4
"""Steps that a run may be ahead of the slowest."""
NEVER = 10**9
"""Steps of a run whose end nobody has planned yet; also the step of a run that has ended."""
MEASURED_SHARE = 0.08
"""Share of the time after which the pace counts as known; what comes before its last part is warm-up."""
PACE_FROM = 0.4
FROZEN_SHARE = 0.45
"""Share of the planned steps after which the plan only shrinks: from 0.5 on the learning rate falls, never to rise."""
MARGIN = 0.03
POLL_SECONDS, SAY_SECONDS = 0.1, 10.0
STALL_SECONDS = 30.0
"""The others go on without a run that keeps one of them waiting for so long, until it has caught up."""
CHECKPOINT_STEPS = 1000
"""A run that is killed loses at most so many."""

OUTCOME, PREDICTIONS = "outcome.json", "predictions.npz"


@dataclass(frozen=True)
class Job:
    """One run.

    Attributes:
        name: for people.
        recipe: its steps are :data:`NEVER` until they are planned.
        folder: receives checkpoint, metrics, ``outcome.json`` and, of each held-out picture, what the network makes of
            it in ``predictions.npz``: float32 (H, W, 3) by its number.
        samples: folder of :class:`SharedSamples`.
        pictures: .npz file with the held-out pictures, uint8 (H, W, 3) as ``ldr0``, ``ldr1``, ...
        peak: full scale of targets in units of SDR white.
        device: torch's name.
        threads: of torch.
        workers: processes that prepare batches.
        files: weights of perceptual losses.
    """

    name: str
    recipe: Recipe
    folder: Path
    samples: Path
    pictures: Path
    peak: float
    device: str
    threads: int = 1
    workers: int = 0
    files: Mapping[str, Path] = field(default_factory=dict)


class Board:
    """Where every run stands, in memory that the processes share."""

    def __init__(self, runs: int) -> None:
        # Each number has one writer, and aligned 64-bit stores are whole: no lock is needed.
        array = multiprocessing.get_context("spawn").Array
        self._plan: Any = array("q", 2, lock=False)
        self._steps: Any = array("q", runs, lock=False)
        self._excused: Any = array("q", runs, lock=False)

    @property
    def plan(self) -> int:
        """Steps of the runs; 0 until they are planned."""
        return int(self._plan[0])

    @plan.setter
    def plan(self, steps: int) -> None:
        self._plan[0] = steps

    @property
    def stopped(self) -> bool:
        """Whether time is up."""
        return bool(self._plan[1])

    def stop(self) -> None:
        """Make all runs end after their step."""
        self._plan[1] = 1

    def tell(self, slot: int, step: int) -> None:
        """Say how far a run is."""
        self._steps[slot] = step

    def excuse(self, slot: int, excused: bool) -> None:
        """Say whether the others go on without a run."""
        self._excused[slot] = excused

    @property
    def steps(self) -> dict[int, int]:
        """Steps done by the runs that the others wait for, by their slots."""
        return {slot: step for slot, step in enumerate(self._steps) if step != NEVER and not self._excused[slot]}

    @property
    def behind(self) -> dict[int, int]:
        """Steps done by runs that nobody waits for."""
        return {slot: step for slot, step in enumerate(self._steps) if step != NEVER and self._excused[slot]}

    @property
    def slowest(self) -> int:
        """Steps of the slowest run that the others wait for; :data:`NEVER` where there is none."""
        return min(self.steps.values(), default=NEVER)


class Pacer:
    """How many steps fit the time, from how quickly the slowest run went so far.

    Args:
        end: when the last step is to be done, on the clock of ``now``.
    """

    def __init__(self, end: float) -> None:
        self.end, self.plan = end, 0
        self._marks: list[tuple[float, int]] = []

    def planned(self, now: float, step: int) -> int:
        """Take in that ``step`` steps are done, and return the plan; 0 while the pace is not known."""
        if step > (self._marks[-1][1] if self._marks else 0):
            self._marks.append((now, step))
        if len(self._marks) > 2 and now - self._marks[0][0] > MEASURED_SHARE * (self.end - self._marks[0][0]):
            (first, a), (last, b) = self._marks[int(len(self._marks) * PACE_FROM)], self._marks[-1]
            if b > a:
                plan = b + max(int((self.end - last) * (1 - MARGIN) * (b - a) / (last - first)), 1)
                self.plan = plan if not self.plan or b < FROZEN_SHARE * self.plan else min(self.plan, plan)
        return self.plan


def train_together(
    jobs: Sequence[Job], board: Board, end: float, patience: float, say: Callable[[str], None] = lambda text: None
) -> None:
    """Train runs beside each other until the plan is fulfilled or time is up; each leaves ``outcome.json``.

    Args:
        jobs: one for each slot of the board.
        board: new; its plan is made here unless it is set.
        end: when training stops, on :func:`time.monotonic`'s clock.
        patience: seconds after ``end`` in which runs save and predict before they are ended.
        say: told now and then how things stand.
    """
    with _started(jobs, board) as processes:
        pacer = None if board.plan else Pacer(end)
        moved, before, told = time.monotonic(), board.slowest, 0.0
        while any(process.is_alive() for process in processes):
            now = time.monotonic()
            for slot, process in enumerate(processes):
                if not process.is_alive():
                    board.tell(slot, NEVER)
            steps = board.steps
            slowest = min(steps.values(), default=NEVER)
            if pacer is not None and slowest != NEVER:
                board.plan = pacer.planned(now, slowest)
            if now > end:
                board.stop()
            if now > end + patience:
                _end(jobs, processes, "it did not end in time")
            if slowest != before or slowest == max(steps.values(), default=NEVER):
                moved, before = now, slowest
            for slot, step in board.behind.items():
                board.excuse(slot, step + LEAD < slowest)
            if now - moved > STALL_SECONDS:
                for slot in [slot for slot, step in steps.items() if step == slowest]:
                    say(f"{jobs[slot].name} keeps the others waiting at step {slowest}: they go on")
                    board.excuse(slot, True)
            if now - told > SAY_SECONDS and slowest != NEVER:
                told = now
                say(f"step {slowest} of {board.plan or '?'}")
            time.sleep(POLL_SECONDS)
        for job, process in zip(jobs, processes, strict=True):
            if process.exitcode and not (job.folder / OUTCOME).is_file():
                write_outcome(job.folder, note=f"its process ended with code {process.exitcode}")


@contextmanager
def _started(jobs: Sequence[Job], board: Board) -> Iterator[list[BaseProcess]]:
    """A process for each run; none is left afterwards."""
    context = multiprocessing.get_context("spawn")  # CUDA does not survive a fork
    processes: list[BaseProcess] = [
        context.Process(target=train_one, args=(job, board, n)) for n, job in enumerate(jobs)
    ]
    try:
        for process in processes:
            process.start()
        yield processes
    finally:
        for process in processes:
            if process.is_alive():
                process.kill()
            process.join()


def _end(jobs: Sequence[Job], processes: Sequence[BaseProcess], why: str) -> None:
    for job, process in zip(jobs, processes, strict=True):
        if process.is_alive():
            process.kill()
            process.join()
            write_outcome(job.folder, note=why)


def write_outcome(folder: Path, **values: Any) -> None:
    """Write ``outcome.json`` of a run."""
    write_text(folder / OUTCOME, json.dumps(values))


def train_one(job: Job, board: Board, slot: int) -> None:
    """Carry out a run, or go on with it, in a process of its own.

    A run that its loop ends with an error the network's weights outlive (its restoration has fallen silent, say) is
    judged as it stands, and its outcome says so.
    """
    try:
        torch.set_num_threads(job.threads)
        device = torch.device(job.device)
        state = create_state(job.recipe, job.peak, device)
        if (job.folder / CHECKPOINT_NAME).exists():
            state.restore(job.folder / CHECKPOINT_NAME, device)
        note = _train(state, job, board, slot)
        board.tell(slot, NEVER)
        _predict(state, job)
        outcome = {"step": state.step, "complete": state.step >= state.recipe.steps, "note": note}
        outcome |= {"parameters": count_parameters(state.network), "seconds": round(state.seconds, 1)}
        write_outcome(job.folder, **outcome)
    except BaseException as error:
        board.tell(slot, NEVER)
        traceback.print_exc()
        write_outcome(
            job.folder, note=f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"
        )


def _train(state: TrainingState, job: Job, board: Board, slot: int) -> str:
    """The steps; returns what went wrong, empty where nothing did."""

    def is_over() -> bool:
        board.tell(slot, state.step)
        while True:
            plan = board.plan
            if plan and plan != state.recipe.steps:
                state.recipe = replace(state.recipe, steps=plan)
            if board.stopped or (plan and state.step >= plan):
                return True
            if state.step - board.slowest <= LEAD:
                return False
            time.sleep(0.002)

    # Where several share a GPU, it is busy whoever queues; and what one network cannot record would cost it time.
    loop = LoopOptions(CHECKPOINT_STEPS, NEVER, workers=job.workers, device=job.device, record=False)
    board.tell(slot, state.step)
    try:
        run_training(state, SharedSamples(job.samples), job.folder, loop, job.files, stop=is_over)
    except DcdrError as error:
        if state.step == 0:
            raise
        state.save(job.folder / CHECKPOINT_NAME)
        return str(error)
    return ""


def _predict(state: TrainingState, job: Job) -> None:
    """What the network, with its averaged weights and in full FP32, makes of the held-out pictures."""
    exact = torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
    with np.load(job.pictures) as pictures, evaluation_network(state) as network, exact:
        predict = predictor(network)
        names = [name for name in pictures.files if name.startswith("ldr")]
        found = {
            name.removeprefix("ldr"): predict(pictures[name].astype(np.float32) / np.float32(LDR_MAX)) for name in names
        }
    with atomic_path(job.folder / PREDICTIONS) as temporary, temporary.open("wb") as file:
        np.savez(file, **found)
