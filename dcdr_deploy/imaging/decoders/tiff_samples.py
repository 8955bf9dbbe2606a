"""Samples of whole bytes in a TIFF, as stored: decompressed by libtiff, laid out here.

Neither Pillow nor OpenCV reads every layout right (Pillow keeps 8 bits of RGB; OpenCV mixes up separate planes and
reduces gray + alpha to 8 bits). What they do read right is a gray picture of bytes, so each plane is handed to libtiff
as one whose rows are the stored rows of segments, padding included; bytes, predictors and planes are undone here.
"""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.imaging import tiff_file as t
from dcdr_deploy.imaging.decoders.common import PILLOW_ERRORS, check_size, damaged, unsupported
from dcdr_deploy.imaging.decoders.tiff_directory import FLOAT, UNSIGNED, VOID, Directory
from dcdr_deploy.system.words import number_of

PICTURE_COMPRESSIONS = frozenset({6, 7, 34892, 50001, 50002, 52546})
"""Compressions of pictures, not of bytes, so that planes cannot be handed on as bytes: JPEG, WebP, JPEG XL."""

_BLACK_IS_ZERO = 1
_FLOAT_PREDICTOR = 3


def stored_samples(directory: Directory) -> NDArray[np.generic]:
    """Decode all samples: (H, W, samples), uint8, uint16, float16, float32 or float64 in native byte order.

    Floats of 24 bits (TIFF Technical Note 3: sign, 7 bits of exponent, 16 of mantissa) become float32.

    Raises:
        UnreadableError: damaged data, or a layout that is not known here.
    """
    (bits,) = directory.bits if len(directory.bits) == 1 else (0,)
    (kind,) = directory.formats if len(directory.formats) == 1 else (0,)
    if (kind, bits) not in _SAMPLE_TYPES:
        raise unsupported(f"samples of {bits or 'several'} bits in format {kind} are not supported")
    predictor = directory.number(t.PREDICTOR, t.NO_PREDICTOR)
    if predictor not in (t.NO_PREDICTOR, t.HORIZONTAL_PREDICTOR, _FLOAT_PREDICTOR):
        raise unsupported(f"TIFF predictor {predictor} is not supported")
    if predictor == _FLOAT_PREDICTOR and kind != FLOAT:
        raise damaged("a predictor for floats beside integers")
    samples = directory.samples
    planes, together = (samples, 1) if directory.separate else (1, samples)
    offsets, counts = directory.segments()
    if samples < 1 or len(counts) != len(offsets) or len(offsets) % planes:
        raise damaged("its strips are not all listed")
    each = len(offsets) // planes
    planes_of_bytes = [
        _plane(directory, offsets[plane * each : (plane + 1) * each], counts[plane * each :], together, bits // 8)
        for plane in range(planes)
    ]
    layers = [_typed(plane, directory, together, kind, bits // 8, predictor) for plane in planes_of_bytes]
    return layers[0] if planes == 1 else np.concatenate(layers, axis=-1)


def _plane(
    directory: Directory, offsets: tuple[int, ...], counts: tuple[int, ...], together: int, width_of_sample: int
) -> NDArray[np.uint8]:
    """The bytes of one plane: (padded H, padded W x samples x bytes)."""
    from PIL import TiffImagePlugin

    height, width = directory.size
    segment_height, segment_width = directory.segment_size
    down, across = -(-height // segment_height), -(-width // segment_width)
    if down * across != len(offsets):
        raise damaged(f"{number_of(len(offsets), 'segment')} where {down * across} are due")
    pixel = together * width_of_sample
    padded_width = across * segment_width * pixel
    padded_height = down * segment_height if directory.tiled else height
    check_size(across * segment_width, padded_height)
    tags: dict[int, t.Value] = {
        t.WIDTH: padded_width,
        t.HEIGHT: padded_height,
        t.BITS: 8,
        t.COMPRESSION: directory.compression,
        t.PHOTOMETRIC: _BLACK_IS_ZERO,
        t.SAMPLES_PER_PIXEL: 1,
        t.FILL_ORDER: directory.number(t.FILL_ORDER, 1),
    }
    if directory.tiled:
        tags |= {t.TILE_WIDTH: segment_width * pixel, t.TILE_HEIGHT: segment_height}
    else:
        tags[t.ROWS_PER_STRIP] = segment_height
    view = memoryview(directory.data)
    segments = [view[offset : offset + count] for offset, count in zip(offsets, counts, strict=False)]
    try:
        plain = t.assemble(tags, segments, directory.byte_order)
    except ValueError as error:
        raise unsupported(f"TIFF of this size is not supported: {error}") from error
    try:
        image = TiffImagePlugin.TiffImageFile(io.BytesIO(plain))
        image.load()
        stored = np.asarray(image)
    except PILLOW_ERRORS as error:
        raise damaged(error) from error
    if stored.shape != (padded_height, padded_width) or stored.dtype != np.uint8:
        raise damaged(f"decoded as {stored.shape} {stored.dtype}")
    return stored


def _typed(
    stored: NDArray[np.uint8], directory: Directory, together: int, kind: int, size: int, predictor: int
) -> NDArray[np.generic]:
    """From a plane's bytes to (H, W, samples) of numbers."""
    height, width = directory.size
    _, segment_width = directory.segment_size
    across = stored.shape[1] // (segment_width * together * size)
    parts = stored.reshape(stored.shape[0], across, segment_width * together * size)[:height]
    if predictor == _FLOAT_PREDICTOR:
        # Adobe Photoshop TIFF Technical Note 3: differences of bytes a sample apart, most significant bytes first.
        differences = parts.reshape(height, across, -1, together)
        summed = np.cumsum(differences, axis=2, dtype=np.uint8).reshape(height, across, size, -1)
        parts, order = np.ascontiguousarray(summed.swapaxes(2, 3)), ">"
    else:
        parts, order = np.ascontiguousarray(parts), directory.byte_order
    numbers = _numbers(parts, kind, size, order, horizontal=predictor == t.HORIZONTAL_PREDICTOR, together=together)
    return np.ascontiguousarray(numbers.reshape(height, across * segment_width, together)[:, :width])


def _numbers(
    parts: NDArray[np.uint8], kind: int, size: int, order: str, *, horizontal: bool, together: int
) -> NDArray[np.generic]:
    """Bytes of (H, segments across, ...) -> numbers of the same leading shape, horizontal differences summed up."""
    leading = parts.shape[:2]
    if size == 3:
        if horizontal:
            raise unsupported("differences of 24 bits are not supported")
        return _float24(parts.reshape(*leading, -1, 3), order)
    codes = parts.reshape(*leading, -1).view(f"{order}u{size}").astype(f"=u{size}", copy=False)
    if horizontal:  # TIFF 6.0, section 14: modulo 2^bits, from each segment's left edge; of floats their bits
        codes = np.cumsum(codes.reshape(*leading, -1, together), axis=2, dtype=codes.dtype).reshape(*leading, -1)
    return codes if kind != FLOAT else codes.view(f"=f{size}")


def _float24(parts: NDArray[np.uint8], order: str) -> NDArray[np.float32]:
    """24-bit floats (1 sign, 7 exponent with bias 63, 16 mantissa) as float32; all 0 and all 1 exponents as in IEEE."""
    low, middle, high = (parts[..., i].astype(np.uint32) for i in ((0, 1, 2) if order == "<" else (2, 1, 0)))
    bits = low | middle << 8 | high << 16
    mantissa, exponent = (bits & 0xFFFF).astype(np.float32), (bits >> 16 & 0x7F).astype(np.int32)
    normal = np.ldexp(1 + mantissa / 65536, exponent - 63)
    subnormal = np.ldexp(mantissa / 65536, -62)
    special = np.where(mantissa == 0, np.float32(np.inf), np.float32(np.nan))
    value = np.where(exponent == 0, subnormal, np.where(exponent == 0x7F, special, normal))
    return np.where(bits >> 23 == 1, -value, value).astype(np.float32)


_SAMPLE_TYPES = frozenset(
    {(UNSIGNED, 8), (VOID, 8), (UNSIGNED, 16), (VOID, 16), (FLOAT, 16), (FLOAT, 24), (FLOAT, 32), (FLOAT, 64)}
)
