"""Training by several processes equals training by one, and they stop, fail and go on together."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import share_run
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch_processes import PythonProcess

from dcdr_deploy.errors import InputError
from dcdr_deploy.training.batches import BatchIndices, automatic_workers
from dcdr_deploy.training.devices import choose_device
from dcdr_deploy.training.distributed import SINGLE, ProcessGroup, process_from_environment
from dcdr_deploy.training.recipe import Recipe
from dcdr_deploy.training.state import read_training_checkpoint

SETTINGS = ["--preset", "lite", "--patch", "16", "--perceptual", "none", "--device", "cpu", "--precision", "fp32"]
TWO_PROCESSES = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def command(pictures: Path, output: Path, *arguments: object) -> list[str]:
    data = ("--ldr", pictures / "sdr", "--hdr", pictures / "hdr", "-o", output)
    return [*map(str, ("-m", "dcdr_deploy", "train", *data, *SETTINGS, *arguments))]


def share(folder: Path, last_step: int) -> None:
    """Take steps of the same small run in two processes; the second asks to stop after ``last_step``."""
    with PythonProcess(share_run.__file__, folder, last_step, environment=ENVIRONMENT, launched=2) as launcher:
        _, errors = launcher.communicate(timeout=180)
        assert launcher.poll() == 0, errors


def weights(folder: Path) -> dict[str, Tensor]:
    return read_training_checkpoint(folder / "last.pth")["params"]


def metrics(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def mistakes(errors: str) -> list[str]:
    return [line for line in errors.splitlines() if line.startswith("error:")]


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    rng = np.random.default_rng(0)
    for name, kind in (("sdr", np.uint8), ("hdr", np.uint16)):
        (folder / name).mkdir()
        for number in range(4):
            picture = rng.integers(0, np.iinfo(kind).max, (32, 48, 3)).astype(kind)
            cv2.imwrite(str(folder / name / f"{number}.png"), picture)
    return folder


@pytest.fixture(scope="session")
def one_process(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("one")
    share_run.take_steps(folder)
    return folder


def assert_same_run(folder: Path, expected: Path) -> None:
    """The same loss to 1e-5 in every step, and the same weights at the end."""
    assert [line["step"] for line in metrics(folder)] == list(range(1, share_run.RECIPE.steps + 1))
    for mine, other in zip(metrics(folder), metrics(expected), strict=True):
        assert mine["loss"] == pytest.approx(other["loss"], abs=1e-5)
        assert mine["psnr_mu"] == pytest.approx(other["psnr_mu"], abs=1e-4)
    torch.testing.assert_close(weights(folder), weights(expected), rtol=0, atol=1e-5)


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one_with_the_double_batch(one_process: Path, tmp_path: Path) -> None:
    share(tmp_path, share_run.RECIPE.steps)
    assert_same_run(tmp_path, one_process)


@pytest.mark.slow
def test_a_run_of_two_processes_goes_on_with_one(one_process: Path, tmp_path: Path) -> None:
    share(tmp_path, 5)
    assert read_training_checkpoint(tmp_path / "last.pth")["step"] == 5
    share_run.take_steps(tmp_path)
    assert_same_run(tmp_path, one_process)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT and SIGTERM")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_all_processes_with_one_checkpoint(
    pictures: Path, tmp_path: Path, number: signal.Signals
) -> None:
    line = command(pictures, tmp_path / "run", "--steps", 100_000, "--batch", 2, "--checkpoint-every", 1)
    line += ["--workers", "1"]
    checkpoint = tmp_path / "run" / "last.pth"
    with PythonProcess(*line, environment=ENVIRONMENT, launched=2) as launcher:
        deadline = time.monotonic() + 120
        while not checkpoint.exists() and launcher.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        launcher.send_signal(number)
        output, errors = launcher.communicate(timeout=60)
    assert output.count("go on with --resume") == 1, errors
    assert read_training_checkpoint(checkpoint)["step"] >= 1
    assert not list((tmp_path / "run").glob(".*"))


@pytest.mark.slow
def test_a_batch_that_cannot_be_split_is_one_line(pictures: Path, tmp_path: Path) -> None:
    line = [*TWO_PROCESSES, *command(pictures, tmp_path / "run", "--batch", 3)]
    result = subprocess.run(line, env=ENVIRONMENT, capture_output=True, text=True, timeout=180, check=False)
    assert result.returncode != 0
    assert len(mistakes(result.stderr)) == 1, result.stderr
    assert "--batch 3 cannot be split over 2 processes" in mistakes(result.stderr)[0]
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_mistake_that_one_process_meets_ends_all_with_one_line(pictures: Path, tmp_path: Path) -> None:
    for kind in ("sdr", "hdr"):
        (tmp_path / kind).mkdir()
        for path in (pictures / kind).iterdir():
            (tmp_path / kind / path.name).write_bytes(path.read_bytes())
    whole = (tmp_path / "hdr" / "2.png").read_bytes()
    (tmp_path / "hdr" / "2.png").write_bytes(whole[:8])  # one of four pictures: the first to draw it fails
    line = command(tmp_path, tmp_path / "run", "--steps", 100, "--batch", 2)
    with PythonProcess(*line, environment=ENVIRONMENT, launched=2) as launcher:
        _, errors = launcher.communicate(timeout=180)
        assert launcher.poll() == 1, errors
    assert len(mistakes(errors)) == 1, errors
    assert "2.png: is damaged or incomplete" in mistakes(errors)[0]


@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 5))
def test_the_processes_split_the_samples_of_every_step(size: int, share: int, first_step: int) -> None:
    batch = size * share
    recipe = Recipe(steps=6, batch=batch, patch=16)
    whole = list(BatchIndices(recipe, first_step))
    parts = [BatchIndices(recipe, first_step, ProcessGroup(rank, size)) for rank in range(size)]
    assert all(len(part) == len(whole) == 6 - first_step for part in parts)
    for step, *shares in zip(whole, *parts, strict=True):
        assert step == [index for indices in shares for index in indices]


def test_the_samples_of_a_step_depend_on_its_number_only() -> None:
    assert list(BatchIndices(Recipe(steps=5, batch=4, patch=16), 3)) == [[12, 13, 14, 15], [16, 17, 18, 19]]
    smaller = Recipe(steps=4, batch=1, patch=32, patches=[32, 16])
    assert list(BatchIndices(smaller, 1)) == [[4, 5, 6, 7], [8], [12, 13, 14, 15]]


def test_an_uneven_split_is_an_error() -> None:
    with pytest.raises(InputError, match="`batch` 5 cannot be split over 2 processes"):
        ProcessGroup(0, 2).share_of(5)


def test_a_run_of_one_process_leaves_values_as_they_are() -> None:
    values = torch.rand(5)
    before = values.clone()
    SINGLE.average([values])
    SINGLE.copy_from_first([values])
    assert torch.equal(values, before)
    assert SINGLE.any(True)
    assert not SINGLE.any(False)


def test_the_launcher_tells_which_process_this_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WORLD_SIZE", "RANK", "MASTER_ADDR", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert process_from_environment() == SINGLE
    told = {"WORLD_SIZE": "8", "RANK": "5", "MASTER_ADDR": "head", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    assert process_from_environment() == ProcessGroup(rank=5, size=8, local_rank=1, local_size=4)


class TestDevices:
    """Each process takes the GPU of its number."""

    @pytest.fixture(autouse=True)
    def two_gpus(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("torch.cuda.is_available", lambda: True)
        monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
        monkeypatch.setattr("torch.cuda.set_device", lambda device: None)

    @pytest.mark.parametrize("name", ["auto", "cuda"])
    def test_the_second_process_takes_the_second_gpu(self, name: str) -> None:
        assert choose_device(name, ProcessGroup(1, 2, 1, 2)) == "cuda:1"

    def test_one_process_takes_the_first_gpu_or_the_named_one(self) -> None:
        assert choose_device("auto") == "cuda"
        assert choose_device("cuda:1") == "cuda:1"

    def test_a_named_gpu_cannot_be_shared(self) -> None:
        with pytest.raises(InputError, match="a GPU of its own"):
            choose_device("cuda:1", ProcessGroup(1, 2, 1, 2))

    def test_more_processes_than_gpus_are_an_error(self) -> None:
        with pytest.raises(InputError, match="--nproc-per-node 2"):
            choose_device("auto", ProcessGroup(0, 3, 0, 3))


def test_data_is_prepared_beside_the_steps_of_a_gpu_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(16)), raising=False)
    assert automatic_workers(torch.device("cpu")) == 0
    assert automatic_workers(torch.device("cuda")) == 15
    assert automatic_workers(torch.device("cuda"), ProcessGroup(0, 4, 0, 4)) == 3
