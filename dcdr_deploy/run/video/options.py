"""What a user may say about a video beside what is said about pictures."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fractions import Fraction

from dcdr_deploy.errors import InputError
from dcdr_deploy.run.video.codecs import CODECS
from dcdr_deploy.run.video.target import ENCODERS, EncodeOptions
from dcdr_deploy.system.defaults import changed

STOP, SKIP, REPEAT = "stop", "skip", "repeat"
ON_ERROR = (STOP, SKIP, REPEAT)

SEGMENT_FRAMES = 240
"""Frames of a segment: ten seconds of film. So much is computed again after a kill, and there a key frame stands."""

DEFAULT_TEMPORAL = 0.8
"""Beyond it next to nothing is gained: benchmarks/results/flicker.md."""

LARGEST_TEMPORAL = 0.95

_TIME = re.compile(r"(?:(?:(\d+):)?(\d{1,2}):)?(\d+(?:\.\d*)?|\.\d+)")


@dataclass(frozen=True)
class VideoOptions:
    """How a video is read and written.

    Attributes:
        encode: codec, quality, encoder.
        start: seconds from the first frame on at which to begin; the output's clock begins there.
        end: seconds from the first frame on at which to end.
        frames: most frames to write.
        deinterlace: make whole frames of fields.
        on_error: what becomes of a frame that cannot be decoded: ``"stop"`` ends the run, ``"skip"`` leaves it out,
            ``"repeat"`` puts the one before in its place.
        segment_frames: frames of a segment.
        temporal: share of the frames before in what is restored (steady.py), above 0 and at most
            :data:`LARGEST_TEMPORAL`; 0 is off. ``None`` is :data:`DEFAULT_TEMPORAL`, and off where the network works at
            scale ``"native"``.

    Raises:
        InputError: a value out of range, or an unknown name.
    """

    encode: EncodeOptions = field(default_factory=EncodeOptions)
    start: Fraction | None = None
    end: Fraction | None = None
    frames: int | None = None
    deinterlace: bool = False
    on_error: str = STOP
    segment_frames: int = SEGMENT_FRAMES
    temporal: float | None = None

    def __post_init__(self) -> None:
        for name, value, known in (
            ("codec", self.encode.codec, tuple(CODECS)),
            ("encoder", self.encode.encoder, ENCODERS),
            ("on_error", self.on_error, ON_ERROR),
        ):
            if value is not None and value not in known:
                raise InputError(f"unknown {name} {value!r}; choose one of {', '.join(known)}")
        if self.frames is not None and self.frames < 1:
            raise InputError(f"frames must be at least 1, not {self.frames}")
        if self.segment_frames < 1:
            raise InputError(f"a segment has at least 1 frame, not {self.segment_frames}")
        if self.temporal is not None and not 0 <= self.temporal <= LARGEST_TEMPORAL:  # NaN too
            raise InputError(f"temporal must be off or 0 to {LARGEST_TEMPORAL:g}, not {self.temporal:g}")
        start = self.start or Fraction(0)
        if self.end is not None and self.end <= start:
            raise InputError(f"the end at {float(self.end):g} s must come after the start at {float(start):g} s")

    def refuse_for(self, picture: str) -> None:
        """Refuse what is asked for of a video where there is none.

        Args:
            picture: name of what there is.

        Raises:
            InputError: something is not at its default.
        """
        self.refuse_encoding(picture)
        for name in changed(self):
            raise InputError(f"{picture}: `{name}` is for videos; leave it out")

    def refuse_encoding(self, picture: str) -> None:
        """Refuse what is asked for of a video's codec where pictures are written.

        Args:
            picture: name of what there is.

        Raises:
            InputError: something of the kind is not at its default.
        """
        for name in changed(self.encode):
            raise InputError(f"{picture}: `{name}` is for videos; leave it out")


DEFAULT_VIDEO_OPTIONS = VideoOptions()


def parse_time(text: str) -> Fraction:
    """Read seconds, minutes and seconds, or hours too: ``90``, ``1:30.5``, ``0:01:30``.

    Raises:
        InputError: anything else.
    """
    match = _TIME.fullmatch(text.strip())
    if match is None:
        raise InputError(f"{text!r} is no time; write seconds or h:mm:ss, for example 90 or 0:01:30.5")
    hours, minutes, seconds = (Fraction(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + seconds


def parse_temporal(text: str) -> float:
    """Read ``off`` or a number.

    Raises:
        InputError: anything else.
    """
    word = text.strip().lower()
    if word == "off":
        return 0.0
    try:
        return float(word)
    except ValueError:
        raise InputError(f"temporal {text!r} is not known; use off, or 0 to {LARGEST_TEMPORAL:g}") from None
