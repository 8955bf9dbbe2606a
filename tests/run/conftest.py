"""A folder of three photos, and what a finished run made of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dcdr_deploy.engines.registry import load_engine
from dcdr_deploy.run.folder import convert_folder
from dcdr_deploy.run.runner import Runner


@pytest.fixture(scope="module")
def runner(tiny_model: Path) -> Iterator[Runner]:
    with load_engine(tiny_model, "onnxruntime") as engine:
        yield Runner(engine)


@pytest.fixture
def photos(tmp_path: Path, make_picture: Callable[..., Path]) -> Path:
    for name in ("frame2.png", "frame10.jpg", "Frame1.bmp"):
        make_picture(tmp_path / "photos" / name, size=(8, 8))
    return tmp_path / "photos"


@pytest.fixture
def finished(tmp_path: Path, photos: Path, runner: Runner) -> Path:
    convert_folder(photos, tmp_path / "hdr", runner)
    return tmp_path / "hdr"
