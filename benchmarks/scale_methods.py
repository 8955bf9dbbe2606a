"""Ways from a network's result at a working size to light at full size, in torch for working_scale.py.

All light here is linear in units of SDR white, (N, 3, H, W) float32. What a network restores at a working size can be
carried over as a *gain* (result over SDR light) or as an *excess* (result minus SDR light). The excess belongs to the
clipped pixels of a cell only, so it is divided by their share there and enlarged by normalised convolution, in which
cells count by a power of that share: edges of a sky take what the sky's inner cells say, and a wire before it takes
nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

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
    weights = small.new_tensor([0.2126, 0.7152, 0.0722])[None, :, None, None]

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

METHODS: dict[str, Method] = {
    "gain, bilinear": lambda *given: by_gain(*given, "bilinear"),
    "gain, cubic": lambda *given: by_gain(*given, "bicubic"),
    "gain, guided": by_guided_gain,
    "excess, power 4": Excess(power=4),
    "excess from 200": Excess(begin=200),
    "excess from 230": Excess(begin=230),
    "excess, no floor": Excess(floor=LEAST_SHARE),
    "excess, floor 0.3": Excess(floor=0.3),
    "excess of channels": Excess(pixels=False),
}
NATIVE = 0
"""Stands for a picture's own edge in the lists below."""

Parts = tuple[tuple[int, float], ...]
"""Working edges and the weight of each."""

_BEST = (
    (192, 384),
    (192, 512),
    (128, 768),
    (192, 768),
    (256, 768),
    (384, 768),
    (512, 768),
    (128, NATIVE),
    (192, NATIVE),
    (256, NATIVE),
)
_OTHERS = (
    (128, 384),
    (128, 512),
    (128, 256, 384),
    (128, 256, 512),
    (128, 256, 768),
    (128, 384, 768),
    (192, 384, 768),
    (128, 256, NATIVE),
    (128, 192, 256, 384),
    (128, 192, 256, 384, 512),
    (128, 192, 256, 384, 512, 768),
)
_UNEVEN: tuple[Parts, ...] = (
    ((128, 2 / 3), (512, 1 / 3)),
    ((128, 2 / 3), (768, 1 / 3)),
    ((192, 2 / 3), (768, 1 / 3)),
    ((128, 1 / 3), (768, 2 / 3)),
    ((192, 1 / 3), (768, 2 / 3)),
    ((192, 1 / 4), (NATIVE, 3 / 4)),
)


def _even(edges: Sequence[int]) -> Parts:
    return tuple((edge, 1 / len(edges)) for edge in edges)


def _named(parts: Parts) -> str:
    """Edges, with their weights where these differ."""
    even = len({weight for _, weight in parts}) == 1
    return " and ".join(f"{edge or 'native'}" + ("" if even else f" x {weight:.2g}") for edge, weight in parts)


MAIN = tuple(map(_even, _BEST))
"""Those of :data:`COMBINED` that came out best, which are tried without being asked for."""

COMBINED: dict[str, Parts] = {_named(parts): parts for parts in (*map(_even, (*_BEST, *_OTHERS)), *_UNEVEN)}
"""Several working edges and the weight of each: means of their gains in stops."""

INSIDE = ((192, 384), (128, 512), (192, 512), (192, 768), (256, 768), (192, NATIVE))
"""(coarse, fine): coarse inside large clipped areas, fine near their edges."""

RECEPTIVE_FIELD = 83
"""Pixels that the network sees on each side, with offsets of zero."""


def candidates(
    view: View, small: dict[int, Tensor], results: dict[int, Tensor], every_method: bool
) -> Iterator[tuple[str, Tensor]]:
    """Every way to full size: (name, light). Names begin with the longer working edge.

    Args:
        view: the picture.
        small: its light at each working size, by the longer edge.
        results: the network's light there.
        every_method: try all of :data:`METHODS` at every edge, not only the plain excess, all of :data:`COMBINED`, not
            only :data:`MAIN`, and :data:`INSIDE`.
    """
    native = max(view.size)
    method = Excess()
    weights = method.weights(view)
    found: dict[int, Cells] = {}
    near: dict[int, Tensor] = {}
    for edge, result in results.items():
        found[edge] = method.cells(view, small[edge], result)
        near[edge] = weights * near_clipping(view, (small[edge].shape[-2], small[edge].shape[-1]))
        if edge == native:
            yield "native network", result
            found[NATIVE], near[NATIVE] = found[edge], near[edge]
        name = "native" if edge == native else f"{edge}"
        yield name, view.light + near[edge] * found[edge].enlarged(view.size)
        if every_method and edge != native:
            for name, way in METHODS.items():
                yield f"{edge} {name}", way(view, small[edge], result)
    for name, parts in COMBINED.items():
        # A picture whose own edge is in the list is rated once, as native.
        there = all(edge in found and edge != native for edge, _ in parts)
        if there and (every_method or parts in MAIN):
            finest_first = sorted(parts, key=lambda part: part[0] or native, reverse=True)
            mean = mean_of([(found[edge], weight) for edge, weight in finest_first])
            yield name, view.light + near[finest_first[0][0]] * mean.enlarged(view.size)
    for coarse, fine in INSIDE if every_method else ():
        if coarse in found and fine in found and (fine or native) > coarse:
            both = [torch.log2(1 + found[edge].enlarged(view.size)) for edge in (fine, coarse)]
            # A fine result is right where something unclipped lies within what the network sees there.
            beyond = (view.depth * (fine or native) / RECEPTIVE_FIELD).clamp(0, 1)
            beyond = beyond * beyond * (3 - 2 * beyond)
            for name, share in (("inside", beyond), ("half, and inside", 0.5 + 0.5 * beyond)):
                stops = torch.lerp(*both, share)
                yield f"{fine or 'native'} with {coarse} {name}", view.light + near[fine] * (torch.exp2(stops) - 1)
            least = torch.minimum(*both)
            yield f"{fine or 'native'} or {coarse}, the lower", view.light + near[fine] * (torch.exp2(least) - 1)
