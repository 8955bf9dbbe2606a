"""Engine ``cuda`` on one NVIDIA GPU: right results, and where the time of a frame goes. One command, below 90 seconds.

    python benchmarks/gpu_network.py [--seconds 85] [--parts convolution,block,forms,network]

Needs torch with CUDA, numpy and the packages of the extra ``cuda-kernels``; this repository need not be installed.
Every part runs in a process of its own: an illegal access of one does not cost the others their results.

- ``convolution``, ``block``: the kernels one by one against torch (gpu_conv_checks.py, gpu_dcrb_checks.py);
- ``forms``: the ways of cutting a frame into launches, side by side, and which is fastest (gpu_forms.py);
- ``network``: every launch of a small frame against torch in FP32, the whole network at several sizes, times on the
  device by graph replays, from host to host, launch by launch, and the torch backend in the same run.

Exit code: 0 done, 1 a result was wrong or a part failed.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402 - needs the path

CHECKS = {"convolution": "gpu_conv_checks", "block": "gpu_dcrb_checks"}
PARTS = (*CHECKS, "forms", "network")
CHECK_SECONDS = 18.0
SIZES = ((1, 256, 256), (2, 360, 644), (1, 720, 1280), (1, 1080, 1920), (1, 2160, 3840))
STEP_SIZES = ((2, 68, 92), (1, 256, 320))
TIMED = ((1, 1080, 1920), (1, 2160, 3840))
MILLISECONDS = 1e3


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=85.0, help="time for everything")
    parser.add_argument("--parts", default=",".join(PARTS), help="what to run")
    parser.add_argument("--measures", help="measures of the convolutions' kernels to take, from gpu_convolution.py")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measures and Path(options.measures).is_file():
        adopted = importlib.import_module("gpu_convolution").adopt(options.measures)
        if not options.part:
            print(adopted, flush=True)
    if options.part in CHECKS:
        return run_checks(CHECKS[options.part])
    if options.part == "forms":
        return run_forms(options.seconds)
    if options.part:
        return run_network(options.seconds)
    end = time.perf_counter() + options.seconds
    compile_all()
    failed = 0
    for part in options.parts.split(","):
        left = end - time.perf_counter()
        limit = min(left, CHECK_SECONDS) if part in CHECKS else left
        print(f"== {part}", flush=True)
        command = [sys.executable, __file__, "--part", part, "--seconds", f"{limit - 4:.0f}"]
        command += ["--measures", options.measures] if options.measures else []
        try:
            code = subprocess.run(command, timeout=limit, check=False).returncode
        except subprocess.TimeoutExpired:
            print(f"FAILED {part}: stopped after {limit:.0f} s", flush=True)
            code = 1
        if code:
            failed += 1
            print(f"-- {part}: exit code {code}", flush=True)
    print(f"done, {end - time.perf_counter():.0f} s left")
    return 1 if failed else 0


def compile_all() -> None:
    """Compile the kernels for this GPU into the cache, sources beside each other, and say how long it took."""
    from dcdr_deploy.engines.cuda.compiler import compile_cubin, target_sm
    from dcdr_deploy.engines.cuda.network import SOURCES
    from dcdr_deploy.system import hardware

    sm = target_sm(hardware.compute_capabilities()[0])

    def compiled(source: str) -> str:
        started = time.perf_counter()
        size = len(compile_cubin(source, sm))
        return f"{source} {time.perf_counter() - started:.1f} s ({size >> 10} KiB)"

    with ThreadPoolExecutor() as pool:
        print(
            f"SM{sm}, driver CUDA {hardware.cuda_driver_version()}: "
            + ", ".join(pool.map(compiled, (*SOURCES, "dcrb")))
        )


def run_checks(name: str) -> int:
    """Run one module of checks; print those that are wrong, and the worst of the others by name."""
    from dcdr_deploy.system import hardware

    lines = importlib.import_module(name).run(hardware.compute_capabilities()[0])
    wrong = [line for line in lines if not line.startswith("ok")]
    print("\n".join(line[:160] for line in wrong[:25]))
    print(f"{len(lines) - len(wrong)} of {len(lines)} right; for example {lines[len(lines) // 2]}", flush=True)
    return 1 if wrong else 0


def run_forms(seconds: float) -> int:
    """Compare the ways of cutting a frame into launches."""
    import torch
    from gpu_forms import run
    from gpu_frame_checks import MODEL, Failures

    from dcdr_deploy.engines.cuda.engine import load

    failures = Failures(seconds)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.set_grad_enabled(False)
    with load(MODEL) as engine:
        print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}", flush=True)
        run(engine, failures)
    return 1 if failures.count else 0


def run_network(seconds: float) -> int:
    import torch
    from gpu_frame_checks import MODEL, Failures, check_launches, check_results, codes, planes, reference_network

    failures = Failures(seconds)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.set_grad_enabled(False)
    started = time.perf_counter()
    from dcdr_deploy.engines.cuda.engine import load

    engine = load(MODEL)
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}; loaded in {time.perf_counter() - started:.1f} s")
    for shape in STEP_SIZES:
        with failures.piece(f"launches {shape}"):
            check_launches(engine._device, engine._network, shape, failures)
    net = reference_network()
    for shape in SIZES:
        with failures.piece(f"network {shape}"):
            picture = codes(shape)
            results = [torch.from_numpy(np.ascontiguousarray(engine.infer_codes(picture))).cuda() for _ in range(3)]
            check_results(f"network {shape}", results, net(planes(picture)), failures)
            del results
            torch.cuda.empty_cache()
    del net
    torch.cuda.empty_cache()
    with failures.piece("copies"):
        time_copies(engine)
    device: dict[tuple[int, int, int], float] = {}
    for shape in TIMED:
        with failures.piece(f"times {shape}"):
            device[shape] = time_network(engine, shape)
    for shape in reversed(TIMED):
        with failures.piece(f"profile {shape}"):
            profile(engine, shape, table=shape == TIMED[-1])
    engine.close()
    torch.cuda.empty_cache()
    for shape in reversed(TIMED):
        with failures.piece(f"torch {shape}"):
            time_torch(shape, device.get(shape), compiled=False)
    for shape in TIMED:
        if failures.left > 20:
            with failures.piece(f"torch.compile {shape}"):
                time_torch(shape, device.get(shape), compiled=True, limit=failures.left - 3)
    return 1 if failures.count else 0


def events(stream: Any, work: Callable[[], Any], repeats: int) -> list[float]:
    """Milliseconds on the device of repeated work in a stream."""
    import torch

    pairs = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(repeats)]
    for start, end in pairs:
        start.record(stream)
        work()
        end.record(stream)
    torch.cuda.synchronize()
    return [start.elapsed_time(end) for start, end in pairs]


def spread(times: list[float]) -> str:
    low, high = np.percentile(times, [10, 90])
    return f"{statistics.median(times):.2f} ms ({low:.2f} to {high:.2f})"


def time_copies(engine: Any) -> None:
    """Print how fast this machine copies between its memories: what bounds the way from host to host."""
    from dcdr_deploy.engines.cuda.memory import Place

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


def time_network(engine: Any, shape: tuple[int, int, int]) -> float:
    """Print and return the time on the device; print those from host to host, and the memory."""
    import torch
    from gpu_frame_checks import codes

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
    events(stream, work, 3)
    times = events(stream, work, 20)
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
    from dcdr_deploy.run.runner import Runner

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


def launch_times(network: Any, shape: tuple[int, int, int], out: int) -> list[tuple[Piece, float]]:
    """Return a frame's kernels with the milliseconds that each takes; ``out`` is where the result goes."""
    import torch

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


def profile(engine: Any, shape: tuple[int, int, int], table: bool) -> None:
    """Print the time of each launch, its arithmetic and its traffic."""
    timed = launch_times(engine._network, shape, engine._tiles._slots[0]["out"].address)
    total = sum(milliseconds for _, milliseconds in timed)
    print(f"launches {shape}: {total:.2f} ms in all; each: ms, TFLOP/s, TB/s (least traffic)")
    if not table:
        return
    for piece, milliseconds in timed:
        rates = f"{piece.flops / milliseconds / 1e9:5.0f} {piece.bytes / milliseconds / 1e9:5.2f}"
        print(f"{piece.name.replace('restoration.', ''):<18} {milliseconds:6.3f} {rates}", flush=True)


@dataclass(frozen=True)
class Piece:
    """One kernel of a frame."""

    name: str
    run: Callable[[int], None]
    flops: float
    bytes: float


def split(network: Any, shape: tuple[int, int, int], launch: Any, arguments: Any) -> list[Piece]:
    """Return a launch's kernels: of a block two, else one."""
    from dcdr_deploy.engines.cuda.launches import Block
    from dcdr_deploy.engines.cuda.network import ConvolutionArguments

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


def time_torch(shape: tuple[int, int, int], own: float | None, compiled: bool, limit: float = 25.0) -> None:
    """Print the time of the torch backend with its fused blocks: as a CUDA graph, or under torch.compile."""
    import torch
    from gpu_frame_checks import codes, planes
    from gpu_measure import network, time_limit

    from dcdr_deploy.engines.torch import fused
    from dcdr_deploy.engines.torch.engine import fp16_forward
    from dcdr_deploy.engines.torch.graphs import CudaRecorder

    fused.prepare(0)
    forward = fp16_forward(network()[0].cuda())
    picture = planes(codes(shape))
    with time_limit(limit):
        forward = torch.compile(forward, dynamic=False) if compiled else forward
        for _ in range(2):
            forward(picture)
        graph = CudaRecorder()(forward, picture)
        graph(picture)
        times = events(torch.cuda.current_stream(), lambda: graph(picture), 10)
    ratio = "" if own is None else f", {statistics.median(times) / own:.2f} x the time of engine cuda"
    name = "torch.compile" if compiled else "torch"
    print(f"{name} with fused blocks, graph {shape}: {spread(times)}{ratio}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
