"""A folder of three photos, and what a finished run made of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import OpenEXR
import pytest

from dcdr_deploy.engines.choice import load_engine
from dcdr_deploy.imaging.writers import exr
from dcdr_deploy.run.folder import convert_folder
from dcdr_deploy.run.runner import Runner


@pytest.fixture(scope="module", autouse=True)  # "package" would last to the end: these folders are no packages
def exr_on_the_calling_thread() -> Iterator[None]:
    """OpenEXR waits for its threads by spinning, which beside another worker's tests takes longer than their work."""
    if not hasattr(OpenEXR, "global_thread_count"):
        yield
        return
    before = OpenEXR.global_thread_count()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exr, "_start_threads", lambda: None)
        OpenEXR.set_global_thread_count(0)
        yield
    OpenEXR.set_global_thread_count(before)


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
