"""Tempering keeps a share of the restoration: exactly that share, and the largest that spares every picture."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tempering import SHARES, choose_share, judge_shares, temper

from dcdr_deploy.errors import InputError
from dcdr_deploy.models import DCDRUNet, DCDRUNetConfig, initialise
from dcdr_deploy.training.assembly import predictor
from dcdr_deploy.training.heldout import HeldOutPair, judge
from dcdr_deploy.training.start import start_from_inverse_srgb

TINY = DCDRUNetConfig(width=8, condition_width=4, sft_hidden=2, tone_width=12, blocks=(1, 1, 1))
PEAK = 8.0


def network() -> DCDRUNet:
    net = DCDRUNet(TINY)
    initialise(net, 3)
    start_from_inverse_srgb(net, PEAK)
    return net.eval()


def lifting_by(light: float) -> DCDRUNet:
    """A network that adds light everywhere, in units of full scale."""
    net = network()
    with torch.no_grad():
        net.restoration.last.weight.zero_()
        net.restoration.last.bias.fill_(light)
    return net


def clipped_at(*levels: float) -> list[HeldOutPair]:
    """White pictures whose light was that many times SDR white."""
    white = np.full((16, 16, 3), 255, np.uint8)
    return [HeldOutPair(f"{at}", white, np.full((16, 16, 3), round(at / PEAK * 65535), np.uint16)) for at in levels]


def test_what_is_left_is_the_tone_net_and_a_share_of_the_rest() -> None:
    net = network()
    x = torch.rand(1, 3, 16, 20, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        whole, tone = net(x), net.tone_part().output(x)
        temper(net, 0.4)
        torch.testing.assert_close(net(x), tone + 0.4 * (whole - tone), atol=1e-6, rtol=1e-5)


def test_every_share_is_judged_as_the_tempered_network_would_be() -> None:
    pairs = clipped_at(1.1, 4.0)
    for each in judge_shares(lifting_by(0.2), pairs, PEAK)[::5]:
        net = lifting_by(0.2)
        temper(net, each.share)
        summary = judge(pairs, predictor(net), PEAK).summary()
        assert each.worst == pytest.approx(summary["worst_crop_gain"], abs=0.002)
        assert each.median == pytest.approx(summary["median_crop_gain"], abs=0.002)


def test_the_largest_share_within_the_bound_is_chosen() -> None:
    judged = judge_shares(lifting_by(0.2), clipped_at(1.5, 4.0), PEAK)
    chosen = choose_share(judged, 3.0)
    assert 0 < chosen.share < 1
    assert chosen.worst >= -3
    assert judged[SHARES.index(chosen.share) - 1].worst < -3


def test_a_spared_share_of_the_pictures_may_lose_more() -> None:
    judged = judge_shares(lifting_by(0.2), clipped_at(1.1, 1.5, 4.0, 4.0), PEAK)
    strict, lenient = choose_share(judged, 3.0), choose_share(judged, 3.0, spared=0.25)
    assert strict.share < lenient.share
    assert sum(gain < -3 for gain in lenient.gains) == 1


def test_a_network_that_harms_nothing_stays_as_it_is() -> None:
    assert choose_share(judge_shares(lifting_by(0.1), clipped_at(3.0), PEAK), 3.0).share == 1.0


def test_a_bound_that_no_share_keeps_is_an_error() -> None:
    net = lifting_by(0.5)
    with torch.no_grad():
        net.tone.layers[-1].bias.add_(0.3)
    with pytest.raises(InputError, match="tone net itself"):
        choose_share(judge_shares(net, clipped_at(1.0), PEAK), 3.0)


def test_without_a_tone_net_nothing_can_be_tempered() -> None:
    net = DCDRUNet(DCDRUNetConfig(width=8, condition_width=4, sft_hidden=2, blocks=(1, 1, 1), tone_net=False)).eval()
    with pytest.raises(InputError, match="tone net"):
        judge_shares(net, clipped_at(1.0), PEAK)
