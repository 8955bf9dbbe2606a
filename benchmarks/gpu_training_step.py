"""Check and time a training step on one NVIDIA GPU, with its deformable convolutions: one command, below 75 seconds.

    python benchmarks/gpu_training_step.py [--batch 16] [--patch 256] [--no-compile]

Needs torch with CUDA, torchvision and this repository (which need not be installed); nothing is downloaded. It checks
the training form of the deformable convolution against torchvision's in FP64, then prints the times of its parts beside
torchvision's, of whole steps with either form, with and without ``torch.compile``, and where a step's time goes.

Exit code: 0 done, 1 a result was wrong, 2 no GPU, or one that the kernels cannot be made for,
3 out of time.
"""

from __future__ import annotations

import os
import signal
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402 - needs the path
from command_line import Parser, start, whole_number  # noqa: E402
from gpu_measure import event_times  # noqa: E402
from gpu_training_checks import GPU, check, problem, say  # noqa: E402
from torch import Tensor  # noqa: E402
from torch.profiler import ProfilerActivity, profile  # noqa: E402

from dcdr_deploy.errors import DcdrError  # noqa: E402
from dcdr_deploy.models import HdrNetwork  # noqa: E402
from dcdr_deploy.models.blocks import DeformMode  # noqa: E402
from dcdr_deploy.models.deform import deform_conv2d  # noqa: E402
from dcdr_deploy.training import deformable, loop, step  # noqa: E402
from dcdr_deploy.training.compilation import Forward, compiled  # noqa: E402
from dcdr_deploy.training.forms import merge_sft  # noqa: E402
from dcdr_deploy.training.losses import WeightedLoss  # noqa: E402
from dcdr_deploy.training.recipe import Recipe  # noqa: E402
from dcdr_deploy.training.recording import StepRecorder, own_stream  # noqa: E402

PEAK = 8.0
RECIPE = Recipe(
    losses={"tanh_l1": 1.0, "mu_mse": 4.0, "sdr_l1": 0.5, "mu_log_mse": 0.005, "mu_regret": 0.01, "clipped_uv": 0.1},
    tone_start="inverse_srgb",
    tone_from=1.0,
    even_shuffles=True,
    average=0.999,
    gradient_clip=1.0,
)
"""What a step has to do at most, without a perceptual loss."""


def milliseconds(function: Callable[[], object], repeats: int = 12, warm: int = 3) -> float:
    """Median time of a call on the device."""
    for _ in range(warm):
        function()
    return statistics.median(event_times(function, repeats))


def time_convolution(size: tuple[int, int, int]) -> None:
    """One deformable convolution, forward and backward, and the parts of ours."""

    def both(function: Callable[..., Tensor], dtype: torch.dtype, reach: float) -> tuple[float, float]:
        inputs = [each.requires_grad_() for each in problem(size, dtype, reach)]
        result = function(*inputs)
        grad = torch.randn_like(result)
        forward = milliseconds(lambda: function(*inputs))
        return forward, milliseconds(lambda: torch.autograd.grad(result, inputs, grad, retain_graph=True))

    say(f"one deformable convolution, {size[0]}x64x{size[1]}x{size[2]}: forward, backward in ms")
    say("  torchvision FP32        {:7.3f} {:7.3f}".format(*both(deform_conv2d, torch.float32, 1.0)))
    for dtype, reach in ((torch.bfloat16, 1.0), (torch.bfloat16, 0.0), (torch.float32, 1.0)):
        times = both(deformable.operator, dtype, reach)
        say("  columns {:8} reach {:.0f} {:7.3f} {:7.3f}".format(str(dtype)[6:], reach, *times))
    x, offset, weight, bias = problem(size, torch.bfloat16, 1.0)
    kernels = deformable.kernels_for(torch.cuda.get_device_capability())
    features = deformable.features_of(x)
    stream = torch.cuda.current_stream().cuda_stream
    rows, area = deformable.rows_of(weight, x.dtype), size[1] * size[2]
    columns = x.new_empty((features.pixels, rows.shape[1]))
    sums = torch.zeros((features.pixels, 64), device=GPU)
    grad_offset = torch.empty((features.pixels, 18), device=GPU)
    incoming = torch.randn((features.pixels, 64), device=GPU, dtype=x.dtype)
    low = bias.to(x.dtype)
    columns_of = (x.data_ptr(), offset.data_ptr(), columns.data_ptr())

    def spread(tiled: bool) -> None:
        kernels.tiled = tiled
        kernels.spread(features, *columns_of, sums.data_ptr(), grad_offset.data_ptr(), stream)

    parts: dict[str, Callable[[], object]] = {
        "columns": lambda: kernels.columns(features, *columns_of, stream),
        "x W": lambda: torch.addmm(low, columns, rows.t()),
        "g W": lambda: incoming @ rows,
        "spread": lambda: spread(False),
        "scatter + turn": lambda: spread(True),
        "g x": lambda: (incoming.view(-1, area, 64).transpose(1, 2) @ columns.view(-1, area, rows.shape[1])).sum(
            0, dtype=torch.float32
        ),
        "zeros": lambda: torch.zeros_like(sums),
        "cast": lambda: sums.to(x.dtype),
    }
    say("  parts: " + ", ".join(f"{name} {milliseconds(part):.3f}" for name, part in parts.items()))


class Steps:
    """Training steps on one random batch that stays on the GPU."""

    def __init__(
        self,
        batch: int,
        patch: int,
        mode: DeformMode,
        merged: bool = False,
        compile_network: bool = False,
        record: bool = False,
    ) -> None:
        self.mode, self.merged = mode, merged
        self.run: step.Run = StepRecorder() if record else step.one_by_one
        recipe = replace(RECIPE, batch=batch, patch=patch)
        self.state = loop.create_state(recipe, PEAK, GPU)
        for block in self.state.network.deformable_blocks().values():
            torch.nn.init.normal_(block.offset.weight, std=0.02)  # they start at zero, where nothing is blended
        self.loss = WeightedLoss(recipe.losses, peak=PEAK).to(GPU)
        self.x = torch.rand((batch, 3, patch, patch), device=GPU).to(memory_format=torch.channels_last)
        self.truth = (self.x**2.2 / PEAK).contiguous(memory_format=torch.channels_last)
        forward = step.training_forward(self.state.network, recipe, PEAK)
        self.forward: Forward = compiled(forward) if compile_network else forward

    def step(self) -> None:
        """Take one, in the forms asked for instead of those that a run would choose."""
        step.choose_forms = self._choose_forms
        step.train_step(self.state, self.loss, self.x, self.truth, forward=self.forward, run=self.run)

    def _choose_forms(self, network: HdrNetwork, device: torch.device, offsets_frozen: bool) -> None:
        network.set_deform_mode(self.mode)
        merge_sft(network, self.merged)

    def milliseconds(self, steps: int = 10, warm: int = 3) -> float:
        """Mean time of a step from the program's side: what a run gets."""
        for _ in range(warm):
            self.step()
        torch.cuda.synchronize()
        started = time.perf_counter()
        for _ in range(steps):
            self.step()
        queued = time.perf_counter() - started
        torch.cuda.synchronize()
        self.queued = 1e3 * queued / steps
        return 1e3 * (time.perf_counter() - started) / steps

    def top(self, rows: int, steps: int = 2) -> None:
        """Where the device's time goes, kernel by kernel."""
        with profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as found:
            for _ in range(steps):
                self.step()
            torch.cuda.synchronize()
        events = [each for each in found.key_averages() if each.self_device_time_total > 0]
        kernels = [each for each in events if str(each.device_type).endswith("CUDA")]
        kernels.sort(key=lambda each: -each.self_device_time_total)
        total = sum(each.self_device_time_total for each in kernels) / steps / 1e3
        say(f"  kernels of a step, {total:.1f} ms in {sum(each.count for each in kernels) // steps} launches:")
        for each in kernels[:rows]:
            took = each.self_device_time_total / steps / 1e3
            say(f"  {took:7.2f} ms {each.count // steps:4}x {each.key.replace('void ', '')[:54]}")


def time_step(name: str, batch: int, patch: int, rows: int = 0, **forms: Any) -> None:
    """Time steps of one kind (see :class:`Steps`), and print where they take longest."""
    with own_stream(GPU):
        _time_step(name, batch, patch, rows, **forms)


def _time_step(name: str, batch: int, patch: int, rows: int, **forms: Any) -> None:
    torch.cuda.reset_peak_memory_stats()
    steps = Steps(batch, patch, **{"mode": deformable.MODE, **forms})
    started = time.perf_counter()
    steps.step()
    torch.cuda.synchronize()
    first = time.perf_counter() - started
    took = steps.milliseconds()
    memory = torch.cuda.max_memory_allocated() / 2**30
    say(
        f"step {batch}x{patch}x{patch}, {name}: {took:.1f} ms ({steps.queued:.1f} to queue), first {first:.1f} s, "
        f"{memory:.1f} GiB"
    )
    if rows:
        steps.top(rows)
    del steps
    torch.cuda.empty_cache()


def _out_of_time(number: int, frame: object) -> None:
    say("out of time")
    sys.stdout.flush()
    os._exit(3)


def main() -> int:
    parser = Parser(__doc__)
    parser.add_argument("--batch", type=whole_number, default=16, help="patches a step")
    parser.add_argument("--patch", type=whole_number, default=256, help="pixels a side")
    parser.add_argument("--seconds", type=whole_number, default=90, help="give up after this time")
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("no NVIDIA GPU that torch can use", file=sys.stderr)
        return 2
    signal.signal(signal.SIGALRM, _out_of_time)
    signal.alarm(options.seconds)
    say(f"{torch.cuda.get_device_name()}, torch {torch.__version__}")
    try:
        kernels = deformable.kernels_for(torch.cuda.get_device_capability())
        torch.cuda.synchronize()  # makes the device's context the current one of this thread
        kernels.prepare()
    except DcdrError as error:
        print(f"the kernels cannot be had: {error}", file=sys.stderr)
        return 2
    say("kernels compiled")
    right = check(kernels)
    half, quarter = options.patch // 2, options.patch // 4
    time_convolution((options.batch, half, half))
    time_convolution((options.batch, quarter, quarter))
    main_size = (options.batch, options.patch)
    time_step("torchvision", *main_size, mode="torchvision")
    for tiled in (False, True):
        kernels.tiled = tiled
        time_step(f"columns, {'tiled' if tiled else 'plain'}", *main_size)
    for batch, patch in (main_size, (8, 384), (32, 128)):
        time_step("columns, SFT merged", batch, patch, merged=True, rows=14 if (batch, patch) == main_size else 0)
    time_step("columns, SFT merged, recorded", *main_size, merged=True, record=True)
    if not options.no_compile:
        time_step("columns, SFT merged, torch.compile", *main_size, compile_network=True, merged=True, rows=14)
        time_step("the same, recorded", *main_size, compile_network=True, merged=True, record=True)
    return 0 if right else 1


if __name__ == "__main__":
    start(main)
