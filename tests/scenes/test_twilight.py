"""Skies at twilight clip one channel before the others, and over areas."""

from __future__ import annotations

import numpy as np

from dcdr_deploy.scenes.camera import CameraModel, simulate
from dcdr_deploy.scenes.procedural import street_scene
from dcdr_deploy.scenes.twilight import twilight

SIZE = 96


def partly_clipped_share(make) -> float:
    """Share of the clipped pixels with a channel that is not."""
    partly = clipped = 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        ldr, _ = simulate(make(rng, seed), CameraModel(noise_probability=0, jpeg_probability=0), rng)
        some, every = ldr.max(axis=-1) == 255, ldr.min(axis=-1) == 255
        partly, clipped = partly + int((some & ~every).sum()), clipped + int(some.sum())
    return partly / clipped


def test_single_channels_clip_over_larger_areas_than_in_streets() -> None:
    skies = partly_clipped_share(lambda rng, seed: twilight(rng, SIZE))
    streets = partly_clipped_share(lambda rng, seed: street_scene(1000 + seed, SIZE))
    assert skies > 0.5
    assert skies > streets
