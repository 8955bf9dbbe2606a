"""The other backends' rows: what is asked of a package on a GPU that it does not know."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch")

import gpu_backends

from dcdr_deploy.building import build as pipeline
from dcdr_deploy.building.request import BuildRequest
from dcdr_deploy.engines.tensorrt import engine, trt_api
from dcdr_deploy.errors import ModelError
from dcdr_deploy.modelfile.sidecar import Sidecar, read_sidecar, write
from dcdr_deploy.system.files import file_sha256


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[BuildRequest]:
    """A package that lists SM80 and SM120, and a GPU of SM90; what is asked to be built."""
    requests: list[BuildRequest] = []
    listing = SimpleNamespace(ComputeCapability=SimpleNamespace(__members__={"SM80": 80, "SM120": 120}))

    def build(source: Path, output: Path, request: BuildRequest) -> Any:
        requests.append(request)
        output.write_bytes(b"engine")
        shape, digest = (1, 1080, 1920), file_sha256(output)
        sms = tuple(sm for sm in request.sms if isinstance(sm, int))
        sidecar = Sidecar("tensorrt-rtx", "1.7.1", sms, "fp16", shape, shape, shape, "", digest, {})
        write(output, sidecar)
        return SimpleNamespace(engine=output, sidecar=sidecar)

    monkeypatch.setattr(gpu_backends, "_need", lambda module: None)
    monkeypatch.setattr(gpu_backends, "compute_capability", lambda device: 90)
    monkeypatch.setattr(trt_api, "load_api", lambda name: listing)
    monkeypatch.setattr(pipeline, "build_engine", build)
    return requests


def test_on_a_gpu_outside_its_list_rtx_is_asked_all_the_same_and_its_answer_noted(
    asked: list[BuildRequest], monkeypatch: pytest.MonkeyPatch
):
    opened: list[Sidecar] = []

    def refuse(path: Path) -> None:
        opened.append(read_sidecar(path))
        raise ModelError("tensorrt-rtx cannot load it: no kernel for this device")

    monkeypatch.setattr(engine, "open_engine", refuse)
    words = r"SM90 is not in its list; given an engine for SM80: .* no kernel for this device"
    with pytest.raises(RuntimeError, match=words), ExitStack() as stack:
        gpu_backends.load_tensorrt_rtx(stack)
    assert [request.sms for request in asked] == [(80,)]
    assert [sidecar.sms for sidecar in opened] == [(90,)]


def test_on_a_gpu_of_its_list_rtx_builds_for_that(asked: list[BuildRequest], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gpu_backends, "compute_capability", lambda device: 120)
    monkeypatch.setattr(gpu_backends, "load_tensorrt", lambda stack, package: package)
    with ExitStack() as stack:
        assert gpu_backends.load_tensorrt_rtx(stack) == "tensorrt-rtx"
    assert asked == []
