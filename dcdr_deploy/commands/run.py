"""``dcdr-deploy run``: pictures in, HDR files out."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from dcdr_deploy.commands.options import cluster, encoding, engine, light, output, restoring, talk, video
from dcdr_deploy.commands.show.run import Console
from dcdr_deploy.commands.show.told import EXIT_SOME_FAILED
from dcdr_deploy.errors import InputError
from dcdr_deploy.run.events import FilesFound
from dcdr_deploy.run.file import PreparedFile
from dcdr_deploy.run.folder import convert_planned
from dcdr_deploy.run.jobs import plan_folder
from dcdr_deploy.run.opening import open_runner
from dcdr_deploy.run.outputs import ConvertOptions
from dcdr_deploy.run.several import named, plan_several
from dcdr_deploy.run.video.choice import is_for_video, prepare
from dcdr_deploy.run.video.convert import PreparedVideo
from dcdr_deploy.run.video.folder import convert_videos, means_videos, plan_videos
from dcdr_deploy.run.video.stills import PreparedStills
from dcdr_deploy.run.working_scale import parse_scale
from dcdr_deploy.system.files import is_url

EPILOG = """\b
Examples:
  dcdr-deploy run photo.jpg photo.exr          one picture
  dcdr-deploy run photo.jpg out/ --preview     out/photo.exr, out/photo.preview.png
  dcdr-deploy run photos/ hdr/ --recursive     a tree; again to go on after a stop
  dcdr-deploy run a.jpg b.heic shots/*.png out/      several: OUTPUT is a folder
  find . -name "*.jpg" | dcdr-deploy run - out/      a list, one path a line
  dcdr-deploy run shot.%04d.png out/shot.%04d.exr    numbered files
  dcdr-deploy run scan.tif scan.exr -m my.onnx --float --exr-compression piz
  dcdr-deploy run photo.jpg share/photo.jpg    Ultra HDR: the same JPEG, and a gain map
  dcdr-deploy run photos/ hdr/ --format avif --bits 12 --peak-nits 1600
  dcdr-deploy run photos/ hdr/ --format tif --tile 512 --json > report.jsonl
  dcdr-deploy run photo.jpg photo.exr --strength 0.7 --max-boost 2
  dcdr-deploy run photo.jpg photo.exr --scale native     the paper's way, tiled
  dcdr-deploy run photo.jpg photo.exr --primaries acescg --tag scene
  dcdr-deploy run photo.jpg photo.png --transfer pq      for showing, up to 1000 cd/m2
  dcdr-deploy run /mnt/photos /mnt/hdr --ray 10.0.0.1:6379          over a cluster
  dcdr-deploy run film.mkv film.hdr.mkv        a video: HEVC, HDR10, sound kept
  dcdr-deploy run film.mp4 film.mov --start 1:30 --frames 240       ProRes, PQ
  dcdr-deploy run film.mp4 shot.%06d.exr       a video's frames as pictures
  dcdr-deploy run films/ hdr/ --format mp4     all videos of a folder
  dcdr-deploy run film.mkv film.hdr.mkv --ray local --actors 4      in segments

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
directory that carry no metadata of dcdr-deploy are never taken. By name: demo,
and demo-lite, which gives the same light a tenth faster.

\b
Numbers: EXR and HDR hold linear light where 1.0 is SDR white; PNG and TIFF hold
16 bits, linear, where 65535 is the model's peak, and end there; EXR, HDR and
TIFF with --float keep what is above. Below 0 is written as 0. PQ and HLG hold
cd/m2: linear light x --reference-white, ending at --peak-nits. Each file's line
gives its minimum, median, 99th percentile and maximum in units of SDR white.
"""


@click.command("run", epilog=EPILOG)
@click.argument("paths", metavar="INPUT... OUTPUT", nargs=-1)
@engine.options
@engine.tile_options
@restoring.options
@output.options
@encoding.options
@light.options
@video.options
@click.option("-r", "--recursive", is_flag=True, help="Go into sub-folders and mirror them.")
@click.option("--overwrite", is_flag=True, help="Folders: convert again what is up to date.")
@cluster.options
@talk.options
def command(paths: tuple[str, ...], **chosen: Any) -> None:
    """Turn the picture INPUT into the HDR file OUTPUT, or several pictures, or all of a folder.

    INPUT is PNG, JPEG, WebP, TIFF, BMP, AVIF, HEIC or JPEG XL. OUTPUT's suffix chooses the format: .exr, .hdr, .png,
    .tif, .avif, .jxl, .heic or .jpg (Ultra HDR); where OUTPUT is a folder, --format does. An older file of the same
    name is replaced once the new one is whole.

    The last name is OUTPUT. Several inputs need a folder there, or for numbered files a name with a number. Patterns
    that a shell has left alone are expanded; - is a list of inputs on standard input.

    INPUT may be a video too, and OUTPUT then .mp4, .mkv, .mov or numbered pictures. What is done so far is kept in
    OUTPUT.parts; the same command goes on from there.

    Runs of folders and of several inputs report bad files in OUTPUT/failures.jsonl, go on, and end with exit code 3.
    Files that an earlier run finished are skipped while input, model and settings are the same.
    """
    options = ConvertOptions(
        output.write_options(chosen),
        chosen["preview"],
        output.picture_format(chosen),
        parse_scale(chosen["scale"]),
        restoring.dials(chosen),
        chosen["gain_map"],
        chosen["wrap"],
        chosen["strip"],
    )
    settings, of_video = engine.runner_settings(chosen), video.video_options(chosen)
    if len(paths) < 2:
        raise click.UsageError(f"Missing argument '{'OUTPUT' if paths else 'INPUT'}'.")
    *sources, target = paths
    with Console(verbosity=talk.verbosity(chosen), as_json=chosen["as_json"]) as console:
        # What can be refused without a model is, before one is loaded.
        if cluster.is_asked_for(chosen) and any(map(is_url, paths)):
            report = cluster.convert_addresses(sources, target, options, settings, chosen, console)
            console.folder_done(report, target)
            click.get_current_context().exit(EXIT_SOME_FAILED if report.failures else 0)
        inputs = named(sources, _listed)
        for note in inputs.notes if not inputs.several else ():
            console.note(note)
        if not inputs.several and inputs.files:
            over_cluster = cluster.is_asked_for(chosen)
            for_video = is_for_video(inputs.files[0], target, chosen["output_format"])
            if over_cluster and not for_video:
                raise InputError(f"{inputs.files[0]}: is one picture; `ray` is for folders and videos")
            prepared: PreparedFile | PreparedVideo | PreparedStills
            if for_video:
                prepared = prepare(inputs.files[0], target, of_video, options, chosen["output_format"])
            else:
                of_video.refuse_for(str(inputs.files[0]))
                prepared = PreparedFile(inputs.files[0], target, options)
            console(FilesFound(total=1))
            if over_cluster:
                if not isinstance(prepared, PreparedVideo):
                    raise InputError(
                        f"{inputs.files[0]}: `ray` makes one video of a video, no pictures; name an .mkv, .mp4 or .mov"
                    )
                cluster.convert_video(prepared, settings, chosen, console)
                return
            with open_runner(chosen["model"], settings, console) as runner:
                prepared.convert(runner, console)
            return
        folder = Path(target)
        videos = means_videos(inputs, chosen["output_format"], recursive=chosen["recursive"], target=folder)
        if not videos:
            of_video.refuse_for(sources[0])
        if videos:
            form = chosen["output_format"]
            plan = plan_videos(inputs, folder, of_video, options, form, recursive=chosen["recursive"])
        elif inputs.several:
            plan, folder = plan_several(inputs, target, options, recursive=chosen["recursive"])
        else:
            plan = plan_folder(inputs.folders[0], folder, options, recursive=chosen["recursive"])
        for note in plan.notes:
            console.note(note)
        console.left_out(plan.left_out)
        if cluster.is_asked_for(chosen):
            part = of_video if videos else None
            report = cluster.convert_planned(plan, folder, options, settings, chosen, console, part)
        else:
            with open_runner(chosen["model"], settings, console) as runner:
                if videos:
                    report = convert_videos(
                        plan.jobs, folder, runner, of_video, options, overwrite=chosen["overwrite"], listener=console
                    )
                else:
                    report = convert_planned(
                        plan,
                        folder,
                        runner,
                        options,
                        overwrite=chosen["overwrite"],
                        keep_reports=False,
                        listener=console,
                    )
        console.folder_done(report, folder)
    if report.failures:
        click.get_current_context().exit(EXIT_SOME_FAILED)


def _listed() -> Iterator[str]:
    """The paths on standard input, one a line, whatever their encoding."""
    for line in sys.stdin.buffer:
        yield os.fsdecode(line.rstrip(b"\r\n"))
