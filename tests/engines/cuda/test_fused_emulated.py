"""torch's operator on the real kernels, run by the emulator: from torch tensors to torch tensors on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from emulated import EmulatedGpu  # noqa: E402 - needs torch
from fused_fake import channels_last, demo_network, exact, make_block  # noqa: E402

from dcdr_deploy.engines.cuda.dcrb_from_maps import FromMapsKernels  # noqa: E402
from dcdr_deploy.engines.torch import fused  # noqa: E402
from dcdr_deploy.engines.torch.engine import fp16_forward  # noqa: E402
from dcdr_deploy.engines.torch.fused import Block  # noqa: E402
from dcdr_deploy.models import ops  # noqa: E402

LARGEST_ERROR = {torch.float16: 5e-4, torch.float32: 1e-6}
"""Relative, root of the mean square."""


@pytest.fixture(autouse=True)
def shared_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The emulator runs kernels in a process of their own: what they write must lie in memory that both share."""
    for name in ("empty", "empty_like"):
        make = getattr(torch, name)
        monkeypatch.setattr(torch, name, lambda *args, make=make, **kwargs: make(*args, **kwargs).share_memory_())


def emulated_kernels(emulator: Callable[[int], Path], sm: int) -> FromMapsKernels:
    return FromMapsKernels({sm: b"the emulator has the kernels"}, EmulatedGpu(emulator(sm), sm).driver)


@pytest.mark.parametrize("sm", [75, 80])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("size", [(1, 9, 5), (2, 17, 19)])
def test_a_block_of_tensors_is_the_block_by_its_definition(
    emulator: Callable[[int], Path], sm: int, dtype: torch.dtype, size: tuple[int, int, int]
):
    block = channels_last(make_block(*size, dtype=dtype))
    result = fused.run_block(emulated_kernels(emulator, sm), block, stream=0)
    expected = exact(block)
    error = (result.double() - expected).norm() / expected.norm()
    assert error < LARGEST_ERROR[dtype]


@pytest.mark.slow
def test_the_whole_network_runs_on_the_real_kernels(emulator: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch):
    kernels = emulated_kernels(emulator, 80)
    picture = torch.rand(1, 3, 24, 32, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        expected = demo_network()(picture)
        forward = fp16_forward(demo_network())
        monkeypatch.setattr(ops, "dcrb", lambda *tensors: fused.run_block(kernels, Block(*tensors), stream=0))
        result = forward(picture)
    peak, error = expected.abs().max(), (result - expected).square().mean()
    assert 10 * torch.log10(peak**2 / error) > 50
