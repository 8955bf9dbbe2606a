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

from dcdr_deploy.errors import DcdrError
from dcdr_deploy.metrics.psnr import PooledError, clipped_region, mu_law
from dcdr_deploy.models import HdrNetwork
from dcdr_deploy.scenes.camera import TARGET_MAX
from dcdr_deploy.training.heldout import HeldOutPair
from dcdr_deploy.training.synthetic import to_tensors

SILENT_SHARE = 0.95
"""Share of closed channels from which on a restoration net counts as silent: what is left cannot say anything, and
closed ReLUs pass no gradient by which they could open again."""


class RestorationSilent(DcdrError):
    """Training has closed the restoration net's last ReLUs."""


class OpenChannels:
    """Watches which of the restoration net's last hidden channels open while a network is used.

    What is seen is kept in one place, so that a recorded step (:mod:`dcdr_deploy.training.recording`) goes on telling
    of it. A compiled network does not: it is looked at with :meth:`look`.

    Args:
        network: any; without a restoration net nothing is watched.
    """

    def __init__(self, network: HdrNetwork) -> None:
        self._part = network.restoration_part()
        self._network = network
        self._highest: Tensor | None = None
        self._handle = None if self._part is None else self._part.hidden.register_forward_hook(self._see)

    def _see(self, _module: torch.nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if torch.compiler.is_compiling():
            return
        highest = output.detach().amax(dim=(0, 2, 3)).float()
        if self._highest is None:
            self._highest = torch.full_like(highest, -torch.inf)
        torch.maximum(self._highest, highest, out=self._highest)

    @torch.no_grad()
    def look(self, x: Tensor, kind: torch.dtype) -> None:
        """Use the network on SDR (N, 3, H, W) in [0, 1], in an arithmetic type, only to see what opens."""
        if self._part is not None:
            with torch.autocast(x.device.type, kind, enabled=kind != torch.float32):
                (self._part.output or self._network.coded)(x)

    def closed_share(self) -> float | None:
        """Share of channels that were closed on every pixel since the last call; ``None`` where nothing was seen."""
        if self._highest is None or not bool(self._highest.isfinite().any()):
            return None
        share = float((self._highest <= 0).float().mean())
        self._highest.fill_(-torch.inf)
        return share

    def end(self) -> None:
        """Stop watching."""
        if self._handle is not None:
            self._handle.remove()


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
            if pair.known is not None:
                region &= pair.known
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
