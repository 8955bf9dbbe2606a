"""Folders of aligned pairs: 8-bit SDR and 16-bit linear HDR pictures by file name, incl. the Cityscapes layout.

Section 4.1.1 of the paper: every picture is split into non-overlapping regions of the patch size, so that overexposed
regions are never missed by chance.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from torch import Tensor
from torch.utils.data import Dataset

from dcdr_deploy.errors import InputError
from dcdr_deploy.imaging.formats import SUFFIXES
from dcdr_deploy.training.synthetic import to_tensors

NAME_ENDINGS = ("_leftImg8bit", "_leftImg16bit", "_ldr", "_sdr", "_hdr")
"""Endings that tell the two pictures of a pair apart; what remains must be equal."""

CITYSCAPES = ("leftImg8bit", "leftImg16bit")
KEPT_PICTURES = 4
"""Decoded pairs that are kept in memory: neighbouring indices of one picture are drawn far apart anyway."""


@dataclass(frozen=True)
class PairFiles:
    """One aligned pair on disk: 8-bit SDR and 16-bit linear HDR of the same size."""

    ldr: Path
    hdr: Path


@dataclass(frozen=True)
class Region:
    """A patch-sized region of a pair, by its top left corner in pixels."""

    pair: int
    top: int
    left: int


def find_pairs(ldr_root: Path, hdr_root: Path) -> list[PairFiles]:
    """Match pictures of two folder trees by their relative path without suffix and without :data:`NAME_ENDINGS`.

    Raises:
        InputError: a folder is missing, holds no pictures, or a picture has no partner (the first few are named).
    """
    ldr, hdr = _by_key(ldr_root), _by_key(hdr_root)
    lonely = sorted(str(files[key]) for files, other in ((ldr, hdr), (hdr, ldr)) for key in files.keys() - other.keys())
    if lonely:
        more = f" and {len(lonely) - 3} more" if len(lonely) > 3 else ""
        raise InputError(f"pictures without a partner of the same name: {', '.join(lonely[:3])}{more}")
    return [PairFiles(ldr[key], hdr[key]) for key in sorted(ldr)]


def find_cityscapes(root: Path, split: str = "train") -> list[PairFiles]:
    """Pairs of the Cityscapes layout: ``leftImg8bit/<split>/<city>/*`` and ``leftImg16bit/<split>/<city>/*``.

    Raises:
        InputError: as :func:`find_pairs`.
    """
    ldr, hdr = (root / kind / split for kind in CITYSCAPES)
    return find_pairs(ldr, hdr)


def is_cityscapes(root: Path) -> bool:
    """Whether a folder has the Cityscapes layout."""
    return all((root / kind).is_dir() for kind in CITYSCAPES)


def cut_regions(height: int, width: int, patch: int) -> list[tuple[int, int]]:
    """Top left corners of the non-overlapping regions of a picture; what is left over at its edges is unused."""
    return [(top, left) for top in range(0, height - patch + 1, patch) for left in range(0, width - patch + 1, patch)]


class PairedFolder(Dataset[tuple[Tensor, Tensor]]):
    """Regions of aligned pairs, every one once an epoch in an order drawn from (seed, epoch).

    Args:
        pairs: from :func:`find_pairs` or :func:`find_cityscapes`.
        patch: region size in pixels.
        seed: of the order.
        length: number of samples; a run's steps x batch.

    Raises:
        InputError: pictures of a pair differ in size, depth is wrong, or none is as large as a patch.
    """

    def __init__(self, pairs: list[PairFiles], patch: int, seed: int, length: int) -> None:
        self.pairs, self.patch, self.seed, self.length = pairs, patch, seed, length
        self.regions = [
            Region(number, top, left)
            for number, pair in enumerate(pairs)
            for top, left in cut_regions(*picture_size(pair.ldr), patch)
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
        ldr, hdr = read_pair(self.pairs[region.pair])
        rows, columns = slice(region.top, region.top + self.patch), slice(region.left, region.left + self.patch)
        return to_tensors(ldr[rows, columns], hdr[rows, columns])


@lru_cache(maxsize=KEPT_PICTURES)
def read_pair(pair: PairFiles) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint16]]:
    """Decode a pair: uint8 sRGB-encoded and uint16 linear, each (H, W, 3) RGB.

    Raises:
        InputError: unreadable, not 8 and 16 bits, or of different sizes.
    """
    import cv2

    from dcdr_deploy.imaging.read import read_image

    ldr = read_image(pair.ldr).pixels
    # Linear data has no use for the colour conversions of an SDR reader: samples are taken as stored.
    hdr = cv2.imread(str(pair.hdr), cv2.IMREAD_UNCHANGED)
    if hdr is None:
        raise InputError(f"{pair.hdr} cannot be decoded")
    if ldr.dtype == np.uint16:
        raise InputError(f"{pair.ldr} has {8 * ldr.dtype.itemsize} bits; the SDR picture of a pair needs 8")
    if hdr.dtype != np.uint16 or hdr.ndim != 3 or hdr.shape[2] < 3:
        raise InputError(f"{pair.hdr} is no 16-bit RGB picture; the HDR picture of a pair is linear with 16 bits")
    if hdr.shape[:2] != ldr.shape[:2]:
        raise InputError(f"{pair.ldr} and {pair.hdr} differ in size: {ldr.shape[:2]} and {hdr.shape[:2]}")
    return ldr.astype(np.uint8, copy=False), np.ascontiguousarray(hdr[..., 2::-1], np.uint16)


def picture_size(path: Path) -> tuple[int, int]:
    """(height, width) from a picture's header, without decoding it.

    Raises:
        InputError: the header cannot be read.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as picture:
            return picture.height, picture.width
    except (UnidentifiedImageError, OSError) as error:
        raise InputError(f"{path} cannot be read as a picture") from error


def _by_key(root: Path) -> dict[str, Path]:
    if not root.is_dir():
        raise InputError(f"{root} is no folder")
    files: dict[str, Path] = {}
    for path in sorted(root.rglob("*")):
        if path.suffix.lower() not in SUFFIXES or path.name.startswith("."):
            continue
        stem = path.stem
        for ending in NAME_ENDINGS:
            stem = stem.removesuffix(ending)
        key = (path.parent.relative_to(root) / stem).as_posix()
        if key in files:
            raise InputError(f"{files[key]} and {path} would be the same picture of a pair; remove one")
        files[key] = path
    if not files:
        raise InputError(f"{root} holds no pictures ({', '.join(sorted(SUFFIXES))})")
    return files
