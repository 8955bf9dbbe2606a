"""``dcdr-deploy run``: pictures in, HDR files out."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
from dcdr_deploy.run.jobs import FolderPlan, plan_folder
from dcdr_deploy.run.opening import RunnerSettings, open_runner
from dcdr_deploy.run.outputs import ConvertOptions
from dcdr_deploy.run.reports import FolderReport
from dcdr_deploy.run.several import Inputs, named, paths_of, plan_several
from dcdr_deploy.run.video.choice import FORMATS, is_for_video, prepare
from dcdr_deploy.run.video.convert import PreparedVideo
from dcdr_deploy.run.video.folder import convert_videos, means_videos, plan_videos
from dcdr_deploy.run.video.options import VideoOptions
from dcdr_deploy.run.video.stills import PreparedStills
from dcdr_deploy.run.working_scale import parse_scale
from dcdr_deploy.system.files import is_url
from dcdr_deploy.system.progress import Event

EPILOG = """\b
Examples:
  dcdr-deploy run photo.jpg photo.exr          one picture
  dcdr-deploy run photo.jpg out/ --preview     out/photo.exr, out/photo.preview.png
  dcdr-deploy run photos/ hdr/ --recursive     a tree; run again to resume
  dcdr-deploy run a.jpg b.heic shots/*.png out/      several: OUTPUT is a folder
  find . -name "*.jpg" | dcdr-deploy run - out/      a list, one path per line
  dcdr-deploy run shot.%04d.png out/shot.%04d.exr    numbered files
  dcdr-deploy run scan.tif scan.exr -m my.onnx --float --exr-compression piz
  dcdr-deploy run photo.jpg share/photo.jpg    Ultra HDR: the same JPEG plus a gain map
  dcdr-deploy run photos/ hdr/ --format avif --bits 12 --peak-nits 1600
  dcdr-deploy run photos/ hdr/ --format tif --tile 512 --json > report.jsonl
  dcdr-deploy run photo.jpg photo.exr --strength 0.7 --max-boost 2
  dcdr-deploy run photo.jpg photo.exr --scale native     like the paper, tiled
  dcdr-deploy run photo.jpg photo.exr --primaries acescg --tag scene
  dcdr-deploy run photo.jpg photo.png --transfer pq      for viewing, up to 1000 cd/m2
  dcdr-deploy run /mnt/photos /mnt/hdr --ray 10.0.0.1:6379          on a cluster
  dcdr-deploy run film.mkv film.hdr.mkv        a video: HEVC, HDR10, sound kept
  dcdr-deploy run film.mp4 film.mov --start 1:30 --frames 240       ProRes, PQ
  dcdr-deploy run film.mp4 shot.%06d.exr       a video's frames as pictures
  dcdr-deploy run films/ hdr/ --format mp4     all videos of a folder
  dcdr-deploy run film.mkv film.hdr.mkv --ray local --actors 4      in segments

\b
Scale: the network sees 83 px to each side, so it runs on a downscaled copy of
large pictures. Clipped pixels of the full picture get the gain that it found;
all others keep their light. native runs it at every pixel and writes its result.

\b
For each file, a line says what share had clipped, how many stops came back (99th
percentile), and whether that was restored (a channel had not clipped) or mostly
guessed (all three had).

\b
Model, without --model: $DCDR_MODEL, else the engine in the working directory
that fits this GPU, else the .onnx file there, else the demo weights. stderr says
which one, even with -q. Files in the working directory without metadata of
dcdr-deploy are never used. Two models have names: demo, and demo-lite, which
gives the same light and is a tenth faster.

\b
Values: EXR and HDR hold linear light, in which 1.0 is SDR white. PNG and TIFF
hold linear 16-bit integers, in which 65535 is the model's peak and the limit;
EXR, HDR and TIFF with --float have none. Negative values become 0. PQ and HLG
hold cd/m2: linear light x --reference-white, limited to --peak-nits. Each file's
line gives minimum, median, 99th percentile and maximum in units of SDR white.
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
@click.option("-r", "--recursive", is_flag=True, help="Include sub-folders and mirror them in OUTPUT.")
@click.option("--overwrite", is_flag=True, help="Folders: also convert files that are up to date.")
@cluster.options
@talk.options
def command(paths: tuple[str, ...], **chosen: Any) -> None:
    """Turn the picture INPUT into the HDR file OUTPUT, or several pictures, or a whole folder.

    INPUT is PNG, JPEG, WebP, TIFF, BMP, AVIF, HEIC or JPEG XL. The suffix of OUTPUT chooses the format: .exr, .hdr,
    .png, .tif, .avif, .jxl, .heic or .jpg (Ultra HDR). If OUTPUT is a folder, --format chooses it. An earlier output
    is replaced once the new one is complete; pictures and videos of other programs are kept.

    The last argument is OUTPUT. For several inputs it has to be a folder, or for numbered files a numbered name.
    Patterns that the shell did not expand are expanded; - reads a list of inputs from standard input.

    INPUT may also be a video; OUTPUT is then .mp4, .mkv, .mov or numbered pictures. Finished segments are kept in
    OUTPUT.parts, and the same command resumes from there.

    If files of a folder or of several inputs fail, the run continues, lists them in OUTPUT/failures.jsonl and ends with
    exit code 3. Files that an earlier run finished are skipped if input, model and settings have not changed.
    """
    if len(paths) < 2:
        raise click.UsageError(f"Missing argument '{'OUTPUT' if paths else 'INPUT'}'.")
    run = _Run(
        chosen,
        ConvertOptions(
            write=output.write_options(chosen),
            preview=chosen["preview"],
            format=output.picture_format(chosen),
            scale=parse_scale(chosen["scale"]),
            dials=restoring.dials(chosen),
            gain_map=chosen["gain_map"],
            wrap=chosen["wrap"],
            strip=chosen["strip"],
        ),
        engine.runner_settings(chosen),
        video.video_options(chosen),
        Console(verbosity=talk.verbosity(chosen), as_json=chosen["as_json"]),
    )
    with run.console:
        report = run.convert(paths[:-1], paths[-1])
    if report is not None and report.failures:
        click.get_current_context().exit(EXIT_SOME_FAILED)


@dataclass(frozen=True)
class _Run:
    """One call of the command. What can be refused without a model is refused before one is loaded."""

    chosen: Mapping[str, Any]
    options: ConvertOptions
    settings: RunnerSettings
    of_video: VideoOptions
    console: Console

    def convert(self, sources: Sequence[str], target: str) -> FolderReport | None:
        """Convert what was named; ``None`` for a single file, whose failure is an error."""
        over_cluster = cluster.is_asked_for(self.chosen)
        if over_cluster and any(map(is_url, (*sources, target))):
            return self._addresses(sources, target)
        inputs = named(sources, _listed)
        for note in inputs.notes if not inputs.several else ():
            self.console(Event(note=note))
        if inputs.several or not inputs.files:
            return self._folder(inputs, sources[0], target, over_cluster)
        with self.console.single(inputs.files[0]):
            (self._file_over_cluster if over_cluster else self._file)(inputs.files[0], target)
        return None

    def _file(self, source: Path, target: str) -> None:
        form = self.chosen["output_format"]
        prepared: PreparedFile | PreparedVideo | PreparedStills
        if is_for_video(source, target, form):
            prepared = prepare(source, target, self.of_video, self.options, form)
        else:
            self.of_video.refuse_for(str(source))
            prepared = PreparedFile(source, target, self.options)
        self.console(FilesFound(total=1))
        with open_runner(self.chosen["model"], self.settings, self.console) as runner:
            prepared.convert(runner, self.console)

    def _file_over_cluster(self, source: Path, target: str) -> None:
        form = self.chosen["output_format"]
        if not is_for_video(source, target, form):
            raise InputError(f"{source}: is one picture; `ray` is for folders and videos")
        prepared = prepare(source, target, self.of_video, self.options, form)
        if not isinstance(prepared, PreparedVideo):
            raise InputError(f"{source}: `ray` makes one video of a video, no pictures; name an .mkv, .mp4 or .mov")
        self.console(FilesFound(total=1))
        cluster.convert_video(prepared, self.settings, self.chosen, self.console)

    def _addresses(self, sources: Sequence[str], target: str) -> FolderReport:
        if (form := self.chosen["output_format"]) in FORMATS:
            raise InputError(
                f"{sources[0]}: `output_format` {form} is for videos; at addresses pictures are taken alone"
            )
        self.of_video.refuse_for(sources[0])
        recursive = self.chosen["recursive"]
        plan, source, place = cluster.plan_addresses(sources, target, self.options, recursive=recursive)
        self._tell(plan)
        report = cluster.convert_planned(
            plan, place, self.options, self.settings, self.chosen, self.console, source=source
        )
        self.console.folder_done(report, target)
        return report

    def _tell(self, plan: FolderPlan) -> None:
        for note in plan.notes:
            self.console(Event(note=note))
        self.console.left_out(plan.left_out)

    def _folder(self, inputs: Inputs, first: str, target: str, over_cluster: bool) -> FolderReport:
        folder, recursive = Path(target), self.chosen["recursive"]
        form = self.chosen["output_format"]
        videos = means_videos(inputs, form, recursive=recursive, target=folder)
        if videos:
            plan = plan_videos(inputs, folder, self.of_video, self.options, form, recursive=recursive)
        else:
            self.of_video.refuse_for(first)
            if inputs.several:
                plan, folder = plan_several(inputs, target, self.options, recursive=recursive)
            else:
                plan = plan_folder(inputs.folders[0], folder, self.options, recursive=recursive)
        self._tell(plan)
        of_video = self.of_video if videos else None
        if over_cluster:
            report = cluster.convert_planned(
                plan, folder, self.options, self.settings, self.chosen, self.console, video=of_video
            )
        else:
            report = self._planned(plan, folder, of_video)
        self.console.folder_done(report, folder)
        return report

    def _planned(self, plan: FolderPlan, folder: Path, of_video: VideoOptions | None) -> FolderReport:
        console, overwrite = self.console, self.chosen["overwrite"]
        with open_runner(self.chosen["model"], self.settings, console) as runner:
            if of_video is not None:
                return convert_videos(
                    plan.jobs, folder, runner, of_video, self.options, overwrite=overwrite, listener=console
                )
            return convert_planned(
                plan, folder, runner, self.options, overwrite=overwrite, keep_reports=False, listener=console
            )


def _listed() -> list[str]:
    """The paths on standard input."""
    return paths_of(sys.stdin.buffer.read())
