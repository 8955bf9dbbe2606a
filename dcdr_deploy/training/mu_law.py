"""The mu-law for tensors, differentiable everywhere."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def mu_law(x: Tensor, mu: float = 10.0) -> Tensor:
    """mu-law of linear light, continued as a straight line below 0 and above 1 so that gradients never vanish."""
    inside = x.clamp(0, 1)
    slope_low, slope_high = mu / math.log1p(mu), mu / (1 + mu) / math.log1p(mu)
    outside = slope_low * (x - inside).clamp(max=0) + slope_high * (x - inside).clamp(min=0)
    return torch.log1p(mu * inside) / math.log1p(mu) + outside
