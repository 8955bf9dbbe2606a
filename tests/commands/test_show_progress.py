"""Progress as people see it: one bar on a terminal, lines elsewhere, notes in any case."""

from __future__ import annotations

import io
import re
import sys
import time
from collections.abc import Callable

import pytest
from screen import Screen

from dcdr_deploy.commands.show import evaluate, train
from dcdr_deploy.commands.show.meter import BAR, CAPTION, COUNT, ELAPSED, NAME
from dcdr_deploy.commands.show.progress import Bar, Display, stage_line
from dcdr_deploy.system.progress import Event
from dcdr_deploy.training.events import TRAINING, StepDone


def screen_for(monkeypatch: pytest.MonkeyPatch, columns: int = 100, encoding: str = "utf-8") -> Screen:
    """Make stderr a terminal; to be called by the test itself, as pytest sets the stream anew after fixtures."""
    made = Screen(columns, encoding)
    monkeypatch.setattr(sys, "stderr", made)
    monkeypatch.setenv("COLUMNS", str(columns))
    return made


def wait_for(holds: Callable[[], bool]) -> None:
    """Wait until something holds, up to half a minute."""
    end = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_stages_are_lines_and_their_steps_pass_in_silence(capsys):
    with Display(NAME, BAR, lines=stage_line) as shown:
        for event in (Event("building"), Event("tactics", 1, 2), Event(note="slow\x1b[2J")):
            shown(event)
    assert capsys.readouterr().err.splitlines() == ["building ...", "note: slow\\x1b[2J"]


def test_without_columns_a_terminal_gets_lines_too(monkeypatch):
    screen = screen_for(monkeypatch)
    with Display(lines=stage_line) as shown:
        shown(Event("exporting"))
    assert screen.rows == ["exporting ...", ""]


def test_on_a_terminal_the_bar_follows_stage_and_steps(monkeypatch):
    screen = screen_for(monkeypatch)
    with Display(NAME, COUNT, BAR, lines=stage_line) as shown:
        shown(Event("building"))
        assert re.fullmatch(r"building 0/\? \| *████ *\|", screen.rows[-1])
        shown(Event("tactics", 1, 2))
        shown.line("")
        assert screen.rows[-1] == f"tactics 1/2 |{'█' * 20}{' ' * 20}|"
        shown(Event(done=2, total=2))  # the stage is what it was
        shown.line("")
        assert screen.rows[-1] == f"tactics 2/2 |{'█' * 40}|"
    assert "building ..." not in screen.getvalue()


def test_a_line_is_printed_above_the_bar_and_the_bar_comes_back(monkeypatch):
    screen = screen_for(monkeypatch)
    with Display(NAME, COUNT) as shown:
        shown(Event("a rather long name of something", 1, 2))
        shown.line("first")
        shown(Event("b", 2, 2, note="second"))
        assert screen.rows[:2] == ["first", "note: second"]
        wait_for(lambda: screen.rows[2] == "b 2/2")
    assert screen.rows == ["first", "note: second", ""]


def test_a_result_is_printed_on_stdout_while_the_bar_is_away(monkeypatch):
    screen = screen_for(monkeypatch)
    seen = []

    class Results(io.StringIO):
        def write(self, text: str) -> int:
            seen.append(screen.rows)
            return super().write(text)

    monkeypatch.setattr(sys, "stdout", Results())
    with Display(NAME) as shown:
        shown(Event("work", 1, 2))
        shown.line("result", err=False)
        assert screen.rows == ["work"]
        assert sys.stdout.getvalue() == "result\n"
    assert seen
    assert all(rows == [""] for rows in seen)


@pytest.mark.parametrize("keep", [False, True])
def test_a_bar_that_is_kept_leaves_its_last_state_and_others_leave_nothing(monkeypatch, keep):
    screen = screen_for(monkeypatch)
    bar = Bar(NAME, COUNT, keep=keep)
    bar.draw("work", 0, 2)
    bar.draw("work", 2, 2)
    bar.close()
    assert screen.rows == (["work 2/2", ""] if keep else [""])


@pytest.mark.parametrize("columns", [100, 30])
def test_what_ctrl_c_echoes_goes_with_the_bar(monkeypatch, columns):
    screen = screen_for(monkeypatch, columns)
    with Display(NAME, BAR, COUNT) as shown:
        shown(Event("work", 100, 200))
        screen.write("^C")
    assert screen.rows == [""]


def test_the_clock_goes_on_while_nothing_is_told(monkeypatch):
    screen = screen_for(monkeypatch)
    with Display(NAME, ELAPSED) as shown:
        shown(Event("building"))
        begun = screen.rows
        assert re.fullmatch(r"building 00:\d\d", *begun)
        wait_for(lambda: screen.rows != begun)
        assert re.fullmatch(r"building 00:\d\d", *screen.rows)


def test_a_closed_bar_is_drawn_no_more_and_can_be_opened_again(monkeypatch):
    screen = screen_for(monkeypatch)
    with Display(NAME, COUNT) as shown:
        shown(Event("first", 1, 1))
        shown._bar.close()
        shown.line("done")
        assert screen.rows == ["done", ""]
        shown(Event("second", 0, 2))
        assert screen.rows == ["done", "second 0/2"]
    assert screen.rows == ["done", ""]


def test_names_cannot_command_the_terminal(monkeypatch):
    screen = screen_for(monkeypatch)
    with Display(NAME, CAPTION, caption=lambda event: "{0}\n") as shown:
        shown(Event("\x1b[2J{x}", 1, 2))
        assert screen.rows == ["\\x1b[2J{x} {0}\\n"]


def test_a_terminal_without_blocks_gets_a_bar_of_other_characters(monkeypatch):
    screen = screen_for(monkeypatch, encoding="ascii")
    with Display(BAR) as shown:
        shown(Event("work", 1, 2))
        assert screen.rows == [f"|{'#' * 20}{' ' * 20}|"]
        shown(Event("work"))
        shown.line("")
        assert "####" in screen.rows[-1]
        assert screen.getvalue().isascii()


def test_evaluate_tells_about_ten_lines_and_the_last(capsys):
    with evaluate.display() as shown:
        for done in range(26):
            shown(Event("" if not done else f"p{done}", done, 25))
    assert capsys.readouterr().err.splitlines() == [f"{n}/25 p{n}" for n in [*range(2, 25, 2), 25]]


def test_train_tells_figures_and_the_time_left_every_hundredth_of_the_run(capsys):
    with train.display() as shown:
        shown(Event(TRAINING, 0, 200))
        for step in range(1, 5):
            shown(StepDone(TRAINING, step, 200, loss=0.5, psnr_mu=20, seconds=60.0 * step))
    assert capsys.readouterr().err.splitlines() == [
        "step 2/200  loss 0.50000  PSNR-mu 20.00 dB  ETA 198 min",
        "step 4/200  loss 0.50000  PSNR-mu 20.00 dB  ETA 196 min",
    ]
