"""Batches are what the source gives, whoever prepares them, and who prepares them ends with the run."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset
from torch_processes import PythonProcess

from dcdr_deploy.errors import EngineError, InputError
from dcdr_deploy.training import batches
from dcdr_deploy.training.batches import killed_loaders_told, load_batches
from dcdr_deploy.training.recipe import Recipe

CPU = torch.device("cpu")
SAME = """
import os, cv2, numpy as np, torch
from torch.utils.data import Dataset
from dcdr_deploy.training.batches import load_batches
from dcdr_deploy.training.recipe import Recipe

class Blurred(Dataset):
    def __getitem__(self, index):
        picture = np.random.default_rng(index).random((512, 512, 3), np.float32)
        small = cv2.resize(cv2.GaussianBlur(picture, (0, 0), 3), (16, 16))
        tensor = torch.from_numpy(small.transpose(2, 0, 1).copy())
        # Enough for torch to share the work among threads, of which a forked process has none.
        total = torch.from_numpy(picture).sum() + torch.exp(torch.from_numpy(picture)).mean()
        return tensor, torch.stack([total, torch.tensor(float(os.getpgid(0) == os.getpid()))])[:, None, None]

torch.set_num_threads(2)
torch.rand(2000, 2000).exp().sum()  # torch has threads now
cv2.setNumThreads(2)
cv2.resize(np.zeros((2000, 2000, 3), np.float32), (1500, 1500))  # and OpenCV
recipe = Recipe(steps=3, batch=2, patch=16)
alone, helped = (list(load_batches(Blurred(), recipe, 0, workers, torch.device("cpu"))) for workers in (0, 2))
assert len(alone) == len(helped) == 3
assert all(torch.equal(a[0], b[0]) for a, b in zip(alone, helped))
assert all(torch.allclose(a[1][:, 0], b[1][:, 0]) for a, b in zip(alone, helped))
assert all(x.is_contiguous(memory_format=torch.channels_last) for x, _ in helped)
assert all(bool(told[:, 1].all()) for _, told in helped), "a signal to the run's process group reaches its workers"
assert cv2.getNumThreads() == 2
print("the same")
"""

ENDS = """
import os, signal, sys, time, torch
from torch.utils.data import Dataset
from dcdr_deploy.training.batches import load_batches
from dcdr_deploy.training.recipe import Recipe
from dcdr_deploy.training.request import stop_on_interrupt

end = sys.argv[1]

def tell(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())  # whole lines, from three processes

class Numbers(Dataset):
    def __getitem__(self, index):
        if index >= 20 and end == "SIGKILL while a sample hangs":
            tell("hangs")
            time.sleep(1000)
        return torch.full((1, 1, 1), float(os.getpid())), torch.zeros(1, 1, 1)

recipe = Recipe(steps=6 if end == "last step" else 10_000, batch=2, patch=16)
with stop_on_interrupt() as stop:
    for step, (workers, _) in enumerate(load_batches(Numbers(), recipe, 0, 2, torch.device("cpu"))):
        tell(*map(int, workers.flatten()))
        if step == 4 and end == "crash":
            raise ValueError("of a step")
        if step == 4 and end == "break":
            break
        if stop():
            break
        time.sleep(0.02)
tell("end")
"""


def lives(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@contextmanager
def killed(processes: set[int]) -> Iterator[None]:
    """Whatever happens, none of them is left."""
    try:
        yield
    finally:
        for process in filter(lives, processes):
            os.kill(process, signal.SIGKILL)


class Broken(Dataset[tuple[Tensor, Tensor]]):
    """The seventh picture cannot be read."""

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        if index == 6:
            raise InputError("7.png cannot be decoded")
        return torch.zeros(3, 4, 4), torch.zeros(3, 4, 4)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "getpgid"), reason="process groups")
def test_workers_give_the_same_batches_though_the_run_has_used_opencv_and_torch() -> None:
    with PythonProcess("-c", SAME) as process:
        output, errors = process.communicate(timeout=180)
    assert output.strip() == "the same", errors


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize(
    "end", ["last step", "break", "crash", "SIGTERM", "SIGINT", "SIGKILL", "SIGKILL while a sample hangs"]
)
def test_no_worker_outlives_its_run(end: str) -> None:
    workers: set[int] = set()
    sent = False
    with PythonProcess("-c", ENDS, end) as process, killed(workers):
        for line in process.stdout:
            hangs = line == "hangs\n"
            if line == "end\n":
                break
            workers.update(() if hangs else map(int, line.split()))
            if end.startswith("SIG") and not sent and len(workers) == 2 and (hangs or "hangs" not in end):
                sent = True
                os.killpg(process.pid, getattr(signal, end.split()[0]))  # as terminals and torch's launcher do
                if end.startswith("SIGKILL"):
                    break
        deadline = time.monotonic() + 60
        while (process.poll() is None or any(map(lives, workers))) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert len(workers) == 2
        assert [worker for worker in workers if lives(worker)] == []
        assert process.poll() == {"crash": 1, "SIGKILL": -signal.SIGKILL}.get(end.split()[0], 0)


class Who(Dataset[tuple[Tensor, Tensor]]):
    """Which process has prepared a sample."""

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return torch.full((1, 1, 1), float(os.getpid())), torch.zeros(1, 1, 1)


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGKILL")
def test_a_worker_that_is_killed_is_told_in_a_line_with_what_helps() -> None:
    def steps() -> None:
        for (worker, _), _ in load_batches(Who(), Recipe(steps=10_000, batch=2, patch=4), 0, 1, CPU):
            if lives(int(worker)):
                os.kill(int(worker), signal.SIGKILL)

    with (
        pytest.raises(EngineError, match=r"a worker process ended without a word.*fewer `workers`"),
        killed_loaders_told(),
    ):
        steps()


@pytest.mark.parametrize("met", [EOFError, ConnectionResetError])
def test_a_connection_that_a_killed_worker_leaves_is_told_as_that(monkeypatch: pytest.MonkeyPatch, met: type) -> None:
    """Its batch is taken by a file descriptor that it hands over, before the signal of its end."""

    def torn(loader: object) -> Iterator[object]:
        raise met
        yield

    monkeypatch.setattr(batches, "_start", torn)
    monkeypatch.setattr(batches, "_SIGNALS_AFTER", 0.0)
    with pytest.raises(EngineError, match="fewer `workers`"):
        next(load_batches(Who(), Recipe(steps=1, batch=2, patch=4), 0, 1, CPU))
    with pytest.raises(met):  # no worker's, but the data's
        next(load_batches(Who(), Recipe(steps=1, batch=2, patch=4), 0, 0, CPU))


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_mistake_in_the_data_comes_in_its_own_words_after_the_batches_before_it(workers: int) -> None:
    given = load_batches(Broken(), Recipe(steps=10, batch=2, patch=4), 0, workers, CPU)
    for _ in range(3):
        next(given)
    with pytest.raises(InputError) as caught:
        next(given)
    assert str(caught.value) == "7.png cannot be decoded"
