"""`dcdr-deploy train` as a user calls it: a few real steps on real files, slices, Ctrl-C, wrong moves."""

from __future__ import annotations

import json
import signal
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from torch_processes import PythonProcess

from dcdr_deploy.cli import main
from dcdr_deploy.models import checkpoint, load_checkpoint
from dcdr_deploy.run.selection import DEMO_MODEL
from dcdr_deploy.training.state import read_training_checkpoint

DATA = Path(__file__).parents[2] / "data" / "hdri"
SAMPLES = Path(__file__).parents[2] / "samples"
DEMO = DEMO_MODEL.with_suffix(".safetensors")
PAIRS = ("--ldr", "sdr", "--hdr", "hdr")
"""Of the fixture, where its folder is the working directory."""

SMALL = ("--patch", "16", "--batch", "1", "--perceptual", "none", "--device", "cpu", "--precision", "fp32")


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["train", *map(str, arguments)])


@pytest.fixture
def pairs(tmp_path: Path) -> tuple[Path, Path]:
    rng = np.random.default_rng(0)
    for folder, kind in (("sdr", np.uint8), ("hdr", np.uint16)):
        (tmp_path / folder).mkdir()
        cv2.imwrite(str(tmp_path / folder / "a.png"), rng.integers(0, np.iinfo(kind).max, (32, 48, 3)).astype(kind))
    return tmp_path / "sdr", tmp_path / "hdr"


def test_a_short_run_on_pairs_and_its_continuation(pairs: tuple[Path, Path], tmp_path: Path) -> None:
    run = ("--ldr", pairs[0], "--hdr", pairs[1], "-o", tmp_path / "run", *SMALL)
    first = call(*run, "--steps", "3", "--minutes", "0.0001", "--checkpoint-every", "1")
    assert first.exit_code == 0, first.output
    assert "go on with --resume" in first.stdout
    second = call(*run, "--steps", "3", "--resume")
    assert second.exit_code == 0, second.output
    assert "next: dcdr-deploy export" in second.stdout
    checkpoint = tmp_path / "run" / "last.pth"
    assert read_training_checkpoint(checkpoint)["step"] == 3
    assert load_checkpoint(checkpoint).metadata.peak == 8.0


def test_a_resumed_run_is_the_run_that_was_begun(pairs: tuple[Path, Path], tmp_path: Path) -> None:
    data, folder = ("--ldr", pairs[0], "--hdr", pairs[1]), tmp_path / "run"
    begun = call(*data, *SMALL, "--preset", "lite", "--peak", "16", "--steps", "4", "--minutes", "1e-6", "-o", folder)
    assert begun.exit_code == 0, begun.output
    for option, words in (
        (("--peak", "8"), "has peak 16.0, not 8.0"),
        (("--batch", "3"), "has batch 1, not 3"),
        (("--learning-rate", "1e-5"), "has learning rate 0.0002, not 1e-05"),
        (("--seed", "7"), "has seed 0, not 7"),
        (("--perceptual", "squeezenet"), "has losses tanh_l1 1, not tanh_l1 1, perceptual_squeezenet 0.1"),
        (("--recipe", "demo"), "the run in"),
        (("--ldr", tmp_path), f"has ldr {pairs[0]}, not {tmp_path}"),
    ):
        refused = call("--resume", "-o", folder, *option)
        assert refused.exit_code == 2, option
        assert words in refused.stderr
    resumed = call("--resume", "-o", folder, "--device", "cpu")
    assert resumed.exit_code == 0, resumed.output
    loaded = load_checkpoint(folder / "last.pth")
    told = json.loads(loaded.metadata.extra["training"])
    assert (loaded.metadata.peak, told["steps"], told["batch"], told["preset"]) == (16.0, 4, 1, "lite")


def test_a_run_may_become_longer_and_says_so(
    pairs: tuple[Path, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "run"
    assert call("--ldr", pairs[0], "--hdr", pairs[1], *SMALL, "--steps", "1", "-o", folder).exit_code == 0
    assert call("--resume", "-o", folder, "--steps", "2", "--device", "cpu").exit_code == 0
    assert f"{folder} goes on with steps 2 instead of 1" in caplog.text


def test_fine_tuning_reads_the_weights_once_and_takes_the_network_from_them(
    pairs: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = ("--ldr", pairs[0], "--hdr", pairs[1], *SMALL, "--steps", "1")
    assert call(*data, "--preset", "lite", "-o", tmp_path / "first").exit_code == 0
    read, real = [], checkpoint.read_untrusted
    monkeypatch.setattr(checkpoint, "read_untrusted", lambda path: read.append(path) or real(path))
    result = call(*data, "--weights", tmp_path / "first" / "last.pth", "-o", tmp_path / "second")
    assert result.exit_code == 0, result.output
    assert read == [tmp_path / "first" / "last.pth"]
    assert load_checkpoint(tmp_path / "second" / "last.pth").network.config.tone_width == 32


def test_fine_tuning_takes_the_peak_from_the_weights_and_refuses_another(
    pairs: tuple[Path, Path], tmp_path: Path
) -> None:
    data = ("--ldr", pairs[0], "--hdr", pairs[1], *SMALL, "--steps", "1")
    assert call(*data, "--preset", "lite", "--peak", "16", "-o", tmp_path / "first").exit_code == 0
    weights = ("--weights", tmp_path / "first" / "last.pth")
    refused = call(*data, *weights, "--peak", "8", "-o", tmp_path / "second")
    assert refused.exit_code == 2
    assert "gives light with a peak of 16, not 8: leave --peak out" in refused.stderr
    assert call(*data, *weights, "-o", tmp_path / "second").exit_code == 0
    assert load_checkpoint(tmp_path / "second" / "last.pth").metadata.peak == 16


BAD = {
    "--seed": "-1",
    "--threads": "0",
    "--workers": "-1",
    "--checkpoint-every": "0",
    "--learning-rate": "nan",
    "--device": "meta",
    "--peak": "nan",
    "--minutes": "-1",
}


@pytest.mark.parametrize("option", BAD)
def test_a_value_that_cannot_work_is_one_line_and_leaves_no_folder(
    pairs: tuple[Path, Path], tmp_path: Path, option: str
) -> None:
    arguments = [*SMALL, option, BAD[option]]
    result = call("--ldr", pairs[0], "--hdr", pairs[1], *arguments, "-o", tmp_path / "run")
    assert result.exit_code == 2
    (line,) = result.stderr.strip().splitlines()
    assert option in line
    assert not (tmp_path / "run").exists()


def test_a_folder_that_cannot_be_made_is_one_line(pairs: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    place = tmp_path / "file" / "run"
    result = call("--ldr", pairs[0], "--hdr", pairs[1], *SMALL, "-o", place)
    assert result.exit_code == 2
    assert result.stderr == f"error: {place}: {place.parent} is not a folder; choose another place\n"


def test_a_run_is_no_file(pairs: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "run").write_text("mine")
    result = call("--ldr", pairs[0], "--hdr", pairs[1], *SMALL, "-o", tmp_path / "run")
    assert (result.exit_code, (tmp_path / "run").read_text()) == (2, "mine")


def test_fine_tuning_starts_at_the_weights_of_a_checkpoint(pairs: tuple[Path, Path], tmp_path: Path) -> None:
    run = ("--ldr", pairs[0], "--hdr", pairs[1], *SMALL, "--weights", DEMO, "--learning-rate", "1e-30")
    result = call(*run, "-o", tmp_path / "run", "--steps", "1")
    assert result.exit_code == 0, result.output
    tuned, before = (load_checkpoint(path).network.state_dict() for path in (tmp_path / "run" / "last.pth", DEMO))
    # A step of Adam moves every weight by its rate, also one that is zero.
    assert all(torch.allclose(tuned[name], before[name], rtol=0, atol=1e-29) for name in before)
    assert call(*run, "-o", tmp_path / "run", "--steps", "2", "--resume").exit_code == 0
    told = json.loads(load_checkpoint(tmp_path / "run" / "last.pth").metadata.extra["training"])
    assert told["steps"] == 2
    assert told["start"]["file"] == DEMO.name
    assert told["start"]["steps"] == json.loads(load_checkpoint(DEMO).metadata.extra["training"])["steps"]


def test_weights_of_another_network_are_refused(pairs: tuple[Path, Path], tmp_path: Path) -> None:
    result = call(
        "--ldr", pairs[0], "--hdr", pairs[1], *SMALL, "--weights", DEMO, "--preset", "lite", "-o", tmp_path / "run"
    )
    assert result.exit_code == 2
    assert "another network than preset lite" in result.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_the_synthetic_source_trains_and_validates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dcdr_deploy.training.sources.VALIDATION_VIEWS", 1)
    monkeypatch.setattr("dcdr_deploy.training.sources.VALIDATION_SCENES", 1)
    monkeypatch.setattr("dcdr_deploy.training.sources.VALIDATION_SIZE", 32)
    monkeypatch.setattr("dcdr_deploy.training.sources.cache_folder", lambda: tmp_path / "cache")
    arguments = ("--recipe", "demo", "--panoramas", DATA, "--scenes", "2", "-o", tmp_path / "run", *SMALL)
    refused = call(*arguments, "--steps", "2")
    assert refused.exit_code == 2
    assert "--photos" in refused.stderr
    result = call(*arguments, "--photos", SAMPLES, "--steps", "2", "--validate-every", "2")
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert "clipped_gain" in lines[-1]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
def test_ctrl_c_ends_with_a_checkpoint(pairs: tuple[Path, Path], tmp_path: Path) -> None:
    command = ["-m", "dcdr_deploy", "train", "--ldr", pairs[0], "--hdr", pairs[1]]
    command += ["-o", tmp_path / "run", *SMALL, "--steps", "100000", "--checkpoint-every", "1"]
    checkpoint = tmp_path / "run" / "last.pth"
    with PythonProcess(*command) as process:
        deadline = time.monotonic() + 120
        while not checkpoint.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
        assert process.poll() == 0, errors
    assert "go on with --resume" in output
    assert read_training_checkpoint(checkpoint)["step"] >= 1
    assert not list((tmp_path / "run").glob(".*"))


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--recipe", "secret"], "unknown recipe"),
        (["--preset", "huge", *PAIRS], "unknown preset"),
        (["--patch", "30", *PAIRS], "multiple of 4"),
        (["--patch", "28", "--perceptual", "squeezenet", *PAIRS], "needs 32 pixels"),
        (["--ldr", "somewhere"], "give both"),
        (["--data", "nowhere"], "nowhere: no such folder; check the path"),
        (["--data", "."], "leftImg8bit"),
        (["--panoramas", "nowhere"], "nowhere: no such folder; check the path"),
        (["--device", "cuda:99", *PAIRS], "cuda:99"),
        (["--device", "toaster", *PAIRS], "unknown device"),
        (["--resume", "--panoramas", str(DATA), "--scenes", "1", *SMALL], "no checkpoint"),
    ],
)
def test_wrong_moves_exit_with_2_and_a_sentence(
    pairs: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], complaint: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("dcdr_deploy.training.sources.cache_folder", lambda: tmp_path / "cache")
    result = call("-o", tmp_path / "run", *arguments)
    assert result.exit_code == 2
    assert complaint in result.stderr
    assert "Traceback" not in result.output
    assert not (tmp_path / "run").exists()


def test_the_paper_recipe_without_vgg_weights_says_what_to_do(
    pairs: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    result = call("--ldr", pairs[0], "--hdr", pairs[1], "-o", tmp_path / "run", "--patch", "16", "--device", "cpu")
    assert result.exit_code == 2
    assert "--perceptual none" in result.stderr
