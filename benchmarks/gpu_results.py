"""Right results for gpu_check.py: the fused block, the networks and the kernels of engine ``cuda`` against FP32."""

from __future__ import annotations

from typing import Any

import gpu_measure as measure
import gpu_own as own
import gpu_sanitizer as sanitizer
import torch
from gpu_report import Check
from gpu_run import Run

from dcdr_deploy.engines.torch import fused
from dcdr_deploy.engines.torch.engine import fp16_forward
from dcdr_deploy.models import ops

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
    """Check all that takes no other program."""
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


def check_accesses(run: Run) -> None:
    """Let compute-sanitizer watch a small frame."""
    program, name = sanitizer.found(), "engine cuda, a small frame under compute-sanitizer"
    if program is None:
        note = "it is not here; the CUDA toolkit has it"
        run.report.checks.append(Check(name, "errors", None, 0.0, note=note))
    else:
        run.check(name, "errors", 0.0, lambda: sanitizer.errors(program))
