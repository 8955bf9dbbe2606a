"""Commands in processes of their own, of which the system counts processor seconds and peak memory."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Usage:
    """What a process said on stdout and what it took.

    Attributes:
        said: text.
        processor_seconds: of all its threads, the system's share included.
        peak_bytes: most memory that was resident at a time, loading and libraries included. Linux hands on the peak of
            the program that starts a process: keep that small.
    """

    said: str
    processor_seconds: float
    peak_bytes: int


def dcdr_deploy(*arguments: str) -> Usage:
    """Run a command of this tool; ends the program with the command's status where that is not 0."""
    return measured([sys.executable, "-m", "dcdr_deploy", *arguments])


def measured(command: Sequence[str]) -> Usage:
    """Run a command to its end; ends the program with the command's status where that is not 0."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(process.returncode)
    return Usage(said, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)
