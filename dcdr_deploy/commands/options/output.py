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
        help="Output format if OUTPUT is a folder. [pictures: exr; videos: mkv]",
    ),
    click.option("--preview", is_flag=True, help="Also write a tone-mapped 8-bit NAME.preview.png beside each output."),
    click.option(
        "--exr-compression",
        type=click.Choice(EXR_COMPRESSIONS),
        default=WriteOptions.exr_compression,
        show_default=True,
        help="Compression of EXR; all but dwaa are lossless.",
    ),
    click.option(
        "--strip",
        is_flag=True,
        help="Do not copy Exif (date, camera, GPS), XMP, IPTC and the input's name. [copied]",
    ),
    click.option("--float", "float32", is_flag=True, help="Write 32-bit floats in EXR and TIFF."),
)


def write_options(chosen: Mapping[str, Any]) -> WriteOptions:
    """Compression, depth, encoding and light."""
    return WriteOptions(chosen["exr_compression"], chosen["float32"], light.light(chosen), **encoding.encoding(chosen))


def picture_format(chosen: Mapping[str, Any]) -> str | None:
    """Format of pictures in an output folder, ``None`` where it is left out or one of videos."""
    form = chosen["output_format"]
    return None if form in FORMATS else form
