"""The whole tool's other ways to run the network, for gpu_check.py: each is left out where its package is missing."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import gpu_measure as measure
from gpu_report import SIZES

from dcdr_deploy.engines import EngineOptions, ModelMetadata
from dcdr_deploy.engines.torch.engine import TorchEngine
from dcdr_deploy.engines.torch.fused import compute_capability
from dcdr_deploy.errors import DcdrError
from dcdr_deploy.run.selection import DEMO_MODEL


def torch_times(shape: tuple[int, int]) -> list[float]:
    """Milliseconds of frames (height, width) by the torch backend's fast path, from array to array."""
    batch = measure.picture(*shape).numpy()
    options = EngineOptions(device="cuda", precision="fp16")
    with TorchEngine(measure.network()[0], ModelMetadata(), None, "cuda", options, "fp16") as engine:
        return measure.host_times(lambda: engine.infer(batch))


def times(load: Callable[[ExitStack], Any], shape: tuple[int, int]) -> list[float]:
    """Milliseconds of frames (height, width) by the engine that ``load`` gives, from array to array."""
    batch = measure.picture(*shape).numpy()
    with ExitStack() as stack:
        engine = load(stack)
        return measure.host_times(lambda: engine.infer(batch))


def load_onnxruntime(stack: ExitStack, model: Path = DEMO_MODEL) -> Any:
    _need("onnxruntime")
    from dcdr_deploy.engines.onnxruntime import load

    return stack.enter_context(load(model, EngineOptions(device="cuda")))


def load_onnxruntime_fp16(stack: ExitStack) -> Any:
    _need("onnxruntime")
    _need("onnx")
    import onnx

    from dcdr_deploy.export.fp16 import to_fp16

    path = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "model.fp16.onnx"
    onnx.save(to_fp16(onnx.load(DEMO_MODEL)), path)
    return load_onnxruntime(stack, path)


def load_tensorrt(stack: ExitStack, package: str) -> Any:
    _need(package.replace("-", "_"))
    from dcdr_deploy.building.build import build_engine
    from dcdr_deploy.building.request import BuildRequest
    from dcdr_deploy.engines import load_engine

    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    request = BuildRequest(package=package, fp16=True, tile=SIZES["1920x1080"])
    built = build_engine(DEMO_MODEL, folder / "model.engine", request)
    return stack.enter_context(load_engine(built.engine, package, EngineOptions(device="cuda")))


def load_tensorrt_rtx(stack: ExitStack) -> Any:
    """As :func:`load_tensorrt`; on a GPU outside the package's list, an engine for the nearest one that is listed.

    The tool refuses such an engine. Here it is given to the runtime all the same, to learn what that answers.
    """
    _need("tensorrt_rtx")
    from dcdr_deploy.building.build import build_engine
    from dcdr_deploy.building.request import BuildRequest
    from dcdr_deploy.engines.tensorrt import trt_api
    from dcdr_deploy.engines.tensorrt.engine import open_engine
    from dcdr_deploy.modelfile.sidecar import write

    package, sm = "tensorrt-rtx", compute_capability(0)
    listed = trt_api.builder_sms(trt_api.load_api(package))
    if sm in listed:
        return load_tensorrt(stack, package)
    nearest = max((each for each in listed if each < sm), default=min(listed))
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    request = BuildRequest(package=package, sms=(nearest,), fp16=True, tile=SIZES["1920x1080"])
    built = build_engine(DEMO_MODEL, folder / "model.engine", request)
    write(built.engine, replace(built.sidecar, sms=(sm,)))
    try:
        return stack.enter_context(open_engine(built.engine))
    except DcdrError as error:
        raise RuntimeError(f"SM{sm} is not in its list; given an engine for SM{nearest}: {error}") from error


def _need(module: str) -> None:
    if importlib.util.find_spec(module) is None:
        raise RuntimeError(f"{module} is not installed")


OTHERS: dict[str, Callable[[ExitStack], Any]] = {
    "onnxruntime CUDA, fp32": load_onnxruntime,
    "onnxruntime CUDA, fp16": load_onnxruntime_fp16,
    "tensorrt, fp16": lambda stack: load_tensorrt(stack, "tensorrt"),
    "tensorrt-rtx, fp16": load_tensorrt_rtx,
}
"""Other backends by the name of their row; each gives an engine that the stack closes."""
