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
        help="Colours of the file. [rec709 where light is linear, rec2020 in PQ and HLG]",
    ),
    click.option("--transfer", type=click.Choice(TRANSFERS), help="Curve of the file, where the format has a choice."),
    click.option(
        "--reference-white",
        type=float,
        metavar="NITS",
        default=Light.reference_white,
        show_default=True,
        help="cd/m2 of SDR white.",
    ),
    click.option(
        "--peak-nits",
        type=float,
        metavar="NITS",
        default=Light.peak_nits,
        show_default=True,
        help="Where light ends in files for viewing, by BT.2390's roll-off; linear ones have no limit.",
    ),
    click.option(
        "--tag",
        type=click.Choice(TAGS),
        default=Light.tag,
        show_default=True,
        help="What EXR files call their light; scene for programs that know no other.",
    ),
)


def light(chosen: Mapping[str, Any]) -> Light:
    """The light that is written."""
    return Light(**{name: chosen[name] for name in ("reference_white", "peak_nits", "primaries", "transfer", "tag")})
