"""Training samples that are drawn once and read by several runs at a time.

Drawing a sample takes a processor milliseconds, and networks that are to be compared see the same ones. So processes
draw them ahead into arrays in files, each process every n-th, and runs read what is there and wait for what is not.
Where there are fewer than a run takes, it begins again with the first.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from dcdr_deploy.errors import InputError
from dcdr_deploy.training.synthetic import SyntheticPairs, to_tensors

WAIT_SECONDS = 0.01
READY = "ready.npy"
ERROR = "error.txt"


class SharedSamples(Dataset[tuple[Tensor, Tensor]]):
    """The samples in a folder, read while they are still being drawn.

    Args:
        folder: that of :func:`lay_out`.

    Raises:
        InputError: drawing failed; raised by the sample that is not there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._arrays: dict[str, NDArray] | None = None  # type: ignore[type-arg]

    def _array(self, name: str) -> NDArray:  # type: ignore[type-arg]
        # Opened by whoever reads: a copy in a process of its own maps the files itself.
        if self._arrays is None:
            self._arrays = {path.stem: np.load(path, mmap_mode="r") for path in self.folder.glob("*.npy")}
        return self._arrays[name]

    def __getstate__(self) -> dict[str, object]:
        return {"folder": self.folder, "_arrays": None}

    def __len__(self) -> int:
        return len(self._array("ldr"))

    def is_ready(self, index: int) -> bool:
        """Whether a sample was drawn."""
        ready = self._array("ready")
        return bool(ready[index % len(ready)] > index // len(ready))

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        index %= len(self)
        while not self.is_ready(index):
            if (self.folder / ERROR).exists():
                raise InputError((self.folder / ERROR).read_text(encoding="utf-8"))
            time.sleep(WAIT_SECONDS)
        known = self._array("known")[index]
        return to_tensors(self._array("ldr")[index], self._array("target")[index], None if known.all() else known)


def lay_out(folder: Path, count: int, patch: int, processes: int) -> None:
    """Make the files for some samples; empty ones are sparse and take no room.

    Args:
        folder: receives ``ldr.npy`` (N, S, S, 3) uint8, ``target.npy`` likewise uint16, ``known.npy`` (N, S, S) bool,
            and ``ready.npy`` (processes,) int64: how many of its samples each process has drawn.
        count: samples.
        patch: their height and width.
        processes: that will draw them.
    """
    folder.mkdir(parents=True)
    open_memmap(folder / "ldr.npy", "w+", np.uint8, (count, patch, patch, 3))
    open_memmap(folder / "target.npy", "w+", np.uint16, (count, patch, patch, 3))
    open_memmap(folder / "known.npy", "w+", np.bool_, (count, patch, patch))
    open_memmap(folder / READY, "w+", np.int64, (processes,))


def draw(folder: Path, source: Callable[[], SyntheticPairs]) -> None:
    """Open a source and draw all samples of a folder; for a process of its own, which ends with its parent.

    What goes wrong is written to ``error.txt``, where the runs that wait find it.
    """
    import cv2

    cv2.setNumThreads(1)  # a forked copy of OpenCV's thread pool waits for ever
    parent = os.getppid()
    try:
        data = source()
        count = len(np.load(folder / READY))
        context = multiprocessing.get_context("fork")  # the children share the source's memory
        children = [
            context.Process(target=_draw_share, args=(folder, data, rank), daemon=True) for rank in range(count)
        ]
        for child in children:
            child.start()
        while any(child.is_alive() for child in children) and os.getppid() == parent:
            children[0].join(1)
            time.sleep(WAIT_SECONDS)
            if failed := [child.exitcode for child in children if child.exitcode]:
                raise RuntimeError(f"a process that draws samples ended with code {failed[0]}")
    except Exception as error:
        (folder / ERROR).write_text(f"samples cannot be drawn: {error}", encoding="utf-8")
        raise


def _draw_share(folder: Path, data: SyntheticPairs, rank: int) -> None:
    """Draw samples ``rank``, ``rank`` + processes, ... in their order, as long as the parent is there."""
    parent = os.getppid()
    os.nice(10)  # the runs that read come first
    ldr, target, known, ready = (
        np.load(folder / f"{name}.npy", mmap_mode="r+") for name in ("ldr", "target", "known", "ready")
    )
    for index in range(rank, len(ldr), len(ready)):
        if os.getppid() != parent:
            return
        sample = data.sample(index)
        ldr[index], target[index] = sample.ldr, sample.target
        known[index] = True if sample.known is None else sample.known
        ready[rank] += 1
