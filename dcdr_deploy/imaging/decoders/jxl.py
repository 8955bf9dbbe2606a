"""JPEG XL (ISO/IEC 18181) by imagecodecs, which brings libjxl; the extra ``formats``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.imaging import exif, isobmff, jxl_header
from dcdr_deploy.imaging.declared import Declared
from dcdr_deploy.imaging.decoders import items
from dcdr_deploy.imaging.decoders.common import PILLOW_ERRORS, StoredSamples, UnreadableError, check_size, damaged
from dcdr_deploy.imaging.decoders.jpeg import decode_jpeg
from dcdr_deploy.imaging.jpegxl.bits import BrokenStreamError
from dcdr_deploy.imaging.orientation import exif_of_block
from dcdr_deploy.system import packages

PACKED_JPEG = b"jbrd"
"""Type of the box that says how the JPEG comes back (18181-2, 9.7)."""

_LONGEST_TEXT = 2**24
"""Bytes that all packed boxes of a file may have in all."""


def decode_jxl(data: bytes) -> StoredSamples:
    """Decode the first frame at its full depth; libjxl turns it upright.

    A JPEG that was packed without loss is unpacked and read as the JPEG that it was.

    Returns:
        Integers, or float32 where the file holds floating point: of the file's own curve and primaries.

    Raises:
        UnreadableError: damaged, too many pixels, colours that nobody here can tell, or imagecodecs is not installed.
    """
    try:
        parts = list(boxes_of(data))
        codestream = b"".join(body for kind, body in parts if kind == b"jxlc")
        header = jxl_header.parse(codestream)
    except (BrokenStreamError, isobmff.BrokenContainerError) as error:
        raise damaged(error) from error
    check_size(header.width, header.height)
    if not packages.installed("imagecodecs"):
        raise items.missing("JPEG XL", "imagecodecs", packages.install_line("formats"))
    kinds = {kind for kind, _ in parts}
    if PACKED_JPEG in kinds:
        stored = decode_jpeg(packed_jpeg(data))
        stored.mode = f"JPEG in JPEG XL, {stored.mode}"
        return stored
    declared = Declared(stated=header.colours, icc=header.icc)
    if header.icc is not None and header.xyb:
        declared = Declared(stated=jxl_header.NAMED_COLOURS)
        data, header = jxl_header.with_named_colours(codestream, header), replace(header, bits=16, floats=False)
    elif header.icc is None and header.colours is None:
        raise UnreadableError("describes its colours in no known terms; export it as PNG or TIFF")
    samples = _samples(data)
    if samples.dtype == np.float32:
        colour, alpha = items.split(samples)
    else:
        colour, alpha = items.split(items.expanded(samples, header.bits))
    if alpha is not None and header.alpha_premultiplied and alpha.dtype != np.float32:
        colour = items.unmultiplied(colour, alpha)
    block = exif_of(parts)
    if block:
        exif.declare(exif_of_block(block), declared)
    notes = []
    if header.extra_channels > (alpha is not None):
        notes.append(f"{header.extra_channels} extra channels; all but alpha left out")
    mode = ("L" if colour.ndim == 2 else "RGB") + ("A" if alpha is not None else "")
    return StoredSamples(
        colour,
        alpha,
        declared,
        stated_orientation=header.orientation,
        mode=f"{mode};{'float ' if header.floats else ''}{header.bits}",
        notes=notes,
    )


def exif_of(parts: list[tuple[bytes, bytes]]) -> bytes | None:
    """The Exif block (TIFF header and tags) of a file's boxes (18181-2, 9.4)."""
    body = next((body for kind, body in parts if kind == b"Exif"), b"")
    return body[4 + int.from_bytes(body[:4], "big") :] or None


def boxes_of(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(type, body) of a container's boxes, or of a bare codestream as one; pieces of one codestream are all ``jxlc``.

    Boxes that are packed by Brotli are unpacked where imagecodecs can, and left out where they are damaged
    or too long.
    """
    if data.startswith(jxl_header.CODESTREAM):
        yield b"jxlc", data
        return
    left = _LONGEST_TEXT
    for box in isobmff.boxes(data):
        stated = int.from_bytes(data[box.header : box.header + 4], "big")
        if stated > 1 and box.header + stated > len(data):
            raise isobmff.BrokenContainerError("the file ends too early")
        body = data[box.begin : box.end]
        if box.kind == b"jxlp":
            yield b"jxlc", body[4:]
        elif box.kind == b"brob":
            if left and packages.installed("imagecodecs"):
                import imagecodecs

                with suppress(imagecodecs.BrotliError, ValueError):
                    text = bytes(imagecodecs.brotli_decode(body[4:], out=left))
                    left -= len(text)
                    yield body[:4], text
        else:
            yield box.kind, body


def packed_jpeg(data: bytes) -> bytes:
    """The JPEG that was packed without loss.

    Raises:
        UnreadableError: damaged.
    """
    import imagecodecs

    try:
        return bytes(imagecodecs.jpegxl_decode_jpeg(data, numthreads=1))
    except (*PILLOW_ERRORS, imagecodecs.JpegxlError) as error:
        raise damaged(error) from error


def _samples(data: bytes) -> NDArray[Any]:
    """(H, W) or (H, W, 2..4), uint8, uint16 or float32, upright."""
    import imagecodecs

    try:
        samples = np.asarray(imagecodecs.jpegxl_decode(data, index=0))
    except (*PILLOW_ERRORS, imagecodecs.JpegxlError) as error:
        raise damaged(error) from error
    if samples.ndim not in (2, 3) or (samples.ndim == 3 and samples.shape[2] > 4):
        raise damaged(f"decoded as {samples.shape}")
    return samples.astype(np.float32) if samples.dtype == np.float16 else samples
