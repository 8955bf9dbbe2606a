"""Actors that die of pictures and of segments: at the place that a test names, in the process that Ray started."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from dcdr_deploy.run.jobs import Job
from dcdr_deploy.run.video.segment_jobs import ComputedSegment, SegmentJob
from dcdr_deploy.serving.worker import ActorFailure, JobResult, Worker
from dcdr_deploy.system.temporary import create_temporary

LOG_NAME = "worked.txt"
"""Beside the input folder: a line for each picture that an actor has begun."""


PATIENCE = 60.0
"""Seconds."""


class Mortal(Worker):
    """Is killed at a picture called ``deadly*``; at ``once*`` only where no actor was before."""

    def convert(self, job: Job | SegmentJob) -> JobResult | ComputedSegment | ActorFailure:
        assert isinstance(job, Job)
        log = Path(job.source).parent.with_name(LOG_NAME)
        with log.open("a", encoding="utf-8") as stream:
            stream.write(f"{os.getpid()} {job.name}\n")
        if job.name.startswith("deadly"):
            os.kill(os.getpid(), signal.SIGKILL)
        if job.name.startswith("once"):
            mark = log.with_name(f"{job.name}.mark")
            if not mark.exists():
                mark.touch()
                create_temporary(Path(job.output))  # in the middle of writing
                os.kill(os.getpid(), signal.SIGKILL)
        return super().convert(job)


class Faulty(Worker):
    """Has a bug."""

    def convert(self, job: Job | SegmentJob) -> JobResult | ComputedSegment | ActorFailure:
        raise ZeroDivisionError("a bug")


class MortalInSegments(Worker):
    """Is killed in the middle of the second segment, where no actor was before.

    The first segment does not end before another actor has begun one: they are side by side, or the run fails.
    """

    def convert(self, job: Job | SegmentJob) -> JobResult | ComputedSegment | ActorFailure:
        assert isinstance(job, SegmentJob)
        self._log = job.output.with_name(LOG_NAME)
        self._number = job.number
        self._note("begins")
        outcome = super().convert(job)
        self._note("ends")
        return outcome

    def _note(self, what: str) -> None:
        with self._log.open("a", encoding="utf-8") as stream:
            stream.write(f"{os.getpid()} {self._number} {what}\n")

    def _progressed(self, frames: int) -> None:
        super()._progressed(frames)
        time.sleep(0.05)
        end = time.monotonic() + PATIENCE
        while self._number == 0 and len({line.split()[0] for line in self._log.read_text().splitlines()}) < 2:
            if time.monotonic() > end:
                raise TimeoutError("no other actor began a segment")
            time.sleep(0.01)
        mark = self._log.with_name("mark")
        if frames >= 2 and self._number == 1 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
