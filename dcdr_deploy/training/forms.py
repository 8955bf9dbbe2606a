"""Which of several equal ways to compute a network suits a training step."""

from __future__ import annotations

import torch

from dcdr_deploy.models import HdrNetwork
from dcdr_deploy.models.blocks import SFT
from dcdr_deploy.training.deformable import deform_mode


def choose_forms(network: HdrNetwork, device: torch.device, offsets_frozen: bool) -> None:
    """Set how deformable convolutions and SFT layers compute what they do, for forward and backward on a device.

    Args:
        network: changed in place.
        device: where it is.
        offsets_frozen: hold all offsets at zero, where a deformable convolution is a plain one.
    """
    network.set_deform_mode("zero" if offsets_frozen else deform_mode(network, device))
    merge_sft(network, device.type == "cuda")


def merge_sft(network: HdrNetwork, merged: bool) -> None:
    """Compute gain and shift of all SFT layers side by side, or apart."""
    for module in network.modules():
        if isinstance(module, SFT):
            module.merged = merged
