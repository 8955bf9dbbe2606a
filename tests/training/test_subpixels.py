"""Evened-out pixel shuffles make no grid of flat areas and keep what they do beside edges."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import pixel_shuffle

from dcdr_deploy.models import DCDRUNet, DCDRUNetConfig, HdrNetwork, HDRUNet, HDRUNetConfig, initialise
from dcdr_deploy.training.subpixels import even_out, even_out_convolution

TINY = {"width": 8, "condition_width": 4, "sft_hidden": 2, "blocks": (1, 1, 1)}


def convolution() -> nn.Conv2d:
    torch.manual_seed(0)
    return nn.Conv2d(3, 8, 3)


def test_flat_features_stay_flat_at_the_mean_of_their_sub_pixels() -> None:
    conv = convolution()
    flat = torch.rand(1, 3, 1, 1).expand(1, 3, 6, 6)
    with torch.no_grad():
        before = pixel_shuffle(conv(flat), 2)
        even_out_convolution(conv)
        after = pixel_shuffle(conv(flat), 2)
    mean = before.mean(dim=(2, 3), keepdim=True).expand_as(after)
    assert before.std() > 0.1 * after.std()
    torch.testing.assert_close(after, mean, atol=1e-6, rtol=1e-5)


def test_evening_out_twice_changes_nothing_more() -> None:
    conv = convolution()
    even_out_convolution(conv)
    once = conv.weight.detach().clone()
    even_out_convolution(conv)
    torch.testing.assert_close(conv.weight.detach(), once)


def test_differences_between_taps_stay() -> None:
    conv = convolution()
    before = conv.weight.detach().clone()
    even_out_convolution(conv)
    after = conv.weight.detach()
    torch.testing.assert_close(after - after[..., :1, :1], before - before[..., :1, :1])


@pytest.mark.parametrize(
    "network", [DCDRUNet(DCDRUNetConfig(tone_width=12, **TINY)), HDRUNet(HDRUNetConfig())], ids=["dcdr", "hdrunet"]
)
def test_a_flat_picture_comes_out_without_a_grid(network: HdrNetwork) -> None:
    initialise(network, 1)
    with torch.no_grad():
        for conv in network.upsamplers():
            conv.bias.normal_(0, 0.3)
        assert len(network.upsamplers()) == 2
        x = torch.full((1, 3, 256, 256), 0.7)
        middle = (..., slice(112, 144), slice(112, 144))  # beyond the reach of the border's zeros
        before = network.eval()(x)[middle].std(dim=(2, 3)).max()
        even_out(network)
        after = network(x)[middle].std(dim=(2, 3)).max()
    assert before > 1e-3
    assert after < 1e-5
