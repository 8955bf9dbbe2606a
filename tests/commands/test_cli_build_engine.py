"""`dcdr-deploy build-engine` as a user calls it, with real builds of the demo weights; needs no GPU."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from gone import gone
from screen import Screen

from dcdr_deploy.building import build, request
from dcdr_deploy.cli import main
from dcdr_deploy.commands.show.build_engine import display, show_choice
from dcdr_deploy.engines.tensorrt import trt_api
from dcdr_deploy.modelfile.sidecar import read_sidecar
from dcdr_deploy.run.selection import DEMO_MODEL, ModelChoice
from dcdr_deploy.system.progress import Event

TILE = "64x96"


@pytest.fixture(autouse=True, scope="module")
def _rtx() -> None:
    """These tests need the package that builds without a GPU."""
    pytest.importorskip("onnx")
    if trt_api.version("tensorrt-rtx") is None:
        pytest.skip("tensorrt-rtx is not installed")


@pytest.fixture(autouse=True)
def _no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Builds are for other machines here, so that nothing depends on this one's GPU."""
    monkeypatch.setattr(request.hardware, "compute_capabilities", list)


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["build-engine", *map(str, arguments)])


@dataclass(frozen=True)
class Build:
    """Options of a build, and what must come of them."""

    name: str
    options: tuple[str, ...]
    fp16: bool
    plugin: bool
    dynamic: bool
    sms: tuple[int, ...]


ALL_SMS = (86, 89, 120)
BUILDS = (
    Build("fp16 plugin static", ("--fp16", "--sm", "86,89,120"), True, True, False, ALL_SMS),
    Build("fp32 plugin dynamic", ("--dynamic", "--max-batch", "2", "--sm", "89"), False, True, True, (89,)),
    Build("fp16 none dynamic", ("--fp16", "--plugin", "none", "--dynamic", "--sm", "120"), True, False, True, (120,)),
    Build("fp32 none static", ("--plugin", "none", "--sm", "86,89,120"), False, False, False, ALL_SMS),
)


@pytest.fixture(scope="module", params=BUILDS, ids=lambda build: build.name)
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Build, dict[str, Any]]:
    """A build of the demo weights, and its report."""
    build = request.param
    model = tmp_path_factory.mktemp("build") / "model.onnx"
    shutil.copy(DEMO_MODEL, model)
    result = call(model, "--backend", "tensorrt-rtx", "--tile", TILE, "--json", *build.options)
    assert result.exit_code == 0, result.output
    return build, json.loads(result.stdout)


def test_the_file_s_name_tells_what_it_is_for(built):
    build, report = built
    sms = "-".join(map(str, build.sms))
    name = f"model.{'fp16' if build.fp16 else 'fp32'}.sm{sms}.engine"
    assert sorted(path.name for path in Path(report["engine"]).parent.iterdir()) == [name, f"{name}.json", "model.onnx"]


def test_the_sidecar_describes_the_engine(built):
    build, report = built
    sidecar = read_sidecar(Path(report["engine"]))
    assert json.loads(json.dumps(sidecar.as_dict())) == report["facts"]
    assert (sidecar.package, sidecar.package_version) == ("tensorrt-rtx", trt_api.version("tensorrt-rtx"))
    assert sidecar.sms == build.sms
    assert sidecar.precision == ("fp16" if build.fp16 else "fp32")
    assert sidecar.fixed_size == (None if build.dynamic else (64, 96))
    assert (sidecar.plugin is not None, sidecar.kernel_hash is not None) == (build.plugin, build.plugin)
    assert sidecar.model_metadata("").name == "DCDR-UNet demo"
    assert not sidecar.verified


def test_eight_blocks_go_to_the_plugin_or_none(built):
    build, report = built
    assert report["facts"]["plugin_layers"] == report["layer_types"].get("PLUGIN_V3", 0) == (8 if build.plugin else 0)
    assert ("GRID_SAMPLE" in report["layer_types"]) == (not build.plugin)


def test_layers_compute_in_the_precision_asked_for(built):
    build, report = built
    precisions = report["layer_precisions"]
    feature = {"HALF"} if build.fp16 else {"FLOAT"}
    assert set(precisions["CONVOLUTION"]) == feature
    if build.plugin:
        assert set(precisions["PLUGIN_V3"]) == feature
    else:
        assert set(precisions["GRID_SAMPLE"]) == {"FLOAT"}  # coordinates and sampling


def test_inspect_shows_the_sidecar(built):
    build, report = built
    result = CliRunner().invoke(main, ["inspect", report["engine"]])
    assert result.exit_code == 0, result.output
    assert "kind: engine" in result.stdout
    assert f"gpus: {' '.join(f'SM{sm}' for sm in build.sms)}" in result.stdout
    assert "verified: False" in result.stdout


def test_an_fp16_model_is_taken_as_it_is_with_and_without_the_option(tmp_path):
    import onnx

    from dcdr_deploy.export.fp16 import to_fp16

    onnx.save(to_fp16(onnx.load(DEMO_MODEL)), tmp_path / "net.fp16.onnx")
    first = call(tmp_path / "net.fp16.onnx", "--sm", "86", "--tile", TILE, "--json")
    assert first.exit_code == 0, first.output
    report = json.loads(first.stdout)
    assert Path(report["engine"]).name == "net.fp16.sm86.engine"
    assert set(report["layer_precisions"]["CONVOLUTION"]) == {"HALF"}
    again = call(tmp_path / "net.fp16.onnx", "--fp16", "--sm", "86", "--tile", TILE)
    assert again.exit_code == 0, again.output
    assert again.stdout.startswith("reused, ")


def test_without_a_path_the_only_onnx_file_here_is_built_and_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(DEMO_MODEL, "mine.onnx")
    result = call("--fp16", "--sm", "8.6", "--tile", TILE)
    assert result.exit_code == 0, result.output
    assert "model: mine.onnx (the only .onnx model in the working directory)" in result.stderr
    assert "building with tensorrt-rtx ..." in result.stderr
    assert result.stdout.startswith("wrote mine.fp16.sm86.engine (")
    assert result.stdout.strip().endswith("next: dcdr-deploy run in.png out.exr --model mine.fp16.sm86.engine")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "mine.fp16.sm86.engine",
        "mine.fp16.sm86.engine.json",
        "mine.onnx",
    ]
    engine = tmp_path / "mine.fp16.sm86.engine"
    content = bytearray(engine.read_bytes())
    content[len(content) // 2] ^= 1
    engine.write_bytes(content)
    run = CliRunner().invoke(main, ["inspect", str(engine)])
    assert (run.exit_code, run.stderr.count("\n")) == (2, 1)
    assert "is not the file that mine.fp16.sm86.engine.json describes" in run.stderr


def change_opset(path: Path) -> None:
    import onnx

    model = onnx.load(path)
    model.opset_import[0].version = 18
    onnx.save(model, path)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100_000])


def spoil_graph(path: Path) -> None:
    import onnx

    model = onnx.load(path)
    model.graph.node[3].op_type = "NoSuchOperator"
    onnx.save(model, path)


@pytest.mark.parametrize(
    ("spoil", "options", "words"),
    [
        (lambda path: path.write_bytes(b"no model"), (), "is no ONNX model, or was cut short"),
        (cut, (), "is no ONNX model, or was cut short"),
        (lambda path: path.unlink(), (), "does not exist"),
        (change_opset, (), "has opset 18, not 20; export it again"),
        (spoil_graph, (), "the ONNX parser refuses the model"),
        (None, ("--sm", "90", "--backend", "tensorrt-rtx"), "tensorrt-rtx builds for SM75, "),
        (None, ("--sm", "86,42"), "not for SM42"),
        (None, ("--sm", "current"), "no NVIDIA GPU to build for; name the GPUs with --sm"),
        (None, ("--tile", "50x64"), "must be positive multiples of 4"),
        (None, ("--max-batch", "0"), "--max-batch must be at least 1"),
        (None, ("--workspace", "-1"), "--workspace must be more than 0"),
        (None, ("-o", "model.plan"), "needs the suffix .engine"),
        (None, ("-o", "/proc/m.engine"), "/proc/m.engine: cannot be written"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(tmp_path, monkeypatch, spoil, options, words):
    monkeypatch.chdir(tmp_path)
    model = Path(shutil.copy(DEMO_MODEL, tmp_path / "model.onnx"))
    if spoil is not None:
        spoil(model)
    before = sorted(tmp_path.iterdir())
    sm = () if "--sm" in options else ("--sm", "86")
    tile = () if "--tile" in options else ("--tile", TILE)
    result = call(model, *sm, *tile, *options)
    assert result.exit_code == 2, result.output
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert words in line
    assert result.stderr.endswith(line + "\n")
    assert result.stdout == ""
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("value", ["gpu", "86;89", "86,,89", "8600"])
def test_an_sm_that_is_no_number_is_a_usage_error(value):
    result = call("model.onnx", "--sm", value)
    assert result.exit_code == 2
    assert "write numbers such as 75,86,89,120, or current" in result.stderr


def test_a_model_of_the_package_is_built_by_its_name_into_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = set(DEMO_MODEL.parent.iterdir())
    result = call("demo-lite", "--fp16", "--sm", "86", "--tile", TILE)
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "dcdr-unet-demo-lite.fp16.sm86.engine",
        "dcdr-unet-demo-lite.fp16.sm86.engine.json",
    ]
    assert set(DEMO_MODEL.parent.iterdir()) == before


def test_without_a_package_both_install_lines_are_shown(monkeypatch):
    monkeypatch.setattr(trt_api, "version", lambda name: None)
    result = call(DEMO_MODEL, "--sm", "86")
    assert result.exit_code == 2
    assert all(package.install in result.stderr for package in trt_api.PACKAGES.values())


def test_a_parser_that_aborts_is_one_line_and_leaves_nothing(tmp_path, monkeypatch):
    code = "import os, sys; sys.stdin.readline(); print('assertion failed', file=sys.stderr, flush=True); os.abort()"
    monkeypatch.setattr(build, "WORKER", replace(build.WORKER, command=(sys.executable, "-c", code)))
    model = shutil.copy(DEMO_MODEL, tmp_path / "model.onnx")
    result = call(model, "--sm", "86")
    assert result.exit_code == 2
    assert result.stderr.endswith("error: the build process crashed (SIGABRT); its log ends: assertion failed\n")
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="looks for the child in /proc")
def test_ctrl_c_ends_the_child_and_leaves_nothing(tmp_path):
    shutil.copy(DEMO_MODEL, tmp_path / "model.onnx")
    command = [sys.executable, "-m", "dcdr_deploy", "build-engine", "--plugin", "none", "--sm", "75,86,89,120"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("building"):
            break
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(children) == 1
    process.send_signal(signal.SIGINT)
    rest = process.stderr.read()
    assert process.wait(30) == 130
    process.stderr.close()
    assert "interrupted" in rest
    assert "Traceback" not in rest
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    assert gone(int(children[0]))


def test_help_shows_every_option_with_its_default():
    text = " ".join(CliRunner().invoke(main, ["build-engine", "--help"]).stdout.split())
    for words in ("--fp16", "tensorrt|tensorrt-rtx", "75,86,...|current", "HxW", "[default: 1]", "--dynamic"):
        assert words in text
    for words in ("auto|dcrb|none", "[default: auto]", "--workspace", "--timing-cache", "--json", "Examples:"):
        assert words in text


def test_on_a_terminal_a_bar_shows_the_phases_and_is_taken_away(monkeypatch):
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("COLUMNS", "100")
    with display() as shown:
        show_choice(shown, ModelChoice(Path("a[b].onnx"), "as asked for", ("left out",)))
        shown(Event("building"))
        assert re.fullmatch(r"building \| *████ *\| 00:0\d", screen.rows[-1])
        shown(Event("tactics", 0, 0))
        shown(Event("tactics", 1, 2))
        shown.line("the bar is drawn below")
        assert re.fullmatch(r"tactics \|█{20} {20}\| 00:0\d", screen.rows[-1])
    assert screen.rows == ["note: left out", "model: a[b].onnx (as asked for)", "the bar is drawn below", ""]
