"""All launches of a frame on the emulator: the kernels' own source, arguments and memory plan of the real thing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from emulated import EmulatedGpu, build, build_convolution
from fake_cuda import FakeDriver, Launch
from numpy.typing import NDArray

from dcdr_deploy.engines.base import normalise
from dcdr_deploy.engines.cuda import engine
from dcdr_deploy.engines.cuda.convolution import ConvolutionKernels
from dcdr_deploy.engines.cuda.dcrb_from_hidden import FromHiddenKernels
from dcdr_deploy.engines.cuda.driver import Library
from dcdr_deploy.engines.cuda.launches import IMAGE, SMALL, Block, Form
from dcdr_deploy.engines.cuda.measures import FEWEST, Measures, by_table
from dcdr_deploy.engines.cuda.network import SOURCES
from dcdr_deploy.engines.cuda.picture import PictureArguments, PictureKernels
from dcdr_deploy.engines.cuda.program import frame_of, pack, program
from dcdr_deploy.engines.cuda.tuning.candidates import candidates, with_candidates
from dcdr_deploy.engines.cuda.weights import Structure, Weights, layers, read_onnx
from dcdr_deploy.modelfile.metadata import ModelMetadata

DEMO = Path(engine.__file__).parents[2] / "weights" / "dcdr-unet-demo.onnx"
STORING = 8
"""Largest error of a map after any launch, in multiples of what storing the maps in FP16 does to it by itself: how far
that moves a result depends on the weights."""
LEAST_BOUND = 2e-3
"""As a share of the map's largest value: a few roundings of a map that storing has hardly touched yet."""

Emulator = Callable[..., Path]


class Emulated:
    """A GPU for which three sources were compiled; launches go to the one that has the kernel."""

    def __init__(self, libraries: Mapping[str, Path], measures: Measures) -> None:
        prefixes = {"convolution": "convolution_", "dcrb_from_hidden": "dcrb2_", "picture": ""}
        sm = measures.sm
        self.parts = {prefix: EmulatedGpu(libraries[source], sm) for source, prefix in prefixes.items()}
        self.memory = next(iter(self.parts.values()))
        self.driver = FakeDriver(sms=[sm], run=self.run)
        self.convolution = ConvolutionKernels({sm: b"cubin"}, self.driver, lambda _: measures.convolutions)
        self.block = FromHiddenKernels({sm: b"cubin"}, self.driver, measures.block.shape(sm))
        self.picture = PictureKernels(Library(self.driver, b"cubin"))

    def run(self, launch: Launch) -> int:
        return next(part for prefix, part in self.parts.items() if launch.kernel.startswith(prefix)).run(launch)


def fewer_launches(sm: int) -> Form:
    return replace(by_table(sm), cut=FEWEST).form


def codes(shape: tuple[int, int, int], dtype: type = np.uint8) -> NDArray:
    rng = np.random.default_rng(7)
    smooth = np.add.outer(np.linspace(0, 1, shape[1]), np.linspace(0, 1, shape[2]))[None, :, :, None] / 2
    values = np.clip(smooth + rng.normal(0, 0.1, (*shape, 3)), 0, 1)
    return (values * np.iinfo(dtype).max).astype(dtype)


def random_weights(structure: Structure) -> Weights:
    """Weights that keep features and offsets at a size of about 1."""
    rng = np.random.default_rng(11)
    tensors = {}
    for layer in layers(structure):
        scale = (0.3 if layer.name.endswith("1") else 1.0) / np.sqrt(9 * layer.channels_in)
        weight = rng.normal(0, scale, layer.shape).astype(np.float32)
        tensors[layer.name] = (weight, rng.normal(0, 0.1, layer.channels_out).astype(np.float32))
    return Weights(structure, tensors, ModelMetadata())


def by_table_for(emulator: Emulator, sm: int) -> Emulated:
    return Emulated({source: emulator(sm, source) for source in SOURCES}, by_table(sm))


def largest_errors(
    gpu: Emulated, form: Form, weights: Weights, picture: NDArray
) -> Iterator[tuple[str, float, NDArray[np.float32]]]:
    """Run a frame launch by launch; yield launch and map, its largest error as a share of the bound, and it."""
    frame_reference, torch = pytest.importorskip("frame_reference"), pytest.importorskip("torch")
    shape = picture.shape[:3]
    frame = frame_of(weights, form)
    packed, planned = pack(frame, weights), program(frame, shape)
    arena = gpu.memory.empty((planned.memory.size,), np.uint8)
    content, source = gpu.memory.put(packed.content), gpu.memory.put(picture)
    result = gpu.memory.empty((*shape, 3), np.float32)
    base, places = arena.ctypes.data, planned.memory.offsets

    def seen(name: str) -> NDArray[np.float32]:
        each = frame.maps[name]
        size = (shape[0], shape[1] // each.scale, shape[2] // each.scale, each.channels)
        if name == "result":
            return result.transpose(0, 3, 1, 2)
        values = arena[places[name] :][: each.size(shape)].view(np.float16 if each.element == 2 else np.float32)
        return values.reshape(size).astype(np.float32).transpose(0, 3, 1, 2)

    gpu.picture.launch(
        PictureArguments(picture.dtype, source.ctypes.data, base + places[IMAGE], base + places[SMALL], shape), 0
    )
    image = torch.from_numpy(normalise(picture))
    assert not seen(IMAGE)[:, 3].any()
    yield IMAGE, float(np.abs(seen(IMAGE)[:, :3] - image.numpy()).max()), seen(IMAGE)
    launches = planned.bind(base, content.ctypes.data, packed, result.ctypes.data)
    with torch.no_grad():
        parameters = frame_reference.parameters(weights)
        steps = list(frame_reference.walk(frame, parameters, image))
        stored = list(frame_reference.walk(frame, parameters, image, lambda values: values.half().float()))
    for (launch, written), (_, rounded), arguments in zip(steps, stored, launches, strict=True):
        (gpu.block if isinstance(launch, Block) else gpu.convolution).launch(arguments, 0)
        for name, expected in written.items():
            found = seen(name)[:, : expected.shape[1]]
            largest = max(float(expected.abs().max()), 1e-6)
            worst = np.abs(found - expected.numpy()).max() / largest
            storing = float((rounded[name] - expected).abs().max()) / largest
            yield f"{launch.name}: {name}", float(worst) / max(STORING * storing, LEAST_BOUND), found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sm", "form", "shape"), [(80, Form(), (1, 32, 48)), (90, fewer_launches(90), (2, 20, 36))], ids=str
)
def test_a_frame_launch_by_launch_is_the_network(emulator: Emulator, sm: int, form: Form, shape: tuple[int, int, int]):
    runtime = pytest.importorskip("onnxruntime")
    picture = codes(shape)
    for name, error, found in largest_errors(by_table_for(emulator, sm), form, read_onnx(DEMO), picture):
        assert error < 1, name
        result = found
    session = runtime.InferenceSession(str(DEMO), providers=["CPUExecutionProvider"])
    square = np.mean((result - session.run(None, {"sdr": normalise(picture)})[0]) ** 2)
    assert -10 * np.log10(square) > 75


@pytest.mark.slow
@pytest.mark.parametrize(("sm", "structure"), [(75, Structure((1, 2, 1), 48)), (86, Structure((3, 1, 1), 32))])
def test_networks_of_other_sizes_run_on_older_gpus(emulator: Emulator, sm: int, structure: Structure):
    weights, picture = random_weights(structure), codes((1, 12, 20), np.uint16)
    for name, error, _ in largest_errors(by_table_for(emulator, sm), fewer_launches(sm), weights, picture):
        assert error < 1, name


@pytest.mark.slow
def test_a_frame_by_candidates_in_the_tables_places_is_the_same(emulator: Emulator, tmp_path: Path):
    """As an engine takes it where they were kept: with the tile of the candidate that joins two convolutions."""
    sm, shape = 86, (1, 28, 44)
    chosen = with_candidates(by_table(sm), {kind: next(iter(found)) for kind, found in candidates(sm).items()})
    measures = replace(chosen, cut=FEWEST)
    assert measures.form.tile != fewer_launches(sm).tile
    libraries = {
        "convolution": build_convolution(tmp_path / "convolution.so", sm, measures.convolutions),
        "dcrb_from_hidden": build(tmp_path / "block.so", sm, kernel="dcrb_from_hidden", defines=measures.block.defines),
        "picture": emulator(sm, "picture"),
    }
    for name, error, _ in largest_errors(Emulated(libraries, measures), measures.form, read_onnx(DEMO), codes(shape)):
        assert error < 1, name
