"""HDRUNet (Chen et al., "HDRUNet: Single Image HDR Reconstruction with Denoising and Dequantization", NTIRE 2021).

The network that DCDR-UNet modifies and is compared with. Module names are those of the public checkpoints, so that
they load as they are. Three parts: a U-Net of residual blocks with SFT layers (base network), a condition network that
steers the SFT layers, and a weighting network whose map multiplies the input; the output is the sum of U-Net and
weighted input. It is trained by the L1 distance of hyperbolic tangents alone (loss ``tanh_l1``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from torch import Tensor, nn
from torch.nn import functional as F

from dcdr_deploy.modelfile.names import SIZE_MULTIPLE
from dcdr_deploy.models.architecture import Architecture, HdrNetwork, Published, RestorationPart, TonePart
from dcdr_deploy.models.blocks import LEAKY_SLOPE, conv3x3
from dcdr_deploy.models.config import NetworkConfig
from dcdr_deploy.models.shapes import Shapes

NTIRE_OUTPUT = "gamma:2.24"
"""Encoding of the NTIRE 2021 challenge's targets, and so of what the layers of the public checkpoints give, on a scale
where 1.0 is the white of the input picture."""


@dataclass(frozen=True)
class HDRUNetConfig(NetworkConfig):
    """Configuration of :class:`HDRUNet`; the defaults are the published network's.

    Attributes:
        width: feature channels of base and weighting network.
        condition_hidden: channels inside the condition network.
        condition_width: channels of the condition maps.
        sft_hidden: channels between the two convolutions of an SFT layer's map.
        blocks: residual blocks in the encoder at x0.5, at x0.25, and in the decoder at x0.5.
        output: ``"linear"`` for weights trained on linear targets, :data:`NTIRE_OUTPUT` for the public ones.
    """

    width: int = 64
    condition_hidden: int = 64
    condition_width: int = 32
    sft_hidden: int = 32
    blocks: tuple[int, int, int] = (2, 8, 2)

    def __post_init__(self) -> None:
        widths = (self.width, self.condition_hidden, self.condition_width, self.sft_hidden)
        if min(widths) < 1 or len(self.blocks) != 3 or min(self.blocks) < 0:
            raise ValueError(f"widths must be positive and blocks three counts: {self}")


PRESETS: dict[str, HDRUNetConfig] = {"hdrunet": HDRUNetConfig()}
"""Named configurations of HDRUNet: ``hdrunet`` has 1,651,494 parameters (published: 1.65 M)."""


def conv1x1(channels_in: int, channels_out: int) -> nn.Conv2d:
    """Convolution of single pixels."""
    return nn.Conv2d(channels_in, channels_out, 1)


def down3x3(channels_in: int, channels_out: int) -> nn.Conv2d:
    """3x3 convolution that halves height and width."""
    return conv3x3(channels_in, channels_out, stride=2)


def alternate(convolutions: list[nn.Conv2d], activation: nn.Module) -> nn.Sequential:
    """Convolutions with an activation between them: the convolutions have the even numbers 0, 2, ..."""
    layers = [layer for convolution in convolutions for layer in (convolution, activation)]
    return nn.Sequential(*layers[:-1])


class PointSFT(nn.Module):
    """SFT layer of single pixels: x (1 + gain(y)) + shift(y), each map two 1x1 convolutions, leaky ReLU between."""

    def __init__(self, config: HDRUNetConfig) -> None:
        super().__init__()
        self.SFT_scale_conv0 = conv1x1(config.condition_width, config.sft_hidden)
        self.SFT_scale_conv1 = conv1x1(config.sft_hidden, config.width)
        self.SFT_shift_conv0 = conv1x1(config.condition_width, config.sft_hidden)
        self.SFT_shift_conv1 = conv1x1(config.sft_hidden, config.width)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Transform features x (N, width, H, W) by a condition map y of the same height and width."""
        gain = self.SFT_scale_conv1(F.leaky_relu(self.SFT_scale_conv0(y), LEAKY_SLOPE))
        shift = self.SFT_shift_conv1(F.leaky_relu(self.SFT_shift_conv0(y), LEAKY_SLOPE))
        return x + gain * x + shift


class SFTResidualBlock(nn.Module):
    """Residual block of the base network: z + conv2(SFT2(relu(conv1(SFT1(z)))))."""

    def __init__(self, config: HDRUNetConfig) -> None:
        super().__init__()
        self.sft1, self.sft2 = PointSFT(config), PointSFT(config)
        self.conv1, self.conv2 = conv3x3(config.width, config.width), conv3x3(config.width, config.width)

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        """Map features z (N, width, H, W) and a condition map y of the same size to (N, width, H, W)."""
        hidden = F.relu(self.conv1(self.sft1(z, y)))
        return z + self.conv2(self.sft2(hidden, y))


class HDRUNet(HdrNetwork):
    """HDRUNet: base(I, condition(I)) + I * weighting(I).

    Input (N, 3, H, W): sRGB-encoded SDR in [0, 1]; H and W multiples of 4. Output (N, 3, H, W): linear light. There is
    no activation at the end, so values may leave [0, 1]; where a gamma encodes the output, negative ones become 0.
    """

    config: HDRUNetConfig

    def __init__(self, config: HDRUNetConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or HDRUNetConfig()
        n, hidden, maps = config.width, config.condition_hidden, config.condition_width
        self.conv_first, self.conv_last = conv3x3(3, n), conv3x3(n, 3)
        self.HR_conv1, self.HR_conv2 = conv3x3(n, n), conv3x3(n, n)
        self.SFT_layer1, self.SFT_layer2 = PointSFT(config), PointSFT(config)
        self.down_conv1, self.down_conv2 = down3x3(n, n), down3x3(n, n)
        self.up_conv1 = nn.Sequential(conv3x3(n, 4 * n), nn.PixelShuffle(2))
        self.up_conv2 = nn.Sequential(conv3x3(n, 4 * n), nn.PixelShuffle(2))
        self.recon_trunk1, self.recon_trunk2, self.recon_trunk3 = (
            nn.ModuleList(SFTResidualBlock(config) for _ in range(count)) for count in config.blocks
        )
        leaky = nn.LeakyReLU(LEAKY_SLOPE)
        self.cond_first = alternate([conv3x3(3, hidden), conv1x1(hidden, hidden), conv1x1(hidden, hidden)], leaky)
        self.CondNet1 = alternate([conv1x1(hidden, hidden), conv1x1(hidden, maps)], leaky)
        self.CondNet2 = alternate([down3x3(hidden, hidden), conv1x1(hidden, maps)], leaky)
        self.CondNet3 = alternate([down3x3(hidden, hidden), down3x3(hidden, maps)], leaky)
        self.mask_est = alternate([conv3x3(3, n), conv3x3(n, n), conv1x1(n, n), conv1x1(n, 3)], nn.ReLU())

    def layers(self, image: Tensor) -> Tensor:
        """Map SDR (N, 3, H, W) in [0, 1] to HDR (N, 3, H, W)."""
        return self.restored(image) + self.weighted_input(image)

    def conditions(self, image: Tensor) -> list[Tensor]:
        """Condition maps of an image (N, 3, H, W), of sizes H x W, H/2 x W/2, H/4 x W/4."""
        features = F.leaky_relu(self.cond_first(image), LEAKY_SLOPE)
        return [self.CondNet1(features), self.CondNet2(features), self.CondNet3(features)]

    def base(self, image: Tensor, conditions: list[Tensor]) -> Tensor:
        """The U-Net: an image (N, 3, H, W) and its condition maps to (N, 3, H, W)."""
        full, half, quarter = conditions
        features1 = F.relu(self.HR_conv1(self.SFT_layer1(F.relu(self.conv_first(image)), full)))
        features2 = F.relu(self.down_conv1(features1))
        for block in self.recon_trunk1:
            features2 = block(features2, half)
        features4 = F.relu(self.down_conv2(features2))
        x = features4
        for block in self.recon_trunk2:
            x = block(x, quarter)
        x = F.relu(self.up_conv1(x + features4)) + features2
        for block in self.recon_trunk3:
            x = block(x, half)
        x = F.relu(self.up_conv2(x)) + features1
        return self.conv_last(F.relu(self.HR_conv2(self.SFT_layer2(x, full))))

    def restored(self, image: Tensor) -> Tensor:
        """What the base network gives for an image, (N, 3, H, W)."""
        return self.base(image, self.conditions(image))

    def weighted_input(self, image: Tensor) -> Tensor:
        """The image times the weighting network's map, (N, 3, H, W)."""
        return image * self.mask_est(image)

    def receptive_field(self) -> int:
        """One-sided extent in pixels: 96 for the published network.

        16 without residual blocks, each of which adds two pixels of its scale.
        """
        encoder, middle, decoder = self.config.blocks
        return 16 + 2 * 2 * (encoder + decoder) + 2 * 4 * middle

    def initial_scale(self, name: str) -> float:
        """Residual branches start at a tenth, as published; so do the SFT maps (ours, as for DCDR-UNet)."""
        return 0.1 if name.endswith((".conv1", ".conv2", ".SFT_scale_conv1", ".SFT_shift_conv1")) else 1.0

    def upsamplers(self) -> list[nn.Conv2d]:
        """The convolutions before pixel shuffles by 2."""
        return [cast(nn.Conv2d, up[0]) for up in (self.up_conv1, self.up_conv2)]

    def tone_part(self) -> TonePart:
        """The weighting network: its map is a gain like that of DCDR-UNet's tone net."""
        layers = [layer for layer in self.mask_est if isinstance(layer, nn.Conv2d)]
        return TonePart(layers, self.weighted_input)

    def restoration_part(self) -> RestorationPart:
        """The end of the base network."""
        plain_sum = self.encoding.is_linear
        return RestorationPart(self.HR_conv2, self.conv_last, self.restored if plain_sum else None)


def deduce_config(shapes: Shapes) -> HDRUNetConfig:
    """Read every width and count off the tensors' names and shapes.

    Raises:
        CheckpointError: keys are missing without which it is no HDRUNet.
    """
    return HDRUNetConfig(
        width=shapes.width("conv_first.weight"),
        condition_hidden=shapes.width("cond_first.0.weight"),
        condition_width=shapes.width("CondNet1.2.weight"),
        sft_hidden=shapes.width("SFT_layer1.SFT_scale_conv0.weight"),
        blocks=(shapes.count("recon_trunk1"), shapes.count("recon_trunk2"), shapes.count("recon_trunk3")),
    )


HDR_UNET = Architecture(
    name="hdrunet",
    title="HDRUNet",
    config=HDRUNetConfig,
    network=HDRUNet,
    deduce=deduce_config,
    presets=PRESETS,
    size_multiple=SIZE_MULTIPLE,
    losses={"tanh_l1": 1.0},
    unseen={"output": NTIRE_OUTPUT},
    published=Published("MIT", "github.com/chxy95/HDRUNet (links in its README)"),
)
