"""What HEIF and AVIF share: which picture is shown, what it says of its colours, and how it stands.

All of it is read from the container (``isobmff.py``) before a decoder sees the file: size, missing bytes, colours (box
``colr``; ISO/IEC 14496-12, 12.1.5) and the properties ``clap``, ``irot`` and ``imir`` (ISO/IEC 23008-12, 6.5), which
alone say how the picture stands. Exif's orientation says nothing there.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.imaging import av1_header, exif, h273, hevc_header, isobmff
from dcdr_deploy.imaging.declared import Declared, Stated
from dcdr_deploy.imaging.decoders.common import UnreadableError, check_size, damaged, unsupported
from dcdr_deploy.imaging.orientation import exif_of_block, orientation_of
from dcdr_deploy.imaging.stream_bits import UnknownStreamError

_CONFIGURATION = 4  # bytes before the headers in ``av1C`` (AV1 in ISOBMFF, 2.3.3)
_XMP = b"application/rdf+xml"


@dataclass
class Shown:
    """The primary picture of a file.

    Attributes:
        container: all items.
        size: (width, height) as coded.
        coded: type of the coded pixels, such as ``b"hvc1"``.
        bits: of a sample.
        declared: what is said about its light.
        orientation: 1..8, by ``irot`` and ``imir``.
        crop: rows and columns that remain by ``clap``; ``None`` for all.
        exif: the Exif block (TIFF header and tags), if any.
        xmp: the XMP packet, if any.
        notes: sentences about what was left out.
    """

    container: isobmff.Container
    size: tuple[int, int]
    coded: bytes
    bits: int
    declared: Declared
    orientation: int
    crop: tuple[slice, slice] | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    notes: list[str] = field(default_factory=list)


def shown(data: bytes) -> Shown:
    """Read what a file says of its primary picture.

    Raises:
        UnreadableError: damaged, too many pixels, or bytes that are missing.
    """
    try:
        container = isobmff.read(data)
        primary = container.primary
        width, height = container.size_of(primary)
        check_size(width, height)
        coded = container.coded_kind(primary)
        container.check_complete(primary)
    except isobmff.BrokenContainerError as error:
        raise damaged(error) from error
    item = container.items[primary]
    declared = declared_of(item)
    declared.stated = _completed(declared.stated, container, primary)
    result = Shown(container, (width, height), coded, bits_of(container, primary), declared, _stands(item.properties))
    result.crop = clean_aperture(item.property(b"clap"), width, height, result.notes)
    result.exif, result.xmp = described(container, primary)
    if result.exif:
        exif.declare(exif_of_block(result.exif), result.declared)
    return result


def bits_of(container: isobmff.Container, item: int) -> int:
    """Bits of a sample of an item by ``pixi``, else by the configuration of its AV1 or HEVC, else 8."""
    for each in (item, *container.targets(b"dimg", item)[:1]):
        found = container.items[each]
        pixi, av1, hevc = found.property(b"pixi"), found.property(b"av1C"), found.property(b"hvcC")
        if pixi is not None and len(pixi) > 5:
            return max(pixi[5:])
        if av1 is not None and len(av1) > 2:  # av1-isobmff 2.3.3: high_bitdepth, twelve_bit
            return 8 if not av1[2] & 0x40 else 12 if av1[2] & 0x20 else 10
        if hevc is not None and len(hevc) > 17:  # 14496-15, 8.3.3.1: bitDepthLumaMinus8
            return 8 + (hevc[17] & 7)
    return 8


def _completed(stated: Stated | None, container: isobmff.Container, item: int) -> Stated | None:
    """What ``nclx`` leaves open, filled from the coded stream: what it says holds where the file says nothing."""
    given = (h273.UNSPECIFIED, h273.UNSPECIFIED) if stated is None else (stated.primaries, stated.transfer)
    if h273.UNSPECIFIED not in given:
        return stated
    in_stream = _of_stream(container, item)
    if in_stream is None:
        return stated
    primaries = in_stream[0] if given[0] == h273.UNSPECIFIED else given[0]
    transfer = in_stream[1] if given[1] == h273.UNSPECIFIED else given[1]
    by = "its coded stream" if stated is None else f"{stated.by} and its coded stream"
    return Stated(by, primaries, transfer)


def _of_stream(container: isobmff.Container, item: int) -> tuple[int, int] | None:
    """Primaries and transfer in the AV1 or HEVC of an item, or of its first tile; ``None`` without."""
    coded = (container.targets(b"dimg", item) or (item,))[0]
    found = container.items.get(coded)
    av1, hevc = (found.property(b"av1C"), found.property(b"hvcC")) if found is not None else (None, None)
    try:
        if hevc is not None:
            said = hevc_header.colours_of(hevc)
        elif av1 is not None:
            said = av1_header.colours_of(av1[_CONFIGURATION:] or container.payload(coded))
        else:
            return None
    except (UnknownStreamError, isobmff.BrokenContainerError):  # the decoder tells what is damaged
        return None
    return None if said == (h273.UNSPECIFIED,) * 2 else said


def declared_of(item: isobmff.Item) -> Declared:
    """What an item's ``colr`` boxes say. Without one it is sRGB (MIAF, ISO/IEC 23000-22, 7.3.6.4)."""
    declared = Declared()
    for kind, body in item.properties:
        if kind == b"colr" and body[:4] in (b"prof", b"rICC"):
            declared.icc = declared.icc or body[4:]
        elif kind == b"colr" and body[:4] == b"nclx" and len(body) >= 10:
            primaries, transfer = struct.unpack_from(">HH", body, 4)
            # Decoders undo matrix and narrow range when they make RGB.
            declared.stated = declared.stated or Stated("nclx", primaries, transfer)
    return declared


def expanded(codes: NDArray[Any], bits: int) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Codes of ``bits`` bits over the full range of 8 or 16 bits.

    Raises:
        UnreadableError: more than 16 bits, or the decoder gave others than the file announces.
    """
    if bits > 16:
        raise unsupported(f"samples of {bits} bits are not supported")
    if codes.dtype != (np.uint8 if bits <= 8 else np.uint16):
        raise damaged(f"decoded as {codes.dtype}, announced with {bits} bits")
    kind, full = (np.uint8, 255) if bits <= 8 else (np.uint16, 65535)
    top = 2**bits - 1
    if top == full:
        return np.ascontiguousarray(codes, kind)
    return ((np.minimum(codes, top).astype(np.uint32) * full + top // 2) // top).astype(kind)


def unmultiplied(colour: NDArray[Any], alpha: NDArray[Any]) -> NDArray[Any]:
    """Integer colour that was multiplied by alpha, divided by it again; black where there is none."""
    top = int(np.iinfo(colour.dtype).max)
    over = alpha if colour.ndim == 2 else alpha[..., None]
    quotient = (colour.astype(np.uint64) * np.uint64(top) + over // 2) // np.maximum(over, 1)
    return np.minimum(np.where(over > 0, quotient, 0), top).astype(colour.dtype)


def split(samples: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Colour and alpha of (H, W), (H, W, 1..4) samples; one channel of colour becomes (H, W)."""
    if samples.ndim == 2:
        return samples, None
    channels = samples.shape[2]
    colour = samples[..., 0] if channels < 3 else samples[..., :3]
    alpha = np.ascontiguousarray(samples[..., -1]) if channels in (2, 4) else None
    return np.ascontiguousarray(colour), alpha


def missing(what: str, package: str, line: str) -> UnreadableError:
    """The refusal of a sound file whose decoder is not installed."""
    return UnreadableError(f"is {what}, which {package} decodes; install it: {line}")


def _stands(properties: list[tuple[bytes, bytes]]) -> int:
    """The orientation that ``irot`` (quarter turns against the clock) and ``imir`` come to, in their order."""
    probe: NDArray[Any] = np.arange(6).reshape(2, 3)
    turned = probe
    for kind, body in properties:
        if kind == b"irot" and body:
            turned = np.rot90(turned, body[0] & 3)
        elif kind == b"imir" and body:
            turned = turned[:, ::-1] if body[0] & 1 else turned[::-1]
    return orientation_of(probe, turned)


def clean_aperture(clap: bytes | None, width: int, height: int, notes: list[str]) -> tuple[slice, slice] | None:
    """Rows and columns of a clean aperture (14496-12, 12.1.4): a size, and where its centre lies from the picture's.

    Args:
        clap: the body of the box, if there is one.
        width, height: of the picture, in pixels.
        notes: gets a sentence if it cannot be applied, as the result is ``None`` then.
    """
    if clap is None or len(clap) < 32:
        return None
    numbers = struct.unpack_from(">8i", clap)
    pairs = list(zip(numbers[::2], numbers[1::2], strict=True))
    if all(below > 0 for _, below in pairs):
        wide, high, x, y = (Fraction(above, below) for above, below in pairs)
        left, top = Fraction(width) / 2 + x - wide / 2, Fraction(height) / 2 + y - high / 2
        right, bottom = left + wide, top + high
        edges = (left, top, right, bottom)
        inside = 0 <= left < right <= width and 0 <= top < bottom <= height
        if inside and all(edge.denominator == 1 for edge in edges):
            return slice(int(top), int(bottom)), slice(int(left), int(right))
    notes.append("clean aperture of part pixels, or beyond the picture, not applied")
    return None


def described(container: isobmff.Container, picture: int) -> tuple[bytes | None, bytes | None]:
    """Exif block and XMP packet of a picture; damaged ones are none."""
    exif_block = xmp = None
    for number in container.sources(b"cdsc", picture):
        item = container.items.get(number)
        try:
            if item is not None and item.kind == b"Exif":
                body = container.payload(number)
                # 23008-12, A.2.1: how far the TIFF header is from the end of this number.
                exif_block = body[4 + int.from_bytes(body[:4], "big") :] or None
            elif item is not None and item.kind == b"mime" and item.content_type == _XMP:
                xmp = container.payload(number)
        except isobmff.BrokenContainerError:  # says nothing about the pixels
            continue
    return exif_block, xmp


def unknown_coding(coded: bytes) -> UnreadableError:
    """The refusal of a picture coded as something that no decoder here knows."""
    return unsupported(f"its picture is coded as {coded.decode('latin-1')!r}, which is not supported")
