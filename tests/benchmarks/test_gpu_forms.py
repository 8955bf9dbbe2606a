"""What the comparison of a frame's forms says of times and of wrong results."""

from __future__ import annotations

from dataclasses import replace

import pytest

pytest.importorskip("torch")
import gpu_forms as script

from dcdr_deploy.engines.cuda.launches import Form
from dcdr_deploy.engines.cuda.measures import CUTS, by_table

SMALL, LARGE = (1, 540, 960), (1, 2160, 3840)


def times(separate: float, fewest: float, others: float = 23.0) -> dict[str, float]:
    between = dict.fromkeys(list(CUTS)[1:-1], others)
    return {script.SEPARATE: separate, **between, script.FEWEST: fewest}


def test_the_first_form_is_one_launch_each_and_the_last_has_all_changes():
    forms = {name: replace(by_table(90), cut=name).form for name in CUTS}
    first, *_, last = forms
    assert (first, last) == (script.SEPARATE, script.FEWEST)
    assert forms[script.SEPARATE] == Form()
    assert forms[script.FEWEST].tile
    assert forms[script.FEWEST].hidden_together
    assert len(set(forms.values())) == len(forms)


def test_fewer_launches_that_are_faster_everywhere_are_recommended():
    said = script.verdict(90, {SMALL: times(1.6, 1.5), LARGE: times(23.3, 22.5)}, right=True)
    assert "22.50 ms for 23.30" in said
    assert "90 belongs into measures.FEWER_LAUNCHES" in said


@pytest.mark.parametrize(
    ("found", "where"),
    [
        ({SMALL: times(1.5, 1.6), LARGE: times(23.3, 22.5)}, "[(1, 540, 960)]"),
        ({SMALL: times(1.6, 1.5), LARGE: times(23.3, 22.5, others=22.0)}, "no size"),
    ],
)
def test_what_is_not_fastest_everywhere_is_left_to_people(found, where):
    said = script.verdict(90, found, right=True)
    assert f"slower than one each at {where}" in said
    assert "belongs" not in said


def test_wrong_results_recommend_nothing_however_fast():
    assert "belongs" not in script.verdict(90, {LARGE: times(23.3, 1.0)}, right=False)
