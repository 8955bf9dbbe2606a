"""What a resumed run is: the one that was begun, whatever options it is resumed with.

A run's peak, batch, rates, losses, seed and data are its own. Who resumes it need not repeat them, and cannot change
them by accident: an option that says something else is an error that names both values. Only its length may change.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import UnionType
from typing import Any

from dcdr_deploy.errors import InputError
from dcdr_deploy.training.recipe import Recipe

MAY_CHANGE = ("steps",)
"""Fields of a recipe that a run may go on with another value of."""

RECIPE = "recipe"
PATHS = ("data", "ldr", "hdr", "panoramas", "photos", "lists")
"""Settings of the data that name files or folders, one or several."""

SOURCES: Mapping[str, type | UnionType] = {
    **dict.fromkeys(("data", "ldr", "hdr"), str | None),
    **dict.fromkeys(("panoramas", "photos", "lists"), list),
    "split": str,
    "scenes": int,
}
"""All settings of the data, and what JSON holds of each."""


@dataclass(frozen=True)
class RunSettings:
    """What makes a run the run it is.

    Attributes:
        recipe: its recipe.
        peak: full scale of targets in units of SDR white.
        data: what its samples are drawn from, by the request's field names; empty where a run of an older version does
            not say.
    """

    recipe: Recipe
    peak: float
    data: Mapping[str, Any]

    def data_as_json(self) -> str:
        """One line of JSON; folders by their whole path, so that a run may be resumed from another one."""
        return json.dumps({name: _plain(name, value) for name, value in self.data.items()}, sort_keys=True)


def settle(
    own: RunSettings, wanted: RunSettings, given: Collection[str], folder: Path
) -> tuple[RunSettings, tuple[str, ...]]:
    """Decide what a resumed run goes on with.

    Args:
        own: as its checkpoint says.
        wanted: as the options say, defaults included.
        given: names of the settings that the user gave: fields of the recipe, ``"recipe"`` for a recipe by name,
            ``"peak"``, and names of ``data``.
        folder: of the run, for messages.

    Returns:
        The settings, and sentences about what is new.

    Raises:
        InputError: a setting was given another value, and is not one that may change.
    """
    notes = []
    fields = asdict(own.recipe).keys() if RECIPE in given else [name for name in asdict(own.recipe) if name in given]
    recipe = own.recipe
    for name in fields:
        before, after = getattr(own.recipe, name), getattr(wanted.recipe, name)
        if before == after:
            continue
        if name not in MAY_CHANGE:
            raise _differs(folder, name, before, after, _option(name, given))
        recipe = replace(recipe, **{name: after})
        notes.append(f"{folder} goes on with {_words(name)} {after} instead of {before}")
    if "peak" in given and wanted.peak != own.peak:
        raise _differs(folder, "peak", own.peak, wanted.peak, "peak")
    data = dict(wanted.data)
    for name, value in own.data.items():
        before, after = _plain(name, value), _plain(name, wanted.data.get(name))
        if name not in given or before == after:
            data[name] = value
        elif name in PATHS and not all(path.exists() for path in _paths(value)):
            notes.append(f"{folder} goes on with {_words(name)} {_shown(after)}; {_shown(before)} is gone")
        else:
            raise _differs(folder, name, before, after, name)
    return RunSettings(recipe, own.peak, data), tuple(notes)


def data_from_json(text: str) -> dict[str, Any]:
    """Inverse of :meth:`RunSettings.data_as_json`.

    Raises:
        ValueError: it is no JSON, or no settings of the data.
        TypeError: likewise.
    """
    stored: dict[str, Any] = json.loads(text)
    for name, value in stored.items():
        if name not in SOURCES or not isinstance(value, SOURCES[name]):
            raise ValueError(f"its data name {name!r} as {type(value).__name__}")
    return {name: _restored(name, value) for name, value in stored.items()}


def _option(name: str, given: Collection[str]) -> str:
    """What the user gave that sets a field of the recipe: its own option, one that stands for it, or the recipe."""
    option = "perceptual" if name == "losses" else name
    return RECIPE if option not in given and RECIPE in given else option


def _differs(folder: Path, name: str, before: Any, after: Any, option: str) -> InputError:
    return InputError(
        f"the run in {folder} has {_words(name)} {_shown(before)}, not {_shown(after)}: leave `{option}` out to go on "
        "with it, or start another run in another folder"
    )


def _words(name: str) -> str:
    return name.replace("_", " ")


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {each:g}" for name, each in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)


def _plain(name: str, value: Any) -> Any:
    """A setting as JSON holds it."""
    if name not in PATHS or value is None:
        return value
    several = isinstance(value, list | tuple)
    plain = [str(path.absolute()) for path in _paths(value)]
    return plain if several else plain[0]


def _paths(value: Any) -> list[Path]:
    if value is None:
        return []
    return [Path(each) for each in value] if isinstance(value, list | tuple) else [Path(value)]


def _restored(name: str, value: Any) -> Any:
    if name not in PATHS or value is None:
        return value
    return tuple(map(Path, value)) if isinstance(value, list) else Path(value)
