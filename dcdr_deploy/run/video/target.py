"""What a video is written as: the codec, its encoder and their settings, chosen and checked."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from dcdr_deploy.errors import OutputError
from dcdr_deploy.imaging.light import COLOUR_CODE, HLG, PQ, TRANSFER_CODE
from dcdr_deploy.run.video.codecs import CODECS, Codec, Encoder
from dcdr_deploy.run.video.package import load, reason

AUTO, SOFTWARE, NVENC = "auto", "software", "nvenc"
ENCODERS = (AUTO, SOFTWARE, NVENC)

CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}
"""FFmpeg's muxer by suffix."""

BT2020_NC = 9
LIMITED = 1


@dataclass(frozen=True)
class Geometry:
    """What an encoder is told of the pictures that come.

    Attributes:
        size: (height, width) in pixels, multiples of what the codec's chroma needs.
        time_base: seconds of a tick.
        rate: frames a second, which rate control goes by; stamps need not follow it.
        sar: width of a pixel over its height.
    """

    size: tuple[int, int]
    time_base: Fraction
    rate: Fraction
    sar: Fraction = Fraction(1)


_SMALL = Geometry((256, 256), Fraction(1, 24), Fraction(24))
"""What every encoder takes that is there."""

_BY_SUFFIX = {".mp4": "hevc", ".m4v": "hevc", ".mkv": "hevc", ".mov": "prores"}


@dataclass(frozen=True)
class EncodeOptions:
    """How a video is encoded.

    Attributes:
        codec: a key of :data:`CODECS`; ``None`` by suffix: ProRes 422 HQ for .mov, HEVC for the others.
        crf: quality, lower is better; ``None`` is the codec's default.
        preset: of the encoder; ``None`` is its default here.
        encoder: one of :data:`ENCODERS`; ``"auto"`` takes NVENC where it opens.
    """

    codec: str | None = None
    crf: int | None = None
    preset: str | None = None
    encoder: str = AUTO


@dataclass(frozen=True)
class Target:
    """A file to be written, with all choices made.

    Attributes:
        path: the file.
        name: key of the codec.
        codec: what it is.
        encoder: FFmpeg's, and its settings.
        crf: quality; 0 where the codec has none.
        preset: of the encoder.
        transfer: ``"pq"`` or ``"hlg"``.
    """

    path: Path
    name: str
    codec: Codec
    encoder: Encoder
    crf: int
    preset: str
    transfer: str

    @property
    def container(self) -> str:
        """FFmpeg's muxer."""
        return CONTAINERS[self.path.suffix.lower()]

    @property
    def has_hdr10_boxes(self) -> bool:
        """Whether the metadata can be put into the container: it is read from an index of MP4's kind."""
        return self.transfer == PQ and self.name != "ffv1"

    @property
    def code_points(self) -> dict[str, int]:
        """What is said of the colours, by PyAV's names for it."""
        return {
            "color_primaries": COLOUR_CODE["rec2020"],
            "color_trc": TRANSFER_CODE[self.transfer],
            "colorspace": BT2020_NC,
            "color_range": LIMITED,
        }

    def settings(self) -> dict[str, Any]:
        """Return all that decides about the bytes, as plain data."""
        return {
            "codec": self.name,
            "encoder": self.encoder.name,
            "crf": self.crf,
            "preset": self.preset,
            "transfer": self.transfer,
            "container": self.container,
            **self._chroma(),
        }

    def configure(self, context: Any, picture: Geometry) -> None:
        """Set up one of PyAV's encoder contexts that is not opened yet."""
        context.height, context.width = picture.size
        context.pix_fmt = self.encoder.pixel_format
        context.time_base = picture.time_base
        context.framerate = min(picture.rate, self.encoder.most_rate or picture.rate)
        context.sample_aspect_ratio = picture.sar
        # Frames side by side where none refers to another (ProRes), else slices; bytes are the same. By PyAV's default
        # ProRes spends two fifths of its time on one thread.
        context.thread_type = "AUTO"
        for name, code in self.code_points.items():
            setattr(context, name, code)
        context.options = self.encoder.options(self.crf, self.preset, self.transfer) | self._chroma()

    def _chroma(self) -> dict[str, str]:
        """Return FFmpeg's option that says where chroma of 4:2:0 lies; where nothing does, players differ."""
        layout = self.codec.layout
        if layout.down == 1:  # 4:2:2 and 4:4:4 have one place only
            return {}
        return {"chroma_sample_location": "topleft" if layout.level else "left"}


def resolve(path: Path, options: EncodeOptions, transfer: str, picture: Geometry = _SMALL) -> Target:
    """Make all choices for a file.

    Args:
        path: the file.
        options: what was asked for.
        transfer: ``"pq"`` or ``"hlg"``.
        picture: what the encoder must take; left out, it is only tried whether it is there.

    Raises:
        OutputError: the suffix cannot hold the codec, a value is out of range, or the encoder does not open.
    """
    suffix = path.suffix.lower()
    name = options.codec or _BY_SUFFIX[suffix]
    codec = CODECS[name]
    if suffix not in codec.suffixes:
        raise OutputError(f"{path}: {suffix} files cannot hold {codec.title}; write {' or '.join(codec.suffixes)}")
    if transfer not in (PQ, HLG):
        raise OutputError(f"{path}: a video is written in pq or hlg, not {transfer}; linear light needs .exr frames")
    if codec.crf is None and options.crf is not None:
        raise OutputError(f"{path}: {codec.title} has no `crf`; leave it out")
    if codec.crf is not None and options.crf is not None and not 0 <= options.crf <= codec.crf[1]:
        raise OutputError(f"{path}: `crf` of {codec.title} is 0 to {codec.crf[1]}, not {options.crf}")
    encoder = _encoder(path, codec, options.encoder, picture)
    if options.preset is not None and not encoder.preset:
        raise OutputError(f"{path}: {codec.title} has no `preset`; leave it out")
    crf = options.crf if options.crf is not None else codec.crf[0] if codec.crf else 0
    target = Target(path, name, codec, encoder, crf, options.preset or encoder.preset, transfer)
    _check_opens(target, picture)
    return target


def _encoder(path: Path, codec: Codec, wanted: str, picture: Geometry) -> Encoder:
    if wanted == SOFTWARE:
        return codec.software
    if codec.nvenc is None:
        if wanted == NVENC:
            raise OutputError(f"{path}: NVENC makes no {codec.title}; leave `encoder` out")
        return codec.software
    if wanted == NVENC:
        return codec.nvenc
    trial = Target(path, "", codec, codec.nvenc, codec.crf[0] if codec.crf else 0, codec.nvenc.preset, PQ)
    return codec.software if _opening_fault(trial, picture) else codec.nvenc


def _check_opens(target: Target, picture: Geometry) -> None:
    """Open an encoder, before any work.

    Raises:
        OutputError: it does not open for such pictures.
    """
    fault = _opening_fault(target, picture)
    if fault:
        height, width = picture.size
        of = "" if picture is _SMALL else f" for {width}x{height} pixels at {float(picture.rate):g} frames a second"
        remedy = "; leave `encoder` out" if target.encoder is target.codec.nvenc else ""
        raise OutputError(f"{target.path}: the encoder {target.encoder.name} does not open{of}: {fault}{remedy}")


def _opening_fault(target: Target, picture: Geometry) -> str:
    """Open an encoder; return what went wrong, empty if it opened."""
    av = load()
    try:
        context = av.CodecContext.create(target.encoder.name, "w")
        target.configure(context, picture)
        context.open()
    except (av.error.FFmpegError, ValueError) as error:  # ValueError: this build of FFmpeg has no such encoder
        return reason(error)
    return ""
