"""Which form of deformable convolution a training step takes, and that the form for GPUs is the same function."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
import torch
from torch import Tensor

from dcdr_deploy.errors import MissingDependency
from dcdr_deploy.models import DCDRUNet, DCDRUNetConfig, HdrNetwork, initialise
from dcdr_deploy.models.blocks import SFT
from dcdr_deploy.models.deform import deform_conv2d_gather
from dcdr_deploy.training import deformable
from dcdr_deploy.training.compilation import compiled

GPU = torch.device("cuda", 0)
CONFIG = DCDRUNetConfig(width=16, condition_width=4, sft_hidden=2, tone_width=12, blocks=(0, 1, 0))


def channels_last(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last)


def on_cpu(x: Tensor, offset: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    assert x.is_contiguous(memory_format=torch.channels_last), "a copy would be needed on a GPU"
    return channels_last(deform_conv2d_gather(x.float(), offset, weight.float(), bias).to(x.dtype))


def gradients_on_cpu(grad: Tensor, x: Tensor, offset: Tensor, weight: Tensor) -> tuple[Tensor, ...]:
    def differentiate() -> tuple[Tensor, ...]:
        leaves = [each.detach().float().requires_grad_() for each in (x, offset, weight, weight[:, 0, 0, 0])]
        return torch.autograd.grad(deform_conv2d_gather(*leaves), leaves, grad.float())

    with ThreadPoolExecutor(1) as other:  # inside an operator this thread records nothing
        by_x, by_offset, by_weight, by_bias = other.submit(differentiate).result()
    return channels_last(by_x.to(x.dtype)), channels_last(by_offset), channels_last(by_weight), by_bias


@pytest.fixture(scope="module", autouse=True)
def operator_on_cpu() -> None:
    """The operator's place is a GPU; here its kernel is the gather form, everything around it is real."""
    deformable.operator.register_kernel("cpu", on_cpu)
    deformable.operator_backward.register_kernel("cpu", gradients_on_cpu)


@pytest.fixture
def network() -> DCDRUNet:
    network = DCDRUNet(CONFIG)
    initialise(network)
    for block in network.deformable_blocks().values():
        torch.nn.init.normal_(block.offset.weight, std=0.2, generator=torch.Generator().manual_seed(3))
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def differentiate(network: HdrNetwork, forward: object = None, bf16: bool = False) -> list[Tensor]:
    """Prediction and all gradients."""
    x = channels_last(torch.rand(2, 3, 16, 24, generator=torch.Generator().manual_seed(4)))
    network.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        prediction = (forward or network)(x)  # type: ignore[operator]
    prediction.float().square().mean().backward()
    return [prediction.detach().float(), *[p.grad.clone() for p in network.parameters() if p.grad is not None]]


def test_the_form_for_gpus_is_the_same_function_with_the_same_gradients(network: DCDRUNet) -> None:
    expected = differentiate(network.set_deform_mode("gather"))
    torch.testing.assert_close(differentiate(network.set_deform_mode(deformable.MODE)), expected, rtol=1e-4, atol=1e-6)


def test_features_follow_autocast_and_coordinates_do_not(network: DCDRUNet, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = set()

    def watch(x: Tensor, offset: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        seen.add((x.dtype, offset.dtype))
        return on_cpu(x, offset, weight, bias)

    deformable.operator.register_kernel("cpu", watch)
    try:
        low = differentiate(network.set_deform_mode(deformable.MODE), bf16=True)
    finally:
        deformable.operator.register_kernel("cpu", on_cpu)
    exact = differentiate(network.set_deform_mode("gather"))
    assert seen == {(torch.bfloat16, torch.float32)}
    assert (low[0] - exact[0]).norm() < 0.02 * exact[0].norm()


@pytest.mark.slow
@pytest.mark.parametrize("bf16", [False, True])
def test_a_compiled_network_keeps_the_operator_whole(
    network: DCDRUNet, bf16: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Traced and differentiated as on a GPU, but run by torch itself: no machine needs a compiler for this test.
    monkeypatch.setattr("torch.compile", partial(torch.compile, backend="aot_eager"))
    network.set_deform_mode(deformable.MODE)
    expected = differentiate(network, bf16=bf16)
    found = differentiate(network, compiled(network), bf16=bf16)
    # All gradients together: in BF16 a single small one is rounding, and the compiled network rounds elsewhere.
    for ours, theirs in ((found[0], expected[0]), (flat(found[1:]), flat(expected[1:]))):
        assert (ours - theirs).norm() < (0.05 if bf16 else 1e-5) * theirs.norm()


def flat(tensors: list[Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors])


def test_merged_sft_layers_are_the_same_function_with_the_same_gradients(network: DCDRUNet) -> None:
    network.double().set_deform_mode("gather")
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d) and module.bias is not None:
            torch.nn.init.normal_(module.bias, std=0.1)
    results = []
    for merged in (False, True):
        for module in network.modules():
            if isinstance(module, SFT):
                module.merged = merged
        network.zero_grad()
        prediction = network(torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(5)).double())
        prediction.square().mean().backward()
        results.append([prediction.detach(), *[p.grad.clone() for p in network.parameters() if p.grad is not None]])
    torch.testing.assert_close(*results)


def test_cpus_take_the_gather_form(network: DCDRUNet) -> None:
    assert deformable.deform_mode(network, torch.device("cpu")) == "gather"


def test_a_gpu_without_the_compiler_takes_torchvision_and_says_so_once(
    network: DCDRUNet, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def missing(capability: tuple[int, int]) -> None:
        raise MissingDependency("the kernels cannot be compiled; pip install them")

    monkeypatch.setattr(deformable, "kernels_for", missing)
    monkeypatch.setattr(torch.cuda, "device", partial(torch.device))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    deformable._prepared.cache_clear()
    with caplog.at_level(logging.WARNING):
        modes = [deformable.deform_mode(network, GPU) for _ in range(3)]
    deformable._prepared.cache_clear()
    assert modes == ["torchvision"] * 3
    assert len(caplog.records) == 1
    assert "the kernels cannot be compiled" in caplog.text


def test_widths_that_the_kernels_do_not_take_go_to_torchvision() -> None:
    network = DCDRUNet(DCDRUNetConfig(width=12, condition_width=4, sft_hidden=2, tone_width=12, blocks=(1, 1, 1)))
    assert deformable.deform_mode(network, GPU) == "torchvision"
