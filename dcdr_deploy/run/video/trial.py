"""A trial, before any work, of whether an output can hold the tracks of a source."""

from __future__ import annotations

import io
import itertools
import shlex
from pathlib import Path

from dcdr_deploy.errors import OutputError
from dcdr_deploy.run.video.package import load, reason
from dcdr_deploy.run.video.streams import Companions, TimeRange

_TRIED = 500
"""Packets that are written for a try at most: some formats refuse a track only when all is done."""


def check(path: Path, target: Path, muxer: str) -> list[str]:
    """Return sentences about what an output of a format will lack, before any work.

    Raises:
        OutputError: it cannot hold a track of sound.
    """
    av = load()
    try:
        with Companions(path, muxer) as companions, av.open(io.BytesIO(), "w", format=muxer) as output:
            companions.add_to(output)
            waiting = {copy.stream.index for copy in companions.copies}
            refused = set()
            for _, packet in itertools.islice(companions.packets(TimeRange()), _TRIED if waiting else 0):
                track = packet.stream.index
                if companions.mux(packet, output):
                    waiting.discard(track)
                else:
                    refused.add(track)
                if not waiting:
                    break
            if waiting & refused:
                raise ValueError("nothing of a track of sound or subtitles can be taken over; it may be damaged")
    except (ValueError, av.error.FFmpegError) as error:
        example = f"for example by ffmpeg -i {shlex.quote(str(path))} -map 0 -c copy -c:a flac sound.mkv"
        way = f"give them another codec first, {example}" if muxer == "matroska" else "write .mkv"
        raise OutputError(f"{target}: cannot hold the tracks of {path}: {reason(error)}; {way}") from error
    return companions.left_out
