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

import argparse
import math
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
from gpu_report import DEFORM, FRAME, SIZES, Check, Report, Timing, deform_work, frame_work, plain_work  # noqa: E402
from torch import Tensor  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from dcdr_deploy._version import __version__  # noqa: E402
from dcdr_deploy.engines.cuda.compiler import source_hash  # noqa: E402
from dcdr_deploy.engines.torch import fused  # noqa: E402
from dcdr_deploy.engines.torch.engine import fp16_forward  # noqa: E402
from dcdr_deploy.engines.torch.graphs import CudaRecorder  # noqa: E402
from dcdr_deploy.errors import DcdrError  # noqa: E402
from dcdr_deploy.models import ops  # noqa: E402
from dcdr_deploy.models.deform import deform_conv2d  # noqa: E402
from dcdr_deploy.system.faults import is_out_of_memory, one_line  # noqa: E402

HALF_SIZES = {"960x540": (540, 960), "1920x1080": (1080, 1920)}
"""Features at half the scale of a 1920x1080 and of a 3840x2160 frame; a quarter of the latter is the former."""

BLOCKS = {
    "tile of 512, x0.5": (1, 256, 256),
    "tile of 512, x0.25, batch 2": (2, 128, 128),
    "odd size, batch 2": (2, 67, 93),
    "one pixel": (1, 1, 1),
    "1920x1080, x0.25": (1, 270, 480),
    "1920x1080, x0.5": (1, 540, 960),
    "3840x2160, x0.5": (1, 1080, 1920),
}
"""Shapes (N, H, W) that the kernel meets in the network, and the awkward ones."""

BOUNDS = {torch.float16: 1e-3, torch.float32: 1e-5}
"""Largest relative error of a block: |out - reference| / |reference| over all its values."""

LEAST_PSNR = 50.0
LEAST_PSNR_OWN = 70.0
OWN_SIZE = (720, 1284)
HOST = report_form.HOST
OPTIONAL_SECONDS = 75.0
COMPILE_SECONDS = 120.0


class Run:
    """A run: its report, and the clock that its parts share."""

    def __init__(self, seconds: float) -> None:
        self.report = Report()
        self._end = time.perf_counter() + seconds

    def attempt(self, label: str, part: Callable[[], Any], seconds: float) -> Exception | None:
        """Run a part, which must not take longer than ``seconds``, nor than is left; return why it failed."""
        print(f"{label} ...", file=sys.stderr, flush=True)
        try:
            with measure.time_limit(min(seconds, self._end - time.perf_counter())), torch.no_grad():
                part()
        except Exception as error:  # whatever a part does wrong must not cost the others their rows
            # Without its frames, which would keep the part's tensors, and their memory, alive.
            return error.with_traceback(None)
        finally:
            measure.release()
        return None

    def timing(
        self, group: str, size: str, name: str, times: Callable[[], list[float]], seconds: float = 60.0, **facts: Any
    ) -> None:
        """Add a row of times, or of the reason why there are none."""
        found: list[list[float]] = []
        problem = self.attempt(f"{group}: {name}, {size}", lambda: found.append(times()), seconds)
        result = measure.summary(found[0]) if problem is None else {"note": one_line(problem)}
        self.report.timings.append(Timing(group, size, name, **{**facts, **result}))

    def check(self, name: str, what: str, bound: float, value: Callable[[], float], at_least: bool = False) -> None:
        """Add a check, or the reason why it could not be made.

        Lack of time or memory leaves it open; any other error, such as an illegal access, is a result that is wrong.
        """
        found: list[float | None] = []
        problem = self.attempt(f"{name}: {what}", lambda: found.append(value()), 60.0)
        if problem is not None:
            left_open = isinstance(problem, measure.OutOfTime) or is_out_of_memory(problem)
            found = [None if left_open else math.nan]
        note = "" if problem is None else one_line(problem)
        self.report.checks.append(Check(name, what, found[0], bound, at_least, note))


# Right results


def block_error(kernels: Any, size: tuple[int, int, int], dtype: torch.dtype, reach: float) -> float:
    """Relative error of the kernel on a random block, against torch's own operators in FP32."""
    batch, height, width = size
    block = measure.random_block(height, width, dtype, batch, reach)
    expected = ops.dcrb_composed(*(each.float() for each in block))
    # The allocator gives the block's output and workspace this memory: what the kernel leaves out stays NaN.
    poison = [torch.full_like(block.z, torch.nan) for _ in range(2)]
    del poison
    result = fused.run_block(kernels, block, measure.stream()).float()
    return float((result - expected).norm() / expected.norm())


def wild_offsets(kernels: Any) -> float:
    """Run blocks whose offsets are no numbers or far outside, and return 0; an access out of bounds is an error."""
    for value in (torch.nan, torch.inf, -torch.inf, 6e4):
        block = measure.random_block(67, 93, torch.float16)
        block.offset[:, ::3] = value
        fused.run_block(kernels, block, measure.stream())
        torch.cuda.synchronize()
    return 0.0


def frame_psnr() -> float:
    """PSNR in dB of the fused FP16 network against the FP32 reference, in units of the reference's largest value."""
    picture = measure.picture(512, 768).to(measure.GPU)
    expected = measure.network()[0].to(measure.GPU).set_deform_mode("gather")(picture)
    result = fp16_forward(measure.network()[0].to(measure.GPU))(picture)
    error = (result - expected).square().mean()
    return float(10 * torch.log10(expected.abs().max().square() / error))


def check_results(run: Run, kernels: Any) -> None:
    for name, size in BLOCKS.items():
        for dtype, bound in BOUNDS.items():
            label = f"block, {name}, {str(dtype).removeprefix('torch.')}"
            run.check(label, "relative error", bound, lambda s=size, d=dtype: block_error(kernels, s, d, 2.0))
    far = BLOCKS["odd size, batch 2"]
    run.check(
        "block, offsets of 100 pixels",
        "relative error",
        BOUNDS[torch.half],
        lambda: block_error(kernels, far, torch.half, 100),
    )
    run.check("block, NaN and infinite offsets", "failures", 0.0, lambda: wild_offsets(kernels))
    run.check("network, fp16", "PSNR in dB", LEAST_PSNR, frame_psnr, at_least=True)
    run.check("engine cuda, kernels one by one", "wrong", 0.0, own.wrong_kernels)
    run.check("engine cuda, network", "PSNR in dB", LEAST_PSNR_OWN, lambda: own.psnr(OWN_SIZE), at_least=True)


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
    last, first = torch.channels_last, torch.contiguous_format
    ways: list[tuple[str, float, Callable[[Tensor], Callable[[], Tensor]]]] = [
        (report_form.OURS_FRAME, 60.0, lambda picture: fused_network(False, True, picture)),
        ("fused, no graph", 60.0, lambda picture: fused_network(False, False, picture)),
        (report_form.EAGER, 60.0, lambda picture: eager_network(first, False, picture)),
        (report_form.EAGER + ", channels-last", 60.0, lambda picture: eager_network(last, False, picture)),
        (report_form.COMPILED_FRAME, COMPILE_SECONDS, lambda picture: fused_network(True, True, picture)),
        ("torch.compile, torchvision", COMPILE_SECONDS, lambda picture: eager_network(last, True, picture)),
    ]
    # The larger frame first, which has the targets, and compilers last, which may run out of time.
    for size in sorted(SIZES, key=lambda name: -SIZES[name][0]):
        shape = SIZES[size]
        run.timing(FRAME, size, report_form.OWN_FRAME, lambda s=shape: own.device_times(s), work=frame_work(*shape))
        run.check(f"engine cuda, {size}", "GB on the GPU", 3.0, lambda s=shape: own.memory(s))
    for compiling in (False, True):
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
    folder.mkdir(parents=True, exist_ok=True)
    stem = re.sub(r"[^a-z0-9]+", "-", str(report.device["name"]).lower()).strip("-")
    files = {f"{stem}.md": report_form.markdown(report), f"{stem}.json": report_form.to_json(report)}
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in files]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results", metavar="FOLDER")
    parser.add_argument("--minutes", type=float, default=7.5, help="parts that come too late are left out")
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
    facts = {"kernel": f"{origin}, source {source_hash(fused.SOURCE)[:12]}", "weights": measure.network()[1]}
    run.report.device |= {**facts, "dcdr-deploy": __version__}
    parts: list[Callable[[], None]] = [
        lambda: check_results(run, kernels),
        lambda: time_convolutions(run, kernels),
        lambda: time_frames(run),
        lambda: time_backends(run),
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
    sys.exit(main())
