"""torch's operator ``dcdr::dcrb`` on the fused kernel: what it takes, how tensors reach it, and the real thing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from fused_fake import FakeKernels, channels_last, demo_network, exact, make_block  # noqa: E402 - needs torch
from hypothesis import HealthCheck, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from dcdr_deploy.engines.torch import fused  # noqa: E402
from dcdr_deploy.engines.torch.fused import Block  # noqa: E402
from dcdr_deploy.models import PRESETS, DCDRUNet, DCDRUNetConfig, ops  # noqa: E402
from dcdr_deploy.system import hardware  # noqa: E402

needs_gpu = [
    pytest.mark.gpu,
    pytest.mark.skipif(hardware.cuda_device_count() == 0, reason="no NVIDIA GPU"),
]
HALF_ERROR = 4e-3
"""Of values of about 1 with FP16 in and out and FP16 between the two convolutions."""


# What the kernel takes


def test_the_kernel_takes_half_precision_inference_of_64_channels():
    with torch.no_grad():
        assert fused.takes(make_block())
        assert fused.takes(channels_last(make_block()))


@pytest.mark.parametrize(
    "block",
    [
        make_block(dtype=torch.float32),
        make_block(dtype=torch.bfloat16),
        make_block(channels=32),
        make_block()._replace(offset=make_block().offset.float()),
        make_block()._replace(bias1=make_block().bias1.float()),
        make_block()._replace(gain1=make_block().gain1[:, :, :1, :1]),
        make_block()._replace(offset=make_block().offset[:, :, :2]),
        make_block(batch=0),
    ],
    ids=["fp32", "bf16", "32 channels", "fp32 offsets", "fp32 bias", "broadcast", "other size", "empty"],
)
def test_the_kernel_leaves_other_types_and_shapes_to_the_composition(block: Block):
    with torch.no_grad():
        assert not fused.takes(block)


def test_the_kernel_leaves_blocks_whose_gradient_is_wanted():
    block = make_block()
    block.weight1.requires_grad_()
    assert not fused.takes(block)
    with torch.no_grad():
        assert fused.takes(block)


def test_the_operator_has_an_implementation_for_cuda():
    assert torch._C._dispatch_has_kernel_for_dispatch_key("dcdr::dcrb", "CUDA")


def test_what_the_kernel_does_not_take_is_composed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fused, "run_block", None)
    block = make_block(dtype=torch.float32)
    torch.testing.assert_close(fused.compute(block).double(), exact(block), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_composition_keeps_coordinates_exact_in_types_of_few_bits(dtype: torch.dtype):
    """Whole offsets far to the right: half precision alone could not tell columns 2048 and 2049 apart."""
    block = make_block(height=2, width=2100, dtype=dtype, reach=0.0)
    result = ops.dcrb_composed(*block)
    assert result.dtype == dtype
    tolerance = HALF_ERROR if dtype == torch.float16 else 8 * HALF_ERROR
    torch.testing.assert_close(result.double(), exact(block), atol=tolerance, rtol=tolerance)


def test_the_composition_keeps_the_order_of_its_input():
    block = channels_last(make_block(dtype=torch.float32))
    result = ops.dcrb_composed(*block)
    assert result.stride() == block.z.stride()
    torch.testing.assert_close(result, ops.dcrb_composed(*make_block(dtype=torch.float32)))


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last], ids=["nchw", "channels-last"])
def test_the_operator_keeps_the_promises_that_compilers_rely_on(order: torch.memory_format):
    block = Block(
        *(each.to(memory_format=order) if each.ndim == 4 else each for each in make_block(dtype=torch.float32))
    )
    torch.library.opcheck(ops.dcrb, block, test_utils=("test_schema", "test_faketensor"))


# How tensors reach the kernel


@pytest.mark.parametrize("arrange", [lambda block: block, channels_last], ids=["nchw", "channels-last"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_a_block_reaches_the_kernel_whatever_its_order(arrange: Callable[[Block], Block], dtype: torch.dtype):
    block = arrange(make_block(2, dtype=dtype))
    kernels = FakeKernels()
    result = fused.run_block(kernels, block, stream=77)
    tolerance = HALF_ERROR if dtype == torch.float16 else 1e-5
    torch.testing.assert_close(result.double(), exact(block), atol=tolerance, rtol=tolerance)
    assert result.dtype == dtype
    assert result.is_contiguous(
        memory_format=torch.channels_last if dtype == torch.float16 else torch.contiguous_format
    )
    ((arguments, stream),) = kernels.calls
    assert stream == 77
    assert (arguments.batch, arguments.height, arguments.width) == (2, 5, 7)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    batch=st.integers(1, 3),
    height=st.integers(1, 6),
    width=st.integers(1, 6),
    fp16=st.booleans(),
    last=st.booleans(),
    seed=st.integers(0, 99),
)
def test_blocks_of_any_size_agree_with_the_definition(
    batch: int, height: int, width: int, fp16: bool, last: bool, seed: int
):
    dtype = torch.float16 if fp16 else torch.float32
    block = make_block(batch, height, width, dtype=dtype, seed=seed)
    block = channels_last(block) if last else block
    result = fused.run_block(FakeKernels(), block, stream=0)
    torch.testing.assert_close(result.double(), exact(block), atol=HALF_ERROR, rtol=HALF_ERROR)


def test_offsets_are_taken_where_they_lie():
    block = channels_last(make_block(2))
    planar = block.offset.contiguous()
    padded = torch.full((2, 5, 7, 24), torch.nan, dtype=torch.float16)
    padded[..., :18] = block.offset.permute(0, 2, 3, 1)
    for offset, strides in (
        (planar, (18 * 35, 35, 1)),
        (block.offset, (18 * 35, 1, 18)),
        (padded.permute(0, 3, 1, 2)[:, :18], (24 * 35, 1, 24)),
    ):
        kernels = FakeKernels()
        result = fused.run_block(kernels, block._replace(offset=offset), stream=0)
        torch.testing.assert_close(result.double(), exact(block), atol=HALF_ERROR, rtol=HALF_ERROR)
        arguments = kernels.calls[0][0]
        assert (arguments.offset, arguments.offset_strides) == (offset.data_ptr(), strides)


def test_the_stride_of_an_axis_of_one_element_does_not_count():
    wide = torch.zeros(1, 18, 5, 8)
    assert fused.pixel_strides(wide[..., :1]) == (18 * 40, 40, 8)
    assert fused.pixel_strides(wide[:, :, :1, :7]) == (18 * 40, 40, 1)


def test_offsets_without_even_strides_are_copied():
    block = make_block(width=8)
    wide = torch.zeros(1, 18, 5, 12, dtype=torch.float16)
    wide[..., :8] = block.offset
    assert fused.pixel_strides(wide[..., :8]) is None
    result = fused.run_block(FakeKernels(), block._replace(offset=wide[..., :8]), stream=0)
    torch.testing.assert_close(result.double(), exact(block), atol=HALF_ERROR, rtol=HALF_ERROR)


def test_maps_that_are_not_aligned_are_copied():
    block = channels_last(make_block())
    store = torch.zeros(block.z.numel() + 1, dtype=torch.float16)
    crooked = store[1:].view(1, 5, 7, 64).permute(0, 3, 1, 2)
    crooked.copy_(block.z)
    kernels = FakeKernels()
    result = fused.run_block(kernels, block._replace(z=crooked), stream=0)
    torch.testing.assert_close(result.double(), exact(block), atol=HALF_ERROR, rtol=HALF_ERROR)
    assert kernels.calls[0][0].z % fused.ALIGNMENT == 0


def test_maps_that_lie_right_are_not_copied():
    block = channels_last(make_block())
    kernels = FakeKernels()
    fused.run_block(kernels, block, stream=0)
    arguments = kernels.calls[0][0]
    assert [arguments.z, arguments.s1, arguments.t1, arguments.s2, arguments.t2] == [
        each.data_ptr() for each in (block.z, block.gain1, block.shift1, block.gain2, block.shift2)
    ]


# Prepared weights


def test_weights_are_prepared_once_and_again_after_a_change():
    made = []
    prepared = fused.PreparedWeights()

    def prepare(weight: torch.Tensor) -> torch.Tensor:
        made.append(weight)
        return weight * 2

    weight = torch.ones(4)
    assert prepared.get(weight, prepare) is prepared.get(weight, prepare)
    weight += 1
    torch.testing.assert_close(prepared.get(weight, prepare), torch.full((4,), 4.0))
    assert (len(made), len(prepared)) == (2, 1)


def test_weights_in_one_piece_of_memory_are_told_apart():
    prepared = fused.PreparedWeights()
    both = torch.arange(8.0)
    for weight in (both[:4], both[4:]):
        torch.testing.assert_close(prepared.get(weight, torch.clone), weight)
    assert len(prepared) == 2


def test_prepared_weights_go_with_the_weights():
    prepared = fused.PreparedWeights()
    for number in range(5):
        weight = torch.full((4,), float(number))
        # The next weight may well lie at the same address.
        torch.testing.assert_close(prepared.get(weight, torch.clone), weight)
        del weight
    assert len(prepared) == 1


def test_weights_in_any_order_are_packed_alike():
    block = make_block()
    last = block._replace(weight1=block.weight1.to(memory_format=torch.channels_last))
    assert last.weight1.stride() != block.weight1.stride()
    torch.testing.assert_close(
        fused.run_block(FakeKernels(), last, stream=0), fused.run_block(FakeKernels(), block, stream=0)
    )


# Networks


def test_a_network_of_the_paper_can_run_on_the_kernel_and_others_say_why_not():
    assert fused.obstacle(DCDRUNet(PRESETS["paper"])) is None
    assert fused.obstacle(DCDRUNet(DCDRUNetConfig(deformable=False))) is None
    assert "64 channels, the network has 32" in str(fused.obstacle(DCDRUNet(DCDRUNetConfig(width=32))))
    assert "no condition net" in str(fused.obstacle(DCDRUNet(DCDRUNetConfig(condition_net=False))))
    large = DCDRUNet(DCDRUNetConfig(blocks=(1, 0, 0)))
    with torch.no_grad():
        large.restoration.first.weight[0, 0, 0, 0] = 1e5
    assert "restoration.first.weight holds 1e+05, too large for FP16" in str(fused.obstacle(large))


def psnr(result: np.ndarray, expected: np.ndarray) -> float:
    return float(-10 * np.log10(np.mean((result - expected) ** 2) / np.abs(expected).max() ** 2))


def test_the_network_in_half_precision_with_the_kernel_is_the_network(monkeypatch: pytest.MonkeyPatch):
    from dcdr_deploy.engines.torch.engine import fp16_forward

    kernels = FakeKernels()
    picture = torch.rand(2, 3, 24, 32, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        expected = demo_network()(picture)
        forward = fp16_forward(demo_network())
        monkeypatch.setattr(ops, "dcrb", lambda *tensors: fused.run_block(kernels, Block(*tensors), stream=0))
        result = forward(picture)
    assert result.dtype == torch.float32
    assert result.is_contiguous()
    assert len(kernels.calls) == 8
    assert psnr(result.numpy(), expected.numpy()) > 50
    # Channels-last features reach the kernel as they are, offsets with the channels together.
    assert all(arguments.offset_strides[1:] == (1, 18) for arguments, _ in kernels.calls)


# The real thing


class TestOnTheGpu:
    pytestmark = needs_gpu

    @pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
    @pytest.mark.parametrize("size", [(1, 1, 1), (1, 16, 16), (2, 67, 93), (1, 270, 480)])
    @pytest.mark.parametrize("reach", [0.5, 3.0, 1000.0])
    def test_the_kernel_agrees_with_the_definition(self, dtype, size, reach):
        block = channels_last(make_block(*size, dtype=dtype, reach=reach, device="cuda"))
        kernels = fused.kernels_for(fused.compute_capability(0))
        result = fused.run_block(kernels, block, torch.cuda.current_stream().cuda_stream)
        tolerance = 2 * HALF_ERROR if dtype == torch.float16 else 1e-4
        torch.testing.assert_close(result.cpu().double(), exact(block), atol=tolerance, rtol=tolerance)

    def test_the_operator_goes_to_the_kernel(self, monkeypatch):
        block = channels_last(make_block(2, 20, 24, device="cuda"))
        with torch.no_grad():
            result = ops.dcrb(*block)
            monkeypatch.setattr(ops, "dcrb_composed", None)
            torch.testing.assert_close(ops.dcrb(*block), result)
        torch.testing.assert_close(result.cpu().double(), exact(block), atol=2 * HALF_ERROR, rtol=2 * HALF_ERROR)

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), -6e4])
    def test_wild_offsets_stay_in_bounds(self, value):
        block = channels_last(make_block(1, 33, 47, device="cuda"))
        block.offset[:] = value
        with torch.no_grad():
            ops.dcrb(*block)
        torch.cuda.synchronize()

    def test_gradients_come_from_the_composition(self):
        block = make_block(1, 8, 8, dtype=torch.float32, device="cuda")
        block.weight1.requires_grad_()
        ops.dcrb(*block).sum().backward()
        assert torch.isfinite(block.weight1.grad).all()
