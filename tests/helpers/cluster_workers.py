"""Actors that die of pictures: at the place that a test names, in the process that Ray started."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from dcdr_deploy.run.jobs import Job
from dcdr_deploy.serving.worker import Finished, Trouble, Worker
from dcdr_deploy.system.temporary import create_temporary

LOG_NAME = "worked.txt"
"""Beside the input folder: a line for each picture that an actor has begun."""


class Mortal(Worker):
    """Is killed at a picture called ``deadly*``; at ``once*`` only where no actor was before."""

    def convert(self, job: Job) -> Finished | Trouble:
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

    def convert(self, job: Job) -> Finished | Trouble:
        raise ZeroDivisionError("a bug")
