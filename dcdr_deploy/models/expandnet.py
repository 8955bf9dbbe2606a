"""ExpandNet (Marnerides et al., "ExpandNet: A Deep Convolutional Neural Network for High Dynamic Range Expansion from
Low Dynamic Range Content", Eurographics 2018).

Three branches whose features are put side by side: a local one, a dilated one, and a global one that looks at the
picture reduced to 256 x 256 and gives one value a channel for all pixels. Module names are those of the public weights.

Authors' tool stretches each picture's values to [0, 1] before the network and each result behind it; neither is done
here, so that pictures of one series keep their relation.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dcdr_deploy.models.architecture import Architecture, HdrNetwork, Published
from dcdr_deploy.models.config import NetworkConfig
from dcdr_deploy.models.hdrunet import conv1x1
from dcdr_deploy.models.shapes import Shapes

GLOBAL_SIDE = 256
"""Height and width of what the global branch looks at."""

GLOBAL_HALVINGS = 6
DILATED_LAYERS = 4


@dataclass(frozen=True)
class ExpandNetConfig(NetworkConfig):
    """Configuration of :class:`ExpandNet`; the default is the published network's.

    Attributes:
        width: feature channels of each branch; the local one ends with twice as many.
    """

    width: int = 64

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ValueError(f"the width must be positive: {self}")


PRESETS: dict[str, ExpandNetConfig] = {"expandnet": ExpandNetConfig()}
"""Named configurations of ExpandNet: ``expandnet`` has 456,899 parameters."""


def activated(convolution: nn.Conv2d) -> nn.Sequential:
    """A convolution and SELU."""
    return nn.Sequential(convolution, nn.SELU())


class ExpandNet(HdrNetwork):
    """ExpandNet.

    Input (N, 3, H, W): sRGB-encoded SDR in [0, 1], any size. Output (N, 3, H, W): linear light in [0, 1].
    """

    config: ExpandNetConfig
    sees_whole_picture = True

    def __init__(self, config: ExpandNetConfig | None = None) -> None:
        super().__init__()
        self.config = config or ExpandNetConfig()
        n = self.config.width
        self.local_net = nn.Sequential(
            activated(nn.Conv2d(3, n, 3, padding=1)), activated(nn.Conv2d(n, 2 * n, 3, padding=1))
        )
        dilated = [nn.Conv2d(n if layer else 3, n, 3, padding=2, dilation=2) for layer in range(DILATED_LAYERS)]
        self.mid_net = nn.Sequential(*(activated(layer) for layer in dilated[:-1]), dilated[-1])
        halvings = [nn.Conv2d(n if layer else 3, n, 3, 2, 1) for layer in range(GLOBAL_HALVINGS)]
        rest = GLOBAL_SIDE >> GLOBAL_HALVINGS
        self.glob_net = nn.Sequential(*(activated(layer) for layer in halvings), nn.Conv2d(n, n, rest))
        self.end_net = nn.Sequential(activated(conv1x1(4 * n, n)), conv1x1(n, 3), nn.Sigmoid())

    def layers(self, image: Tensor) -> Tensor:
        """Map SDR (N, 3, H, W) in [0, 1] to HDR (N, 3, H, W) in [0, 1]."""
        small = F.interpolate(image, (GLOBAL_SIDE, GLOBAL_SIDE), mode="bilinear", align_corners=False)
        local = self.local_net(image)
        whole = self.glob_net(small).expand(-1, -1, *local.shape[2:])
        result: Tensor = self.end_net(torch.cat((local, self.mid_net(image), whole), 1))
        return result

    def receptive_field(self) -> int:
        """One-sided extent in pixels of the dilated branch: 8; the global one depends on all of the picture."""
        return 2 * DILATED_LAYERS


def deduce_config(shapes: Shapes) -> ExpandNetConfig:
    """Read the width off a tensor's shape.

    Raises:
        CheckpointError: the key is missing without which it is no ExpandNet.
    """
    return ExpandNetConfig(shapes.width("mid_net.0.0.weight"))


EXPAND_NET = Architecture(
    name="expandnet",
    title="ExpandNet",
    config=ExpandNetConfig,
    network=ExpandNet,
    deduce=deduce_config,
    presets=PRESETS,
    size_multiple=1,
    losses={"coded_l1": 1.0, "cosine": 5.0},
    published=Published("BSD-3-Clause-Clear", "github.com/dmarnerides/hdr-expandnet (weights.pth)"),
)
