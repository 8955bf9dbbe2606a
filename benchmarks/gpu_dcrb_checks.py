"""The block from hidden maps on one NVIDIA GPU: right against torch in FP32, and its time beside the older block's.

    python benchmarks/gpu_dcrb_checks.py [--variants] [--once]

Half a minute. ``--variants`` times the kernel as it is compiled for other numbers of threads and ways of gathering;
one that crashes or hangs costs itself alone. ``--once`` launches one block of 1080 x 1920 three times, for a profiler.
Exit code 1 where a result is wrong.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from command_line import Parser, need_gpu, start
from gpu_dcrb_block import GPU, SECOND, Block, error
from gpu_dcrb_variants import compiled, right_ones

from dcdr_deploy.engines.cuda.compiler import compile_cubin
from dcdr_deploy.engines.cuda.dcrb_from_hidden import SOURCE, FromHiddenKernels, SftArguments

BOUND = 1e-3
"""Largest relative error, |out - reference| / |reference| over all values."""

CHECKS = [(1, 16, 24, 2.0), (1, 1, 1, 1.0), (2, 17, 27, 2.0), (3, 5, 130, 4.0), (2, 67, 93, 30.0), (1, 270, 481, 1.0)]
"""Images, rows, columns, reach of the offsets in pixels."""

TIMED = [(1080, 1920, 1.0), (540, 960, 1.0), (1080, 1920, 4.0)]

ROUNDS, REPEATS = 4, 5


def checks(kernels: FromHiddenKernels, stream: int) -> Iterator[tuple[str, float, float]]:
    """Yield what was checked, the relative error, and its bound."""
    for seed, (batch, height, width, reach) in enumerate(CHECKS):
        name = f"DCRB from hidden maps, {batch} x {height} x {width}, reach {reach:g}"
        block = Block(batch, height, width, reach, seed)
        whole, z = block.arguments(), block.z.clone()
        expected = block.expected()
        kernels.launch(whole, stream)
        yield f"{name}: z'", error(block.out, expected[0]), BOUND
        yield f"{name}: u'", error(block.next_out, expected[1]), BOUND
        kernels.launch(replace(whole, skip=0, next_sft=None, next_out=0), stream)
        without_skip = expected[0] - block.skip.permute(0, 3, 1, 2).float()
        yield f"{name}: no skip, no next", error(block.out, without_skip), BOUND
        kernels.launch(replace(whole, out=whole.z, next_out=whole.u), stream)
        yield f"{name}: in place", error(block.z, expected[0]) + error(block.u, expected[1]), 2 * BOUND
        block.z.copy_(z)
        alone = SftArguments(*block.size, whole.z, whole.sft2, whole.out)
        kernels.launch_sft(alone, stream)
        gain, shift = block.second.maps(block.hidden, SECOND)
        planes = z.permute(0, 3, 1, 2).float()
        yield f"{name}: SFT alone", error(block.out, planes + gain * planes + shift), BOUND
    for value in (float("nan"), float("inf"), -6e4):
        block = Block(2, 33, 47, 1.0)
        block.offset[:] = value
        kernels.launch(block.arguments(), stream)
        finite = bool(torch.isfinite(block.out).all() and torch.isfinite(block.next_out).all())
        yield f"DCRB from hidden maps, offsets {value:g}", 0.0 if finite else float("inf"), BOUND
    block, results = Block(1, 1080, 1920, 3.0), []
    for _ in range(3):
        kernels.launch(block.arguments(), stream)
        results.append((block.out.clone(), block.next_out.clone()))
    same = all(torch.equal(a, b) for pair in results[1:] for a, b in zip(pair, results[0], strict=True))
    yield "DCRB from hidden maps, 1080 x 1920, three times the same", 0.0 if same else float("inf"), BOUND


def run(sm: int) -> list[str]:
    """Return the checks as lines, each beginning with ``ok`` or ``WRONG``; for a GPU of this compute capability."""
    kernels = FromHiddenKernels({sm: compile_cubin(SOURCE, sm)})
    stream = torch.cuda.current_stream().cuda_stream
    with torch.no_grad():
        return [
            f"{'ok   ' if value <= bound else 'WRONG'} {name}: {value:.1e} (at most {bound:.0e})"
            for name, value, bound in checks(kernels, stream)
        ]


def times(tasks: Mapping[str, Callable[[], None]]) -> dict[str, float]:
    """Median milliseconds of each task, in turn, so that a clock that changes meets all."""
    found: dict[str, list[float]] = {name: [] for name in tasks}
    for number in range(ROUNDS + 1):
        for name, task in tasks.items():
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            for _ in range(REPEATS):
                task()
            end.record()
            torch.cuda.synchronize()
            if number:
                found[name].append(start.elapsed_time(end) / REPEATS)
    return {name: statistics.median(each) for name, each in found.items()}


def old_block(height: int, width: int, reach: float, sm: int, stream: int) -> Callable[[], None]:
    """The block that takes gain and shift maps, whole."""
    import gpu_measure

    from dcdr_deploy.engines.torch import fused

    kernels = fused.kernels_for(sm)
    given = gpu_measure.random_block(height, width, torch.half, reach=reach)
    return lambda: (fused.run_block(kernels, given, stream), None)[1]


PARTS = ("block", "first", "second", "second+next", "second+next+skip", "sft")


def parts(kernels: FromHiddenKernels, block: Block, stream: int) -> dict[str, Callable[[], None]]:
    """Return what is timed of the kernels, by :data:`PARTS`."""
    whole = block.arguments()
    chained = replace(whole, skip=0)
    alone = replace(chained, next_sft=None, next_out=0)
    sft = SftArguments(*block.size, whole.z, whole.sft2, whole.out)
    return {
        "block": lambda: kernels.launch(chained, stream),
        "first": lambda: kernels.launch_first(whole, stream),
        "second": lambda: kernels.launch_second(alone, stream),
        "second+next": lambda: kernels.launch_second(chained, stream),
        "second+next+skip": lambda: kernels.launch_second(whole, stream),
        "sft": lambda: kernels.launch_sft(sft, stream),
    }


def timings(built: Mapping[str, FromHiddenKernels], sm: int, stream: int) -> Iterator[str]:
    """Yield lines of times at the network's sizes."""
    for height, width, reach in TIMED:
        block = Block(1, height, width, reach)
        tasks: dict[str, Callable[[], None]] = {"old": old_block(height, width, reach, sm, stream)}
        for name, kernels in built.items():
            tasks |= {f"{name}/{part}": task for part, task in parts(kernels, block, stream).items()}
        found = times(tasks)
        yield f"{height} x {width}, reach {reach:g} px, ms: block from maps of gain and shift {found['old']:.3f}"
        for name in sorted(built, key=lambda name: found[f"{name}/block"]):
            yield f"  {name:48s} " + ", ".join(f"{part} {found[f'{name}/{part}']:.3f}" for part in PARTS)


def compare(sm: int, stream: int, say: Callable[[str], object]) -> None:
    """Check and time the variants. Those that are wrong are not timed."""
    built = {"as released": FromHiddenKernels({sm: compile_cubin(SOURCE, sm)})}
    built |= compiled(sm, right_ones(sm, say))
    for line in timings(built, sm, stream):
        say(line)


def main() -> int:
    """Check, time, print."""
    parser = Parser(__doc__)
    parser.add_argument("--variants", action="store_true", help="also time other ways to compile the kernel")
    parser.add_argument("--once", action="store_true", help="launch one block three times, for a profiler")
    words = parser.parse_args()
    need_gpu()
    started = time.monotonic()
    torch.zeros(1, device=GPU)
    major, minor = torch.cuda.get_device_capability()
    sm = 10 * major + minor
    stream = torch.cuda.current_stream().cuda_stream
    if words.once:
        block, kernels = Block(1, 1080, 1920, 1.0), FromHiddenKernels({sm: compile_cubin(SOURCE, sm)})
        for _ in range(3):
            kernels.launch(block.arguments(), stream)
        torch.cuda.synchronize()
        return 0
    print(torch.cuda.get_device_name(), f"SM{sm}", flush=True)
    lines = run(sm)
    print("\n".join(lines), flush=True)

    def say(line: str) -> None:
        lines.append(line)
        print(line, flush=True)

    with torch.no_grad():
        if words.variants:
            compare(sm, stream, say)
        else:
            for line in timings({"as released": FromHiddenKernels({sm: compile_cubin(SOURCE, sm)})}, sm, stream):
                say(line)
    print(f"{time.monotonic() - started:.0f} s in all")
    return int(any(line.startswith("WRONG") for line in lines))


if __name__ == "__main__":
    start(main)
