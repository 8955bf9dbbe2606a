"""Whether the restoration net does anything: figures that PSNR against the baseline cannot show.

A tone net that learns to lift highlights passes every pooled figure by itself, while the restoration net's last ReLUs
close for good. So a run also reports how many of those never open, and what the whole network gains over its own tone
net on clipped pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dcdr_deploy.metrics.psnr import PooledError, clipped_region, mu_law
from dcdr_deploy.models import HdrNetwork
from dcdr_deploy.scenes.camera import TARGET_MAX
from dcdr_deploy.training.heldout import HeldOutPair
from dcdr_deploy.training.synthetic import to_tensors


@torch.no_grad()
def liveness(network: HdrNetwork, pairs: Sequence[HeldOutPair]) -> dict[str, float]:
    """Measure the restoration net's part.

    Args:
        network: in evaluation mode.
        pairs: held-out pairs.

    Returns:
        ``dead_channels``: share of the last hidden layer's channels that are closed on every pixel of every pair.
        ``gain_over_tone``: PSNR-mu (mu = 10) of the network minus that of its tone net alone, in dB, pooled over
        clipped pixels and their surround. Each is left out for networks without that part.
    """
    device = next(network.parameters()).device
    tone_part, restoration = network.tone_part(), network.restoration_part()
    hidden = [] if restoration is None else [restoration.hidden]
    highest = torch.full((hidden[0].out_channels if hidden else 0,), -torch.inf, device=device)

    def watch(_module: torch.nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        highest.copy_(torch.maximum(highest, output.amax(dim=(0, 2, 3)).float()))

    whole, tone = PooledError(), PooledError()
    handles = [layer.register_forward_hook(watch) for layer in hidden]
    try:
        for pair in pairs:
            x = to_tensors(pair.ldr, pair.target)[0][None].to(device)
            truth, region = mu_law(pair.target / TARGET_MAX), clipped_region(pair.ldr)
            whole.add(mu_law(_picture(network(x))), truth, region)
            if tone_part is not None:
                tone.add(mu_law(_picture(tone_part.output(x))), truth, region)
    finally:
        for handle in handles:
            handle.remove()
    figures = {"dead_channels": float((highest <= 0).float().mean())} if hidden else {}
    if tone_part is not None:
        figures["gain_over_tone"] = round(whole.psnr - tone.psnr, 3)
    return figures


def _picture(output: Tensor) -> npt.NDArray[np.float32]:
    return np.asarray(output[0].permute(1, 2, 0).float().cpu().numpy())
