"""FHDR (Khan, Khanna and Raman, "FHDR: HDR Image Reconstruction from a Single LDR Image using Feedback Network", 2019).

A feedback block is run several times; each time it sees what it gave the time before, and so does every dilated dense
block inside it. The result of the last time counts. Module names are those of the public checkpoints. The public code
keeps the hidden states from one picture to the next; here each picture starts anew, as the publication has it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dcdr_deploy.models.architecture import Architecture, HdrNetwork, Published
from dcdr_deploy.models.blocks import conv3x3
from dcdr_deploy.models.config import NetworkConfig
from dcdr_deploy.models.encodings import Normalisation
from dcdr_deploy.models.shapes import Shapes

DENSE_LAYERS = 4
BLOCKS = 3


@dataclass(frozen=True)
class FHDRConfig(NetworkConfig):
    """Configuration of :class:`FHDR`; the defaults are the published network's.

    Attributes:
        width: feature channels.
        growth: channels that each dense layer adds.
        iterations: how often the feedback block runs; the publication's best is 4. No tensor shows it. There are public
            weights for one and for two.
        bgr: the layers give blue first, as those of the public weights do, which were trained on pairs of an RGB and a
            BGR picture.
    """

    width: int = 64
    growth: int = 32
    iterations: int = 4
    bgr: bool = False

    def __post_init__(self) -> None:
        if min(self.width, self.growth, self.iterations) < 1:
            raise ValueError(f"widths and iterations must be positive: {self}")


PRESETS: dict[str, FHDRConfig] = {"fhdr": FHDRConfig()}
"""Named configurations of FHDR: ``fhdr`` has 571,267 parameters."""


class DenseLayer(nn.Module):
    """A dilated 3x3 convolution whose result is put beside its input."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, growth, 3, padding=2, dilation=2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C + growth, H, W)."""
        return torch.cat((x, F.relu(self.conv(x))), 1)


class DilatedDenseBlock(nn.Module):
    """Local feedback (section II-B): the block's last result is compressed together with its input."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.dense_layers = nn.Sequential(*(DenseLayer(width + n * growth, growth) for n in range(DENSE_LAYERS)))
        self.compress = nn.Conv2d(2 * width, width, 1)
        self.conv_1x1 = nn.Conv2d(width + DENSE_LAYERS * growth, width, 1, bias=False)

    def forward(self, x: Tensor, hidden: Tensor) -> Tensor:
        """Map features and the last result, both (N, width, H, W), to (N, width, H, W)."""
        result: Tensor = self.conv_1x1(self.dense_layers(self.compress(torch.cat((x, hidden), 1))))
        return result


class FeedbackBlock(nn.Module):
    """Three dense blocks in a row, and global feedback around them."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.compress_in = nn.Conv2d(2 * width, width, 1)
        self.DRDB1, self.DRDB2, self.DRDB3 = (DilatedDenseBlock(width, growth) for _ in range(BLOCKS))
        self.GFF_3x3 = conv3x3(width, width)

    def forward(self, x: Tensor, hidden: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """One iteration.

        Args:
            x: (N, width, H, W).
            hidden: what the block and its dense blocks gave last; empty before the first iteration, when each takes its
                own input for it.

        Returns:
            The block's result, (N, width, H, W), and the next hidden states. Gradients do not pass through those.
        """
        out = self.compress_in(torch.cat((x, hidden[0] if hidden else x), 1))
        states = []
        for number, block in enumerate((self.DRDB1, self.DRDB2, self.DRDB3), 1):
            out = block(out, hidden[number] if hidden else out)
            states.append(out.detach())
        out = F.relu(self.GFF_3x3(out))
        return out, [out.detach(), *states]


class FHDR(HdrNetwork):
    """FHDR.

    Input (N, 3, H, W): sRGB-encoded SDR in [0, 1], any size from 2 x 2 on. Output (N, 3, H, W): linear light in [0, 1].
    """

    config: FHDRConfig
    normalisation = Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))

    def __init__(self, config: FHDRConfig | None = None) -> None:
        super().__init__()
        self.config = config or FHDRConfig()
        width = self.config.width
        self.reflect_pad = nn.ReflectionPad2d(1)
        self.feb1, self.feb2 = nn.Conv2d(3, width, 3), conv3x3(width, width)
        self.feedback_block = FeedbackBlock(width, self.config.growth)
        self.hrb1, self.hrb2 = conv3x3(width, width), nn.Conv2d(width, 3, 3)

    def layers(self, x: Tensor) -> Tensor:
        """Map SDR (N, 3, H, W) in [-1, 1] to HDR (N, 3, H, W) in [0, 1]."""
        first = F.relu(self.feb1(self.reflect_pad(x)))
        features = F.relu(self.feb2(first))
        hidden: list[Tensor] = []
        out = features
        for _ in range(self.config.iterations):
            out, hidden = self.feedback_block(features, hidden)
        out = F.relu(self.hrb1(out + first))
        light = (torch.tanh(self.hrb2(self.reflect_pad(out))) + 1) / 2
        return light.flip(1) if self.config.bgr else light

    def receptive_field(self) -> int:
        """One-sided extent in pixels: 104 for four iterations, each through three dense blocks and a layer."""
        return 4 + self.config.iterations * (BLOCKS * DENSE_LAYERS * 2 + 1)

    def initial_scale(self, name: str) -> float:
        """Ours (the public code starts all weights at zero): four iterations at Kaiming values saturate the end."""
        return 0.6


def deduce_config(shapes: Shapes) -> FHDRConfig:
    """Read the widths off the tensors' shapes.

    Raises:
        CheckpointError: keys are missing without which it is no FHDR.
    """
    growth = shapes.width("feedback_block.DRDB1.dense_layers.0.conv.weight")
    return FHDRConfig(width=shapes.width("feb1.weight"), growth=growth)


FHDR_NET = Architecture(
    name="fhdr",
    title="FHDR",
    config=FHDRConfig,
    network=FHDR,
    deduce=deduce_config,
    presets=PRESETS,
    size_multiple=1,
    losses={"mu5000_l1": 1.0},
    unseen={"iterations": 2, "bgr": True},
    published=Published("BSD-3-Clause", "github.com/mukulkhanna/FHDR (README, of one and of two iterations)"),
)
