"""The compiled forward pass computes what the network does, in every phase of a recipe."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from dcdr_deploy.errors import InputError
from dcdr_deploy.models import DCDRUNet, DCDRUNetConfig, initialise
from dcdr_deploy.models.blocks import DeformMode
from dcdr_deploy.training.compilation import compiled

TINY = DCDRUNetConfig(width=8, condition_width=4, sft_hidden=2, tone_width=12, blocks=(0, 1, 0))


@pytest.mark.slow
def test_the_compiled_network_equals_the_network_with_its_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    # Traced and differentiated as on a GPU, but run by torch itself: no machine needs a compiler for this test.
    monkeypatch.setattr("torch.compile", partial(torch.compile, backend="aot_eager"))
    network = DCDRUNet(TINY)
    initialise(network)
    forward = compiled(network)
    x = torch.rand(2, 3, 16, 16)
    phases: tuple[DeformMode, ...] = ("zero", "torchvision", "gather")
    for mode in phases:
        network.set_deform_mode(mode)
        results = []
        for function in (network, forward):
            network.zero_grad()
            prediction = function(x)
            prediction.square().mean().backward()
            gradients = [p.grad for p in network.parameters() if p.grad is not None]
            results.append([prediction.detach(), *[gradient.clone() for gradient in gradients]])
        torch.testing.assert_close(results[0], results[1])


def test_a_compiler_that_fails_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._dynamo.exc import TorchDynamoException

    def fail(network: Any, **options: Any) -> Any:
        def run(x: Tensor) -> Tensor:
            raise TorchDynamoException("no C++ compiler\nset CXX")

        return run

    monkeypatch.setattr("torch.compile", fail)
    with pytest.raises(InputError, match="train without `compile`") as caught:
        compiled(DCDRUNet(TINY))(torch.rand(1, 3, 16, 16))
    assert "\n" not in str(caught.value)
