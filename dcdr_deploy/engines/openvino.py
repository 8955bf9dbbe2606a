"""OpenVINO: the fastest backend on CPUs, and on x86-64 the one that the base installation brings.

OpenVINO's ONNX reader knows neither ``ai.onnx::DeformConv`` nor functions inside a model, but takes converters for
operators it does not know. Three small ones, below, build the nodes of this project from OpenVINO's own operators; they
give what the functions' bodies in the file say, so the file needs no rewriting and the onnx package is not needed.
"""

from __future__ import annotations

import os
import threading
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.engines.base import (
    DEFAULT_OPTIONS,
    DEVICE_CPU,
    DEVICE_CUDA,
    Availability,
    Engine,
    EngineInfo,
    EngineOptions,
)
from dcdr_deploy.engines.precision import require_precision_of_onnx
from dcdr_deploy.errors import EngineError, MissingDependency, ModelError
from dcdr_deploy.modelfile.names import DCRB, DOMAIN
from dcdr_deploy.modelfile.onnx_file import OnnxModel, read_model
from dcdr_deploy.system import hardware, packages
from dcdr_deploy.system.faults import engine_error, import_fault, one_line
from dcdr_deploy.system.interrupts import held
from dcdr_deploy.system.privacy import without_openvino_telemetry
from dcdr_deploy.system.words import number_of

NAME = "openvino"
EXTRA = "openvino"

BYTES_PER_PIXEL = 3300
"""Working memory per input pixel, measured 3166 at 512 x 512 and 3089 at 768 x 768 with the ``paper`` preset."""


def availability(*, deep: bool = False) -> Availability:
    """Tell whether OpenVINO can be used; imports it (a fraction of a second)."""
    del deep  # nothing here takes long
    try:
        with without_openvino_telemetry():
            import openvino  # noqa: F401
    except (ImportError, OSError) as error:
        return Availability(ok=False, reason=import_fault("openvino", error), install=packages.install_line(EXTRA))
    return Availability(ok=True, versions=packages.versions((NAME,)), devices=(DEVICE_CPU,))


def refusal(path: Path, options: EngineOptions = DEFAULT_OPTIONS) -> str:
    """Return why the backend is not the one for a file: never, it takes all of its suffixes."""
    return ""


def load(path: Path, options: EngineOptions = DEFAULT_OPTIONS) -> Engine:
    """Load an ONNX model for the CPU.

    Raises:
        ModelError: the model does not fit or OpenVINO refuses it.
        MissingDependency: openvino is not installed.
        EngineError: a CUDA device was asked for, or another precision than the file's.
    """
    if options.kind == DEVICE_CUDA:
        raise EngineError("openvino has no cuda device; use backend onnxruntime")
    model = read_model(path)
    require_precision_of_onnx(options, model)
    return OpenVinoEngine(model, options)


class OpenVinoEngine(Engine):
    """A compiled OpenVINO model on the CPU."""

    def __init__(self, model: OnnxModel, options: EngineOptions) -> None:
        """Read, convert and compile the model.

        Raises:
            ModelError: OpenVINO refuses the model.
            MissingDependency: openvino is not installed.
            EngineError: memory ran out.
        """
        try:
            with without_openvino_telemetry():
                import openvino  # noqa: F401
        except (ImportError, OSError) as error:
            raise MissingDependency(f"{import_fault('openvino', error)}; {packages.install_line(EXTRA)}") from error
        self._alone = threading.Lock()  # a request that runs refuses another thread
        threads = options.threads or hardware.cpu_threads()
        settings = {
            # Its own choice on processors with bf16 units is bf16, which leaves errors of 0.02 in the picture.
            "INFERENCE_PRECISION_HINT": "f32",
            # One picture at a time with all threads, instead of several streams that share them.
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
        }
        try:
            core = _core()
            with held():  # what Ctrl-C raises in a converter would be an operator that cannot be converted
                read = core.read_model(str(model.path))
            self._request = core.compile_model(read, "CPU", settings).create_infer_request()
        except RuntimeError as error:
            translated = engine_error(NAME, error)
            if type(translated) is EngineError:
                raise ModelError(f"openvino cannot load {model.path}: {one_line(error)}") from error
            raise translated from error
        self.info = EngineInfo(
            backend=NAME,
            device=f"CPU ({number_of(threads, 'thread')})",
            precision="fp32",
            model=model.path,
            metadata=model.metadata,
            max_batch=model.max_batch,
            fixed_size=model.fixed_size,
            bytes_per_pixel=BYTES_PER_PIXEL,
            device_kind=DEVICE_CPU,
        )

    def _infer(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        try:
            with self._alone:
                # The result lies in memory that the next call overwrites, hence the copy.
                return np.array(self._request.infer({0: batch})[0])
        except (RuntimeError, MemoryError) as error:
            raise engine_error(NAME, error) from error

    def rest(self) -> None:
        """Let go of intermediate results (OpenVINO from 2024.5 on can): several hundred MB beside a full picture."""
        self._check_open()
        model = self._request.get_compiled_model()
        if hasattr(model, "release_memory"):
            try:
                with self._alone:
                    model.release_memory()
            except RuntimeError as error:
                raise engine_error(NAME, error) from error

    def _close(self) -> None:
        del self._request


_MAKING_CORE = threading.Lock()


def _core() -> Any:
    """This process's OpenVINO, with our converters: one that is never given up, whatever models come and go.

    On Linux each Core gives the thread that first compiles with it a signal stack of its own, and takes it back at its
    end. Of two that end in the order of their beginning, or of one that ends in another thread, a stack stays in use
    that is no longer there, and the next signal that Python handles, Ctrl-C for one, is the end of the process.
    """
    with _MAKING_CORE:
        return _core_of(os.getpid())  # a forked child has none of the threads of its parent's


@cache
def _core_of(process: int) -> Any:
    import openvino

    core = openvino.Core()
    core.add_extension(_conversions())
    return core


def _conversions() -> list[Any]:
    """Return the converters for DeformConv and for the two functions of domain ``dcdr``."""
    from openvino.frontend.onnx import ConversionExtension

    return [
        ConversionExtension("DeformConv", _convert_deform_conv),
        ConversionExtension("DeformConv2d", DOMAIN, _convert_function_deform_conv2d),
        ConversionExtension(DCRB, DOMAIN, _convert_function_dcrb),
    ]


def _convert_deform_conv(node: Any) -> Any:
    """Convert ``ai.onnx::DeformConv(x, w, offset, b?, mask?)`` with its attributes."""
    inputs = [node.get_input(index) for index in range(node.get_input_size())]
    x, weight, offset, *rest = inputs
    pads = node.get_attribute("pads", [0, 0, 0, 0])
    return _deform_conv(
        x,
        offset,
        weight,
        rest[0] if rest else None,
        mask=rest[1] if len(rest) > 1 else None,
        strides=node.get_attribute("strides", [1, 1]),
        pads_begin=pads[:2],
        pads_end=pads[2:],
        dilations=node.get_attribute("dilations", [1, 1]),
        group=node.get_attribute("group", 1),
        deformable_group=node.get_attribute("offset_group", 1),
    ).outputs()


def _convert_function_deform_conv2d(node: Any) -> Any:
    """Convert ``dcdr::DeformConv2d(x, offset, w, b)``: 3x3, padding 1."""
    return _like(node.get_input(0), _deform_conv3x3(*_float32_inputs(node, 4)))


def _convert_function_dcrb(node: Any) -> Any:
    """Convert ``dcdr::DCRB(z, offset, s1, t1, s2, t2, w1, b1, w2, b2)``, eq. 4: z + dc(SFT2(relu(dc(SFT1(z)))))."""
    from openvino import opset13 as op

    z, offset, gain1, shift1, gain2, shift2, weight1, bias1, weight2, bias2 = _float32_inputs(node, 10)
    hidden = op.relu(_deform_conv3x3(_sft(z, gain1, shift1), offset, weight1, bias1))
    return _like(node.get_input(0), op.add(z, _deform_conv3x3(_sft(hidden, gain2, shift2), offset, weight2, bias2)))


def _float32_inputs(node: Any, count: int) -> list[Any]:
    """Return a node's inputs in FP32: a block of an FP16 model may mix FP16 maps with FP32 offsets."""
    from openvino import Type
    from openvino import opset13 as op

    inputs = [node.get_input(index) for index in range(count)]
    return [entry if entry.get_element_type() == Type.f32 else op.convert(entry, "f32") for entry in inputs]


def _like(original: Any, result: Any) -> Any:
    """Return the outputs of ``result`` in the type of the block's input."""
    from openvino import Type
    from openvino import opset13 as op

    kind = original.get_element_type()
    return (result if kind == Type.f32 else op.convert(result, kind.get_type_name())).outputs()


def _sft(x: Any, gain: Any, shift: Any) -> Any:
    """Return x + gain * x + shift."""
    from openvino import opset13 as op

    return op.add(op.add(x, op.multiply(x, gain)), shift)


def _deform_conv3x3(x: Any, offset: Any, weight: Any, bias: Any) -> Any:
    ones = [1, 1]
    return _deform_conv(x, offset, weight, bias, strides=ones, pads_begin=ones, pads_end=ones, dilations=ones)


def _deform_conv(
    x: Any,
    offset: Any,
    weight: Any,
    bias: Any = None,
    *,
    strides: list[int],
    pads_begin: list[int],
    pads_end: list[int],
    dilations: list[int],
    group: int = 1,
    deformable_group: int = 1,
    mask: Any = None,
) -> Any:
    """Build OpenVINO's DeformableConvolution so that it computes ONNX's; the bias is a separate addition."""
    from openvino import opset8, opset13

    result = opset8.deformable_convolution(
        x,
        offset,
        weight,
        strides=strides,
        pads_begin=pads_begin,
        pads_end=pads_end,
        dilations=dilations,
        mask=mask,
        auto_pad="explicit",
        group=group,
        deformable_group=deformable_group,
        # ONNX keeps the corners inside the picture of a sample that lies partly outside; without it they are dropped.
        bilinear_interpolation_pad=True,
    )
    if bias is None:
        return result
    return opset13.add(result, opset13.reshape(bias, np.array([1, -1, 1, 1]), False))
