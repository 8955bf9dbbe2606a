"""Smoothing what a network found inside areas that are white in all channels, the more the further from their edges.

A picture tells nothing of such a place but by what lies around the area, and what lies d away cannot tell of detail
much finer than d. What a network gives there that is finer, threads of a few pixels and bands beside each other, comes
of its layers and not of the scene: deformable convolutions carry the zeros from beyond the picture's edge, and every
edge in it, far into the white, and nothing hides them there. So the excess is averaged by a Gaussian whose sigma is a
share of the distance to the nearest cell that still has a channel to tell: none at the edge of the area, nothing from
beyond it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.imaging.frame import CLIPPED_CODE
from dcdr_deploy.imaging.transfer import srgb_to_linear
from dcdr_deploy.run.channels import channels_of
from dcdr_deploy.run.gain import ExcessField, Light, excess_of, log_gain_of

WHITE = float(srgb_to_linear(np.float64((CLIPPED_CODE - 0.5) / 255)))
"""Mean light from which a channel of a cell counts as clipped all over."""

SHARE = 0.25
"""Of the distance to the edge of a white area: sigma of what is averaged there."""

SIGMAS = (2.0, 8.0, 32.0)
"""Cells; between them what they give is interpolated, and nothing is averaged more widely than by the last."""


def smoothed(field: ExcessField, light: Light) -> ExcessField:
    """Return the field smoothed where the working picture is white; elsewhere it is the same to the bit.

    Args:
        field: what was found, (h, w).
        light: (h, w, 3) of the working picture, in [0, 1].
    """
    import cv2

    white = np.asarray(cv2.inRange(light, (WHITE,) * 3, (np.inf,) * 3), np.uint8)
    left, top, width, height = cv2.boundingRect(white)
    if not width:
        return field
    box = slice(top, top + height), slice(left, left + width)
    up, along = min(top, 1), min(left, 1)  # with what is around the box, which has the nearest cells that are not white
    sigmas = _sigmas(white[top - up : top + height + 1, left - along : left + width + 1])
    channels = [excess_of(channel) for channel in channels_of(field.log_gain[box])]
    _smooth(channels, white[box], sigmas[up : up + height, along : along + width])
    log_gain = field.log_gain.copy()
    cv2.copyTo(cv2.merge([log_gain_of(channel) for channel in channels]), white[box], log_gain[box])
    return replace(field, log_gain=log_gain)


def _smooth(channels: list[Light], white: NDArray[np.uint8], sigmas: Light) -> None:
    known, finer = np.minimum(white, np.float32(1)), 0.0
    inside = [channel * known for channel in channels]
    for sigma in SIGMAS:
        if sigmas.max() <= finer:
            break
        share = np.maximum(_blurred(known, sigma), np.float32(1e-4))  # of white cells, by which the mean is divided
        weight = np.clip((sigmas - finer) / (sigma - finer), 0, 1)
        for channel, seen in zip(channels, inside, strict=True):
            coarser = _blurred(seen, sigma)
            coarser /= share
            coarser -= channel
            coarser *= weight
            channel += coarser
        finer = sigma


def _sigmas(white: NDArray[np.uint8]) -> Light:
    """Return (h, w) the sigma for each cell, 0 outside of white areas."""
    import cv2

    distance = cv2.distanceTransform(white, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(np.minimum(distance * np.float32(SHARE), SIGMAS[-1]), np.float32)


def _blurred(field: Light, sigma: float) -> Light:
    """Return (h, w) averaged by a Gaussian; a wide one on a smaller grid, where two cells of it are its sigma."""
    import cv2

    height, width = field.shape[:2]
    factor = sigma / 2
    size = max(1, round(width / factor)), max(1, round(height / factor))
    small = cv2.resize(field, size, interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), sigma / factor, borderType=cv2.BORDER_REFLECT)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
