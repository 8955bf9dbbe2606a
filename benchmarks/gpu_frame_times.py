"""Where the time of engine ``cuda``'s frames goes: launches, copies, host to host, and the torch backend beside it."""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gpu_frame_checks import Shape, codes, planes
from gpu_measure import event_times, network, time_limit
from gpu_report import MILLISECONDS

from dcdr_deploy.engines.cuda.launches import Block
from dcdr_deploy.engines.cuda.memory import Place
from dcdr_deploy.engines.cuda.network import ConvolutionArguments
from dcdr_deploy.engines.torch import fused
from dcdr_deploy.engines.torch.engine import fp16_forward
from dcdr_deploy.engines.torch.graphs import CudaRecorder
from dcdr_deploy.run.runner import Runner


def spread(times: list[float]) -> str:
    """Return the median of milliseconds, with the tenth and the ninetieth percentile, in words."""
    low, high = np.percentile(times, [10, 90])
    return f"{statistics.median(times):.2f} ms ({low:.2f} to {high:.2f})"


def time_copies(engine: Any) -> None:
    """Print how fast this machine copies between its memories: what bounds the way from host to host."""
    device, stream, size = engine._device, engine._tiles._down, 100 << 20
    there = device.allocate(size)

    def timed(work: Callable[[], Any], wait: bool = True, repeats: int = 4) -> str:
        times = []
        for _ in range(repeats):
            started = time.perf_counter()
            work()
            if wait:
                stream.synchronise()
            times.append(time.perf_counter() - started)
        return f"{min(times) * MILLISECONDS:.1f} ms"

    started = time.perf_counter()
    pinned = device.allocate_pinned(size)
    made = (time.perf_counter() - started) * MILLISECONDS
    view, warm = pinned.view((size,), np.uint8), np.zeros(size, np.uint8)
    view[:] = 1
    place = Place(warm.ctypes.data)
    print(
        f"copies of 100 MiB: page-locked up {timed(lambda: stream.upload(there, pinned, size))}, "
        f"down {timed(lambda: stream.download(pinned, there, size))}, "
        f"ordinary down {timed(lambda: stream.download(place, there, size))}, "
        f"locked to ordinary {timed(lambda: np.copyto(warm, view), False)}, "
        f"to new {timed(lambda: view.copy(), False)}, "
        f"ordinary to locked {timed(lambda: np.copyto(view, warm), False)}, "
        f"sum of floats {timed(lambda: view.view(np.float32).sum(), False)}; locking {made:.0f} ms",
        flush=True,
    )
    pinned.free()
    there.free()


def time_network(engine: Any, shape: Shape) -> float:
    """Print and return the time on the device; print those from host to host, and the memory."""
    engine._tiles.release()
    torch.cuda.empty_cache()
    before = torch.cuda.mem_get_info()[0]
    picture = codes(shape)
    started = time.perf_counter()
    engine.infer_codes(picture)
    first = (time.perf_counter() - started) * MILLISECONDS
    used = (before - torch.cuda.mem_get_info()[0]) / 1e9
    engine.infer_codes(picture)
    network, slot = engine._network, engine._tiles._slots[0]
    stream = torch.cuda.ExternalStream(int(network.stream.handle))
    work = lambda: network.enqueue(shape, picture.dtype, slot["in"], slot["out"])  # noqa: E731
    event_times(work, 3, stream)
    times = event_times(work, 20, stream)
    host = []
    for _ in range(6):
        started = time.perf_counter()
        engine.infer_codes(picture)
        host.append((time.perf_counter() - started) * MILLISECONDS)
    own = engine.empty_codes(picture.shape, picture.dtype)
    own[...] = picture
    parts = []
    for _ in range(6):
        started = time.perf_counter()
        finish = engine._tiles.start(own)
        begun = time.perf_counter()
        finish()
        parts.append(((begun - started) * MILLISECONDS, (time.perf_counter() - started) * MILLISECONDS))
    begun_ms, whole_ms = (statistics.median(part[number] for part in parts[1:]) for number in range(2))
    pending: list[Any] = []
    started = time.perf_counter()
    for _ in range(12):
        pending.append(engine._tiles.start(own))
        if len(pending) > 1:
            pending.pop(0)()
    while pending:
        pending.pop(0)()
    apart = (time.perf_counter() - started) / 12 * MILLISECONDS
    print(
        f"  locked codes to locked floats: begun after {begun_ms:.2f} ms, there after {whole_ms:.2f} ms; "
        f"one begun while the other is computed: {apart:.2f} ms a frame"
    )

    runner, run = Runner(engine), []
    for _ in range(5):
        started = time.perf_counter()
        runner.run(picture[0])
        run.append((time.perf_counter() - started) * MILLISECONDS)
    print(
        f"time {shape}: device {spread(times)}; host to host: engine {spread(host[1:])}, runner {spread(run[1:])}, "
        f"first call {first:.0f} ms; memory {used:.2f} GB (plan {network.memory(shape) / 1e9:.2f})",
        flush=True,
    )
    return statistics.median(times)


@dataclass(frozen=True)
class Piece:
    """One kernel of a frame."""

    name: str
    run: Callable[[int], None]
    flops: float
    bytes: float


def launch_times(network: Any, shape: Shape, out: int) -> list[tuple[Piece, float]]:
    """Return a frame's kernels with the milliseconds that each takes; ``out`` is where the result goes."""
    network.prepare([shape])
    bound, stream = network._bound[shape], int(network.stream.handle)
    launches = bound.program.bind(network._arena.address, network._weights.address, network._packed, out)
    pieces = [
        piece
        for launch, arguments in zip(network._frame.launches, launches, strict=True)
        for piece in split(network, shape, launch, arguments)
    ]
    times: list[list[float]] = [[] for _ in pieces]
    for turn in range(6):
        pairs = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in pieces]
        queue = torch.cuda.ExternalStream(stream)
        for piece, (start, end) in zip(pieces, pairs, strict=True):
            start.record(queue)
            piece.run(stream)
            end.record(queue)
        torch.cuda.synchronize()
        if turn:
            for each, (start, end) in zip(times, pairs, strict=True):
                each.append(start.elapsed_time(end))
    return list(zip(pieces, map(statistics.median, times), strict=True))


def split(network: Any, shape: Shape, launch: Any, arguments: Any) -> list[Piece]:
    """Return a launch's kernels: of a block two, else one."""
    if not isinstance(launch, Block):
        kernels = network._kernels._launch[ConvolutionArguments].__self__
        run = functools.partial(kernels.launch, arguments)
        return [Piece(launch.name, run, arguments.flops, arguments.bytes)]
    kernels = network._kernels._launch[type(arguments)].__self__
    pixels = network._frame.maps[launch.z].pixels(shape)
    sft, plain, features, offsets, hidden = 2 * 9 * 16 * 64, 2 * 9 * 64 * 64, 128, 48, 32
    further = int(launch.next_sft is not None)
    skip = int(bool(launch.skip))
    return [
        Piece(
            f"{launch.name}.1",
            functools.partial(kernels.launch_first, arguments),
            pixels * (plain + sft),
            pixels * (2 * features + offsets + hidden),
        ),
        Piece(
            f"{launch.name}.2",
            functools.partial(kernels.launch_second, arguments),
            pixels * (plain + further * sft),
            pixels * ((3 + skip + further) * features + offsets + further * hidden),
        ),
    ]


def profile(engine: Any, shape: Shape, table: bool) -> None:
    """Print the time of each launch, its arithmetic and its traffic."""
    timed = launch_times(engine._network, shape, engine._tiles._slots[0]["out"].address)
    total = sum(milliseconds for _, milliseconds in timed)
    print(f"launches {shape}: {total:.2f} ms in all; each: ms, TFLOP/s, TB/s (least traffic)")
    if not table:
        return
    for piece, milliseconds in timed:
        rates = f"{piece.flops / milliseconds / 1e9:5.0f} {piece.bytes / milliseconds / 1e9:5.2f}"
        print(f"{piece.name.replace('restoration.', ''):<18} {milliseconds:6.3f} {rates}", flush=True)


def time_torch(shape: Shape, own: float | None, compiled: bool, limit: float = 25.0) -> None:
    """Print the time of the torch backend with its fused blocks: as a CUDA graph, or under torch.compile."""
    fused.prepare(0)
    forward = fp16_forward(network()[0].cuda())
    picture = planes(codes(shape))
    with time_limit(limit):
        forward = torch.compile(forward, dynamic=False) if compiled else forward
        for _ in range(2):
            forward(picture)
        graph = CudaRecorder()(forward, picture)
        graph(picture)
        times = event_times(lambda: graph(picture), 10)
    ratio = "" if own is None else f", {statistics.median(times) / own:.2f} x the time of engine cuda"
    name = "torch.compile" if compiled else "torch"
    print(f"{name} with fused blocks, graph {shape}: {spread(times)}{ratio}", flush=True)
