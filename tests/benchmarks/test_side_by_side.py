"""benchmarks/side_by_side.py trains several networks at a time, step by step together."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from shared_samples import SharedSamples, draw, lay_out
from side_by_side import LEAD, NEVER, OUTCOME, PREDICTIONS, Board, Job, Pacer, train_one
from table1_networks import TINY

from dcdr_deploy.errors import InputError
from dcdr_deploy.models import ARCHITECTURES
from dcdr_deploy.training.recipe import Recipe
from dcdr_deploy.training.synthetic import Sample

PATCH = 32


class Noise:
    """A source of samples that says which is which, and that not all of them are known."""

    def sample(self, index: int) -> Sample:
        ldr = np.full((PATCH, PATCH, 3), index, np.uint8)
        known = np.ones((PATCH, PATCH), bool)
        known[0, 0] = index % 2
        return Sample(ldr, np.full((PATCH, PATCH, 3), index * 1000, np.uint16), None if index == 4 else known)


class Broken:
    def sample(self, index: int) -> Sample:
        raise ValueError("no light")


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    folder = tmp_path / "samples"
    lay_out(folder, 12, PATCH, processes=2)
    draw(folder, Noise)
    return folder


def test_samples_are_drawn_once_in_their_order_and_repeat(samples: Path):
    data = SharedSamples(samples)
    assert len(data) == 12
    for index in (0, 3, 4, 11, 12 + 3):
        x, y = data[index]
        assert x.shape == y.shape == (3, PATCH, PATCH)
        assert x[0, 5, 5] == pytest.approx(index % 12 / 255)
        assert y[0, 5, 5] == pytest.approx(index % 12 * 1000 / 65535)
    assert data[2][1][:, 0, 0].isnan().all()
    assert not data[3][1].isnan().any()
    assert not data[4][1].isnan().any()


def test_who_waits_for_samples_that_cannot_be_drawn_is_told_why(tmp_path: Path):
    folder = tmp_path / "samples"
    lay_out(folder, 4, PATCH, processes=1)
    with pytest.raises(RuntimeError, match="ended with code"):
        draw(folder, Broken)
    with pytest.raises(InputError, match="samples cannot be drawn: a process that draws samples ended with code 1"):
        SharedSamples(folder)[0]


def test_nobody_waits_for_runs_that_have_ended_or_are_excused():
    board = Board(3)
    for slot, step in enumerate((5, 9, 2)):
        board.tell(slot, step)
    assert board.slowest == 2
    board.excuse(2, True)
    assert (board.slowest, board.behind) == (5, {2: 2})
    board.tell(0, NEVER)
    assert board.slowest == 9
    board.tell(1, NEVER)
    assert board.slowest == NEVER


def test_the_plan_is_what_fits_the_time_at_the_pace_seen_after_the_warm_up():
    pacer = Pacer(end=100.0)
    assert pacer.planned(0.0, 0) == 0
    assert [pacer.planned(now, step) for now, step in ((10.0, 1), (14.0, 2), (15.0, 3))] == [0, 0, 0]
    for step in range(4, 40):
        plan = pacer.planned(15.0 + (step - 3) * 0.5, step)
    assert plan == pytest.approx(39 + 67 / 0.5 * 0.97, abs=2)


def test_a_plan_past_which_the_rate_falls_only_shrinks():
    pacer = Pacer(end=100.0)
    for step in range(1, 60):
        plan = pacer.planned(float(step), step)
    assert 95 <= plan <= 100
    for step in range(60, 90):  # twice as fast from here on
        later = pacer.planned(60 + (step - 60) / 2, step)
    assert later == plan
    for step in range(90, 94):  # and then much slower
        last = pacer.planned(75 + (step - 90) * 4, step)
    assert last <= plan


@pytest.fixture
def jobs(samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    for name in ("fhdr", "kunet"):
        monkeypatch.setitem(ARCHITECTURES, name, replace(ARCHITECTURES[name], presets={name: TINY[name]}))
    pictures = tmp_path / "pictures.npz"
    ldr = np.random.default_rng(0).integers(0, 256, (2, 64, 32, 3), np.uint8)
    np.savez(pictures, ldr0=ldr[0], truth0=ldr[0] / 255, ldr1=ldr[1])
    recipe = Recipe(steps=NEVER, batch=1, patch=PATCH, losses={"mu_l1": 1.0}, average=0.9)
    return [
        Job(name, replace(recipe, preset=name), tmp_path / name, samples, pictures, 8.0, "cpu")
        for name in ("fhdr", "kunet")
    ]


def outcome(job: Job) -> dict:
    return json.loads((job.folder / OUTCOME).read_text())


def test_runs_go_together_to_the_planned_step_and_leave_what_they_make_of_the_pictures(jobs: list[Job]):
    board, apart = Board(2), []
    told = board.tell

    def tell(slot: int, step: int) -> None:
        told(slot, step)
        steps = board.steps
        if len(steps) == 2:
            apart.append(abs(steps[0] - steps[1]))

    board.tell = tell
    board.plan = 12
    runs = [threading.Thread(target=train_one, args=(job, board, slot)) for slot, job in enumerate(jobs)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert max(apart) <= LEAD + 1
    for job in jobs:
        assert outcome(job)["step"] == 12
        assert outcome(job)["complete"]
        with np.load(job.folder / PREDICTIONS) as found:
            assert sorted(found.files) == ["0", "1"]
            assert found["1"].shape == (64, 32, 3)


def test_a_run_that_fails_leaves_the_other_alone_and_says_why(jobs: list[Job], capsys: pytest.CaptureFixture[str]):
    board = Board(2)
    board.plan = 7
    failing = replace(jobs[0], recipe=replace(jobs[0].recipe, losses={"perceptual": 1.0}))
    train_one(failing, board, 0)
    train_one(jobs[1], board, 1)
    assert "VGG19" in outcome(failing)["note"]
    assert "step" not in outcome(failing)
    assert "Traceback" in capsys.readouterr().err
    assert outcome(jobs[1])["step"] == 7


def test_a_run_that_time_cut_short_goes_on_to_the_plan(jobs: list[Job]):
    job = jobs[1]
    board = Board(1)
    board.plan = 9
    board.stop()
    train_one(job, board, 0)
    assert (outcome(job)["step"], outcome(job)["complete"]) == (1, False)
    board = Board(1)
    board.plan = 9
    train_one(job, board, 0)
    assert (outcome(job)["step"], outcome(job)["complete"]) == (9, True)
