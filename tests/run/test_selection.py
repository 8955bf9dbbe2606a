"""The file name rule: --model, $DCDR_MODEL, the model in the working directory (engine, ONNX), the demo weights."""

from __future__ import annotations

from pathlib import Path

import pytest
from ear import Ear

from dcdr_deploy.engines.tensorrt import trt_api
from dcdr_deploy.errors import DcdrError, ModelError
from dcdr_deploy.modelfile.metadata import KEY_PEAK, ModelMetadata, encode
from dcdr_deploy.run import selection
from dcdr_deploy.run.events import ModelChosen
from dcdr_deploy.run.opening import RunnerSettings, open_runner
from dcdr_deploy.run.selection import choose_model, choose_onnx
from dcdr_deploy.system import hardware
from dcdr_deploy.system.files import file_sha256

NO_VARIABLES: dict[str, str] = {}


@pytest.fixture
def demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for the demo weights, away from the directory that is searched."""
    path = tmp_path / "package" / "demo.onnx"
    path.parent.mkdir()
    path.write_bytes(b"demo")
    monkeypatch.setattr(selection, "DEMO_MODEL", path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


def test_the_model_asked_for_wins_over_everything(tmp_path, folder, tiny_model, write_tiny_model, demo):
    write_tiny_model(folder / "here.onnx")
    choice = choose_model(tiny_model, directory=folder, environment={"DCDR_MODEL": str(demo)})
    assert (choice.path, choice.reason) == (tiny_model, "as asked for")


@pytest.mark.parametrize("name", ["demo", "demo-lite"])
def test_the_packages_models_can_be_asked_for_by_name(folder, tiny_model, name):
    packaged = selection.NAMED_MODELS[name]
    assert choose_model(name, directory=folder, environment=NO_VARIABLES).path == packaged
    assert choose_model(directory=folder, environment={"DCDR_MODEL": name}).path == packaged
    assert choose_onnx(name, directory=folder).path == packaged


def test_a_model_by_name_comes_in_the_form_that_the_backend_takes(folder):
    choice = choose_model("demo", directory=folder, environment=NO_VARIABLES, suffixes={".safetensors"})
    assert choice.path == selection.DEMO_MODEL.with_suffix(".safetensors")


def test_a_model_that_does_not_come_in_the_form_that_the_backend_takes_is_an_error(folder):
    with pytest.raises(ModelError, match=r"model demo-lite comes as .onnx, not as .safetensors"):
        choose_model("demo-lite", directory=folder, environment=NO_VARIABLES, suffixes={".safetensors"})


def test_a_file_wins_over_a_model_of_its_name(folder, tiny_model, monkeypatch):
    monkeypatch.chdir(folder)
    Path("demo-lite").write_bytes(tiny_model.read_bytes())
    assert choose_model("demo-lite", environment=NO_VARIABLES).path == Path("demo-lite")


def test_a_tilde_is_the_home_folder(tiny_model, monkeypatch):
    monkeypatch.setenv("HOME", str(tiny_model.parent))
    assert choose_model(f"~/{tiny_model.name}", environment=NO_VARIABLES).path == tiny_model


def test_the_variable_wins_over_the_working_directory(folder, tiny_model, write_tiny_model, demo):
    write_tiny_model(folder / "here.onnx")
    choice = choose_model(directory=folder, environment={"DCDR_MODEL": str(tiny_model)})
    assert (choice.path, choice.reason) == (tiny_model, "from $DCDR_MODEL")


def test_the_only_model_in_the_working_directory_wins_over_the_demo(folder, write_tiny_model, demo):
    mine = write_tiny_model(folder / "mine.onnx")
    choice = choose_model(directory=folder, environment=NO_VARIABLES)
    assert choice.path == mine
    assert choice.reason == "the only .onnx model in the working directory"


@pytest.mark.parametrize("variables", [{}, {"DCDR_MODEL": ""}])
def test_the_demo_weights_are_the_last_resort(folder, demo, variables):
    choice = choose_model(directory=folder, environment=variables)
    assert choice.path == demo
    assert str(choice) == f"{demo} (the demo weights that come with dcdr-deploy)"


def test_a_backend_that_takes_no_onnx_gets_the_demo_weights_in_a_form_that_it_takes(folder, demo):
    demo.with_suffix(".safetensors").write_bytes(b"demo")
    choice = choose_model(directory=folder, environment=NO_VARIABLES, suffixes={".pth", ".safetensors"})
    assert choice.path == demo.with_suffix(".safetensors")
    with pytest.raises(
        ModelError, match=r"takes \.engine, .* name one with `model` .* build one with .*, or leave `backend` out"
    ):
        choose_model(directory=folder, environment=NO_VARIABLES, suffixes={".engine"})


def test_two_models_are_an_error_that_lists_them(folder, write_tiny_model, demo):
    for name in ("b.onnx", "a.ONNX"):
        write_tiny_model(folder / name)
    with pytest.raises(ModelError, match=r"2 models lie in .*: a\.ONNX, b\.onnx; choose one with `model`"):
        choose_model(directory=folder, environment=NO_VARIABLES)


def test_a_stray_model_of_others_is_left_out_with_a_note(folder, write_tiny_model, demo):
    write_tiny_model(folder / "stray.onnx", stored={"author": "someone"})
    (folder / "cut.onnx").write_bytes(b"\x08")
    mine = write_tiny_model(folder / "mine.onnx")
    choice = choose_model(directory=folder, environment=NO_VARIABLES)
    assert choice.path == mine
    assert [note.split(" is ")[0] for note in choice.notes] == [
        f"not taken: {folder / name}" for name in ("cut.onnx", "stray.onnx")
    ]
    assert "no DCDR-UNet metadata" in choice.notes[1]


def test_notes_come_with_the_demo_weights_too(folder, write_tiny_model, demo):
    write_tiny_model(folder / "stray.onnx", stored={})
    choice = choose_model(directory=folder, environment=NO_VARIABLES)
    assert choice.path == demo
    assert len(choice.notes) == 1


def test_folders_and_hidden_files_are_no_candidates(folder, write_tiny_model, demo):
    (folder / "folder.onnx").mkdir()
    write_tiny_model(folder / ".half.1-0.tmp.onnx")
    assert choose_model(directory=folder, environment=NO_VARIABLES).path == demo


@pytest.mark.parametrize(
    ("requested", "variables", "sentence"),
    [
        ("gone.onnx", {}, "model gone.onnx does not exist, check the path$"),
        ("x" * 300 + ".onnx", {}, "does not exist"),
        ("~nobody-of-this-name/net.onnx", {}, "model ~nobody-of-this-name/net.onnx does not exist"),
        ("lite", {}, "model lite does not exist, check the path; by name there are demo and demo-lite$"),
        ("/", {}, "model / is a folder, name a file in it"),
        (None, {"DCDR_MODEL": "gone.onnx"}, r"model gone.onnx \(from \$DCDR_MODEL\) does not exist"),
    ],
)
def test_a_named_model_that_is_no_file_is_an_error(folder, demo, requested, variables, sentence):
    with pytest.raises(ModelError, match=sentence):
        choose_model(requested, directory=folder, environment=variables)


def test_an_installation_without_demo_weights_says_so(folder, demo):
    demo.unlink()
    with pytest.raises(ModelError, match=r"lacks the demo weights .* name one with `model`"):
        choose_model(directory=folder, environment=NO_VARIABLES)


def test_a_directory_that_is_gone_holds_no_models(tmp_path, demo):
    assert choose_model(directory=tmp_path / "gone", environment=NO_VARIABLES).path == demo


OURS = encode(ModelMetadata())


def put_engine(path: Path, sms: tuple[int, ...] = (86,), stored: dict[str, str] = OURS) -> Path:
    """Write something that passes for an engine, with its sidecar."""
    from dcdr_deploy.modelfile import sidecar

    path.write_bytes(b"engine")
    shape = (1, 64, 64)
    facts = sidecar.Sidecar("tensorrt-rtx", "1.7.1", sms, "fp16", shape, shape, shape, "", file_sha256(path), stored)
    sidecar.write(path, facts)
    return path


@pytest.fixture
def rtx_30(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with an SM86 and the package that runs engines on it."""
    monkeypatch.setattr(hardware, "compute_capabilities", lambda: [86])
    monkeypatch.setattr(trt_api, "version", lambda name: "1.7.1")


def test_the_engine_that_fits_this_gpu_wins_over_the_onnx_file(folder, write_tiny_model, demo, rtx_30):
    write_tiny_model(folder / "mine.onnx")
    engine = put_engine(folder / "mine.fp16.sm86.engine")
    put_engine(folder / "mine.fp16.sm120.engine", sms=(120,))
    choice = choose_model(directory=folder, environment=NO_VARIABLES)
    assert choice.path == engine
    assert choice.reason == "the only .engine model that fits this GPU in the working directory"
    assert choice.replaceable
    assert "mine.fp16.sm120.engine is for SM120, but this GPU is SM86" in choice.notes[0]


def test_the_engine_has_to_fit_the_gpu_that_is_asked_for(folder, demo, rtx_30, monkeypatch):
    monkeypatch.setattr(hardware, "compute_capabilities", lambda: [86, 120])
    put_engine(folder / "mine.fp16.sm86.engine")
    engine = put_engine(folder / "mine.fp16.sm120.engine", sms=(120,))
    assert choose_model(directory=folder, environment=NO_VARIABLES, device_index=1).path == engine
    monkeypatch.chdir(folder)
    monkeypatch.delenv("DCDR_MODEL", raising=False)
    ear = Ear()
    with pytest.raises(DcdrError), open_runner(settings=RunnerSettings(device="cuda:1"), listener=ear):
        pass
    assert ear.of(ModelChosen)[0].choice.path == Path(engine.name)


def test_without_a_gpu_the_onnx_file_is_taken_and_a_note_tells_why(folder, write_tiny_model, demo, monkeypatch):
    monkeypatch.setattr(hardware, "compute_capabilities", list)
    monkeypatch.setattr(trt_api, "version", lambda name: "1.7.1")
    mine = write_tiny_model(folder / "mine.onnx")
    put_engine(folder / "mine.engine")
    choice = choose_model(directory=folder, environment=NO_VARIABLES)
    assert (choice.path, choice.replaceable) == (mine, False)
    assert "needs an NVIDIA GPU (SM86)" in choice.notes[0]


@pytest.mark.parametrize("stored", [{}, {"author": "someone"}, {**OURS, KEY_PEAK: "1e39"}])
def test_an_engine_that_carries_no_metadata_of_ours_is_left_out_with_a_note(
    folder, write_tiny_model, demo, rtx_30, stored
):
    mine = write_tiny_model(folder / "mine.onnx")
    stray = put_engine(folder / "stray.engine", stored=stored)
    choice = choose_model(directory=folder, environment=NO_VARIABLES)
    assert choice.path == mine
    assert choice.notes[0].startswith(f"not taken: {stray} ")


def test_two_engines_that_fit_are_an_error_that_lists_them(folder, demo, rtx_30):
    put_engine(folder / "a.engine")
    put_engine(folder / "b.engine")
    with pytest.raises(ModelError, match=r"2 models lie in .*: a\.engine, b\.engine; choose one with `model`"):
        choose_model(directory=folder, environment=NO_VARIABLES)


def test_kinds_that_the_backend_does_not_take_are_passed_over(folder, write_tiny_model, demo, rtx_30):
    mine = write_tiny_model(folder / "mine.onnx")
    put_engine(folder / "mine.engine")
    choice = choose_model(directory=folder, environment=NO_VARIABLES, suffixes={".onnx"})
    assert (choice.path, choice.notes) == (mine, ())


def test_an_engine_is_built_from_the_only_onnx_file(folder, write_tiny_model, demo, rtx_30):
    mine = write_tiny_model(folder / "mine.onnx")
    put_engine(folder / "mine.engine")
    assert choose_onnx(directory=folder).path == mine
    write_tiny_model(folder / "other.onnx")
    with pytest.raises(ModelError, match=r"mine\.onnx, other\.onnx; choose one with its path"):
        choose_onnx(directory=folder)
    assert choose_onnx(folder / "other.onnx").reason == "as asked for"


def test_an_engine_is_built_from_the_demo_weights_where_there_is_nothing_else(folder, demo):
    assert choose_onnx(directory=folder).path == demo
