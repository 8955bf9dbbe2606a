"""``dcdr-deploy preview``: a sheet of exposures, false colour and histogram for an HDR picture."""

from __future__ import annotations

from pathlib import Path

import click

from dcdr_deploy.commands.options import seeing
from dcdr_deploy.commands.show.text import printable
from dcdr_deploy.commands.show.told import EXIT_SOME_FAILED, tell_failure, tell_note
from dcdr_deploy.system.json_text import json_text

EPILOG = """\b
Examples:
  dcdr-deploy preview out.exr                        writes out.sheet.png
  dcdr-deploy preview out.exr --input in.jpg -o sheet.png
  dcdr-deploy preview hdr/ --input photos/ -o sheets/
  dcdr-deploy preview out.png --full-scale 8         16 bits without a word about their scale

\b
False colour has one colour for each stop (EV) of luminance below and above SDR
white; its legend says which, in EV and in cd/m2. Exposures are what an SDR
display shows of the light x 2^EV. For a page with sliders: dcdr-deploy view.
"""


@click.command("preview", epilog=EPILOG)
@click.argument("sources", metavar="HDR...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--input", "inputs", type=click.Path(path_type=Path), metavar="SDR", help="The picture it was made from.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="PNG or JPEG to write; a folder for several. [HDR's name with .sheet.png, here]",
)
@click.option("--cell", type=int, default=480, show_default=True, metavar="PIXELS", help="Longest edge of one picture.")
@seeing.options
@click.option("--json", "as_json", is_flag=True, help="Print a line of JSON for each sheet.")
def command(
    sources: tuple[Path, ...],
    inputs: Path | None,
    output: Path | None,
    reference_white: float,
    cell: int,
    full_scale: float | None,
    as_json: bool,
) -> None:
    """Draw a sheet for an HDR picture: exposures from -4 to +4 EV, false colour with its legend, histogram, input.

    HDR is an OpenEXR, Radiance .hdr, 16-bit PNG or TIFF, a TIFF of floats, a NumPy array, AVIF, HEIC or JPEG XL in PQ,
    or a picture with a gain map; several of them, or a folder. With folders, --input is the folder of the inputs, which
    are found by name; a picture without one is drawn all the same.
    """
    from dcdr_deploy.view.sheets import SheetSettings, make_sheets, plan_sheets

    settings = SheetSettings(reference_white, cell, full_scale)
    failed = 0
    for report in make_sheets(plan_sheets(sources, inputs, output, settings), settings):
        for note in report.notes:
            tell_note(f"{report.source}: {note}")
        if report.error is not None:
            failed += 1
            tell_failure(report.error)
        if as_json:
            click.echo(json_text(report.as_dict()))
        elif report.size is not None:
            height, width = report.size
            click.echo(printable(f"{report.output}  {width}x{height}  of {report.source}"))
    if failed:
        raise click.exceptions.Exit(EXIT_SOME_FAILED)
