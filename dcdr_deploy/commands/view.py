"""``dcdr-deploy view``: one HTML page that shows HDR pictures beside their inputs."""

from __future__ import annotations

from pathlib import Path

import click

from dcdr_deploy.commands.options import seeing
from dcdr_deploy.commands.show.text import printable
from dcdr_deploy.commands.show.told import EXIT_SOME_FAILED, tell_failure, tell_note
from dcdr_deploy.system.json_text import json_text

EPILOG = """\b
Examples:
  dcdr-deploy view in.jpg out.exr                    writes out.html
  dcdr-deploy view out.exr --exposure -2             without its input, two stops darker
  dcdr-deploy view in.jpg out.exr in2.jpg out2.exr -o page.html
  dcdr-deploy view photos/ hdr/ -o page.html         inputs and outputs of one name

\b
The page is a single file and needs no server and no network. It has exposure, a
divider, zoom and pan, false colour in stops, and luminance under the cursor in
cd/m2; "?" lists the keys. If the browser has WebGPU and the display is HDR, it
draws brighter than white.

\b
Pixels are kept as half floats, lossless: about 2 MB a megapixel with an input, 5
without. Without --max-edge a picture has at most 8.3 megapixels and a page 16.6;
larger ones are downscaled in linear light, and a note says so.
"""


@click.command("view", epilog=EPILOG)
@click.argument("paths", metavar="[SDR] HDR...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Page to write. [HDR's name with .html, here; view.html]"
)
@click.option(
    "--exposure", type=float, default=0.0, show_default=True, metavar="EV", help="Exposure when the page opens."
)
@click.option("--max-edge", type=int, metavar="PIXELS", help="Longest edge on the page. [see below]")
@seeing.options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    paths: tuple[Path, ...],
    output: Path | None,
    exposure: float,
    reference_white: float,
    max_edge: int | None,
    full_scale: float | None,
    as_json: bool,
) -> None:
    """Make a page for the browser that shows HDR beside the SDR picture that it was made from.

    HDR is an OpenEXR, Radiance .hdr, 16-bit PNG or TIFF, a TIFF of floats, a NumPy array, AVIF, HEIC or JPEG XL in PQ,
    or a picture with a gain map. Several pairs are named one after the other, an input before its output; of two
    folders the first holds the inputs. An HDR picture without an input is shown alone.
    """
    from dcdr_deploy.commands.show.view import display, page_line, size_notes
    from dcdr_deploy.view.page import PageSettings, place_of_page, write_page
    from dcdr_deploy.view.pairs import in_a_row

    settings = PageSettings(reference_white, exposure, max_edge, full_scale)
    pictures = in_a_row(paths)
    with display() as shown:
        report = write_page(pictures, place_of_page(pictures, output), settings, shown)
    for failure in report.failures:
        tell_failure(failure)
    for each in report.pictures:
        for note in each.notes:
            tell_note(f"{each.source}: {note}")
    for note in size_notes(report, chosen=max_edge is not None):
        tell_note(note)
    click.echo(json_text(report.as_dict(), indent=2) if as_json else printable(page_line(report)))
    if report.failures:
        raise click.exceptions.Exit(EXIT_SOME_FAILED)
