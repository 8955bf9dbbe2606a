"""The training pool's scenes are the same bytes from one version to the next: runs can be repeated.

Functions such as ``exp`` differ in their last bit between kinds of processors. Where they differ from those of the
machine that wrote the digests down, there is nothing to compare.
"""

from __future__ import annotations

import hashlib

import cv2
import numpy as np
import pytest

from dcdr_deploy.scenes.procedural import TRAIN_SEEDS, street_scene
from dcdr_deploy.scenes.tabletop import tabletop
from dcdr_deploy.scenes.twilight import twilight

ARITHMETIC = "64e829c0bf63d9bf91a9704b7fdadf2edef2ce27c67ad82a54d5610e5c940842"


def digest(values: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()


@pytest.fixture(scope="module", autouse=True)
def same_arithmetic() -> None:
    x = np.linspace(0.01, 9, 10007)
    functions = [f(x.astype(kind)) for f in (np.exp, np.log, np.sin, np.cos) for kind in (np.float32, np.float64)]
    picture = np.outer(functions[0][:97], functions[4][:113])
    smooth = [cv2.GaussianBlur(picture, (0, 0), 2.3), cv2.resize(picture, (61, 59), interpolation=cv2.INTER_AREA)]
    found = digest(np.concatenate([each.astype(np.float64).ravel() for each in (*functions, *smooth)]))
    if found != ARITHMETIC:
        pytest.skip("this machine's elementary functions round otherwise")


@pytest.mark.parametrize(
    ("seed", "expected"),
    [
        (0, "82cb76238c63c32d531d9267eb8809808541d4469da9bec0ccbb542510000cf1"),
        (1, "87716271768881aac55fe69d9738273aeb69fb6781695c05764add7f3c1972c4"),
        (2, "a1ace762d19fa21ba02390de24fa65527ddafc2f575351568404e65a4d9fa03d"),
        (3, "d3a76700928ec18ec742678c8fe15f02c6ce0dc3206b3d29a7d248d6f1960ab4"),
    ],
)
def test_scenes_of_the_training_seeds_are_the_bytes_they_always_were(seed: int, expected: str) -> None:
    assert digest(street_scene(TRAIN_SEEDS.start + seed, 96).astype(np.float16)) == expected


@pytest.mark.parametrize(
    ("generator", "expected"),
    [
        (tabletop, "1108d315b15794c4fa764a7a08b1a3166dcddb27e6d017edd18530a470835bd9"),
        (twilight, "b46635f9dfa94fbd296f0cd9f05941d958c4a6589823537f820d131997391963"),
    ],
)
def test_painted_patches_are_the_bytes_they_always_were(generator, expected: str) -> None:
    assert digest(np.asarray(generator(np.random.default_rng(3), 64), np.float32)) == expected
