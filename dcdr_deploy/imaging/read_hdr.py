"""Reading linear HDR pictures: OpenEXR, Radiance, and 16-bit integer PNG and TIFF.

Integer files hold the network's [0, 1] x 65535 (imaging/integer16.py), linear, so nothing is decoded but the codes: no
sRGB curve, no ICC profile.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.errors import InputError
from dcdr_deploy.imaging.decoders import png, tiff
from dcdr_deploy.imaging.decoders.common import Stored, UnreadableError, damaged, quiet_decoders
from dcdr_deploy.imaging.orientation import upright

HDR_SUFFIXES = (".exr", ".hdr", ".png", ".tif", ".tiff")
"""Under which names folders are searched, in lower case."""

_EXR_MAGIC = b"\x76\x2f\x31\x01"
_RADIANCE_MAGICS = (b"#?RADIANCE", b"#?RGBE")
_READABLE = "give an OpenEXR, a Radiance .hdr, or a 16-bit PNG or TIFF"
_CODE_MAXIMUM = np.float32(65535)
_STDERR = 2


@dataclass(frozen=True)
class Picture:
    """One linear HDR picture.

    Attributes:
        path: the file.
        pixels: (H, W, 3) float32, linear, finite. Of integer files in [0, 1] of their own full scale; of the others as
            stored, by this project's convention in units of SDR white.
        integer: whether the file holds integers.
        peak: full scale in units of SDR white where the file says so, as those of ``dcdr-deploy run`` do.
    """

    path: Path
    pixels: NDArray[np.float32]
    integer: bool
    peak: float | None

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.pixels.shape[0], self.pixels.shape[1]


def read_hdr(path: str | os.PathLike[str]) -> Picture:
    """Read a picture, whatever its suffix says. Gray becomes RGB; alpha is left out.

    Raises:
        InputError: no file, damaged, another format, 8 bits, no RGB channels, or NaN or infinity in the pixels. One
            line that names the file.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL character in the path
        raise InputError(
            f"{path}: cannot be read ({getattr(error, 'strerror', None) or error}); check the path"
        ) from error
    try:
        for matches, read in _READERS:
            if matches(data):
                return _checked(path, *read(path, data))
        raise UnreadableError(f"is no HDR picture by its content; {_READABLE}" if data else "is empty (zero bytes)")
    except UnreadableError as refusal:
        raise InputError(f"{path}: {refusal}") from refusal
    except MemoryError as error:
        raise InputError(f"{path}: does not fit into memory; scale it down or cut it into parts") from error


_Read = tuple[NDArray[np.float32], bool, Mapping[str, str]]
"""Pixels, whether they were integers, and the header's strings by lower-case names."""


def _exr(path: Path, data: bytes) -> _Read:
    import OpenEXR

    del data  # the library reads files only
    try:
        with _quiet_library():
            opened = OpenEXR.File(str(path), separate_channels=True)
            header = opened.header() if opened.parts else {}
            channels = {name: channel.pixels for name, channel in (opened.channels() if opened.parts else {}).items()}
    except (RuntimeError, ValueError, UnicodeEncodeError) as error:  # how the binding reports all failures
        raise damaged(str(error).replace(str(path), "").strip(" '\"")) from error
    if not channels or any(pixels is None for pixels in channels.values()):
        raise damaged("its pixels cannot be read")
    names = ("R", "G", "B") if {"R", "G", "B"} <= set(channels) else ("Y", "Y", "Y")
    if names[0] not in channels:
        raise UnreadableError(f"has the channels {', '.join(sorted(channels))} and not R, G, B; export it as RGB")
    planes = [np.asarray(channels[name], np.float32) for name in names]
    if len({plane.shape for plane in planes}) > 1:
        raise UnreadableError("has channels of different sizes; export it as RGB without chroma subsampling")
    strings = {name.lower(): value for name, value in header.items() if isinstance(value, str)}
    return np.stack(planes, axis=-1), False, strings


def _radiance(path: Path, data: bytes) -> _Read:
    import cv2

    head = data[: data.find(b"\n\n") + 1].decode("latin-1")
    fields = dict(re.findall(r"^(\w+)\s*=\s*(.*)$", head, re.MULTILINE))
    if "xyze" in fields.get("FORMAT", ""):
        raise UnreadableError("holds XYZ colours; convert it to RGB")
    with quiet_decoders():
        try:
            bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        except cv2.error as error:
            raise damaged(error.err) from error
    if bgr is None or bgr.ndim != 3 or bgr.dtype != np.float32:
        raise damaged("the pixel data cannot be decoded")
    # Stored are exposed values: each EXPOSURE line says what the scene was multiplied by. OpenCV leaves that out.
    exposure = 1.0
    for value in re.findall(r"^EXPOSURE\s*=\s*(\S+)", head, re.MULTILINE):
        with suppress(ValueError):  # a line that is no number says nothing
            exposure *= float(value)
    if not (np.isfinite(exposure) and exposure > 0):
        raise damaged(f"its exposure is {exposure}")
    pixels = np.ascontiguousarray(bgr[..., ::-1]) / np.float32(exposure)
    return pixels, False, {name.lower(): value for name, value in fields.items()}


def _png(path: Path, data: bytes) -> _Read:
    from PIL import Image, UnidentifiedImageError

    with quiet_decoders():
        stored = png.decode_png(data)
        texts: dict[str, str] = {}
        with suppress(UnidentifiedImageError, OSError, SyntaxError, ValueError), Image.open(path) as opened:
            # Texts beside sound pixels are read if they can be: only the scale is wanted of them.
            texts = {name.lower(): str(value) for name, value in getattr(opened, "text", {}).items()}
    return _codes(stored), True, texts


def _tiff(path: Path, data: bytes) -> _Read:
    from PIL import Image, UnidentifiedImageError

    with quiet_decoders():
        stored = tiff.decode_tiff(data)
        description = ""
        with suppress(UnidentifiedImageError, OSError, SyntaxError, ValueError), Image.open(path) as opened:
            description = str(getattr(opened, "tag_v2", {}).get(270, ""))
    return _codes(stored), True, dict(re.findall(r"^(\w+)=(.*)$", description.lower(), re.MULTILINE))


def _codes(stored: Stored) -> NDArray[np.float32]:
    """16-bit codes as [0, 1], upright RGB."""
    if stored.colour.dtype != np.uint16:
        raise UnreadableError(f"has 8 bits a sample, which is SDR; {_READABLE}")
    colour = stored.colour
    if colour.ndim == 2:
        colour = np.repeat(colour[..., None], 3, axis=2)
    if colour.shape[2] != 3:
        raise UnreadableError("holds CMYK; export it as RGB")
    return upright(colour, stored.orientation).astype(np.float32) / _CODE_MAXIMUM


_READERS: tuple[tuple[Callable[[bytes], bool], Callable[[Path, bytes], _Read]], ...] = (
    (lambda data: data.startswith(_EXR_MAGIC), _exr),
    (lambda data: data.startswith(_RADIANCE_MAGICS), _radiance),
    (lambda data: data.startswith(png.SIGNATURE), _png),
    (lambda data: data.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")), _tiff),
)


def _checked(path: Path, pixels: NDArray[np.float32], integer: bool, strings: Mapping[str, str]) -> Picture:
    bad = ~np.isfinite(pixels).all(axis=-1)
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise UnreadableError(
            f"holds NaN or infinity in {int(bad.sum()):,} pixels, first at row {row}, column {column}; write it again"
        )
    return Picture(path, pixels, integer, _positive(strings.get("peak")))


def _positive(text: str | None) -> float | None:
    """A number above 0 that a header states, else ``None``."""
    try:
        value = float(text) if text else 0.0
    except ValueError:
        return None
    return value if np.isfinite(value) and value > 0 else None


@contextmanager
def _quiet_library() -> Iterator[None]:
    """Keep what OpenEXR prints about damaged files off both streams: the error says it once.

    The binding prints through Python's stdout, the C library to the second file descriptor.
    """
    with redirect_stdout(io.StringIO()), Path(os.devnull).open("w") as nowhere:
        try:
            saved = os.dup(_STDERR)
        except OSError:  # closed by whoever started us: nobody reads it
            yield
            return
        try:
            os.dup2(nowhere.fileno(), _STDERR)
            yield
        finally:
            os.dup2(saved, _STDERR)
            os.close(saved)
