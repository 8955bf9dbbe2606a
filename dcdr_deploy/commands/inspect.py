"""``dcdr-deploy inspect``: what a model file, or a picture that was written, holds."""

from __future__ import annotations

from pathlib import Path

import click

from dcdr_deploy.commands.options.types import PlaceType
from dcdr_deploy.commands.show.text import printable_lines
from dcdr_deploy.system.json_text import json_text

EPILOG = """\b
Examples:
  dcdr-deploy inspect model.onnx
  dcdr-deploy inspect model.pth --json
  dcdr-deploy inspect photo.exr                              model, scale and dials that made it
  dcdr-deploy inspect model.fp16.sm86.engine                 what its sidecar says
  dcdr-deploy inspect model.pth --offsets sky.jpg            writes sky.offsets.png
  dcdr-deploy inspect model.onnx --offsets sky.jpg --at 120,48 --at 300,60 -o taps.png
"""


@click.command("inspect", epilog=EPILOG)
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--offsets",
    "picture",
    type=click.Path(path_type=Path),
    metavar="IMAGE",
    help="Draw where the deformable kernels look on IMAGE.",
)
@click.option(
    "--at", type=PlaceType(), multiple=True, metavar="X,Y", help="Pixels to draw. [overexposed ones with large offsets]"
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="PNG to write. [IMAGE's name with .offsets.png, here]"
)
@click.option(
    "--part",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE",
    help="Checkpoint of another part, for networks published in parts.",
)
@click.option("--architecture", metavar="NAME", help="Network of a checkpoint if its tensors do not show it.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    file: Path,
    picture: Path | None,
    at: tuple[tuple[int, int], ...],
    output: Path | None,
    part: tuple[Path, ...],
    architecture: str | None,
    as_json: bool,
) -> None:
    """Show inputs, outputs, metadata, operators by domain, functions and parameters of FILE.

    FILE is an ONNX model, a checkpoint (.pth, .pt, .ckpt, .safetensors), an engine, which is described by its sidecar,
    or an HDR picture written by run, of which size, range and header are shown (Ultra HDR .jpg: base x gain map).

    With --offsets (checkpoints and ONNX models), draw where the nine taps of every deformable block sample IMAGE for a
    few overexposed pixels, and print each block's largest offsets. The pixels are those whose kernels reach farthest,
    apart from each other.
    """
    from dcdr_deploy.run.selection import by_name

    file = by_name(file)
    if picture is None:
        from dcdr_deploy.commands.show.inspect import format_inspection
        from dcdr_deploy.inspection.model import inspect_file

        if at or output:
            raise click.UsageError("--at and --output belong to --offsets IMAGE")
        data, as_text = inspect_file(file, architecture=architecture, part=part), format_inspection
    else:
        from dcdr_deploy.commands.show.inspect import as_text as offsets_as_text
        from dcdr_deploy.inspection.drawing import inspect_offsets

        if architecture is not None or part:
            raise click.UsageError("--architecture and --part do not go with --offsets IMAGE")
        data, as_text = inspect_offsets(file, picture, output, at), offsets_as_text
    click.echo(json_text(data, indent=2) if as_json else printable_lines(as_text(data)))
