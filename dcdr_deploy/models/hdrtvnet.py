"""HDRTVNet (Chen et al., "A New Journey from SDRTV to HDRTV", ICCV 2021).

Three networks in a row, trained one after the other: adaptive global colour mapping (AGCM), a curve of each pixel that
the picture as a whole decides on; local enhancement (LE), a residual network at half size; and highlight generation
(HG), a U-Net whose result is added where the SDR picture clips. Its pictures are video: SDR in BT.709, HDR in PQ and
BT.2020. Names inside ``agcm``, ``le`` and ``hg`` are those of the public checkpoints, which come one a part. Each part
goes on from what the one before gives, and AGCM alone, or with LE, is a network as well.

Where the public code takes HG's mask from what LE gives, this one takes it from the SDR picture, as the publication
says (section 3.3).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dcdr_deploy.models.architecture import Architecture, HdrNetwork, Published
from dcdr_deploy.models.blocks import conv3x3
from dcdr_deploy.models.colour_mapping import CONDITION_WIDTHS, GlobalColourMapping
from dcdr_deploy.models.config import NetworkConfig
from dcdr_deploy.models.hdrunet import conv1x1
from dcdr_deploy.models.shapes import Shapes

HIGHLIGHT = 0.95
"""Code value of the largest channel from which HG's mask rises, up to 1."""


HIGHLIGHT_REACH = 186
"""One-sided extent in pixels of HG: 93 by its convolutions down to 1/32, 93 by its steps up."""


@dataclass(frozen=True)
class HDRTVNetConfig(NetworkConfig):
    """Configuration of :class:`HDRTVNet`; the defaults are the published network's.

    Attributes:
        map_width: feature channels of AGCM's curve.
        condition_width: channels of the first layer that decides on the curve.
        condition: numbers that describe the picture.
        width: feature channels of LE.
        blocks: residual blocks of LE.
        highlight_width: channels of HG at full size; eight times as many at the small ones.
        steps: how many of the three networks there are, AGCM first.
        output: see :class:`NetworkConfig`.
    """

    map_width: int = 64
    condition_width: int = 16
    condition: int = 6
    width: int = 64
    blocks: int = 16
    highlight_width: int = 64
    steps: int = 3
    output: str = field(default="pq-bt2020", kw_only=True)

    def __post_init__(self) -> None:
        widths = (self.map_width, self.condition_width, self.condition, self.width, self.highlight_width)
        if min(widths) < 1 or self.blocks < 0 or self.steps not in (1, 2, 3):
            raise ValueError(f"widths must be positive and steps 1, 2 or 3: {self}")


PRESETS: dict[str, HDRTVNetConfig] = {"hdrtvnet": HDRTVNetConfig(output="pq-bt2020:8")}
"""Named configurations of HDRTVNet: ``hdrtvnet`` has 38,199,310 parameters."""


class ResidualBlock(nn.Module):
    """x + conv2(relu(conv1(x)))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = conv3x3(width, width), conv3x3(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, width, H, W) to the same shape."""
        return x + self.conv2(F.relu(self.conv1(x)))


class LocalEnhancement(nn.Module):
    """LE: a residual network at half size."""

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        self.conv_first = conv3x3(3, width, 2)
        self.recon_trunk = nn.Sequential(*(ResidualBlock(width) for _ in range(blocks)))
        self.upconv = conv3x3(width, 4 * width)
        self.HRconv, self.conv_last = conv3x3(width, width), conv3x3(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Map coded HDR (N, 3, H, W) to the same shape; H and W even."""
        out = self.recon_trunk(F.relu(self.conv_first(x)))
        out = F.relu(F.pixel_shuffle(self.upconv(out), 2))
        result: Tensor = self.conv_last(F.relu(self.HRconv(out)))
        return result


def norm_block(channels_in: int, channels_out: int) -> nn.Sequential:
    """3x3 convolution, batch normalisation, ReLU."""
    return nn.Sequential(conv3x3(channels_in, channels_out), nn.BatchNorm2d(channels_out), nn.ReLU())


def up_block(channels: int) -> nn.Sequential:
    """Twice the size by convolution and pixel shuffle, ReLU."""
    return nn.Sequential(conv3x3(channels, 4 * channels), nn.PixelShuffle(2), nn.ReLU())


class HighlightGeneration(nn.Module):
    """HG: a U-Net of six scales whose result is added where the mask says so."""

    def __init__(self, width: int) -> None:
        super().__init__()
        n = width
        self.conv1, self.conv2 = norm_block(3, n), norm_block(n, 2 * n)
        self.conv3_1, self.conv3_2 = norm_block(2 * n, 4 * n), norm_block(4 * n, 4 * n)
        self.conv4_1, self.conv4_2 = norm_block(4 * n, 8 * n), norm_block(8 * n, 8 * n)
        self.conv5_1, self.conv5_2 = norm_block(8 * n, 8 * n), norm_block(8 * n, 8 * n)
        self.conv_code1, self.conv_code2 = norm_block(8 * n, 8 * n), norm_block(8 * n, 8 * n)
        self.Up_conv1, self.conv6 = up_block(8 * n), conv1x1(16 * n, 8 * n)
        self.Up_conv2, self.conv7 = up_block(8 * n), conv1x1(16 * n, 4 * n)
        self.Up_conv3, self.conv8 = up_block(4 * n), conv1x1(8 * n, 2 * n)
        self.Up_conv4, self.conv9 = up_block(2 * n), conv1x1(4 * n, n)
        self.Up_conv5, self.conv10 = up_block(n), conv1x1(2 * n, 3)
        self.conv_last = conv1x1(6, 3)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Map coded HDR (N, 3, H, W) and a mask (N, 1, H, W) in [0, 1] to coded HDR; H and W multiples of 32."""
        scale1 = self.conv1(x)
        scale2 = self.conv2(F.max_pool2d(scale1, 2))
        scale4 = self.conv3_2(F.max_pool2d(self.conv3_1(scale2), 2))
        scale8 = self.conv4_2(F.max_pool2d(self.conv4_1(scale4), 2))
        scale16 = self.conv5_2(F.max_pool2d(self.conv5_1(scale8), 2))
        out = self.conv_code2(F.max_pool2d(self.conv_code1(scale16), 2))
        out = self.conv6(torch.cat((self.Up_conv1(out), scale16), 1))
        out = self.conv7(torch.cat((self.Up_conv2(out), scale8), 1))
        out = self.conv8(torch.cat((self.Up_conv3(out), scale4), 1))
        out = self.conv9(torch.cat((self.Up_conv4(out), scale2), 1))
        out = self.conv10(torch.cat((self.Up_conv5(out), scale1), 1))
        return x + mask * self.conv_last(torch.cat((out, x), 1))


class HDRTVNet(HdrNetwork):
    """HDRTVNet: AGCM, LE and HG.

    Input (N, 3, H, W): SDR in [0, 1]; H and W multiples of 32. Output (N, 3, H, W): linear light.
    """

    config: HDRTVNetConfig
    sees_whole_picture = True

    def __init__(self, config: HDRTVNetConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or HDRTVNetConfig()
        self.agcm = GlobalColourMapping(config.map_width, config.condition_width, config.condition)
        if config.steps > 1:
            self.le = LocalEnhancement(config.width, config.blocks)
        if config.steps > 2:
            self.hg = HighlightGeneration(config.highlight_width)

    def layers(self, image: Tensor) -> Tensor:
        """Map SDR (N, 3, H, W) in [0, 1] to coded HDR (N, 3, H, W)."""
        out: Tensor = self.agcm(image)
        if self.config.steps > 1:
            out = self.le(out)
        return self.hg(out, highlight_mask(image)) if self.config.steps > 2 else out

    def receptive_field(self) -> int:
        """One-sided extent in pixels of LE and HG; AGCM's numbers depend on all of the picture."""
        local = 6 + 4 * self.config.blocks if self.config.steps > 1 else 0
        return local + HIGHLIGHT_REACH if self.config.steps > 2 else local

    def initial_scale(self, name: str) -> float:
        """LE starts at a tenth, as published."""
        return 0.1 if name.startswith("le.") else 1.0

    def upsamplers(self) -> list[nn.Conv2d]:
        """The convolutions before pixel shuffles by 2."""
        local = [self.le.upconv] if self.config.steps > 1 else []
        ups = [getattr(self.hg, f"Up_conv{number}")[0] for number in range(1, 6)] if self.config.steps > 2 else []
        return [*local, *ups]


def highlight_mask(image: Tensor) -> Tensor:
    """How far a pixel is clipped (section 3.3): 0 up to :data:`HIGHLIGHT` of its largest channel, 1 at the end."""
    return ((image.amax(1, keepdim=True) - HIGHLIGHT) / (1 - HIGHLIGHT)).clamp(0, 1)


def deduce_config(shapes: Shapes) -> HDRTVNetConfig:
    """Read every width and count off the tensors' names and shapes.

    Raises:
        CheckpointError: keys are missing without which it is no HDRTVNet.
    """
    config = HDRTVNetConfig(
        map_width=shapes.width("agcm.conv_first.weight"),
        condition_width=shapes.width("agcm.classifier.model.0.weight"),
        condition=shapes.width(f"agcm.classifier.model.{4 * len(CONDITION_WIDTHS)}.weight"),
        steps=1,
    )
    if shapes.begins("le.") or shapes.begins("hg."):
        width, blocks = shapes.width("le.conv_first.weight"), shapes.count("le.recon_trunk")
        config = replace(config, width=width, blocks=blocks, steps=2)
    if shapes.begins("hg."):
        config = replace(config, highlight_width=shapes.width("hg.conv1.0.weight"), steps=3)
    return config


HDRTV_NET = Architecture(
    name="hdrtvnet",
    title="HDRTVNet",
    config=HDRTVNetConfig,
    network=HDRTVNet,
    deduce=deduce_config,
    presets=PRESETS,
    size_multiple=32,
    losses={"coded_l1": 1.0},
    forms=(HDRTVNetConfig(steps=1), HDRTVNetConfig(steps=2)),
    unseen={"output": "pq-bt2020"},
    parts={"agcm": "AGCM", "le": "LE", "hg": "HG"},
    published=Published("MIT", "github.com/chxy95/HDRTVNet (README); AGCM also in github.com/xiaom233/HDRTVNet-plus"),
)
