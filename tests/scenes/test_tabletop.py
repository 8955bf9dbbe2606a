"""Still lifes: in them what clips is mostly colourless and close to white, among things that are neither."""

from __future__ import annotations

import numpy as np

from dcdr_deploy.metrics.chromaticity import uv_difference
from dcdr_deploy.scenes.camera import CameraModel, simulate
from dcdr_deploy.scenes.tabletop import tabletop

SIZE = 96


def clipped_and_other_light() -> tuple[np.ndarray, np.ndarray]:
    """Light, in units of SDR white, of the clipped pixels and of the others, (N, 3) each."""
    camera = CameraModel(white_balance_sigma=0, noise_probability=0, jpeg_probability=0)
    clipped, others = [], []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        ldr, target = simulate(tabletop(rng, SIZE), camera, rng)
        mask = ldr.max(axis=-1) == 255
        clipped.append(target[mask] / 65535 * camera.peak)
        others.append(target[~mask] / 65535 * camera.peak)
    return np.concatenate(clipped), np.concatenate(others)


def colourfulness(light: np.ndarray) -> float:
    """Median u'v' distance from white."""
    return float(np.median(uv_difference(light[None], np.ones_like(light)[None])))


def test_what_clips_is_paler_than_what_is_around_it_and_mostly_only_just_does() -> None:
    clipped, others = clipped_and_other_light()
    assert colourfulness(clipped) < 0.5 * colourfulness(others)
    assert 1 < np.median(clipped.max(axis=1)) < 2


def test_in_some_pictures_the_light_levels_off_at_white_and_in_others_it_does_not() -> None:
    pictures = [tabletop(np.random.default_rng(seed), SIZE).max(axis=-1) for seed in range(60)]
    peaks = np.array([picture.max() / np.quantile(picture, 0.9) for picture in pictures])
    assert 0.2 < (peaks < 1.3).mean() < 0.6
    assert (peaks > 3).mean() > 0.1
