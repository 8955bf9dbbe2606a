"""Codecs of videos, their encoders, and which files hold them. Data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction

from dcdr_deploy.imaging.light import PQ
from dcdr_deploy.run.video import bitstream
from dcdr_deploy.run.video.bitstream import Hdr10
from dcdr_deploy.run.video.yuv import Layout

Wrap = Callable[[bytes, "Hdr10 | None"], bytes]


def _as_it_is(packet: bytes, hdr10: Hdr10 | None) -> bytes:
    return packet


@dataclass(frozen=True)
class Encoder:
    """One of FFmpeg's encoders.

    Attributes:
        name: FFmpeg's.
        pixel_format: FFmpeg's, planar, little-endian, or p010le.
        preset: the default; empty where there is no such option.
        options: for quality and preset, and for PQ or HLG.
        most_rate: frames a second that it takes; it goes by them for its rate control only.
    """

    name: str
    pixel_format: str
    preset: str
    options: Callable[[int, str, str], dict[str, str]]
    most_rate: Fraction | None = None


@dataclass(frozen=True)
class Codec:
    """A codec and how it is written.

    Attributes:
        title: for people.
        layout: of the planes.
        suffixes: of files that hold it, the usual one first.
        tags: code of the sample entry by muxer, where it is not FFmpeg's own choice.
        crf: the default and the largest of the quality option; ``None`` for codecs without.
        software, nvenc: encoders.
        states_sar: its bit stream says how wide pixels are; of others only MP4 and MOV do, as PyAV writes them.
        wrap: puts HDR10's metadata into a packet and gives it the form that files hold.
    """

    title: str
    layout: Layout
    suffixes: tuple[str, ...]
    tags: Mapping[str, str]
    crf: tuple[int, int] | None
    software: Encoder
    nvenc: Encoder | None = None
    states_sar: bool = False
    wrap: Wrap = _as_it_is


def _x265(crf: int, preset: str, transfer: str) -> dict[str, str]:
    # Parameter sets stand in the sample entry alone, as `hvc1` wants; the HDR10 messages are put in by bitstream.py.
    fixed = "log-level=none:repeat-headers=0:open-gop=0:annexb=1:range=limited"
    return {"preset": preset, "crf": str(crf), "x265-params": f"{fixed}:hdr10-opt={int(transfer == PQ)}"}


def _svt(crf: int, preset: str, transfer: str) -> dict[str, str]:
    return {"preset": preset, "crf": str(crf)}


def _nvenc(crf: int, preset: str, transfer: str) -> dict[str, str]:
    return {"preset": preset, "rc": "vbr", "cq": str(crf), "tune": "hq", "spatial-aq": "1"}


def _prores(profile: str) -> Callable[[int, str, str], dict[str, str]]:
    return lambda crf, preset, transfer: {"profile": profile, "vendor": "apl0"}


def _ffv1(crf: int, preset: str, transfer: str) -> dict[str, str]:
    return {"level": "3", "slices": "16", "slicecrc": "1"}


_TOP_LEFT = Layout(10, 2, 2, level=True)
"""4:2:0 with chroma at the upper left one of four luma samples, as ITU-T H.265, E.3.1, asks of BT.2100."""

CODECS: dict[str, Codec] = {
    "hevc": Codec(
        title="HEVC Main 10",
        layout=_TOP_LEFT,
        suffixes=(".mp4", ".m4v", ".mkv", ".mov"),
        tags={"mp4": "hvc1", "mov": "hvc1"},
        crf=(18, 51),
        software=Encoder("libx265", "yuv420p10le", "medium", _x265),
        nvenc=Encoder("hevc_nvenc", "p010le", "p5", _nvenc),
        states_sar=True,
        wrap=bitstream.hevc_sample,
    ),
    "av1": Codec(
        title="AV1, 10 bits",
        layout=_TOP_LEFT,
        suffixes=(".mp4", ".mkv"),
        tags={},
        crf=(25, 63),
        software=Encoder("libsvtav1", "yuv420p10le", "8", _svt, most_rate=Fraction(240)),
        nvenc=Encoder("av1_nvenc", "p010le", "p5", _nvenc),
        wrap=bitstream.av1_sample,
    ),
    "prores": Codec(
        title="ProRes 422 HQ",
        layout=Layout(10, 2, 1),
        suffixes=(".mov", ".mkv"),
        tags={"mov": "apch"},
        crf=None,
        software=Encoder("prores_ks", "yuv422p10le", "", _prores("3")),
    ),
    "prores4444": Codec(
        title="ProRes 4444",
        layout=Layout(10),
        suffixes=(".mov", ".mkv"),
        tags={"mov": "ap4h"},
        crf=None,
        software=Encoder("prores_ks", "yuv444p10le", "", _prores("4")),
    ),
    "ffv1": Codec(
        title="FFV1, 12 bits, 4:4:4",
        layout=Layout(12),
        suffixes=(".mkv",),
        tags={},
        crf=None,
        software=Encoder("ffv1", "yuv444p12le", "", _ffv1),
    ),
}
