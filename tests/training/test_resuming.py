"""A resumed run is the run that was begun: its settings are its own, and only its length may change."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from dcdr_deploy.errors import InputError
from dcdr_deploy.training.recipe import RECIPES, Recipe
from dcdr_deploy.training.resuming import MAY_CHANGE, RunSettings, data_from_json, settle

RUN = Path("runs/mine")
OWN = RunSettings(Recipe(batch=2, steps=40), 16.0, {"ldr": Path("sdr"), "hdr": Path("hdr"), "data": None, "scenes": 3})
DEFAULTS = RunSettings(Recipe(), 8.0, {"ldr": None, "hdr": None, "data": None, "scenes": 3000})


def wanted(**changes: Any) -> RunSettings:
    recipe = {name: changes.pop(name) for name in list(changes) if name in asdict(DEFAULTS.recipe)}
    peak = changes.pop("peak", DEFAULTS.peak)
    return RunSettings(replace(DEFAULTS.recipe, **recipe), peak, {**DEFAULTS.data, **changes})


def test_what_is_not_given_is_the_run_s_own() -> None:
    settled, notes = settle(OWN, DEFAULTS, (), RUN)
    assert settled == OWN
    assert notes == ()


def test_saying_again_what_the_run_has_changes_nothing() -> None:
    again = wanted(batch=2, steps=40, peak=16.0, ldr=Path("sdr"), hdr=Path("hdr").absolute(), scenes=3)
    settled, notes = settle(OWN, again, ("batch", "steps", "peak", "ldr", "hdr", "scenes"), RUN)
    assert (settled, notes) == (OWN, ())


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("peak", 8.0, r"has peak 16\.0, not 8\.0: leave `peak` out"),
        ("batch", 3, r"has batch 2, not 3"),
        ("learning_rate", 1.0, r"has learning rate 0\.0002, not 1\.0: leave `learning_rate` out"),
        ("seed", 4, r"has seed 0, not 4"),
        ("losses", {"mu_mse": 4.0}, r"has losses tanh_l1 1, perceptual 0\.1, not mu_mse 4"),
        ("scenes", 9, r"has scenes 3, not 9"),
    ],
)
def test_another_value_is_an_error_that_names_both(name: str, value: Any, words: str) -> None:
    with pytest.raises(InputError, match=rf"^the run in runs/mine {words}"):
        settle(OWN, wanted(**{name: value}), (name,), RUN)


def test_a_folder_of_other_pictures_is_an_error_while_the_run_s_own_is_there(tmp_path: Path) -> None:
    for name in ("own", "other"):
        (tmp_path / name).mkdir()
    own = replace(OWN, data={"ldr": tmp_path / "own"})
    with pytest.raises(InputError, match=r"has ldr \S*/own, not \S*/other"):
        settle(own, wanted(ldr=tmp_path / "other"), ("ldr",), RUN)
    (tmp_path / "own").rmdir()
    settled, notes = settle(own, wanted(ldr=tmp_path / "other"), ("ldr",), RUN)
    assert settled.data["ldr"] == tmp_path / "other"
    assert notes == (f"runs/mine goes on with ldr {tmp_path / 'other'}; {tmp_path / 'own'} is gone",)


def test_only_the_length_may_change_and_that_is_said() -> None:
    settled, notes = settle(OWN, wanted(steps=60), ("steps",), RUN)
    assert settled.recipe == replace(OWN.recipe, steps=60)
    assert notes == ("runs/mine goes on with steps 60 instead of 40",)
    assert MAY_CHANGE == ("steps",)


def test_a_recipe_by_name_stands_for_all_its_fields() -> None:
    own = replace(OWN, recipe=RECIPES["demo"])
    assert settle(own, replace(DEFAULTS, recipe=RECIPES["demo"]), ("recipe",), RUN)[0].recipe == RECIPES["demo"]
    with pytest.raises(InputError, match="the run in runs/mine has"):
        settle(own, DEFAULTS, ("recipe",), RUN)


@pytest.mark.parametrize(
    ("changes", "given", "option"),
    [
        ({"losses": {"tanh_l1": 1.0}}, ("losses", "perceptual"), "perceptual"),
        ({"preset": "hdrunet"}, ("preset",), "preset"),
        ({"preset": "hdrunet"}, ("recipe",), "recipe"),
        ({"losses": {"tanh_l1": 1.0}}, ("recipe",), "recipe"),
        ({"losses": {"tanh_l1": 1.0}}, ("recipe", "losses", "perceptual"), "perceptual"),
        ({"preset": "hdrunet"}, ("recipe", "preset"), "preset"),
    ],
)
def test_the_option_to_leave_out_is_one_that_was_given(
    changes: dict[str, Any], given: tuple[str, ...], option: str
) -> None:
    own = replace(OWN, recipe=DEFAULTS.recipe)
    with pytest.raises(InputError, match=rf"leave `{option}` out"):
        settle(own, wanted(**changes), given, RUN)


def test_a_run_of_an_older_version_takes_the_data_named_now() -> None:
    settled, notes = settle(replace(OWN, data={}), wanted(ldr=Path("sdr")), ("ldr",), RUN)
    assert settled.data["ldr"] == Path("sdr")
    assert notes == ()


def test_the_data_survive_the_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = {"data": None, "panoramas": (Path("a"), tmp_path / "b"), "ldr": Path("sdr"), "scenes": 7, "split": "train"}
    text = replace(OWN, data=data).data_as_json()
    assert data_from_json(text) == {**data, "panoramas": (tmp_path / "a", tmp_path / "b"), "ldr": tmp_path / "sdr"}


@pytest.mark.parametrize(
    "text", ['{"output": "elsewhere"}', '{"split": 5}', '{"panoramas": null}', '{"scenes": "many"}', '{"photos": "a"}']
)
def test_a_checkpoint_sets_nothing_but_the_data_of_its_run(text: str) -> None:
    with pytest.raises(ValueError, match="its data name"):
        data_from_json(text)
