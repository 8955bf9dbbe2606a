"""How a frame of engine ``cuda`` is best cut into launches on this GPU: part ``forms`` of gpu_network.py.

Every form of ``launches.Form`` computes the same. Each is checked launch by launch on a small frame and as a whole
against torch in FP32; first call, second call and graph replay have to be equal to the bit. Then all are timed in turns
by graph replays. The last lines say which is fastest, and what belongs into ``measures.FEWER_LAUNCHES``.
"""

from __future__ import annotations

import statistics
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from gpu_frame_checks import Failures, Shape, check_launches, check_results, codes, planes, reference_network
from gpu_frame_times import launch_times, spread
from gpu_measure import event_times

from dcdr_deploy.engines.cuda.measures import CUTS, FEWER_LAUNCHES, FEWEST, SEPARATE
from dcdr_deploy.engines.cuda.memory import Place
from dcdr_deploy.engines.cuda.network import CudaNetwork
from dcdr_deploy.engines.cuda.tiles import CHANNELS, FLAG_BYTES
from dcdr_deploy.engines.cuda.weights import read_onnx
from dcdr_deploy.run.selection import DEMO_MODEL

SMALL_FRAME = (2, 68, 92)
CHECKED: tuple[Shape, ...] = ((1, 4, 4), (2, 360, 644), (1, 1080, 1920), (1, 2160, 3840))
TIMED: tuple[Shape, ...] = ((1, 540, 960), (1, 1080, 1920), (1, 2160, 3840))
ROUNDS, REPLAYS = 3, 12


class Run:
    """A network with a picture on the GPU and room for its result."""

    def __init__(self, network: CudaNetwork, shape: Shape) -> None:
        self._network, self._shape = network, shape
        self._picture = torch.from_numpy(codes(shape)).cuda()
        self._count = int(np.prod(shape)) * CHANNELS
        self._out = torch.empty(self._count + FLAG_BYTES // 4, device="cuda")
        self.out = self._out.data_ptr()
        torch.cuda.synchronize()
        network.prepare([shape])
        self.stream = torch.cuda.ExternalStream(int(network.stream.handle))

    def put(self) -> None:
        """Put a frame into the network's stream."""
        source, target = Place(self._picture.data_ptr()), Place(self.out)
        self._network.enqueue(self._shape, np.dtype(np.uint8), source, target)  # type: ignore[arg-type]

    def result(self) -> torch.Tensor:
        """Return the result of a frame, (N, 3, H, W), computed into memory full of NaN."""
        self._out.fill_(float("nan"))
        torch.cuda.synchronize()
        self.put()
        torch.cuda.synchronize()
        return self._out[: self._count].view(*self._shape, CHANNELS).permute(0, 3, 1, 2).clone()


def check(networks: dict[str, CudaNetwork], shape: Shape, failures: Failures) -> None:
    """Compare every form with torch in FP32, and its calls with each other."""
    expected = reference_network()(planes(codes(shape)))
    for name, network in networks.items():
        run = Run(network, shape)
        results = [run.result() for _ in range(4)]  # launch by launch, recorded, replayed twice
        plan = f", plan {network.memory(shape) / 1e9:.2f} GB"
        check_results(f"{name} {shape}", results, expected, failures, plan)


def time_forms(networks: dict[str, CudaNetwork], shape: Shape) -> dict[str, float]:
    """Print and return each form's time on the device in milliseconds, the median of turns."""
    runs = {name: Run(network, shape) for name, network in networks.items()}
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(ROUNDS + 1):
        for name, run in runs.items():
            # The first turn warms up and records graphs.
            taken = event_times(run.put, REPLAYS if turn else 3, run.stream)
            times[name] += taken if turn else []
    medians = {name: statistics.median(each) for name, each in times.items()}
    for name, each in times.items():
        print(f"time {shape} {name}: {spread(each)}, {medians[name] / medians[SEPARATE]:.4f} of one launch each")
    print(end="", flush=True)
    return medians


def compare_launches(networks: dict[str, CudaNetwork], shape: Shape) -> None:
    """Print the launches in which the forms differ: ms, TFLOP/s, TB/s."""
    pieces = {name: launch_times(networks[name], shape, Run(networks[name], shape).out) for name in (SEPARATE, FEWEST)}
    for name, others in ((SEPARATE, FEWEST), (FEWEST, SEPARATE)):
        known = {(piece.name, piece.flops, piece.bytes) for piece, _ in pieces[others]}
        print(f"launches {shape}, only with {name}: ms, TFLOP/s, TB/s")
        for piece, taken in pieces[name]:
            if (piece.name, piece.flops, piece.bytes) not in known:
                print(
                    f"  {piece.name:<22} {taken:6.3f} {piece.flops / taken / 1e9:5.0f} {piece.bytes / taken / 1e9:5.2f}"
                )
    print(end="", flush=True)


def verdict(sm: int, found: dict[Shape, dict[str, float]], right: bool) -> str:
    """Say which form is fastest at the largest size, and what the table should hold."""
    if not right:
        return f"VERDICT SM{sm}: results are wrong, see above; leave measures.FEWER_LAUNCHES as it is"
    largest = found[max(found)]
    fastest = min(largest, key=largest.__getitem__)
    slower = [shape for shape, times in found.items() if times[FEWEST] > 1.002 * times[SEPARATE]]
    if fastest == FEWEST and not slower:
        advice = f"{sm} belongs into measures.FEWER_LAUNCHES ({'it is there' if sm in FEWER_LAUNCHES else 'it is not'})"
    else:
        advice = f"fewest launches are slower than one each at {slower or 'no size'}: choose by the lines above"
    return f"VERDICT SM{sm}: fastest is {fastest!r}, {largest[fastest]:.2f} ms for {largest[SEPARATE]:.2f}; {advice}"


def run(engine: Any, failures: Failures) -> None:
    """Check and time all forms; print the verdict."""
    device, kernels = engine._device, engine._network._kernels
    weights = read_onnx(DEMO_MODEL)
    networks: dict[str, CudaNetwork] = {}
    for name in CUTS:
        with failures.piece(f"network, {name}"):
            networks[name] = CudaNetwork(device, weights, kernels, replace(kernels.measures, cut=name).form)
    with failures.piece(f"launches {SMALL_FRAME}"):
        check_launches(device, networks[FEWEST], SMALL_FRAME, failures)
    for shape in CHECKED:
        with failures.piece(f"results {shape}"):
            check(networks, shape, failures)
    found: dict[Shape, dict[str, float]] = {}
    for shape in TIMED:
        with failures.piece(f"times {shape}"):
            found[shape] = time_forms(networks, shape)
    with failures.piece("launches apart"):
        compare_launches(networks, TIMED[-1])
    if found:
        print(verdict(kernels.measures.sm, found, right=not failures.count), flush=True)
    for network in networks.values():
        network.close()
