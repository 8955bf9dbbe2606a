"""Subtitles: which container holds which, and text in the form that it holds."""

from __future__ import annotations

import struct
from typing import Any

from dcdr_deploy.run.video.package import load

TEXT_CODEC = {"mp4": "mov_text", "mov": "mov_text", "matroska": "subrip"}
"""Subtitles as text, by muxer."""

TEXTS = frozenset({"subrip", "srt", "ass", "ssa", "webvtt", "mov_text", "text"})
"""Codecs of subtitles that are text."""

PICTURES = frozenset({"hdmv_pgs_subtitle", "pgssub", "dvd_subtitle", "dvdsub", "dvb_subtitle", "dvbsub", "xsub"})
"""Codecs of subtitles that are pictures."""

NATIVE_TEXTS = {"mp4": {"mov_text"}, "mov": {"mov_text"}, "matroska": TEXTS - {"mov_text"}}
"""Texts that are copied as they are, by muxer."""

MOST_BYTES = 0xFFFF
"""Of a subtitle in MP4: its length has 16 bits (3GPP TS 26.245, 5.17)."""


class TooLongError(ValueError):
    """A subtitle has more bytes than its codec can hold."""


ASS_HEADER = (
    "[Script Info]\nScriptType: v4.00+\nPlayResX: 384\nPlayResY: 288\n\n[V4+ Styles]\n"
    "Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, "
    "Underline, StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, MarginR, "
    "MarginV, Encoding\n"
    "Style: Default,Arial,16,&Hffffff,&Hffffff,&H0,&H0,0,0,0,0,100,100,0,0,1,1,0,2,10,10,10,1\n\n[Events]\n"
    "Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n"
)
"""What FFmpeg's text decoders state; its encoders want one before they open."""


def as_text(packet: Any, codec: str) -> Any:
    """Return a packet with a subtitle's plain text; ``None`` for one without.

    Args:
        packet: PyAV's, of a codec of :data:`TEXTS`.
        codec: one of :data:`TEXT_CODEC`.

    Raises:
        av.error.FFmpegError: it cannot be decoded, such as text that is no UTF-8.
        TooLongError: the codec cannot hold it.
    """
    lines = [part.dialogue.decode("utf-8", "replace") for part in packet.decode() if hasattr(part, "dialogue")]
    data = "\n".join(lines).replace("\\N", "\n").strip().encode()
    if not data:
        return None
    if codec == "mov_text":
        if len(data) > MOST_BYTES:
            raise TooLongError
        data = struct.pack(">H", len(data)) + data
    new = load().Packet(data)
    new.pts, new.dts, new.duration, new.time_base = packet.pts, packet.dts, packet.duration, packet.time_base
    return new
