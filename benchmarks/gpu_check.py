"""Check and time the fused network on one NVIDIA GPU: one command, below eight minutes, nothing is downloaded.

    python benchmarks/gpu_check.py [--output FOLDER] [--minutes 7.5]

Needs torch with CUDA, numpy and this repository (which need not be installed). Prints a table and writes
``FOLDER/<name of the GPU>.md`` and ``.json``; the folder is ``benchmarks/results`` unless told otherwise. It checks the
kernel against an FP32 reference, then times the deformable convolution and the whole network beside torchvision, torch
eager and torch.compile, and states which share of the GPU's own limits is reached. torchvision, torch.compile, ONNX
Runtime with CUDA, tensorrt and tensorrt-rtx add rows where they can be used; where not, the row says why.

Exit code: 0 done, 1 a result was wrong, 2 no GPU, or one that the kernel cannot be made for.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import gpu_backends as backends  # noqa: E402 - needs the path
import gpu_kernels  # noqa: E402
import gpu_measure as measure  # noqa: E402
import gpu_own as own  # noqa: E402
import gpu_report as report_form  # noqa: E402
import torch  # noqa: E402
from command_line import Parser, above_zero, new_folder, start  # noqa: E402
from gpu_report import DEFORM, FRAME, SIZES, Report, Timing, deform_work, frame_work, plain_work  # noqa: E402
from gpu_results import check_accesses, check_results  # noqa: E402
from gpu_run import Run  # noqa: E402
from text_files import write_text  # noqa: E402
from torch import Tensor  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from dcdr_deploy._version import __version__  # noqa: E402
from dcdr_deploy.engines.cuda import dcrb_from_maps  # noqa: E402
from dcdr_deploy.engines.cuda.compiler import source_hash  # noqa: E402
from dcdr_deploy.engines.torch import fused  # noqa: E402
from dcdr_deploy.engines.torch.engine import fp16_forward  # noqa: E402
from dcdr_deploy.engines.torch.graphs import CudaRecorder  # noqa: E402
from dcdr_deploy.errors import DcdrError  # noqa: E402
from dcdr_deploy.models.deform import deform_conv2d  # noqa: E402
from dcdr_deploy.system.faults import one_line  # noqa: E402

HALF_SIZES = {"960x540": (540, 960), "1920x1080": (1080, 1920)}
"""Features at half the scale of a 1920x1080 and of a 3840x2160 frame; a quarter of the latter is the former."""

HOST = report_form.HOST
OPTIONAL_SECONDS = 75.0
COMPILE_SECONDS = 120.0


# The deformable convolution


def time_convolutions(run: Run, kernels: Any) -> None:
    for size, (height, width) in HALF_SIZES.items():
        work = deform_work(height, width)
        block = measure.random_block(height, width, torch.half)
        planar = [each.contiguous() for each in block]

        def fused_block(block: fused.Block = block) -> Tensor:
            return fused.run_block(kernels, block, measure.stream())

        def torchvision(planar: list[Tensor] = planar) -> Tensor:
            return deform_conv2d(planar[0], planar[1], planar[6], planar[7])

        def plain(block: fused.Block = block) -> Tensor:
            return F.conv2d(block.z, block.weight1, block.bias1, padding=1)

        run.timing(
            DEFORM,
            size,
            report_form.OURS_DEFORM,
            lambda f=fused_block: [time / 2 for time in measure.device_times(f)],
            work=work,
            note="with half of SFT, ReLU and sum",
        )
        add_kernel_rows(run, size, fused_block)
        times = lambda h=height, w=width: own.half_block_times(h, w)  # noqa: E731
        run.timing(DEFORM, size, report_form.OWN_DEFORM, times, work=work, note="with SFT from hidden maps, sums")
        run.timing(DEFORM, size, report_form.TORCHVISION, lambda f=torchvision: measure.device_times(f), work=work)
        facts = {"work": plain_work(height, width), "note": "no offsets, channels-last"}
        run.timing(DEFORM, size, "plain convolution, cuDNN", lambda f=plain: measure.device_times(f), **facts)
        del block, planar


def add_kernel_rows(run: Run, size: str, function: Callable[[], Any]) -> None:
    """Rows of the single kernels of a block, by torch's profiler."""
    found: dict[str, float] = {}
    label = f"kernels of a block, {size}"
    problem = run.attempt(label, lambda: found.update(measure.kernel_times(function, "dcrb_")), 60.0)
    if problem is not None:
        run.report.timings.append(Timing(DEFORM, size, "kernels of a block", note=one_line(problem)))
    for name, milliseconds in sorted(found.items()):
        work = None if "sft" in name else deform_work(*HALF_SIZES[size])
        run.report.timings.append(Timing(DEFORM, size, f"kernel {name}", milliseconds, work=work, note="mean"))


# Frames


def fused_network(compiled: bool, graph: bool, picture: Tensor) -> Callable[[], Tensor]:
    """The fast path as the torch backend runs it, in steps."""
    forward = fp16_forward(measure.network()[0].to(measure.GPU))
    forward = torch.compile(forward, dynamic=False) if compiled else forward
    if graph:
        replay = CudaRecorder()(forward, picture)
        return lambda: replay(picture)
    return lambda: forward(picture)


def eager_network(order: torch.memory_format, compiled: bool, picture: Tensor) -> Callable[[], Tensor]:
    """The network of torch's and torchvision's operators in FP16."""
    net = measure.network()[0].to(measure.GPU).half().to(memory_format=order).set_deform_mode("torchvision")
    half = picture.half().to(memory_format=order)
    forward = torch.compile(net, dynamic=False) if compiled else net
    return lambda: forward(half)


def time_frames(run: Run) -> None:
    """Time engine cuda, and torch as it is."""
    # The larger frame first, which has the targets.
    for size in sorted(SIZES, key=lambda name: -SIZES[name][0]):
        shape = SIZES[size]
        run.timing(FRAME, size, report_form.OWN_FRAME, lambda s=shape: own.device_times(s), work=frame_work(*shape))
        run.check(f"engine cuda, {size}", "GB on the GPU", 3.0, lambda s=shape: own.memory(s))
    time_torch(run, compiling=False)


def time_video(run: Run) -> None:
    """Time frames of video, whose kernels are others."""
    size = report_form.LARGEST_FRAME
    run.timing(
        FRAME, size, report_form.HALF_FRAME, lambda: own.half_times(SIZES[size]), note="decoded planes to samples"
    )


def time_torch(run: Run, compiling: bool) -> None:
    """Time the network in torch, through ``torch.compile`` or not."""
    last, first = torch.channels_last, torch.contiguous_format
    ways: list[tuple[str, float, Callable[[Tensor], Callable[[], Tensor]]]] = [
        (report_form.OURS_FRAME, 60.0, lambda picture: fused_network(False, True, picture)),
        ("fused, no graph", 60.0, lambda picture: fused_network(False, False, picture)),
        (report_form.EAGER, 60.0, lambda picture: eager_network(first, False, picture)),
        (report_form.EAGER + ", channels-last", 60.0, lambda picture: eager_network(last, False, picture)),
        (report_form.COMPILED_FRAME, COMPILE_SECONDS, lambda picture: fused_network(True, True, picture)),
        ("torch.compile, torchvision", COMPILE_SECONDS, lambda picture: eager_network(last, True, picture)),
    ]
    for size in sorted(SIZES, key=lambda name: -SIZES[name][0]):
        for name, seconds, make in ways:
            if ("compile" in name) == compiling:

                def times(size: str = size, make: Callable[[Tensor], Callable[[], Tensor]] = make) -> list[float]:
                    torch.compiler.reset()
                    return measure.device_times(make(measure.picture(*SIZES[size]).to(measure.GPU)))

                run.timing(FRAME, size, name, times, seconds, work=frame_work(*SIZES[size]))


def time_backends(run: Run) -> None:
    for size, shape in SIZES.items():
        run.timing(HOST, size, report_form.OWN_HOST, lambda s=shape: own.host_times(s))
        run.timing(HOST, size, "torch backend, fp16", lambda s=shape: backends.torch_times(s))
    size = "1920x1080"
    for name, load in backends.OTHERS.items():
        run.timing(HOST, size, name, lambda f=load: backends.times(f, SIZES[size]), OPTIONAL_SECONDS)


def write(report: Report, folder: Path) -> list[Path]:
    """Write the report beside others, under the GPU's name; return the files."""
    stem = re.sub(r"[^a-z0-9]+", "-", str(report.device["name"]).lower()).strip("-")
    files = {f"{stem}.md": report_form.markdown(report), f"{stem}.json": report_form.to_json(report)}
    for name, text in files.items():
        write_text(folder / name, text)
    return [folder / name for name in files]


def main(arguments: list[str] | None = None) -> int:
    parser = Parser(__doc__)
    parser.add_argument("--output", type=new_folder, default=ROOT / "benchmarks" / "results", metavar="FOLDER")
    parser.add_argument("--minutes", type=above_zero, default=7.5, help="parts that come too late are left out")
    options = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        print("gpu_check needs an NVIDIA GPU that torch can use; there is none here", file=sys.stderr)
        return 2
    started = time.perf_counter()
    run = Run(60 * options.minutes)
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    run.report.device = measure.device_facts()
    run.attempt("the GPU's own rates", lambda: setattr(run.report, "ceilings", measure.ceilings()), 60.0)
    try:
        kernels, origin = gpu_kernels.kernels_for(fused.compute_capability(0))
    except DcdrError as error:
        print(f"gpu_check cannot make the kernel: {error}", file=sys.stderr)
        return 2
    fused.kernels_for = lambda sm: kernels  # also where it was made in another way than by the installed tool
    facts = {"kernel": f"{origin}, source {source_hash(dcrb_from_maps.SOURCE)[:12]}", "weights": measure.network()[1]}
    run.report.device |= {**facts, "dcdr-deploy": __version__}
    parts: list[Callable[[], None]] = [
        lambda: check_results(run, kernels),
        lambda: time_convolutions(run, kernels),
        lambda: time_frames(run),
        lambda: time_backends(run),
        lambda: time_video(run),
        lambda: check_accesses(run),
        lambda: time_torch(run, compiling=True),  # compilers last, which may run out of time
    ]
    for part in parts:
        part()
        run.report.seconds = time.perf_counter() - started
        files = write(run.report, options.output)  # after each: what comes may hang, or take the process along
    print(report_form.markdown(run.report))
    for path in files:
        print(f"written: {path}", file=sys.stderr)
    return 1 if run.report.failed() else 0


if __name__ == "__main__":
    start(main)
