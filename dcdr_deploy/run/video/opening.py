"""Opening a video: what its file says, and what is taken where it says nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from dcdr_deploy.errors import InputError
from dcdr_deploy.imaging.formats import EMPTY, SIGNATURE_BYTES, name_of
from dcdr_deploy.run.video.decoding import cut_exactly, packets_of, stamps_of
from dcdr_deploy.run.video.orientation import Orientation, of_matrix
from dcdr_deploy.run.video.package import exact, load, open_source, reason, side_data_of
from dcdr_deploy.run.video.reading import Readings, left_out_of
from dcdr_deploy.run.video.source import VideoInfo, VideoSource
from dcdr_deploy.run.video.tracks import pictures_of
from dcdr_deploy.run.video.window import window_of
from dcdr_deploy.system.files import refuse_no_path, refuse_pipe
from dcdr_deploy.system.words import number_of

_PROGRESSIVE = (0, 1)  # FFmpeg's AV_FIELD_UNKNOWN and AV_FIELD_PROGRESSIVE
_BEGIN_AT_ZERO = ("mpegts", "mpeg", "flv")  # broadcasts: their clocks begin anywhere
_TIMED_TRACKS = ("mov,", "avi", "mpegts", "mpeg")  # of others FFmpeg gives the whole file's length for a track's
_EDITED = "mov,"
_FIXED_RATE = "dv"  # whose average FFmpeg sets before it knows the clock
_PICTURES = "image2"
_SHORT_BY = Fraction(3, 2)  # frames; a file whose last frame ends earlier than stated by more is cut short

SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".m2ts", ".mts", ".mpg", ".mpeg", ".wmv", ".flv", ".mxf"}
    | {".vob", ".ogv", ".ogm", ".3gp", ".3g2", ".y4m", ".nut", ".dv", ".asf", ".f4v", ".divx", ".mk3d", ".m2t", ".gxf"}
    | {".m1v", ".m2v", ".h264", ".264", ".avc", ".h265", ".265", ".hevc", ".ivf", ".obu", ".mjpeg", ".mjpg"}
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
        InputError: the file is not there, holds no video that can be decoded, is HDR, is interlaced, or is a picture.
        MissingDependency: PyAV is not installed.
    """
    av = load()
    refuse_no_path(path, InputError)
    refuse_pipe(path)
    try:
        container = open_source(path)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; check the path") from error
    except (av.error.FFmpegError, OSError) as error:
        why = f"cannot be read as a video: {reason(error)}; it may be cut short or damaged"
        raise InputError(f"{path}: {why if os.path.getsize(path) else EMPTY}") from error  # noqa: PTH202 - any text
    source: VideoSource | None = None
    try:
        source = _described(path, container, deinterlace)
        yield source
    finally:
        (source or container).close()


def _instead_of_a_video(path: Path) -> str:
    """What a file is that FFmpeg takes for a picture, by its name alone where nothing else tells it."""
    with path.open("rb") as file:
        head = file.read(SIGNATURE_BYTES)
    if not head:
        return EMPTY
    if not name_of(head):
        return "is neither a video nor a picture by its content; give another file"
    renamed = "rename it, such as to .png, and " if is_video(path) else ""
    return f"is a picture by its content; {renamed}give its output the name of one, such as .exr"


def _described(path: Path, container: Any, deinterlace: bool) -> VideoSource:
    if container.format.name == _PICTURES or container.format.name.endswith("_pipe"):
        raise InputError(f"{path}: {_instead_of_a_video(path)}")
    pictures = pictures_of(container)
    if not pictures:
        raise InputError(f"{path}: holds no video track")
    stream = cut_exactly(pictures[0])
    context = stream.codec_context
    if context is None or not context.pix_fmt:
        raise InputError(f"{path}: its video cannot be decoded; nothing is known of its codec or its pixels")
    readings = Readings(container, context)
    stamps = stamps_of(container)
    first = _first_frame(container, stream)
    # PyAV knows a track's field order from version 18 on, a frame's in any.
    interlaced = getattr(context, "field_order", 0) not in _PROGRESSIVE or (
        first is not None and first.interlaced_frame
    )
    if interlaced and not deinterlace:
        raise InputError(f"{path}: is interlaced; `deinterlace` makes whole frames of it")
    notes, reading = [], None
    if first is not None:
        try:
            readings.measure(first)
            reading = readings.of(first)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        notes += [reading.colours.note] if reading.colours.note else []
    notes += readings.notes
    if len(pictures) > 1:
        notes.append(f"{number_of(len(pictures) - 1, 'more video track is', 'more video tracks are')} left out")
    notes += [] if first is None else left_out_of(first)
    width, height = (context.width, context.height) if first is None else (first.width, first.height)
    window = window_of(path, container, stream, (height, width))
    notes += [] if window is None else ["cropped as its container says"]
    rate = _rate(container, stream)
    begin = None if first is None else getattr(first, stamps)
    begin = begin if begin is not None else stream.start_time or 0
    time_base = exact(stream.time_base)
    seconds, tolerance = _seconds(container, stream, begin * time_base, rate)
    info = VideoInfo(
        path=path,
        codec=context.name,
        width=width,
        height=height,
        orientation=_orientation(first),
        sar=exact(stream.sample_aspect_ratio) or Fraction(1),
        rate=rate,
        time_base=time_base,
        begin=begin,
        frames=_frames(stream, seconds, rate),
        seconds=seconds,
        tolerance=tolerance,
        colours="" if reading is None else reading.colours.name,
        interlaced=interlaced,
        origin=min(_origin(container), begin * time_base),  # what comes before it would not be shown
        notes=tuple(notes),
        window=window,
    )
    return VideoSource(container, stream, info, readings, deinterlace=deinterlace, stamps=stamps)


def _orientation(first: Any) -> Orientation:
    matrix = None if first is None else side_data_of(first).get("DISPLAYMATRIX")
    return Orientation() if matrix is None else of_matrix(np.frombuffer(matrix, "<i4").tolist())


def _has_stamps(container: Any) -> bool:
    """Tell whether a format has time stamps; of streams without a container FFmpeg assumes and estimates them."""
    return not container.format.flags & load().format.Flags.no_timestamps.value


def _rate(container: Any, stream: Any) -> Fraction:
    """Return the frames a second: those on average, or what the codec states where FFmpeg only assumes an average."""
    rates = [stream.average_rate, stream.guessed_rate, stream.base_rate, 25]
    if not _has_stamps(container) or container.format.name == _FIXED_RATE:
        rates[:2] = stream.guessed_rate, stream.average_rate
    return exact(next(filter(None, rates)))


def _frames(stream: Any, seconds: Fraction | None, rate: Fraction) -> int | None:
    """Return how many frames there should be: those that the file counts, less what an edit list leaves out."""
    if not stream.frames or seconds is None or not stream.container.format.name.startswith(_EDITED):
        return stream.frames or None
    return min(stream.frames, max(round(seconds * rate), 1))


def _seconds(container: Any, stream: Any, begin: Fraction, rate: Fraction) -> tuple[Fraction | None, Fraction]:
    """Return how long the video should be from its first frame on, and by how much it may be shorter."""
    if not _has_stamps(container):  # FFmpeg divides the file's size by the bit rate that the stream states
        return None, _SHORT_BY / rate
    is_matroska = container.format.name.startswith("matroska")
    parts = stream.metadata.get("DURATION", "").split(":")  # Matroska's, of a track: when it ends
    if is_matroska and len(parts) == 3:
        with suppress(ValueError):
            ends = Fraction(parts[0]) * 3600 + Fraction(parts[1]) * 60 + Fraction(parts[2])
            return max(ends - begin, Fraction(0)), _SHORT_BY / rate
    if stream.duration and container.format.name.startswith(_TIMED_TRACKS):
        ends = ((stream.start_time or 0) + stream.duration) * exact(stream.time_base)
        return max(ends - begin, Fraction(0)), _SHORT_BY / rate
    # What is known of the whole file alone may be the length of another track.
    if not container.duration:
        return None, _SHORT_BY / rate
    starts = 0 if is_matroska else container.start_time or 0
    alone = _SHORT_BY / rate + (1 if len(container.streams) > 1 else 0)
    return max(Fraction(starts + container.duration, 1_000_000) - begin, Fraction(0)), alone


def _origin(container: Any) -> Fraction:
    if container.format.name in _BEGIN_AT_ZERO and container.start_time:
        return Fraction(container.start_time, 1_000_000)
    return Fraction(0)


def _first_frame(container: Any, stream: Any) -> Any:
    """Return the first frame that can be decoded, ``None`` if there is none."""
    av = load()
    for packet in packets_of(container, stream):
        try:
            frames = packet.decode() if packet is not None else []
        except av.error.FFmpegError:
            continue
        if frames:
            return frames[0]
    return None
