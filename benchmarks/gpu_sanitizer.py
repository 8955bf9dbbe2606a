"""What compute-sanitizer of the CUDA toolkit says of the kernels of engine ``cuda``, for gpu_check.py."""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from pathlib import Path

from gpu_measure import NotMeasured, OutOfTime
from processes import limited

PROGRAM = "compute-sanitizer"
TOOLKITS = (Path("/usr/local/cuda/bin"), Path("/opt/cuda/bin"))
"""Where the toolkit lies that has not put itself on the path."""

WATCHED = Path(__file__).with_name("gpu_small_frame.py")
SECONDS = 45.0
"""That it may take: the frame's own time times fifty or so, and what loads the kernels is watched too."""

_REFUSED = re.compile(r"device not supported", re.IGNORECASE)
_SUMMARY = re.compile(r"ERROR SUMMARY: (\d+) error")


def found() -> str | None:
    """Return the program, ``None`` where it is not there."""
    here = (shutil.which(PROGRAM), *(shutil.which(PROGRAM, path=str(folder)) for folder in TOOLKITS))
    return next((path for path in here if path is not None), None)


def errors(program: str, seconds: float = SECONDS) -> float:
    """Return how many accesses out of bounds or of no memory there are in a small frame.

    Args:
        program: from :func:`found`.
        seconds: after which it is ended, with the frame that it watches: that would go on, and be timed with others.

    Raises:
        OutOfTime: it took longer.
        NotMeasured: it does not take this GPU, as in some sandboxes.
        RuntimeError: it does not say; its last line.
    """
    command = [program, "--tool", "memcheck", sys.executable, str(WATCHED)]
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        code = limited(command, log, seconds, WATCHED.parent, {})
        said = log.read_text(encoding="utf-8", errors="replace")
    if code is None:
        raise OutOfTime(f"{PROGRAM} was stopped after {seconds:.0f} s")
    if _REFUSED.search(said):
        raise NotMeasured(f"{PROGRAM} does not take this GPU here")
    summary = _SUMMARY.search(said)
    if summary is None or (code and summary[1] == "0"):  # the frame itself failed
        lines = [line for line in said.splitlines() if line.strip("= ")] or [f"exit code {code}"]
        raise RuntimeError(f"{PROGRAM}: {lines[-1]}")
    return float(summary[1])
