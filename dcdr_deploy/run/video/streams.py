"""What goes along with the pictures: sound, subtitles, chapters, attachments, titles. Copied, not made anew.

Packets of sound go over byte for byte. Subtitles that a container cannot hold as they are become plain text in the form
that it can.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from dcdr_deploy.errors import InputError, OutputError
from dcdr_deploy.run.video import texts
from dcdr_deploy.run.video.decoding import packets_of
from dcdr_deploy.run.video.package import exact, load, open_source, readable
from dcdr_deploy.run.video.tags import kept, named
from dcdr_deploy.run.video.tracks import is_cover, pictures_of
from dcdr_deploy.system.words import number_of

_COVERS = {"png": (".png", "image/png"), "mjpeg": (".jpg", "image/jpeg")}
"""Codecs of covers: suffix and media type, which Matroska wants to know."""


@dataclass(frozen=True)
class TimeRange:
    """Which part of the source is taken, in seconds of its own clock.

    Attributes:
        begin: the first moment; ``None`` for all that there is.
        end: the moment after the last; ``None`` for all that there is.
        origin: seconds that are taken off all stamps.
    """

    begin: Fraction | None = None
    end: Fraction | None = None
    origin: Fraction = Fraction(0)

    def holds(self, moment: Fraction, length: Fraction = Fraction(0)) -> bool:
        """Tell whether something that begins then is taken; what has a length is if any of it is seen."""
        begun = self.begin is None or moment >= self.begin or moment + length > self.begin
        return begun and (self.end is None or moment < self.end)


@dataclass(frozen=True)
class _Copy:
    """A track that goes along: its new stream, and the text codec that its packets become, if any."""

    stream: Any
    text: str = ""


class Companions:
    """The tracks of a source beside its pictures, on their way into an output.

    Attributes:
        left_out: sentences about what does not go along.
    """

    def __init__(self, path: Path, muxer: str) -> None:
        """Open a source.

        Args:
            path: the file.
            muxer: FFmpeg's name of the output's format.

        Raises:
            InputError: it is gone.
        """
        try:
            self._container = open_source(path)
        except FileNotFoundError as error:
            raise InputError(f"{path}: was deleted, moved or unmounted during the run; put it back") from error
        self._path, self._muxer = path, muxer
        self._copies: dict[int, _Copy] = {}
        self._reached: dict[int, Fraction] = {}
        self.left_out: list[str] = []
        self._moved = self._unread = self._too_long = self._damaged = 0
        self._torn = False

    def __enter__(self) -> Companions:
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    def add_to(self, output: Any) -> None:
        """Add the tracks, attachments and titles to an output that has its video track already.

        Raises:
            ValueError: the output cannot hold a track of sound; trial.py says so before.
            OutputError: nothing is known of a track of sound.
        """
        output.metadata.update(kept(self._container.metadata))
        for before, after in zip(pictures_of(self._container)[:1], output.streams.video, strict=False):
            named(after, before, self._muxer)
        for stream in self._container.streams:
            if stream.type == "video" and is_cover(stream):
                self._add_cover(stream, output)
            elif stream.type == "audio":
                self._refuse_unknown(stream)
                self._copies[stream.index] = _Copy(self._copied(stream, output))
            elif stream.type == "subtitle":
                self._add_subtitle(stream, output)
            elif stream.type == "attachment":
                self._attach(stream, output)
            elif stream.type == "data" and not self._container.chapters() and "timecode" not in stream.metadata:
                # MP4 has its chapters in such a track, and the time code, which goes along as a tag of the pictures.
                self.left_out.append(f"track {stream.index}, data, is left out")

    @property
    def copies(self) -> list[_Copy]:
        """The tracks that go along."""
        return list(self._copies.values())

    @property
    def remarks(self) -> list[str]:
        """Sentences about the packets so far."""
        counts = {
            (
                "packet of sound or subtitles whose time stamp did not rise was moved on",
                "packets of sound or subtitles whose time stamps did not rise were moved on",
            ): self._moved,
            (
                "subtitle that cannot be decoded is left out",
                "subtitles that cannot be decoded are left out",
            ): self._unread,
            (
                f"subtitle of more than {texts.MOST_BYTES:,} bytes is left out; .mkv can hold it",
                f"subtitles of more than {texts.MOST_BYTES:,} bytes are left out; .mkv can hold them",
            ): self._too_long,
            (
                "packet of sound or subtitles that is damaged is left out",
                "packets of sound or subtitles that are damaged are left out",
            ): self._damaged,
        }
        torn = ["its sound or subtitles end where the file cannot be read on"] if self._torn else []
        return [number_of(count, *words) for words, count in counts.items() if count] + torn

    def set_chapters(self, output: Any, taken: TimeRange) -> None:
        """Set those chapters that lie in the part that is taken, moved with it."""
        chapters = []
        for chapter in self._container.chapters():
            base = exact(chapter["time_base"])
            begin, end = (Fraction(chapter[edge]) * base for edge in ("start", "end"))
            if taken.begin is not None:
                begin = max(begin, taken.begin)
            if taken.end is not None:
                end = min(end, taken.end)
            if begin < end:
                ticks = [round((moment - taken.origin) / base) for moment in (begin, end)]
                said = readable(chapter["metadata"])
                chapters.append({**chapter, "metadata": said, "start": ticks[0], "end": ticks[1]})
        if chapters:
            output.set_chapters(chapters)

    def packets(self, taken: TimeRange) -> Iterator[tuple[Fraction, Any]]:
        """Yield the packets of all tracks with the second at which each is to be decoded, in the order of the file."""
        wanted = [self._container.streams[number] for number in self._copies]
        if not wanted:
            return
        for packet in packets_of(self._container, wanted):
            if packet is None:
                self._torn = True
                return
            copy = self._copies[packet.stream.index]
            if packet.size and copy.stream.type == "video":  # a cover, which belongs to no moment
                packet.pts, packet.dts, packet.stream = 0, 0, copy.stream
                yield Fraction(0), packet
                continue
            stamp = packet.dts if packet.dts is not None else packet.pts
            if stamp is None or not packet.size:
                continue
            base = exact(packet.time_base)
            is_text = copy.stream.type == "subtitle"
            shown = packet.pts if packet.pts is not None else stamp
            length = (packet.duration or 0) if is_text else 0
            if not taken.holds(shown * base, length * base):
                continue
            try:
                new = texts.as_text(packet, copy.text) if copy.text else packet
            except load().error.FFmpegError:
                self._unread += 1
                continue
            except texts.TooLongError:
                self._too_long += 1
                continue
            if new is None:
                continue
            shift = round(taken.origin / base)
            late = max(shift - shown, 0) if is_text and taken.begin is not None else 0  # it was there before the cut
            for name in ("pts", "dts"):
                value = getattr(packet, name)
                if value is not None:
                    setattr(new, name, value + late - shift)
            if late:
                new.duration = packet.duration - late
            new.stream = copy.stream
            close = is_text or self._muxer == "matroska"
            self._keep_rising(new, Fraction(0) if close else exact(copy.stream.time_base))
            yield (stamp + late - shift) * base, new

    def mux(self, packet: Any, output: Any) -> bool:
        """Write a packet of :meth:`packets`, and tell whether that was possible; damaged ones are counted.

        Raises:
            av.error.FFmpegError: the output cannot be written.
        """
        broken = load().error
        try:
            output.mux(packet)
        except (broken.InvalidDataError, broken.PatchWelcomeError):  # FFmpeg looks into the AAC of broadcasts
            self._damaged += 1
            return False
        return True

    def _keep_rising(self, packet: Any, apart: Fraction) -> None:
        """Move a packet that a muxer would not take: one that is decoded before the one that went before it.

        Args:
            packet: ready to be written.
            apart: seconds that must lie between two.
        """
        if packet.dts is None:
            return
        before = self._reached.get(packet.stream.index)
        base = exact(packet.time_base)
        if before is not None and packet.dts * base < before + apart:
            packet.dts = math.ceil((before + apart) / base)
            packet.pts = max(packet.pts, packet.dts) if packet.pts is not None else None
            self._moved += 1
        self._reached[packet.stream.index] = packet.dts * base

    def _copied(self, stream: Any, output: Any) -> Any:
        return named(output.add_stream_from_template(stream, opaque=True), stream, self._muxer)

    def _refuse_unknown(self, stream: Any) -> None:
        """Refuse sound of which FFmpeg knows too little to describe it in another file.

        Raises:
            OutputError: it is such.
        """
        if stream.codec_context is None or not stream.codec_context.sample_rate:
            path = str(self._path)
            raise OutputError(
                f"{path}: nothing is known of the sound in track {stream.index}, which may be empty or begin late; "
                f"leave it out first, for example by ffmpeg -i {shlex.quote(path)} -map 0 -map -0:{stream.index} "
                "-c copy less.mkv"
            )

    def _add_subtitle(self, stream: Any, output: Any) -> None:
        codec = _codec(stream)
        native = texts.NATIVE_TEXTS[self._muxer]
        if codec in texts.TEXTS and codec not in native:
            text = texts.TEXT_CODEC[self._muxer]
            new = output.add_stream(text)
            new.codec_context.subtitle_header = texts.ASS_HEADER.encode()
            new.time_base = new.codec_context.time_base = Fraction(1, 1000)
            self._copies[stream.index] = _Copy(named(new, stream, self._muxer), text)
        elif codec in texts.PICTURES and self._muxer != "matroska":
            self.left_out.append(f"subtitles of track {stream.index} ({codec}) are pictures; only .mkv holds them")
        else:
            try:
                self._copies[stream.index] = _Copy(self._copied(stream, output))
            except ValueError:  # a codec that the container, or FFmpeg, does not know
                self.left_out.append(
                    f"subtitles of track {stream.index} ({codec}) are left out; the output cannot hold them"
                )

    def _add_cover(self, stream: Any, output: Any) -> None:
        kind = _COVERS.get(_codec(stream))
        if self._muxer == "mp4" and kind is not None:
            self._copies[stream.index] = _Copy(self._copied(stream, output))
        elif self._muxer == "matroska" and kind is not None:
            suffix, mimetype = kind
            output.add_attachment(f"cover{suffix}", mimetype, _first_packet(self._path, stream.index))
        else:
            self.left_out.append("its cover is left out; only .mp4 and .mkv hold it")

    def _attach(self, stream: Any, output: Any) -> None:
        name = readable(stream.metadata).get("filename") or f"attachment-{stream.index}"
        if self._muxer == "matroska":
            output.add_attachment(name, stream.mimetype or "application/octet-stream", stream.data)
        else:
            self.left_out.append(f"the attachment {name} is left out; only .mkv holds it")


def _first_packet(path: Path, track: int) -> bytes:
    with open_source(path) as container:
        return next(bytes(packet) for packet in container.demux(container.streams[track]) if packet.size)


def _codec(stream: Any) -> str:
    return stream.codec_context.name if stream.codec_context is not None else "an unknown codec"
