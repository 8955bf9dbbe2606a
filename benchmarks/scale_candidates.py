"""Which working sizes working_scale.py tries, and how it puts them together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from scale_methods import (
    LEAST_SHARE,
    Cells,
    Excess,
    Method,
    View,
    by_gain,
    by_guided_gain,
    mean_of,
    near_clipping,
    reconciled,
)
from torch import Tensor

from dcdr_deploy.run.gain import LOWER_SHARE

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


def doubted_name(coarse: int, fine: int, lower_share: float) -> str:
    """The candidate of a pair whose lower gain counts for this share."""
    return f"{coarse} and {fine or 'native'}, the lower x {lower_share:.2g}"


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

DOUBTED = ((192, 768), (256, 768), (384, 768), (192, NATIVE), (256, NATIVE), (384, NATIVE))
"""Pairs of which the lower gain counts more, tried without being asked for."""

LOWER_SHARES = (0.6, LOWER_SHARE, 0.75, 1.0)
"""What it counts there."""

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
    for coarse, fine in DOUBTED:
        if coarse in found and fine in found and native not in (coarse, fine):
            for share in LOWER_SHARES:
                both = reconciled(found[fine], found[coarse], share)
                yield doubted_name(coarse, fine, share), view.light + near[fine] * both.enlarged(view.size)
    for coarse, fine in INSIDE if every_method else ():
        if coarse in found and fine in found and (fine or native) > coarse:
            stops = [torch.log2(1 + found[edge].enlarged(view.size)) for edge in (fine, coarse)]
            # A fine result is right where something unclipped lies within what the network sees there.
            beyond = (view.depth * (fine or native) / RECEPTIVE_FIELD).clamp(0, 1)
            beyond = beyond * beyond * (3 - 2 * beyond)
            for name, share in (("inside", beyond), ("half, and inside", 0.5 + 0.5 * beyond)):
                excess = torch.exp2(torch.lerp(*stops, share)) - 1
                yield f"{fine or 'native'} with {coarse} {name}", view.light + near[fine] * excess
