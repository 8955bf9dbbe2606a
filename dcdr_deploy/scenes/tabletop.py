"""Procedural still lifes: white things that only just clip among saturated ones, in nearly neutral light.

A white cup on a red saucer is white although everything around it is red, and its rim is hardly brighter than white
paper. In streets and skies the colour of what surrounds a clipped area is the colour of the light, and a network that
has seen only those turns the cup's rim orange and lifts it to several times white. Here it has to tell the two apart.
"""

from __future__ import annotations

import colorsys

import cv2
import numpy as np
import numpy.typing as npt

from dcdr_deploy.scenes.draws import log_uniform
from dcdr_deploy.scenes.paint.canvas import Canvas, Patch, fractal_noise

Colour = npt.NDArray[np.floating]

WARM_PROBABILITY, WARM_HUES = 0.6, 0.12
"""Wood, brick, skin and food: hues from red to yellow, of a circle of 1."""
WHITE_PROBABILITY = 0.45
LIGHT_SIGMA = 0.07
"""Spread of the logarithm of the light's channels: what a camera's white balance leaves."""
SHOULDER_PROBABILITY = 0.4


def tabletop(rng: np.random.Generator, size: int) -> npt.NDArray[np.float32]:
    """One random arrangement of flat and rounded things with highlights on them.

    Args:
        rng: source of every random choice.
        size: edge of the picture in pixels.

    Returns:
        Linear RGB with white surfaces near 1, float32 (size, size, 3), positive.
    """
    canvas = Canvas(size)
    table = _saturated(rng)
    grain = np.exp(rng.uniform(0, 1.5) * (fractal_noise(rng, size, size, 7, 0.7, rng.uniform(0.3, 3)) - 0.5))
    canvas.image[:] = table * grain[..., None]
    for _ in range(int(rng.integers(2, 8))):
        _put_thing(rng, canvas, table)
    for _ in range(int(rng.integers(0, 6))):
        _put_highlight(rng, canvas)
    lit = np.exp(rng.uniform(0, 2.5) * (fractal_noise(rng, size, size, 2, 0.5) - 0.5))[..., None]
    light = np.exp(rng.normal(0, LIGHT_SIGMA, 3))
    picture = (canvas.image * lit * light).astype(np.float32)
    if rng.random() < SHOULDER_PROBABILITY:
        picture = _with_shoulder(rng, picture)
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.3, 0.9)), np.float32)


def _with_shoulder(rng: np.random.Generator, picture: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Let bright light run into a level just above most of it, channel by channel.

    Photographs from cameras and raw converters look so: their curves have a shoulder, channels flatten just below
    white, and nothing was clipped. A network that takes every flat channel for a clipped one lifts them in vain.
    """
    level = np.quantile(picture.max(axis=-1), rng.uniform(0.7, 0.97)) * rng.uniform(1, 1.2)
    knee = level * rng.uniform(0.5, 0.9)
    above = np.maximum(picture - knee, 0)
    return (np.minimum(picture, knee) + (level - knee) * -np.expm1(-above / (level - knee))).astype(np.float32)


def _saturated(rng: np.random.Generator) -> Colour:
    """Reflectance of a coloured surface, dark to middling."""
    hue = rng.uniform(0, WARM_HUES) if rng.random() < WARM_PROBABILITY else rng.random()
    pure = np.array(colorsys.hsv_to_rgb(hue, rng.uniform(0.3, 0.97), 1.0))
    return log_uniform(rng, 0.03, 0.6) * pure


def _white(rng: np.random.Generator, beside: Colour) -> Colour:
    """Reflectance of a white surface, with a little of the light that its surroundings throw on it."""
    mirrored = rng.uniform(0, 0.2) if rng.random() < 0.4 else 0.0
    return rng.uniform(0.65, 0.95) * np.exp(rng.normal(0, 0.02, 3)) * (1 - mirrored) + mirrored * beside


def _put_thing(rng: np.random.Generator, canvas: Canvas, table: Colour) -> None:
    """A round or straight-edged thing; round ones often have a rim of another colour, as cups and plates do."""
    size = canvas.size
    colour = _white(rng, table) if rng.random() < WHITE_PROBABILITY else _saturated(rng)
    centre = rng.uniform(-0.1, 1.1, 2) * size
    axes, angle = log_uniform(rng, 0.05, 0.6, 2) * size, rng.uniform(0, 180)
    if rng.random() < 0.4:
        corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * axes * rng.uniform(0.6, 1, (4, 2))
        turn = np.radians(angle)
        rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        _paint(rng, canvas, canvas.polygon(centre + corners @ rotation), colour)
        return
    _paint(rng, canvas, canvas.ellipse(centre, axes, angle), colour)
    if rng.random() < 0.7:
        inner = _saturated(rng) if rng.random() < 0.7 else _white(rng, colour)
        _paint(rng, canvas, canvas.ellipse(centre, axes * rng.uniform(0.55, 0.95), angle), inner)


def _paint(rng: np.random.Generator, canvas: Canvas, patch: Patch | None, colour: Colour) -> None:
    """Paint a surface that turns away from the light across its width."""
    if patch is None:
        return
    down, across = (np.linspace(-1, 1, length, dtype=np.float32) for length in patch.shape)
    turn = rng.uniform(0, 2 * np.pi)
    slope = np.cos(turn) * across[None, :] + np.sin(turn) * down[:, None]
    canvas.paint(patch, np.exp(rng.uniform(0, 1) * slope)[..., None] * colour)


def _put_highlight(rng: np.random.Generator, canvas: Canvas) -> None:
    """The mirrored lamp or window: colourless, from hardly to many times brighter than white."""
    axes = log_uniform(rng, 0.006, 0.08, 2) * canvas.size
    patch = canvas.ellipse(rng.uniform(0, 1, 2) * canvas.size, axes, rng.uniform(0, 180))
    strength = log_uniform(rng, 0.5, 30)
    canvas.paint(patch, np.full(3, strength), rng.uniform(0.2, 1))
