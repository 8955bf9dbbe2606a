"""The way of a build: reuse, child process, sidecar, comparison, names; the package itself is a stand-in here."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from ear import Ear

from dcdr_deploy.building import build, worker
from dcdr_deploy.building.build import BuildReport, BuildRequest, build_engine
from dcdr_deploy.building.request import Builder
from dcdr_deploy.commands.show.build_engine import as_data, as_text
from dcdr_deploy.errors import DcdrError, EngineError, MissingDependency, ModelError, OutputError
from dcdr_deploy.modelfile.sidecar import read_sidecar, sidecar_path
from dcdr_deploy.system.child import Worker
from dcdr_deploy.system.files import file_sha256
from dcdr_deploy.system.packages import install_line
from dcdr_deploy.system.progress import Event, Listener

RTX = Builder("tensorrt-rtx", "1.7.1", (75, 86, 89, 120))
FOR_86 = BuildRequest(sms=(86,), tile=(64, 96), plugin=True)
"""With the plugin by request: the model of these tests has no deformable blocks, so ``auto`` would do without it."""


@dataclass
class Machine:
    """A machine whose package writes a few bytes, and whose jobs are counted.

    Attributes:
        jobs: what the child was asked for.
        gate: the result of the comparison.
        fail: called in place of a build.
    """

    jobs: list[str] = field(default_factory=list)
    gate: dict[str, Any] = field(default_factory=lambda: {"passed": True, "finite": True, "figures": {"psnr": 61.5}})
    fail: Callable[[Path], None] | None = None

    def run_job(self, program: Worker, job: str, request: Mapping[str, Any], listener: Listener) -> dict[str, Any]:
        self.jobs.append(job)
        engine = Path(request["engine"])
        if job == "gate":
            assert read_sidecar(engine)
            return self.gate
        listener(Event("building"))
        listener(Event("tactics", 1, 2))
        engine.write_bytes(f"engine {len(self.jobs)}".encode())
        if self.fail is not None:
            self.fail(engine)
        layers = 8 if request["settings"]["plugin"] else 0
        kind = "PLUGIN_V3" if layers else "CONVOLUTION"
        return {
            "plugin_version": ("2" if request["settings"]["fp16"] else "1") if layers else None,
            "plugin_layers": layers,
            "layer_types": {kind: 8},
            "layer_precisions": {kind: {"HALF": 8}},
        }


@pytest.fixture
def machine(monkeypatch) -> Machine:
    """A machine without a GPU."""
    made = Machine()
    monkeypatch.setattr(build, "run_job", made.run_job)
    monkeypatch.setattr(build, "installed_builders", lambda: [RTX])
    monkeypatch.setattr(build, "present_sm", lambda: None)
    return made


@pytest.fixture
def source(tmp_path: Path, tiny_model: Path) -> Path:
    """An ONNX file of this project in a folder of its own."""
    (tmp_path / "work").mkdir()
    return Path(shutil.copy(tiny_model, tmp_path / "work" / "model.onnx"))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


BOTH = ["model.fp32.sm86.engine", "model.fp32.sm86.engine.json", "model.onnx"]


def test_an_engine_and_its_sidecar_lie_beside_the_model(machine, source):
    report = build_engine(source, request=FOR_86)
    assert names(source.parent) == BOTH
    sidecar = read_sidecar(report.engine)
    assert sidecar == report.sidecar
    assert (sidecar.package, sidecar.package_version, sidecar.sms) == ("tensorrt-rtx", "1.7.1", (86,))
    assert (sidecar.plugin, sidecar.plugin_version, sidecar.plugin_layers) == ("dcdr::DCRB", "1", 8)
    assert sidecar.onnx_sha256 == file_sha256(source)
    assert sidecar.min_shape == sidecar.max_shape == (1, 64, 96)
    assert sidecar.model_metadata("").name == "gain net"
    assert not sidecar.verified


def test_a_model_without_deformable_blocks_is_built_without_the_plugin(machine, source):
    sidecar = build_engine(source, request=BuildRequest(sms=(86,))).sidecar
    assert (sidecar.plugin, sidecar.plugin_version, sidecar.kernel_hash, sidecar.plugin_layers) == (None, None, None, 0)


def test_the_sidecar_names_the_engine_s_precision(machine, source):
    report = build_engine(source, request=BuildRequest(sms=(86,), fp16=True))
    assert report.engine.name == "model.fp16.sm86.engine"
    assert report.sidecar.model_metadata("").extra["precision"] == "fp16"


def test_the_listener_hears_stages_and_progress(machine, source):
    ear = Ear()
    request = BuildRequest(sms=(86,), timing_cache=source.with_name("timings"))
    build_engine(source, request=request, listener=ear)
    assert ear.heard[1:] == [Event("building"), Event("tactics", 1, 2)]
    assert "timing cache stays unused" in ear.heard[0].note


def test_an_engine_goes_where_the_user_says(machine, source, tmp_path):
    report = build_engine(source, tmp_path / "new" / "own.engine", FOR_86)
    assert report.engine == tmp_path / "new" / "own.engine"
    assert names(report.engine.parent) == ["own.engine", "own.engine.json"]


def test_the_same_build_again_reuses_the_engine(machine, source):
    first = build_engine(source, request=FOR_86)
    again = build_engine(source, request=FOR_86)
    assert machine.jobs == ["build"]
    assert (first.reused, again.reused) == (False, True)
    assert again.sidecar == first.sidecar
    assert as_text(again).startswith("reused, as model, settings and versions are the same: ")


def flip_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[3] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda source, engine: flip_byte(engine),
        lambda source, engine: sidecar_path(engine).unlink(),
        lambda source, engine: sidecar_path(engine).write_text("{}"),
        lambda source, engine: engine.unlink(),
    ],
    ids=["byte flipped", "sidecar missing", "sidecar edited", "engine missing"],
)
def test_a_damaged_engine_is_built_again(machine, source, spoil):
    spoil(source, build_engine(source, request=FOR_86).engine)
    assert not build_engine(source, request=FOR_86).reused
    assert names(source.parent) == BOTH


@pytest.mark.parametrize(
    "changed",
    [
        {"request": BuildRequest(sms=(86,), tile=(64, 64), plugin=True)},
        {"request": BuildRequest(sms=(86,), tile=(64, 96), plugin=False)},
        {"request": BuildRequest(sms=(86,), tile=(64, 96), max_batch=2, plugin=True)},
        {"request": BuildRequest(sms=(86,), tile=(64, 96), dynamic=True, plugin=True)},
        {"request": BuildRequest(sms=(86,), tile=(64, 96), workspace=1.0, plugin=True)},
        {"request": BuildRequest(sms=(86, 89), tile=(64, 96), plugin=True)},
        {"builder": Builder("tensorrt-rtx", "1.8.0", (86,))},
        {"gain": 0.25},
        {"kernel": "another kernel"},
    ],
    ids=str,
)
def test_other_inputs_or_versions_build_again(machine, source, write_tiny_model, monkeypatch, changed):
    output = source.with_name("same.engine")
    before = build_engine(source, output, FOR_86)
    if "builder" in changed:
        monkeypatch.setattr(build, "installed_builders", lambda: [changed["builder"]])
    if "gain" in changed:
        write_tiny_model(source, gain=changed["gain"])
    if "kernel" in changed:
        monkeypatch.setattr(build, "source_hash", lambda name: changed["kernel"])
    after = build_engine(source, output, changed.get("request", FOR_86))
    assert machine.jobs == ["build", "build"]
    assert after.sidecar != before.sidecar
    assert read_sidecar(output) == after.sidecar


def test_on_a_gpu_of_the_kind_the_engine_is_compared_before_it_gets_its_name(machine, source, monkeypatch):
    monkeypatch.setattr(build, "present_sm", lambda: 86)
    report = build_engine(source, request=BuildRequest(tile=(64, 96)))
    assert machine.jobs == ["build", "gate"]
    assert (report.sidecar.verified, report.sidecar.gate) == (True, {"psnr": 61.5})
    assert read_sidecar(report.engine) == report.sidecar
    assert "compared with ONNX Runtime: PSNR 61.5 dB" in as_text(report)


def test_on_another_gpu_nothing_is_compared(machine, source, monkeypatch):
    monkeypatch.setattr(build, "present_sm", lambda: 89)
    report = build_engine(source, request=FOR_86)
    assert machine.jobs == ["build"]
    assert not report.sidecar.verified
    assert "not verified" in as_text(report)


@pytest.mark.parametrize(
    ("result", "words"),
    [
        ({"passed": False, "finite": True, "figures": {"psnr": 31.25}}, r"\(PSNR 31\.2 dB, 50 needed\)"),
        ({"passed": False, "finite": False, "figures": {"psnr": float("nan")}}, r"\(NaN or infinity\)"),
    ],
)
def test_wrong_results_leave_what_was_there(machine, source, monkeypatch, result, words):
    monkeypatch.setattr(build, "present_sm", lambda: 86)
    before = build_engine(source, request=BuildRequest(fp16=True, plugin=True)).sidecar
    machine.gate = result
    with pytest.raises(EngineError, match=words + r".* `plugin` none or leave out `fp16`"):
        build_engine(source, request=BuildRequest(fp16=True, tile=(64, 64), plugin=True))
    assert read_sidecar(source.with_name("model.fp16.sm86.engine")) == before
    assert len(names(source.parent)) == 3


def raising(error: BaseException) -> Callable[[Path], None]:
    def fail(engine: Path) -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "seen"),
    [
        (EngineError("the build process crashed"), EngineError),
        (ModelError("wrong opset"), ModelError),
        (OSError(28, "No space left on device"), OutputError),
        (KeyboardInterrupt(), KeyboardInterrupt),
        (RuntimeError("a bug"), RuntimeError),
    ],
    ids=lambda each: type(each).__name__ if isinstance(each, BaseException) else "",
)
def test_a_build_that_fails_leaves_nothing(machine, source, error, seen):
    machine.fail = raising(error)
    with pytest.raises(seen):
        build_engine(source, source.parent / "deep" / "m.engine", FOR_86)
    assert names(source.parent / "deep") == []


def test_no_room_for_the_sidecar_leaves_nothing(machine, source, monkeypatch):
    def full(self: Path, *content: object, **options: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OutputError, match="No space left on device; choose another place or free some space"):
        build_engine(source, request=FOR_86)
    assert names(source.parent) == ["model.onnx"]


def test_no_room_for_the_engine_is_the_worker_s_sentence(tmp_path, tiny_model, monkeypatch):
    from dcdr_deploy.building import network, prepare
    from dcdr_deploy.building.settings import BuildSettings

    monkeypatch.setattr(prepare, "prepare", lambda model, settings, source: model)
    built = network.BuiltEngine(b"engine", 0, {}, {})
    monkeypatch.setattr(network, "build_serialized", lambda *arguments: built)
    settings = worker.settings_to_data(BuildSettings("tensorrt-rtx", (86,), plugin=False))
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    request = {"onnx": str(tiny_model), "engine": str(full), "target": "m.engine", "settings": settings}
    with pytest.raises(
        OutputError,
        match=r"m\.engine: cannot be written: No space left on device; choose another place or free some space",
    ):
        worker.build(request, lambda *event, **details: None)


@pytest.fixture
def tiny_disk(tmp_path: Path):
    """A file system of 64 KiB; needs the right to mount."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if sys.platform != "linux" or shutil.which("mount") is None:
        pytest.skip("no mount here")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_disk_that_is_full_gives_one_line_and_stays_empty(machine, source, tiny_disk):
    machine.fail = lambda engine: engine.write_bytes(bytes(1 << 20)) and None
    with pytest.raises(OutputError, match="No space left on device"):
        build_engine(source, tiny_disk / "m.engine", FOR_86)
    assert names(tiny_disk) == []


def test_a_folder_that_cannot_be_written_is_found_before_the_build(machine, source):
    if not Path("/proc/version").exists():
        pytest.skip("no /proc here, which refuses root as well")
    with pytest.raises(OutputError, match=r"/proc/m\.engine: cannot be written"):
        build_engine(source, Path("/proc/m.engine"), FOR_86)
    assert machine.jobs == []


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda path, write: path.unlink(), "does not exist"),
        (lambda path, write: path.write_bytes(path.read_bytes()[:-9]), "is no ONNX model, or was cut short"),
        (lambda path, write: path.write_bytes(b""), "is no ONNX model, or was cut short"),
        (lambda path, write: write(path, stored={"author": "someone"}), "no DCDR-UNet metadata"),
        (lambda path, write: write(path, channels=4), r"is not float32 \(N, 3, H, W\)"),
    ],
)
def test_a_model_that_does_not_fit_is_refused_before_anything_starts(machine, source, write_tiny_model, make, sentence):
    make(source, write_tiny_model)
    before = names(source.parent)
    with pytest.raises(ModelError, match=sentence) as caught:
        build_engine(source, request=FOR_86)
    assert "\n" not in str(caught.value)
    assert (machine.jobs, names(source.parent)) == ([], before)


def test_without_onnx_the_install_line_is_shown(machine, source, monkeypatch):
    monkeypatch.setattr(build.packages, "installed", lambda module: False)
    with pytest.raises(MissingDependency, match=rf"needs the package onnx.*{re.escape(install_line('rtx'))}"):
        build_engine(source, request=FOR_86)


def test_errors_are_the_user_s(machine, source):
    with pytest.raises(DcdrError, match="not for SM90"):
        build_engine(source, request=BuildRequest(sms=(90,)))


def report(source: Path, **wishes: Any) -> BuildReport:
    return build_engine(source, request=BuildRequest(sms=(86, 120), plugin=True, **wishes))


def test_the_report_says_what_was_built_and_what_comes_next(machine, source):
    text = as_text(report(source, tile=(64, 96), max_batch=4, dynamic=True)).splitlines()
    assert text[0].startswith(f"wrote {source.parent / 'model.fp32.sm86-120.engine'} (0.0 MB, fp32) in ")
    assert text[1:3] == [
        "  for SM86, SM120, tensorrt-rtx 1.7.1, 8 layers by the plugin dcdr::DCRB",
        "  takes 1 to 4 images of 64x64 to 96x96 a call",
    ]
    assert text[-1].startswith("next: dcdr-deploy run in.png out.exr --model ")


def test_the_report_as_data_holds_the_sidecar(machine, source):
    built = report(source)
    data = as_data(built)
    assert data["facts"] == built.sidecar.as_dict()
    assert data["bytes"] == built.engine.stat().st_size
    assert (data["reused"], data["layer_types"]) == (False, {"PLUGIN_V3": 8})
