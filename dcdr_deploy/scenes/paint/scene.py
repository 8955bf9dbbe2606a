"""What all layers of one procedural scene share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dcdr_deploy.scenes.draws import whole_number
from dcdr_deploy.scenes.paint.canvas import Canvas, FloatArray, fractal_noise

NIGHT_PROBABILITY = 0.22
TEXTURE_OCTAVES = 8
TEXTURE_PERSISTENCE = (0.65, 0.95)  # smooth plaster to gravel
TEXTURE_DEVIATION = 0.2


@dataclass
class Scene:
    """The canvas and the light of one scene. Positions and lengths are shares of the canvas edge unless in pixels.

    Attributes:
        rng: source of every random choice.
        canvas: the picture under construction.
        unit: canvas pixels per pixel of the finished picture (the supersampling factor).
        night: whether lamps, not the sky, light the scene.
        horizon: height of the horizon, downwards from the top.
        sun: position of the sun (x, y); below the horizon line's row for a set sun.
        warmth: 0 for a high sun, 1 for one at the horizon.
        sky_luminance: luminance scale of the sky.
        ambient: radiance of a white surface in the shade.
        texture: fractal noise from which surfaces cut their texture, mean 0.5.
    """

    rng: np.random.Generator
    canvas: Canvas
    unit: int
    night: bool
    horizon: float
    sun: tuple[float, float]
    warmth: float
    sky_luminance: float
    ambient: float
    texture: FloatArray

    @property
    def size(self) -> int:
        """Edge of the canvas in pixels."""
        return self.canvas.size

    @property
    def horizon_row(self) -> int:
        """First canvas row of the ground."""
        return int(self.horizon * self.size)

    def uniform(self, low: float, high: float) -> float:
        """A random number between two bounds."""
        return float(self.rng.uniform(low, high))

    def count(self, low: int, high: int) -> int:
        """A random whole number, both bounds included."""
        return whole_number(self.rng, low, high)

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return bool(self.rng.random() < probability)

    def pixels(self, *position: float) -> npt.NDArray[np.float64]:
        """Canvas pixels of a position in shares."""
        return np.asarray(position, np.float64) * self.size

    def surface(self, height: int, width: int, contrast: float = 0.25) -> FloatArray:
        """Texture factor (height, width, 1) around 1, cut from a random place of the scene's noise."""
        rows, columns = self.texture.shape
        top = int(self.rng.integers(0, max(rows - height, 0) + 1))
        left = int(self.rng.integers(0, max(columns - width, 0) + 1))
        cut = self.texture[top : top + height, left : left + width]
        if cut.shape != (height, width):  # larger than the canvas: repeat
            cut = np.resize(cut, (height, width))
        return np.float32(1 - contrast) + np.float32(2 * contrast) * cut[..., None]

    @property
    def silhouette(self) -> FloatArray:
        """Radiance of a black object that only the ambient light reaches."""
        return np.full(3, 0.008 * self.ambient + 0.0005, np.float32)


def outdoor_scene(rng: np.random.Generator, size: int, supersample: int) -> Scene:
    """An empty scene with a random sky light."""
    night = bool(rng.random() < NIGHT_PROBABILITY)
    horizon, elevation = float(rng.uniform(0.35, 0.75)), float(rng.uniform(-0.02, 0.9))
    sky_luminance = 0.004 * float(rng.uniform(0.5, 4)) if night else float(rng.uniform(0.8, 4))
    return Scene(
        rng=rng,
        canvas=Canvas(size * supersample),
        unit=supersample,
        night=night,
        horizon=horizon,
        sun=(float(rng.uniform(-0.2, 1.2)), horizon - elevation * horizon),
        warmth=float(np.exp(-5 * max(elevation, 0.0))),
        sky_luminance=sky_luminance,
        ambient=sky_luminance * (0.6 if night else 0.25),
        texture=_texture_sheet(rng, size * supersample),
    )


def indoor_scene(rng: np.random.Generator, size: int, supersample: int) -> Scene:
    """An empty room-like scene: the horizon is eye level and there is no sun in it."""
    return Scene(
        rng=rng,
        canvas=Canvas(size * supersample),
        unit=supersample,
        night=bool(rng.random() < NIGHT_PROBABILITY),
        horizon=0.5,
        sun=(0.5, -1.0),
        warmth=float(rng.uniform(0, 1)),
        sky_luminance=float(rng.uniform(2, 12)),
        ambient=float(rng.uniform(0.12, 0.5)),
        texture=_texture_sheet(rng, size * supersample),
    )


def _texture_sheet(rng: np.random.Generator, edge: int) -> FloatArray:
    """Fractal noise stretched to a standard deviation of :data:`TEXTURE_DEVIATION` around 0.5, within 0..1."""
    noise = fractal_noise(rng, edge, edge, TEXTURE_OCTAVES, float(rng.uniform(*TEXTURE_PERSISTENCE)))
    stretched = (noise - noise.mean()) * np.float32(TEXTURE_DEVIATION / float(noise.std()))
    return np.clip(stretched + np.float32(0.5), 0, 1)
