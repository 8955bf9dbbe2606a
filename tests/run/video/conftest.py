"""Videos of a few frames, and the tiny model that they go through."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("av")

from videos import Clip, write_clip

from dcdr_deploy.engines.choice import load_engine
from dcdr_deploy.run.runner import Runner

MakeClip = Callable[..., Path]


@pytest.fixture(scope="package")
def runner(tiny_model: Path) -> Iterator[Runner]:
    with load_engine(tiny_model, "onnxruntime") as engine:
        yield Runner(engine)


@pytest.fixture
def make_clip(tmp_path: Path) -> MakeClip:
    """``make_clip("in.mp4", frames=12, ...)``: a video in the test's folder; arguments as of Clip."""

    def make(name: str = "in.mp4", paint=None, **wishes) -> Path:
        return write_clip(tmp_path / name, Clip(**wishes), paint)

    return make
