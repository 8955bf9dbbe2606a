"""What is written, and in which form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from dcdr_deploy.commands.options import encoding, light
from dcdr_deploy.commands.options.group import group
from dcdr_deploy.imaging.write import OUTPUT_SUFFIXES
from dcdr_deploy.imaging.writers.base import EXR_COMPRESSIONS, WriteOptions
from dcdr_deploy.run.video.choice import FORMATS

options = group(
    click.option(
        "--format",
        "output_format",
        type=click.Choice([*(suffix.lstrip(".") for suffix in OUTPUT_SUFFIXES), *FORMATS], case_sensitive=False),
        help="Output format where OUTPUT is a folder. [pictures: exr; videos: mkv]",
    ),
    click.option("--preview", is_flag=True, help="Write a tone-mapped 8-bit NAME.preview.png beside each output."),
    click.option(
        "--exr-compression",
        type=click.Choice(EXR_COMPRESSIONS),
        default=WriteOptions.exr_compression,
        show_default=True,
        help="Compression of EXR; dwaa loses a little, the others nothing.",
    ),
    click.option(
        "--strip",
        is_flag=True,
        help="Carry no Exif (date, camera, GPS), XMP and IPTC over, nor the input's name. [carried]",
    ),
    click.option("--float", "float32", is_flag=True, help="32-bit floats in EXR and TIFF."),
)


def write_options(chosen: Mapping[str, Any]) -> WriteOptions:
    """Compression, depth, encoding and light."""
    return WriteOptions(chosen["exr_compression"], chosen["float32"], light.light(chosen), **encoding.encoding(chosen))


def picture_format(chosen: Mapping[str, Any]) -> str | None:
    """Format of pictures in an output folder, ``None`` where it is left out or one of videos."""
    form = chosen["output_format"]
    return None if form in FORMATS else form
