"""Check the convolutions on a GPU against torch, and time each launch of a frame's, with the table's measures.

    python benchmarks/gpu_convolution.py [--sizes 2160x3840,1080x1920]

Other measures are tried by `dcdr-deploy tune`. Needs torch with CUDA, numpy, cuda-bindings and NVRTC. Exit code 1 if a
result is wrong.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import gpu_conv_checks  # noqa: E402 - needs the path
import torch  # noqa: E402
from command_line import Parser, add_frame_sizes, need_gpu, start  # noqa: E402
from convolution_cases import CASES, problem  # noqa: E402

from dcdr_deploy.engines.cuda.compiler import compile_cubin, target_sm  # noqa: E402
from dcdr_deploy.engines.cuda.convolution import ConvolutionArguments, ConvolutionKernels  # noqa: E402
from dcdr_deploy.engines.cuda.convolution_table import Variant, variants  # noqa: E402
from dcdr_deploy.system import hardware  # noqa: E402


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


def main() -> int:
    parser = Parser(__doc__)
    add_frame_sizes(parser, "2160x3840,1080x1920")
    options = parser.parse_args()
    need_gpu()
    started = time.perf_counter()
    sm = target_sm(hardware.compute_capabilities()[0])
    kernels = ConvolutionKernels({sm: compile_cubin("convolution", sm)})
    print(f"{torch.cuda.get_device_name()}, SM{sm} [compiled in {time.perf_counter() - started:.1f} s]", flush=True)
    lines = gpu_conv_checks.run(sm)
    print("\n".join(lines), f"\n[{time.perf_counter() - started:.1f} s]", flush=True)
    for height, width in options.sizes:
        time_frame(sm, kernels, height, width)
    return 0 if all(line.startswith("ok") for line in lines) else 1


if __name__ == "__main__":
    start(main)
