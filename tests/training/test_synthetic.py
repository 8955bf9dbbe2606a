"""The synthetic source gives the same pairs for the same seed and index, from panoramas and scenes alike."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dcdr_deploy.errors import InputError
from dcdr_deploy.scenes.camera import CameraModel, simulate
from dcdr_deploy.scenes.panorama import SPLITS, PanoramaSet, split_of
from dcdr_deploy.scenes.procedural import street_scene
from dcdr_deploy.training.synthetic import SOURCES, SyntheticPairs, scene_pool

DATA = Path(__file__).parents[2] / "data" / "hdri"


@pytest.fixture(scope="session")
def panoramas() -> PanoramaSet:
    return PanoramaSet(DATA / "train")


def source(panoramas: PanoramaSet, seed: int = 0, **shares: Any) -> SyntheticPairs:
    scenes = np.stack([street_scene(1000 + n, 96).astype(np.float16) for n in range(2)])
    return SyntheticPairs(panoramas, scenes, CameraModel(), patch=64, seed=seed, length=100, **shares)


def test_pairs_depend_on_seed_and_index_only(panoramas: PanoramaSet) -> None:
    first, again, other = source(panoramas), source(panoramas), source(panoramas, seed=1)
    for index in (5, 0, 17):
        assert np.array_equal(first.pair(index)[0], again.pair(index)[0])
        assert np.array_equal(first.pair(index)[1], again.pair(index)[1])
    assert not np.array_equal(first.pair(0)[0], first.pair(1)[0])
    assert not np.array_equal(first.pair(0)[0], other.pair(0)[0])


def test_tensors_are_the_pair_normalised(panoramas: PanoramaSet) -> None:
    data = source(panoramas)
    ldr, target = data.pair(3)
    x, y = data[3]
    assert x.shape == y.shape == (3, 64, 64)
    assert np.array_equal(np.rint(x.numpy() * 255).transpose(1, 2, 0), ldr)
    assert np.array_equal(np.rint(y.numpy() * 65535).transpose(1, 2, 0), target)


def test_most_pairs_clip(panoramas: PanoramaSet) -> None:
    data = source(panoramas)
    shares = [(data.pair(index)[0].max(axis=-1) >= 253).mean() for index in range(20)]
    assert np.mean(np.array(shares) > 0.003) > 0.8


def test_flat_light_leaves_what_clips_closer_to_white(panoramas: PanoramaSet) -> None:
    def light_of_clipped_pixels(data: SyntheticPairs) -> float:
        pairs = [data.pair(index) for index in range(30)]
        return float(np.median([target[ldr.max(axis=-1) >= 254].mean() / 65535 * 8 for ldr, target in pairs]))

    usual, flat = source(panoramas), source(panoramas, flat_share=1.0)
    assert 0 < light_of_clipped_pixels(flat) - 1 < 0.6 * (light_of_clipped_pixels(usual) - 1)


def test_shares_of_the_pairs_are_drawn_by_other_generators(panoramas: PanoramaSet) -> None:
    data = source(panoramas, source_shares={"tabletop": 0.25, "twilight": 0.5})

    def drawn_by(index: int) -> str:
        for name in data.source_shares:
            rng = np.random.default_rng((data.seed, index))
            rng.random()  # which generator
            expected = simulate(SOURCES[name](rng, data.patch), data.camera, rng)
            if all(np.array_equal(a, b) for a, b in zip(data.pair(index), expected, strict=True)):
                return name
        return "panoramas and scenes"

    counts = Counter(drawn_by(index) for index in range(100))
    assert 15 <= counts["tabletop"] <= 35
    assert 40 <= counts["twilight"] <= 60
    assert 15 <= counts["panoramas and scenes"] <= 35


@pytest.mark.parametrize("shares", [{"noon": 0.1}, {"twilight": -0.1}, {"twilight": 0.6, "tabletop": 0.6}])
def test_unknown_generators_and_shares_beyond_the_whole_are_refused(
    panoramas: PanoramaSet, shares: dict[str, float]
) -> None:
    with pytest.raises(InputError, match="source"):
        source(panoramas, source_shares=shares)


def test_no_held_out_panorama_is_in_the_training_set(panoramas: PanoramaSet) -> None:
    held_out = {name for names in SPLITS.values() for name in names}
    assert not held_out & set(panoramas.names)
    for split in ("train", "validation", "test"):
        assert all(split_of(name) == split for name in PanoramaSet(DATA / split).names)


def test_a_pool_is_rendered_once_and_read_afterwards(tmp_path: Path) -> None:
    pool = scene_pool(range(1000, 1002), tmp_path, size=48, workers=1)
    (file,) = tmp_path.iterdir()
    stamp = file.stat().st_mtime_ns
    again = scene_pool(range(1000, 1002), tmp_path, size=48, workers=1)
    assert file.stat().st_mtime_ns == stamp
    assert np.array_equal(pool, again)
    assert np.array_equal(pool[1], street_scene(1001, 48).astype(np.float16))
