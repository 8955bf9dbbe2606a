"""HDRCNN (Eilertsen et al., "HDR image reconstruction from a single exposure using deep CNNs", SIGGRAPH Asia 2017).

A U-Net on VGG16's encoder that predicts the logarithm of light; its skips go over into the logarithmic domain on the
way. The prediction counts where the picture clips, the picture itself elsewhere, and between both are blended
(section 4). The public weights are of TensorFlow and are not read here; names are ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dcdr_deploy.models.architecture import Architecture, HdrNetwork
from dcdr_deploy.models.config import NetworkConfig
from dcdr_deploy.models.encodings import srgb_decode
from dcdr_deploy.models.shapes import Shapes
from dcdr_deploy.models.vgg import VggUNet, highlight_mask

EPSILON = 1 / 255
"""Added to light before its logarithm (section 4.1)."""

LARGEST_LOG = 11.0
"""Log of the most light that is predicted (ours): beyond it half floats, and files, have no numbers."""

BLEND = 0.05
"""Part of the code range over which prediction and picture are blended (section 4, tau = 0.95)."""


def square(codes: Tensor) -> Tensor:
    """The inverse camera curve of the published network: gamma 2."""
    return codes.square()


INVERSES: Mapping[str, Callable[[Tensor], Tensor]] = {"square": square, "srgb": srgb_decode}
"""Inverse camera curves by name."""


@dataclass(frozen=True)
class HDRCNNConfig(NetworkConfig):
    """Configuration of :class:`HDRCNN`; the defaults are the published network's.

    Attributes:
        width: channels at full size.
        inverse: name of :data:`INVERSES`, by which the picture becomes light where it does not clip. No tensor shows
            it. ``"square"`` as published; our preset takes ``"srgb"``, which is what our pictures are encoded by.
        output: light in units of the picture's white.
    """

    width: int = 64
    inverse: str = "square"
    output: str = field(default="white", kw_only=True)

    def __post_init__(self) -> None:
        if self.width < 1 or self.inverse not in INVERSES:
            raise ValueError(f"the width must be positive and inverse one of {', '.join(INVERSES)}: {self}")


PRESETS: dict[str, HDRCNNConfig] = {"hdrcnn": HDRCNNConfig(inverse="srgb", output="white:8")}
"""Named configurations of HDRCNN: ``hdrcnn`` has 29,443,358 parameters."""


class Deconvolution(nn.Module):
    """Twice the size by a transposed 4x4 convolution, batch normalisation, ReLU; starts as bilinear interpolation."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose2d(channels_in, channels_out, 4, 2, 1)
        self.norm = nn.BatchNorm2d(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C', 2H, 2W)."""
        return F.relu(self.norm(self.conv(x)))

    def interpolate(self) -> None:
        """Set the weights to those of bilinear interpolation of as many channels as there are on both sides."""
        taps = torch.tensor([0.25, 0.75, 0.75, 0.25], device=self.conv.weight.device)
        with torch.no_grad():
            self.conv.weight.zero_()
            for channel in range(min(self.conv.in_channels, self.conv.out_channels)):
                self.conv.weight[channel, channel] = taps[:, None] * taps
            if self.conv.bias is not None:
                self.conv.bias.zero_()


def log_light(codes: Tensor) -> Tensor:
    """Encoder to decoder (section 4.1): log of the light that a code value stands for."""
    return torch.log(codes.square() + EPSILON)


class HDRCNN(HdrNetwork):
    """HDRCNN.

    Input (N, 3, H, W): SDR in [0, 1]; H and W multiples of 32. Output (N, 3, H, W): linear light.
    """

    config: HDRCNNConfig

    def __init__(self, config: HDRCNNConfig | None = None) -> None:
        super().__init__()
        self.config = config or HDRCNNConfig()
        self.unet = VggUNet(self.config.width, Deconvolution, log_light)

    def layers(self, image: Tensor) -> Tensor:
        """Map SDR (N, 3, H, W) in [0, 1] to light (N, 3, H, W) in units of the picture's white."""
        predicted = torch.exp(self.unet(image).clamp(max=LARGEST_LOG)) - EPSILON
        mask = highlight_mask(image, BLEND)
        return (1 - mask) * INVERSES[self.config.inverse](image) + mask * predicted

    def receptive_field(self) -> int:
        """One-sided extent in pixels."""
        return self.unet.receptive_field()

    def settle_start(self) -> None:
        """Steps up interpolate and fusions add, as published."""
        self.unet.settle_start()
        for module in self.modules():
            if isinstance(module, Deconvolution):
                module.interpolate()


def deduce_config(shapes: Shapes) -> HDRCNNConfig:
    """Read the width off the tensors' shapes.

    Raises:
        CheckpointError: keys are missing without which it is no HDRCNN.
    """
    return HDRCNNConfig(width=shapes.width("unet.encoder.0.0.weight"))


HDR_CNN = Architecture(
    name="hdrcnn",
    title="HDRCNN",
    config=HDRCNNConfig,
    network=HDRCNN,
    deduce=deduce_config,
    presets=PRESETS,
    size_multiple=32,
    losses={"illumination_reflectance": 1.0},
    unseen={"inverse": "square", "output": "white"},
)
