"""Other ways to compile the block's kernel: which of them are right, tried in a process that one of them may break.

After a fault another process goes on without the one that caused it.
"""

from __future__ import annotations

import concurrent.futures
import itertools
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dcdr_deploy.engines.cuda.compiler import compile_cubin, source_text
from dcdr_deploy.engines.cuda.dcrb_from_hidden import SOURCE, FromHiddenKernels, Shape, shape_of
from dcdr_deploy.errors import EngineError
from dcdr_deploy.system import worker
from dcdr_deploy.system.child import Worker, run_job
from dcdr_deploy.system.children import module_command
from dcdr_deploy.system.faults import one_line
from dcdr_deploy.system.progress import Event, Listener

TRIAL_SECONDS = 30.0
"""For all checks of a variant, which take one or two, torch's own kernels and their loading included."""


@dataclass(frozen=True, kw_only=True)
class Trying(Event):
    """A variant's checks begin."""

    name: str


@dataclass(frozen=True, kw_only=True)
class Checked(Event):
    """A variant has gone through its checks: (what, relative error, bound) of each."""

    results: list[tuple[str, float, float]]


WORKER = Worker(
    module_command("gpu_dcrb_variants", Path(__file__).resolve().parent), "process that checks", (Trying, Checked)
)


def variants(sm: int) -> dict[str, tuple[str, Shape]]:
    """Sources of other ways to compile the kernel, by name: threads, gathering, what is done ahead, who multiplies."""
    found: dict[str, tuple[str, Shape]] = {}
    ways = itertools.product((0, 1) if sm == 90 else (0,), (384, 256), ("PAIRS", "HALVES"), (0, 1), (0, 1))
    for wgmma, threads, gathering, ahead, early in ways:
        name = "wgmma " * wgmma + f"{threads} {gathering.lower()}" + " ahead" * ahead + " early" * early
        values = {"WGMMA": wgmma, "THREADS": threads, "GATHERING": gathering, "AHEAD": ahead, "EARLY": early}
        defines = "".join(f"#define DCRB_{key} {value}\n" for key, value in values.items())
        found[name] = defines + source_text(SOURCE), replace(shape_of(sm), threads=threads)
    return found


def compiled(sm: int, names: list[str]) -> dict[str, FromHiddenKernels]:
    """Compile variants, all at a time; from the user's cache those that another process of this run has compiled."""
    known = variants(sm)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        jobs = {name: pool.submit(compile_cubin, SOURCE, sm, known[name][0]) for name in names}
    return {name: FromHiddenKernels({sm: job.result()}, shape=known[name][1]) for name, job in jobs.items()}


def right_ones(sm: int, say: Callable[[str], object]) -> list[str]:
    """Check the variants; return the names of those that are right.

    Args:
        sm: of the GPU.
        say: given a line for each, which begins with ``ok`` or ``WRONG``, and one for each error of a wrong one.
    """
    left, right = list(variants(sm)), []
    trying = ""

    def hear(event: Event) -> None:
        nonlocal trying
        if isinstance(event, Trying):
            trying = event.name
        elif isinstance(event, Checked):
            wrong = [(what, value) for what, value, bound in event.results if not value <= bound]
            worst = max((value for _, value, _ in event.results), key=lambda value: (value != value, value))
            say(f"{'WRONG' if wrong else 'ok   '} {trying}: {worst:.1e}")
            for what, value in wrong:
                say(f"      {what}: {value:.1e}")
            if not wrong:
                right.append(trying)
            left.remove(trying)
            trying = ""

    while left:
        try:
            run_job(WORKER, "check", {"sm": sm, "names": left}, hear, patience)
        except EngineError as error:
            if not trying:
                raise
            say(f"WRONG {trying}: {error}")
            left.remove(trying)
            trying = ""
    return right


def patience(event: Event) -> float | None:
    """Seconds until the process that checks tells the next event."""
    return TRIAL_SECONDS if isinstance(event, Trying) else None


def results_of(kernels: FromHiddenKernels) -> list[tuple[str, float, float]]:
    """Return what was checked of a kernel, the relative error, and its bound.

    Raises:
        EngineError: the GPU failed.
    """
    import torch
    from gpu_dcrb_checks import checks

    try:
        with torch.no_grad():
            found = list(checks(kernels, torch.cuda.current_stream().cuda_stream))
        torch.cuda.synchronize()
    except RuntimeError as error:  # torch's, for a context that is broken
        raise EngineError(one_line(error)) from error
    return found


def check(request: Mapping[str, Any], listener: Listener) -> dict[str, Any]:
    """Check variants, one after the other; the job of the child process."""
    for name, kernels in compiled(request["sm"], request["names"]).items():
        listener(Trying(name=name))
        listener(Checked(results=results_of(kernels)))
    return {}


def main() -> None:
    """Do one job, see :func:`dcdr_deploy.system.worker.main`."""
    worker.main({"check": check})
