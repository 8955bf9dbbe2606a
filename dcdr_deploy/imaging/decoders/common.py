"""What all decoders share: their result, their refusal, the size limit and silence on stderr."""

from __future__ import annotations

import re
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.imaging.declared import Declared

MAX_PIXELS = 2**28
"""Largest picture taken, in pixels (about 268 million, 16384 x 16384). Checked in the header, before decoding."""

PILLOW_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    EOFError,
    RuntimeError,
    struct.error,
    zlib.error,
)
"""What Pillow's decoders raise for damaged files. The set is open-ended (each plugin parses its own headers in Python),
so these are the bases of all that its plugins document or let through. Only calls into Pillow stand in such a block."""

DAMAGED = "is damaged or incomplete ({detail}); copy or export it again"
UNSUPPORTED = "cannot be decoded here ({detail}); export it as 8- or 16-bit PNG, or as TIFF with deflate or LZW"

_NO_DAMAGE = re.compile(
    r"unsupported|not supported|unknown|unrecognized|cannot handle|not implemented|not configured|not available",
    re.IGNORECASE,
)
"""How decoder libraries word what they have no code for."""


class UnreadableError(Exception):
    """A refusal inside a decoder: what is wrong and what to do, without the file's name (``read_image`` adds it)."""


def damaged(detail: object) -> UnreadableError:
    """The refusal of a truncated or corrupt file; of an unsupported one, where the decoder's words say that."""
    said = " ".join(str(detail).split()) or "no detail from the decoder"
    if _NO_DAMAGE.search(said):
        return unsupported(said)
    return UnreadableError(DAMAGED.format(detail=said))


def unsupported(detail: str) -> UnreadableError:
    """The refusal of a sound file that no decoder here knows."""
    return UnreadableError(UNSUPPORTED.format(detail=detail))


@dataclass
class StoredSamples:
    """Samples as the file stores them, before orientation and colour conversion.

    Attributes:
        colour: (H, W) gray, (H, W, 3) RGB or (H, W, 4) CMYK with 0 = no ink; uint8 or uint16.
        alpha: (H, W) in the colour's dtype, not multiplied into the colour; ``None`` without alpha.
        declared: what the file says about the light of its samples.
        orientation: what is still to be applied, 1..8.
        stated_orientation: what the file says; differs where the decoder has turned the picture already.
        mode: the file's own sample layout, for the metadata.
        texts: strings of the header by lower-case names, where the format has them.
        notes: sentences about anything that was left out or reduced.
    """

    colour: NDArray[Any]
    alpha: NDArray[Any] | None = None
    declared: Declared = field(default_factory=Declared)
    orientation: int = 1
    stated_orientation: int = 1
    mode: str = ""
    texts: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def own_peak(texts: Mapping[str, str]) -> str | None:
    """The scale in the header of a 16-bit file that this tool has written; ``None`` in all others."""
    ours = texts.get("software", "").startswith("dcdr-deploy") or "weightssha256" in texts
    return texts.get("peak") if ours else None


_most_pixels: ContextVar[int] = ContextVar("most pixels", default=MAX_PIXELS)


@contextmanager
def at_most_pixels(limit: int) -> Iterator[None]:
    """Refuse pictures of more pixels than ``limit`` in the block, on this thread; never more than MAX_PIXELS."""
    before = _most_pixels.set(min(limit, MAX_PIXELS))
    try:
        yield
    finally:
        _most_pixels.reset(before)


def check_size(width: int, height: int) -> None:
    """Refuse empty pictures and those beyond :data:`MAX_PIXELS`, or the limit of :func:`at_most_pixels`."""
    if width < 1 or height < 1:
        raise damaged(f"its header says {width} x {height} pixels")
    most = _most_pixels.get()
    if width * height > most:
        raise UnreadableError(
            f"is {width} x {height} = {width * height:,} pixels, above the limit of {most:,}; "
            "scale it down or cut it into parts"
        )


_quiet_lock = threading.Lock()
_quiet_depth = 0
_quiet_restore: list[Any] = []


@contextmanager
def quiet_decoders() -> Iterator[None]:
    """Keep Python warnings and OpenCV's log off stderr: a bad file is told once, by our own sentence.

    Pillow's own limit of pixels, lower than ours and a traceback in the midst of decoding, is lifted, too. All three
    settings are global to the process, so threads share one switch: the first in sets it, the last out restores.
    """
    global _quiet_depth
    import cv2
    from PIL import Image

    log = getattr(cv2.utils, "logging", cv2)  # where the two functions are in OpenCV 5, and in 4
    with _quiet_lock:
        if _quiet_depth == 0:
            catcher = warnings.catch_warnings()
            catcher.__enter__()
            warnings.simplefilter("ignore")
            _quiet_restore[:] = [catcher, log.getLogLevel(), Image.MAX_IMAGE_PIXELS]
            log.setLogLevel(0)  # silent
            Image.MAX_IMAGE_PIXELS = None
        _quiet_depth += 1
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet_depth -= 1
            if _quiet_depth == 0:
                catcher, level, Image.MAX_IMAGE_PIXELS = _quiet_restore
                log.setLogLevel(level)
                catcher.__exit__(None, None, None)


def decode_with_opencv(data: bytes, shape: tuple[int, ...]) -> NDArray[np.uint16]:
    """Decode a 16-bit picture in memory as stored: no orientation, no colour management, OpenCV's channel order.

    Raises:
        UnreadableError: OpenCV refuses the data or the result has not the announced ``shape``.
    """
    import cv2

    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise damaged(error.err) from error
    if pixels is None:
        raise damaged("the pixel data cannot be decoded")
    if pixels.shape != shape or pixels.dtype != np.uint16:
        raise damaged(f"decoded as {pixels.shape} {pixels.dtype}, announced as {shape} uint16")
    return np.asarray(pixels, dtype=np.uint16)
