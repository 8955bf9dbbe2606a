"""LSN, the luminance segmented network of HDRTVDM (Guo et al., "Learning a Practical SDR-to-HDRTV Up-conversion using
New Dataset and Degradation Models", CVPR 2023).

The picture goes through three branches whose results are added: a curve of each pixel that the picture as a whole
decides on (mid), and two small U-Nets of attention over channels (Restormer's blocks) that see its bright and its dark
part. Module names are those of the public weights. Of those there are two forms, which differ in what the U-Nets see
and in their feed-forward layers' width: that of the publication (2023), and that of the weights of 2024.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dcdr_deploy.models.architecture import Architecture, HdrNetwork, Published
from dcdr_deploy.models.blocks import LEAKY_SLOPE
from dcdr_deploy.models.conditioned import Modulated
from dcdr_deploy.models.config import NetworkConfig
from dcdr_deploy.models.hdrunet import down3x3
from dcdr_deploy.models.shapes import Shapes

PRIOR_SCALE = 8
"""The curve is decided on by the picture at an eighth of its size."""

CONDITION_GROUPS = 4
HEADS = (1, 2, 4)
"""Heads of attention at full, half and quarter size."""

THRESHOLD = 0.05
"""Of the form of 2023: code values within this of either end are bright or dark, each channel for itself."""

LUMINANCE = (0.2627, 0.6780, 0.0593)
"""Weights of R, G and B in the luminance of the form of 2024 (ITU-R BT.2020)."""

FULLY_BRIGHT = FULLY_DARK = 0.7611
"""Of the form of 2024: from this luminance on a pixel counts as bright in full, up to it as dark in full."""


@dataclass(frozen=True)
class LSNConfig(NetworkConfig):
    """Configuration of :class:`LSN`; the defaults are those of the public weights of 2024.

    Attributes:
        width: feature channels of the mid branch, twice those of the U-Nets at full size.
        feed_forward: hidden channels of the feed-forward layers, as a multiple of half the block's own: 4 in the form
            of 2024, whose U-Nets see the picture weighed by its luminance, 1 in that of 2023, whose U-Nets see code
            values near the ends.
        output: see :class:`NetworkConfig`.
    """

    width: int = 32
    feed_forward: int = 4
    output: str = field(default="pq-bt2020", kw_only=True)

    def __post_init__(self) -> None:
        if self.width < 1 or self.width % 8 or self.feed_forward not in (1, 4):
            raise ValueError(f"the width must be a multiple of 8 and feed_forward 1 or 4: {self}")

    @property
    def by_luminance(self) -> bool:
        """Whether the U-Nets see the picture weighed by its luminance."""
        return self.feed_forward == 4


PRESETS: dict[str, LSNConfig] = {"lsn": LSNConfig(output="pq-bt2020:8")}
"""Named configurations of LSN: ``lsn`` has 401,741 parameters."""


class PictureCondition(nn.Module):
    """A small picture to a few numbers: three convolutions that halve it, and the mean."""

    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        self.conv1 = down3x3(3, half)
        self.conv2 = nn.Conv2d(half, half, 3, 2, 1, groups=CONDITION_GROUPS)
        self.conv3 = down3x3(half, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, 3, h, w) to (N, width)."""
        for layer in (self.conv1, self.conv2, self.conv3):
            x = F.leaky_relu(layer(x), LEAKY_SLOPE)
        return x.mean((2, 3))


class ChannelNorm(nn.Module):
    """Layer normalisation over the channels of each pixel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        normed: Tensor = self.body(x.movedim(1, -1))
        return normed.movedim(-1, 1)


class ChannelAttention(nn.Module):
    """Attention between channels over all pixels (Restormer's transposed attention)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.qkv = nn.Conv2d(width, 3 * width, 1, bias=False)
        self.qkv_dwconv = nn.Conv2d(3 * width, 3 * width, 3, padding=1, groups=3 * width, bias=False)
        self.project_out = nn.Conv2d(width, width, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        each = [part.unflatten(1, (self.heads, -1)).flatten(3) for part in self.qkv_dwconv(self.qkv(x)).chunk(3, 1)]
        query, key = (F.normalize(part, dim=-1) for part in each[:2])
        weights = ((query @ key.transpose(-2, -1)) * self.temperature).softmax(-1)
        out = (weights @ each[2]).reshape(x.shape)
        result: Tensor = self.project_out(out)
        return result


class GatedFeedForward(nn.Module):
    """Two depthwise 3x3 convolutions, one gating the other."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.project_in = nn.Conv2d(width, 2 * hidden, 1, bias=False)
        self.dwconv = nn.Conv2d(2 * hidden, 2 * hidden, 3, padding=1, groups=2 * hidden, bias=False)
        self.project_out = nn.Conv2d(hidden, width, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        gate, value = self.dwconv(self.project_in(x)).chunk(2, 1)
        result: Tensor = self.project_out(F.gelu(gate) * value)
        return result


class AttentionBlock(nn.Module):
    """Attention and feed-forward layers, each on normalised features and added to its input."""

    def __init__(self, width: int, heads: int, feed_forward: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = ChannelNorm(width), ChannelNorm(width)
        self.attn = ChannelAttention(width, heads)
        self.ffn = GatedFeedForward(width, feed_forward * width // 2)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        x = x + self.attn(self.norm1(x))
        out: Tensor = x + self.ffn(self.norm2(x))
        return out


class Resampler(nn.Module):
    """A 3x3 convolution and a pixel shuffle or unshuffle by 2, under the name ``body``."""

    def __init__(self, channels_in: int, channels_out: int, shuffle: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False), shuffle)

    def forward(self, x: Tensor) -> Tensor:
        """Map features to half or twice the height and width."""
        out: Tensor = self.body(x)
        return out


class PatchEmbedding(nn.Module):
    """The first convolution, under the name ``proj``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, 3, H, W) to (N, width, H, W)."""
        out: Tensor = self.proj(x)
        return out


class AttentionUNet(nn.Module):
    """Restormer with one block a place and three scales."""

    def __init__(self, width: int, feed_forward: int) -> None:
        super().__init__()
        n = width

        def block(channels: int, heads: int) -> nn.Sequential:
            return nn.Sequential(AttentionBlock(channels, heads, feed_forward))

        full, half, quarter = HEADS
        self.patch_embed = PatchEmbedding(n)
        self.encoder_level1 = block(n, full)
        self.down1_2 = Resampler(n, n // 2, nn.PixelUnshuffle(2))
        self.encoder_level2 = block(2 * n, half)
        self.down2_3 = Resampler(2 * n, n, nn.PixelUnshuffle(2))
        self.latent = block(4 * n, quarter)
        self.up3_2 = Resampler(4 * n, 8 * n, nn.PixelShuffle(2))
        self.reduce_chan_level2 = nn.Conv2d(4 * n, 2 * n, 1, bias=False)
        self.decoder_level2 = block(2 * n, half)
        self.up2_1 = Resampler(2 * n, 4 * n, nn.PixelShuffle(2))
        self.decoder_level1 = block(2 * n, full)
        self.output = nn.Conv2d(2 * n, 3, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, 3, H, W) to the same shape; H and W multiples of 4."""
        full = self.encoder_level1(self.patch_embed(x))
        half = self.encoder_level2(self.down1_2(full))
        out = self.up3_2(self.latent(self.down2_3(half)))
        out = self.decoder_level2(self.reduce_chan_level2(torch.cat((out, half), 1)))
        out = self.decoder_level1(torch.cat((self.up2_1(out), full), 1))
        result: Tensor = self.output(out)
        return result


class LSN(HdrNetwork):
    """LSN: mid(I) + bright(bright part of I) + dark(dark part of I).

    Input (N, 3, H, W): SDR in [0, 1]; H and W multiples of 8. Output (N, 3, H, W): linear light.
    """

    config: LSNConfig
    sees_whole_picture = True

    def __init__(self, config: LSNConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or LSNConfig()
        n = config.width
        self.mid_branch = Modulated((3, n, 2 * n, 2 * n, n, 3), PictureCondition(n), n)
        self.bright_branch, self.dark_branch = (AttentionUNet(n // 2, config.feed_forward) for _ in range(2))

    def layers(self, image: Tensor) -> Tensor:
        """Map SDR (N, 3, H, W) in [0, 1] to coded HDR (N, 3, H, W)."""
        bright, dark = (weighed_parts if self.config.by_luminance else clipped_parts)(image)
        middle = self.mid_branch(image, F.avg_pool2d(image, PRIOR_SCALE))
        result: Tensor = middle + self.bright_branch(bright) + self.dark_branch(dark)
        return result

    def receptive_field(self) -> int:
        """One-sided extent in pixels of the U-Nets' convolutions: 34; attention depends on all of the picture."""
        return 34


def weighed_parts(image: Tensor) -> tuple[Tensor, Tensor]:
    """The picture (N, 3, H, W) weighed by how bright and by how dark each pixel is (form of 2024)."""
    red, green, blue = (weight * channel for weight, channel in zip(LUMINANCE, image.split(1, 1), strict=True))
    luminance = red + green + blue
    bright = (luminance / FULLY_BRIGHT).clamp(0, 1)
    dark = ((1 - luminance) / (1 - FULLY_DARK)).clamp(0, 1)
    return image * bright, image * dark


def clipped_parts(image: Tensor) -> tuple[Tensor, Tensor]:
    """How near each code value of (N, 3, H, W) is to 1 and to 0, from 0 to 1 (form of 2023)."""
    return ((image - (1 - THRESHOLD)) / THRESHOLD).clamp(0, 1), ((THRESHOLD - image) / THRESHOLD).clamp(0, 1)


def deduce_config(shapes: Shapes) -> LSNConfig:
    """Read width and form off the tensors' shapes.

    Raises:
        CheckpointError: keys are missing without which it is no LSN.
    """
    embedded = shapes.width("bright_branch.patch_embed.proj.weight")
    hidden = shapes.width("bright_branch.encoder_level1.0.ffn.project_in.weight") // 2
    return LSNConfig(shapes.width("mid_branch.conv1.weight"), 4 if hidden > embedded else 1)


LSN_NET = Architecture(
    name="lsn",
    title="LSN of HDRTVDM",
    config=LSNConfig,
    network=LSN,
    deduce=deduce_config,
    presets=PRESETS,
    size_multiple=8,
    losses={"coded_l1": 1.0},
    unseen={"output": "pq-bt2020"},
    published=Published("MPL-2.0", "github.com/AndreGuo/HDRTVDM (method/params*.pth)"),
)
