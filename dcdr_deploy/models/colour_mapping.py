"""Adaptive global colour mapping (AGCM) of HDRTVNet and HDRTVNet++: a curve that the picture as a whole decides on.

Names of layers are those of the public checkpoints.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dcdr_deploy.models.hdrunet import conv1x1

CONDITION_SCALE = 4
"""AGCM decides by the picture at a quarter of its size."""

CONDITION_WIDTHS = (1, 2, 4, 8, 8)
"""Channels of the layers that decide, in units of the first one's."""

CONDITION_SLOPE = 0.2


class PictureNorm(nn.Module):
    """Each channel's mean and deviation over the picture to 0 and 1, then a gain and a shift of the channel's own.

    As torch's instance normalisation, but for pictures of a single pixel too, which are their own mean.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        centred = x - x.mean((2, 3), keepdim=True)
        deviation = (centred.square().mean((2, 3), keepdim=True) + 1e-5).sqrt()
        return centred / deviation * self.weight.reshape(1, -1, 1, 1) + self.bias.reshape(1, -1, 1, 1)


class ColourCondition(nn.Module):
    """A small picture to a few numbers."""

    def __init__(self, width: int, numbers: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for number, factor in enumerate(CONDITION_WIDTHS, 1):
            layers += [conv1x1(before, factor * width), nn.AvgPool2d(3, 2, 1), nn.LeakyReLU(CONDITION_SLOPE)]
            layers += [PictureNorm(factor * width)] * (number < len(CONDITION_WIDTHS))
            before = factor * width
        layers += [nn.Dropout(0.5), conv1x1(before, numbers), nn.AdaptiveAvgPool2d(1)]
        self.model = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, 3, h, w) to (N, numbers)."""
        return cast(Tensor, self.model(x)).flatten(1)


class GlobalColourMapping(nn.Module):
    """AGCM: three 1x1 convolutions whose results are scaled and shifted by numbers that describe the picture."""

    def __init__(self, width: int, condition_width: int, numbers: int) -> None:
        """Set up.

        Args:
            width: feature channels of the curve.
            condition_width: channels of the first layer that decides on it.
            numbers: that describe the picture.
        """
        super().__init__()
        n = width
        self.classifier = ColourCondition(condition_width, numbers)
        self.cond_scale_first, self.cond_scale_HR, self.cond_scale_last = linears(numbers, n)
        self.cond_shift_first, self.cond_shift_HR, self.cond_shift_last = linears(numbers, n)
        self.conv_first, self.HRconv, self.conv_last = conv1x1(3, n), conv1x1(n, n), conv1x1(n, 3)

    def forward(self, image: Tensor) -> Tensor:
        """Map SDR (N, 3, H, W) to coded HDR (N, 3, H, W)."""
        numbers = self.classifier(quarter(image))

        def modulated(x: Tensor, scale: nn.Module, shift: nn.Module) -> Tensor:
            return x + x * scale(numbers)[:, :, None, None] + shift(numbers)[:, :, None, None]

        out = F.relu(modulated(self.conv_first(image), self.cond_scale_first, self.cond_shift_first))
        out = F.relu(modulated(self.HRconv(out), self.cond_scale_HR, self.cond_shift_HR))
        return modulated(self.conv_last(out), self.cond_scale_last, self.cond_shift_last)


def linears(numbers: int, width: int) -> list[nn.Linear]:
    """Linear layers to the channels of AGCM's three convolutions."""
    return [nn.Linear(numbers, channels) for channels in (width, width, 3)]


def quarter(image: Tensor) -> Tensor:
    """A picture (N, 3, H, W) at a quarter of its size by bicubic interpolation, widened against aliasing.

    As the authors' tool does it, a port of Matlab's ``imresize``, but for three pixels at the border: the border is
    continued there by the mirror image, here by its last pixel.
    """
    scale = CONDITION_SCALE
    positions = torch.arange(4 * scale, device=image.device, dtype=image.dtype)
    taps = _cubic((positions - (4 * scale - 1) / 2) / scale)
    taps = taps / taps.sum()
    margin = 4 * scale // 2 - scale // 2
    padded = F.pad(image, (margin, margin, margin, margin), mode="replicate")
    along = taps.reshape(1, 1, 1, -1).expand(3, 1, 1, -1)
    wide = F.conv2d(padded, along, stride=(1, scale), groups=3)
    return F.conv2d(wide, along.transpose(2, 3), stride=(scale, 1), groups=3)


def _cubic(x: Tensor) -> Tensor:
    """Keys' cubic with a = -1/2 (Keys, 1981, eq. 15)."""
    x = x.abs()
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return torch.where(x <= 1, near, torch.where(x < 2, far, torch.zeros_like(x)))
