"""Ways from a network's result at a working size to light at full size, in torch for scale_candidates.py.

All light here is linear in units of SDR white, (N, 3, H, W) float32. What a network restores at a working size can be
carried over as a *gain* (result over SDR light) or as an *excess* (result minus SDR light). The excess belongs to the
clipped pixels of a cell only, so it is divided by their share there and enlarged by normalised convolution, in which
cells count by a power of that share: edges of a sky take what the sky's inner cells say, and a wire before it takes
nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from dcdr_deploy.imaging.transfer import LUMINANCE_REC709
from dcdr_deploy.run.gain import NEAR_PIXELS

GAIN_FLOOR = 1e-3
LEAST_SHARE = 1e-4
LARGEST_EXCESS = 7.0
"""Of the demo weights: their peak less SDR white."""

FULL_CODE = 254 / 255
"""Where a channel counts as clipped for good; the ramp of :func:`clipping` ends here."""

Size = tuple[int, int]


def srgb_to_linear(x: Tensor) -> Tensor:
    """IEC 61966-2-1, values in [0, 1]."""
    return torch.where(x <= 0.04045, x / 12.92, ((x.clamp_min(0.04045) + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(x: Tensor) -> Tensor:
    """The inverse of :func:`srgb_to_linear`."""
    return torch.where(x <= 0.0031308, x * 12.92, 1.055 * x.clamp_min(0.0031308) ** (1 / 2.4) - 0.055)


@lru_cache(maxsize=128)
def area_matrix(size: int, target: int, device: torch.device) -> Tensor:
    """(target, size): every output is the mean of the input over its part of the axis, fractions of pixels included.

    Kept: pictures of one size need the same ones, and making one takes longer than using it.
    """
    edges = torch.arange(target + 1, dtype=torch.float64) * size / target
    pixel = torch.arange(size, dtype=torch.float64)
    overlap = torch.minimum(edges[1:, None], pixel + 1) - torch.maximum(edges[:-1, None], pixel)
    return (overlap.clamp_min(0) * target / size).float().to(device)


def average_down(x: Tensor, size: Size) -> Tensor:
    """Area average (N, C, H, W) -> (N, C, *size)."""
    if size == (x.shape[-2], x.shape[-1]):
        return x
    rows, columns = (area_matrix(a, b, x.device) for a, b in zip(x.shape[-2:], size, strict=True))
    return rows @ x @ columns.T


def enlarge(x: Tensor, size: Size, mode: str = "bilinear") -> Tensor:
    """Interpolate between pixel centres."""
    return F.interpolate(x, size, mode=mode, align_corners=False)


def clipping(codes: Tensor, begin: float) -> Tensor:
    """How far each channel is clipped: 0 up to code ``begin`` (of 255), 1 from 254 on, smooth between."""
    t = ((codes - begin / 255) / (FULL_CODE - begin / 255)).clamp(0, 1)
    return t * t * (3 - 2 * t)


@dataclass(frozen=True)
class View:
    """One picture: sRGB codes and their light, both (1, 3, H, W), and how deep a pixel lies in a clipped area.

    Attributes:
        depth: (1, 1, H, W) distance to the nearest unclipped pixel in parts of the longer edge.
    """

    codes: Tensor
    light: Tensor
    depth: Tensor

    @property
    def size(self) -> Size:
        """(height, width)."""
        return self.codes.shape[-2], self.codes.shape[-1]


def by_gain(view: View, small: Tensor, result: Tensor, mode: str) -> Tensor:
    """Gain per channel, enlarged and multiplied."""
    gain = (result.clamp_min(0) + GAIN_FLOOR) / (small + GAIN_FLOOR)
    return view.light * enlarge(gain, view.size, mode).clamp_min(0)


def by_guided_gain(view: View, small: Tensor, result: Tensor, radius: int = 2, epsilon: float = 4e-3) -> Tensor:
    """As :func:`by_gain`, the logarithm enlarged by a guided filter (He, Sun, Tang 2013) led by SDR luminance codes."""
    weights = small.new_tensor(LUMINANCE_REC709)[None, :, None, None]

    def mean(x: Tensor) -> Tensor:
        padded = F.pad(x, [radius] * 4, mode="replicate")
        return F.avg_pool2d(padded, 2 * radius + 1, 1)

    guide = linear_to_srgb((small * weights).sum(1, keepdim=True))
    gain = torch.log2((result.clamp_min(0) + GAIN_FLOOR) / (small + GAIN_FLOOR))
    centre = mean(guide)
    slope = (mean(guide * gain) - centre * mean(gain)) / (mean(guide * guide) - centre * centre + epsilon)
    offset = mean(gain) - slope * centre
    full_guide = linear_to_srgb((view.light * weights).sum(1, keepdim=True))
    return view.light * 2 ** (enlarge(mean(slope), view.size) * full_guide + enlarge(mean(offset), view.size))


def near_clipping(view: View, size: Size) -> Tensor:
    """1 where clipping is near, else 0, enlarged from a working size, (1, 1, H, W): what run/gain.py lets change."""
    hard = (view.codes.amax(1, keepdim=True) >= FULL_CODE - 1e-6).float()
    cell = max(full / part for full, part in zip(view.size, size, strict=True))
    radius = max(1, math.ceil(NEAR_PIXELS / cell))
    cells = (average_down(hard, size) > 0).float()
    return enlarge(F.max_pool2d(cells, 2 * radius + 1, 1, radius), view.size)


@dataclass(frozen=True)
class Cells:
    """What a network found at a working size.

    Attributes:
        excess: light that a fully clipped pixel has above SDR white, (1, 3, h, w), not negative.
        certainty: of each cell, above 0.
    """

    excess: Tensor
    certainty: Tensor

    def enlarged(self, size: Size) -> Tensor:
        """The excess at another size, by normalised convolution."""
        if size == (self.excess.shape[-2], self.excess.shape[-1]):
            return self.excess
        return enlarge(self.excess * self.certainty, size) / enlarge(self.certainty, size)


def mean_of(parts: Sequence[tuple[Cells, float]]) -> Cells:
    """The mean of several working sizes' gains in stops, on the grid of the first, which is the finest."""
    finest = parts[0][0]
    size = finest.excess.shape[-2], finest.excess.shape[-1]
    stops = torch.zeros_like(finest.excess)
    for cells, weight in parts:
        stops = stops + weight * torch.log2(1 + cells.enlarged(size))
    return Cells(torch.exp2(stops) - 1, finest.certainty)


def reconciled(finer: Cells, coarser: Cells, lower_share: float) -> Cells:
    """Two working sizes' gains in stops, the lower counted for a share, on the grid of the finer."""
    size = finer.excess.shape[-2], finer.excess.shape[-1]
    one, other = (torch.log2(1 + cells.enlarged(size)) for cells in (finer, coarser))
    stops = lower_share * torch.minimum(one, other) + (1 - lower_share) * torch.maximum(one, other)
    return Cells(torch.exp2(stops) - 1, finer.certainty)


@dataclass(frozen=True)
class Excess:
    """Excess on clipped channels; see the module's text.

    Attributes:
        begin: code from which a channel counts as partly clipped.
        power: of the share of clipped pixels, as the certainty of a cell.
        floor: least share that the excess of a cell is divided by; keeps errors of the network small.
        pixels: all channels of a pixel are as clipped as the most clipped one; else each by itself.
    """

    begin: float = 245
    power: float = 2
    floor: float = 0.1
    pixels: bool = True

    def weights(self, view: View) -> Tensor:
        """How far each channel is clipped, (1, 3, H, W)."""
        clipped = clipping(view.codes, self.begin)
        return clipped.amax(1, keepdim=True).expand_as(clipped) if self.pixels else clipped

    def cells(self, view: View, small: Tensor, result: Tensor) -> Cells:
        """What the network found at a working size."""
        share = average_down(self.weights(view), (small.shape[-2], small.shape[-1]))
        excess = ((result - small).clamp_min(0) / share.clamp_min(self.floor)).clamp_max(LARGEST_EXCESS)
        return Cells(excess, share.clamp_min(LEAST_SHARE) ** self.power)

    def __call__(self, view: View, small: Tensor, result: Tensor) -> Tensor:
        """Light at full size."""
        return view.light + self.weights(view) * self.cells(view, small, result).enlarged(view.size)


Method = Callable[[View, Tensor, Tensor], Tensor]
