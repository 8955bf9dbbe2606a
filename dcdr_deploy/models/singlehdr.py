"""SingleHDR (Liu et al., "Single-Image HDR Reconstruction by Learning to Reverse the Camera Pipeline", CVPR 2020).

The camera's steps are undone one by one: dequantisation (a U-Net), linearisation (a network that looks at the picture
as a whole and picks an inverse camera curve), hallucination of what clipped (a U-Net on VGG16's encoder), and a
refinement of the whole (a U-Net). The public weights are of TensorFlow and are not read here; names are ours.

The curve is a mean curve and a weighted sum of basis curves. The publication's are principal components of measured
inverse curves (Grossberg and Nayar's EMoR), which do not travel with this tool. Ours are the inverse of sRGB and sines,
which also vanish at both ends and also begin with the slowest change; there are as many.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dcdr_deploy.models.architecture import Architecture, HdrNetwork
from dcdr_deploy.models.blocks import LEAKY_SLOPE, conv3x3
from dcdr_deploy.models.config import NetworkConfig
from dcdr_deploy.models.encodings import srgb_decode
from dcdr_deploy.models.shapes import Shapes
from dcdr_deploy.models.vgg import VggUNet, highlight_mask

BASIS_CURVES = 11
SAMPLES = 1024
"""Points of an inverse curve (section 3.2)."""

HISTOGRAMS = (4, 8, 16)
"""Bins less one of the soft histograms that the linearisation looks at."""

BLEND = 0.12
"""Part of the light's range over which hallucination sets in."""


@dataclass(frozen=True)
class SingleHDRConfig(NetworkConfig):
    """Configuration of :class:`SingleHDR`; the defaults are the published network's.

    Attributes:
        width: channels at full size of dequantisation and refinement.
        curve_width: channels of the first layers of the linearisation.
        highlight_width: channels at full size of the hallucination.
        output: light in units of the picture's white.
    """

    width: int = 16
    curve_width: int = 64
    highlight_width: int = 64
    output: str = field(default="white", kw_only=True)

    def __post_init__(self) -> None:
        if min(self.width, self.curve_width, self.highlight_width) < 1:
            raise ValueError(f"widths must be positive: {self}")


PRESETS: dict[str, SingleHDRConfig] = {"singlehdr": SingleHDRConfig(output="white:8")}
"""Named configurations of SingleHDR: ``singlehdr`` has 29,036,815 parameters."""


def pair(channels_in: int, channels_out: int, size: int) -> nn.Sequential:
    """Two convolutions with leaky ReLUs."""
    first = nn.Conv2d(channels_in, channels_out, size, padding=size // 2)
    second = nn.Conv2d(channels_out, channels_out, size, padding=size // 2)
    return nn.Sequential(first, nn.LeakyReLU(LEAKY_SLOPE), second, nn.LeakyReLU(LEAKY_SLOPE))


class PlainUNet(nn.Module):
    """A U-Net of five scales (figure 3): averages down, bilinear interpolation up.

    Args:
        channels_in: of its input.
        width: channels at full size.
        deepest: channels at the smallest size, in units of the width.
    """

    def __init__(self, channels_in: int, width: int, deepest: int) -> None:
        super().__init__()
        widths = [width * factor for factor in (1, 2, 4, 8, deepest)]
        self.sizes = (7, 5, 3, 3, 3)
        before = [channels_in, *widths[:-1]]
        self.down = nn.ModuleList(pair(*each) for each in zip(before, widths, self.sizes, strict=True))
        steps = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.rise = nn.ModuleList(conv3x3(lower, upper) for lower, upper in steps)
        self.fuse = nn.ModuleList(conv3x3(2 * upper, upper) for _, upper in steps)
        self.last = conv3x3(width, 3)

    def receptive_field(self) -> int:
        """One-sided extent in pixels: filters down, filters and interpolation up."""
        scales = [2**number for number in range(len(self.down))]
        down = sum(scale * 2 * (size // 2) for scale, size in zip(scales, self.sizes, strict=True))
        return down + sum((2 + 2) * scale for scale in scales[:-1]) + 1

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W), H and W multiples of 16, to (N, 3, H, W)."""
        skips = []
        for number, block in enumerate(self.down):
            x = block(x if number == 0 else F.avg_pool2d(x, 2))
            skips.append(x)
        for rise, fuse, skip in zip(self.rise, self.fuse, skips[-2::-1], strict=True):
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = F.leaky_relu(rise(x), LEAKY_SLOPE)
            x = F.leaky_relu(fuse(torch.cat((x, skip), 1)), LEAKY_SLOPE)
        out: Tensor = self.last(x)
        return out


class Bottleneck(nn.Module):
    """Residual block of ResNet: 1x1, 3x3 and 1x1 convolutions, each with batch normalisation."""

    def __init__(self, channels_in: int, hidden: int, stride: int = 1) -> None:
        super().__init__()
        out = 4 * hidden
        self.body = nn.Sequential(
            *(nn.Conv2d(channels_in, hidden, 1, stride, bias=False), nn.BatchNorm2d(hidden), nn.ReLU()),
            *(nn.Conv2d(hidden, hidden, 3, 1, 1, bias=False), nn.BatchNorm2d(hidden), nn.ReLU()),
            *(nn.Conv2d(hidden, out, 1, bias=False), nn.BatchNorm2d(out)),
        )
        self.way: nn.Module = nn.Identity()
        if channels_in != out:
            self.way = nn.Sequential(nn.Conv2d(channels_in, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, 4 hidden, H', W')."""
        return F.relu(self.way(x) + self.body(x))


@functools.cache
def _constants() -> dict[str, Tensor]:
    """What :class:`InverseCurve` computes with and does not learn; on the CPU, where making it takes no time."""
    x = torch.linspace(0, 1, SAMPLES, dtype=torch.float64, device="cpu")
    sines = torch.stack([torch.sin(math.pi * number * x) for number in range(1, BASIS_CURVES + 1)])
    edges = torch.tensor([[-1.0, -2, -1], [0, 0, 0], [1, 2, 1]], device="cpu")
    bins = [(step / bins, float(bins)) for bins in HISTOGRAMS for step in range(bins + 1)]
    centres, densities = torch.tensor(bins, device="cpu").T.reshape(2, -1, 1, 1, 1)
    return {
        "mean_curve": srgb_decode(x).float(),
        "basis": sines.float(),
        "sobel": torch.stack([edges, edges.T]).repeat(3, 1, 1)[:, None],
        "centres": centres,
        "densities": densities,
    }


class InverseCurve(nn.Module):
    """Linearisation: the picture, its edges and soft histograms to the samples of one curve of all channels."""

    mean_curve: Tensor
    basis: Tensor
    sobel: Tensor
    centres: Tensor
    densities: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        planes = 3 + 6 + 3 * sum(bins + 1 for bins in HISTOGRAMS)
        self.first, self.first_norm = nn.Conv2d(planes, width, 7, 2, 3), nn.BatchNorm2d(width)
        self.blocks = nn.Sequential(
            Bottleneck(width, width),
            Bottleneck(4 * width, width),
            Bottleneck(4 * width, width),
            Bottleneck(4 * width, 2 * width, 2),
            Bottleneck(8 * width, 2 * width),
        )
        self.weights = nn.Linear(8 * width, BASIS_CURVES)
        # Not part of state dicts: nothing in here is learnt.
        for name, values in _constants().items():
            self.register_buffer(name, values.to(torch.get_default_device()), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Map SDR (N, 3, H, W) in [0, 1] to rising curves (N, :data:`SAMPLES`) from 0 to 1."""
        edges = F.conv2d(F.pad(image, (1, 1, 1, 1), mode="reflect"), self.sobel, groups=3)
        # Each bin's centre and its distance to the next, for planes (N, bins, 3, H, W).
        distances = (image[:, None] - self.centres).abs() * self.densities
        planes = torch.cat((image, edges, F.relu(1 - distances).flatten(1, 2)), 1)
        x = F.relu(self.first_norm(self.first(planes)))
        features = self.blocks(F.max_pool2d(x, 3, 2, 1)).mean((2, 3))
        return rising(self.mean_curve + self.weights(features) @ self.basis)


def rising(curve: Tensor) -> Tensor:
    """Curves (N, samples) made monotonous (section 3.2): steps lifted to 0 at least, and scaled to end at 1."""
    steps = curve[:, 1:] - curve[:, :-1]
    steps = steps + F.relu(-steps.amin(1, keepdim=True))
    steps = steps / steps.sum(1, keepdim=True)
    return F.pad(steps.cumsum(1), (1, 0))


def apply_curve(image: Tensor, curve: Tensor) -> Tensor:
    """Codes (N, 3, H, W) in [0, 1] through curves (N, samples), with straight lines between the samples."""
    position = (image * (SAMPLES - 1)).flatten(1)
    below = position.floor().clamp(0, SAMPLES - 2)
    share = position - below
    index = below.long()
    light = (1 - share) * curve.gather(1, index) + share * curve.gather(1, index + 1)
    return light.reshape(image.shape)


class Rise(nn.Module):
    """Twice the size by repetition, a 3x3 convolution, ReLU, batch normalisation, ReLU."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(channels_in, channels_out, 3), nn.BatchNorm2d(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C', 2H, 2W)."""
        x = F.interpolate(x, scale_factor=2, mode="nearest")
        return F.relu(self.norm(F.relu(self.conv(F.pad(x, (1, 1, 1, 1), mode="reflect")))))


def unchanged(codes: Tensor) -> Tensor:
    """Skips of the hallucination stay as they are."""
    return codes


class SingleHDR(HdrNetwork):
    """SingleHDR.

    Input (N, 3, H, W): SDR in [0, 1]; H and W multiples of 32. Output (N, 3, H, W): linear light.
    """

    config: SingleHDRConfig
    sees_whole_picture = True

    def __init__(self, config: SingleHDRConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or SingleHDRConfig()
        self.dequantisation = PlainUNet(3, config.width, 16)
        self.linearisation = InverseCurve(config.curve_width)
        self.hallucination = VggUNet(config.highlight_width, Rise, unchanged)
        self.refinement = PlainUNet(9, config.width, 8)

    def layers(self, image: Tensor) -> Tensor:
        """Map SDR (N, 3, H, W) in [0, 1] to light (N, 3, H, W) in units of the picture's white."""
        codes = (image + torch.tanh(self.dequantisation(image))).clamp(0, 1)
        light = apply_curve(codes, self.linearisation(codes))
        extended = light + highlight_mask(light, BLEND) * F.relu(self.hallucination(light))
        return F.relu(extended + self.refinement(torch.cat((extended, light, codes), 1)))

    def receptive_field(self) -> int:
        """One-sided extent in pixels of the U-Nets; the curve depends on all of the picture."""
        return 2 * self.dequantisation.receptive_field() + self.hallucination.receptive_field()

    def initial_scale(self, name: str) -> float:
        """Ours: what is added to picture and light starts small, so that a run begins at the mean curve's light."""
        return 0.01 if name in ("dequantisation.last", "refinement.last") else 1.0

    def settle_start(self) -> None:
        """Fusions add, as published; the curve starts at the mean one (ours)."""
        self.hallucination.settle_start()
        with torch.no_grad():
            self.linearisation.weights.weight.zero_()
            self.linearisation.weights.bias.zero_()


def deduce_config(shapes: Shapes) -> SingleHDRConfig:
    """Read every width off the tensors' shapes.

    Raises:
        CheckpointError: keys are missing without which it is no SingleHDR.
    """
    return SingleHDRConfig(
        width=shapes.width("dequantisation.down.0.0.weight"),
        curve_width=shapes.width("linearisation.first.weight"),
        highlight_width=shapes.width("hallucination.encoder.0.0.weight"),
    )


SINGLE_HDR = Architecture(
    name="singlehdr",
    title="SingleHDR",
    config=SingleHDRConfig,
    network=SingleHDR,
    deduce=deduce_config,
    presets=PRESETS,
    size_multiple=32,
    losses={"mu_l1": 1.0, "mu_variation": 0.1},
    unseen={"output": "white"},
)
