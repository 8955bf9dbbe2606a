"""Recipes hold the paper's settings, and schedules follow the share of the run that is done."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from dcdr_deploy.errors import InputError
from dcdr_deploy.scenes.camera import CameraModel
from dcdr_deploy.training.recipe import RECIPES, Recipe


def test_the_papers_settings_are_the_default() -> None:
    recipe = RECIPES["paper"]
    assert (recipe.steps, recipe.batch, recipe.patch) == (200_000, 16, 512)
    assert recipe.losses == {"tanh_l1": 1.0, "perceptual": 0.1}
    assert recipe.preset == "paper"
    assert recipe.learning_rate_at(0) == recipe.learning_rate_at(recipe.steps - 1)


def test_the_learning_rate_rises_stays_and_falls() -> None:
    recipe = Recipe(steps=1000, warmup=10, tail_start=0.5, tail_end=0.02, learning_rate=1.0)
    assert recipe.learning_rate_at(0) == pytest.approx(0.1)
    assert recipe.learning_rate_at(9) == recipe.learning_rate_at(499) == 1.0
    assert recipe.learning_rate_at(750) == pytest.approx(0.5)
    assert recipe.learning_rate_at(999) == pytest.approx(0.02)


def test_offsets_and_precision_change_at_their_share() -> None:
    recipe = Recipe(steps=100, offsets_from=0.25, fp32_from=0.75)
    assert [recipe.offsets_frozen(step) for step in (0, 24, 25)] == [True, True, False]
    assert [recipe.full_precision(step) for step in (74, 75)] == [False, True]


def test_a_loss_joins_at_its_share_and_the_others_count_from_the_start() -> None:
    recipe = Recipe(steps=100, losses={"tanh_l1": 1.0, "sdr_l1": 0.5}, losses_from={"sdr_l1": 0.3})
    assert recipe.active_losses(29) == {"tanh_l1"}
    assert recipe.active_losses(30) == {"tanh_l1", "sdr_l1"}


def test_from_scratch_regret_waits_until_there_is_something_to_regret() -> None:
    scratch, tuned = RECIPES["demo-gpu-scratch"], RECIPES["demo-gpu"]
    assert scratch.active_losses(0) == tuned.losses.keys() - {"mu_regret"}
    assert scratch.active_losses(scratch.steps * 2 // 3) == tuned.losses.keys()


def test_from_scratch_half_of_the_samples_are_photographs_at_several_sizes_and_some_are_frames_of_videos() -> None:
    scratch = RECIPES["demo-gpu-scratch"]
    assert scratch.source_shares["photographs"] >= 0.5
    assert (min(scratch.patches), max(scratch.patches)) == (128, 384)
    assert CameraModel(**scratch.camera).video_probability > 0


def test_a_late_loss_must_be_among_the_losses() -> None:
    with pytest.raises(InputError, match="mu_mse"):
        Recipe(losses_from={"mu_mse": 0.5})


def test_patch_sizes_take_turns_and_a_step_keeps_its_pixels_however_long_the_run_is() -> None:
    recipe = Recipe(steps=100, batch=8, patch=256, patches=[128, 256, 384])
    assert [recipe.patch_at(step) for step in range(4)] == [128, 256, 384, 128]
    assert [recipe.batch_at(step) for step in range(4)] == [32, 8, 4, 32]
    assert recipe.largest_batch == 32
    longer = replace(recipe, steps=10_000_000)
    assert [longer.patch_at(step) for step in range(99)] == [recipe.patch_at(step) for step in range(99)]


def test_a_run_that_was_begun_when_patches_had_a_field_of_another_name_is_read() -> None:
    older = json.dumps({**json.loads(RECIPES["demo"].to_json()), "patches_from": []})
    assert Recipe.from_json(older) == RECIPES["demo"]


def test_recipes_survive_json() -> None:
    assert Recipe.from_json(RECIPES["demo"].to_json()) == RECIPES["demo"]


@pytest.mark.parametrize(
    "changes",
    [
        {"steps": 0},
        {"batch": 0},
        {"patch": 30},
        {"precision": "int8"},
        {"tone_start": "magic"},
        {"flat_share": -0.1},
        {"flat_share": 1.1},
        {"patches": [128, 30]},
        {"patches": [0]},
        {"patches": [128, 256, 128]},
    ],
)
def test_values_out_of_range_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(InputError):
        replace(RECIPES["paper"], **changes)
