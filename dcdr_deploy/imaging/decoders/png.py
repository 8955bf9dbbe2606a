"""PNG (W3C PNG, third edition) of 1 to 16 bits a sample.

The chunks are walked here, lengths and CRCs included, so that a truncated file is refused before a decoder sees it. The
decoders then get the critical chunks only. What the others may hold:

- ``cICP``, ``iCCP``, ``sRGB``, ``gAMA``, ``cHRM`` and the colour space in ``eXIf`` are handed on (``declared.py``);
- ``eXIf`` gives the orientation, too;
- texts of this tool's own files give their scale;
- ``acTL`` marks an animation, of which the default image is taken.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import numpy as np

from dcdr_deploy.imaging import exif
from dcdr_deploy.imaging.declared import Declared
from dcdr_deploy.imaging.decoders.common import StoredSamples, check_size, damaged, decode_with_opencv, own_peak
from dcdr_deploy.imaging.decoders.with_pillow import decode_with
from dcdr_deploy.imaging.orientation import ORIENTATION_TAG, exif_of_block, valid_orientation
from dcdr_deploy.system.words import number_of

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_DECODER_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_PIXEL_CHUNKS = (b"IHDR", b"IDAT", b"IEND")
_GRAY = 0  # colour type
_COLOUR_CHUNKS = (b"iCCP", b"sRGB", b"gAMA", b"cHRM")  # cICP may say HDR, which is not to be read as SDR
_PER_UNIT = 100_000  # gAMA and cHRM hold numbers times this
_LONGEST_TEXT = 2**16
_ICC_LIMIT = 2**25  # bytes; the largest real profiles (CMYK) have about 2 MB
_DEEP_MODE = {
    0: ("I;16", 1),
    2: ("RGB;16", 3),
    4: ("LA;16", 4),
    6: ("RGBA;16", 4),
}  # colour type: name, OpenCV's channels


_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # per pixel, by colour type
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_INTERLACE_AT = 28  # byte of the file
_INFLATE_AT_ONCE = 2**20


def decode_png(data: bytes) -> StoredSamples:
    """Decode a PNG at its full depth.

    Raises:
        UnreadableError: truncated or corrupt data, or too many pixels.
    """
    width, height, depth, colour_type = _header(data)
    check_size(width, height)
    notes: list[str] = []
    chunks = _chunks(data, notes)
    if depth == 16:
        stored = _decode_deep(data, chunks, width, height, colour_type)
    else:
        from PIL import PngImagePlugin

        _check_amount(data)  # Pillow leaves rows black that the data does not reach
        # Pillow compares the tRNS of gray with samples of 8 bits, whatever their depth: it is applied here.
        kept = _DECODER_CHUNKS if colour_type != _GRAY else _PIXEL_CHUNKS
        stored = decode_with(PngImagePlugin.PngImageFile, _pixel_stream(data, kept))
        if colour_type == _GRAY:
            stored.alpha = _transparent_gray(stored.colour, chunks.get(b"tRNS"), depth)
    stored.notes += notes
    stored.declared = _declared(chunks)
    if b"eXIf" in chunks:
        block = exif_of_block(chunks[b"eXIf"])
        stored.orientation = stored.stated_orientation = valid_orientation(block.get(ORIENTATION_TAG))
        exif.declare(block, stored.declared)
    stored.texts = _texts(data)
    stored.declared.own_peak = own_peak(stored.texts)
    if b"acTL" in chunks:
        stored.notes.append("animation: only its default image was read")
    return stored


def _header(data: bytes) -> tuple[int, int, int, int]:
    """Width, height, bit depth and colour type of IHDR, which must come first."""
    if len(data) < 33 or data[12:16] != b"IHDR":
        raise damaged("no header")
    width, height, depth, colour_type = struct.unpack_from(">IIBB", data, 16)
    return width, height, depth, colour_type


def _walk(data: bytes) -> list[tuple[bytes, int, int]]:
    """(type, offset, length with frame) of each chunk up to IEND."""
    found = []
    offset = len(SIGNATURE)
    while offset + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, offset)
        kind = data[offset + 4 : offset + 8]
        if offset + 12 + length > len(data):
            break
        found.append((kind, offset, length + 12))
        if kind == b"IEND":
            return found
        offset += length + 12
    raise damaged("the file ends too early")


def _chunks(data: bytes, notes: list[str]) -> dict[bytes, bytes]:
    """The first body of each kind but IDAT.

    Chunks that no decoder needs are left out, and noted, where their CRC is wrong (PNG 13.2), and those of colours
    where they come after the first IDAT (5.6).

    Raises:
        UnreadableError: a wrong CRC in the chunks decoders use.
    """
    view = memoryview(data)
    bodies: dict[bytes, bytes] = {}
    in_pixels = False
    for kind, offset, size in _walk(data):
        end = offset + size
        stated = int.from_bytes(view[end - 4 : end], "big")
        sound = zlib.crc32(view[offset + 4 : end - 4]) == stated
        if kind in _DECODER_CHUNKS and not sound:
            raise damaged(f"wrong checksum in chunk {kind.decode('ascii')}")
        if kind == b"IDAT":
            in_pixels = True
        elif not sound:
            notes.append(f"{ascii(kind.decode('latin-1'))[1:-1]} chunk ignored: wrong checksum")
        elif in_pixels and kind in _COLOUR_CHUNKS:
            notes.append(f"{kind.decode('ascii')} chunk ignored: it comes after the image data")
        else:
            bodies.setdefault(kind, bytes(view[offset + 8 : end - 4]))
    return bodies


def _pixel_stream(data: bytes, keep: tuple[bytes, ...] = _DECODER_CHUNKS) -> bytes:
    """The same PNG with only the chunks in ``keep``: nothing left that a decoder could apply, or choke on."""
    view = memoryview(data)
    return b"".join([SIGNATURE, *(view[o : o + n] for kind, o, n in _walk(data) if kind in keep)])


def _check_amount(data: bytes) -> None:
    """Refuse image data that inflates to fewer bytes than the header's size needs; the result is not kept."""
    width, height, depth, colour_type = _header(data)
    if colour_type not in _SAMPLES:
        raise damaged(f"colour type {colour_type}")
    bits = depth * _SAMPLES[colour_type]
    passes = _ADAM7 if data[_INTERLACE_AT] else ((0, 0, 1, 1),)
    missing = 0
    for x, y, dx, dy in passes:
        columns, rows = max(0, -(-(width - x) // dx)), max(0, -(-(height - y) // dy))
        missing += rows * (1 + -(-columns * bits // 8)) if columns else 0
    inflate = zlib.decompressobj()
    try:
        for kind, offset, size in _walk(data):
            if kind == b"IDAT":
                packed = data[offset + 8 : offset + size - 4]
                while missing > 0 and packed:
                    missing -= len(inflate.decompress(packed, _INFLATE_AT_ONCE))
                    packed = inflate.unconsumed_tail
    except zlib.error as error:
        raise damaged(error) from error
    while missing > 0 and (rest := inflate.decompress(b"", _INFLATE_AT_ONCE)):
        missing -= len(rest)
    if missing > 0:
        raise damaged(number_of(missing, "byte of image data is missing", "bytes of image data are missing", ","))


def _decode_deep(data: bytes, chunks: dict[bytes, bytes], width: int, height: int, colour_type: int) -> StoredSamples:
    """16 bits a sample by OpenCV (Pillow reads RGB of 16 bits as 8 without a word)."""
    if colour_type not in _DEEP_MODE:
        raise damaged(f"colour type {colour_type} with 16 bits")
    mode, channels = _DEEP_MODE[colour_type]
    shape = (height, width) if channels == 1 else (height, width, channels)
    # tRNS is kept from OpenCV, whose versions differ on it, and applied here.
    pixels = decode_with_opencv(_pixel_stream(data, keep=_PIXEL_CHUNKS), shape)
    if colour_type == 4:
        return StoredSamples(np.ascontiguousarray(pixels[..., 0]), np.ascontiguousarray(pixels[..., 3]), mode=mode)
    if colour_type == 6:
        return StoredSamples(np.ascontiguousarray(pixels[..., 2::-1]), np.ascontiguousarray(pixels[..., 3]), mode=mode)
    colour = pixels if channels == 1 else np.ascontiguousarray(pixels[..., ::-1])
    return StoredSamples(colour, _transparent_colour(colour, chunks.get(b"tRNS")), mode=mode)


def _transparent_colour(colour: np.ndarray, key: bytes | None) -> np.ndarray | None:
    """Alpha of a tRNS chunk: 0 where the samples equal the key, else 65535."""
    channels = 1 if colour.ndim == 2 else colour.shape[2]
    if key is None or len(key) != 2 * channels:
        return None
    same = colour == np.frombuffer(key, ">u2").astype(np.uint16)
    opaque = ~(same if channels == 1 else same.all(axis=-1))
    return opaque.astype(np.uint16) * np.uint16(65535)


def _transparent_gray(gray: np.ndarray, key: bytes | None, depth: int) -> np.ndarray | None:
    """Alpha of a tRNS chunk beside gray of up to 8 bits: 0 where samples, widened to 8 bits, equal the key's."""
    if key is None or len(key) != 2:
        return None
    top = 2**depth - 1
    code = (int.from_bytes(key, "big") & top) * 255 // top
    return np.where(gray == code, 0, 255).astype(np.uint8)


def _declared(chunks: dict[bytes, bytes]) -> Declared:
    """What the colour chunks say; those of a wrong length are told and say nothing."""
    declared = Declared(srgb=b"sRGB" in chunks, icc=_icc(chunks[b"iCCP"]) if b"iCCP" in chunks else None)
    for kind, length in ((b"cICP", 4), (b"gAMA", 4), (b"cHRM", 32)):
        body = chunks.get(kind)
        if body is not None and len(body) != length:
            declared.notes.append(f"{kind.decode('ascii')} chunk ignored: it has {number_of(len(body), 'byte')}")
        elif body is not None and kind == b"cICP":
            colours, transfer, matrix, full_range = body
            declared.cicp = colours, transfer, matrix, full_range
        elif body is not None and kind == b"gAMA":
            declared.gamma = struct.unpack(">I", body)[0] / _PER_UNIT
        elif body is not None:
            white_x, white_y, *colours_xy = (number / _PER_UNIT for number in struct.unpack(">8i", body))
            declared.chromaticities = (*colours_xy, white_x, white_y)
    return declared


def ancillary(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(type, body) of the chunks with texts and Exif, in order.

    Raises:
        UnreadableError: the file ends too early.
    """
    for kind, offset, size in _walk(data):
        if kind in (b"eXIf", b"tEXt", b"zTXt", b"iTXt"):
            yield kind, data[offset + 8 : offset + size - 4]


def _texts(data: bytes) -> dict[str, str]:
    """tEXt and plain iTXt chunks by lower-case keywords: what this tool writes and asks for."""
    found: dict[str, str] = {}
    for kind, offset, size in _walk(data):
        if kind not in (b"tEXt", b"iTXt") or size > _LONGEST_TEXT:
            continue
        keyword, _, rest = data[offset + 8 : offset + size - 4].partition(b"\0")
        if kind == b"iTXt":
            if rest[:1] != b"\0":
                continue
            rest = rest[2:].split(b"\0", 2)[-1]
        found[keyword.decode("latin-1").lower()] = rest.decode("utf-8", "replace")
    return found


def _icc(body: bytes) -> bytes:
    """The profile in an iCCP chunk. A damaged one comes back as it is; the colour conversion then reports it."""
    _, _, packed = body.partition(b"\0")
    try:
        return zlib.decompressobj().decompress(packed[1:], _ICC_LIMIT) or b"\0"
    except zlib.error:
        return b"\0"
