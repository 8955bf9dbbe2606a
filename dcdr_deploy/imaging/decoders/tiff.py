"""TIFF 6.0 and BigTIFF: up to 8 bits a sample by Pillow, 16 bits by our own layout and OpenCV's decompressors.

Neither library reads every 16-bit layout right (Pillow keeps 8 bits of RGB; OpenCV mixes up separate planes, reduces
gray + alpha to 8 bits, leaves white-is-zero as it is), so the samples' layout is undone here. OpenCV only sees plain
gray pictures whose rows are the stored samples.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.imaging import tiff_file as t
from dcdr_deploy.imaging.decoders.common import (
    PILLOW_ERRORS,
    Stored,
    UnreadableError,
    check_size,
    damaged,
    decode_with_opencv,
)
from dcdr_deploy.imaging.decoders.with_pillow import decode_with
from dcdr_deploy.imaging.orientation import ORIENTATION_TAG, valid_orientation

_NEW_SUBFILE_TYPE, _SUB_IFDS, _ICC_PROFILE, _DNG_VERSION = 254, 330, 34675, 50706
_UNSIGNED, _SIGNED, _FLOAT, _VOID = 1, 2, 3, 4  # SampleFormat
_SEPARATE_PLANES = 2
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _CMYK = 0, 1, 2, 5  # PhotometricInterpretation
_COLOUR_SAMPLES = {_WHITE_IS_ZERO: 1, _BLACK_IS_ZERO: 1, _RGB: 3, _CMYK: 4}
_EXPORT_ADVICE = "export it as 16-bit RGB TIFF or PNG"


def decode_tiff(data: bytes) -> Stored:
    """Decode the first page at its full depth.

    Raises:
        UnreadableError: truncated or corrupt data, too many pixels, a camera RAW file, floating-point samples, or a
            16-bit layout beyond gray, RGB and CMYK.
    """
    tags, more_pages = _first_directory(data)
    if _DNG_VERSION in tags or (tags.get(_NEW_SUBFILE_TYPE, 0) == 1 and _SUB_IFDS in tags):
        raise UnreadableError("is a camera RAW file; develop it to an 8- or 16-bit SDR picture first")
    try:
        width, height = int(tags[t.WIDTH]), int(tags[t.HEIGHT])
        bits = set(_numbers(tags.get(t.BITS, 1)))
        formats = set(_numbers(tags.get(t.SAMPLE_FORMAT, _UNSIGNED)))
    except (KeyError, TypeError, ValueError) as error:
        raise damaged("no usable directory") from error
    check_size(width, height)
    if formats & {_FLOAT}:
        raise UnreadableError("holds floating-point samples, so it is HDR already; give an 8- or 16-bit SDR picture")
    if not formats <= {_UNSIGNED, _VOID} or max(bits) > 16 or (max(bits) > 8 and bits != {16}):
        raise UnreadableError(
            f"has samples of {'/'.join(map(str, sorted(bits)))} bits in an unusual format; {_EXPORT_ADVICE}"
        )
    _check_segments(data, tags)
    if bits == {16}:
        stored = _decode_deep(data, tags, width, height)
    else:
        from PIL import TiffImagePlugin

        stored = decode_with(TiffImagePlugin.TiffImageFile, data)
        stored.notes.clear()  # its count of pages walks the whole file; the directory has said it already
    if more_pages:
        stored.notes.append("first of several pages")
    return stored


def _first_directory(data: bytes) -> tuple[Mapping[int, Any], bool]:
    """The tags of the first page, and whether others follow."""
    from PIL import TiffImagePlugin

    big = data[2:4] in (b"+\0", b"\0+")
    try:
        directory = TiffImagePlugin.ImageFileDirectory_v2(data[: 16 if big else 8])
        stream = io.BytesIO(data)
        stream.seek(directory.next)
        directory.load(stream)
        return dict(directory), bool(directory.next)
    except PILLOW_ERRORS as error:
        raise damaged(error) from error


def _numbers(value: Any) -> tuple[int, ...]:
    return tuple(int(v) for v in value) if isinstance(value, tuple) else (int(value),)


def _segments(tags: Mapping[int, Any]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Offsets and byte counts of the strips or tiles; empty counts where an old writer left them out."""
    tiled = t.TILE_WIDTH in tags
    try:
        offsets = _numbers(tags[t.TILE_OFFSETS if tiled else t.STRIP_OFFSETS])
        return offsets, _numbers(tags.get(t.TILE_BYTES if tiled else t.STRIP_BYTES, ()))
    except (KeyError, TypeError, ValueError) as error:
        raise damaged("the directory names no pixel data") from error


def _check_segments(data: bytes, tags: Mapping[int, Any]) -> None:
    """Refuse a file whose directory points past its end: truncated, whatever a decoder would make of it."""
    offsets, counts = _segments(tags)
    sizes = counts if len(counts) == len(offsets) else (0,) * len(offsets)
    if any(offset + size > len(data) for offset, size in zip(offsets, sizes, strict=True)):
        raise damaged("the pixel data ends too early")


def _decode_deep(data: bytes, tags: Mapping[int, Any], width: int, height: int) -> Stored:
    photometric, samples = tags.get(t.PHOTOMETRIC), int(tags.get(t.SAMPLES_PER_PIXEL, 1))
    wanted = _COLOUR_SAMPLES.get(photometric) if isinstance(photometric, int) else None
    if wanted is None or samples < wanted:
        raise UnreadableError(
            f"is a 16-bit TIFF of photometric kind {photometric} with {samples} samples; {_EXPORT_ADVICE}"
        )
    pixels = _stored_samples(data, tags, (height, width, samples))
    colour = np.ascontiguousarray(pixels[..., 0] if wanted == 1 else pixels[..., :wanted])
    if photometric == _WHITE_IS_ZERO:
        colour = np.uint16(65535) - colour
    alpha, notes = None, []
    extras = _numbers(tags.get(t.EXTRA_SAMPLES, ()))
    kinds = [(i, kind) for i, kind in enumerate(extras) if kind in (t.ASSOCIATED_ALPHA, t.UNASSOCIATED_ALPHA)]
    if kinds and wanted + kinds[0][0] < samples:
        index, kind = kinds[0]
        alpha = np.ascontiguousarray(pixels[..., wanted + index])
        if kind == t.ASSOCIATED_ALPHA:
            colour = _unassociate(colour, alpha)
            notes.append("associated alpha: colours divided by it")
    elif samples > wanted:
        notes.append(f"{samples - wanted} extra samples of unknown meaning left out")
    orientation = valid_orientation(tags.get(ORIENTATION_TAG))
    icc = tags.get(_ICC_PROFILE)
    return Stored(
        colour=colour,
        alpha=alpha,
        icc=icc if isinstance(icc, bytes) else None,
        orientation=orientation,
        stated_orientation=orientation,
        mode={1: "I;16", 3: "RGB;16", 4: "CMYK;16"}[wanted] + ("+A" if alpha is not None else ""),
        notes=notes,
    )


def _stored_samples(data: bytes, tags: Mapping[int, Any], shape: tuple[int, int, int]) -> NDArray[np.uint16]:
    """Decompress and undo planes and predictor: (H, W, samples) uint16."""
    height, width, samples = shape
    predictor = tags.get(t.PREDICTOR, t.NO_PREDICTOR)
    if predictor not in (t.NO_PREDICTOR, t.HORIZONTAL_PREDICTOR):
        raise UnreadableError(f"uses TIFF predictor {predictor}, unknown for integers; {_EXPORT_ADVICE}")
    offsets, counts = _segments(tags)
    separate = tags.get(t.PLANAR, 1) == _SEPARATE_PLANES
    planes, together = (samples, 1) if separate else (1, samples)
    if len(counts) != len(offsets) or len(offsets) % planes:
        raise damaged("its strips are not all listed")
    view, each = memoryview(data), len(offsets) // planes
    layers = []
    for plane in range(planes):
        listed = range(plane * each, (plane + 1) * each)
        gray = _as_gray(
            tags, width, height, together, [view[offsets[i] : offsets[i] + counts[i]] for i in listed], data
        )
        layer = decode_with_opencv(gray, (height, width * together)).reshape(height, width, together)
        layers.append(_undo_predictor(layer, tags) if predictor == t.HORIZONTAL_PREDICTOR else layer)
    return layers[0] if planes == 1 else np.concatenate(layers, axis=-1)


def _as_gray(
    tags: Mapping[int, Any], width: int, height: int, together: int, segments: list[memoryview], data: bytes
) -> bytes:
    """The same compressed segments declared as a gray picture ``together`` times as wide, without a predictor."""
    plain: dict[int, t.Value] = {
        t.WIDTH: width * together,
        t.HEIGHT: height,
        t.BITS: 16,
        t.COMPRESSION: int(tags.get(t.COMPRESSION, 1)),
        t.PHOTOMETRIC: _BLACK_IS_ZERO,
        t.SAMPLES_PER_PIXEL: 1,
        t.FILL_ORDER: int(tags.get(t.FILL_ORDER, 1)),
    }
    if t.TILE_WIDTH in tags:
        plain |= {t.TILE_WIDTH: int(tags[t.TILE_WIDTH]) * together, t.TILE_HEIGHT: int(tags.get(t.TILE_HEIGHT, 16))}
    else:
        plain[t.ROWS_PER_STRIP] = min(int(tags.get(t.ROWS_PER_STRIP, height)), height)
    try:
        return t.assemble(plain, segments, "<" if data[:2] == b"II" else ">")
    except ValueError as error:
        raise UnreadableError(f"holds more than 4 GiB of pixel data; {_EXPORT_ADVICE}") from error


def _undo_predictor(layer: NDArray[np.uint16], tags: Mapping[int, Any]) -> NDArray[np.uint16]:
    """Sum up horizontal differences (TIFF 6.0, section 14), modulo 65536, from each tile's left edge."""
    width = layer.shape[1]
    step = int(tags.get(t.TILE_WIDTH, width)) or width
    summed = [np.cumsum(layer[:, x : x + step], axis=1, dtype=np.uint16) for x in range(0, width, step)]
    return summed[0] if len(summed) == 1 else np.concatenate(summed, axis=1)


def _unassociate(colour: NDArray[np.uint16], alpha: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Divide by alpha; where alpha is 0 the colour stays as stored."""
    divisor = alpha if colour.ndim == 2 else alpha[..., None]
    scaled = colour.astype(np.float32) * (np.float32(65535) / np.maximum(divisor, 1).astype(np.float32))
    return np.where(divisor > 0, np.minimum(np.rint(scaled), 65535), colour).astype(np.uint16)
