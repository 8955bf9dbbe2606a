"""The model repository for Triton, read with Triton's own protobuf, and the client, against a server made of it.

No Triton server runs here: the stand-in answers what the protocol says, with the configuration that was written.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent import futures
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tritonclient.grpc")

import grpc
from click.testing import CliRunner
from gain_net import GAIN
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc

from dcdr_deploy.engines.choice import load_engine
from dcdr_deploy.errors import EngineError, InputError, MissingDependency, ModelError
from dcdr_deploy.imaging.read_hdr import read_hdr
from dcdr_deploy.modelfile import metadata, sidecar
from dcdr_deploy.run.file import convert_file
from dcdr_deploy.run.runner import Runner
from dcdr_deploy.serving import triton_client
from dcdr_deploy.serving.triton_client import TritonEngine
from dcdr_deploy.serving.triton_config import as_text
from dcdr_deploy.serving.triton_repository import LARGEST_BATCH, TritonOptions, write_repository
from dcdr_deploy.system.files import file_sha256


def parsed(config: Path) -> model_config_pb2.ModelConfig:
    """Unknown fields and wrong types are errors of this parser."""
    return text_format.Parse(config.read_text(), model_config_pb2.ModelConfig())


def write_engine(path: Path, **changes: object) -> Path:
    """A file with the sidecar of an engine that Triton can run; the engine itself is no matter of these tests."""
    from gain_net import METADATA

    path.write_bytes(b"engine")
    known = sidecar.Sidecar(
        package="tensorrt",
        package_version="10.13.2",
        sms=(86,),
        precision="fp16",
        min_shape=(1, 64, 64),
        opt_shape=(4, 512, 768),
        max_shape=(4, 1024, 1024),
        onnx_sha256="0" * 64,
        engine_sha256=file_sha256(path),
        metadata=metadata.encode(METADATA),
    )
    sidecar.write(path, replace(known, **changes))
    return path


def test_an_onnx_model_of_any_size_is_batched_and_warmed_up_at_working_sizes(tmp_path, tiny_model):
    written = write_repository(tmp_path / "models", tiny_model, TritonOptions(name="net", instances=2, delay=5))
    assert written.model == tmp_path / "models" / "net" / "1" / "model.onnx"
    assert written.model.read_bytes() == tiny_model.read_bytes()
    config = parsed(written.config)
    assert (config.name, config.backend, config.default_model_filename) == ("net", "onnxruntime", "model.onnx")
    assert config.max_batch_size == LARGEST_BATCH
    for tensor, name in ((config.input, "sdr"), (config.output, "hdr")):
        assert [(t.name, t.data_type, list(t.dims)) for t in tensor] == [
            (name, model_config_pb2.TYPE_FP32, [3, -1, -1])
        ]
    assert config.dynamic_batching.max_queue_delay_microseconds == 5000
    assert config.dynamic_batching.default_queue_policy.max_queue_size == 64
    (group,) = config.instance_group
    assert (group.count, group.kind) == (2, model_config_pb2.ModelInstanceGroup.KIND_AUTO)
    warmed = {each.name: list(each.inputs["sdr"].dims) for each in config.model_warmup}
    assert warmed == {
        "768x512": [3, 512, 768],
        "256x176": [3, 176, 256],
        "512x768": [3, 768, 512],
        "176x256": [3, 256, 176],
    }
    assert all(each.batch_size == 1 for each in config.model_warmup)
    assert config.parameters["dcdr.peak"].string_value == "8.0"
    assert "dcdr.training" not in config.parameters


def test_a_model_for_one_picture_of_one_size_gets_no_batches(tmp_path, make_model):
    model = make_model(shape=(1, 3, 64, 96))
    config = parsed(write_repository(tmp_path / "models", model, TritonOptions(device="cpu")).config)
    assert config.max_batch_size == 0
    assert not config.HasField("dynamic_batching")
    assert list(config.input[0].dims) == [1, 3, 64, 96]
    (warmup,) = config.model_warmup
    assert (warmup.batch_size, list(warmup.inputs[config.input[0].name].dims)) == (1, [1, 3, 64, 96])
    assert config.instance_group[0].kind == model_config_pb2.ModelInstanceGroup.KIND_CPU
    with pytest.raises(InputError, match="takes one picture a call, `max_batch` cannot be 4"):
        write_repository(tmp_path / "models", model, TritonOptions(max_batch=4))


def test_an_engine_goes_to_the_tensorrt_backend_with_its_range_and_batch(tmp_path):
    engine = write_engine(tmp_path / "net.engine")
    written = write_repository(tmp_path / "models", engine, TritonOptions())
    config = parsed(written.config)
    assert (config.backend, config.default_model_filename, written.model.name) == (
        "tensorrt",
        "model.plan",
        "model.plan",
    )
    assert (config.max_batch_size, list(config.dynamic_batching.preferred_batch_size)) == (4, [4])
    assert config.instance_group[0].kind == model_config_pb2.ModelInstanceGroup.KIND_GPU
    assert config.parameters["size.smallest"].string_value == "64x64"
    assert config.parameters["size.largest"].string_value == "1024x1024"
    assert "TensorRT 10.13.2 and a GPU of SM86" in written.notes[0]


@pytest.mark.parametrize(
    ("changes", "options", "sentence"),
    [
        (
            {"package": "tensorrt-rtx"},
            TritonOptions(),
            "runs engines of TensorRT alone; build one with --backend tensorrt",
        ),
        (
            {"plugin": "dcdr::DCRB", "plugin_version": "2"},
            TritonOptions(),
            "no library of it that Triton could be given by LD_PRELOAD",
        ),
        ({}, TritonOptions(device="cpu"), "`device` cannot be cpu"),
        ({}, TritonOptions(max_batch=8), "takes 4 pictures a call, `max_batch` cannot be 8"),
    ],
)
def test_an_engine_that_triton_cannot_run_is_refused_with_the_reason(tmp_path, changes, options, sentence):
    engine = write_engine(tmp_path / "net.engine", **changes)
    with pytest.raises((ModelError, InputError)) as raised:
        write_repository(tmp_path / "models", engine, options)
    assert sentence in str(raised.value)
    assert not (tmp_path / "models").exists()


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_any_text_survives_the_text_format(text):
    content = {"name": "x", "parameters": [{"key": text, "value": {"string_value": text}}]}
    config = text_format.Parse(as_text(content), model_config_pb2.ModelConfig())
    assert {key: value.string_value for key, value in config.parameters.items()} == {text: text}


class StandIn(service_pb2_grpc.GRPCInferenceServiceServicer):
    """Serves what a repository's configuration says: multiplies by the gain of the tiny model."""

    def __init__(self, config: model_config_pb2.ModelConfig) -> None:
        self.config = config
        self.shapes: list[list[int]] = []
        self.fails: tuple[grpc.StatusCode, str] | None = None

    def ModelConfig(self, request, context):  # noqa: N802 - as the service calls it
        if request.name != self.config.name:
            context.abort(grpc.StatusCode.NOT_FOUND, f"Request for unknown model: '{request.name}' is not found")
        return service_pb2.ModelConfigResponse(config=self.config)

    def ModelInfer(self, request, context):  # noqa: N802 - as the service calls it
        if self.fails is not None:
            context.abort(*self.fails)
        (given,) = request.inputs
        assert (given.name, given.datatype) == (self.config.input[0].name, "FP32")
        dims = list(self.config.input[0].dims)
        if self.config.max_batch_size:
            assert given.shape[0] <= self.config.max_batch_size
            dims = [given.shape[0], *dims]
        assert len(given.shape) == len(dims)
        assert all(stated in (-1, found) for stated, found in zip(dims, given.shape, strict=True))
        self.shapes.append(list(given.shape))
        values = np.frombuffer(request.raw_input_contents[0], np.float32) * np.float32(GAIN)
        output = service_pb2.ModelInferResponse.InferOutputTensor(
            name=request.outputs[0].name, datatype="FP32", shape=given.shape
        )
        return service_pb2.ModelInferResponse(
            model_name=self.config.name, outputs=[output], raw_output_contents=[values.tobytes()]
        )


@pytest.fixture
def serving() -> Iterator:
    """``serving(config)``: the stand-in and its address."""
    servers = []

    def start(config: Path) -> tuple[StandIn, str]:
        stand_in = StandIn(parsed(config))
        server = grpc.server(futures.ThreadPoolExecutor(2), options=[("grpc.max_receive_message_length", -1)])
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(stand_in, server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        servers.append(server)
        return stand_in, f"127.0.0.1:{port}"

    yield start
    for server in servers:
        ended: threading.Event = server.stop(None)
        ended.wait()


@pytest.fixture
def clipped(tmp_path) -> Path:
    from PIL import Image

    pixels = np.full((600, 1200, 3), 120, np.uint8)
    pixels[100:300, 200:700] = 255
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_the_client_writes_the_file_that_run_writes_and_sends_working_sizes(tmp_path, tiny_model, serving, clipped):
    stand_in, url = serving(write_repository(tmp_path / "models", tiny_model, TritonOptions()).config)
    result = CliRunner().invoke(triton_client.main, [str(clipped), str(tmp_path / "remote.exr"), "--url", url])
    assert result.exit_code == 0, result.output
    assert "remote.exr" in result.stdout
    with load_engine(tiny_model, "onnxruntime") as engine:
        convert_file(clipped, tmp_path / "local.exr", Runner(engine))
    there, here = (read_hdr(tmp_path / name).pixels for name in ("remote.exr", "local.exr"))
    np.testing.assert_allclose(there, here, rtol=1e-3)
    assert stand_in.shapes == [[1, 3, 128, 256], [1, 3, 384, 768]]


def test_an_engine_of_a_fixed_size_gets_tiles_of_it(tmp_path, make_model, serving, clipped):
    stand_in, url = serving(
        write_repository(tmp_path / "models", make_model(shape=(1, 3, 64, 96)), TritonOptions()).config
    )
    with TritonEngine(url) as engine:
        assert (engine.info.fixed_size, engine.info.max_batch) == ((64, 96), 1)
        Runner(engine).run(np.zeros((100, 100, 3), np.uint8))
    assert set(map(tuple, stand_in.shapes)) == {(1, 3, 64, 96)}


def test_what_the_server_says_no_to_is_one_line(tmp_path, tiny_model, serving, clipped):
    stand_in, url = serving(write_repository(tmp_path / "models", tiny_model, TritonOptions()).config)
    with pytest.raises(EngineError, match="does not serve other"):
        TritonEngine(url, "other")
    with TritonEngine(url) as engine:
        stand_in.fails = grpc.StatusCode.UNAVAILABLE, "Exceeds maximum queue size"
        with pytest.raises(EngineError, match=r"triton failed: .*Exceeds maximum queue size"):
            engine.infer(np.zeros((1, 3, 64, 64), np.float32))
    arguments = [str(clipped), str(tmp_path / "a.exr"), "--url", "127.0.0.1:1"]
    result = CliRunner().invoke(triton_client.main, arguments)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert result.stderr.startswith("error: 127.0.0.1:1 does not serve dcdr_unet")


def test_a_foreign_model_is_told_apart(tmp_path, tiny_model, serving):
    stand_in, url = serving(write_repository(tmp_path / "models", tiny_model, TritonOptions()).config)
    stand_in.config.parameters.clear()
    with pytest.raises(ModelError, match=f"dcdr_unet on {url} .*carries no DCDR-UNet metadata"):
        TritonEngine(url)


def test_without_tritonclient_the_install_line_is_told(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tritonclient", None)
    with pytest.raises(MissingDependency, match="tritonclient: pip install"):
        TritonEngine("localhost:1")


def test_the_command_tells_what_it_wrote_and_what_the_server_needs(dcdr, tmp_path, tiny_model):
    result = dcdr("triton", tmp_path / "models", "-m", tiny_model, "--json")
    assert result.exit_code == 0, result.output
    config = Path(json.loads(result.stdout)["config"])
    assert config == tmp_path / "models" / "dcdr_unet" / "config.pbtxt"
    assert "ONNX Runtime 1.25" in result.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--name", "../up"), "--name '../up': a model's name is"),
        (("--instances", "0"), "--instances must be 1 to 64, not 0"),
        (("--delay", "nan"), "--delay must be 0 to 1000, not nan"),
        (("-m", "net.pth"), "net.pth"),
    ],
)
def test_a_wrong_value_is_one_line_and_exit_2(dcdr, tmp_path, options, said):
    (tmp_path / "net.pth").write_bytes(b"x")
    result = dcdr("triton", "models", *options)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr
    assert not (tmp_path / "models").exists()
