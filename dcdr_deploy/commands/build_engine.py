"""``dcdr-deploy build-engine``: ONNX to TensorRT engine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from dcdr_deploy.commands.options.types import SizeType
from dcdr_deploy.commands.show.text import printable_lines
from dcdr_deploy.engines.tensorrt.trt_api import PACKAGES
from dcdr_deploy.system.json_text import json_text

EPILOG = """\b
Examples:
  dcdr-deploy build-engine --fp16                   the .onnx here, for this GPU
  dcdr-deploy build-engine model.onnx --fp16 --sm 75,86,89,120
                                                    for many GPUs, on a machine without one (tensorrt-rtx)
  dcdr-deploy build-engine --fp16 --tile 2160x3840  4K frames in one piece
  dcdr-deploy build-engine --fp16 --tile 512x512 --max-batch 8 --dynamic
  dcdr-deploy build-engine --plugin none            without the fused kernel

\b
GPUs by --sm: 75 RTX 20, T4; 80 A100; 86 RTX 30; 89 RTX 40, L4; 120 RTX 50.
Without ONNX: the only .onnx in the working directory, else the demo weights.
Backend cuda has no engine file: `dcdr-deploy tune` fits its kernels to this GPU.
The engine NAME.<precision>.<sm>.engine and its .json sidecar belong together:
`run` needs both.
"""


PLUGIN_CHOICES: dict[str, bool | None] = {"auto": None, "dcrb": True, "none": False}


class SmListType(click.ParamType):
    """GPU architectures such as ``75,86``, ``8.6`` or ``current``; becomes a tuple of numbers and words."""

    name = "75,86,...|current"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int | str, ...]:
        """Parse a list, or fail with a usage error."""
        if isinstance(value, tuple):
            return value
        return tuple(self._parse(part.strip().lower(), param, ctx) for part in str(value).split(","))

    def _parse(self, part: str, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        if part == "current":
            return part
        match = re.fullmatch(r"(?:sm_?)?([1-9]\d?)\.?(\d)", part)
        if not match:
            self.fail(f"{part!r} is no GPU architecture; write numbers such as 75,86,89,120, or current", param, ctx)
        return int(match.group(1) + match.group(2))


@click.command("build-engine", epilog=EPILOG)
@click.argument("onnx", required=False, type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Engine file or folder. [beside the ONNX file]")
@click.option("--fp16", is_flag=True, help="FP16 weights and arithmetic; coordinates, inputs and outputs stay FP32.")
@click.option(
    "--backend",
    type=click.Choice(list(PACKAGES)),
    help="Package to build with. [the one that is installed and fits the GPU]",
)
@click.option(
    "--sm",
    "sms",
    type=SmListType(),
    metavar="75,86,...|current",
    default=(),
    help="GPUs to build for. [current: this machine's]",
)
@click.option("--tile", type=SizeType(), metavar="HxW", help="Height and width of the images in pixels. [1080x1920]")
@click.option("--max-batch", type=int, default=1, show_default=True, metavar="N", help="Most images per call.")
@click.option(
    "--dynamic", is_flag=True, help="Build for all sizes up to the tile's longer edge. [only the tile's size]"
)
@click.option(
    "--plugin",
    type=click.Choice(list(PLUGIN_CHOICES)),
    default="auto",
    show_default=True,
    help="dcrb: the fused kernel for deformable blocks; none: the package's own layers; auto: dcrb if the model has "
    "such blocks.",
)
@click.option("--workspace", type=float, metavar="GiB", help="Limit of scratch memory. [the package's]")
@click.option(
    "--timing-cache",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="File that keeps measured timings (tensorrt).",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def command(
    onnx: Path | None, output: Path | None, as_json: bool, plugin: str, backend: str | None, **wishes: Any
) -> None:
    """Compile ONNX, a file made by `dcdr-deploy export`, to an engine for NVIDIA GPUs.

    TensorRT-RTX builds for any RTX GPU, on any machine; TensorRT builds for this machine's GPU. If the engine can run
    on this GPU, it is compared with ONNX Runtime before it is put in place. An existing engine of the same model,
    settings and versions is reused.
    """
    from dcdr_deploy.building.build import BuildRequest, build_engine
    from dcdr_deploy.commands.show.build_engine import as_data, as_text, display, show_choice
    from dcdr_deploy.run.selection import NAMED_MODELS, choose_onnx

    request = BuildRequest(package=backend, plugin=PLUGIN_CHOICES[plugin], **wishes)
    with display() as shown:
        choice = choose_onnx(onnx)
        show_choice(shown, choice)
        # What comes with the package stays in its folder; what is made from it belongs to the user.
        folder = Path() if choice.path in NAMED_MODELS.values() else None
        report = build_engine(choice.path, output, request, shown, folder)
    click.echo(json_text(as_data(report)) if as_json else printable_lines(as_text(report)))
