"""Many processes judge as one does, whole rows are kept, and only the process that asked for it holds a network."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from held_out import HeldOutPicture, PanoramaView, panorama_sources
from judgement import PLAIN, compared
from judging import Judged, Settings, Task, judge

from dcdr_deploy.engines import Engine, load_engine
from dcdr_deploy.run.restore import restore
from dcdr_deploy.run.runner import Runner

HDRI = Path(__file__).parents[2] / "data" / "hdri"
SETTINGS = Settings(everything=True, largest=48)


def tasks(count: int) -> list[Task]:
    return [Task("views", source, 48, "plain") for source in panorama_sources([HDRI], "validation", count)]


@dataclass(frozen=True)
class Nothing:
    """A source of no picture."""

    def render(self, size: int, camera: str) -> None:
        return None


@dataclass(frozen=True)
class Broken:
    """A source that fails."""

    def render(self, size: int, camera: str) -> HeldOutPicture:
        raise ValueError("no such place")


@dataclass(frozen=True)
class Dying:
    """A source that takes its process along."""

    def render(self, size: int, camera: str) -> HeldOutPicture:
        os._exit(3)


def test_many_processes_find_what_one_finds(tiny_model: Path) -> None:
    wanted = tasks(5)
    found = {
        each.name: each.figures
        for each in judge(wanted, lambda: {"a": load_engine(tiny_model), "b": load_engine(tiny_model)}, SETTINGS, 2)
    }
    assert len(found) == len(wanted)
    with load_engine(tiny_model) as engine:
        runner = Runner(engine, tile=None)
        for task in wanted:
            assert isinstance(task.source, PanoramaView)
            picture = task.source.render(task.size, task.camera)
            here = compared(picture, {"a": lambda ldr: restore(ldr, runner).linear}, True, baselines=True)
            there = found[picture.name]
            assert there is not None
            assert there["b"] == there["a"] == pytest.approx(here["a"], nan_ok=True)
            assert there[PLAIN] == pytest.approx(here[PLAIN])
            assert len(there) == len(here) + 1


def test_workers_begin_before_the_networks_are_loaded_and_these_are_loaded_once(tiny_model: Path) -> None:
    calls: list[int] = []

    def load() -> Mapping[str, Engine]:
        calls.append(os.getpid())
        return {"a": load_engine(tiny_model)}

    assert len(list(judge(tasks(3), load, SETTINGS, 3))) == 3
    assert calls == [os.getpid()]


def test_a_picture_that_does_not_exist_at_a_size_has_no_figures(tiny_model: Path) -> None:
    (found,) = judge([Task("none", Nothing(), 48, "plain")], lambda: {}, SETTINGS, 1)  # type: ignore[arg-type]
    assert found == Judged(Task("none", Nothing(), 48, "plain"))  # type: ignore[arg-type]


@pytest.mark.parametrize(("source", "message"), [(Broken(), "no such place"), (Dying(), "ended by itself")])
def test_a_worker_that_fails_ends_the_run_with_its_reason(source: object, message: str) -> None:
    with pytest.raises(RuntimeError, match=message):
        list(judge([Task("bad", source, 48, "plain")], lambda: {}, SETTINGS, 1))  # type: ignore[arg-type]


@pytest.mark.parametrize(("scale", "edge"), [("auto", 768), ("native", 1536), (512, 512)])
def test_shared_memory_holds_the_largest_working_picture(scale: str | int, edge: int) -> None:
    settings = Settings(scale=scale, largest=1536)  # type: ignore[arg-type]
    assert np.prod((edge, edge, 3)) * 4 <= settings.buffer_bytes() < np.prod((edge + 80, edge + 80, 3)) * 4
