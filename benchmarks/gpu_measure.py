"""Measuring on a GPU: times by events, the GPU's own rates, time limits, and what is fed in."""

from __future__ import annotations

import gc
import json
import signal
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gpu_kernels import CtypesDriver
from gpu_report import MILLISECONDS, Ceilings
from torch import Tensor

from dcdr_deploy.engines.cuda import driver as launching
from dcdr_deploy.engines.torch.fused import Block
from dcdr_deploy.errors import DcdrError
from dcdr_deploy.models import PRESETS, DCDRUNet, initialise

WEIGHTS = Path(__file__).parents[1] / "dcdr_deploy" / "weights" / "dcdr-unet-demo.safetensors"
GPU = torch.device("cuda")
MEASURED_SECONDS = 0.6
FEWEST, MOST = 5, 60
L1_BYTES_PER_CLOCK = 128
"""Of one multiprocessor, on all architectures from Volta on."""

_TYPES = {"F16": np.float16, "F32": np.float32}


class NotMeasured(Exception):
    """A part says nothing about what it was to measure."""


class OutOfTime(NotMeasured):
    """A part took longer than it may."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Stop a block of code after so many seconds; without effect where the system has no such alarm (Windows).

    Raises:
        OutOfTime: time was up.
    """
    if seconds <= 0:
        raise OutOfTime("no time was left for it")

    def stop(_number: int, _frame: Any) -> None:
        raise OutOfTime(f"stopped after {seconds:.0f} s")

    if not hasattr(signal, "SIGALRM"):
        yield
        return
    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def stream() -> int:
    """Return the current stream as a number."""
    return torch.cuda.current_stream().cuda_stream


def release() -> None:
    """Give memory of earlier parts back to the GPU."""
    gc.collect()
    with suppress(RuntimeError):  # after an illegal access every call fails, and the report has to be written still
        torch.cuda.empty_cache()


def device_times(function: Callable[[], Any]) -> list[float]:
    """Return milliseconds on the device of repeated calls, after some that are not counted."""
    for _ in range(3):
        function()
    torch.cuda.synchronize()
    once = event_times(function, 1)[0] / MILLISECONDS
    return event_times(function, min(max(int(MEASURED_SECONDS / max(once, 1e-6)), FEWEST), MOST))


def event_times(function: Callable[[], Any], repeats: int, stream: torch.cuda.Stream | None = None) -> list[float]:
    """Return milliseconds on the device of repeated work in a stream, the current one unless told otherwise."""
    events = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(repeats)]
    for start, end in events:
        start.record(stream)
        function()
        end.record(stream)
    torch.cuda.synchronize()
    return [start.elapsed_time(end) for start, end in events]


def host_times(function: Callable[[], Any], repeats: int = 7) -> list[float]:
    """Return milliseconds by the clock of calls that end with their result in host memory."""
    for _ in range(3):
        function()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        function()
        times.append((time.perf_counter() - started) * MILLISECONDS)
    return times


def summary(times: list[float]) -> dict[str, Any]:
    """Return median, spread and number of times, under the names of :class:`gpu_report.Timing`."""
    low, high = np.percentile(times, [10, 90])
    return {
        "milliseconds": statistics.median(times),
        "spread": (float(low), float(high)),
        "repeats": len(times),
    }


def kernel_times(function: Callable[[], Any], prefix: str, calls: int = 5) -> dict[str, float]:
    """Return mean milliseconds of each kernel whose name begins with ``prefix``, as torch's profiler sees them."""
    from torch.profiler import ProfilerActivity, profile

    function()
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        for _ in range(calls):
            function()
        torch.cuda.synchronize()
    found = {
        event.key: event.device_time_total / event.count / MILLISECONDS  # the profiler counts microseconds
        for event in profiler.key_averages()
        if event.key.startswith(prefix)
    }
    if not found:
        raise RuntimeError("the profiler saw no kernels; it may not be allowed to")
    return found


def ceilings() -> Ceilings:
    """Measure the GPU's rates: a matrix product of 8192 x 8192 FP16 random numbers, a copy of a gigabyte."""
    size = 8192
    a, b = (torch.randn(size, size, device=GPU, dtype=torch.float16) for _ in range(2))
    product = statistics.median(device_times(lambda: a @ b)) / MILLISECONDS
    source = torch.empty(1 << 30, dtype=torch.uint8, device=GPU).random_()
    target = torch.empty_like(source)
    copy = statistics.median(device_times(lambda: target.copy_(source))) / MILLISECONDS
    return Ceilings(2 * size**3 / product, 2 * source.numel() / copy, _cache_rate())


def _cache_rate() -> float | None:
    try:
        driver = launching.load_driver()
    except DcdrError:
        driver = CtypesDriver()
    try:
        kilohertz = launching.device_attribute(driver, "CLOCK_RATE", torch.cuda.current_device())
    except (DcdrError, AttributeError):
        return None
    return torch.cuda.get_device_properties(0).multi_processor_count * L1_BYTES_PER_CLOCK * kilohertz * 1e3


def device_facts() -> dict[str, Any]:
    """What the times depend on, for the head of the report; its ``name`` is the GPU's."""
    properties = torch.cuda.get_device_properties(0)
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader", "--id=0"]
    try:
        driver = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        driver = "unknown"
    return {
        "name": properties.name,
        "compute capability": f"{properties.major}.{properties.minor}",
        "multiprocessors": properties.multi_processor_count,
        "memory": f"{properties.total_memory / 2**30:.1f} GiB",
        "driver": driver,
        "torch": f"{torch.__version__}, CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}",
    }


def random_block(
    height: int, width: int, dtype: torch.dtype, batch: int = 1, reach: float = 2.0, seed: int = 0
) -> Block:
    """A block of random numbers, maps channels-last; offsets are normal with a spread of ``reach`` pixels."""
    generator = torch.Generator(GPU).manual_seed(seed)

    def random(scale: float, *shape: int) -> Tensor:
        values = (torch.randn(shape, generator=generator, device=GPU) * scale).to(dtype)
        return values.to(memory_format=torch.channels_last) if len(shape) == 4 else values

    z, gain1, shift1, gain2, shift2 = (random(scale, batch, 64, height, width) for scale in (0.5, 0.3, 0.3, 0.3, 0.3))
    offset = random(reach, batch, 18, height, width)
    weight1, weight2 = (random(0.03, 64, 64, 3, 3) for _ in range(2))
    bias1, bias2 = (random(0.1, 64) for _ in range(2))
    return Block(z, offset, gain1, shift1, gain2, shift2, weight1, bias1, weight2, bias2)


def picture(height: int, width: int) -> Tensor:
    """A picture (1, 3, H, W) float32 in [0, 1] on the CPU: slopes, edges, a bright window and a little noise."""
    generator = torch.Generator().manual_seed(5)
    y = torch.linspace(0, 1, height)[:, None].expand(height, width)
    x = torch.linspace(0, 1, width)[None, :].expand(height, width)
    bars = ((x * 24).floor() + (y * 14).floor()) % 2
    window = ((x - 0.6).abs() < 0.1) & ((y - 0.3).abs() < 0.15)
    planes = torch.stack([0.2 + 0.5 * x + 0.1 * bars, 0.5 * y + 0.2 * bars, 0.3 + 0.4 * (1 - x) * y])
    planes = torch.where(window, torch.ones(()), planes)
    noise = torch.randn(3, height, width, generator=generator) * 0.01
    return (planes + noise).clamp(0, 1)[None].contiguous()


def network() -> tuple[DCDRUNet, str]:
    """The network with the demo weights, FP32 on the CPU, and in words which weights these are.

    Where their file is missing or holds another architecture, random weights with offsets of about a pixel.
    """
    net = DCDRUNet(PRESETS["paper"])
    try:
        net.load_state_dict(_read_safetensors(WEIGHTS))
    except (OSError, KeyError, ValueError, RuntimeError):  # RuntimeError: torch's, for names or shapes that do not fit
        initialise(net)
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for block in net.deformable_blocks().values():
                block.offset.bias.copy_(torch.randn(18, generator=generator))
        return net.eval(), "random weights, the demo weights could not be read"
    return net.eval(), "demo weights"


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    """Read a file of the project's own without the safetensors package: a JSON header, then the numbers."""
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__":
            first, last = (start + at for at in entry["data_offsets"])
            values = np.frombuffer(content[first:last], _TYPES[entry["dtype"]]).reshape(entry["shape"])
            tensors[name] = torch.from_numpy(values.astype(np.float32))
    return tensors
