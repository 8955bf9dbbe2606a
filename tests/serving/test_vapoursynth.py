"""The script for VapourSynth: what it says, what it computes, and the model that OpenVINO gets beside it.

VapourSynth's wheels are of Python 3.12 and newer. Where ``DCDR_VAPOURSYNTH_PYTHON`` names an interpreter that has it
with vs-mlrt's ONNX Runtime and BestSource, the script runs there; elsewhere it runs on a stand-in for VapourSynth.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from gain_net import METADATA, PEAK, write_gain_net
from small_models import build_model

from dcdr_deploy.cli import main
from dcdr_deploy.errors import InputError, ModelError
from dcdr_deploy.modelfile import metadata, sidecar
from dcdr_deploy.serving.vapoursynth import ScriptOptions, write_script
from dcdr_deploy.system.files import file_sha256

PYTHON = os.environ.get("DCDR_VAPOURSYNTH_PYTHON", "")


def pq(nits):
    """SMPTE ST 2084, equation 5.2."""
    m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
    power = (np.asarray(nits, np.float64) / 10000) ** m1
    return ((c1 + c2 * power) / (1 + c3 * power)) ** m2


def luma_code(linear, white=203.0):
    """10-bit limited luma of neutral light in units of SDR white."""
    return np.rint(64 + 876 * pq(np.asarray(linear) * white))


class Clip:
    """Samples (rows, columns, channels) with what a clip says of itself."""

    def __init__(self, samples, props, family="RGB"):
        self.samples, self.props = np.asarray(samples, np.float64), dict(props)
        self.height, self.width = self.samples.shape[:2]
        self.format = SimpleNamespace(color_family=family)

    def get_frame(self, number):
        return self

    def set_output(self):
        self.props["output"] = True


def bicubic(clip, format, **wishes):
    if format == "RGBS":  # neutral limited luma alone
        return Clip(np.repeat((clip.samples - 16) / 219, 3, axis=2), clip.props)
    assert format == "YUV420P10"
    assert {name: wishes[name] for name in wishes if name.endswith("_s")} == {
        "transfer_in_s": "linear", "primaries_in_s": "709", "matrix_s": "2020ncl", "transfer_s": "st2084",
        "primaries_s": "2020", "range_s": "limited", "chromaloc_s": "top_left",
    }  # fmt: skip
    return Clip(luma_code(clip.samples[..., :1], wishes["nominal_luminance"]), clip.props, "YUV")


def point(clip, width, height, src_width, src_height):
    assert (width, height) == (src_width, src_height)
    rows, columns = height - clip.height, width - clip.width
    return Clip(np.pad(clip.samples, ((0, rows), (0, columns), (0, 0)), mode="edge"), clip.props)


def expr(clip, text):
    stack = []
    for word in text.split():
        if word == "x":
            stack.append(clip.samples)
        elif word in ("*", "max", "min"):
            right, left = stack.pop(), stack.pop()
            stack.append({"*": np.multiply, "max": np.maximum, "min": np.minimum}[word](left, right))
        else:
            stack.append(float(word))
    return Clip(stack.pop(), clip.props)


def run_on_stand_in(script: Path, luma, props=None):
    """Codes of luma that a script gives, and what its model was called with."""
    calls = []

    def model(clip, **arguments):
        calls.append({**arguments, "size": (clip.width, clip.height), "most": clip.samples.max()})
        return Clip(clip.samples / PEAK, clip.props)

    source = Clip(np.asarray(luma, np.float64)[..., None], props or {"_Matrix": 1}, "YUV")
    core = SimpleNamespace(
        resize=SimpleNamespace(Bicubic=bicubic, Point=point),
        std=SimpleNamespace(
            Expr=expr,
            SetFrameProps=lambda clip, **more: Clip(clip.samples, {**clip.props, **more}, clip.format.color_family),
            CropAbs=lambda clip, width, height: Clip(clip.samples[:height, :width], clip.props),
        ),
        bs=SimpleNamespace(VideoSource=lambda path: source),
        **{name: SimpleNamespace(Model=model) for name in ("ort", "ov", "trt", "trt_rtx")},
    )
    stand_in = SimpleNamespace(core=core, RGBS="RGBS", YUV420P10="YUV420P10", YUV="YUV")
    before, sys.modules["vapoursynth"] = sys.modules.get("vapoursynth"), stand_in  # type: ignore[assignment]
    try:
        found = {}
        exec(compile(script.read_text(), str(script), "exec"), found)
    finally:
        del sys.modules["vapoursynth"]
        if before is not None:
            sys.modules["vapoursynth"] = before
    assert found["pq"].props["output"]
    return found["pq"].samples[..., 0], calls[0]


@pytest.fixture
def script(tmp_path, tiny_model):
    def make(**wishes):
        return write_script(tmp_path / "a b.vpy", tiny_model, ScriptOptions(**wishes))

    return make


def test_sdr_white_ends_at_code_573_and_the_peak_where_pq_says(script) -> None:
    assert luma_code(1) == 573
    written = script()
    codes, call = run_on_stand_in(written.script, [[16, 235], [126, 255]] * 4)
    assert codes[0].tolist() == [64, 573]
    assert codes[1].tolist() == [luma_code(110 / 219), 573]  # brighter than white is white
    assert call == {"network_path": str(written.model), "size": (4, 8), "most": 1}
    brighter, _ = run_on_stand_in(script(reference_white=100).script, [[235]])
    assert brighter[0, 0] == luma_code(1, 100)


def test_frames_are_filled_up_to_whole_multiples_and_tiles(script) -> None:
    codes, call = run_on_stand_in(script().script, np.full((5, 7), 235))
    assert (codes.shape, call["size"]) == ((5, 7), (8, 8))
    codes, call = run_on_stand_in(script(tile=(64, 30)).script, np.full((100, 50), 235))
    assert (codes.shape, call["tilesize"], call["overlap"]) == ((100, 50), [32, 64], [8, 8])
    _, call = run_on_stand_in(script(tile=(64, 64)).script, np.full((20, 64), 235))
    assert "tilesize" not in call
    assert call["size"] == (64, 64)


def test_an_hdr_source_is_refused_by_the_script(script) -> None:
    with pytest.raises(ValueError, match="HDR already"):
        run_on_stand_in(script().script, [[235]], {"_Transfer": 16})


def write_engine(path, package="tensorrt", plugin=None):
    path.write_bytes(b"engine")
    known = sidecar.Sidecar(
        package=package, package_version="10.13.2", sms=(86,), precision="fp16", min_shape=(1, 64, 64),
        opt_shape=(1, 512, 768), max_shape=(1, 1024, 1024), onnx_sha256="0" * 64, engine_sha256=file_sha256(path),
        metadata=metadata.encode(METADATA), plugin=plugin,
    )  # fmt: skip
    sidecar.write(path, known)
    return path


@pytest.mark.parametrize(("backend", "package"), [("trt", "tensorrt"), ("trt_rtx", "tensorrt-rtx")])
def test_engines_go_in_tiles_of_their_best_size(tmp_path, backend, package) -> None:
    engine = write_engine(tmp_path / "a.engine", package)
    written = write_script(tmp_path / "a.vpy", engine, ScriptOptions(backend))
    _, call = run_on_stand_in(written.script, np.full((1080, 1920), 235))
    assert (call["engine_path"], call["tilesize"], call["size"]) == (str(engine), [768, 512], (1920, 1080))


def test_what_a_backend_cannot_run_is_refused(tmp_path, tiny_model) -> None:
    def refused(model, words, kind=ModelError, **wishes):
        with pytest.raises(kind, match=words):
            write_script(tmp_path / "a.vpy", model, ScriptOptions(**wishes))

    refused(tiny_model, "trt takes engines; build one with .* --plugin none", backend="trt")
    refused(write_engine(tmp_path / "p.engine", plugin="dcdr::DCRB"), "holds the plugin", backend="trt")
    refused(write_engine(tmp_path / "x.engine", "tensorrt-rtx"), "built with tensorrt-rtx", backend="trt")
    refused(write_engine(tmp_path / "s.engine"), "edges of 64 to 1024", InputError, backend="trt", tile=(64, 2048))
    refused(tmp_path / "s.engine", "ort takes .onnx files")
    refused(tiny_model, "ov runs models of one size", InputError, backend="ov")
    with pytest.raises(InputError, match=r"scripts are named \.vpy"):
        write_script(tmp_path / "a.py", tiny_model, ScriptOptions())
    for wishes in ({"backend": "ncnn"}, {"reference_white": float("nan")}, {"tile": (0, 4)}):
        with pytest.raises(InputError):
            ScriptOptions(**wishes)
    assert not list(tmp_path.glob("*.vpy"))


def test_openvino_gets_a_model_of_one_size_in_standard_operators(tmp_path) -> None:
    """It reads it without our converters, and computes what ONNX Runtime does of the original."""
    onnx, openvino = pytest.importorskip("onnx"), pytest.importorskip("openvino")
    runtime = pytest.importorskip("onnxruntime")
    model = build_model(tmp_path / "net.onnx")
    written = write_script(tmp_path / "a.vpy", model, ScriptOptions("ov", (48, 62)))
    made = onnx.load(written.model)
    assert {node.domain for node in made.graph.node} == {""}
    assert "DeformConv" not in {node.op_type for node in made.graph.node}
    assert not made.functions
    assert not made.metadata_props  # no model of ours to find in a working directory
    shapes = {value.name: len(value.type.tensor_type.shape.dim) for value in made.graph.value_info}
    assert {name for node in made.graph.node for name in node.output} <= {*shapes, made.graph.output[0].name}
    picture = np.random.default_rng(0).random((1, 3, 48, 64), np.float32)
    expected = runtime.InferenceSession(model).run(None, {made.graph.input[0].name: picture})[0]
    compiled = openvino.Core().compile_model(str(written.model), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    assert np.abs(compiled(picture)[0] - expected).max() < 1e-4
    assert written.notes == ("a.ov.onnx is made for frames or tiles of 48x64 (HxW) alone",)


def test_the_command_says_where_things_are(tmp_path, tiny_model) -> None:
    target = tmp_path / "a.vpy"
    done = CliRunner().invoke(main, ["vapoursynth", str(tiny_model), "-o", str(target), "--tile", "64x64", "--json"])
    assert done.exit_code == 0, done.output
    assert '"script": ' in done.stdout
    assert "vspipe -c y4m -a source=film.mkv" in target.read_text()
    CliRunner().invoke(main, ["vapoursynth", str(tiny_model), "-o", str(target), "--tile", "48x64"])
    assert "TILE = (64, 48)  # width and height" in target.read_text()  # VapourSynth's own order
    wrong = CliRunner().invoke(main, ["vapoursynth", str(tiny_model), "-o", str(target), "--tile", "big"])
    assert wrong.exit_code == 2
    assert "'big' is no size; write HEIGHTxWIDTH" in wrong.stderr


RUN = """
import sys
import numpy as np
import vapoursynth as vs
luma = vs.core.std.BlankClip(format=vs.YUV420P8, width=98, height=66, length=1, color=[235, 128, 128])
luma = vs.core.std.SetFrameProps(luma, _Matrix=1, _Transfer=1, _Primaries=1)
exec(compile(open(sys.argv[1]).read(), sys.argv[1], "exec"), {"clip": luma})
frame = vs.get_output(0).clip.get_frame(0)
print(frame.format.name, frame.width, frame.height, int(np.asarray(frame[0])[33, 49]))
print(int(frame.props["_ChromaLocation"]))
"""


@pytest.mark.skipif(not PYTHON, reason="DCDR_VAPOURSYNTH_PYTHON names no Python (3.12 or newer) that has VapourSynth")
@pytest.mark.parametrize("tile", [None, (64, 64)])
def test_vapoursynth_itself_runs_it(tmp_path, tile) -> None:
    """A network that gives SDR white for white."""
    model = write_gain_net(tmp_path / "net.onnx", gain=1 / PEAK)
    written = write_script(tmp_path / "a.vpy", model, ScriptOptions(tile=tile))
    command = [PYTHON, "-c", RUN, str(written.script)]
    environment = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    top_left = "2"
    assert done.stdout.split() == ["YUV420P10", "98", "66", "573", top_left], done.stderr
