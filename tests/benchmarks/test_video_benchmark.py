"""What the benchmark of videos compares: the same frames alone and in a run, each second in one stage."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

pytest.importorskip("av")

import video


def test_a_run_gets_the_frames_that_were_timed_alone():
    assert video.to_and_fro(3, 8) == [0, 1, 2, 1, 0, 1, 2, 1]
    assert video.to_and_fro(1, 3) == [0, 0, 0]


def test_a_stage_within_another_counts_for_itself_alone(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(video, "time", SimpleNamespace(perf_counter=lambda: now[0], process_time=lambda: 2 * now[0]))
    clock = video.Clock()

    def passes(seconds):
        now[0] += seconds

    def outer():
        passes(1)
        clock.time("mean", lambda: passes(10))
        passes(2)

    clock.time("light", outer)
    assert clock.wall == {"light": 3, "mean": 10}
    assert clock.processor == {"light": 6, "mean": 20}
    assert clock.frames == {"light": 1, "mean": 1}
