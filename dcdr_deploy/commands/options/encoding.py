"""How delivery formats are encoded: quality, bits, speed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from dcdr_deploy.commands.options.group import group
from dcdr_deploy.imaging.writers.base import DEPTHS, SPEEDS, WriteOptions

options = group(
    click.option(
        "--quality",
        type=int,
        metavar="1-100",
        help="Of AVIF, JPEG XL and HEIC [90] and of a JPEG's gain map [95]; 100 is lossless in AVIF and JPEG XL.",
    ),
    click.option(
        "--bits",
        type=click.Choice([str(depth) for depth in DEPTHS]),
        help="Bits of PQ and HLG samples in AVIF and JPEG XL. [10]",
    ),
    click.option(
        "--speed",
        type=click.Choice(SPEEDS),
        default=WriteOptions.speed,
        show_default=True,
        help="Speed of the AVIF, JPEG XL and HEIC encoders; slow makes smaller or better files.",
    ),
)


def encoding(chosen: Mapping[str, Any]) -> dict[str, Any]:
    """These fields of :class:`WriteOptions`."""
    bits = chosen["bits"]
    return {"quality": chosen["quality"], "bits": None if bits is None else int(bits), "speed": chosen["speed"]}
