"""LHDR (Guo and Jiang, "LHDR: HDR Reconstruction for Legacy Content using a Lightweight DNN", ACCV 2022).

Two steps: a curve of each pixel that the picture as a whole decides on, and a network of two branches, dense
convolutions at full size and a U-Net at half size. The U-Net's way down convolves what is not clipped only (partial
convolutions), its way up is steered by where the picture clips. Module names are those of the public weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dcdr_deploy.models.architecture import Architecture, HdrNetwork, Published
from dcdr_deploy.models.blocks import LEAKY_SLOPE, conv3x3
from dcdr_deploy.models.conditioned import Modulated
from dcdr_deploy.models.config import NetworkConfig
from dcdr_deploy.models.hdrunet import conv1x1, down3x3
from dcdr_deploy.models.shapes import Shapes

CONDITION_SCALE = 4
"""The curve is decided on by the picture at a quarter of its size."""

BRIGHT = 0.9
"""Code value from which a channel counts as bright."""

GROUPS = 4
DEPTH = 2
"""Blocks a place."""

DENSE_LAYERS = 5


@dataclass(frozen=True)
class LHDRConfig(NetworkConfig):
    """Configuration of :class:`LHDR`; the defaults are the published network's.

    Attributes:
        width: feature channels, a multiple of 8.
        output: exponent 0.45, by which the authors encode light, for the public weights and ours.
    """

    width: int = 32
    output: str = field(default=f"gamma:{1 / 0.45:.6g}", kw_only=True)

    def __post_init__(self) -> None:
        if self.width < 1 or self.width % 8:
            raise ValueError(f"the width must be a multiple of 8: {self}")


PRESETS: dict[str, LHDRConfig] = {"lhdr": LHDRConfig()}
"""Named configurations of LHDR: ``lhdr`` has 271,112 parameters."""


def grouped3x3(width: int, stride: int = 1) -> nn.Conv2d:
    """3x3 convolution in four groups."""
    return nn.Conv2d(width, width, 3, stride, 1, groups=GROUPS)


def leaky(x: Tensor) -> Tensor:
    """The activation of all layers."""
    return F.leaky_relu(x, LEAKY_SLOPE)


class ManySizes(nn.Module):
    """Convolutions of 1, 3, 5 and 7 pixels, each of a quarter of the channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        each = width // GROUPS
        for number in range(1, GROUPS + 1):
            self.add_module(f"conv_group_{number}", nn.Conv2d(each, each, 2 * number - 1, padding=number - 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, width, H, W) to the same shape."""
        return torch.cat([layer(part) for layer, part in zip(self.children(), x.chunk(GROUPS, 1), strict=True)], 1)


class PictureCondition(nn.Module):
    """A small picture to a few numbers: three layers, two of which halve it, and the mean."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.conv3 = down3x3(3, width // 2), down3x3(width // 2, width)
        self.conv2 = ManySizes(width // 2)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, 3, h, w) to (N, width)."""
        return leaky(self.conv3(leaky(self.conv2(leaky(self.conv1(x)))))).mean((2, 3))


class PartialConvolution(nn.Conv2d):
    """3x3 convolution of what a mask lets through, made up for what it does not (Liu et al., ECCV 2018).

    The mask here is what a convolution gives, so that its values have no bounds: where their sum under the kernel is
    not positive, the result is 0.
    """

    def __init__(self, width: int, groups: int) -> None:
        super().__init__(width, width, 3, 1, 1, groups=groups)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """Map features and a mask, both (N, C, H, W), to features and the next mask (N, 1, H, W), within [0, 1].

        A mask of one channel stands for all of them.
        """
        summed = mask.sum(1, keepdim=True) * (self.in_channels // mask.shape[1])
        covered = F.conv2d(summed, summed.new_ones(1, 1, 3, 3), padding=1)
        updated = covered.clamp(0, 1)
        # The publication's code has updated * size / (covered + 1e-8), which half floats cannot hold near 0.
        ratio = torch.where(covered > 0, 9 * self.in_channels / covered.clamp(min=1), torch.zeros_like(covered))
        convolved = F.conv2d(x * mask, self.weight, None, 1, 1, 1, self.groups)
        assert self.bias is not None
        return (convolved * ratio + self.bias.reshape(1, -1, 1, 1)) * updated, updated


class MaskedBlock(nn.Module):
    """x + two partial convolutions, and the mask that is left."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.pconv_1, self.pconv_2 = PartialConvolution(width, GROUPS), PartialConvolution(width, 1)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Map features and a mask to the same."""
        out, mask = self.pconv_1(x, mask)
        out, mask = self.pconv_2(leaky(out), mask)
        return x + leaky(out), mask


class PointSFT(nn.Module):
    """SFT layer of single pixels, as HDRUNet's, with numbers from 1 in its names."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.SFT_scale_conv1, self.SFT_scale_conv2 = conv1x1(width, width), conv1x1(width, width)
        self.SFT_shift_conv1, self.SFT_shift_conv2 = conv1x1(width, width), conv1x1(width, width)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Transform features x by a condition map y, both (N, width, H, W)."""
        gain = self.SFT_scale_conv2(leaky(self.SFT_scale_conv1(y)))
        shift = self.SFT_shift_conv2(leaky(self.SFT_shift_conv1(y)))
        return x + gain * x + shift


class SteeredBlock(nn.Module):
    """x + two convolutions, an SFT layer before each."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = grouped3x3(width), conv3x3(width, width)
        self.sft1, self.sft2 = PointSFT(width), PointSFT(width)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Map features x by a condition map y, both (N, width, H, W), to the same shape."""
        out = leaky(self.conv1(self.sft1(x, y)))
        return x + leaky(self.conv2(self.sft2(out, y)))


class MaskedUNet(nn.Module):
    """The U-Net of the global branch."""

    def __init__(self, width: int) -> None:
        super().__init__()
        n = width

        def several(block: Callable[[int], nn.Module]) -> nn.ModuleList:
            return nn.ModuleList(block(n) for _ in range(DEPTH))

        self.mask_est_pconv = nn.Sequential(nn.Identity(), conv1x1(3, n))
        self.recon_trunk_f, self.recon_trunk_mp = several(MaskedBlock), several(MaskedBlock)
        self.recon_trunk_ms, self.recon_trunk_e = several(SteeredBlock), several(SteeredBlock)
        self.down_conv = down3x3(n, n)
        self.up_conv = nn.Sequential(conv3x3(n, 4 * n), nn.PixelShuffle(2))
        slope = nn.LeakyReLU(LEAKY_SLOPE)
        self.cond_com = nn.Sequential(conv3x3(3, n), slope, grouped3x3(n), slope)
        self.cond_1e = nn.Sequential(grouped3x3(n, 2), slope, conv3x3(n, n))
        self.cond_2 = nn.Sequential(grouped3x3(n, 2), slope, down3x3(n, n))

    def forward(self, x: Tensor, bright: Tensor) -> Tensor:
        """Map features (N, width, H/2, W/2) and the picture's bright part (N, 3, H, W) to features of the same size."""
        conditions = self.cond_com(bright)
        half, quarter = self.cond_1e(conditions), self.cond_2(conditions)
        valid = ((1 - bright) / (1 - BRIGHT)).clamp(0, 1)
        mask = F.avg_pool2d(self.mask_est_pconv(valid), 3, 2, 1)
        full = x
        for block in self.recon_trunk_f:
            full, mask = block(full, mask)
        small = leaky(self.down_conv(full))
        out, mask = small, F.avg_pool2d(mask, 3, 2, 1)
        for block in self.recon_trunk_mp:
            out, mask = block(out, mask)
        for block in self.recon_trunk_ms:
            out = block(out, quarter)
        out = leaky(self.up_conv(out + small))
        for block in self.recon_trunk_e:
            out = block(out, half)
        return out + full + x


class DenseBlock(nn.Module):
    """Convolutions each of which sees the sum of all that came before; the last one's result is added to the input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        for number in range(1, DENSE_LAYERS + 1):
            self.add_module(f"conv_{number}", conv3x3(width, width))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, width, H, W) to the same shape."""
        total = x
        *inner, last = self.children()
        for layer in inner:
            total = total + leaky(layer(total))
        out: Tensor = x + last(total)
        return out


class Decomposition(nn.Module):
    """The picture as features at full and at half size."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv_h, self.conv_l = conv3x3(3, width), down3x3(3, width)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map (N, 3, H, W) to (N, width, H, W) and (N, width, H/2, W/2)."""
        return leaky(self.conv_h(x)), leaky(self.conv_l(x))


class TwoBranches(nn.Module):
    """The second step: details at full size, all else at half size."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.decompose, self.local_branch = Decomposition(width), DenseBlock(width)
        self.conv0 = conv3x3(width, 3)
        self.global_branch = MaskedUNet(width)
        self.upconv0 = nn.Sequential(conv3x3(width, 12), nn.PixelShuffle(2))

    def forward(self, x: Tensor, bright: Tensor) -> Tensor:
        """Map a picture and its bright part, both (N, 3, H, W), to (N, 3, H, W) of at least 0."""
        fine, coarse = self.decompose(x)
        detail = leaky(self.conv0(self.local_branch(fine)))
        base = leaky(self.upconv0(self.global_branch(coarse, bright)))
        return F.relu(base + detail)


class LHDR(HdrNetwork):
    """LHDR.

    Input (N, 3, H, W): sRGB-encoded SDR in [0, 1]; H and W multiples of 4. Output (N, 3, H, W): linear light.
    """

    config: LHDRConfig
    sees_whole_picture = True

    def __init__(self, config: LHDRConfig | None = None) -> None:
        super().__init__()
        self.config = config or LHDRConfig()
        n = self.config.width
        self.mlp = Modulated((3, n, 2 * n, n, 3), PictureCondition(n), n)
        self.msnet = TwoBranches(n)

    def layers(self, image: Tensor) -> Tensor:
        """Map SDR (N, 3, H, W) in [0, 1] to coded HDR (N, 3, H, W)."""
        small = F.interpolate(image, scale_factor=1 / CONDITION_SCALE, mode="bilinear", align_corners=False)
        bright = ((image - BRIGHT) / (1 - BRIGHT)).clamp(0, 1)
        result: Tensor = self.msnet(self.mlp(image, small), bright)
        return result

    def receptive_field(self) -> int:
        """One-sided extent in pixels of the second step: 60; the curve depends on all of the picture."""
        return 60


def deduce_config(shapes: Shapes) -> LHDRConfig:
    """Read the width off a tensor's shape.

    Raises:
        CheckpointError: the key is missing without which it is no LHDR.
    """
    return LHDRConfig(shapes.width("msnet.decompose.conv_h.weight"))


L_HDR = Architecture(
    name="lhdr",
    title="LHDR",
    config=LHDRConfig,
    network=LHDR,
    deduce=deduce_config,
    presets=PRESETS,
    size_multiple=4,
    losses={"coded_l1": 1.0},
    published=Published("MPL-2.0", "github.com/AndreGuo/LHDR (params.pth)"),
)
