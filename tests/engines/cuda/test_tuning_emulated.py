"""A bench whose kernels are the real ones on the emulator: what it compares is what they write, and all of that."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from emulated import EmulatedGpu
from fake_cuda import OK, FakeDriver, Launch, Work

from dcdr_deploy.engines.base import normalise
from dcdr_deploy.engines.compare import sample_tiles
from dcdr_deploy.engines.cuda import engine
from dcdr_deploy.engines.cuda.arena import ALIGNMENT
from dcdr_deploy.engines.cuda.convolution import ConvolutionArguments
from dcdr_deploy.engines.cuda.measures import FEWEST, SEPARATE, by_table
from dcdr_deploy.engines.cuda.memory import Device
from dcdr_deploy.engines.cuda.network import SOURCES, NetworkKernels
from dcdr_deploy.engines.cuda.tuning import bench as module
from dcdr_deploy.engines.cuda.tuning.bench import Bench, kind_of
from dcdr_deploy.engines.cuda.tuning.candidates import BLOCK, CONVOLUTIONS
from dcdr_deploy.engines.cuda.tuning.session import BOUND
from dcdr_deploy.engines.cuda.weights import read_onnx

DEMO = Path(engine.__file__).parents[2] / "weights" / "dcdr-unet-demo.onnx"
SM = 80
SHAPE = (1, 8, 12)


class Machine(FakeDriver):
    """A driver that does everything at once, in the guarded memory in which the emulator works."""

    def __init__(self, parts: dict[str, EmulatedGpu]) -> None:
        super().__init__(sms=[SM], run=self.emulate)
        self._parts = parts

    def emulate(self, launch: Launch) -> int:
        return next(part for prefix, part in self._parts.items() if launch.kernel.startswith(prefix)).run(launch)

    def cuMemAlloc(self, size: int) -> tuple:  # noqa: N802 - the driver's name
        block = self._parts[""].empty((-(-size // ALIGNMENT) * ALIGNMENT,), np.uint8)
        self._blocks[block.ctypes.data] = block[:size]
        self.used += size
        return OK, block.ctypes.data

    def cuMemcpyHtoDAsync(self, target: int, source: int, size: int, stream: int) -> tuple:  # noqa: N802
        return self._copy("upload", target, source, size, stream)

    cuMemcpyDtoHAsync = cuMemcpyHtoDAsync  # noqa: N815

    def _put(self, stream: int, work: Work, name: str) -> bool:
        if work.action is not None:
            work.action()
        if work.sets is not None:
            work.sets.done = True
        return True


ALONE = ("64_3", "32_16")
"""Kinds that frames with the fewest launches do not have; those with one launch each lack two convolutions in one."""

by_fewest = pytest.mark.parametrize("bench", [FEWEST], indirect=True)


@pytest.fixture(scope="module")
def benches(emulator: Callable[..., Path]) -> Iterator[Callable[[str], tuple[Bench, NetworkKernels]]]:
    """Makes the bench of a form of frames, and its kernels, once."""
    prefixes = {"convolution": "convolution_", "dcrb_from_hidden": "dcrb2_", "picture": ""}
    machine = Machine({prefixes[source]: EmulatedGpu(emulator(SM, source), SM) for source in SOURCES})
    device, measures = Device(0, machine), by_table(SM)
    kernels = NetworkKernels(device, dict.fromkeys(SOURCES, b"emulated"), measures, machine)
    made: dict[str, Bench] = {}

    def bench_of(cut: str) -> tuple[Bench, NetworkKernels]:
        if cut not in made:
            made[cut] = Bench(device, read_onnx(DEMO), kernels, [SHAPE], replace(measures, cut=cut).form)
        return made[cut], kernels

    yield bench_of
    for each in made.values():
        each.close()
    device.close()
    assert machine.used == machine.live_handles == 0


@pytest.fixture
def bench(request: pytest.FixtureRequest, benches: Callable[[str], Any]) -> tuple[Bench, NetworkKernels]:
    """The bench of a form of frames, and its kernels."""
    return benches(request.param)


def changed(kernels: NetworkKernels, **options: Any) -> Callable[[Any, int], None]:
    """A kernel that computes something else."""
    return lambda arguments, stream: kernels.launch(replace(arguments, **options), stream)


@pytest.mark.slow
@pytest.mark.parametrize("bench", [SEPARATE, FEWEST], indirect=True)
def test_a_frame_is_the_network(bench):
    runtime = pytest.importorskip("onnxruntime")
    picture = sample_tiles(*SHAPE[1:])[:1]
    session = runtime.InferenceSession(str(DEMO), providers=["CPUExecutionProvider"])
    wanted = session.run(None, {"sdr": normalise(picture)})[0].transpose(0, 2, 3, 1)
    assert -10 * np.log10(np.mean((bench[0].result(SHAPE) - wanted) ** 2)) > 70


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bench", "kind"),
    [(SEPARATE if kind in ALONE else FEWEST, kind) for kind in (BLOCK, *CONVOLUTIONS)],
    indirect=["bench"],
)
def test_the_same_kernel_differs_by_nothing_and_another_one_does(bench, kind: str):
    found, kernels = bench
    assert found.launches(kind, SHAPE)

    def nothing(arguments, stream: int) -> None:
        assert kind_of(arguments) == kind

    def without_its_last_row(arguments, stream: int) -> None:
        if isinstance(arguments, ConvolutionArguments):
            arguments = replace(arguments, height=arguments.height - arguments.stride)
        kernels.launch(arguments, stream)

    others = {"same": kernels.launch, "nothing": nothing, "less": without_its_last_row}
    apart = found.differences(kind, others, SHAPE)
    assert apart["same"] == 0.0
    assert not apart["nothing"] <= BOUND
    assert kind == BLOCK or not apart["less"] <= BOUND


@pytest.mark.slow
@by_fewest
def test_a_block_with_another_input_is_told(bench):
    found, kernels = bench
    (first, *_) = found.launches(BLOCK, SHAPE)
    apart = found.differences(BLOCK, {"other": changed(kernels, w2=first.w1)}, SHAPE)
    assert not apart["other"] <= BOUND


@pytest.mark.slow
@by_fewest
def test_launches_are_recorded_and_timed_in_turns(bench, monkeypatch):
    found, kernels = bench
    monkeypatch.setattr(module, "MOST_REPEATS", 1)
    monkeypatch.setattr(module, "ROUNDS", 1)
    monkeypatch.setattr(module, "WARM_UP", 0.0)
    assert found.time_kind("64_24", {"a": kernels.launch, "b": kernels.launch}, SHAPE) == {"a": 0.0, "b": 0.0}
    assert found.frame_milliseconds(SHAPE, 2) == 0.0
