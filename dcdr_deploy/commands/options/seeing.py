"""What numbers of an HDR file mean where it is shown."""

from __future__ import annotations

import click

from dcdr_deploy.commands.options.group import group
from dcdr_deploy.imaging.light import SDR_WHITE_NITS

options = group(
    click.option(
        "--reference-white",
        type=float,
        metavar="NITS",
        default=SDR_WHITE_NITS,
        show_default=True,
        help="cd/m2 of SDR white.",
    ),
    click.option(
        "--full-scale",
        type=float,
        metavar="N",
        help="What 65535 means in PNG and TIFF, in units of SDR white. [what the file says]",
    ),
)
