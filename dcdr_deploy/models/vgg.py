"""The U-Net that HDRCNN and SingleHDR share: VGG16's convolutions as encoder, a decoder that mirrors it.

VGG16: Simonyan and Zisserman, 2015. The public networks start at weights trained on Places365; those do not travel with
this tool, and a network that is trained here starts its encoder at Kaiming values.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dcdr_deploy.models.blocks import conv3x3
from dcdr_deploy.models.encodings import Normalisation

VGG_INPUT = Normalisation((123.68 / 255, 116.779 / 255, 103.939 / 255), (1 / 255, 1 / 255, 1 / 255), bgr=True)
"""VGG16 takes code values from 0 to 255 less the means of its training, blue first."""

STAGES = ((2, 1), (2, 2), (3, 4), (3, 8), (3, 8))
"""Convolutions of each scale, and their channels in units of the width."""

RISES = ((8, 8), (8, 8), (8, 4), (4, 2), (2, 1))
"""Channels before and after each step up of the decoder, in units of the width."""

Rise = Callable[[int, int], nn.Module]


class Fusion(nn.Module):
    """1x1 convolution of two maps side by side to one; starts as their sum."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2 * channels, channels, 1)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Map two (N, C, H, W) to one."""
        out: Tensor = self.conv(torch.cat((x, skip), 1))
        return out

    def add(self) -> None:
        """Set the weights to those of a sum."""
        channels = self.conv.out_channels
        with torch.no_grad():
            eye = torch.eye(channels, device=self.conv.weight.device)
            self.conv.weight.copy_(torch.cat((eye, eye), 1)[:, :, None, None])


class VggUNet(nn.Module):
    """A picture to three channels of the same size, which may be of any range.

    Args:
        width: channels at full size, 64 in VGG16.
        rise: makes a step up, from so many channels to so many, of twice the size.
        domain: what is done to a map of the encoder, divided by 255, before it meets the decoder's.
    """

    def __init__(self, width: int, rise: Rise, domain: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.domain = domain
        channels, stages = 3, []
        for count, factor in STAGES:
            convolutions = []
            for _ in range(count):
                convolutions.append(conv3x3(channels, factor * width))
                channels = factor * width
            stages.append(nn.ModuleList(convolutions))
        self.encoder = nn.ModuleList(stages)
        self.code, self.code_norm = conv3x3(channels, channels), nn.BatchNorm2d(channels)
        self.rises = nn.ModuleList(rise(before * width, after * width) for before, after in RISES)
        self.fusions = nn.ModuleList(Fusion(after * width) for _, after in RISES)
        self.last, self.last_norm, self.last_fusion = nn.Conv2d(width, 3, 1), nn.BatchNorm2d(3), Fusion(3)

    def forward(self, picture: Tensor) -> Tensor:
        """Map (N, 3, H, W) in [0, 1], H and W multiples of 32, to (N, 3, H, W)."""
        x, skips = VGG_INPUT.apply(picture), []
        for stage in self.encoder:
            for convolution in stage.children():
                x = F.relu(convolution(x))
            skips.append(x)
            x = F.max_pool2d(x, 2)
        x = F.relu(self.code_norm(self.code(x)))
        for rise, fusion, skip in zip(self.rises, self.fusions, reversed(skips), strict=True):
            x = fusion(rise(x), self.domain(skip / 255))
        x = F.relu(self.last_norm(self.last(x)))
        out: Tensor = self.last_fusion(x, self.domain(picture))
        return out

    def receptive_field(self) -> int:
        """One-sided extent in pixels: 184 with steps up that reach two pixels of the finer scale."""
        scales = [2**number for number in range(len(STAGES))]
        down = sum(count * scale for (count, _), scale in zip(STAGES, scales, strict=True))
        return down + 2 * scales[-1] + sum(2 * scale for scale in scales)

    def settle_start(self) -> None:
        """Let fusions add."""
        for module in self.modules():
            if isinstance(module, Fusion):
                module.add()


def highlight_mask(picture: Tensor, threshold: float) -> Tensor:
    """How far a pixel is clipped: 0 up to ``1 - threshold`` of its largest channel, 1 at the end, (N, 1, H, W)."""
    return ((picture.amax(1, keepdim=True) - 1 + threshold) / threshold).clamp(0, 1)
