"""KUNet (Wang et al., "KUNet: Imaging Knowledge-Inspired Single HDR Image Reconstruction", IJCAI 2022).

A U-Net of three scales. Knowledge-inspired blocks (KIB) restore by dense residual blocks whose result is scaled and
shifted, as clipping and quantisation are undone; in the skips, a knowledge-inspired connection (KIC) lets through what
agrees with what comes from below. Module names are those of the public checkpoints, weights shared between places as
there: ``recon_trunk2`` runs twice, ``conv_2`` at both ends, ``alpha`` and ``belta`` in all blocks.

Of two public forms the one without supervised heads is the one of 1.1 M parameters; the other has wider maps in
``alpha`` and ``belta`` and four heads, which only its training looks at (a masked loss, section 3.4).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dcdr_deploy.models.architecture import Architecture, HdrNetwork, Published
from dcdr_deploy.models.blocks import conv3x3
from dcdr_deploy.models.config import NetworkConfig
from dcdr_deploy.models.hdrunet import NTIRE_OUTPUT, conv1x1, down3x3
from dcdr_deploy.models.shapes import Shapes

LEAST_SQUARE = 1e-7
"""Least square of a length that is divided by; torch's own 1e-16 is zero in half floats."""

RUNS = (4, 6, 4)
"""How often the dense block of each ``recon_trunk`` runs."""


@dataclass(frozen=True)
class KUNetConfig(NetworkConfig):
    """Configuration of :class:`KUNet`; the defaults are the published network's of 1.1 M parameters.

    Attributes:
        width: feature channels.
        affine_size: edge of the convolutions in ``alpha`` and ``belta``, 1 or 3.
        heads: the supervised heads are there. They do not change the result.
        output: :data:`NTIRE_OUTPUT` for weights trained on NTIRE 2021 and for ours, ``"pq-bt2020"`` for weights trained
            on HDRTV1K; the two are the same network.
    """

    width: int = 64
    affine_size: int = 1
    heads: bool = False
    output: str = field(default=NTIRE_OUTPUT, kw_only=True)

    def __post_init__(self) -> None:
        if self.width < 1 or self.affine_size not in (1, 3):
            raise ValueError(f"the width must be positive and affine_size 1 or 3: {self}")


PRESETS: dict[str, KUNetConfig] = {"kunet": KUNetConfig()}
"""Named configurations of KUNet: ``kunet`` has 1,136,643 parameters."""


class Layer(nn.Module):
    """A convolution under the name ``conv``, with or without a ReLU behind it."""

    def __init__(self, convolution: nn.Conv2d, *, activated: bool = False) -> None:
        super().__init__()
        self.conv, self.activated = convolution, activated

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C', H, W)."""
        out: Tensor = self.conv(x)
        return F.relu(out) if self.activated else out


class AddedLayer(nn.Module):
    """x + relu(conv(x))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = Layer(conv3x3(width, width), activated=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, width, H, W) to the same shape."""
        return x + self.conv(x)


class ResidualDenseBlock(nn.Module):
    """x + conv1x1 of two layers in a row that each add to their input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer = nn.Sequential(AddedLayer(width), AddedLayer(width))
        self.conv1x1 = Layer(conv1x1(width, width))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, width, H, W) to the same shape."""
        return x + self.conv1x1(self.layer(x))


class RepeatedDenseBlock(nn.Module):
    """One dense block run several times, and a convolution of all its results."""

    def __init__(self, width: int, runs: int) -> None:
        super().__init__()
        self.runs = runs
        self.rdb = ResidualDenseBlock(width)
        self.conv1x1 = Layer(conv1x1(runs * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, width, H, W) to the same shape."""
        results = []
        for _ in range(self.runs):
            x = self.rdb(x)
            results.append(x)
        out: Tensor = self.conv1x1(torch.cat(results, 1))
        return out


class RepeatedLayer(nn.Module):
    """x + the same layer twice."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = Layer(conv3x3(width, width), activated=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, width, H, W) to the same shape."""
        return x + self.conv(self.conv(x))


class KnowledgeConnection(nn.Module):
    """KIC: features from above, weighed by how they agree with those from below (cosine over channels)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.tmo = nn.Sequential(*(Layer(conv3x3(width, width), activated=True) for _ in range(2)))
        self.denosing = RepeatedLayer(width)
        self.refin = conv1x1(width, width)

    def forward(self, x: Tensor, guidance: Tensor) -> Tensor:
        """Map two (N, width, H, W) to one of the same shape."""
        out: Tensor = self.refin(cosine(self.tmo(self.denosing(x)), guidance) * x)
        return out


class KUNet(HdrNetwork):
    """KUNet.

    Input (N, 3, H, W): sRGB-encoded SDR in [0, 1]; H and W multiples of 4. Output (N, 3, H, W): linear light.
    """

    config: KUNetConfig

    def __init__(self, config: KUNetConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or KUNetConfig()
        n = config.width
        self.conv_first, self.conv_2, self.conv_last = conv3x3(3, n), conv3x3(n, n), conv3x3(n, 3)
        self.HR_conv1, self.HR_conv2 = conv3x3(n, n), conv3x3(n, n)
        self.down_conv1, self.down_conv2 = down3x3(n, n), down3x3(n, n)
        self.recon_trunk1, self.recon_trunk2, self.recon_trunk3 = (RepeatedDenseBlock(n, runs) for runs in RUNS)
        self.up_conv1, self.up_conv2 = upsampler(n), upsampler(n)
        self.alpha, self.belta = (affine_map(n, config.affine_size) for _ in range(2))
        self.gammma1, self.gammma2, self.gammma3 = (KnowledgeConnection(n) for _ in range(3))
        if config.heads:
            self.up_KIB1, self.up_KIB4 = upsampler(n), upsampler(n)
            self.up_KIB2, self.up_KIB3 = (nn.Sequential(*upsampler(n), *upsampler(n)) for _ in range(2))
            self.restoration1, self.restoration2, self.restoration3, self.restoration4 = (
                conv3x3(n, 3) for _ in range(4)
            )

    def block(self, trunk: nn.Module, x: Tensor) -> Tensor:
        """KIB: trunk(x) scaled and shifted by maps of x, all (N, width, H, W)."""
        out: Tensor = trunk(x) * self.alpha(x) + self.belta(x)
        return out

    def layers(self, image: Tensor) -> Tensor:
        """Map SDR (N, 3, H, W) in [0, 1] to encoded HDR (N, 3, H, W)."""
        full = F.relu(self.HR_conv1(self.conv_2(F.relu(self.conv_first(image)))))
        half = self.block(self.recon_trunk1, F.relu(self.down_conv1(full)))
        quarter = F.relu(self.down_conv2(half))
        out = self.block(self.recon_trunk2, quarter)
        again = self.block(self.recon_trunk2, out)
        # The form with heads adds the second block's input, the other does not.
        out = again + out if self.config.heads else again
        out = out + self.gammma3(quarter, out)
        out = F.relu(self.up_conv1(out))
        out = self.block(self.recon_trunk3, out + self.gammma2(half, out))
        out = F.relu(self.up_conv2(out))
        out = out + self.gammma1(full, out)
        result: Tensor = self.conv_last(F.relu(self.HR_conv2(self.conv_2(out))))
        return result

    def receptive_field(self) -> int:
        """One-sided extent in pixels: 146.

        18 without blocks. A dense block reaches two pixels of its scale a run, and the second one is passed twice.
        """
        outer, inner, _ = RUNS
        return 18 + 2 * (2 * 2 * outer) + 2 * (2 * 4 * inner)

    def initial_scale(self, name: str) -> float:
        """Ours: blocks that run many times and multiply by maps of their input overflow at Kaiming values."""
        return 0.55

    def upsamplers(self) -> list[nn.Conv2d]:
        """The convolutions before pixel shuffles by 2."""
        return [up[0] for up in (self.up_conv1, self.up_conv2) if isinstance(up[0], nn.Conv2d)]


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Cosine of the angle between the channels of two (N, C, H, W) at each pixel, (N, 1, H, W); 0 where one is zero."""
    # Clamped below the root, whose gradient is infinite at zero.
    lengths = [x.square().sum(1, keepdim=True).clamp(min=LEAST_SQUARE).sqrt() for x in (a, b)]
    return (a * b).sum(1, keepdim=True) / (lengths[0] * lengths[1])


def upsampler(width: int) -> nn.Sequential:
    """A convolution and a pixel shuffle by 2."""
    return nn.Sequential(conv3x3(width, 4 * width), nn.PixelShuffle(2))


def affine_map(width: int, size: int) -> nn.Sequential:
    """Two convolutions of this size."""
    return nn.Sequential(*(nn.Conv2d(width, width, size, padding=size // 2) for _ in range(2)))


def deduce_config(shapes: Shapes) -> KUNetConfig:
    """Read width and form off the tensors' names and shapes.

    Raises:
        CheckpointError: keys are missing without which it is no KUNet.
    """
    return KUNetConfig(
        width=shapes.width("conv_first.weight"),
        affine_size=shapes.edge("alpha.0.weight"),
        heads=shapes.has("restoration1."),
    )


KU_NET = Architecture(
    name="kunet",
    title="KUNet",
    config=KUNetConfig,
    network=KUNet,
    deduce=deduce_config,
    presets=PRESETS,
    size_multiple=4,
    losses={"coded_l1": 1.0},
    forms=(KUNetConfig(affine_size=3, heads=True),),
    unseen={"output": NTIRE_OUTPUT},
    published=Published("MIT", "github.com/wanghu178/KUNet (link in its README)"),
)
