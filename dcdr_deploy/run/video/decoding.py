"""A track's packets become FFmpeg's frames, and what was lost between them is told."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dcdr_deploy.errors import InputError
from dcdr_deploy.run.video.package import load, reason

BY_DECODING = "dts"
"""Stamps of formats that number pictures in the order of decoding and know no other."""


@dataclass(frozen=True)
class LostFrame:
    """A frame that cannot be decoded.

    Attributes:
        stamp: when it would be shown, in ticks; ``None`` if not even that can be told.
        headless: it comes before the first key frame: what it refers to is not in the file.
    """

    stamp: int | None
    headless: bool = False


def cut_exactly(stream: Any) -> Any:
    """Have a decoder cut pictures where their stream says, and return the track; PyAV's.

    FFmpeg's decoders leave columns at the left where cutting them would break the alignment of memory.
    """
    if stream.codec_context is not None:
        stream.codec_context.flags |= load().codec.context.Flags.unaligned
    return stream


def stamps_of(container: Any) -> str:
    """Return which of the stamps of a format's packets say when they are shown: ``"pts"`` or :data:`BY_DECODING`."""
    return BY_DECODING if container.format.name == "avi" else "pts"


def packets_of(container: Any, streams: Any) -> Iterator[Any]:
    """Yield the packets of tracks; where a damaged file cannot be read to its end, ``None`` at last.

    Args:
        container, streams: PyAV's.

    Raises:
        InputError: the disk fails, or the network.
    """
    try:
        yield from container.demux(streams)
    except load().error.FFmpegError as error:
        if isinstance(error, OSError):  # which around a conversion would be told of its output
            raise InputError(
                f"{container.name.removeprefix('file:')}: cannot be read on: {reason(error)}; a disk or a network "
                "fails, mend it and run the same command again"
            ) from error
        yield None
    except IndexError:
        # PyAV, where a track began on the way: it looks for that one when it has told the ends of those asked for.
        return


def decoded(container: Any, stream: Any, *, stamps: str, one_each: bool) -> Iterator[Any]:
    """Yield FFmpeg's frames in the order shown, and a :class:`LostFrame` for each that a packet promised.

    Args:
        container, stream: PyAV's, at a key frame or at the beginning.
        stamps: from :func:`stamps_of`.
        one_each: a packet is a frame, and not a field.
    """
    av = load()
    expected: list[int] = []
    regular = one_each and not (stamps == BY_DECODING and stream.codec_context.has_b_frames)
    begun, key, torn = False, None, False

    def lost(stamp: int | None) -> LostFrame:
        return LostFrame(stamp, not begun and (key is None or (stamp is not None and stamp < key)))

    for found in packets_of(container, stream):
        packet = found
        if found is None:
            torn, packet = True, av.Packet()  # an empty one, for which the decoder gives what it still holds
            packet.stream = stream
        stamp = getattr(packet, stamps)
        if packet.size and stamp is not None and not packet.is_discard:
            heapq.heappush(expected, stamp)
        if packet.is_keyframe and key is None:
            key = stamp
        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            frames = []
            if not regular:
                yield lost(stamp)
        for frame in frames:
            if stamps == BY_DECODING:
                frame.pts = frame.dts
            while regular and expected and frame.pts is not None and expected[0] < frame.pts:
                yield lost(heapq.heappop(expected))
            if expected and expected[0] == frame.pts:
                heapq.heappop(expected)
            else:
                regular = False  # stamps of frames are not those of packets
            if frame.is_corrupt:
                yield lost(frame.pts)
            else:
                yield frame
                begun = True
    if regular:
        yield from [lost(heapq.heappop(expected)) for _ in range(len(expected))]
    if torn:
        yield lost(None)
