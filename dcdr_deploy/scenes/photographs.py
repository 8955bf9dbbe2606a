"""Photographs as HDR scenes: an ordinary 8-bit picture, linearised, is the truth of its own overexposed self.

What people feed a network is not what panoramas hold: red petals, skin in the sun, pale skies, shirts, plates. In most
of these one or two channels clip and not all, and what the others and the neighbours say is the clue. Pixels that the
photograph itself clipped are nobody's truth; they are marked as unknown.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from dcdr_deploy.imaging.eight_bits import eight_bits
from dcdr_deploy.imaging.read import read_image
from dcdr_deploy.imaging.transfer import luminance, srgb_to_linear
from dcdr_deploy.scenes.camera import brightest_channel
from dcdr_deploy.scenes.draws import log_uniform
from dcdr_deploy.scenes.splits import name_of

FloatArray = npt.NDArray[np.float32]

CLIPPED_AT = 252
"""Codes from here on count as clipped in a photograph: JPEG moves a 255 by a few."""

STOPS = (0.4, 3.0)
"""How far a photograph is exposed up."""

LEAST_CLIPPED, MOST_CLIPPED = 0.004, 0.75
"""Share of the pixels that must clip, and that may, for a draw of crop and exposure to be taken."""

MOST_DRAWS = 6
SMALLEST_SPAN = 0.4
"""Least pixels of a photograph that a crop spans, as a share of the crop's size."""

EXPAND_PROBABILITY = 0.35
"""Probability that highlights are stretched, which cameras and raw converters had compressed."""

_LINEAR = srgb_to_linear(np.arange(256, dtype=np.float32) / np.float32(255)).astype(np.float32)


@dataclass(frozen=True)
class Crop:
    """A piece of a photograph as a scene.

    Attributes:
        light: linear RGB, float32 (S, S, 3), not negative, exposed: 1.0 is the level at which SDR clips.
        known: bool (S, S), False where the photograph itself was clipped.
    """

    light: FloatArray
    known: npt.NDArray[np.bool_]


class PhotographSet:
    """Photographs in memory, and random crops of them.

    Args:
        files: pictures that OpenCV reads, 8 bits, sRGB.

    Raises:
        InputError: a file cannot be decoded.
    """

    def __init__(self, files: Iterable[Path]) -> None:
        files = list(files)
        with ThreadPoolExecutor() as pool:
            self.pictures = list(pool.map(read_photograph, files))
        self.names = [name_of(path) for path in files]

    def __len__(self) -> int:
        return len(self.pictures)

    def random_crop(self, rng: np.random.Generator, size: int) -> Crop:
        """A developed and exposed crop of a random photograph, in which something known clips if that can be had."""
        for draw in range(MOST_DRAWS):
            picture = self.pictures[int(rng.integers(len(self.pictures)))]
            light, known = cut(picture, rng, size)
            light = develop(light, rng)
            light *= np.float32(2 ** rng.uniform(*STOPS))
            clipped = known & (brightest_channel(light) >= 1)
            if LEAST_CLIPPED <= clipped.mean() <= MOST_CLIPPED or draw == MOST_DRAWS - 1:
                break
        if rng.random() < 0.5:
            light, known = light[:, ::-1], known[:, ::-1]
        return Crop(light, known)


def read_photograph(path: Path) -> npt.NDArray[np.uint8]:
    """8-bit sRGB of a picture as ``run`` reads it, (H, W, 3): turned upright, converted from what the file declares.

    Raises:
        InputError: it cannot be read.
    """
    return eight_bits(read_image(path).pixels)


def linearise(picture: npt.NDArray[np.uint8]) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """Linear light of an sRGB picture, white 1.0, and where it is known: away from clipped pixels and their borders."""
    clipped = (brightest_channel(picture) >= CLIPPED_AT).astype(np.uint8)
    unknown = cv2.dilate(clipped, np.ones((3, 3), np.uint8)) > 0
    return np.asarray(cv2.LUT(picture, _LINEAR), np.float32), ~unknown


def cut(
    picture: npt.NDArray[np.uint8], rng: np.random.Generator, size: int
) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """A random square of a photograph, scaled to ``size`` pixels in linear light, and where it is known."""
    limit = min(picture.shape[:2])
    span = int(log_uniform(rng, min(limit, max(SMALLEST_SPAN * size, 16)), limit))
    top, left = (int(rng.integers(0, length - span + 1)) for length in picture.shape[:2])
    light, known = linearise(picture[top : top + span, left : left + span])
    if span == size:
        return light, known
    method = cv2.INTER_AREA if span > size else cv2.INTER_LINEAR
    unknown = cv2.resize((~known).astype(np.float32), (size, size), interpolation=method)
    return np.asarray(cv2.resize(light, (size, size), interpolation=method), np.float32), unknown == 0


def develop(light: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Vary what photographers vary: contrast, saturation, tint, and how far highlights reach; white stays near 1."""
    if rng.random() < 0.4:
        light = light ** np.float32(log_uniform(rng, 0.75, 1.4))
    if rng.random() < 0.6:
        gray = luminance(light)[..., None]
        light = np.maximum(gray + np.float32(log_uniform(rng, 0.5, 1.7)) * (light - gray), 0)
    if rng.random() < 0.3:
        light = light * np.exp(rng.normal(0, 0.25, 3)).astype(np.float32)
    if rng.random() < EXPAND_PROBABILITY:
        light = expand(light, knee=rng.uniform(0.3, 0.8), top=log_uniform(rng, 1.3, 6))
    return np.array(light, np.float32)


def expand(light: FloatArray, knee: float, top: float) -> FloatArray:
    """Undo a smooth shoulder: light up to ``knee`` stays, what is above is stretched so that 1 becomes ``top``.

    y = k + (1 - k) t / (1 - c t) with t = (x - k) / (1 - k) and c so that y(1) = top: slope 1 at the knee, rising from
    there. Light above 1, as a tint makes it, goes on in proportion. All channels get the factor of the largest one, so
    that hues stay.
    """
    largest = brightest_channel(light)
    above = np.clip((largest - knee) / (1 - knee), 0, 1)
    bend = 1 - (1 - knee) / (top - knee)
    stretched = knee + (1 - knee) * above / (1 - bend * above)
    inside = np.clip(largest, knee, 1)
    return np.asarray(light * (stretched / inside)[..., None], np.float32)
