"""The backends on small models: they agree with each other and fail with one line."""

from __future__ import annotations

import signal
import subprocess
import sys
import types
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from dcdr_deploy.engines import Engine, EngineOptions, ModelMetadata, load_engine
from dcdr_deploy.errors import DcdrError, EngineError, EngineOutOfMemory, MissingDependency, ModelError
from dcdr_deploy.imaging.frame import Frame
from dcdr_deploy.system import hardware

NO_GPU = hardware.cuda_device_count() == 0
CPU = EngineOptions(device="cpu", threads=1)


def picture(batch: int = 1, height: int = 24, width: int = 32) -> np.ndarray:
    return np.random.default_rng(3).random((batch, 3, height, width), dtype=np.float32)


@pytest.fixture(scope="module", params=["onnxruntime", "openvino"])
def engine(request: pytest.FixtureRequest, model_file: Path) -> Engine:
    pytest.importorskip(request.param)
    with load_engine(model_file, request.param, CPU) as engine:
        yield engine


def test_info_says_what_runs_where(engine: Engine, model_file: Path):
    info = engine.info
    assert info.model == model_file
    assert info.device == "CPU (1 thread)"
    assert (info.metadata.name, info.metadata.peak, info.device_kind) == ("test net", 8.0, "cpu")
    assert info.bytes_per_pixel is not None
    assert info.bytes_per_pixel > 1000


def test_any_batch_and_size_runs(engine: Engine):
    whole = engine.infer(picture(3, 24, 32))
    assert whole.dtype == np.float32
    single = engine.infer(picture(3, 24, 32)[1:2])
    np.testing.assert_allclose(single[0], whole[1], atol=1e-5)
    assert engine.infer(picture(1, 4, 64)).shape == (1, 3, 4, 64)


def test_results_do_not_share_memory_with_later_calls(engine: Engine):
    first = engine.infer(picture())
    kept = first.copy()
    engine.infer(1 - picture())
    np.testing.assert_array_equal(first, kept)


def test_threads_that_share_an_engine_take_turns(engine: Engine):
    batches = [picture() * np.float32(part / 8) for part in range(8)]
    alone = [engine.infer(batch) for batch in batches]

    def work(batch: np.ndarray) -> np.ndarray:
        engine.rest()
        return engine.infer(batch)

    with ThreadPoolExecutor(4) as pool:
        for result, expected in zip(pool.map(work, batches), alone, strict=True):
            np.testing.assert_allclose(result, expected, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_codes_give_what_their_normalised_floats_give(engine: Engine, dtype: type):
    codes = np.random.default_rng(5).integers(0, np.iinfo(dtype).max, (2, 24, 32, 3), dtype, endpoint=True)
    floats = np.stack([Frame(tile).normalised().transpose(2, 0, 1) for tile in codes])
    np.testing.assert_array_equal(engine.infer_codes(codes), engine.infer(floats))


@pytest.mark.parametrize(
    ("codes", "words"),
    [
        (np.zeros((1, 24, 32, 3), np.float32), "uint8 or uint16 codes"),
        (np.zeros((1, 3, 24, 32), np.uint8), "uint8 or uint16 codes"),
        (np.zeros((1, 22, 32, 3), np.uint8), "multiples of 4"),
        (np.zeros((0, 24, 32, 3), np.uint8), "positive"),
    ],
)
def test_what_is_no_batch_of_codes_is_refused(engine: Engine, codes: np.ndarray, words: str):
    with pytest.raises(EngineError, match=words):
        engine.infer_codes(codes)


def test_ctrl_c_while_openvino_reads_a_model_is_no_model_that_cannot_be_read(
    model_file: Path, monkeypatch: pytest.MonkeyPatch
):
    openvino = pytest.importorskip("dcdr_deploy.engines.openvino")
    convert = openvino._deform_conv

    def interrupted(*inputs: object, **attributes: object) -> object:
        signal.raise_signal(signal.SIGINT)
        return convert(*inputs, **attributes)

    monkeypatch.setattr(openvino, "_deform_conv", interrupted)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job of a shell inherits it ignored
    with pytest.raises(KeyboardInterrupt):
        load_engine(model_file, "auto", CPU)


AFTER_MODELS = """
import signal, sys, threading
from dcdr_deploy.engines import EngineOptions, load_engine

first, second = (load_engine(sys.argv[1], sys.argv[2], EngineOptions(device="cpu", threads=1)) for _ in range(2))
for engine in (first, second):
    if sys.argv[3] == "by another thread":
        thread = threading.Thread(target=engine.close)
        thread.start()
        thread.join()
    else:
        engine.close()
signal.signal(signal.SIGINT, lambda *_: print("handled"))
signal.raise_signal(signal.SIGINT)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signal stacks are those of POSIX")
@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("closed", ["in their order", "by another thread"])
def test_signals_are_handled_after_models_have_gone(model_file: Path, backend: str, closed: str):
    pytest.importorskip(backend)
    command = [sys.executable, "-c", AFTER_MODELS, str(model_file), backend, closed]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr


@pytest.mark.parametrize("inline", [False, True], ids=["functions", "inlined"])
def test_openvino_agrees_with_onnxruntime(make_model: Callable[..., Path], inline: bool):
    pytest.importorskip("openvino")
    path = make_model(inline=inline)
    with load_engine(path, "onnxruntime", CPU) as reference, load_engine(path, "openvino", CPU) as engine:
        expected, got = reference.infer(picture(2)), engine.infer(picture(2))
    assert expected.std() > 0.1  # a network that gives zeros would agree as well
    assert np.abs(got - expected).max() <= 1e-4


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_an_engine_that_rested_goes_on_as_before(model_file: Path, backend: str):
    pytest.importorskip(backend)
    with load_engine(model_file, backend, CPU) as engine:
        before = engine.infer(picture())
        engine.rest()
        np.testing.assert_array_equal(engine.infer(picture()), before)


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_a_model_in_half_precision_runs_between_float32_ends(
    model_file: Path, make_model: Callable[..., Path], backend: str
):
    pytest.importorskip(backend)
    with (
        load_engine(model_file, "onnxruntime", CPU) as reference,
        load_engine(make_model(half=True), backend, CPU) as engine,
    ):
        expected, got = reference.infer(picture()), engine.infer(picture())
    assert 0 < np.abs(got - expected).max() <= 0.02 * np.abs(expected).max()


def test_offsets_matter_in_the_test_model(make_model: Callable[..., Path]):
    """Guards the test above: without deformation the network would give something else."""
    import onnx
    from onnx import numpy_helper

    path = make_model()
    with load_engine(path, "onnxruntime", CPU) as engine:
        deformed = engine.infer(picture())
    model = onnx.load(path)
    for weight in model.graph.initializer:
        if ".offset." in weight.name:
            weight.CopyFrom(numpy_helper.from_array(np.zeros(weight.dims, np.float32), weight.name))
    onnx.save(model, path)
    with load_engine(path, "onnxruntime", CPU) as engine:
        assert np.abs(engine.infer(picture()) - deformed).max() > 0.01


def test_a_fixed_model_takes_its_size_only(make_model: Callable[..., Path]):
    with load_engine(make_model(shape=(1, 3, 24, 32)), "onnxruntime", CPU) as engine:
        assert engine.infer(picture()).shape == (1, 3, 24, 32)
        with pytest.raises(EngineError, match="24 x 32 only"):
            engine.infer(picture(1, 24, 36))
        with pytest.raises(EngineError, match="at most 1"):
            engine.infer(picture(2))


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        (picture().astype(np.float64), "float32"),
        (picture()[0], "float32"),
        (picture(1, 22, 32), "multiples of 4"),
        (picture()[:0], "positive"),
        (np.full((1, 3, 4, 4), np.nan, np.float32), "NaN"),
    ],
)
def test_bad_input_is_refused_before_the_backend_sees_it(engine: Engine, batch: np.ndarray, words: str):
    with pytest.raises(EngineError, match=words):
        engine.infer(batch)


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_a_closed_engine_says_so(model_file: Path, backend: str):
    pytest.importorskip(backend)
    engine = load_engine(model_file, backend, CPU)
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.infer(picture())


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_an_operator_that_does_not_exist_is_one_line(make_model: Callable[..., Path], backend: str):
    pytest.importorskip(backend)
    path = make_model()
    path.write_bytes(path.read_bytes().replace(b"DCRB", b"DCRX", 1))  # one call of a function that is not there
    with pytest.raises(ModelError, match="cannot load") as caught:
        load_engine(path, backend, CPU)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(not NO_GPU, reason="this machine has a GPU")
@pytest.mark.parametrize("backend", ["auto", "onnxruntime", "openvino"])
def test_cuda_where_there_is_none_is_refused_with_the_reason(model_file: Path, backend: str):
    pytest.importorskip("openvino")
    with pytest.raises(EngineError, match="no cuda device"):
        load_engine(model_file, backend, EngineOptions(device="cuda"))


@pytest.mark.gpu
@pytest.mark.skipif(NO_GPU, reason="no NVIDIA GPU")
def test_cuda_agrees_with_the_cpu(model_file: Path):
    with (
        load_engine(model_file, "onnxruntime", CPU) as reference,
        load_engine(model_file, "onnxruntime", EngineOptions(device="cuda")) as engine,
    ):
        assert np.abs(engine.infer(picture(2)) - reference.infer(picture(2))).max() <= 1e-4


def test_the_identity_model_that_providers_are_tried_with_is_valid():
    onnxruntime = pytest.importorskip("onnxruntime")
    from dcdr_deploy.engines.onnxruntime import _IDENTITY_MODEL

    session = onnxruntime.InferenceSession(_IDENTITY_MODEL, providers=["CPUExecutionProvider"])
    np.testing.assert_array_equal(session.run(None, {"x": np.ones(1, np.float32)})[0], [1])


class _Loaded(types.SimpleNamespace):
    """What ``dcdr_deploy.models.load_checkpoint`` returns."""


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkpoint whose network halves its input; only the loader's contract is used, not the loader."""
    torch = pytest.importorskip("torch")

    class Halve(torch.nn.Module):
        def forward(self, x):
            if x.shape[-1] > 1000:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.\nmore")
            return x / 2

    models = types.ModuleType("dcdr_deploy.models")
    models.load_checkpoint = lambda path: _Loaded(network=Halve(), metadata=ModelMetadata(size_multiple=4), source=path)
    monkeypatch.setitem(sys.modules, "dcdr_deploy.models", models)
    path = tmp_path / "net.pth"
    path.write_bytes(b"anything")
    return path


def test_torch_runs_a_checkpoint(checkpoint: Path):
    with load_engine(checkpoint, options=EngineOptions(device="cpu")) as engine:
        assert engine.info.backend == "torch"
        np.testing.assert_array_equal(engine.infer(picture()), picture() / 2)
        with pytest.raises(EngineOutOfMemory, match="torch ran out of memory"):
            engine.infer(picture(1, 4, 1004))


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino", "torch"])
def test_a_package_that_is_missing_is_named_with_its_install_line(
    tmp_path: Path, model_file: Path, monkeypatch: pytest.MonkeyPatch, backend: str
):
    monkeypatch.setitem(sys.modules, backend, None)  # makes its import fail
    monkeypatch.setattr("dcdr_deploy.system.packages.installed", lambda name: name != backend)
    checkpoint = tmp_path / "net.pth"
    checkpoint.write_bytes(b"anything")
    path = checkpoint if backend == "torch" else model_file
    with pytest.raises(MissingDependency, match=rf"{backend}( is)? not installed; install: pip install"):
        load_engine(path, backend)


def test_more_threads_than_may_run_at_once_are_cut_with_a_note(monkeypatch, caplog):
    monkeypatch.setattr(hardware, "cpu_threads", lambda: 3)
    assert [EngineOptions(threads=asked).threads for asked in (None, 1, 3)] == [None, 1, 3]
    assert not caplog.records
    assert EngineOptions(threads=2000).threads == 3
    assert "`threads` 2000: this process may run 3 at once" in caplog.text


@pytest.mark.parametrize("options", [{"device": "gpu"}, {"device": "cuda:x"}, {"threads": 0}])
def test_options_out_of_range_are_refused(options: dict):
    with pytest.raises(DcdrError, match=r"device|threads"):
        EngineOptions(**options)
