"""How far a network reaches, measured by gradient."""

from __future__ import annotations

import torch

from dcdr_deploy.models import HdrNetwork


def positive(network: HdrNetwork, offset: float = 0.0) -> HdrNetwork:
    """Weights with which nothing cancels or is cut off, and constant offsets at every tap."""
    torch.manual_seed(0)
    network = network.double()
    for name, parameter in network.named_parameters():
        parameter.data = torch.rand_like(parameter) * 0.1 if parameter.dim() == 4 else torch.full_like(parameter, 0.1)
        if ".offset." in name:
            parameter.data = torch.full_like(parameter, offset if name.endswith("bias") else 0.0)
    return network.set_deform_mode("gather" if offset else "zero")


def reach(network: HdrNetwork, size: int) -> int:
    """Largest distance in rows or columns from which an input pixel moves the output near the centre."""
    farthest = 0
    for phase in range(4):
        centre = size // 2 + phase
        x = torch.rand(1, 3, size, size, dtype=torch.double, requires_grad=True)
        (gradient,) = torch.autograd.grad(network(x)[0, :, centre, centre].sum(), x)
        touched = gradient.abs().sum((0, 1)).nonzero()
        farthest = max(farthest, int((touched - centre).abs().max()))
    return farthest
