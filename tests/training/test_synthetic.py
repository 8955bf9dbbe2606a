"""The synthetic source gives the same pairs for the same seed and index, from panoramas and scenes alike."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dcdr_deploy.errors import InputError
from dcdr_deploy.scenes.camera import CameraModel, simulate
from dcdr_deploy.scenes.panorama import PanoramaSet
from dcdr_deploy.scenes.photographs import PhotographSet
from dcdr_deploy.scenes.procedural import street_scene
from dcdr_deploy.training.recipe import Recipe
from dcdr_deploy.training.synthetic import SOURCES, SyntheticPairs, scene_pool

DATA = Path(__file__).parents[2] / "data" / "hdri"
SAMPLES = Path(__file__).parents[2] / "samples"


@pytest.fixture(scope="session")
def panoramas() -> PanoramaSet:
    return PanoramaSet(sorted((DATA / "train").rglob("*.exr")))


def source(
    panoramas: PanoramaSet, photographs: PhotographSet | None = None, patch: int = 64, **fields: Any
) -> SyntheticPairs:
    scenes = np.stack([street_scene(1000 + n, 96).astype(np.float16) for n in range(2)])
    recipe = Recipe(steps=100, batch=1, patch=patch, **fields)
    return SyntheticPairs(panoramas, scenes, CameraModel(), recipe, photographs)


@pytest.fixture(scope="session")
def photographs() -> PhotographSet:
    return PhotographSet([SAMPLES / "china.jpg", SAMPLES / "coffee.png"])


def test_pairs_depend_on_seed_and_index_only(panoramas: PanoramaSet) -> None:
    first, again, other = source(panoramas), source(panoramas), source(panoramas, seed=1)
    for index in (5, 0, 17):
        assert np.array_equal(first.sample(index)[0], again.sample(index)[0])
        assert np.array_equal(first.sample(index)[1], again.sample(index)[1])
    assert not np.array_equal(first.sample(0)[0], first.sample(1)[0])
    assert not np.array_equal(first.sample(0)[0], other.sample(0)[0])


def test_tensors_are_the_pair_normalised(panoramas: PanoramaSet) -> None:
    data = source(panoramas)
    ldr, target, known = data.sample(3)
    assert known is None
    x, y = data[3]
    assert x.shape == y.shape == (3, 64, 64)
    assert np.array_equal(np.rint(x.numpy() * 255).transpose(1, 2, 0), ldr)
    assert np.array_equal(np.rint(y.numpy() * 65535).transpose(1, 2, 0), target)


def test_most_pairs_clip(panoramas: PanoramaSet) -> None:
    data = source(panoramas)
    shares = [(data.sample(index)[0].max(axis=-1) >= 253).mean() for index in range(20)]
    assert np.mean(np.array(shares) > 0.003) > 0.8


def test_flat_light_leaves_what_clips_closer_to_white(panoramas: PanoramaSet) -> None:
    def light_of_clipped_pixels(data: SyntheticPairs) -> float:
        pairs = [data.sample(index) for index in range(30)]
        return float(np.median([target[ldr.max(axis=-1) >= 254].mean() / 65535 * 8 for ldr, target, _ in pairs]))

    usual, flat = source(panoramas), source(panoramas, flat_share=1.0)
    assert 0 < light_of_clipped_pixels(flat) - 1 < 0.6 * (light_of_clipped_pixels(usual) - 1)


def test_shares_of_the_pairs_are_drawn_by_other_generators(panoramas: PanoramaSet) -> None:
    data = source(panoramas, source_shares={"tabletop": 0.25, "twilight": 0.5})

    def drawn_by(index: int) -> str:
        for name in data.recipe.source_shares:
            rng = np.random.default_rng((data.recipe.seed, index))
            rng.random()  # which generator
            expected = simulate(SOURCES[name](rng, data.recipe.patch), data.camera, rng)
            if all(np.array_equal(a, b) for a, b in zip(data.sample(index)[:2], expected, strict=True)):
                return name
        return "panoramas and scenes"

    counts = Counter(drawn_by(index) for index in range(100))
    assert 15 <= counts["tabletop"] <= 35
    assert 40 <= counts["twilight"] <= 60
    assert 15 <= counts["panoramas and scenes"] <= 35


@pytest.mark.parametrize(
    "shares", [{"noon": 0.1}, {"twilight": -0.1}, {"twilight": 0.6, "tabletop": 0.6}, {"photographs": 0.5}]
)
def test_unknown_sources_shares_beyond_the_whole_and_a_share_of_no_photographs_are_refused(
    panoramas: PanoramaSet, shares: dict[str, float]
) -> None:
    with pytest.raises(InputError, match=r"source|`photos`"):
        source(panoramas, source_shares=shares)


def test_photographs_are_exposed_up_and_unknown_where_they_were_clipped_themselves(
    panoramas: PanoramaSet, photographs: PhotographSet
) -> None:
    data = source(panoramas, photographs, source_shares={"photographs": 1.0})
    unknown = 0.0
    for index in range(20):
        ldr, target, known = data.sample(index)
        x, truth = data[index]
        assert known is not None
        assert np.array_equal(truth.isnan().any(dim=0).numpy(), ~known)
        assert np.array_equal(np.rint(x.numpy() * 255).transpose(1, 2, 0), ldr)
        unknown += float((~known).mean())
        assert (target[known].astype(float) / 65535 * 8 >= 0).all()
    clipped = [(sample.ldr.max(axis=-1) >= 254)[sample.known].mean() for sample in map(data.sample, range(20))]
    assert np.mean(np.array(clipped) > 0.003) > 0.8
    assert 0 < unknown < 10


def test_patches_change_their_size_with_the_step_and_steps_keep_their_pixels(panoramas: PanoramaSet) -> None:
    data = source(panoramas, patch=64, patches=[64, 32])
    assert data.recipe.largest_batch == 4
    assert [data.sample(4 * step).ldr.shape for step in range(3)] == [(64, 64, 3), (32, 32, 3), (64, 64, 3)]


def test_a_pool_is_rendered_once_and_read_afterwards(tmp_path: Path) -> None:
    pool = scene_pool(range(1000, 1002), tmp_path, size=48, workers=1)
    (file,) = tmp_path.iterdir()
    stamp = file.stat().st_mtime_ns
    again = scene_pool(range(1000, 1002), tmp_path, size=48, workers=1)
    assert file.stat().st_mtime_ns == stamp
    assert np.array_equal(pool, again)
    assert np.array_equal(pool[1], street_scene(1001, 48).astype(np.float16))
