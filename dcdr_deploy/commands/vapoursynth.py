"""``dcdr-deploy vapoursynth``: a script for VapourSynth."""

from __future__ import annotations

from pathlib import Path

import click

from dcdr_deploy.commands.options.types import SizeType
from dcdr_deploy.commands.show.told import tell_model
from dcdr_deploy.commands.show.written import show_written
from dcdr_deploy.run.selection import choose_onnx
from dcdr_deploy.serving.vapoursynth import ScriptOptions, write_script
from dcdr_deploy.serving.vapoursynth_script import BACKENDS

EPILOG = """\b
Examples:
  dcdr-deploy vapoursynth -o hdr.vpy                      demo weights, or the .onnx here
  dcdr-deploy vapoursynth net.onnx -o hdr.vpy --tile 768x768
  dcdr-deploy vapoursynth net.engine -o hdr.vpy --backend trt_rtx
  dcdr-deploy vapoursynth net.onnx -o hdr.vpy --backend ov --tile 1080x1920
  vspipe -c y4m -a source=film.mkv hdr.vpy film.y4m

\b
The script needs a Python of 3.12 or newer with the packages vapoursynth,
vapoursynth-bestsource and vapoursynth-mlrt-ort (or -ov, -trt, -trt-rtx). It
runs the network at every pixel, as --scale native does, and its light is not
rolled off towards a display's peak.
"""


@click.command("vapoursynth", epilog=EPILOG)
@click.argument("model", metavar="[MODEL]", required=False)
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, metavar="FILE.vpy", help="The script.")
@click.option(
    "--backend",
    type=click.Choice(list(BACKENDS)),
    default=ScriptOptions.backend,
    show_default=True,
    help="Backend of vs-mlrt: ONNX Runtime, OpenVINO (with a model of its own beside the script), TensorRT engines.",
)
@click.option(
    "--tile",
    type=SizeType(),
    metavar="HxW",
    help="Height and width of a tile in pixels; needed for ov. [whole frames; engines: their best size]",
)
@click.option(
    "--reference-white",
    type=float,
    default=ScriptOptions.reference_white,
    show_default=True,
    metavar="CD/M2",
    help="Luminance of SDR white.",
)
@click.option(
    "--source", default=ScriptOptions.source, show_default=True, metavar="FILE", help="Video, if vspipe names none."
)
@click.option("--json", "as_json", is_flag=True, help="Print what was written as JSON.")
def command(
    model: str | None,
    output: Path,
    backend: str,
    tile: tuple[int, int] | None,
    reference_white: float,
    source: str,
    as_json: bool,
) -> None:
    """Write a script for VapourSynth and vs-mlrt that turns an SDR video into PQ, BT.2020, 10 bits, by MODEL.

    MODEL is an .onnx file, or for trt and trt_rtx an engine without our plugin.
    """
    options = ScriptOptions(backend, tile, reference_white, source)
    choice = choose_onnx(model)
    tell_model(choice)
    written = write_script(output, choice.path, options)
    show_written({"script": written.script, "model": written.model}, written.notes, as_json=as_json)
