"""Keeping which kernels are fastest on the GPU at hand; they are measured in a child process.

A form that breaks the GPU's context, or never ends, costs that process and nothing else: another goes on without it.
"""

from __future__ import annotations

import time
from pathlib import Path

from dcdr_deploy.engines.cuda.tuning import kept
from dcdr_deploy.engines.cuda.tuning.events import Found, Trial
from dcdr_deploy.engines.cuda.tuning.report import Report, report_of
from dcdr_deploy.errors import EngineError
from dcdr_deploy.system.child import Worker, run_job
from dcdr_deploy.system.children import module_command
from dcdr_deploy.system.progress import Event, Listener, silent
from dcdr_deploy.system.scratch import scratch_folder

WORKER = Worker(
    module_command("dcdr_deploy.engines.cuda.tuning.worker"), "process that measures", (Event, Trial, Found)
)

TRIAL_SECONDS = 10.0
"""For one use of a kernel, which takes milliseconds: after that it is taken for one that never ends."""


def tune(
    model: Path,
    device_index: int = 0,
    seconds: float = 60.0,
    listener: Listener = silent,
    keep: bool = True,
) -> Report:
    """Measure a GPU's kernels and keep the fastest for engines that are opened from now on.

    Args:
        model: the network whose launches are timed, an ONNX file; how long they take does not depend on its numbers.
        device_index: the GPU in CUDA's counting.
        seconds: no kind of kernel is begun after so many.
        listener: told of stages, and by ``Found`` after each kind of kernel what is known by then.
        keep: whether the result is kept; otherwise it is reported only.

    Raises:
        MissingDependency: a package is not installed.
        EngineOutOfMemory: the GPU has no room for the smallest of the frames.
        EngineError: the GPU is too old or failed, without any of the kernels that were to be tried.
    """
    started = time.monotonic()
    with scratch_folder("dcdr-tune-") as folder:
        request = {"model": str(model), "folder": str(folder), "device": device_index, "report": None}
        course = _Course(listener)
        while True:
            request["seconds"] = started + seconds - time.monotonic()
            try:
                report = report_of(run_job(WORKER, "tune", request, course.hear, _patience))
                break
            except EngineError as error:
                if course.trial is None or course.report is None:
                    raise
                kind, label = course.trial
                course.report.left_out.append((kind, label, str(error)))
                listener(Event(note=f"{kind} {label}: {error}; another process goes on without it"))
                course.trial, request["report"] = None, course.report.as_dict()
    report.seconds = round(time.monotonic() - started, 1)
    if keep and kept.write(report.gpu, report.chosen if report.adopted else {}, report.cut, report.as_dict()):
        report.file = report.gpu.path
    return report


def _patience(event: Event) -> float | None:
    """Return the seconds until the process that measures tells the next event, ``None`` for any number."""
    return TRIAL_SECONDS if isinstance(event, Trial) and event.kind else None


class _Course:
    """What the process that measures told last.

    Attributes:
        trial: kind and label of the form that it is about to use; ``None`` if that is one of the table's.
        report: what was known then.
    """

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self.trial: tuple[str, str] | None = None
        self.report: Report | None = None

    def hear(self, event: Event) -> None:
        """Take an event in; pass on what concerns others."""
        if isinstance(event, Trial):
            self.trial = (event.kind, event.label) if event.kind else None
            return
        if isinstance(event, Found):
            self.report = report_of(event.report)
        self._listener(event)
