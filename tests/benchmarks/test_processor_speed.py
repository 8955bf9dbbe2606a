"""benchmarks/processor_speed.py times each of Table 1's networks between two measurements of DCDR-UNet."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import processor_speed
import pytest
from processes import measured
from processor_speed import MEASURED, rows, turns

ROOT = Path(processor_speed.__file__).parents[1]


def test_dcdr_unet_stands_before_and_after_each_of_the_others():
    assert turns(["kunet", "paper", "fhdr"]) == ["paper", "kunet", "paper", "fhdr", "paper"]
    assert turns(["paper"]) == ["paper"]


def measurement(seconds: float, peak: int = 2**30) -> dict[str, float]:
    return {"seconds": seconds, "first": seconds, "processor": 3 * seconds, "peak": peak, "tiles": 1}


def test_a_ratio_is_to_the_neighbours_so_that_a_machine_that_slows_down_does_not_change_it():
    order = turns(["kunet", "fhdr"])
    found = [measurement(seconds) for seconds in (10, 22, 12, 60, 18)]
    kunet, fhdr, own = rows(order, found)
    assert kunet == ["KUNet", "22.0", "2.00", "2.00", "1.00", "1"]
    assert fhdr == ["FHDR", "60.0", "4.00", "4.00", "1.00", "1"]
    assert own == ["DCDR-UNet", "12.0 (10.0 to 18.0)", "1", "1", "1.00", "1"]


@pytest.mark.skipif(sys.platform == "win32", reason="os.wait4 is POSIX's")
def test_a_process_is_measured_by_itself():
    work = "import time; x = b'x' * (300 << 20)\nwhile time.process_time() < 0.3: pass\nprint('done')"
    usage = measured([sys.executable, "-c", work])
    assert usage.said == "done\n"
    assert usage.processor_seconds >= 0.3
    assert usage.peak_bytes >= 300 << 20
    with pytest.raises(SystemExit, match="3"):
        measured([sys.executable, "-c", "raise SystemExit(3)"])


@pytest.mark.slow
def test_what_was_measured_is_not_measured_again(tiny_model: Path, tmp_path: Path):
    pytest.importorskip("onnxruntime")
    shutil.copy(tiny_model, tmp_path / "paper.onnx")  # what is there is not exported
    words = ["--networks", "paper", "--backend", "onnxruntime", "--size", "32x32", "--folder", str(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}

    def said() -> str:
        command = [sys.executable, processor_speed.__file__, *words]
        return subprocess.run(command, capture_output=True, text=True, env=environment, check=True).stdout

    first = said()
    (kept,) = json.loads((tmp_path / MEASURED).read_text()).values()
    assert 0 < kept[0]["seconds"] < kept[0]["processor"] < kept[0]["peak"]
    assert "| DCDR-UNet |" in first
    assert said().strip() == first[first.index("\nonnxruntime, 32x32") :].strip()
