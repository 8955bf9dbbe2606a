"""Segments, sound and the rest become one file, in which the brightness of the brightest frame is stated."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from dcdr_deploy.errors import OutputError
from dcdr_deploy.run.video import timing
from dcdr_deploy.run.video.bitstream import Hdr10, with_boxes
from dcdr_deploy.run.video.package import address, load, reason
from dcdr_deploy.run.video.segments import Segment, Workplace
from dcdr_deploy.run.video.streams import Companions, TimeRange
from dcdr_deploy.run.video.target import Geometry, Target
from dcdr_deploy.system.files import atomic_path

_OPTIONS = {"fflags": "+bitexact", "avoid_negative_ts": "disabled"}
"""Without the first Matroska's writer draws numbers by chance; without the second it moves the pictures where sound
begins before them, as that of AAC does by its priming."""

_TIMECODE = "timecode"
"""Tag of the first frame's SMPTE 12M time code; MP4 and MOV get a track by it."""

_MATROSKA_TICK = Fraction(1, 1000)
"""Seconds."""

_MP4_TICKS = 1000
"""A second, for the whole file, by FFmpeg's default."""


@dataclass(frozen=True)
class Join:
    """What is put together.

    Attributes:
        target: with codec and container.
        picture: of the frames.
        source: the file whose sound and subtitles go along.
        taken: which part of it.
        hdr10: what is stated of the light; ``None`` for HLG.
        metadata: entries of the file's header.
        skipped: frames of the source before the first one of the output.
    """

    target: Target
    picture: Geometry
    source: Path
    taken: TimeRange
    hdr10: Hdr10 | None
    metadata: dict[str, str]
    skipped: int = 0


def join(path: Path, job: Join, place: Workplace, segments: Sequence[Segment]) -> list[str]:
    """Write a whole file, or leave what was there.

    Args:
        path: the file to write, in the target's format.
        job: what goes into it.
        place: where the segments lie.
        segments: at least one.

    Returns:
        Sentences about the tracks that go along.

    Raises:
        OutputError: it cannot be written, or not hold the tracks that go along.
    """
    av = load()
    try:
        return _join(path, job, place, segments)
    except av.error.FFmpegError as error:
        if isinstance(error, OSError):
            raise
        way = "" if job.target.container == "matroska" else "write .mkv, or "
        raise OutputError(
            f"{path}: the tracks of {job.source} cannot be put together: {reason(error)}; {way}leave out the track by "
            "ffmpeg first"
        ) from error


def _join(path: Path, job: Join, place: Workplace, segments: Sequence[Segment]) -> list[str]:
    av = load()
    first = next(place.packets(segments[0]))
    begin = segments[0].stamps()[0] - round(job.taken.origin / job.picture.time_base)
    with (
        atomic_path(path) as temporary,
        _template(job, first) as template,
        Companions(job.source, job.target.container) as companions,
        av.open(address(temporary), "w", format=job.target.container, options=_options(job, begin)) as output,
    ):
        video = output.add_stream_from_template(template.streams.video[0], opaque=True)
        tag = job.target.codec.tags.get(job.target.container)
        if tag:
            video.codec_context.codec_tag = tag
        video.codec_context.sample_aspect_ratio = job.picture.sar
        video.codec_context.framerate = _stated_rate(job, segments)  # PyAV passes it on from version 18 on
        video.time_base = job.picture.time_base
        output.metadata.update(job.metadata)
        companions.add_to(output)
        for metadata in (output.metadata, video.metadata) if job.skipped else ():
            if _TIMECODE in metadata:
                metadata[_TIMECODE] = timing.timecode_after(metadata[_TIMECODE], job.skipped, job.picture.rate)
        companions.set_chapters(output, job.taken)
        pictures = _pictures(job, place, segments, video)
        waiting = next(pictures, None)
        for moment, packet in companions.packets(job.taken):
            while waiting is not None and waiting.dts * job.picture.time_base <= moment:
                output.mux(waiting)
                waiting = next(pictures, None)
            companions.mux(packet, output)
        while waiting is not None:
            output.mux(waiting)
            waiting = next(pictures, None)
        return companions.remarks


def _stated_rate(job: Join, segments: Sequence[Segment]) -> Fraction:
    """Return the frames a second that a container states; 0 where Matroska is to state none: they vary.

    MP4 and MOV state a rate for their time code alone.
    """
    stamps = [stamp for segment in segments for stamp in segment.stamps()]
    if job.target.container != "matroska" or timing.is_constant(stamps, job.picture.time_base, job.picture.rate):
        return job.picture.rate
    return Fraction(0)


def _options(job: Join, begin: int) -> dict[str, str]:
    """Return the muxer's options.

    Args:
        job: what is put together.
        begin: stamp of the first picture. MP4 says in ticks of the whole file, by default of a millisecond, how much
            time comes before it.
    """
    base = job.picture.time_base
    if job.target.container == "matroska" or (begin * base * _MP4_TICKS).denominator == 1:
        return _OPTIONS
    ticks = math.lcm(base.denominator, _MP4_TICKS)  # exact for chapters too, which count in milliseconds
    return {**_OPTIONS, "movie_timescale": str(ticks if ticks < 1 << 31 else base.denominator)}


def _pictures(job: Join, place: Workplace, segments: Sequence[Segment], stream: Any) -> Iterator[Any]:
    """Yield the packets of all segments, with stamps as if one encoder had made them."""
    av = load()
    base = job.picture.time_base
    shift = round(job.taken.origin / base)
    stamps = [stamp for segment in segments for stamp in segment.stamps()]
    shown = [stamp - shift for stamp in stamps]
    if job.target.container == "matroska":
        shown = timing.kept_apart(shown, base, _MATROSKA_TICK)
    places = dict(zip(stamps, shown, strict=True))
    delay = max(timing.reordering([stamp for stamp, _, _ in segment.packets]) for segment in segments)
    decoded = iter(timing.decoding_stamps(shown, delay))
    lengths = dict(zip(shown, timing.durations(shown, segments[-1].last_duration), strict=True))
    for segment in segments:
        for stamp, data, is_key in place.packets(segment):
            packet = av.Packet(job.target.codec.wrap(data, job.hdr10 if is_key else None))
            packet.pts, packet.dts = places[stamp], next(decoded)
            packet.duration, packet.time_base = lengths[packet.pts], base
            packet.is_keyframe = is_key
            packet.stream = stream
            yield packet


def _template(job: Join, first: tuple[int, bytes, bool]) -> Any:
    """Return a file of one frame, open for reading, whose track says what the whole one's is to say.

    FFmpeg writes the metadata of a track into any container, but takes it only from a file: so it is put into the boxes
    of a small one.
    """
    av = load()
    _, data, _ = first
    small = io.BytesIO()
    is_mov = job.target.has_hdr10_boxes
    muxer = ("mov" if job.target.codec.tags.keys() == {"mov"} else "mp4") if is_mov else job.target.container
    with av.open(small, "w", format=muxer, options=_OPTIONS) as output:
        stream = output.add_stream(job.target.encoder.name, rate=job.picture.rate)
        job.target.configure(stream.codec_context, job.picture)
        tag = job.target.codec.tags.get(muxer)
        if tag:
            stream.codec_context.codec_tag = tag
        stream.time_base = job.picture.time_base
        packet = av.Packet(data)
        packet.pts = packet.dts = 0
        packet.duration, packet.time_base = 1, job.picture.time_base
        packet.is_keyframe, packet.stream = True, stream
        output.mux(packet)
    content = small.getvalue()
    if job.hdr10 is not None and is_mov:
        content = with_boxes(content, job.hdr10)
    return av.open(io.BytesIO(content))
