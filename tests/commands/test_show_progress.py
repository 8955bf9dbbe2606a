"""Progress as people see it: one bar on a terminal, lines elsewhere, notes in any case."""

from __future__ import annotations

import io
import sys

import pytest

from dcdr_deploy.commands.show import evaluate, train
from dcdr_deploy.commands.show.progress import BAR, NAME, Bar, Display, stage_line
from dcdr_deploy.system.progress import Event
from dcdr_deploy.training.events import TRAINING, StepDone


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def terminal_for(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Make stderr a terminal; to be called by the test itself, as pytest sets the stream anew after fixtures."""
    made = Terminal()
    monkeypatch.setattr(sys, "stderr", made)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    return made


def test_stages_are_lines_and_their_steps_pass_in_silence(capsys):
    with Display(NAME, BAR, lines=stage_line) as shown:
        for event in (Event("building"), Event("tactics", 1, 2), Event(note="slow\x1b[2J")):
            shown(event)
    assert capsys.readouterr().err.splitlines() == ["building ...", "note: slow\\x1b[2J"]


def test_without_columns_a_terminal_gets_lines_too(monkeypatch):
    terminal = terminal_for(monkeypatch)
    with Display(lines=stage_line) as shown:
        shown(Event("exporting"))
    assert terminal.getvalue() == "exporting ...\n"


def test_on_a_terminal_the_bar_follows_stage_and_steps(monkeypatch):
    terminal = terminal_for(monkeypatch)
    with Display(NAME, BAR, lines=stage_line) as shown:
        assert shown._bar is not None
        shown(Event("building"))
        assert shown._bar.state == ("building", 0, None)
        shown(Event("tactics", 1, 2))
        shown(Event(done=2, total=2))  # the stage is what it was
        assert shown._bar.state == ("tactics", 2, 2)
    assert "building ..." not in terminal.getvalue()
    assert "tactics" in terminal.getvalue()


def test_a_line_is_printed_above_the_bar_and_the_bar_comes_back(monkeypatch):
    terminal_for(monkeypatch)
    bar = Bar(NAME, BAR)
    bar.draw("work", 1, 2)
    with bar.aside():
        assert not bar._progress.live.is_started
    assert bar._progress.live.is_started
    bar.close()


def test_a_bar_that_is_kept_leaves_its_last_state(monkeypatch):
    terminal = terminal_for(monkeypatch)
    for keep in (False, True):
        terminal.truncate(0)
        bar = Bar(NAME, BAR, keep=keep)
        bar.draw("work", 2, 2)
        bar.close()
        erased = "\x1b[2K" in terminal.getvalue().rpartition("work")[2]  # the line is cleared after it was drawn last
        assert erased is not keep


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
