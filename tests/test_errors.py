"""Errors on their way between processes: the nearest class of the family, and the sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from dcdr_deploy.errors import DcdrError, EngineOutOfMemory, InputError, NonFiniteError, kind_of, of_kind


class OfAnotherModule(InputError):
    """What a room of the package makes of one."""


@pytest.mark.parametrize("error", [EngineOutOfMemory("no room"), NonFiniteError("NaN", tile=3), DcdrError("odd")])
def test_an_error_is_made_again_by_its_kind_and_its_sentence(error: DcdrError) -> None:
    again = of_kind(kind_of(error), str(error))
    assert (type(again), str(again)) == (type(error), str(error))


def test_one_of_another_module_comes_as_its_nearest_relative() -> None:
    assert kind_of(OfAnotherModule("a.png is damaged")) == "InputError"


@pytest.mark.parametrize("kind", ["KeyError", "kind_of", Path(__file__).name])
def test_a_kind_that_nobody_knows_is_an_error_all_the_same(kind: str) -> None:
    assert type(of_kind(kind, "sentence")) is DcdrError
