"""Check the convolutions on a GPU, time each launch of a frame's, and try other measures of the kernels.

    python benchmarks/gpu_convolution.py [--no-variants] [--sizes 3840x2160,1920x1080]

Needs torch with CUDA, numpy, cuda-bindings and NVRTC. Exit code 1 if a result is wrong.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import astuple, dataclass
from multiprocessing import get_context
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import gpu_conv_checks
import torch
from convolution_cases import CASES, problem

from dcdr_deploy.engines.cuda.compiler import compile_cubin, compile_text, source_text
from dcdr_deploy.engines.cuda.convolution import ConvolutionArguments, ConvolutionKernels
from dcdr_deploy.engines.cuda.convolution_table import PREFIX, Shape, Variant, instantiation, variants
from dcdr_deploy.engines.cuda.cubin import Resources, resource_usage
from dcdr_deploy.errors import EngineError


@dataclass(frozen=True)
class Place:
    """Launches of a frame: what they are called, their case, by how much their input is smaller, and how many."""

    name: str
    case: str
    down: int
    count: int = 1


FRAME = [
    Place("first + SFT", "first", 1),
    Place("tone 0", "tone from the image", 1),
    Place("hr1, hr2, tone 1, 2", "hr", 1, 4),
    Place("tone 3 x image", "tone's gain", 1),
    Place("last + tone", "last", 1),
    Place("head x1, up by 4", "head at the whole", 4),
    Place("end of head x1", "end of a head", 1),
    Place("hidden x1", "trunk", 1),
    Place("down1 + SFT", "down", 1),
    Place("head x0.5, up by 2", "head at a half", 4),
    Place("end of head x0.5", "end of a head", 2),
    Place("hidden x0.5", "hidden maps of eight layers", 2),
    Place("offsets x0.5", "offsets", 2, 4),
    Place("up2 + skip + SFT", "up into hr", 2),
    Place("trunk 0", "trunk from the image", 4),
    Place("trunk, head x0.25", "trunk", 4, 4),
    Place("hidden x0.25", "hidden maps of eight layers", 4),
    Place("down2 + SFT", "down", 2),
    Place("offsets x0.25", "offsets", 4, 4),
    Place("up1 + skip + SFT", "up into blocks", 4),
]

TRIED = {
    "64_64": [
        Variant(Shape(64, 8, 1, 4, 4, 2, 1, 1), 1),
        Variant(Shape(64, 8, 1, 4, 4, 1, 2, 2), 1),
        Variant(Shape(64, 8, 1, 4, 4, 2, 2, 2), 1),
        Variant(Shape(64, 8, 1, 4, 2, 2, 2, 2), 1),
        Variant(Shape(64, 8, 1, 8, 2, 2, 2, 2), 1),
        Variant(Shape(64, 8, 1, 8, 2, 1, 2, 2), 1),
        Variant(Shape(64, 8, 1, 6, 2, 2, 2, 2), 1),
        Variant(Shape(64, 8, 1, 4, 3, 2, 2, 2), 1),
        Variant(Shape(64, 8, 1, 3, 4, 2, 1, 2), 1),
        Variant(Shape(64, 8, 1, 3, 4, 2, 2, 2), 1),
        Variant(Shape(64, 8, 1, 4, 2, 1, 2, 1), 2),
        Variant(Shape(64, 8, 1, 2, 4, 1, 2, 1), 2),
        Variant(Shape(64, 8, 1, 4, 4, 1, 2, 1, 0), 2),
        Variant(Shape(64, 8, 1, 4, 4, 1, 2, 2, 0), 2),
        Variant(Shape(64, 8, 1, 4, 4, 1, 1, 2), 1),
    ],
    "64_256": [
        Variant(Shape(64, 8, 1, 4, 4, 1, 2, 2, 1, 1, 1), 1),
        Variant(Shape(64, 8, 1, 4, 4, 1, 2, 1, 1, 2, 1), 1),
        Variant(Shape(64, 8, 1, 2, 8, 1, 2, 2, 1, 2, 1), 1),
        Variant(Shape(64, 8, 1, 2, 4, 2, 2, 2, 1, 2, 1), 1),
        Variant(Shape(64, 8, 1, 4, 2, 2, 2, 2, 1, 2, 1), 1),
        Variant(Shape(64, 8, 1, 3, 4, 1, 2, 2, 1, 2, 1), 1),
        Variant(Shape(64, 8, 1, 4, 3, 1, 2, 2, 1, 2, 1), 1),
        Variant(Shape(64, 8, 1, 2, 6, 1, 2, 2, 1, 2, 1), 1),
        Variant(Shape(64, 8, 1, 2, 4, 1, 2, 1, 0, 1, 1), 2),
    ],
    "64_64_down": [
        Variant(Shape(64, 8, 2, 2, 4, 1, 2, 1, 1, 2), 1),
        Variant(Shape(64, 8, 2, 4, 4, 1, 2, 1, 1, 1), 1),
        Variant(Shape(64, 8, 2, 2, 8, 1, 2, 1, 1, 1), 1),
        Variant(Shape(64, 8, 2, 1, 8, 1, 2, 2, 1, 1), 1),
        Variant(Shape(64, 8, 2, 2, 2, 1, 2, 2, 1, 2), 1),
        Variant(Shape(64, 8, 2, 1, 4, 1, 2, 2, 1, 2), 1),
        Variant(Shape(64, 8, 2, 2, 4, 1, 2, 1, 0, 1), 2),
    ],
    "64_24": [
        Variant(Shape(64, 3, 1, 4, 4, 2, 1, 2), 1),
        Variant(Shape(64, 3, 1, 2, 8, 2, 1, 2), 1),
        Variant(Shape(64, 3, 1, 2, 8, 1, 1, 2), 2),
        Variant(Shape(64, 3, 1, 4, 4, 1, 1, 2), 2),
        Variant(Shape(64, 3, 1, 2, 8, 2, 1, 1), 2),
    ],
    "64_3": [
        Variant(Shape(64, 1, 1, 4, 4, 2, 1, 2), 1),
        Variant(Shape(64, 1, 1, 2, 8, 2, 1, 2), 1),
        Variant(Shape(64, 1, 1, 2, 8, 2, 1, 1), 2),
        Variant(Shape(64, 1, 1, 2, 8, 1, 1, 2), 2),
        Variant(Shape(64, 1, 1, 4, 4, 1, 1, 2), 2),
        Variant(Shape(64, 1, 1, 2, 4, 2, 1, 2), 2),
    ],
    "32_32": [
        Variant(Shape(32, 4, 1, 4, 4, 2, 1, 1), 2),
        Variant(Shape(32, 4, 1, 2, 8, 2, 1, 2), 1),
        Variant(Shape(32, 4, 1, 2, 4, 2, 1, 2), 3),
        Variant(Shape(32, 4, 1, 4, 2, 2, 1, 2), 3),
        Variant(Shape(32, 4, 1, 4, 4, 1, 1, 2), 3),
        Variant(Shape(32, 4, 1, 2, 8, 1, 1, 2), 3),
    ],
    "32_32_up": [
        Variant(Shape(32, 4, 1, 2, 4, 2, 1, 1, 1, 0, 0, 1), 3),
        Variant(Shape(32, 4, 1, 2, 8, 2, 1, 1, 1, 0, 0, 1), 1),
        Variant(Shape(32, 4, 1, 4, 2, 2, 1, 1, 1, 0, 0, 1), 4),
        Variant(Shape(32, 4, 1, 2, 8, 1, 1, 1, 1, 0, 0, 1), 3),
    ],
    "4_64_sft": [
        Variant(Shape(4, 8, 1, 2, 4, 1, 2, 2, 1, 2), 1),
        Variant(Shape(4, 8, 1, 2, 4, 1, 2, 2, 1, 1), 1),
        Variant(Shape(4, 8, 1, 4, 4, 1, 2, 2, 1, 2), 1),
        Variant(Shape(4, 8, 1, 2, 8, 1, 2, 2, 1, 2), 1),
        Variant(Shape(4, 8, 1, 1, 8, 1, 2, 2, 1, 2), 1),
        Variant(Shape(4, 8, 1, 1, 4, 1, 2, 2, 1, 2), 2),
        Variant(Shape(4, 8, 1, 4, 4, 1, 1, 2, 1, 2), 2),
    ],
    "4_64": [
        Variant(Shape(4, 8, 1, 2, 4, 1, 2, 2), 3),
        Variant(Shape(4, 8, 1, 2, 4, 2, 1, 2), 2),
        Variant(Shape(4, 8, 1, 2, 8, 1, 2, 2), 2),
        Variant(Shape(4, 8, 1, 1, 8, 1, 2, 2), 2),
    ],
}
"""Measures that are timed besides the table's; each is a kernel of its own."""

PROVED_AT = dict(
    zip(
        ("64_64", "64_256", "64_64_down", "64_24", "64_3", "32_32", "32_32_up", "4_64_sft", "4_64"),
        (2, 13, 8, 12, 3, 6, 5, 0, 1),
        strict=True,
    )
)
"""Which launches of :data:`FRAME` the measures are timed with."""


def milliseconds(launch: Callable[[], None], launches: int = 3, times: int = 5) -> float:
    """Median time of a launch by events."""
    launch()
    taken = []
    for _ in range(times):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        for _ in range(launches):
            launch()
        end.record()
        end.synchronize()
        taken.append(begin.elapsed_time(end) / launches)
    return statistics.median(taken)


def on_gpu(place: Place, height: int, width: int) -> gpu_conv_checks.Loaded:
    size = (1, height // place.down, width // place.down)
    return gpu_conv_checks.Loaded(problem(CASES[place.case], size, device="cuda"))


def rates(arguments: ConvolutionArguments, taken: float) -> str:
    return f"{arguments.flops / taken / 1e9:7.1f} TFLOP/s {arguments.bytes / taken / 1e9:6.2f} TB/s"


def time_frame(kernels: ConvolutionKernels, height: int, width: int) -> None:
    """Print a line for each kind of launch, and their sum."""
    stream = torch.cuda.current_stream().cuda_stream
    total = 0.0
    for place in FRAME:
        loaded = on_gpu(place, height, width)
        taken = milliseconds(lambda of=loaded: kernels.launch(of.arguments, stream))  # type: ignore[misc]
        total += taken * place.count
        print(f"{width}x{height} {place.name:20} {place.count} x {taken:7.3f} ms {rates(loaded.arguments, taken)}")
    print(f"{width}x{height} all convolutions {total:.2f} ms", flush=True)


Compiled = tuple[bytes, Resources]


def compiled(sm: int, name: str, variant: Variant) -> Compiled | str:
    """Compile a kernel alone; return why if it does not."""
    text = f"{source_text('convolution')}{instantiation(name, variant)}\n"
    try:
        cubin = compile_text(text, sm, f"{name}.cu")
    except EngineError as error:
        return str(error)
    return cubin, resource_usage(cubin)[name]


def jobs_for(sm: int, only: set[str]) -> list[tuple[str, Variant]]:
    """Return the kernels to time, by kind the table's first."""
    kinds = [key for key in TRIED if not only or key in only]
    return [(key, variant) for key in kinds for variant in (variants(sm)[key], *TRIED[key])]


def compile_all(sm: int, jobs: list[tuple[str, Variant]]) -> tuple[bytes, list[Compiled | str]]:
    """Compile the table's kernels and the others, side by side. Nothing may have touched CUDA before: processes fork."""
    with ProcessPoolExecutor(os.cpu_count(), get_context("fork")) as pool:
        table = pool.submit(compile_cubin, "convolution", sm)
        made = pool.map(compiled, [sm] * len(jobs), [PREFIX + key for key, _ in jobs], [each for _, each in jobs])
        return table.result(), list(made)


def compute_capability() -> int:
    """SM of the first GPU, asked of the driver's own tool, which leaves CUDA alone in this process."""
    command = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return int(said.split()[0].replace(".", ""))


def try_kind(sm: int, key: str, made: list[tuple[Variant, Compiled | str]], height: int, width: int) -> bool:
    """Time all measures of a kind; return whether all gave the results of the table's."""
    loaded = on_gpu(FRAME[PROVED_AT[key]], height, width)
    stream = torch.cuda.current_stream().cuda_stream
    wanted = None
    lines = []
    for variant, result in made:
        shape = " ".join(map(str, astuple(variant.shape)))
        label = f"{key:11}{' ' if lines else '*'}{shape + f' /{variant.blocks}':29}"
        try:
            if isinstance(result, str):
                raise EngineError(result)
            kernels = ConvolutionKernels({sm: result[0]}, table=lambda _sm, of=variant: {key: of})  # type: ignore[misc]
            blocks = kernels.resident_blocks()[key]
            taken = milliseconds(lambda of=kernels: of.launch(loaded.arguments, stream))  # type: ignore[misc]
        except EngineError as error:
            lines.append((1e9, f"{label} {error}"))
            continue
        got = loaded.results()[-1].float()
        wanted = got if wanted is None else wanted
        difference = float((got - wanted).norm() / wanted.norm())
        lines.append(
            (
                taken,
                f"{label} {result[1].registers:3} regs {result[1].local_bytes:3} B spilled, {blocks} blocks, "
                f"{taken:7.3f} ms {rates(loaded.arguments, taken)}"
                + ("" if difference <= gpu_conv_checks.BOUND else f" WRONG {difference:.1e}"),
            )
        )
    print("\n".join(line for _, line in sorted(lines)), flush=True)
    return not any("WRONG" in line for _, line in lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--no-variants", action="store_true", help="do not try other measures")
    parser.add_argument("--only", default="", help="kinds of kernels to try measures of, separated by commas")
    parser.add_argument("--sizes", default="3840x2160,1920x1080", help="frames to time, default: %(default)s")
    options = parser.parse_args()
    if shutil.which("nvidia-smi") is None:
        print("there is no GPU")
        return 2
    started = time.perf_counter()
    sm = compute_capability()
    jobs = [] if options.no_variants else jobs_for(sm, set(filter(None, options.only.split(","))))
    cubin, made = compile_all(sm, jobs)
    print(f"{torch.cuda.get_device_name()}, SM{sm} [compiled in {time.perf_counter() - started:.1f} s]")
    lines = gpu_conv_checks.run(sm)
    print("\n".join(lines), f"\n[{time.perf_counter() - started:.1f} s]", flush=True)
    right = all(line.startswith("ok") for line in lines)
    kernels = ConvolutionKernels({sm: cubin})
    sizes = [tuple(map(int, each.split("x"))) for each in options.sizes.split(",")]
    for width, height in sizes:
        time_frame(kernels, height, width)
    for key in dict.fromkeys(kind for kind, _ in jobs):
        tried = [(variant, each) for (kind, variant), each in zip(jobs, made, strict=True) if kind == key]
        right &= try_kind(sm, key, tried, sizes[0][1], sizes[0][0])
    print(f"[{time.perf_counter() - started:.1f} s]")
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
