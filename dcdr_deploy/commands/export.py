"""``dcdr-deploy export``: checkpoint to verified ONNX."""

from __future__ import annotations

from pathlib import Path

import click

from dcdr_deploy.commands.options.types import SizeType
from dcdr_deploy.commands.show.progress import Display, stage_line
from dcdr_deploy.commands.show.text import printable_lines
from dcdr_deploy.system.json_text import json_text

EPILOG = """\b
Examples:
  dcdr-deploy export model.pth                      writes model.onnx beside it
  dcdr-deploy export model.safetensors --fp16       writes model.fp16.onnx
  dcdr-deploy export model.pth -o out/net.onnx --static 1080x1920
  dcdr-deploy export AGCM.pth --part LE.pth --part HG.pth -o hdrtvnet.onnx     a network published in three files
"""


@click.command("export", epilog=EPILOG)
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="ONNX file to write. [beside the checkpoint]")
@click.option("--fp16", is_flag=True, help="FP16 weights and arithmetic; coordinates, inputs and outputs stay FP32.")
@click.option("--static", type=SizeType(), metavar="HxW", help="One height and width, and batch 1. [dynamic]")
@click.option("--no-verify", is_flag=True, help="Skip the comparison with torch.")
@click.option(
    "--peak", type=float, help="What an output of 1.0 means in units of SDR white. [the checkpoint's, else 1]"
)
@click.option(
    "--output-encoding",
    metavar="NAME",
    help="What the layers output: linear, white, gamma:2.24, log, pq-bt2020. [the checkpoint's, or as published]",
)
@click.option(
    "--part",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE",
    help="Checkpoint of another part, for networks published in parts.",
)
@click.option(
    "--architecture",
    metavar="NAME",
    help="Network of CHECKPOINT if its tensors do not show it, such as hdrunet or fhdr:iterations=1.",
)
@click.option(
    "--calibrate",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Pictures on which the offsets are measured, for the tiles' overlap. [built-in scenes]",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def command(
    checkpoint: Path,
    output: Path | None,
    fp16: bool,
    static: tuple[int, int] | None,
    no_verify: bool,
    peak: float | None,
    output_encoding: str | None,
    part: tuple[Path, ...],
    architecture: str | None,
    calibrate: Path | None,
    as_json: bool,
) -> None:
    """Export CHECKPOINT (.pth, .pt, .ckpt, .safetensors; of any network of docs/networks.md) to ONNX and verify it.

    Before the file is put in place it is checked by onnx, run in ONNX Runtime and compared with torch at two sizes. It
    holds deformable blocks as dcdr::DCRB nodes with function bodies, and all metadata that `dcdr-deploy run` needs.
    """
    from dcdr_deploy.export import require_export_packages

    require_export_packages()
    from dcdr_deploy.export.places import checked_output

    output = checked_output(checkpoint, output, fp16, part, calibrate)
    from dcdr_deploy.commands.show.export import as_data, as_text
    from dcdr_deploy.export.checkpoint import ExportOptions, export_checkpoint

    options = ExportOptions(
        fp16,
        static,
        not no_verify,
        peak,
        calibrate,
        output_encoding=output_encoding,
        architecture=architecture,
        part=part,
    )
    report = export_checkpoint(checkpoint, output, options, Display(lines=stage_line))
    click.echo(json_text(as_data(report)) if as_json else printable_lines(as_text(report)))
