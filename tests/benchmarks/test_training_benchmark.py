"""The script runs as its docstring says, alone and under torch's launcher, and tells what it measured."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "training.py"
LAUNCHER = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
TINY = "--preset lite --batch 2 --patch 16 --scenes 1 --steps 2 --repeats 2 --feed-seconds 0 --device cpu --threads 1"


def call(cache: Path, *arguments: str, launcher: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, *launcher, str(SCRIPT), *TINY.split(), *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(cache)}
    return subprocess.run(line, capture_output=True, text=True, timeout=300, check=False, env=environment)


def figures(result: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The one JSON object on stdout."""
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.mark.slow
def test_it_tells_steps_per_second_with_real_and_cached_data_and_what_a_worker_feeds(tmp_path: Path) -> None:
    told = figures(call(tmp_path, "--json", "--workers", "1"))
    assert (told["processes"], told["workers"], told["batch"], told["patch"]) == (1, 1, 2, 16)
    assert (told["precision"], told["offsets"]) == ("bfloat16", "learnt")
    assert {kind: len(values) for kind, values in told["repeats"].items()} == {"cached": 2, "real": 2}
    rates = told["steps_per_second"]
    assert told["real_over_cached"] == pytest.approx(rates["real"] / rates["cached"])
    assert [row["patch"] for row in told["feed"]] == [16, 256, 512]
    assert all(row["steps_per_second"] == pytest.approx(row["samples_per_second"] / 2) for row in told["feed"])


@pytest.mark.slow
def test_of_two_processes_the_first_prints_and_each_has_half_a_batch(tmp_path: Path) -> None:
    told = figures(call(tmp_path, "--json", "--at", "0.7", launcher=LAUNCHER))
    assert (told["processes"], told["workers"], told["offsets"]) == (2, 0, "learnt")
    assert all(row["steps_per_second"] == pytest.approx(row["samples_per_second"]) for row in told["feed"])


@pytest.mark.slow
def test_a_mistake_is_one_line(tmp_path: Path) -> None:
    result = call(tmp_path, "--patch", "18")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.count("\n") == 1
    assert "multiple of 4" in result.stderr
