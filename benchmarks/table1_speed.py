"""Speed and memory of the networks of Table 1, as `dcdr-deploy benchmark` measures them."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from text_files import write_text

from dcdr_deploy.engines.base import DEVICE_CUDA
from dcdr_deploy.engines.registry import get_backend
from dcdr_deploy.errors import DcdrError
from dcdr_deploy.run.benchmark import BenchmarkOptions, benchmark
from dcdr_deploy.run.contenders import Contender
from dcdr_deploy.training.asked import CHECKPOINT_NAME

SPEED = "speed.json"

Speed = Mapping[str, float | str]
"""Device, precision and note; ``milliseconds`` and ``tiles`` of a frame where it was timed, ``memory`` on a GPU."""


def speed(folder: Path, options: BenchmarkOptions) -> Speed:
    """Milliseconds and bytes of a frame with the checkpoint in a run's folder; measured once and kept there.

    Raises:
        DcdrError: nothing can be timed.
    """
    place = folder / SPEED
    if place.is_file():
        return dict(json.loads(place.read_text(encoding="utf-8")))
    gc.collect()
    torch.cuda.empty_cache()  # what the network before left would not count as this one's
    (entry,) = benchmark([Contender(get_backend("torch"), folder / CHECKPOINT_NAME)], options)
    (timing,) = entry.timings or [None]
    found: dict[str, float | str] = {"device": entry.device, "precision": entry.precision, "note": entry.note}
    if timing is not None and timing.seconds:
        found |= {"milliseconds": round(timing.median * 1000, 1), "tiles": timing.tiles}
    elif timing is not None:
        found["note"] = timing.note
    if entry.memory is not None and entry.device_kind == DEVICE_CUDA:  # a CPU's is the process's, used again
        found["memory"] = entry.memory
    write_text(place, json.dumps(found))
    return found


def speeds_of(
    folders: Mapping[str, Path], options: BenchmarkOptions, left: Callable[[], float], say: Callable[[str], None]
) -> dict[str, Speed]:
    """Speed of each network, the last one first (ours), as long as there is time; what was measured before is kept.

    Args:
        folders: that of a run, by preset.
        options: frame, time and device; no time for no timing.
        left: seconds until time is up.
        say: told each result.
    """
    found: dict[str, Speed] = {}
    for preset, folder in reversed(folders.items()):
        if (folder / SPEED).is_file() or (options.seconds > 0 and left() > options.seconds):
            try:
                found[preset] = speed(folder, options)
            except DcdrError as error:
                found[preset] = {"note": str(error)}
            say(f"speed of {preset}: {json.dumps(found[preset])}")
    return found
