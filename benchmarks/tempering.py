"""Tempering: how much of what the restoration net adds is kept, so that no picture becomes much worse by it.

Where a surface only just clips, the trivial conversion is nearly exact and a network that takes it for a brighter one
ruins it. Networks are surer of that on scenes they were not trained on than they should be, and no loss of the training
set shows it. The output is the tone net's plus the restoration net's, so one share of the latter, chosen on held-out
pictures, trades average gain for the worst case, and goes into the last convolution's weights at no cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from dcdr_deploy.errors import InputError
from dcdr_deploy.metrics.psnr import psnr_mu
from dcdr_deploy.models import HdrNetwork
from dcdr_deploy.scenes.camera import LDR_MAX, TARGET_MAX
from dcdr_deploy.training.heldout import HeldOutPair, baseline
from dcdr_deploy.training.synthetic import to_tensors

SHARES = tuple(round(0.05 * step, 2) for step in range(20, 0, -1))
"""Shares that are tried: 1.0, 0.95, ... 0.05."""


@dataclass(frozen=True)
class Tempering:
    """What one share of the restoration does to held-out pictures.

    Attributes:
        share: what the restoration net's output is multiplied by.
        gains: of each picture over inverse sRGB / peak, in dB of PSNR-mu (mu = 10).
    """

    share: float
    gains: tuple[float, ...]

    @property
    def worst(self) -> float:
        """Least gain of a picture."""
        return min(self.gains)

    @property
    def median(self) -> float:
        """Median gain of a picture."""
        return float(np.median(self.gains))

    def losers(self, most_lost: float) -> float:
        """Share of the pictures that lose more than ``most_lost`` dB."""
        return sum(gain < -most_lost for gain in self.gains) / len(self.gains)


@torch.no_grad()
def judge_shares(network: HdrNetwork, pairs: Sequence[HeldOutPair], peak: float) -> list[Tempering]:
    """What each of :data:`SHARES` does, from one pass of the network over held-out pairs.

    Raises:
        InputError: the network has no tone net, without which nothing would be left of the picture.
    """
    tone = network.tone_part()
    if tone is None:
        raise InputError("only a network with a tone net can be tempered")
    device = next(network.parameters()).device
    gains = []
    for pair in pairs:
        x = to_tensors(pair.ldr, pair.target)[0][None].to(device)
        whole, base = (part[0].permute(1, 2, 0).cpu().numpy() for part in (network(x), tone.output(x)))
        known = np.ones(pair.ldr.shape[:2], bool) if pair.known is None else pair.known
        truth = (pair.target / TARGET_MAX)[known]
        conversion = baseline(pair.ldr.astype(np.float32) / np.float32(LDR_MAX), peak)
        before = psnr_mu(conversion[known], truth)
        gains.append([psnr_mu((base + share * (whole - base))[known], truth) - before for share in SHARES])
    return [Tempering(share, column) for share, column in zip(SHARES, zip(*gains, strict=True), strict=True)]


def choose_share(judged: Sequence[Tempering], most_lost: float, spared: float = 0.0) -> Tempering:
    """The largest share that costs no picture more than ``most_lost`` dB, but for a share ``spared`` of them.

    Raises:
        InputError: even the smallest share does.
    """
    for each in judged:
        if each.losers(most_lost) <= spared:
            return each
    raise InputError(f"pictures lose more than {most_lost} dB at every share; the tone net itself is to blame")


@torch.no_grad()
def temper(network: HdrNetwork, share: float) -> None:
    """Multiply what the restoration net adds to the output by ``share``, in place.

    Raises:
        InputError: there is no restoration net.
    """
    part = network.restoration_part()
    if part is None:
        raise InputError("the network has no restoration net to temper")
    for parameter in part.last.parameters():
        parameter.mul_(share)
