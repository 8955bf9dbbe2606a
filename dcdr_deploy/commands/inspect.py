"""``dcdr-deploy inspect``: what a model file holds."""

from __future__ import annotations

import json
from pathlib import Path

import click

EPILOG = """\b
Examples:
  dcdr-deploy inspect model.onnx
  dcdr-deploy inspect model.pth --json
"""


@click.command("inspect", epilog=EPILOG)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(file: Path, as_json: bool) -> None:
    """Show inputs, outputs, metadata, operators by domain, functions and parameters of FILE.

    FILE is an ONNX model or a checkpoint (.pth, .pt, .safetensors).
    """
    from dcdr_deploy.inspection import format_inspection, inspect_file

    data = inspect_file(file)
    click.echo(json.dumps(data, indent=2) if as_json else format_inspection(data))
