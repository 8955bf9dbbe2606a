"""At which size the network works, and how much of what it found is taken."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from dcdr_deploy.commands.options.group import group
from dcdr_deploy.run.dials import Dials
from dcdr_deploy.run.gain import BEGIN
from dcdr_deploy.run.outputs import ConvertOptions

options = group(
    click.option(
        "--scale",
        metavar="auto|native|1/2|PIXELS",
        default=str(ConvertOptions.scale),
        show_default=True,
        help="Size at which the network works: a fraction of the picture's, or pixels of the longer edge.",
    ),
    click.option(
        "--strength",
        type=float,
        default=Dials.strength,
        show_default=True,
        help="Exponent of the gain over SDR light, 0 to 2; 0 only linearises.",
    ),
    click.option(
        "--exposure", type=float, metavar="STOPS", default=Dials.exposure, show_default=True, help="Shifts all light."
    ),
    click.option(
        "--max-boost",
        type=float,
        metavar="STOPS",
        help="Limits the gain, by a smooth shoulder; 0.01 to 100. [no limit]",
    ),
    click.option(
        "--saturation",
        type=float,
        default=Dials.saturation,
        show_default=True,
        help="Saturation of the added light, 0 to 2; 0 adds neutral light.",
    ),
    click.option(
        "--protect-below",
        type=int,
        metavar="CODE",
        help=f"Pixels with no channel above this 8-bit code keep their light. [{BEGIN}; --scale native: none]",
    ),
    click.option(
        "--wrap", is_flag=True, help="For panoramas of 360 degrees: avoids a seam at the edges; takes twice the time."
    ),
    click.option(
        "--gain-map",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Also write the gain: EXR, half float, log2, per channel. For folders: a folder.",
    ),
)


def dials(chosen: Mapping[str, Any]) -> Dials:
    """How much of what was restored."""
    return Dials(
        **{name: chosen[name] for name in ("strength", "exposure", "max_boost", "saturation", "protect_below")}
    )
