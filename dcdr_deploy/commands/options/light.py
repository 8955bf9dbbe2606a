"""What light means in cd/m2, and in which primaries and curve it is written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from dcdr_deploy.commands.options.group import group
from dcdr_deploy.imaging.light import PRIMARIES, TAGS, TRANSFERS, Light

options = group(
    click.option(
        "--primaries",
        type=click.Choice(tuple(PRIMARIES)),
        help="Primaries of the file. [linear: rec709; PQ and HLG: rec2020]",
    ),
    click.option("--transfer", type=click.Choice(TRANSFERS), help="Transfer curve, for formats that have a choice."),
    click.option(
        "--reference-white",
        type=float,
        metavar="NITS",
        default=Light.reference_white,
        show_default=True,
        help="Luminance of SDR white in cd/m2.",
    ),
    click.option(
        "--peak-nits",
        type=float,
        metavar="NITS",
        default=Light.peak_nits,
        show_default=True,
        help="Maximum of PQ and HLG in cd/m2, by BT.2390's roll-off; linear files have no limit.",
    ),
    click.option(
        "--tag",
        type=click.Choice(TAGS),
        default=Light.tag,
        show_default=True,
        help="How EXR files tag their light; scene for programs that support nothing else.",
    ),
)


def light(chosen: Mapping[str, Any]) -> Light:
    """The light that is written."""
    return Light(**{name: chosen[name] for name in ("reference_white", "peak_nits", "primaries", "transfer", "tag")})
