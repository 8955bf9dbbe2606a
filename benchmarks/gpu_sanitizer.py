"""What compute-sanitizer of the CUDA toolkit says of the kernels of engine ``cuda``, for gpu_check.py."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

PROGRAM = "compute-sanitizer"
TOOLKITS = (Path("/usr/local/cuda/bin"), Path("/opt/cuda/bin"))
"""Where the toolkit lies that has not put itself on the path."""

WATCHED = Path(__file__).with_name("gpu_small_frame.py")
_SUMMARY = re.compile(r"ERROR SUMMARY: (\d+) error")


def found() -> str | None:
    """Return the program, ``None`` where it is not there."""
    here = (shutil.which(PROGRAM), *(shutil.which(PROGRAM, path=str(folder)) for folder in TOOLKITS))
    return next((path for path in here if path is not None), None)


def errors(program: str) -> float:
    """Return how many accesses out of bounds or of no memory there are in a small frame.

    Args:
        program: from :func:`found`.

    Raises:
        RuntimeError: it does not say; its last line.
    """
    command = [program, "--tool", "memcheck", sys.executable, str(WATCHED)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    summary = _SUMMARY.search(done.stdout)
    if summary is None or (done.returncode and summary[1] == "0"):  # the frame itself failed
        lines = [line for line in done.stdout.splitlines() if line.strip("= ")] or [f"exit code {done.returncode}"]
        raise RuntimeError(f"{PROGRAM}: {lines[-1]}")
    return float(summary[1])
