"""``dcdr-deploy run``: pictures in, HDR files out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from dcdr_deploy.commands.show.run import NORMAL, QUIET, VERBOSE, Console
from dcdr_deploy.engines.base import PRECISIONS
from dcdr_deploy.engines.registry import AUTO, backend_names
from dcdr_deploy.imaging.exr import COMPRESSIONS
from dcdr_deploy.imaging.write import OUTPUT_SUFFIXES, WriteOptions
from dcdr_deploy.run.dials import Dials
from dcdr_deploy.run.events import FilesFound
from dcdr_deploy.run.file import PreparedFile
from dcdr_deploy.run.folder import convert_planned
from dcdr_deploy.run.gain import BEGIN
from dcdr_deploy.run.jobs import plan_folder
from dcdr_deploy.run.opening import RunnerSettings, open_runner
from dcdr_deploy.run.outputs import ConvertOptions
from dcdr_deploy.run.working_scale import parse_scale

EXIT_SOME_FAILED = 3

EPILOG = """\b
Examples:
  dcdr-deploy run photo.jpg photo.exr          one picture
  dcdr-deploy run photo.jpg out/ --preview     out/photo.exr, out/photo.preview.png
  dcdr-deploy run photos/ hdr/ --recursive     a tree; again to go on after a stop
  dcdr-deploy run scan.tif scan.exr -m my.onnx --float --exr-compression piz
  dcdr-deploy run photos/ hdr/ --format tif --tile 512 --json > report.jsonl
  dcdr-deploy run photo.jpg photo.exr --strength 0.7 --max-boost 2
  dcdr-deploy run photo.jpg photo.exr --scale native     the paper's way, tiled

\b
Scale: the network sees 83 px to each side, so large pictures go through it
averaged down, and clipped pixels of the full picture get what it found; all
others keep their light. native runs it at every pixel and writes its result.

\b
Each file's line says how much had clipped, how many stops came back (99th
percentile), and whether that was restored (a channel was left) or mostly
guessed (all three had clipped).

\b
Model, without --model: $DCDR_MODEL, else the engine in the working directory
that fits this GPU, else the .onnx file there, else the demo weights. Which one,
and where it was found, is told on stderr, with -q too. Files in the working
directory that carry no metadata of dcdr-deploy are never taken.

\b
Numbers: EXR and HDR hold scene-linear Rec. 709 light where 1.0 is SDR white;
PNG and TIFF hold 16 bits, linear, where 65535 is the model's peak, and end there;
EXR and HDR keep what is above. Below 0 is written as 0. Each file's line gives
its minimum, median, 99th percentile and maximum in units of SDR white.
"""


class NumberOr(click.ParamType):
    """A whole number, or one of some words that stand for a value."""

    name = "number"

    def __init__(self, **words: Any) -> None:
        """Take the words and the values they stand for."""
        self._words = words

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number or the word's value."""
        if not isinstance(value, str):
            return value
        if value.lower() in self._words:
            return self._words[value.lower()]
        try:
            return int(value)
        except ValueError:
            self.fail(f"{value!r} is neither a whole number nor one of: {', '.join(self._words)}", param, ctx)


@click.command("run", epilog=EPILOG)
@click.argument("source", metavar="INPUT")
@click.argument("target", metavar="OUTPUT")
@click.option("-m", "--model", metavar="FILE", help="ONNX model, engine or checkpoint. [see below]")
@click.option("--backend", default=AUTO, show_default=True, help=f"{AUTO}, {', '.join(backend_names())}.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:1.")
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default="auto",
    show_default=True,
    help="fp16 or fp32. auto takes fp16 where the GPU can; ONNX files and engines keep their own, except that backend "
    "cuda has fp16 only.",
)
@click.option("--threads", type=int, help="Processor threads. [the backend's choice]")
@click.option(
    "--tile",
    type=NumberOr(auto="auto", none=None),
    metavar="auto|none|N",
    default="auto",
    show_default=True,
    help="Largest tile edge in pixels of what the network is given (--scale); none runs it whole, auto goes by memory.",
)
@click.option(
    "--overlap",
    type=NumberOr(auto="auto"),
    metavar="auto|N",
    default="auto",
    show_default=True,
    help="Context in pixels around each tile; auto takes what the model asks for.",
)
@click.option(
    "--batch", type=NumberOr(auto="auto"), metavar="auto|N", default="auto", show_default=True, help="Tiles in a call."
)
@click.option(
    "--scale",
    metavar="auto|native|1/2|PIXELS",
    default=str(ConvertOptions.scale),
    show_default=True,
    help="Size at which the network works: a part of the picture's, or pixels of the longer edge.",
)
@click.option(
    "--strength",
    type=float,
    default=Dials.strength,
    show_default=True,
    help="Exponent of the gain over SDR light, 0 to 2; 0 only linearises.",
)
@click.option(
    "--exposure", type=float, metavar="STOPS", default=Dials.exposure, show_default=True, help="Stops on all light."
)
@click.option("--max-boost", type=float, metavar="STOPS", help="No gain exceeds this; a smooth shoulder. [no limit]")
@click.option(
    "--saturation",
    type=float,
    default=Dials.saturation,
    show_default=True,
    help="Of the light that was added, 0 to 2; 0 adds neutral light.",
)
@click.option(
    "--protect-below",
    type=int,
    metavar="CODE",
    help=f"Pixels of which no channel is above this 8-bit code keep their light. [{BEGIN}; --scale native: none]",
)
@click.option("--wrap", is_flag=True, help="Panoramas of 360 degrees: no seam at their edges; takes twice the time.")
@click.option(
    "--gain-map",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the gain too: EXR, half, log2 per channel. Folders: a folder for such files.",
)
@click.option(
    "--format",
    "output_format",
    type=click.Choice([suffix.lstrip(".") for suffix in OUTPUT_SUFFIXES], case_sensitive=False),
    help="Output format where OUTPUT is a folder. [exr]",
)
@click.option("-r", "--recursive", is_flag=True, help="Go into sub-folders and mirror them.")
@click.option("--preview", is_flag=True, help="Write a tone-mapped 8-bit NAME.preview.png beside each output.")
@click.option(
    "--exr-compression",
    type=click.Choice(COMPRESSIONS),
    default=WriteOptions.exr_compression,
    show_default=True,
    help="Compression of EXR; dwaa loses a little, the others nothing.",
)
@click.option("--float", "float32", is_flag=True, help="32-bit floats in EXR instead of halves.")
@click.option("--overwrite", is_flag=True, help="Folders: convert again what is up to date.")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON a file on stdout.")
@click.option(
    "-q", "--quiet", "verbosity", flag_value=QUIET, type=int, help="Only results, errors and a model that was found."
)
@click.option("-v", "--verbose", "verbosity", flag_value=VERBOSE, type=int, help="Times, tiles and log messages too.")
def command(source: str, target: str, **chosen: Any) -> None:
    """Turn the picture INPUT into the HDR file OUTPUT, or all pictures of a folder.

    INPUT is PNG, JPEG, WebP, TIFF or BMP. OUTPUT's suffix chooses the format: .exr, .hdr, .png or .tif; where OUTPUT is
    a folder, --format does. An older file of the same name is replaced once the new one is whole.

    A folder run reports bad files in OUTPUT/failures.jsonl, goes on, and ends with exit code 3. Files that an earlier
    run finished are skipped while input, model and settings are the same.
    """
    write = WriteOptions(chosen["exr_compression"], chosen["float32"])
    dials = Dials(
        chosen["strength"], chosen["exposure"], chosen["max_boost"], chosen["saturation"], chosen["protect_below"]
    )
    scale, gain_map = parse_scale(chosen["scale"]), chosen["gain_map"]
    options = ConvertOptions(write, chosen["preview"], chosen["output_format"], scale, dials, gain_map, chosen["wrap"])
    settings = RunnerSettings(
        chosen["backend"],
        chosen["device"],
        chosen["threads"],
        chosen["tile"],
        chosen["overlap"],
        chosen["batch"],
        chosen["precision"],
    )
    verbosity = NORMAL if chosen["verbosity"] is None else chosen["verbosity"]
    with Console(verbosity=verbosity, as_json=chosen["as_json"]) as console:
        # What can be refused without a model is, before one is loaded.
        if not os.path.isdir(source):  # noqa: PTH112 - Path.is_dir raises for overlong names
            prepared = PreparedFile(source, target, options)
            console(FilesFound(total=1))
            with open_runner(chosen["model"], settings, console) as runner:
                prepared.convert(runner, console)
            return
        plan = plan_folder(Path(source), Path(target), options, recursive=chosen["recursive"])
        for note in plan.notes:
            console.note(note)
        with open_runner(chosen["model"], settings, console) as runner:
            report = convert_planned(
                plan, Path(target), runner, options, overwrite=chosen["overwrite"], listener=console
            )
        console.folder_done(report, Path(target))
    if report.failures:
        click.get_current_context().exit(EXIT_SOME_FAILED)
