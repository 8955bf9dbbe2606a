"""One HDR picture to be shown, with the SDR picture that it was made from."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.errors import InputError
from dcdr_deploy.imaging.eight_bits import eight_bits
from dcdr_deploy.imaging.half import HALF_MAX
from dcdr_deploy.imaging.light import LEAST_CHOSEN_NITS, MOST_CHOSEN_NITS
from dcdr_deploy.imaging.read import read_image
from dcdr_deploy.imaging.read_hdr import HdrOptions, Picture, read_hdr
from dcdr_deploy.imaging.transfer import linear_to_srgb, srgb_to_linear

LIGHT_OF_CODE = srgb_to_linear(np.arange(256) / 255).astype(np.float32)
"""Linear light of the 8-bit sRGB codes."""

HALF_OF_CODE = LIGHT_OF_CODE.astype(np.float16)
"""The same as EXR files and pages hold it."""

_HALF_LIGHT_OF_CODE = HALF_OF_CODE.astype(np.float32)


@dataclass(frozen=True)
class Shown:
    """A picture to be shown.

    Attributes:
        path: the HDR file.
        light: (H, W, 3) float32, linear Rec. 709, 1.0 = SDR white, finite; negative where a colour is outside Rec. 709.
        peak: full scale in units of SDR white where the file says so.
        sdr: (H, W, 3) uint8, sRGB, the picture that ``light`` was made from; ``None`` where it was not given.
        sdr_path: its file.
        notes: sentences about what was converted, masked or assumed.
        model: the model that made it, as the file's header says; empty where it does not.
    """

    path: Path
    light: NDArray[np.float32]
    peak: float | None = None
    sdr: NDArray[np.uint8] | None = None
    sdr_path: Path | None = None
    notes: tuple[str, ...] = ()
    model: str = ""

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.light.shape[0], self.light.shape[1]

    def reduced(self, size: tuple[int, int]) -> Shown:
        """The same averaged down in linear light to (height, width); its own size is the picture itself.

        With an input, it is what was added to the input's light that is averaged, and added to the light of the smaller
        input's 8-bit codes: where nothing was added, both stay the same light. The result is the mean light but for
        the rounding of those codes.
        """
        if size == self.size:
            return self
        if self.sdr is None:
            return replace(self, light=averaged(self.light, size))
        added = averaged(self.light - _HALF_LIGHT_OF_CODE[self.sdr], size)
        sdr = to_codes(averaged(LIGHT_OF_CODE[self.sdr], size))
        return replace(self, light=_HALF_LIGHT_OF_CODE[sdr] + added, sdr=sdr)


def load(path: Path, sdr: Path | None = None, *, full_scale: float | None = None) -> Shown:
    """Read a picture of any format that ``read_hdr`` takes, with its gain map if it has one, and its input.

    Args:
        path: the HDR file.
        sdr: the picture that it was made from, of the same size.
        full_scale: what full scale of a file of integers is in units of SDR white; by default what the file says, else
            1, which is told in the notes.

    Raises:
        InputError: a file that cannot be read, sizes that differ, a full scale that is none.
    """
    if full_scale is not None and not 0 < full_scale <= HALF_MAX:
        raise InputError(f"`full_scale` = {full_scale}: must be a number above 0 and at most {HALF_MAX:g}")
    picture = read_hdr(path, HdrOptions(use_gain_map=True))
    scale, notes = _scale(picture, full_scale)
    codes = None
    if sdr is not None:
        pixels = read_image(sdr).pixels
        if pixels.shape[:2] != picture.size:
            raise InputError(
                f"{sdr}: has {_size(pixels.shape[:2])} pixels and {path} {_size(picture.size)}; "
                "give the picture that it was made from"
            )
        codes = eight_bits(pixels)
    return Shown(
        path=path,
        light=picture.pixels * np.float32(scale) if scale != 1 else picture.pixels,
        peak=picture.peak,
        sdr=codes,
        sdr_path=sdr,
        notes=tuple(notes),
        model=picture.texts.get("model", ""),
    )


def _size(size: tuple[int, ...]) -> str:
    return f"{size[1]}x{size[0]}"


def check_reference_white(nits: float) -> None:
    """Refuse a luminance that SDR white cannot have.

    Raises:
        InputError: it is none of 1 to 10000 cd/m2.
    """
    if not LEAST_CHOSEN_NITS <= nits <= MOST_CHOSEN_NITS:
        raise InputError(f"`reference_white` = {nits:g}: must be {LEAST_CHOSEN_NITS:g} to {MOST_CHOSEN_NITS:g} cd/m2")


def _scale(picture: Picture, full_scale: float | None) -> tuple[float, list[str]]:
    """What 1.0 of the pixels is in units of SDR white, and the notes of reading it."""
    notes = list(picture.notes)
    if not picture.integer:
        return 1.0, notes
    scale = full_scale or picture.peak
    if scale is None:
        notes.append("does not say what its full scale is: taken as SDR white; `full_scale` says otherwise")
    return scale or 1.0, notes


def averaged(light: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Light at a smaller (height, width), every pixel weighed by its area; (H, W, 3) float32."""
    import cv2

    return np.asarray(cv2.resize(light, size[::-1], interpolation=cv2.INTER_AREA), np.float32)


def to_codes(light: NDArray[np.float32], stops: float = 0.0) -> NDArray[np.uint8]:
    """8-bit sRGB codes of light in units of SDR white, brighter by ``stops``; what passes white is clipped."""
    seen = np.clip(light * np.float32(2.0**stops), 0, 1)
    return np.rint(linear_to_srgb(seen) * 255).astype(np.uint8)


def fitting(size: tuple[int, int], *, edge: int | None = None, pixels: float | None = None) -> tuple[int, int]:
    """The largest (height, width) of a picture's shape within a longest edge or a number of pixels, and its own."""
    height, width = size
    factor = 1.0
    if edge is not None:
        factor = min(factor, edge / max(size))
    if pixels is not None:
        factor = min(factor, math.sqrt(pixels / (height * width)))
    if factor >= 1:
        return size
    # Rounding down keeps the promise; a line of one pixel stays one.
    return max(1, int(height * factor + 1e-9)), max(1, int(width * factor + 1e-9))
