"""Perspective views of equirectangular HDR panoramas.

Convention: the centre column of a panorama is yaw 0, yaw grows to the right and pitch grows upwards; angles are in
degrees. Views and panoramas are linear RGB, float32.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from dcdr_deploy.errors import InputError
from dcdr_deploy.imaging.read_hdr import read_hdr

YAW_DEGREES = (0.0, 360.0)
PITCH_DEGREES = (-10.0, 25.0)
FOV_DEGREES = (45.0, 80.0)

RINGING_SHARE_OF_MEDIAN = 0.05
"""Values further below zero than this share of the median are ringing of a lossy EXR around a light, not noise."""

BRIGHT_TIMES_MEDIAN = 20.0
LEAST_CHANNEL_SHARE = 1e-3
"""A pixel this many times brighter than the median with a channel below this share of its largest lost that channel."""

LARGEST_RINGING_SHARE = 0.03
"""A view may hold this share of repaired pixels: lights are what the views are for, and ringing lies around them."""

MAX_REDRAWS = 200
_REPAIR_SIGMA = 2.0  # pixels; ringing comes in blocks of a few pixels
_WRAP_COLUMNS = 8  # repeated on both sides so that interpolation is seamless across the back

FloatArray = npt.NDArray[np.float32]


def load_panorama(path: Path | str) -> FloatArray:
    """Read an equirectangular panorama (OpenEXR or Radiance), negative values clamped to 0, float32 (H, W, 3).

    Raises:
        InputError: as :func:`read_hdr`, or it is not twice as wide as high.
    """
    return np.maximum(read_panorama(Path(path)), 0)


def ringing_mask(radiance: FloatArray) -> npt.NDArray[np.bool_]:
    """Pixels that lossy compression broke, bool (H, W).

    Lossy EXR files undershoot around very bright lights, and at the lights themselves they lose the smaller channels,
    which turns a sun pure blue. Clamping such pixels leaves coloured blocks, so they are repaired by
    :func:`repair_ringing`. Broken are pixels with a channel below -5 % of the median luminance, and bright ones whose
    smallest channel is next to nothing, with their neighbours.
    """
    median = max(float(np.median(radiance.mean(axis=-1))), 0.0)
    undershoot = np.any(radiance < -RINGING_SHARE_OF_MEDIAN * median, axis=-1)
    brightest, darkest = radiance.max(axis=-1), radiance.min(axis=-1)
    colourless = (brightest > BRIGHT_TIMES_MEDIAN * median) & (darkest < LEAST_CHANNEL_SHARE * brightest)
    around = cv2.dilate(colourless.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    return np.asarray(undershoot | around, np.bool_)


def repair_ringing(radiance: FloatArray, ringing: npt.NDArray[np.bool_]) -> FloatArray:
    """Replace ringing pixels by the logarithmic mean of the sound ones around them; the rest is clamped to 0.

    Args:
        radiance: (H, W, 3) float32, negative values included.
        ringing: (H, W) bool, from :func:`ringing_mask`.

    Returns:
        (H, W, 3) float32, not negative.
    """
    clamped = np.maximum(radiance, 0)
    if not ringing.any():
        return clamped
    sound = (~ringing).astype(np.float32)[..., None]
    logarithm = np.log(clamped + 1e-4) * sound
    weight = cv2.GaussianBlur(sound, (0, 0), _REPAIR_SIGMA)[..., None]
    mean = cv2.GaussianBlur(logarithm, (0, 0), _REPAIR_SIGMA) / np.maximum(weight, 1e-6)
    return np.where(ringing[..., None], np.exp(mean), clamped).astype(np.float32)


def perspective(
    panorama: npt.NDArray[np.floating], yaw: float, pitch: float, fov: float, size: int
) -> npt.NDArray[np.float32]:
    """Rectilinear square view of a panorama, sampled bilinearly; averaged where it is coarser than the panorama.

    Args:
        panorama: equirectangular, (H, W) or (H, W, C), W = 2 H.
        yaw: direction of the optical axis to the right of the centre column, degrees; any value, wraps at 360.
        pitch: direction of the optical axis above the horizon, degrees.
        fov: full angle of view from the left to the right edge, degrees, below 180.
        size: edge of the view in pixels.

    Returns:
        float32 (size, size) or (size, size, C).
    """
    height, width = panorama.shape[:2]
    return _view(height, width, yaw, pitch, fov, size).of(_wrap(np.asarray(panorama, np.float32)))


@dataclass(frozen=True)
class Panorama:
    """A panorama ready for views.

    What a view samples is kept with its seam wrapped, because copying a large panorama takes longer than its view.

    Attributes:
        name: collection/file, like ``"bpy/city"``.
        wrapped: linear RGB, float32 (H, W + 16, 3): :data:`_WRAP_COLUMNS` columns repeated on both sides.
        ringing: repaired pixels as 1.0, float32 (H, W + 16); ``None`` if there are none.
    """

    name: str
    wrapped: FloatArray
    ringing: FloatArray | None

    @property
    def radiance(self) -> FloatArray:
        """Linear RGB, float32 (H, W, 3), W = 2 H."""
        return self.wrapped[:, _WRAP_COLUMNS:-_WRAP_COLUMNS]


class PanoramaSet:
    """Panoramas in memory, and random views of them.

    Args:
        files: OpenEXR or Radiance files.

    Raises:
        InputError: there are none, or one cannot be read.
    """

    def __init__(self, files: Iterable[Path]):
        self.panoramas = [_load_with_mask(path) for path in files]
        if not self.panoramas:
            raise InputError("no panoramas are given")

    def __len__(self) -> int:
        return len(self.panoramas)

    def __iter__(self) -> Iterator[Panorama]:
        return iter(self.panoramas)

    @property
    def names(self) -> list[str]:
        """Names as collection/file, like ``"bpy/city"``."""
        return [panorama.name for panorama in self.panoramas]

    def random_view(
        self, rng: np.random.Generator, size: int, fov_degrees: tuple[float, float] = FOV_DEGREES
    ) -> FloatArray:
        """A view of a random panorama in a random direction, float32 (size, size, 3), with little ringing in it.

        Raises:
            InputError: no clean view was found in many draws.
        """
        for _ in range(MAX_REDRAWS):
            panorama = self.panoramas[int(rng.integers(len(self.panoramas)))]
            yaw, pitch, fov = (float(rng.uniform(*bounds)) for bounds in (YAW_DEGREES, PITCH_DEGREES, fov_degrees))
            height, width = panorama.radiance.shape[:2]
            view = _view(height, width, yaw, pitch, fov, size)
            if not _much_ringing(panorama, view):
                return view.of(panorama.wrapped)
        raise InputError(f"no view with little compression ringing in {MAX_REDRAWS} draws from {', '.join(self.names)}")


def read_panorama(path: Path) -> FloatArray:
    """RGB of a panorama, negative values included."""
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    radiance = read_hdr(path).pixels
    height, width = radiance.shape[:2]
    if width != 2 * height:
        raise InputError(f"{path}: is {width}x{height}, an equirectangular panorama is twice as wide as high")
    return radiance


def _load_with_mask(path: Path) -> Panorama:
    radiance = read_panorama(path)
    ringing = ringing_mask(radiance)
    mask = _wrap(ringing.astype(np.float32)) if ringing.any() else None
    return Panorama(f"{path.parent.name}/{path.stem}", _wrap(repair_ringing(radiance, ringing)), mask)


@dataclass(frozen=True)
class _View:
    """Where a view's samples lie in a wrapped panorama: columns and rows, float32, each (S, S); S = n x size."""

    columns: FloatArray
    rows: FloatArray
    size: int

    def of(self, wrapped: FloatArray) -> FloatArray:
        """The view, float32 (size, size) or (size, size, C), of a panorama (H, W + 16) or (H, W + 16, C)."""
        view = cv2.remap(wrapped, self.columns, self.rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        if view.shape[0] != self.size:
            view = cv2.resize(view, (self.size, self.size), interpolation=cv2.INTER_AREA)
        return np.asarray(view, np.float32)


def _view(height: int, width: int, yaw: float, pitch: float, fov: float, size: int) -> _View:
    """The view of a panorama (height, width) in a direction; arguments as for :func:`perspective`."""
    # Pixels a radian of panorama and view: bilinear sampling of a denser panorama would skip pixels and flicker.
    density = (width / (2 * np.pi)) / (size / 2 / np.tan(np.radians(fov) / 2))
    samples = size * max(1, round(density))
    x, y, z = _view_rays(yaw % 360.0, pitch, fov, samples)
    column = (np.arctan2(x, z) / (2 * np.pi) + 0.5) * width - 0.5
    row = (0.5 - np.arcsin(np.clip(y, -1, 1)) / np.pi) * height - 0.5
    return _View((column + _WRAP_COLUMNS).astype(np.float32), row.astype(np.float32), size)


def _much_ringing(panorama: Panorama, view: _View) -> bool:
    """Whether more of a view than :data:`LARGEST_RINGING_SHARE` interpolates ringing pixels."""
    return panorama.ringing is not None and bool((view.of(panorama.ringing) > 0).mean() > LARGEST_RINGING_SHARE)


def _view_rays(
    yaw: float, pitch: float, fov: float, size: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Unit directions (right, up, forward) through the pixel centres of a view, each broadcastable to (size, size)."""
    half_width = np.tan(np.radians(fov) / 2)
    across = ((np.arange(size) + 0.5) / size * 2 - 1) * half_width
    right, up = across[None, :], -across[:, None]
    norm = np.sqrt(right**2 + up**2 + 1)
    sin_pitch, cos_pitch = np.sin(np.radians(pitch)), np.cos(np.radians(pitch))
    sin_yaw, cos_yaw = np.sin(np.radians(yaw)), np.cos(np.radians(yaw))
    lifted, forward = up * cos_pitch + sin_pitch, cos_pitch - up * sin_pitch
    x = right * cos_yaw + forward * sin_yaw
    z = forward * cos_yaw - right * sin_yaw
    return x / norm, lifted / norm, z / norm


def _wrap(panorama: FloatArray) -> FloatArray:
    """Repeat the columns next to the seam on the other side, :data:`_WRAP_COLUMNS` of them."""
    return np.concatenate([panorama[:, -_WRAP_COLUMNS:], panorama, panorama[:, :_WRAP_COLUMNS]], axis=1)
