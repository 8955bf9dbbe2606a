"""What may be tried in the place of the table's measures, by kind of kernel: data, and what of it a GPU can hold.

A multiprocessor has 64 K registers everywhere, and very different shared memory: a block may have 64 KiB on Turing, 99
on RTX 30, 40 and 50, 163 on an A100, 227 on an H100. So what differs is above all whether the weights are in shared
memory or are read through L1, how large a tile is, how many warps share it, and how many blocks there are at a time.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from functools import cache

from dcdr_deploy.engines.cuda.convolution_table import SHARED_MEMORY, Shape, Variant
from dcdr_deploy.engines.cuda.measures import BlockMeasures, Measures, by_table

Candidate = Variant | BlockMeasures

BLOCK = "block"
"""Kind of the deformable blocks' kernels; for the others see
:func:`dcdr_deploy.engines.cuda.convolution_table.variants`."""

JOINED = "64_64_3"
"""Kind of two convolutions in one launch."""

CONVOLUTIONS: dict[str, tuple[Variant, ...]] = {
    "64_64": (
        Variant(Shape(64, 8, warps_x=2, warps_n=1)),
        Variant(Shape(64, 8, warps_x=2, warps_n=1, stages=1)),
        Variant(Shape(64, 8, rows=3, warps_x=2, warps_n=1)),
        Variant(Shape(64, 8, warps_y=3, warps_x=2)),
        Variant(Shape(64, 8, warps_y=2, stages=1)),
        Variant(Shape(64, 8, rows=2, stages=1)),
        Variant(Shape(64, 8, warps_y=2, stages=1), 2),
        Variant(Shape(64, 8, rows=2, stages=1), 2),
        Variant(Shape(64, 8, stages=1, resident=0)),
        Variant(Shape(64, 8, warps_x=2, warps_n=1, stages=1, resident=0)),
        Variant(Shape(64, 8, rows=2, resident=0), 2),
        Variant(Shape(64, 8, rows=2, stages=1, resident=0), 2),
        Variant(Shape(64, 8, warps_y=2, stages=1, resident=0), 3),
        Variant(Shape(64, 8, rows=3, stages=1, resident=0), 2),
        Variant(Shape(64, 8, rows=3, stages=1)),
        Variant(Shape(64, 8, rows=3, warps_n=1, stages=1, wgmma=1, workers=3)),
        Variant(Shape(64, 8, rows=2, warps_n=1, stages=1, wgmma=1, workers=4)),
        Variant(Shape(64, 8, warps_n=1, stages=1, wgmma=1, workers=2)),
        Variant(Shape(64, 8, warps_x=2, warps_n=1, wgmma=1)),
    ),
    "64_256": (
        Variant(Shape(64, 8, stages=1, sft=2, shuffle=1)),
        Variant(Shape(64, 8, sft=1, shuffle=1)),
        Variant(Shape(64, 8, rows=2, warps_y=6, sft=2, shuffle=1)),
        Variant(Shape(64, 8, stages=1, sft=1, shuffle=1)),
        Variant(Shape(64, 8, stages=1, resident=0, sft=1, shuffle=1)),
        Variant(Shape(64, 8, rows=2, stages=1, resident=0, sft=1, shuffle=1)),
        Variant(Shape(64, 8, rows=2, stages=1, resident=0, sft=1, shuffle=1), 2),
        Variant(Shape(64, 8, rows=2, stages=1, resident=0, sft=2, shuffle=1)),
        Variant(Shape(64, 8, rows=2, stages=1, resident=0, sft=2, shuffle=1), 2),
        Variant(Shape(64, 8, rows=2, warps_y=2, stages=1, sft=1, shuffle=1)),
        Variant(Shape(64, 8, rows=2, warps_y=6, stages=1, resident=0, sft=1, shuffle=1)),
        Variant(Shape(64, 8, rows=2, resident=0, sft=1, shuffle=1)),
        Variant(Shape(64, 8, stages=1, resident=0, sft=2, shuffle=1)),
        Variant(Shape(64, 8, rows=2, warps_n=1, stages=1, sft=2, shuffle=1, wgmma=1, workers=3)),
        Variant(Shape(64, 8, rows=3, warps_n=1, stages=1, sft=2, shuffle=1, wgmma=1, workers=2)),
        Variant(Shape(64, 8, rows=2, warps_n=1, sft=2, shuffle=1, wgmma=1, workers=2)),
        Variant(Shape(64, 8, rows=1, warps_n=1, stages=1, sft=2, shuffle=1, wgmma=1, workers=4)),
        Variant(Shape(64, 8, rows=1, warps_n=1, stages=1, sft=2, shuffle=1, wgmma=1, workers=5)),
        Variant(Shape(64, 8, rows=1, warps_n=1, sft=2, shuffle=1, wgmma=1, workers=3)),
    ),
    "4_64_sft": (
        Variant(Shape(4, 8, rows=2, warps_y=2, warps_n=1, sft=2, workers=6)),
        Variant(Shape(4, 8, rows=2, warps_n=1, sft=2), 3),
        Variant(Shape(4, 8, rows=2, warps_n=1, sft=2)),
        Variant(Shape(4, 8, rows=2, warps_n=1, sft=2), 2),
        Variant(Shape(4, 8, rows=2, warps_n=1, stages=1, sft=2, workers=3)),
        Variant(Shape(4, 8, sft=2)),
        Variant(Shape(4, 8, rows=1, warps_n=1, sft=2, workers=4)),
        Variant(Shape(4, 8, rows=1, warps_y=2, warps_n=1, sft=2, workers=8)),
        Variant(Shape(4, 8, rows=2, sft=2), 2),
        Variant(Shape(4, 8, rows=1, warps_n=1, sft=2), 3),
        Variant(Shape(4, 8, rows=1, warps_n=1, sft=2), 4),
        Variant(Shape(4, 8, rows=2, warps_y=2, warps_n=1, sft=2, workers=4)),
    ),
    "32_32_up": (
        Variant(Shape(32, 4, warps_y=2, warps_x=2, warps_n=1, stages=1, upsample=1), 3),
        Variant(Shape(32, 4, warps_n=1, stages=1, upsample=1), 2),
        Variant(Shape(32, 4, warps_x=2, warps_n=1, stages=1, upsample=1), 2),
        Variant(Shape(32, 4, warps_n=1, stages=1, upsample=1, workers=4)),
        Variant(Shape(32, 4, rows=2, warps_x=2, warps_n=1, stages=1, upsample=1), 3),
        Variant(Shape(32, 4, warps_n=1, stages=1, upsample=1), 3),
        Variant(Shape(32, 4, rows=2, warps_n=1, stages=1, upsample=1), 4),
        Variant(Shape(32, 4, rows=2, warps_n=1, stages=1, upsample=1), 3),
        Variant(Shape(32, 4, warps_y=2, warps_x=2, warps_n=1, stages=1, upsample=1), 2),
        Variant(Shape(32, 4, rows=2, warps_x=2, warps_n=1, stages=1, upsample=1), 2),
        Variant(Shape(32, 4, warps_n=1, stages=1, upsample=1, workers=2)),
    ),
    "32_32": (
        Variant(Shape(32, 4, warps_x=2, warps_n=1), 2),
        Variant(Shape(32, 4, warps_x=2, warps_n=1, stages=1), 2),
        Variant(Shape(32, 4, warps_n=1, stages=1), 2),
        Variant(Shape(32, 4, warps_n=1), 3),
        Variant(Shape(32, 4, warps_n=1, stages=1, workers=3)),
        Variant(Shape(32, 4, warps_n=1, workers=4)),
        Variant(Shape(32, 4, rows=2, warps_x=2, warps_n=1), 2),
        Variant(Shape(32, 4, warps_n=1, stages=1), 3),
        Variant(Shape(32, 4, warps_n=1, workers=2)),
        Variant(Shape(32, 4, rows=2, warps_n=1), 3),
        Variant(Shape(32, 4, rows=2, warps_n=1, stages=1), 4),
        Variant(Shape(32, 4, warps_n=1), 2),
        Variant(Shape(32, 4, rows=2, warps_x=2, warps_n=1, stages=1), 2),
        Variant(Shape(32, 4, rows=2, warps_n=1), 2),
    ),
    "64_3": (
        Variant(Shape(64, 1, rows=2, warps_y=8, warps_x=2, warps_n=1, stages=1), 2),
        Variant(Shape(64, 1, warps_x=2, warps_n=1, stages=1), 2),
        Variant(Shape(64, 1, rows=2, warps_x=2, warps_n=1), 2),
        Variant(Shape(64, 1, rows=2, warps_y=8, warps_n=1, stages=1)),
        Variant(Shape(64, 1, warps_n=1, stages=1), 2),
        Variant(Shape(64, 1, rows=2, warps_y=8, warps_n=1, stages=1), 2),
        Variant(Shape(64, 1, rows=2, warps_n=1, stages=1), 3),
        Variant(Shape(64, 1, rows=2, warps_n=1), 2),
        Variant(Shape(64, 1, rows=2, warps_x=2, warps_n=1, stages=1), 2),
        Variant(Shape(64, 1, rows=1, warps_y=8, warps_n=1, stages=1), 3),
        Variant(Shape(64, 1, rows=1, warps_y=8, warps_n=1), 2),
    ),
    "64_64_down": (
        Variant(Shape(64, 8, stride=2, rows=2, stages=1, sft=2)),
        Variant(Shape(64, 8, stride=2, rows=2, sft=1)),
        Variant(Shape(64, 8, stride=2, rows=2, stages=1, sft=1)),
        Variant(Shape(64, 8, stride=2, rows=2, stages=1, resident=0, sft=1)),
        Variant(Shape(64, 8, stride=2, rows=2, warps_y=2, stages=1, resident=0, sft=1)),
        Variant(Shape(64, 8, stride=2, rows=2, warps_y=2, stages=1, resident=0, sft=1), 2),
        Variant(Shape(64, 8, stride=2, rows=1, stages=1, resident=0, sft=1)),
        Variant(Shape(64, 8, stride=2, rows=1, stages=1, resident=0, sft=1), 2),
        Variant(Shape(64, 8, stride=2, rows=2, warps_y=2, stages=1, resident=0, sft=2)),
        Variant(Shape(64, 8, stride=2, rows=1, resident=0, sft=1)),
        Variant(Shape(64, 8, stride=2, rows=1, stages=1, resident=0, sft=2), 2),
        Variant(Shape(64, 8, stride=2, rows=1, warps_n=1, stages=1, sft=2, wgmma=1, workers=3)),
        Variant(Shape(64, 8, stride=2, rows=1, warps_n=1, stages=1, sft=2, wgmma=1, workers=2)),
    ),
    "64_24": (
        Variant(Shape(64, 3, warps_x=2, warps_n=1, stages=1), 2),
        Variant(Shape(64, 3, warps_n=1, stages=1), 2),
        Variant(Shape(64, 3, warps_n=1, stages=1, workers=3)),
        Variant(Shape(64, 3, warps_n=1), 2),
        Variant(Shape(64, 3, warps_n=1, stages=1)),
        Variant(Shape(64, 3, warps_n=1)),
        Variant(Shape(64, 3, rows=2, warps_n=1)),
        Variant(Shape(64, 3, rows=2, warps_n=1, stages=1), 2),
        Variant(Shape(64, 3, rows=2, warps_n=1, stages=1)),
        Variant(Shape(64, 3, rows=2, warps_y=8, warps_n=1, stages=1)),
        Variant(Shape(64, 3, rows=2, warps_n=1, stages=1, workers=2)),
        Variant(Shape(64, 3, rows=2, warps_n=1, stages=1, workers=3)),
        Variant(Shape(64, 3, warps_n=1, stages=1, resident=0), 2),
    ),
    "4_64": (
        Variant(Shape(4, 8), 2),
        Variant(Shape(4, 8, rows=2, warps_x=2, warps_n=1), 2),
        Variant(Shape(4, 8, rows=2), 3),
        Variant(Shape(4, 8, rows=2, warps_n=1), 3),
        Variant(Shape(4, 8, rows=1, warps_x=2, warps_n=1), 3),
        Variant(Shape(4, 8, warps_n=1), 2),
        Variant(Shape(4, 8, rows=2), 2),
    ),
    "32_16": (
        Variant(Shape(32, 2, warps_x=2, warps_n=1), 2),
        Variant(Shape(32, 2, warps_x=2, warps_n=1, stages=1), 2),
        Variant(Shape(32, 2, warps_n=1, stages=1), 2),
        Variant(Shape(32, 2, warps_n=1), 2),
        Variant(Shape(32, 2, rows=2, warps_x=2, warps_n=1), 2),
        Variant(Shape(32, 2, warps_n=1, stages=1), 3),
        Variant(Shape(32, 2, rows=2, warps_n=1), 3),
        Variant(Shape(32, 2, rows=2, warps_x=2, warps_n=1, stages=1), 3),
    ),
    "64_64_3": (
        Variant(Shape(64, 8, rows=2, warps_x=2, warps_n=1, three=1)),
        Variant(Shape(64, 8, warps_x=2, warps_n=1, stages=1, three=1)),
        Variant(Shape(64, 8, stages=1, three=1)),
        Variant(Shape(64, 8, rows=2, stages=1, three=1)),
        Variant(Shape(64, 8, stages=1, resident=0, three=1)),
        Variant(Shape(64, 8, rows=2, warps_x=2, warps_n=1, stages=1, resident=0, three=1)),
        Variant(Shape(64, 8, rows=2, stages=1, resident=0, three=1), 2),
        Variant(Shape(64, 8, warps_y=2, stages=1, three=1)),
        Variant(Shape(64, 8, rows=3, stages=1, resident=0, three=1), 2),
        Variant(Shape(64, 8, rows=3, warps_n=1, stages=1, wgmma=1, workers=3, three=1)),
        Variant(Shape(64, 8, rows=2, warps_n=1, stages=1, wgmma=1, workers=3, three=1)),
        Variant(Shape(64, 8, warps_n=1, stages=1, wgmma=1, workers=2, three=1)),
    ),
}
"""Measures of the convolutions' kernels, those that take most of a frame's time first. 4_32 takes none to speak of."""

_DATA_CENTRE = frozenset({100, 103, 110})
"""SMs of Blackwell with 227 KiB of shared memory; those of GeForce are 120 and 121."""

SPILLS: dict[tuple[str, str], frozenset[int]] = {
    ("64_64", "rows=2 stages=1 resident=0 /2"): frozenset({75}),
    ("64_64", "rows=3 stages=1 resident=0 /2"): _DATA_CENTRE | {75},
    ("64_64", "warps_x=2 warps_n=1 stages=1 resident=0 /1"): _DATA_CENTRE | {90},
    ("64_256", "rows=2 stages=1 resident=0 sft=1 shuffle=1 /2"): _DATA_CENTRE | {80, 86, 87, 88, 89, 90},
    ("64_256", "rows=2 stages=1 resident=0 sft=2 shuffle=1 /2"): frozenset({87, 90}),
    ("64_256", "rows=2 warps_y=6 stages=1 resident=0 sft=1 shuffle=1 /1"): frozenset({75}),
    ("4_64_sft", "rows=2 sft=2 /2"): frozenset({75, 90}),
    ("4_64_sft", "rows=2 warps_n=1 sft=2 /3"): _DATA_CENTRE,
    ("4_64_sft", "rows=2 warps_n=1 stages=1 sft=2 workers=3 /1"): _DATA_CENTRE | {120, 121},
    ("32_32_up", "warps_x=2 warps_n=1 stages=1 upsample=1 /2"): _DATA_CENTRE,
    ("32_32_up", "warps_n=1 stages=1 upsample=1 workers=4 /1"): _DATA_CENTRE,
    ("32_32", "warps_x=2 warps_n=1 stages=1 /2"): _DATA_CENTRE,
    ("32_32", "warps_n=1 workers=4 /1"): _DATA_CENTRE,
    ("64_64_3", "rows=2 stages=1 resident=0 three=1 /2"): frozenset({75}),
    ("64_64_3", "rows=3 stages=1 resident=0 three=1 /2"): _DATA_CENTRE | {75, 90, 120, 121},
    ("64_64_3", "warps_x=2 warps_n=1 stages=1 three=1 /1"): _DATA_CENTRE,
}
"""SMs, by kind and label, on which a candidate would need more registers than there are: it is not tried there."""

BLOCKS: dict[tuple[int, str, bool], frozenset[int]] = {
    (384, "PAIRS", True): frozenset({75, 86, 88, 89, 90}),
    (384, "PAIRS", False): _DATA_CENTRE | {75, 120, 121},
    (384, "HALVES", True): frozenset({75}),
    (256, "PAIRS", True): frozenset(),
    (256, "PAIRS", False): frozenset(),
    (256, "HALVES", True): frozenset(),
    (256, "HALVES", False): frozenset(),
}
"""Threads, gathering and ahead of the deformable blocks' kernels; with the SMs on which that spills. SM75 holds a share
of the weights at a time that 384 threads cannot divide."""

GROUPS: tuple[tuple[int, str, bool], ...] = (
    (384, "PAIRS", False),
    (384, "PAIRS", True),
    (384, "HALVES", False),
    (384, "HALVES", True),
)
"""The same of those in which four warps multiply together, on SM90."""

_THREADS = {75: 1024} | dict.fromkeys((86, 87, 88, 89, 120, 121), 1536)
"""That a multiprocessor holds at a time, by SM; 2048 on the others (CUDA C++ Programming Guide, as SHARED_MEMORY)."""


@cache
def candidates(sm: int) -> Mapping[str, Mapping[str, Candidate]]:
    """Return what may be tried on an SM, by kind of kernel and by label; the table's own measures are left out."""
    table = by_table(sm)
    found: dict[str, dict[str, Candidate]] = {BLOCK: {}}
    blocks = [(*each, False) for each, spilling in BLOCKS.items() if sm not in spilling]
    if sm == 90:
        blocks += [(*each, True) for each in GROUPS]
    for (threads, gathering, ahead, wgmma), early in itertools.product(blocks, (True, False)):
        block = replace(table.block, threads=threads, gathering=gathering, ahead=ahead, early=early, wgmma=wgmma)
        if block != table.block:
            found[BLOCK][block.label] = block
    for kind, tried in CONVOLUTIONS.items():
        found[kind] = {
            each.label: each
            for each in tried
            if each != table.convolutions[kind] and fits(each, sm) and sm not in SPILLS.get((kind, each.label), ())
        }
    return found


def fits(variant: Variant, sm: int) -> bool:
    """Tell whether a multiprocessor has shared memory and threads enough for as many blocks as are asked for."""
    shape, memory = variant.shape, SHARED_MEMORY[sm] * 1024
    threads = variant.blocks * shape.threads
    return (
        shape.shared_bytes <= memory
        # A multiprocessor has a KiB for the system beside each block's.
        and variant.blocks * (shape.shared_bytes + 1024) <= memory + 1024
        and shape.threads <= 1024
        and threads <= _THREADS.get(sm, 2048)
        and (sm == 90 or not shape.wgmma)
    )


def with_candidates(measures: Measures, chosen: Mapping[str, str]) -> Measures:
    """Return measures with candidates in their places, by kind and label.

    Raises:
        KeyError: there is no such candidate.
    """
    known = candidates(measures.sm)
    found = {kind: known[kind][label] for kind, label in chosen.items()}
    convolutions = {kind: each for kind, each in found.items() if isinstance(each, Variant)}
    block = found.get(BLOCK, measures.block)
    assert isinstance(block, BlockMeasures)
    return replace(measures, convolutions={**measures.convolutions, **convolutions}, block=block)
