"""The emulator of the kernels, built once, and the block as ONNX Runtime computes it."""

from __future__ import annotations

import functools
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from emulated import build, build_convolution
from made_once import made_once
from numpy.typing import NDArray

from dcdr_deploy.modelfile.names import DCRB, DCRB_INPUTS, DEFORM_CONV, DEFORM_INPUTS, DOMAIN, DOMAIN_VERSION

sys.path.append(str(Path(__file__).parents[3] / "benchmarks"))  # what the checks on a GPU compare is compared here

Reference = Callable[..., NDArray[np.float32]]


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """``emulator(sm, kernel="dcrb_from_maps", *defines)``: the shared library of a source's emulated kernels."""
    if shutil.which("g++") is None:
        pytest.skip("the kernels' emulator is compiled by g++, which is not here")

    @functools.cache
    def built(sm: int, kernel: str = "dcrb_from_maps", *defines: str) -> Path:
        def make(target: Path) -> None:
            if kernel == "convolution":
                build_convolution(target, sm)
            else:
                build(target, sm, kernel=kernel, defines=defines)

        return made_once(tmp_path_factory, "_".join((kernel, f"sm{sm}", *defines)) + ".so", make)

    return built


@pytest.fixture(scope="session")
def convolution_emulator(emulator: Callable[..., Path]) -> Callable[[int], Path]:
    """``convolution_emulator(sm)``: the shared library of the emulated convolutions."""
    return functools.partial(emulator, kernel="convolution")


@pytest.fixture(scope="session")
def by_onnxruntime() -> Reference:
    """``by_onnxruntime("DCRB" | "DeformConv2d", *inputs)``: the exported definition in FP32, arrays in ONNX's order."""
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")

    @functools.cache
    def session(operator: str):
        from onnx import TensorProto, helper

        from dcdr_deploy.export.operators import OPSET, function_bodies

        names = {DCRB: DCRB_INPUTS, DEFORM_CONV: DEFORM_INPUTS}[operator]
        node = helper.make_node(operator, names, ["y"], domain=DOMAIN)
        inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names]
        output = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
        imports = [helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, DOMAIN_VERSION)]
        graph = helper.make_graph([node], "block", inputs, [output])
        model = helper.make_model(graph, functions=function_bodies(), opset_imports=imports, ir_version=10)
        options = runtime.SessionOptions()
        options.intra_op_num_threads = 1
        return names, runtime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])

    def compute(operator: str, *inputs: NDArray) -> NDArray[np.float32]:
        names, ready = session(operator)
        feeds = {name: values.astype(np.float32) for name, values in zip(names, inputs, strict=True)}
        return ready.run(None, feeds)[0]

    return compute
