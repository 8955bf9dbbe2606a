"""Opening a video: what its file says, and what is taken where it says nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

from dcdr_deploy.errors import InputError
from dcdr_deploy.run.video import colours
from dcdr_deploy.run.video.colours import Tags
from dcdr_deploy.run.video.package import load, reason
from dcdr_deploy.run.video.planes import pixel_format
from dcdr_deploy.run.video.source import VideoInfo, VideoSource
from dcdr_deploy.run.video.streams import is_cover
from dcdr_deploy.system.files import refuse_url

_PROGRESSIVE = (0, 1)  # FFmpeg's AV_FIELD_UNKNOWN and AV_FIELD_PROGRESSIVE
_BEGIN_AT_ZERO = ("mpegts", "mpeg", "flv")  # broadcasts: their clocks begin anywhere
_SHORT_BY = Fraction(3, 2)  # frames; a file whose last frame ends earlier than stated by more is cut short

SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".m2ts", ".mts", ".mpg", ".mpeg", ".wmv", ".flv", ".mxf"}
    | {".vob", ".ogv", ".3gp", ".y4m"}
)
"""Of files that are taken for videos, lower case."""


def is_video(path: str | os.PathLike[str]) -> bool:
    """Tell by a file's name whether it is a video."""
    return os.path.splitext(os.fspath(path))[1].lower() in SUFFIXES  # noqa: PTH122 - any text is an answer


@contextmanager
def open_video(path: Path, *, deinterlace: bool = False) -> Iterator[VideoSource]:
    """Open a video and look at its first frame.

    Args:
        path: the file.
        deinterlace: make whole frames of fields.

    Raises:
        InputError: the file is not there, holds no video that can be decoded, is HDR, or is interlaced.
        MissingDependency: PyAV is not installed.
    """
    av = load()
    refuse_url(path, InputError)
    try:
        container = av.open(str(path), metadata_errors="replace")
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; check the path") from error
    except (av.error.FFmpegError, OSError) as error:
        raise InputError(
            f"{path}: cannot be read as a video: {reason(error)}; it may be cut short or damaged"
        ) from error
    source: VideoSource | None = None
    try:
        source = _described(path, container, deinterlace)
        yield source
    finally:
        (source or container).close()


def _described(path: Path, container: Any, deinterlace: bool) -> VideoSource:
    pictures = [stream for stream in container.streams.video if not is_cover(stream)]
    if not pictures:
        raise InputError(f"{path}: holds no video track")
    stream = pictures[0]
    context = stream.codec_context
    if context is None or not context.pix_fmt:
        raise InputError(f"{path}: its video cannot be decoded; nothing is known of its codec or its pixels")
    first = _first_frame(container, stream)
    # PyAV knows a track's field order from version 18 on, a frame's in any.
    interlaced = getattr(context, "field_order", 0) not in _PROGRESSIVE or (
        first is not None and first.interlaced_frame
    )
    if interlaced and not deinterlace:
        raise InputError(f"{path}: is interlaced; `deinterlace` makes whole frames of it")
    try:
        kind = pixel_format(context.pix_fmt)
        tags = Tags(context.color_primaries, context.color_trc, context.colorspace, context.color_range)
        about = colours.resolve(tags, context.width, context.height, is_rgb=kind.is_rgb, full_by_format=kind.full_range)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    notes = [about.note] if about.note else []
    if len(pictures) > 1:
        notes.append(f"{len(pictures) - 1} more video tracks are left out")
    rate = stream.average_rate or stream.guessed_rate or stream.base_rate or Fraction(25)
    rate = Fraction(rate)
    seconds, tolerance = _seconds(container, stream, rate)
    info = VideoInfo(
        path=path,
        codec=context.name,
        width=context.width,
        height=context.height,
        rotation=0 if first is None else round(first.rotation / 90) * 90 % 360,
        sar=stream.sample_aspect_ratio or Fraction(1),
        rate=rate,
        time_base=stream.time_base,
        begin=stream.start_time or 0,
        frames=stream.frames or None,
        seconds=seconds,
        tolerance=tolerance,
        format=kind,
        colours=about,
        interlaced=interlaced,
        origin=_origin(container),
        notes=tuple(notes),
    )
    return VideoSource(container, stream, info, deinterlace=deinterlace)


def _seconds(container: Any, stream: Any, rate: Fraction) -> tuple[Fraction | None, Fraction]:
    """Return how long the video should be, and by how much it may be shorter."""
    if stream.duration:
        return Fraction(stream.duration * stream.time_base), _SHORT_BY / rate
    parts = stream.metadata.get("DURATION", "").split(":")  # Matroska's, of a track
    if len(parts) == 3:
        with suppress(ValueError):
            stated = Fraction(parts[0]) * 3600 + Fraction(parts[1]) * 60 + Fraction(parts[2])
            return stated, _SHORT_BY / rate
    # What is known of the whole file alone may be the length of another track.
    return (Fraction(container.duration, 1_000_000) if container.duration else None), _SHORT_BY / rate + 1


def _origin(container: Any) -> Fraction:
    if container.format.name in _BEGIN_AT_ZERO and container.start_time:
        return Fraction(container.start_time, 1_000_000)
    return Fraction(0)


def _first_frame(container: Any, stream: Any) -> Any:
    """Return the first frame that can be decoded, ``None`` if there is none."""
    av = load()
    for packet in container.demux(stream):
        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            continue
        if frames:
            return frames[0]
    return None
