"""Held-out pictures by which demo weights are judged: real photographs exposed up, and views of panoramas.

Which files belong to a split say the lists in data/splits. Every picture is a function of its file's name, its size and
the camera's name, so that figures of different weights, machines and days can be compared.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dcdr_deploy.scenes.camera import TARGET_MAX, CameraModel, brightest_channel, simulate
from dcdr_deploy.scenes.panorama import FOV_DEGREES, PanoramaSet
from dcdr_deploy.scenes.photographs import linearise, read_photograph
from dcdr_deploy.scenes.splits import PANORAMA_SUFFIXES, PHOTOGRAPH_SUFFIXES, SplitEntry, files_of, name_of, read_split

ROOT = Path(__file__).parents[1]
LISTS = [ROOT / "data" / "splits" / "photographs.tsv", ROOT / "data" / "splits" / "panoramas.tsv"]
PEAK = 8.0
STOPS = (0.75, 2.25)
"""How far photographs are exposed up."""
LEAST_CLIPPED = 0.005
"""Share of a photograph that must clip and be known; brighter exposures are drawn until it does."""
MOST_DRAWS = 8
LEAST_PART = 0.5
"""A photograph is left out where a size is asked for of which its own is a smaller part."""

VIEWS_OF_A_PLACE = 9

PLAIN = CameraModel(peak=PEAK, white_balance_sigma=0, noise_probability=0, jpeg_probability=0)
"""Exposure, clipping, the sRGB curve, 8 bits: nothing else between a photograph and the network."""

CAMERAS: dict[str, CameraModel] = {
    "plain": PLAIN,
    "JPEG 75": replace(PLAIN, jpeg_probability=1.0, jpeg_quality=(75, 75)),
    "gray": replace(PLAIN, gray_probability=1.0),
    "other curve": replace(PLAIN, srgb_probability=0.0),
    "noise": replace(
        PLAIN, noise_probability=1.0, shot_noise=(10**-3.2, 10**-3.2 + 1e-9), read_noise=(2e-3, 2e-3 + 1e-9)
    ),
}
"""What the pictures go through, by the names of table rows. Noise is that of a small sensor at high sensitivity."""


@dataclass(frozen=True)
class HeldOutPicture:
    """One picture.

    Attributes:
        name: of its file, and which view of it.
        kind: "photograph" or "panorama".
        ldr: SDR, uint8 (H, W, 3).
        truth: linear, float32 (H, W, 3), 1.0 = :data:`PEAK` x SDR white.
        known: bool (H, W): False where the photograph itself was clipped.
    """

    name: str
    kind: str
    ldr: NDArray[np.uint8]
    truth: NDArray[np.float32]
    known: NDArray[np.bool_]


def entries() -> dict[str, SplitEntry]:
    """What the repository's lists say of each file."""
    return {name: entry for path in LISTS for name, entry in read_split(path).items()}


@dataclass(frozen=True)
class Photograph:
    """A photograph of a split, not yet read.

    Attributes:
        path: of the file.
        stops: how far it is exposed up, whatever clips by that; ``None`` draws it, so that enough clips.
    """

    path: Path
    stops: float | None = None

    def render(self, size: int | None, camera: str = "plain") -> HeldOutPicture | None:
        """It with a long side of ``size``, exposed up so that it clips; a smaller one, or for ``None``, at its own.

        ``None`` where its long side is below :data:`LEAST_PART` of the size: enlarged it would show nothing that a row
        of smaller pictures does not show.
        """
        name = name_of(self.path)
        rng = np.random.default_rng((zlib.crc32(name.encode()), 1))
        pixels = read_photograph(self.path)
        longer = max(pixels.shape[:2])
        if size is not None and longer < size * LEAST_PART:
            return None
        light, known = _resized(*linearise(pixels), min(size or longer, longer))
        exposure = _clipping_exposure(light, known, rng) if self.stops is None else 2**self.stops
        ldr, target = simulate(light, CAMERAS[camera], rng, exposure)
        return HeldOutPicture(name, "photograph", ldr, _linear(target), known)


def _clipping_exposure(light: NDArray[np.float32], known: NDArray[np.bool_], rng: np.random.Generator) -> float:
    """The first drawn exposure by which enough clips, or the largest."""
    largest = np.where(known, brightest_channel(light), 0)
    exposures = [float(2 ** rng.uniform(*STOPS)) for _ in range(MOST_DRAWS)]
    clipping = [exposure for exposure in exposures if (largest * exposure >= 1).mean() >= LEAST_CLIPPED]
    return clipping[0] if clipping else max(exposures)


@dataclass(frozen=True)
class PanoramaView:
    """A view of a panorama of a split, not yet rendered; its direction depends on place and number alone."""

    path: Path
    place: str
    number: int

    def render(self, size: int, camera: str = "plain") -> HeldOutPicture:
        """The square view, ``size`` pixels wide, with 1 to 35 % of its pixels clipped."""
        rng = np.random.default_rng((zlib.crc32(self.place.encode()), self.number))
        light = _opened(self.path).random_view(rng, size, FOV_DEGREES)
        ldr, target = simulate(light, CAMERAS[camera], rng)
        known = np.ones(ldr.shape[:2], bool)
        return HeldOutPicture(f"{name_of(self.path)}#{self.number}", "panorama", ldr, _linear(target), known)


Source = Photograph | PanoramaView


@lru_cache(maxsize=64)
def _opened(path: Path) -> PanoramaSet:
    """A panorama in memory; those of 1,024 px take 6 MB."""
    return PanoramaSet([path])


def photograph_sources(folders: Sequence[Path], split: str, most: int | None = None) -> list[Photograph]:
    """Photographs of a split; those of one aspect ratio beside each other, so that engines meet shapes again."""
    files = _spread(files_of(folders, PHOTOGRAPH_SUFFIXES, entries(), split), most)
    return [Photograph(path) for path in sorted(files, key=_aspect)]


def _aspect(path: Path) -> float:
    with Image.open(path) as picture:
        return picture.height / picture.width


def panorama_sources(folders: Sequence[Path], split: str, most: int | None = None) -> list[PanoramaView]:
    """Views of the panoramas of a split, as many of each place."""
    wanted = [
        PanoramaView(paths[number % len(paths)], place, number)
        for place, paths in sorted(panorama_places(folders, split).items())
        for number in range(VIEWS_OF_A_PLACE)
    ]
    return sorted(_spread(wanted, most), key=lambda view: str(view.path))


def panorama_places(folders: Sequence[Path], split: str) -> dict[str, list[Path]]:
    """Panoramas of a split by the place that they show."""
    listed = entries()
    places: dict[str, list[Path]] = {}
    for path in files_of(folders, PANORAMA_SUFFIXES, listed, split):
        name = name_of(path)
        places.setdefault(listed[name].place if name in listed else name, []).append(path)
    return places


SOURCES: dict[str, Callable[..., Sequence[Source]]] = {
    "photograph": photograph_sources,
    "panorama": panorama_sources,
}


def photographs(
    folders: Sequence[Path], split: str, size: int, camera: str = "plain", most: int | None = None
) -> Iterator[HeldOutPicture]:
    """Photographs of a split as :meth:`Photograph.render` gives them."""
    pictures = (source.render(size, camera) for source in photograph_sources(folders, split, most))
    return (picture for picture in pictures if picture is not None)


def panorama_views(
    folders: Sequence[Path], split: str, size: int, camera: str = "plain", most: int | None = None
) -> Iterator[HeldOutPicture]:
    """Views of the panoramas of a split as :meth:`PanoramaView.render` gives them."""
    return (source.render(size, camera) for source in panorama_sources(folders, split, most))


def _spread(items: Sequence, most: int | None) -> list:  # type: ignore[type-arg]
    """At most ``most`` of some items, evenly spread over them."""
    if most is None or len(items) <= most:
        return list(items)
    return [items[int(number)] for number in np.linspace(0, len(items) - 1, most)]


def _resized(
    light: NDArray[np.float32], known: NDArray[np.bool_], size: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """A picture and its mask averaged down to a long side of ``size``, at most its own."""
    height, width = light.shape[:2]
    scale = size / max(height, width)
    if scale == 1:
        return light, known
    shape = max(8, round(width * scale)), max(8, round(height * scale))
    unknown = cv2.resize((~known).astype(np.float32), shape, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(light, shape, interpolation=cv2.INTER_AREA), np.float32), unknown == 0


def _linear(target: NDArray[np.uint16]) -> NDArray[np.float32]:
    return (target / np.float32(TARGET_MAX)).astype(np.float32)
