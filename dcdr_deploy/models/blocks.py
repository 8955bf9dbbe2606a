"""The building blocks of DCDR-UNet: SFT layer, DCRB and its ablation, condition net, tone net."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dcdr_deploy.modelfile.names import OFFSET_CHANNELS
from dcdr_deploy.models.config import DCDRUNetConfig
from dcdr_deploy.models.deform import apply_sampling_plan, deform_conv2d, sampling_plan

LEAKY_SLOPE = 0.1
"""Slope of all leaky ReLUs. The paper names none; 0.1 is HDRUNet's."""

DeformMode = Literal["torchvision", "gather", "zero", "columns"]
Convolve = Callable[[Tensor, nn.Conv2d], Tensor]


def conv3x3(channels_in: int, channels_out: int, stride: int = 1) -> nn.Conv2d:
    """3x3 convolution with zero padding of 1: the only filter size in the network."""
    return nn.Conv2d(channels_in, channels_out, 3, stride, 1)


class SFT(nn.Module):
    """Spatial feature transform, eq. 2: SFT(x, y) = x + cv^2(y) * x + cv^2(y).

    The two cv^2 are separate; each has two 3x3 convolutions with one leaky ReLU between (text below eq. 2). The hidden
    width is ours. Without a condition net (Table 2) the layer is one 3x3 convolution of x.

    ``merged`` computes gain and shift side by side, by two convolutions instead of four. That is the same function but
    for rounding: more operations, in fewer kernels, which suits the training of GPUs.
    """

    def __init__(self, config: DCDRUNetConfig) -> None:
        super().__init__()
        self.merged = False
        self.conditioned = config.condition_net
        if self.conditioned:
            self.gain0 = conv3x3(config.condition_width, config.sft_hidden)
            self.gain1 = conv3x3(config.sft_hidden, config.width)
            self.shift0 = conv3x3(config.condition_width, config.sft_hidden)
            self.shift1 = conv3x3(config.sft_hidden, config.width)
        else:
            self.conv = conv3x3(config.width, config.width)

    def maps(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Gain and shift maps, each (N, width, H, W), from a condition map y (N, condition_width, H, W)."""
        if self.merged:
            return self._merged_maps(y)
        gain = self.gain1(F.leaky_relu(self.gain0(y), LEAKY_SLOPE))
        shift = self.shift1(F.leaky_relu(self.shift0(y), LEAKY_SLOPE))
        return gain, shift

    def _merged_maps(self, y: Tensor) -> tuple[Tensor, Tensor]:
        weight = torch.cat([self.gain0.weight, self.shift0.weight])
        hidden = F.leaky_relu(F.conv2d(y, weight, _biases(self.gain0, self.shift0), padding=1), LEAKY_SLOPE)
        # Each half of the outputs sees its half of the hidden channels.
        width = self.gain0.out_channels
        halves = F.pad(self.gain1.weight, (0, 0, 0, 0, 0, width)), F.pad(self.shift1.weight, (0, 0, 0, 0, width, 0))
        maps = F.conv2d(hidden, torch.cat(halves), _biases(self.gain1, self.shift1), padding=1)
        gain, shift = maps.chunk(2, 1)
        return gain, shift

    def forward(self, x: Tensor, y: Tensor | None) -> Tensor:
        """Transform features x (N, width, H, W) by a condition map y of the same height and width."""
        if not self.conditioned:
            return self.conv(x)
        gain, shift = self.maps(cast(Tensor, y))
        return x + gain * x + shift


def _biases(first: nn.Conv2d, second: nn.Conv2d) -> Tensor:
    return torch.cat([cast(Tensor, first.bias), cast(Tensor, second.bias)])


def _torchvision(offset: Tensor, size: torch.Size) -> Convolve:
    return lambda x, conv: deform_conv2d(x, offset, conv.weight, conv.bias)


def _gather(offset: Tensor, size: torch.Size) -> Convolve:
    plan = sampling_plan(offset, size[2], size[3])
    return lambda x, conv: apply_sampling_plan(x, plan, conv.weight, conv.bias)


CONVOLUTIONS: dict[str, Callable[[Tensor, torch.Size], Convolve]] = {
    "torchvision": _torchvision,
    "gather": _gather,
}
"""How a DCRB convolves once its offsets are known; ``"zero"`` needs no offsets and is not in here. Rooms above may add
forms of their own."""


class DCRB(nn.Module):
    """Deformable convolution residual block, eq. 3 and 4.

    o(z) = cv(z) with 18 channels; DCRB(z, y) = z + dcv(o, SFT(relu(dcv(o, SFT(z, y))), y)). Both deformable
    convolutions share the offsets, which come from the block's input. Ours: the ReLU after the first deformable
    convolution, which eq. 4 omits; the text says that a DCRB without offsets is HDRUNet's residual block, which has it.

    ``mode`` selects how the same function is computed: ``torchvision`` (default), ``gather`` (fast backward on CPUs),
    ``columns`` (kernels for training on GPUs, once :mod:`dcdr_deploy.training.deformable` is imported), or ``zero``:
    offsets held at zero, for the first phase of a training run. Exporters and fused kernels take another block
    (opaque.py).
    """

    def __init__(self, config: DCDRUNetConfig) -> None:
        super().__init__()
        self.mode: DeformMode = "torchvision"
        self.deformable = config.deformable
        self.sft1, self.sft2 = SFT(config), SFT(config)
        self.dcv1, self.dcv2 = conv3x3(config.width, config.width), conv3x3(config.width, config.width)
        if self.deformable:
            self.offset = conv3x3(config.width, OFFSET_CHANNELS)

    def forward(self, z: Tensor, y: Tensor | None) -> Tensor:
        """Map features z (N, width, H, W) and a condition map y of the same size to (N, width, H, W)."""
        convolve = self._convolution(z)
        hidden = F.relu(convolve(self.sft1(z, y), self.dcv1))
        return z + convolve(self.sft2(hidden, y), self.dcv2)

    def _convolution(self, z: Tensor) -> Convolve:
        if not self.deformable or self.mode == "zero":
            return lambda x, conv: conv(x)
        return CONVOLUTIONS[self.mode](self.offset(z), z.shape)


class ConditionNet(nn.Module):
    """Condition net, eq. 5: y_s = cv^2(up(cv^3(d_4(I)))) for s = 1, 0.5, 0.25.

    d_4 is average pooling and up is bilinear (both ours). Read literally, up_{1/s} would make the map of scale 0.25
    four times too large; the factor that fits is 4 s. Leaky ReLU between convolutions, none after the last.
    """

    def __init__(self, config: DCDRUNetConfig) -> None:
        super().__init__()
        n = config.condition_width
        self.trunk = nn.ModuleList([conv3x3(3, n), conv3x3(n, n), conv3x3(n, n)])
        self.heads = nn.ModuleList([nn.ModuleList([conv3x3(n, n), conv3x3(n, n)]) for _ in range(3)])

    def forward(self, image: Tensor) -> list[Tensor]:
        """Map an image (N, 3, H, W) to condition maps of sizes H x W, H/2 x W/2, H/4 x W/4."""
        features = F.avg_pool2d(image, 4)
        for conv in self.trunk:
            features = F.leaky_relu(conv(features), LEAKY_SLOPE)
        maps = []
        for factor, head in zip((4, 2, 1), self.heads, strict=True):
            first, second = cast(nn.ModuleList, head)
            scaled = features
            if factor > 1:
                scaled = F.interpolate(features, scale_factor=factor, mode="bilinear", align_corners=False)
            maps.append(second(F.leaky_relu(first(scaled), LEAKY_SLOPE)))
        return maps


class ToneNet(nn.Module):
    """Tone net, eq. 6: Net_T(I) = I * T_G(I), T_G four 3x3 convolutions, ReLU after all but the last."""

    def __init__(self, config: DCDRUNetConfig) -> None:
        super().__init__()
        n = config.tone_width
        self.layers = nn.ModuleList([conv3x3(3, n), conv3x3(n, n), conv3x3(n, n), conv3x3(n, 3)])

    def gain(self, image: Tensor) -> Tensor:
        """The local tone gain map T_G(I), (N, 3, H, W)."""
        features = image
        for layer in list(self.layers)[:-1]:
            features = F.relu(layer(features))
        return self.layers[-1](features)

    def forward(self, image: Tensor) -> Tensor:
        """Map an SDR image (N, 3, H, W) to its tone-matched linear image of the same shape."""
        return image * self.gain(image)
