"""Check the convolutions on a GPU, time each launch of a frame's, and try other measures of the kernels.

    python benchmarks/gpu_convolution.py [--no-variants] [--sizes 3840x2160,1920x1080]

Needs torch with CUDA, numpy, cuda-bindings and NVRTC. Exit code 1 if a result is wrong.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import astuple, dataclass
from multiprocessing import get_context
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import gpu_conv_checks  # noqa: E402 - needs the path
import torch  # noqa: E402
from convolution_cases import CASES, problem  # noqa: E402

from dcdr_deploy.engines.cuda.compiler import compile_cubin, compile_text, source_text  # noqa: E402
from dcdr_deploy.engines.cuda.convolution import ConvolutionArguments, ConvolutionKernels  # noqa: E402
from dcdr_deploy.engines.cuda.convolution_table import PREFIX, Shape, Variant, instantiation, variants  # noqa: E402
from dcdr_deploy.errors import EngineError  # noqa: E402


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
    Place("instead: tone 2 and 3", "tone's end", 1, 0),
    Place("instead: hr2 and last", "hr and last", 1, 0),
    Place("instead: hidden x1", "hidden maps of two layers, apart", 1, 0),
]

TRIED = {
    "64_64": [
        Variant(Shape(64, 8, rows=3, warps_x=2, warps_n=1)),
        Variant(Shape(64, 8, warps_y=3, warps_x=2)),
        Variant(Shape(64, 8, warps_x=2, warps_n=1, stages=1)),
        Variant(Shape(64, 8, warps_y=2, stages=1), 2),
        Variant(Shape(64, 8, rows=2, stages=1), 2),
        Variant(Shape(64, 8, stages=1, resident=0)),
    ],
    "64_256": [
        Variant(Shape(64, 8, stages=1, sft=2, shuffle=1)),
        Variant(Shape(64, 8, sft=1, shuffle=1)),
        Variant(Shape(64, 8, rows=2, warps_y=6, sft=2, shuffle=1)),
        Variant(Shape(64, 8, stages=1, resident=0, sft=1, shuffle=1)),
    ],
    "64_64_down": [
        Variant(Shape(64, 8, stride=2, rows=2, stages=1, sft=2)),
        Variant(Shape(64, 8, stride=2, rows=2, sft=1)),
        Variant(Shape(64, 8, stride=2, rows=2, stages=1, resident=0, sft=1)),
    ],
    "64_24": [
        Variant(Shape(64, 3, warps_n=1, stages=1, workers=3)),
        Variant(Shape(64, 3, warps_n=1), 2),
        Variant(Shape(64, 3, warps_n=1, stages=1)),
    ],
    "64_3": [
        Variant(Shape(64, 1, warps_x=2, warps_n=1, stages=1), 2),
        Variant(Shape(64, 1, rows=2, warps_x=2, warps_n=1), 2),
        Variant(Shape(64, 1, rows=2, warps_y=8, warps_n=1, stages=1)),
    ],
    "32_32": [
        Variant(Shape(32, 4, warps_x=2, warps_n=1, stages=1), 2),
        Variant(Shape(32, 4, warps_n=1), 3),
        Variant(Shape(32, 4, warps_n=1, stages=1, workers=3)),
        Variant(Shape(32, 4, warps_n=1, workers=4)),
        Variant(Shape(32, 4, rows=2, warps_x=2, warps_n=1), 2),
    ],
    "32_32_up": [
        Variant(Shape(32, 4, warps_x=2, warps_n=1, stages=1, upsample=1), 2),
        Variant(Shape(32, 4, warps_n=1, stages=1, upsample=1, workers=4)),
        Variant(Shape(32, 4, rows=2, warps_x=2, warps_n=1, stages=1, upsample=1), 3),
    ],
    "4_64_sft": [
        Variant(Shape(4, 8, rows=2, warps_n=1, stages=1, sft=2, workers=3)),
        Variant(Shape(4, 8, rows=2, warps_n=1, sft=2), 3),
        Variant(Shape(4, 8, sft=2)),
        Variant(Shape(4, 8, rows=1, warps_n=1, sft=2, workers=4)),
        Variant(Shape(4, 8, rows=1, warps_y=2, warps_n=1, sft=2, workers=8)),
    ],
    "4_64": [
        Variant(Shape(4, 8), 2),
        Variant(Shape(4, 8, rows=2), 3),
    ],
    "64_64 wgmma": [
        Variant(Shape(64, 8, rows=3, warps_n=1, stages=1, wgmma=1, workers=3)),
        Variant(Shape(64, 8, rows=2, warps_n=1, stages=1, wgmma=1, workers=4)),
        Variant(Shape(64, 8, warps_n=1, stages=1, wgmma=1, workers=2)),
        Variant(Shape(64, 8, warps_x=2, warps_n=1, wgmma=1)),
    ],
    "64_256 wgmma": [
        Variant(Shape(64, 8, rows=2, warps_n=1, stages=1, sft=2, shuffle=1, wgmma=1, workers=3)),
        Variant(Shape(64, 8, rows=3, warps_n=1, stages=1, sft=2, shuffle=1, wgmma=1, workers=2)),
        Variant(Shape(64, 8, rows=2, warps_n=1, sft=2, shuffle=1, wgmma=1, workers=2)),
        Variant(Shape(64, 8, rows=1, warps_n=1, stages=1, sft=2, shuffle=1, wgmma=1, workers=4)),
        Variant(Shape(64, 8, rows=1, warps_n=1, stages=1, sft=2, shuffle=1, wgmma=1, workers=5)),
        Variant(Shape(64, 8, rows=1, warps_n=1, sft=2, shuffle=1, wgmma=1, workers=3)),
    ],
    "64_64_3": [
        Variant(Shape(64, 8, warps_x=2, warps_n=1, stages=1, three=1)),
        Variant(Shape(64, 8, rows=2, warps_x=2, warps_n=1, three=1)),
        Variant(Shape(64, 8, stages=1, three=1)),
    ],
    "64_64_3 wgmma": [
        Variant(Shape(64, 8, rows=2, warps_n=1, stages=1, wgmma=1, workers=3, three=1)),
        Variant(Shape(64, 8, warps_n=1, stages=1, wgmma=1, workers=2, three=1)),
    ],
    "64_64_down wgmma": [
        Variant(Shape(64, 8, stride=2, rows=1, warps_n=1, stages=1, sft=2, wgmma=1, workers=3)),
        Variant(Shape(64, 8, stride=2, rows=1, warps_n=1, stages=1, sft=2, wgmma=1, workers=2)),
    ],
}
"""Measures that are timed besides the table's; each is a kernel of its own."""

PROVED_AT = dict(
    zip(
        ("64_64", "64_256", "64_64_down", "64_24", "64_3", "32_32", "32_32_up", "4_64_sft", "4_64", "64_64_3"),
        (2, 13, 8, 12, 3, 6, 5, 0, 1, 20),
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


def on_gpu(place: Place, height: int, width: int, measures: Iterable[Variant]) -> gpu_conv_checks.Loaded:
    size = (1, height // place.down, width // place.down)
    return gpu_conv_checks.Loaded(problem(CASES[place.case], size, device="cuda"), measures)


def rates(arguments: ConvolutionArguments, taken: float) -> str:
    return f"{arguments.flops / taken / 1e9:7.1f} TFLOP/s {arguments.bytes / taken / 1e9:6.2f} TB/s"


def time_frame(sm: int, kernels: ConvolutionKernels, height: int, width: int) -> None:
    """Print a line for each kind of launch, and their sum."""
    stream = torch.cuda.current_stream().cuda_stream
    total = 0.0
    for place in FRAME:
        loaded = on_gpu(place, height, width, variants(sm).values())
        taken = milliseconds(lambda of=loaded: kernels.launch(of.arguments, stream))  # type: ignore[misc]
        total += taken * place.count
        print(f"{width}x{height} {place.name:20} {place.count} x {taken:7.3f} ms {rates(loaded.arguments, taken)}")
    print(f"{width}x{height} all convolutions {total:.2f} ms", flush=True)


Fastest = tuple[str, float, Variant]
"""Kind of kernels, milliseconds, measures."""


def compiled(sm: int, name: str, variant: Variant) -> bytes | str:
    """Compile a kernel alone; return why if it does not."""
    text = f"{source_text('convolution')}{instantiation(name, variant)}\n"
    try:
        return compile_text(text, sm, f"{name}.cu")
    except EngineError as error:
        return str(error)


def jobs_for(sm: int, only: set[str]) -> list[tuple[str, Variant]]:
    """Return the kernels to time, by kind the table's first."""
    kinds = [group for group in TRIED if (not only or group in only) and (sm == 90 or "wgmma" not in group)]
    return [(group, variant) for group in kinds for variant in (variants(sm)[group.split()[0]], *TRIED[group])]


def compile_all(sm: int, jobs: list[tuple[str, Variant]]) -> tuple[bytes, list[bytes | str]]:
    """Compile the table's kernels and the others, side by side; CUDA must be untouched yet, because processes fork."""
    with ProcessPoolExecutor(os.cpu_count(), get_context("fork")) as pool:
        table = pool.submit(compile_cubin, "convolution", sm)
        names = [PREFIX + group.split()[0] for group, _ in jobs]
        made = pool.map(compiled, [sm] * len(jobs), names, [each for _, each in jobs])
        return table.result(), list(made)


def compute_capability() -> int:
    """SM of the first GPU, asked of the driver's own tool, which leaves CUDA alone in this process."""
    command = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return int(said.split()[0].replace(".", ""))


def try_kind(sm: int, key: str, made: list[tuple[Variant, bytes | str]], height: int, width: int) -> Fastest:
    """Time all measures of a kind, of which the first is the table's; return the fastest that is right."""
    loaded = on_gpu(FRAME[PROVED_AT[key]], height, width, [variant for variant, _ in made])
    stream = torch.cuda.current_stream().cuda_stream
    wanted = None
    timed = []
    for variant, result in made:
        shape = " ".join(map(str, astuple(variant.shape)))
        label = f"{key:11}{' ' if timed else '*'}{shape + f' /{variant.blocks}':33}"
        try:
            if isinstance(result, str):
                raise EngineError(result)
            kernels = ConvolutionKernels({sm: result}, table=lambda _sm, of=variant: {key: of})  # type: ignore[misc]
            blocks = kernels.resident_blocks()[key]
            taken = milliseconds(lambda of=kernels: of.launch(loaded.arguments, stream))  # type: ignore[misc]
        except EngineError as error:
            timed.append((math.inf, f"{label} {error}", variant))
            continue
        got = loaded.results()[-1].float()
        wanted = got if wanted is None else wanted
        difference = float((got - wanted).norm() / wanted.norm())
        line = f"{label} {blocks:4} blocks, {taken:7.3f} ms {rates(loaded.arguments, taken)}"
        if not difference <= gpu_conv_checks.BOUND:
            line, taken = f"{line} WRONG {difference:.1e}", math.inf
        timed.append((taken, line, variant))
    timed.sort(key=lambda each: each[0])
    print("\n".join(line for _, line, _ in timed), flush=True)
    return key, timed[0][0], timed[0][2]


def adopt(path: str) -> str:
    """Put the measures that ``--write`` left in a file into the table of this process; say which."""
    found = json.loads(Path(path).read_text(encoding="utf-8"))
    table = variants(found["sm"])
    for key, (_, shape, blocks) in found["fastest"].items():
        table[key] = Variant(Shape(*shape), blocks)
    return f"measures by {path}: {', '.join(found['fastest'])}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--no-variants", action="store_true", help="do not try other measures")
    parser.add_argument("--no-frame", action="store_true", help="do not check, and do not time a frame's launches")
    parser.add_argument("--only", default="", help="kinds of kernels to try measures of, separated by commas")
    parser.add_argument("--sizes", default="3840x2160,1920x1080", help="frames to time, default: %(default)s")
    parser.add_argument("--write", type=Path, help="file (JSON) in which the fastest measures are kept, for adopt()")
    options = parser.parse_args()
    if shutil.which("nvidia-smi") is None:
        print("there is no GPU")
        return 2
    started = time.perf_counter()
    sm = compute_capability()
    jobs = [] if options.no_variants else jobs_for(sm, set(filter(None, options.only.split(","))))
    cubin, made = compile_all(sm, jobs)
    print(f"{torch.cuda.get_device_name()}, SM{sm} [compiled in {time.perf_counter() - started:.1f} s]", flush=True)
    sizes = [tuple(map(int, each.split("x"))) for each in options.sizes.split(",")]
    right = True
    if not options.no_frame:
        lines = gpu_conv_checks.run(sm)
        print("\n".join(lines), f"\n[{time.perf_counter() - started:.1f} s]", flush=True)
        right = all(line.startswith("ok") for line in lines)
        for width, height in sizes:
            time_frame(sm, ConvolutionKernels({sm: cubin}), height, width)
    fastest: dict[str, tuple[float, tuple[int, ...], int]] = {}
    if options.write and options.write.is_file():
        fastest = json.loads(options.write.read_text(encoding="utf-8"))["fastest"]
    for group in dict.fromkeys(each for each, _ in jobs):
        tried = [(variant, each) for (kind, variant), each in zip(jobs, made, strict=True) if kind == group]
        key, taken, variant = try_kind(sm, group.split()[0], tried, sizes[0][1], sizes[0][0])
        if taken < fastest.get(key, (math.inf,))[0]:
            fastest[key] = (taken, astuple(variant.shape), variant.blocks)
        if options.write:
            options.write.write_text(json.dumps({"sm": sm, "fastest": fastest}), encoding="utf-8")
    print(f"[{time.perf_counter() - started:.1f} s]")
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
