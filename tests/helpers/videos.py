"""Small videos with known patches, and what other readers find in a file."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.run.video.package import exact, side_data_of

WIDTH, HEIGHT, RATE = 96, 64, 24

PATCH = (slice(2, 14), slice(2, 30))
"""Gray patch of every frame, rows and columns."""
PATCH_LUMA = 100
"""Its code, in 8 bits."""

SUBTITLE_HEADER = b"[Script Info]\nScriptType: v4.00+\n"

FFMPEG = shutil.which("ffmpeg")


@dataclass(frozen=True)
class Clip:
    """What :func:`write_clip` writes.

    ``tags`` are primaries, transfer, matrix and range; ``offset`` the seconds before a .ts file; ``fields``, ``"tff"``
    or ``"bff"``, says which of two fields is shown first, and wants ``{"flags": "+ildct"}`` among the options.
    """

    frames: int = 12
    size: tuple[int, int] = (HEIGHT, WIDTH)
    codec: str = "libx264"
    pixels: str = "yuv420p"
    tags: tuple[int, int, int, int] = (1, 1, 1, 1)
    time_base: Fraction = Fraction(1, RATE)
    stamps: Sequence[int] | None = None
    still: frozenset[int] = frozenset()
    sounds: int = 0
    subtitles: bool = False
    chapters: bool = False
    attachment: bool = False
    rotation: int = 0
    offset: int = 10
    fields: str = ""
    sar: Fraction | None = None
    options: dict[str, str] = field(default_factory=lambda: {"preset": "ultrafast", "qp": "4", "bf": "0"})


def picture(number: int, size: tuple[int, int] = (HEIGHT, WIDTH)) -> NDArray[np.uint8]:
    """Luma of a frame: a ramp, the patch, and a lamp of clipped white that moves. Limited range."""
    rows, columns = size
    luma = np.broadcast_to(np.linspace(20, 180, columns), size).astype(np.uint8)
    luma[PATCH] = PATCH_LUMA
    left = (number * 3) % (columns - 16)
    luma[rows // 2 : rows // 2 + 16, left : left + 16] = 235
    return luma


def write_clip(path: Path, clip: Clip = Clip(), paint: Callable[[int], NDArray[Any]] | None = None) -> Path:
    """Write a video by PyAV.

    Args:
        path: in whose suffix's format.
        clip: what it is.
        paint: luma, (rows, columns) in the clip's bits, of a frame; :func:`picture` where left out.
    """
    import av

    rows, columns = clip.size
    clock = {"output_ts_offset": str(clip.offset)} if path.suffix == ".ts" else {}
    with av.open(str(path), "w", options=clock) as output:
        video = output.add_stream(clip.codec, rate=RATE, options=clip.options)
        context = video.codec_context
        context.width, context.height, context.pix_fmt = columns, rows, clip.pixels
        context.color_primaries, context.color_trc, context.colorspace, context.color_range = clip.tags
        context.time_base = clip.time_base
        if clip.sar is not None:
            context.sample_aspect_ratio = clip.sar
        if clip.rotation:
            video.set_display_rotation(clip.rotation)
        sounds = [output.add_stream("aac", rate=48000) for _ in range(clip.sounds)]
        for number, sound in enumerate(sounds):
            sound.metadata["language"] = ("eng", "deu", "fra")[number]
        text = None
        if clip.subtitles:
            text = output.add_stream("mov_text" if path.suffix == ".mp4" else "subrip")
            text.codec_context.subtitle_header = SUBTITLE_HEADER
            text.metadata["language"] = "eng"
        if clip.attachment:
            output.add_attachment("font.ttf", "application/x-truetype-font", b"not really a font")
        if clip.chapters:
            ends = (0, 200, 500)
            output.set_chapters(
                [
                    {"id": n, "start": a, "end": b, "time_base": Fraction(1, 1000), "metadata": {"title": f"part {n}"}}
                    for n, (a, b) in enumerate(itertools.pairwise(ends), start=1)
                ]
            )
        output.metadata["title"] = "Bars and a lamp"
        _write_text(output, text)
        for number in range(clip.frames):
            shown = number - 1 if number in clip.still else number
            luma = picture(shown, clip.size) if paint is None else paint(shown)
            frame = _frame(luma, clip)
            frame.pts = number if clip.stamps is None else clip.stamps[number]
            frame.time_base = clip.time_base
            output.mux(video.encode(_of_fields(frame, clip.fields) if clip.fields else frame))
        output.mux(video.encode())
        for number, sound in enumerate(sounds):
            _write_sound(output, sound, clip.frames / RATE, 440 * (number + 1))
    return path


def _frame(luma: NDArray[Any], clip: Clip) -> Any:
    import av

    frame = av.VideoFrame(clip.size[1], clip.size[0], clip.pixels)
    kind = np.uint16 if "10" in clip.pixels else np.uint8
    for number, plane in enumerate(frame.planes):
        samples = np.frombuffer(plane, kind).reshape(plane.height, -1)
        samples[...] = 512 if kind is np.uint16 else 128
        if number == 0:
            samples[:, : luma.shape[1]] = luma
    return frame


def _of_fields(frame: Any, order: str) -> Any:
    """Say of a frame which of its fields is shown first; PyAV has no name for it."""
    import av

    graph = av.filter.Graph()
    size = {"width": frame.width, "height": frame.height}
    graph.link_nodes(
        graph.add_buffer(**size, format=frame.format, time_base=frame.time_base),
        graph.add("setfield", order),
        graph.add("buffersink"),
    ).configure()
    graph.push(frame)
    return graph.pull()


def _write_text(output: Any, stream: Any) -> None:
    import av

    if stream is None:
        return
    said = b"Hello there"
    packet = av.Packet(len(said).to_bytes(2, "big") + said if output.format.name == "mp4" else said)
    packet.pts = packet.dts = 100
    packet.duration, packet.time_base, packet.stream = 200, Fraction(1, 1000), stream
    output.mux(packet)


def _write_sound(output: Any, stream: Any, seconds: float, pitch: float) -> None:
    import av

    wave = 0.1 * np.sin(2 * np.pi * pitch * np.arange(round(48000 * seconds)) / 48000)
    frame = av.AudioFrame.from_ndarray(np.stack([wave, wave]).astype(np.float32), format="fltp", layout="stereo")
    frame.sample_rate, frame.pts = 48000, 0
    output.mux(stream.encode(frame))
    output.mux(stream.encode())


@dataclass(frozen=True)
class Found:
    """What PyAV finds in a file: stamps in seconds and luma of all frames, and the first one's code points."""

    codec: str
    tag: str
    pixels: str
    stamps: tuple[Fraction, ...]
    lumas: tuple[NDArray[Any], ...]
    code_points: tuple[int, int, int, int]
    side_data: frozenset[str]
    sar: Fraction | None


def read_clip(path: Path) -> Found:
    """Decode a video."""
    import av

    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
        first = frames[0]
        kind = np.uint8 if first.format.components[0].bits == 8 else np.uint16
        lumas = []
        for frame in frames:
            plane = frame.planes[0]
            lumas.append(np.frombuffer(plane, kind).reshape(plane.height, -1)[:, : frame.width].copy())
        return Found(
            stream.codec_context.name,
            stream.codec_context.codec_tag,
            first.format.name,
            tuple(Fraction(frame.pts * frame.time_base) for frame in frames),
            tuple(lumas),
            (first.color_primaries, first.color_trc, first.colorspace, first.color_range),
            frozenset(side_data_of(first)) | _of_container(stream),
            exact(stream.sample_aspect_ratio) or None,
        )


def _of_container(stream: Any) -> frozenset[str]:
    """What a container says beside the stream's pictures; from FFmpeg 9 on a decoder may leave that to it."""
    return frozenset(kind.upper() for kind in getattr(stream.codec_context, "coded_side_data", ()))


def packets(path: Path, kind: str) -> list[list[bytes]]:
    """The packets of each track of a kind, as bytes."""
    import av

    found: dict[int, list[bytes]] = {}
    with av.open(str(path)) as container:
        tracks = [stream for stream in container.streams if stream.type == kind]
        for packet in container.demux(tracks):
            if packet.size:
                found.setdefault(packet.stream.index, []).append(bytes(packet))
    return [found[number] for number in sorted(found)]


def packet_times(path: Path, kind: str, track: int = 0) -> list[Fraction]:
    """When the packets of a track are shown, in seconds."""
    import av

    with av.open(str(path)) as container:
        stream = [stream for stream in container.streams if stream.type == kind][track]
        return [packet.pts * packet.time_base for packet in container.demux(stream) if packet.pts is not None]


def copied(
    source: Path,
    target: Path,
    keep: Callable[[int], bool] = lambda number: True,
    options: Any = None,
    **parameters: Any,
) -> Path:
    """Copy a video's packets into another file.

    Args:
        source, target: files.
        keep: tells of a packet's number, in the order of decoding, whether it is copied.
        options: of the muxer.
        parameters: what the track says of itself, by PyAV's names.
    """
    import av

    with av.open(str(source)) as before, av.open(str(target), "w", options=options or {}) as after:
        track = before.streams.video[0]
        new = after.add_stream_from_template(track, opaque=True)
        for name, value in parameters.items():
            if name == "display_matrix":
                new.set_display_matrix(value)
            else:
                setattr(new.codec_context, name, value)
        packets = (packet for packet in before.demux(track) if packet.size)
        for number, packet in enumerate(packets):
            if keep(number):
                packet.stream = new
                after.mux(packet)
    return target


def damaged(path: Path, *numbers: int) -> Path:
    """Overwrite the packets of some frames, by their numbers in the order of decoding."""
    import av

    with av.open(str(path)) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    content = bytearray(path.read_bytes())
    for number in numbers:
        position, size = places[number]
        content[position : position + size] = b"\xff" * size
    path.write_bytes(content)
    return path


def ffprobe(path: Path, *arguments: str) -> dict[str, Any]:
    """What Debian's ffprobe says, an FFmpeg of another age."""
    command = ["ffprobe", "-v", "error", "-of", "json", *arguments, str(path)]
    found: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return found


def decoded_by_ffmpeg(path: Path, size: tuple[int, int], pixels: str, count: int) -> NDArray[np.uint16]:
    """Luma of all frames by the ffmpeg of the system, (frames, rows, columns), for planar formats."""
    assert FFMPEG is not None
    command = [FFMPEG, "-v", "error", "-i", str(path), "-map", "0:v", "-f", "rawvideo", "-pix_fmt", pixels, "-"]
    raw = np.frombuffer(subprocess.run(command, capture_output=True, check=True).stdout, "<u2")
    return raw.reshape(count, -1)[:, : size[0] * size[1]].reshape(count, *size)
