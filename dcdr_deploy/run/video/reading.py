"""How each frame is read: by its own pixel format and tags, and by its container's where the stream says nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dcdr_deploy.errors import InputError
from dcdr_deploy.imaging import h273
from dcdr_deploy.run.video import colours
from dcdr_deploy.run.video.colours import Colours, Tags
from dcdr_deploy.run.video.package import side_data_of
from dcdr_deploy.run.video.planes import PixelFormat, pixel_format
from dcdr_deploy.run.video.siting import by_codec, measured

_TAGGED_CONTAINERS = ("mov,", "matroska,", "mxf")
"""Beginnings of FFmpeg's names of formats that say what colours are, beside the stream."""

_FULL_GRAY = frozenset({"rawvideo", "ffv1", "png", "huffyuv", "ffvhuff", "magicyuv", "jpeg2000", "tiff", "dpx", "bmp"})
"""Codecs of pictures, whose gray begins at 0 where nothing is said, as FFmpeg takes it; those of video begin at 16."""

_DOLBY_VISION = frozenset({"dvh1", "dvhe", "dva1", "dvav", "dav1"})
"""Sample entries of Dolby Vision that no other decoder shows rightly (Dolby Vision in ISO BMFF, 3.1)."""

_HDR10_DATA = frozenset({"MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL"})


@dataclass(frozen=True)
class Reading:
    """How a frame's samples are read.

    Attributes:
        format: its planes.
        colours: what the samples stand for.
    """

    format: PixelFormat
    colours: Colours


class Readings:
    """Tells of each frame of a video how it is read.

    Attributes:
        notes: sentences about contradictions.
    """

    def __init__(self, container: Any, context: Any) -> None:
        """Look at a video before any frame of it is decoded; a decoder may forget what the container said.

        Args:
            container: PyAV's.
            context: of the video track.
        """
        self._codec: str = context.name
        says = container.format.name.startswith(_TAGGED_CONTAINERS)
        self._container = _tags(context) if says else Tags()
        self._is_dolby_vision = context.codec_tag in _DOLBY_VISION
        self._siting = by_codec(self._codec)
        self._known: dict[tuple[Any, ...], Reading] = {}
        self.notes: list[str] = []

    def measure(self, frame: Any) -> None:
        """Find out where chroma lies, by a frame that is not needed any more: its samples are lost.

        Raises:
            InputError: as :meth:`of`.
        """
        self._siting = measured(frame, self._codec)

    @property
    def kinds(self) -> int:
        """How many ways of reading there are so far."""
        return len({(found.format.name, found.colours.name) for found in self._known.values()})

    def of(self, frame: Any) -> Reading:
        """Return how a decoded frame is read.

        Raises:
            InputError: it is HDR, or its format or matrix is none that is read; without the file's name.
        """
        stream = _tags(frame)
        key = (frame.format.name, frame.width, frame.height, stream)
        if key not in self._known:
            self._known[key] = self._resolved(frame, stream)
        return self._known[key]

    def _resolved(self, frame: Any, stream: Tags) -> Reading:
        tags = stream.or_else(self._container)
        if tags.transfer in colours.UNSPECIFIED:
            self._refuse_hdr_without_tags(frame)
        if self._container.transfer in (h273.PQ, h273.HLG):
            colours.refuse_hdr(self._container.transfer)
        kind = pixel_format(frame.format.name, centred=self._siting.centred, level=self._siting.level)
        about = colours.resolve(
            tags,
            frame.width,
            frame.height,
            is_rgb=kind.is_rgb,
            is_gray=kind.is_gray,
            full_by_format=kind.full_range,
            full_gray=self._codec in _FULL_GRAY,
        )
        if not self._known:
            self._note_contradictions(stream)
        return Reading(kind, about)

    def _refuse_hdr_without_tags(self, frame: Any) -> None:
        kinds = side_data_of(frame).keys()
        if self._is_dolby_vision or any(kind.startswith("DOVI_") for kind in kinds):
            raise InputError("is HDR already (Dolby Vision); this tool makes HDR of SDR")
        if kinds & _HDR10_DATA:
            raise InputError(
                "says how bright it is in cd/m2 but not by which curve, so it seems to be HDR10 that lost its tags; "
                "this tool makes HDR of SDR"
            )

    def _note_contradictions(self, stream: Tags) -> None:
        differ = self._container.differences(stream)
        if differ:
            self.notes.append(f"its container contradicts its stream about {' and '.join(differ)}: the stream counts")


def left_out_of(frame: Any) -> list[str]:
    """Return sentences about what a frame holds beside its colours."""
    kinds = side_data_of(frame).keys()
    found = {
        "closed captions within the pictures are left out": "A53_CC" in kinds,
        "its alpha channel is left out": any(channel.is_alpha for channel in frame.format.components),
    }
    return [sentence for sentence, there in found.items() if there]


def _tags(of: Any) -> Tags:
    return Tags(of.color_primaries, of.color_trc, of.colorspace, of.color_range)
