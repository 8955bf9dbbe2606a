"""All launches of a frame on the emulator: the kernels' own source, arguments and memory plan of the real thing."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from emulated import EmulatedGpu, build, build_convolution
from fake_driver import FakeDriver, Launch
from numpy.typing import NDArray

from dcdr_deploy.engines.base import normalise
from dcdr_deploy.engines.cuda import engine
from dcdr_deploy.engines.cuda.convolution import ConvolutionKernels
from dcdr_deploy.engines.cuda.dcrb import DcrbKernels2
from dcdr_deploy.engines.cuda.driver import Library
from dcdr_deploy.engines.cuda.launches import IMAGE, SMALL, Block
from dcdr_deploy.engines.cuda.picture import PictureArguments, PictureKernels
from dcdr_deploy.engines.cuda.program import frame_of, pack, program
from dcdr_deploy.engines.cuda.weights import read_onnx

DEMO = Path(engine.__file__).parents[2] / "weights" / "dcdr-unet-demo.onnx"
SM = 80
STEP_BOUND = 4e-3
"""Largest error of a map after any launch, as a share of the map's largest value; the maps are FP16."""

Emulators = Callable[[str], Path]


@pytest.fixture(scope="session")
def emulators(tmp_path_factory: pytest.TempPathFactory) -> Emulators:
    """``emulators(source)``: shared libraries of the network's kernels."""
    folder = tmp_path_factory.mktemp("network")

    @functools.cache
    def built(source: str) -> Path:
        target = folder / f"{source}.so"
        return build_convolution(target, SM) if source == "convolution" else build(target, SM, kernel=source)

    return built


class Emulated:
    """A GPU for which three sources were compiled; launches go to the one that has the kernel."""

    def __init__(self, emulators: Emulators) -> None:
        prefixes = {"convolution": "convolution_", "dcrb2": "dcrb2_", "picture": ""}
        self.parts = {prefix: EmulatedGpu(emulators(source), SM) for source, prefix in prefixes.items()}
        self.memory = next(iter(self.parts.values()))
        self.driver = FakeDriver(SM, self.run)
        self.convolution = ConvolutionKernels({SM: b"cubin"}, self.driver)
        self.block = DcrbKernels2({SM: b"cubin"}, self.driver)
        self.picture = PictureKernels(Library(self.driver, b"cubin"))

    def run(self, launch: Launch) -> int:
        return next(part for prefix, part in self.parts.items() if launch.kernel.startswith(prefix)).run(launch)


def codes(shape: tuple[int, int, int], dtype: type = np.uint8) -> NDArray:
    rng = np.random.default_rng(7)
    smooth = np.add.outer(np.linspace(0, 1, shape[1]), np.linspace(0, 1, shape[2]))[None, :, :, None] / 2
    values = np.clip(smooth + rng.normal(0, 0.1, (*shape, 3)), 0, 1)
    return (values * np.iinfo(dtype).max).astype(dtype)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(1, 32, 48), (2, 20, 36)])
def test_a_frame_launch_by_launch_is_the_network(emulators: Emulators, shape: tuple[int, int, int]):
    torch = pytest.importorskip("torch")
    runtime = pytest.importorskip("onnxruntime")
    frame_reference = pytest.importorskip("frame_reference")
    gpu, weights, picture = Emulated(emulators), read_onnx(DEMO), codes(shape)
    frame = frame_of(weights)
    packed, planned = pack(frame, weights), program(frame, shape)
    arena = gpu.memory.empty((planned.memory.size,), np.uint8)
    content, source = gpu.memory.put(packed.content), gpu.memory.put(picture)
    result = gpu.memory.empty((*shape, 3), np.float32)
    base = arena.ctypes.data

    def seen(name: str) -> NDArray[np.float32]:
        each = frame.maps[name]
        size = (shape[0], shape[1] // each.scale, shape[2] // each.scale, each.channels)
        if name == "result":
            return result.transpose(0, 3, 1, 2)
        there = arena[planned.memory.offsets[name] :][: each.size(shape)]
        values = there.view(np.float16 if each.element == 2 else np.float32).reshape(size)
        return values.astype(np.float32).transpose(0, 3, 1, 2)

    places = planned.memory.offsets
    gpu.picture.launch(
        PictureArguments(picture.dtype, source.ctypes.data, base + places[IMAGE], base + places[SMALL], shape), 0
    )
    launches = planned.bind(base, content.ctypes.data, packed, result.ctypes.data)
    image = torch.from_numpy(normalise(picture))
    np.testing.assert_allclose(seen(IMAGE)[:, :3], image, atol=3e-4)
    assert not seen(IMAGE)[:, 3].any()
    with torch.no_grad():
        steps = list(frame_reference.walk(frame, frame_reference.parameters(weights), image))
    for (launch, written), arguments in zip(steps, launches, strict=True):
        (gpu.block if isinstance(launch, Block) else gpu.convolution).launch(arguments, 0)
        for name, expected in written.items():
            bound = STEP_BOUND * float(expected.abs().max())
            found = seen(name)[:, : expected.shape[1]]
            np.testing.assert_allclose(found, expected.numpy(), atol=bound, err_msg=f"{launch.name}: {name}")
    expected = runtime.InferenceSession(str(DEMO), providers=["CPUExecutionProvider"]).run(None, {"sdr": image.numpy()})
    error = result.transpose(0, 3, 1, 2) - expected[0]
    assert -10 * np.log10(np.mean(error**2)) > 75
    assert not np.isnan(result).any()
