"""HDRTVNet++ (Chen et al., "Towards Efficient SDRTV-to-HDRTV by Learning from Image Formation", 2023).

HDRTVNet's adaptive global colour mapping (AGCM), and behind it, as local enhancement (LE), a U-Net of four scales made
of HDRUNet's residual blocks with SFT layers, whose result is added to AGCM's. Names inside ``AGCM`` and ``LE`` are
those of the public checkpoints: AGCM and LE alone, both trained further together (the ensemble), and the ensemble
trained against a discriminator (HR). The latter two are the same network, and AGCM alone is HDRTVNet's.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor, nn
from torch.nn import functional as F

from dcdr_deploy.models.architecture import Architecture, HdrNetwork, Published
from dcdr_deploy.models.blocks import LEAKY_SLOPE, conv3x3
from dcdr_deploy.models.colour_mapping import CONDITION_WIDTHS, GlobalColourMapping
from dcdr_deploy.models.config import NetworkConfig
from dcdr_deploy.models.hdrunet import HDRUNetConfig, PointSFT, SFTResidualBlock, alternate, conv1x1, down3x3
from dcdr_deploy.models.shapes import Shapes

SCALES = (2, 4, 8, 4, 2)
"""Input pixels per pixel of LE's five rows of blocks."""


@dataclass(frozen=True)
class HDRTVNetPlusConfig(NetworkConfig):
    """Configuration of :class:`HDRTVNetPlus`; the defaults are the published network's.

    Attributes:
        map_width: feature channels of AGCM's curve.
        condition_width: channels of the first layer that decides on the curve.
        condition: numbers that describe the picture.
        width: feature channels of LE; its condition maps and SFT layers have half as many.
        local_condition: channels inside LE's condition network.
        blocks: LE's residual blocks at half, quarter and eighth size, and back at quarter and half.
        weighting: LE multiplies what it is added to by a map of its own; not so in the public weights.
        output: see :class:`NetworkConfig`.
    """

    map_width: int = 64
    condition_width: int = 16
    condition: int = 6
    width: int = 32
    local_condition: int = 64
    blocks: tuple[int, int, int, int, int] = (1, 1, 4, 1, 1)
    weighting: bool = False
    output: str = field(default="pq-bt2020", kw_only=True)

    def __post_init__(self) -> None:
        widths = (self.map_width, self.condition_width, self.condition, self.width // 2, self.local_condition)
        if min(widths) < 1 or len(self.blocks) != len(SCALES) or min(self.blocks) < 0:
            raise ValueError(f"widths must be positive and blocks five counts: {self}")


PRESETS: dict[str, HDRTVNetPlusConfig] = {"hdrtvnet++": HDRTVNetPlusConfig(output="pq-bt2020:8")}
"""Named configurations of HDRTVNet++: ``hdrtvnet++`` has 591,158 parameters."""


class LocalUNet(nn.Module):
    """LE: x + U-Net(x, condition maps of x)."""

    def __init__(self, config: HDRTVNetPlusConfig) -> None:
        super().__init__()
        n, hidden, maps = config.width, config.local_condition, config.width // 2
        like_hdrunet = HDRUNetConfig(width=n, condition_width=maps, sft_hidden=maps)
        self.conv_first, self.conv_last = conv3x3(3, n), conv3x3(n, 3)
        self.HR_conv1, self.HR_conv2 = conv3x3(n, n), conv3x3(n, n)
        self.SFT_layer1, self.SFT_layer2 = PointSFT(like_hdrunet), PointSFT(like_hdrunet)
        self.down_conv1, self.down_conv2, self.down_conv3 = (down3x3(n, n) for _ in range(3))
        self.up_conv1, self.up_conv2, self.up_conv3 = (
            nn.Sequential(conv3x3(n, 4 * n), nn.PixelShuffle(2)) for _ in range(3)
        )
        self.recon_trunk1, self.recon_trunk2, self.recon_trunk3, self.recon_trunk4, self.recon_trunk5 = (
            nn.ModuleList(SFTResidualBlock(like_hdrunet) for _ in range(count)) for count in config.blocks
        )
        leaky = nn.LeakyReLU(LEAKY_SLOPE)
        self.cond_first = alternate([conv3x3(3, hidden), conv1x1(hidden, hidden), conv1x1(hidden, hidden)], leaky)
        self.CondNet1 = alternate([conv1x1(hidden, hidden), conv1x1(hidden, hidden), conv1x1(hidden, maps)], leaky)
        self.CondNet2 = alternate([down3x3(hidden, hidden), conv1x1(hidden, hidden), conv1x1(hidden, maps)], leaky)
        self.CondNet3 = alternate([down3x3(hidden, hidden), down3x3(hidden, hidden), conv1x1(hidden, maps)], leaky)
        self.CondNet4 = alternate([down3x3(hidden, hidden), down3x3(hidden, hidden), down3x3(hidden, maps)], leaky)
        self.weighting = config.weighting
        if config.weighting:
            self.mask_est = alternate([conv3x3(3, n), conv3x3(n, n), conv1x1(n, n), conv1x1(n, 3)], nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        """Map coded HDR (N, 3, H, W) to the same shape; H and W multiples of 8."""
        described = F.leaky_relu(self.cond_first(x), LEAKY_SLOPE)
        full, half, quarter, eighth = (
            network(described) for network in (self.CondNet1, self.CondNet2, self.CondNet3, self.CondNet4)
        )
        features1 = F.relu(self.HR_conv1(self.SFT_layer1(F.relu(self.conv_first(x)), full)))
        features2 = F.relu(self.down_conv1(features1))
        for block in self.recon_trunk1:
            features2 = block(features2, half)
        features4 = F.relu(self.down_conv2(features2))
        for block in self.recon_trunk2:
            features4 = block(features4, quarter)
        features8 = F.relu(self.down_conv3(features4))
        out = features8
        for block in self.recon_trunk3:
            out = block(out, eighth)
        out = F.relu(self.up_conv1(out + features8)) + features4
        for block in self.recon_trunk4:
            out = block(out, quarter)
        out = F.relu(self.up_conv2(out)) + features2
        for block in self.recon_trunk5:
            out = block(out, half)
        out = F.relu(self.up_conv3(out)) + features1
        correction: Tensor = self.conv_last(F.relu(self.HR_conv2(self.SFT_layer2(out, full))))
        return (x * self.mask_est(x) if self.weighting else x) + correction


class HDRTVNetPlus(HdrNetwork):
    """HDRTVNet++: AGCM and LE.

    Input (N, 3, H, W): SDR in [0, 1]; H and W multiples of 8. Output (N, 3, H, W): linear light.
    """

    config: HDRTVNetPlusConfig
    sees_whole_picture = True

    def __init__(self, config: HDRTVNetPlusConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or HDRTVNetPlusConfig()
        self.AGCM = GlobalColourMapping(config.map_width, config.condition_width, config.condition)
        self.LE = LocalUNet(config)

    def layers(self, image: Tensor) -> Tensor:
        """Map SDR (N, 3, H, W) in [0, 1] to coded HDR (N, 3, H, W)."""
        out: Tensor = self.LE(self.AGCM(image))
        return out

    def receptive_field(self) -> int:
        """One-sided extent in pixels of LE, 120 as published; AGCM's numbers depend on all of the picture.

        32 without residual blocks, each of which adds two pixels of its scale.
        """
        return 32 + sum(2 * scale * count for scale, count in zip(SCALES, self.config.blocks, strict=True))

    def initial_scale(self, name: str) -> float:
        """Residual branches start at a tenth, as published; so does what LE adds (ours)."""
        residual = name.endswith((".conv1", ".conv2")) and "recon_trunk" in name
        return 0.1 if residual or name == "LE.conv_last" else 1.0

    def upsamplers(self) -> list[nn.Conv2d]:
        """The convolutions before pixel shuffles by 2."""
        ups = (self.LE.up_conv1, self.LE.up_conv2, self.LE.up_conv3)
        return [layer for up in ups for layer in up if isinstance(layer, nn.Conv2d)]


def deduce_config(shapes: Shapes) -> HDRTVNetPlusConfig:
    """Read every width and count off the tensors' names and shapes.

    Raises:
        CheckpointError: keys are missing without which it is no HDRTVNet++.
    """
    first, second, third, fourth, fifth = (shapes.count(f"LE.recon_trunk{row}") for row in range(1, len(SCALES) + 1))
    return HDRTVNetPlusConfig(
        map_width=shapes.width("AGCM.conv_first.weight"),
        condition_width=shapes.width("AGCM.classifier.model.0.weight"),
        condition=shapes.width(f"AGCM.classifier.model.{4 * len(CONDITION_WIDTHS)}.weight"),
        width=shapes.width("LE.conv_first.weight"),
        local_condition=shapes.width("LE.cond_first.0.weight"),
        blocks=(first, second, third, fourth, fifth),
        weighting=shapes.begins("LE.mask_est."),
    )


HDRTV_NET_PLUS = Architecture(
    name="hdrtvnet++",
    title="HDRTVNet++",
    config=HDRTVNetPlusConfig,
    network=HDRTVNetPlus,
    deduce=deduce_config,
    presets=PRESETS,
    size_multiple=8,
    losses={"coded_l1": 1.0},
    unseen={"output": "pq-bt2020"},
    parts={"AGCM": "AGCM", "LE": "LE"},
    published=Published("MIT", "github.com/xiaom233/HDRTVNet-plus (pretrained_models)"),
)
