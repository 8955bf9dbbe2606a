"""The script runs as its docstring says, alone and under torch's launcher, and tells what it measured."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from torch_processes import PythonProcess

pytest.importorskip("torch")

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "training.py"
TINY = "--preset lite --batch 2 --patch 16 --scenes 1 --steps 2 --repeats 2 --feed-seconds 0 --device cpu --threads 1"


def call(cache: Path, *arguments: str, launched: int = 0) -> tuple[int | None, str, str]:
    """Exit status, stdout and stderr of the script, or of torch's launcher of so many of it."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(cache)}
    with PythonProcess(SCRIPT, *TINY.split(), *arguments, environment=environment, launched=launched) as process:
        output, errors = process.communicate(timeout=300)
        return process.poll(), output, errors


def figures(status: int | None, output: str, errors: str) -> dict[str, Any]:
    """The one JSON object on stdout."""
    assert status == 0, errors
    return json.loads(output)


@pytest.mark.slow
def test_it_tells_steps_per_second_with_real_and_cached_data_and_what_a_worker_feeds(tmp_path: Path) -> None:
    told = figures(*call(tmp_path, "--json", "--workers", "1"))
    assert (told["processes"], told["workers"], told["batch"], told["patch"]) == (1, 1, 2, 16)
    assert (told["precision"], told["offsets"]) == ("bfloat16", "learnt")
    assert {kind: len(values) for kind, values in told["repeats"].items()} == {"cached": 2, "real": 2}
    rates = told["steps_per_second"]
    assert told["real_over_cached"] == pytest.approx(rates["real"] / rates["cached"])
    assert [row["patch"] for row in told["feed"]] == [16, 256, 512]
    assert all(row["steps_per_second"] == pytest.approx(row["samples_per_second"] / 2) for row in told["feed"])


@pytest.mark.slow
def test_of_two_processes_the_first_prints_and_each_has_half_a_batch(tmp_path: Path) -> None:
    told = figures(*call(tmp_path, "--json", "--at", "0.7", launched=2))
    assert (told["processes"], told["workers"], told["offsets"]) == (2, 0, "learnt")
    assert all(row["steps_per_second"] == pytest.approx(row["samples_per_second"]) for row in told["feed"])


@pytest.mark.slow
def test_a_mistake_is_one_line(tmp_path: Path) -> None:
    status, output, errors = call(tmp_path, "--patch", "18")
    assert (status, output) == (2, "")
    assert errors.count("\n") == 1
    assert "multiple of 4" in errors
