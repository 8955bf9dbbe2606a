"""What a video becomes, by the name that is given for it: one file, or numbered pictures."""

from __future__ import annotations

import os
from pathlib import Path

from dcdr_deploy.errors import InputError, OutputError
from dcdr_deploy.imaging.write import OUTPUT_SUFFIXES
from dcdr_deploy.run import sequence
from dcdr_deploy.run.outputs import ConvertOptions, contradiction, is_folder
from dcdr_deploy.run.video.convert import PreparedVideo
from dcdr_deploy.run.video.opening import is_video
from dcdr_deploy.run.video.options import VideoOptions
from dcdr_deploy.run.video.prepared import VideoSettings
from dcdr_deploy.run.video.stills import PreparedStills
from dcdr_deploy.run.video.target import CONTAINERS
from dcdr_deploy.system.defaults import changed

FORMATS = ("mkv", "mp4", "mov")
"""Formats of videos in an output folder; the first one, which holds every kind of track, is the default."""

NUMBER = "%06d"

_OF_VIDEO_LIGHT = {"reference_white", "peak_nits", "primaries", "transfer"}


def prepare(
    source: Path, target: str, video: VideoOptions, options: ConvertOptions, form: str | None = None
) -> PreparedVideo | PreparedStills:
    """Prepare a video's conversion.

    Args:
        source: the video.
        target: a file; a pattern such as ``shot.%06d.exr``; or a folder, which gets ``<name of source>.<form>``, or
            ``<name of source>.%06d.<form>`` for pictures.
        video: which part of it, and how it is encoded.
        options: scale, dials, light, and how pictures are written.
        form: format in a folder, one of :data:`FORMATS` or of pictures.

    Raises:
        InputError: the source cannot be read as a video, or something is asked for that videos do not have.
        OutputError: the target cannot be written, or contradicts ``form``.
        MissingDependency: PyAV is not installed.
    """
    refuse_picture_options(source, options)
    settings = settings_of(video, options)
    if is_folder(target):
        form = form or FORMATS[0]
        if form in FORMATS:
            refuse_written_options(source, options)
            return PreparedVideo(source, Path(target) / f"{source.stem}.{form}", settings)
        name = source.stem.replace("%", "%%")
        target = os.path.join(target, f"{name}.{NUMBER}.{form}")  # noqa: PTH118 - a pattern, no path
    suffix = Path(target).suffix.lower()
    if form is not None and suffix != f".{form}":
        raise contradiction(Path(target), form)
    pattern = sequence.parse(target)
    if pattern is not None:
        video.refuse_encoding(target)
        return PreparedStills(source, pattern, settings, options.write)
    if suffix in OUTPUT_SUFFIXES:
        raise OutputError(f"{target}: a video has many pictures; number them: {Path(target).stem}.{NUMBER}{suffix}")
    refuse_written_options(source, options)
    return PreparedVideo(source, Path(target), settings)


def settings_of(video: VideoOptions, options: ConvertOptions) -> VideoSettings:
    """Return the settings for a video."""
    return VideoSettings(options.scale, options.dials, video, options.write.light)


def is_for_video(source: Path, target: str, form: str | None) -> bool:
    """Tell whether an input is to be taken for a video: by its name, or by what is to be made of it."""
    return is_video(source) or form in FORMATS or Path(target).suffix.lower() in CONTAINERS


def refuse_picture_options(what: Path, options: ConvertOptions) -> None:
    """Refuse what is made of pictures only.

    Args:
        what: that is named in the error.
        options: what was asked for.

    Raises:
        InputError: something of the kind is asked for.
    """
    for name in ("preview", "gain_map", "wrap", "strip"):
        if name in changed(options):
            raise _for_pictures(what, name)


def refuse_written_options(what: Path, options: ConvertOptions) -> None:
    """Refuse what is said of pictures' files where a video is written; its encoder has options of its own.

    Args, errors as :func:`refuse_picture_options`.
    """
    for name in (*changed(options.write), *changed(options.write.light)):
        if name not in ("light", *_OF_VIDEO_LIGHT):
            raise _for_pictures(what, name)


def _for_pictures(what: Path, name: str) -> InputError:
    return InputError(f"{what}: `{name}` is for pictures, not for videos; leave it out")
