"""Regions of aligned pairs: 8-bit SDR and linear HDR pictures.

Section 4.1.1 of the paper: every picture is split into non-overlapping regions of the patch size, so that overexposed
regions are never missed by chance.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor
from torch.utils.data import Dataset

from dcdr_deploy.errors import InputError
from dcdr_deploy.imaging.size import size_of_picture
from dcdr_deploy.training.pair_files import TrainingFiles
from dcdr_deploy.training.synthetic import TARGET_MAX, to_tensors

logger = logging.getLogger(__name__)
_told: set[str] = set()  # in this process

KEPT_PICTURES = 4
"""Decoded pairs that are kept in memory: neighbouring indices of one picture are drawn far apart anyway."""


@dataclass(frozen=True)
class Region:
    """A patch-sized region of a pair, by its top left corner in pixels."""

    pair: int
    top: int
    left: int


def cut_regions(height: int, width: int, patch: int) -> list[tuple[int, int]]:
    """Top left corners of the non-overlapping regions of a picture; what is left over at its edges is unused."""
    return [(top, left) for top in range(0, height - patch + 1, patch) for left in range(0, width - patch + 1, patch)]


class PairedFolder(Dataset[tuple[Tensor, Tensor]]):
    """Regions of aligned pairs, every one once an epoch in an order drawn from (seed, epoch).

    Args:
        pairs: from :mod:`dcdr_deploy.training.pair_files`.
        patch: region size in pixels.
        seed: of the order.
        length: number of samples; a run's steps x batch.
        peak: what full scale is in units of SDR white; targets that hold light and no codes are divided by it.

    Raises:
        InputError: pictures of a pair differ in size, depth is wrong, or none is as large as a patch.
    """

    def __init__(self, pairs: list[TrainingFiles], patch: int, seed: int, length: int, peak: float = 8.0) -> None:
        self.pairs, self.patch, self.seed, self.length, self.peak = pairs, patch, seed, length, peak
        self.regions = [
            Region(number, top, left)
            for number, pair in enumerate(pairs)
            for top, left in cut_regions(*size_of_picture(pair.ldr), patch)
        ]
        if not self.regions:
            raise InputError(f"no picture is as large as a patch of {patch} px; choose a smaller `patch`")
        self._order: tuple[int, npt.NDArray[np.int64]] | None = None

    def __len__(self) -> int:
        return self.length

    def region_at(self, index: int) -> Region:
        """The region that sample ``index`` shows."""
        epoch, position = divmod(index, len(self.regions))
        if self._order is None or self._order[0] != epoch:
            self._order = epoch, np.random.default_rng((self.seed, epoch)).permutation(len(self.regions))
        return self.regions[int(self._order[1][position])]

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        region = self.region_at(index)
        ldr, hdr = read_pair(self.pairs[region.pair], self.peak)
        rows, columns = slice(region.top, region.top + self.patch), slice(region.left, region.left + self.patch)
        return to_tensors(ldr[rows, columns], hdr[rows, columns])


@lru_cache(maxsize=KEPT_PICTURES)
def read_pair(pair: TrainingFiles, peak: float = 8.0) -> tuple[npt.NDArray[np.uint8], npt.NDArray[Any]]:
    """Decode a pair as ``run`` and ``evaluate`` read its files, each (H, W, 3) RGB.

    Args:
        pair: the files.
        peak: full scale in units of SDR white.

    Returns:
        The SDR picture, uint8 sRGB-encoded; and the target in linear codes, 65535 for full scale: uint16 of 16-bit
        files; float32, not rounded, of files that hold light, which is divided by ``peak`` and clipped at it. Pixels
        that are NaN or infinite in such a file are unknown: NaN, which no loss counts.

    Raises:
        InputError: unreadable, not 8 bits or not HDR, or of different sizes.
    """
    from dcdr_deploy.imaging.read import read_image
    from dcdr_deploy.imaging.read_hdr import read_hdr

    ldr = read_image(pair.ldr).pixels
    if ldr.dtype == np.uint16:
        raise InputError(f"{pair.ldr} has {8 * ldr.dtype.itemsize} bits; the SDR picture of a pair needs 8")
    hdr = read_hdr(pair.hdr)
    if hdr.size != ldr.shape[:2]:
        raise InputError(f"{pair.ldr} and {pair.hdr} differ in size: {ldr.shape[:2]} and {hdr.size}")
    _tell_once(pair.hdr, hdr.notes)
    target = np.clip(hdr.pixels * np.float32(TARGET_MAX / (1 if hdr.integer else peak)), 0, TARGET_MAX)
    if hdr.invalid is not None:
        target[hdr.invalid] = np.nan
    codes = np.rint(target).astype(np.uint16) if hdr.integer else target
    return ldr.astype(np.uint8, copy=False), codes


def _tell_once(path: Path, notes: Iterable[str]) -> None:
    """Log what a reader notes, each sentence with the first file that it is true of."""
    for note in notes:
        if note not in _told:
            _told.add(note)
            logger.warning("%s, and maybe others: %s", path, note)
