"""A curve of each pixel that a few numbers, found from the picture as a whole, steer: 1x1 convolutions whose results
are scaled and shifted (LHDR's first step, LSN's mid branch)."""

from __future__ import annotations

import itertools

from torch import Tensor, nn
from torch.nn import functional as F

from dcdr_deploy.models.blocks import LEAKY_SLOPE
from dcdr_deploy.models.hdrunet import conv1x1


class Modulated(nn.Module):
    """1x1 convolutions ``conv1``, ``conv2``, ...; each gives x, and x + x * scale + shift goes on, leaky ReLU behind.

    Scales and shifts are linear functions of what ``cond_net`` gives for a picture.
    """

    def __init__(self, widths: tuple[int, ...], condition: nn.Module, numbers: int) -> None:
        """Make the convolutions.

        Args:
            widths: channels from the first convolution's input to the last one's output.
            condition: maps a picture (N, 3, h, w) to (N, numbers).
            numbers: how many there are.
        """
        super().__init__()
        self.count = len(widths) - 1
        self.cond_net = condition
        for layer, (before, after) in enumerate(itertools.pairwise(widths), 1):
            self.add_module(f"conv{layer}", conv1x1(before, after))
            self.add_module(f"cond_scale{layer}", nn.Linear(numbers, after))
            self.add_module(f"cond_shift{layer}", nn.Linear(numbers, after))

    def forward(self, x: Tensor, picture: Tensor) -> Tensor:
        """Map (N, 3, H, W), by a picture (N, 3, h, w) of any size, to (N, 3, H, W)."""
        numbers = self.cond_net(picture)
        for layer in range(1, self.count + 1):
            x = self.get_submodule(f"conv{layer}")(x)
            scale, shift = (
                self.get_submodule(f"cond_{kind}{layer}")(numbers)[:, :, None, None] for kind in ("scale", "shift")
            )
            x = F.leaky_relu(x + x * scale + shift, LEAKY_SLOPE)
        return x
