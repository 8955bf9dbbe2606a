"""How far the networks of public checkpoints look is what they say, apart from what looks at the whole picture."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from receptive import positive, reach
from torch import Tensor, nn

from dcdr_deploy.models import HdrNetwork
from dcdr_deploy.models.expandnet import ExpandNet, ExpandNetConfig
from dcdr_deploy.models.hdrtvnetplus import HDRTVNetPlus, HDRTVNetPlusConfig
from dcdr_deploy.models.lhdr import LHDR, LHDRConfig
from dcdr_deploy.models.lsn import LSN, ChannelAttention, LSNConfig


def values_alone(attention: ChannelAttention, x: Tensor) -> Tensor:
    """What attention passes on, without the weights that all pixels decide on."""
    values: Tensor = attention.project_out(attention.qkv_dwconv(attention.qkv(x)).chunk(3, 1)[2])
    return values


class Part(nn.Module):
    """A part of a network that takes a picture."""

    def __init__(self, network: HdrNetwork, forward: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.network, self.run = positive(network), forward

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x)


def expandnet() -> tuple[HdrNetwork, Callable[[Tensor], Tensor]]:
    network = ExpandNet(ExpandNetConfig(1))
    return network, lambda x: torch.cat((network.local_net(x), network.mid_net(x)), 1)


def hdrtvnet_plus() -> tuple[HdrNetwork, Callable[[Tensor], Tensor]]:
    network = HDRTVNetPlus(HDRTVNetPlusConfig(2, 1, 1, 2, 2, (1, 0, 1, 0, 1)))
    return network, network.LE


def lsn() -> tuple[HdrNetwork, Callable[[Tensor], Tensor]]:
    network = LSN(LSNConfig(8))
    return network, network.bright_branch


def lhdr() -> tuple[HdrNetwork, Callable[[Tensor], Tensor]]:
    network = LHDR(LHDRConfig(8))
    return network, lambda x: network.msnet(x, 0.9 + 0.05 * torch.sigmoid(x))


@pytest.mark.parametrize("make", [expandnet, hdrtvnet_plus, lsn, lhdr])
def test_the_reach_of_what_looks_nearby_is_the_one_it_says(
    make: Callable[[], tuple[HdrNetwork, Callable[[Tensor], Tensor]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ChannelAttention, "forward", values_alone)
    network, run = make()
    said = network.receptive_field()
    found = reach(Part(network, run), -(-(2 * said + 16) // 32) * 32)
    # A pixel can have eight positions in a block of the smallest scale; four of them are tried.
    assert said - 4 <= found <= said
