"""Weights beside an ONNX file: every command takes them, or says in one line which file is missing."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from dcdr_deploy.building.worker import load_onnx as load_for_build
from dcdr_deploy.cli import main
from dcdr_deploy.engines.choice import load_engine
from dcdr_deploy.errors import ModelError
from dcdr_deploy.export.loading import load_onnx
from dcdr_deploy.inspection.model import inspect_file
from dcdr_deploy.modelfile.onnx_file import read_model


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo model as m.onnx and m.onnx.data."""
    from dcdr_deploy.run.selection import DEMO_MODEL

    folder = tmp_path_factory.mktemp("whole")
    onnx.save_model(
        onnx.load(DEMO_MODEL),
        folder / "m.onnx",
        save_as_external_data=True,
        all_tensors_to_one_file=True,
        location="m.onnx.data",
    )
    return folder


@pytest.fixture
def missing(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(whole / "m.onnx", tmp_path / "m.onnx"))


@pytest.fixture
def snapshot(whole: Path, tmp_path: Path) -> Path:
    """Both files as links to ones of other names, as in the cache of a model hub."""
    for name in ("m.onnx", "m.onnx.data"):
        shutil.copy(whole / name, tmp_path / f"blob-{name}")
        (tmp_path / name).symlink_to(f"blob-{name}")
    return tmp_path / "m.onnx"


READERS: dict[str, Callable[[Path], object]] = {
    "an engine": load_engine,
    "inspect": inspect_file,
    "build": load_for_build,
    "a header": read_model,
}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS.keys())
def test_a_missing_file_is_named_in_one_line(missing: Path, read: Callable[[Path], object]) -> None:
    with pytest.raises(
        ModelError, match=r"m\.onnx keeps its weights in m\.onnx\.data, which is not beside it"
    ) as caught:
        read(missing)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "command", [["inspect"], ["inspect", "--offsets", "samples/coffee.png"], ["build-engine", "--sm", "86"]]
)
def test_every_command_ends_with_that_line(
    missing: Path, command: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command[0], str(missing), *command[1:]])
    assert ended.value.code == 2
    told = [line for line in capfd.readouterr().err.splitlines() if not line.startswith("model: ")]
    assert len(told) == 1
    assert "m.onnx.data" in told[0]


def test_links_are_followed_where_the_model_is_named(whole: Path, snapshot: Path) -> None:
    def weights(path: Path) -> dict[str, np.ndarray]:
        return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in load_onnx(path).graph.initializer}

    expected = weights(whole / "m.onnx")
    assert weights(snapshot).keys() == expected.keys()
    assert all(np.array_equal(value, expected[name]) for name, value in weights(snapshot).items())


def test_the_automatic_choice_takes_a_backend_that_can_load_it(snapshot: Path) -> None:
    with load_engine(snapshot) as engine:
        assert engine.infer(np.full((1, 3, 32, 32), 0.5, np.float32)).shape == (1, 3, 32, 32)


@pytest.mark.parametrize("location", ["/etc/passwd", "../secret.data", "a/../../b", "C:\\secret", "..\\secret", ""])
def test_weights_outside_of_the_folder_are_refused(whole: Path, tmp_path: Path, location: str) -> None:
    model = onnx.load(whole / "m.onnx", load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=r"asks for weights outside of its own folder"):
        read_model(tmp_path / "m.onnx")


def test_a_name_that_no_system_takes_is_of_no_file(whole: Path, tmp_path: Path) -> None:
    model = onnx.load(whole / "m.onnx", load_external_data=False)
    place_first(model, location="a" * 300)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=r"keeps its weights in a+, which is not beside it"):
        read_model(tmp_path / "m.onnx")


def place_first(model: onnx.ModelProto, **stated: object) -> None:
    """Change what the first tensor says of its place."""
    first = next(tensor for tensor in model.graph.initializer if tensor.external_data)
    entries = {entry.key: entry.value for entry in first.external_data} | stated
    del first.external_data[:]
    for key, value in entries.items():
        first.external_data.add(key=key, value=str(value))


@pytest.mark.parametrize("stated", [{"length": 2**45}, {"length": 2**70}, {"offset": 2**70}, {"offset": -8}])
def test_weights_beyond_the_file_are_refused_before_there_is_memory_for_them(
    whole: Path, tmp_path: Path, stated: dict[str, int]
) -> None:
    model = onnx.load(whole / "m.onnx", load_external_data=False)
    place_first(model, **stated)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    shutil.copy(whole / "m.onnx.data", tmp_path / "m.onnx.data")
    with pytest.raises(ModelError, match=r"m\.onnx\.data was cut short"):
        load_onnx(tmp_path / "m.onnx")


def test_weights_that_were_cut_short_are_told(whole: Path, tmp_path: Path) -> None:
    for name in ("m.onnx", "m.onnx.data"):
        shutil.copy(whole / name, tmp_path / name)
    with (tmp_path / "m.onnx.data").open("r+b") as file:
        file.truncate(1000)
    with pytest.raises(ModelError, match=r"m\.onnx\.data was cut short: \S+ of .*m\.onnx should have \d+ bytes there"):
        load_onnx(tmp_path / "m.onnx")
