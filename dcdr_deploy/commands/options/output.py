"""What is written, and in which form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from dcdr_deploy.commands.options.group import group
from dcdr_deploy.imaging.exr import COMPRESSIONS
from dcdr_deploy.imaging.write import OUTPUT_SUFFIXES, WriteOptions

options = group(
    click.option(
        "--format",
        "output_format",
        type=click.Choice([suffix.lstrip(".") for suffix in OUTPUT_SUFFIXES], case_sensitive=False),
        help="Output format where OUTPUT is a folder. [exr]",
    ),
    click.option("--preview", is_flag=True, help="Write a tone-mapped 8-bit NAME.preview.png beside each output."),
    click.option(
        "--exr-compression",
        type=click.Choice(COMPRESSIONS),
        default=WriteOptions.exr_compression,
        show_default=True,
        help="Compression of EXR; dwaa loses a little, the others nothing.",
    ),
    click.option("--float", "float32", is_flag=True, help="32-bit floats in EXR instead of halves."),
)


def write_options(chosen: Mapping[str, Any]) -> WriteOptions:
    """Compression and depth."""
    return WriteOptions(chosen["exr_compression"], chosen["float32"])
