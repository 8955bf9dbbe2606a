"""The figures that tell a restoration net that works from one that fell silent behind its tone net."""

from __future__ import annotations

import numpy as np
import torch

from dcdr_deploy.models import DCDRUNet, DCDRUNetConfig, initialise
from dcdr_deploy.training.heldout import HeldOutPair
from dcdr_deploy.training.liveness import liveness
from dcdr_deploy.training.start import start_from_inverse_srgb

TINY = DCDRUNetConfig(width=8, condition_width=4, sft_hidden=2, tone_width=12, blocks=(1, 1, 1))


def network() -> DCDRUNet:
    net = DCDRUNet(TINY)
    initialise(net, 3)
    start_from_inverse_srgb(net, 8.0)
    return net.eval()


def pairs() -> list[HeldOutPair]:
    return [HeldOutPair("lamp", np.full((40, 40, 3), 255, np.uint8), np.full((40, 40, 3), 30000, np.uint16))]


def test_a_closed_restoration_net_shows_as_dead_and_gains_nothing_over_the_tone_net() -> None:
    net = network()
    with torch.no_grad():
        net.restoration.hr2.weight.zero_()
        net.restoration.hr2.bias.fill_(-1)
        net.restoration.last.bias.zero_()
    assert liveness(net, pairs()) == {"dead_channels": 1.0, "gain_over_tone": 0.0}


def test_a_restoration_net_that_lifts_the_clipped_area_gains_over_the_tone_net() -> None:
    net = network()
    with torch.no_grad():
        net.restoration.last.weight.zero_()
        net.restoration.last.bias.fill_(0.05)
    figures = liveness(net, pairs())
    assert figures["gain_over_tone"] > 0.5
    assert figures["dead_channels"] < 1


def test_a_network_without_a_tone_net_has_no_gain_over_one() -> None:
    net = DCDRUNet(DCDRUNetConfig(width=8, condition_width=4, sft_hidden=2, blocks=(1, 1, 1), tone_net=False)).eval()
    assert liveness(net, pairs()).keys() == {"dead_channels"}


def test_what_is_not_known_of_a_pair_counts_nowhere() -> None:
    net = network()
    with torch.no_grad():
        net.restoration.last.weight.zero_()
        net.restoration.last.bias.fill_(0.05)
    known = np.zeros((40, 40), np.bool_)
    known[:20] = True
    ldr, target = np.full((40, 40, 3), 255, np.uint8), np.full((40, 40, 3), 30000, np.uint16)
    target[20:] = 0
    figures = liveness(net, [HeldOutPair("half", ldr, target, known)])
    target[20:] = 65535
    assert liveness(net, [HeldOutPair("half", ldr, target, known)]) == figures
