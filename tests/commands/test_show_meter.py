"""The line of a bar: what it says, and what gives way where it has little room."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from screen import Screen

from dcdr_deploy.commands.show.meter import (
    BAR,
    CAPTION,
    COUNT,
    ELAPSED,
    LEFT,
    NAME,
    PERCENT,
    REMAINING,
    Work,
)

RUN = (CAPTION, NAME, BAR, PERCENT, ELAPSED, LEFT, REMAINING)


def line(work: Work, columns: tuple[str, ...], now: float = 0.0, width: int = 100) -> str:
    return work.line(columns, now, width, ascii_only=False)


def half_done(name: str, caption: str) -> Work:
    """Half of four files after a minute."""
    work = Work(0.0, name, caption)
    work.follow(0, 4, 0.0)
    work.follow(2, 4, 60.0)
    return work


def test_every_column_says_what_it_is_named_for():
    work = half_done("c.png", "3/4")
    assert line(work, RUN, 60.0) == f"3/4 c.png |{'█' * 20}{' ' * 20}|  50% 01:00 left 01:00"
    assert line(work, (COUNT,)) == "2/4"


def test_counts_are_as_wide_as_their_total():
    work = Work(0.0)
    work.follow(7, 1000, 0.0)
    assert line(work, (COUNT,)) == "   7/1000"


def test_what_is_left_goes_by_the_speed_since_the_total_was_told():
    work = Work(0.0)
    work.follow(5000, 20000, 10.0)  # by an earlier run
    assert line(work, (REMAINING,), 10.0) == "?"
    work.follow(5100, 20000, 110.0)
    assert line(work, (REMAINING,), 110.0) == "4:08:20"
    assert line(work, (REMAINING,), 150.0) == "4:08:20"  # nothing new is known


def test_another_stage_and_a_new_start_have_a_speed_of_their_own():
    work = Work(0.0)
    work.follow(0, 10, 0.0)
    work.follow(10, 10, 1.0)
    work.follow(0, 20, 1.0)
    work.follow(1, 20, 11.0)
    assert line(work, (REMAINING,), 11.0) == "03:10"
    work.follow(10, 30, 20.0)
    work.follow(4, 30, 21.0)  # once more from an earlier one on
    work.follow(6, 30, 23.0)
    assert line(work, (REMAINING,), 23.0) == "00:24"


def test_the_time_is_that_of_the_stage_and_its_steps():
    work = Work(0.0)
    work.follow(0, None, 5.0)
    work.follow(1, 2, 10.0)
    work.follow(1, 3, 15.0)
    assert line(work, (ELAPSED,), 70.0) == "01:05"
    work.follow(0, None, 80.0)
    assert line(work, (ELAPSED,), 81.0) == "00:01"


def test_what_goes_beyond_its_end_is_a_full_bar():
    work = Work(0.0)
    work.follow(0, 4, 0.0)
    work.follow(5, 4, 10.0)
    assert line(work, (COUNT, BAR, PERCENT, REMAINING), 10.0) == f"5/4 |{'█' * 40}| 100% 00:00"


def test_where_the_end_is_not_known_something_moves():
    work = Work(0.0)
    lines = [line(work, (BAR,), moment / 10) for moment in range(100)]
    assert {len(each) for each in lines} == {22}
    assert {each.strip("|").index("█") for each in lines} == set(range(17))


@pytest.mark.parametrize(
    ("width", "shown"),
    [
        (95, f"4/7 forest-tree-by-noon.png |{'█' * 20}{' ' * 20}|  50% 01:00 left 01:00"),
        (57, f"4/7 forest-tree-by-noon.png |{'█' * 2}▌  |  50% 01:00 left 01:00"),
        (47, f"4/7 forest-tre... |{'█' * 2}▌  |  50% 01:00 left 01:00"),
        (44, f"4/7 forest-tree-b... |{'█' * 2}▌  |  50% left 01:00"),
        (35, "4/7 forest-tree-...  50% left 01:00"),
        (25, "4/7  50% left 01:00"),
        (10, "4/7  50%"),
        (5, "4/7  "),
    ],
)
def test_on_narrow_terminals_the_least_important_gives_way_first(width, shown):
    assert line(half_done("forest-tree-by-noon.png", "4/7"), RUN, 60.0, width) == shown


@given(st.text(alphabet="ab絵 .{}%", max_size=60), st.text(alphabet="a1/絵 ", max_size=60), st.integers(1, 140))
def test_a_line_never_needs_more_room_than_there_is(name, caption, width):
    screen = Screen(width)
    screen.write(line(half_done(name, caption), RUN, 60.0, width))
    assert len(screen.rows) == 1
