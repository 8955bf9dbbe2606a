"""Shared by the tests of the run path: a tiny model, pictures, and the command line in an empty working directory."""

from __future__ import annotations

import gc
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from click.testing import CliRunner, Result
from crashed_workers import pytest_handlecrashitem, pytest_xdist_make_scheduler
from gain_net import write_gain_net
from PIL import Image
from small_models import make_model, model_file

from dcdr_deploy.system.interrupts import SIGNALS

__all__ = ["make_model", "model_file", "pytest_handlecrashitem", "pytest_xdist_make_scheduler"]

# How long an example takes is a matter of the machine, not of what holds.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")

MakeModel = Callable[..., Path]
MakePicture = Callable[..., Path]
Dcdr = Callable[..., Result]


HANDLERS = {number: signal.getsignal(number) for number in SIGNALS}


TESTS = Path(__file__).parent
LONG_FOLDERS = {"commands", "engines/cuda", "export", "run/video", "serving", "view"}
"""Whose files take long by many tests, none of which is slow; of other folders those are long that have slow tests."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first: workers that take file after file then end together, with the short ones.

    At the very end those with a Ray cluster, whose threads and handlers of fatal signals stay in a process.
    """
    long = {item.path for item in items if item.get_closest_marker("slow")}
    long |= {item.path for item in items if item.path.parent.relative_to(TESTS).as_posix() in LONG_FOLDERS}
    clusters = {item.path for item in items if "ray" in getattr(item, "fixturenames", ())}
    items.sort(key=lambda item: (item.path in clusters, item.path not in long))


def pytest_collection_finish() -> None:
    """What was imported stays: the collector of garbage need not look through it again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def signals_as_before() -> Iterator[None]:
    """A command takes its process's signals and, once interrupted, ignores them to the end, which here does not come.

    Processes that later tests start would inherit that. What fixtures of a session run counts as well.
    """
    yield
    for number, handler in HANDLERS.items():
        if handler is not None:  # None: set by other than Python, which cannot set it back
            signal.signal(number, handler)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The gain net as a file."""
    pytest.importorskip("onnx")
    return write_gain_net(tmp_path_factory.mktemp("tiny") / "gain.onnx")


@pytest.fixture
def write_tiny_model() -> MakeModel:
    """``write_tiny_model(path, gain=..., stored=..., channels=...)``."""
    pytest.importorskip("onnx")
    return write_gain_net


@pytest.fixture
def make_picture() -> MakePicture:
    """``make_picture(path, level=51, size=(24, 32))``: a gray picture with one black pixel, in its suffix's format."""

    def make(path: Path, level: int = 51, size: tuple[int, int] = (24, 32)) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.full((*size, 3), level, np.uint8)
        pixels[0, 0] = 0
        Image.fromarray(pixels).save(path)
        return path

    return make


@pytest.fixture
def dcdr(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Dcdr:
    """``dcdr("run", "a.png", "a.exr")``: the command line, in this process and in an empty working directory."""
    from dcdr_deploy.cli import main

    monkeypatch.delenv("DCDR_MODEL", raising=False)
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> Result:
        return CliRunner().invoke(main, [str(argument) for argument in arguments])

    return call
