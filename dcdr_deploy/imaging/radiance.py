"""Radiance RGBE pictures (G. Ward, "Real Pixels", Graphics Gems II; Radiance file formats, "picture").

A pixel is three mantissas and a shared exponent: v = m / 256 x 2^(e - 128). Mantissas are rounded to nearest, which
keeps the mean; the usual truncation (OpenCV, OpenImageIO) darkens by 0.28 %.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.imaging.primaries import REC709, Chromaticities
from dcdr_deploy.system.strips import for_strips

RGBE_MAX = 255.0 * 2.0**119
"""The largest value: mantissa 255, exponent byte 255."""

RESERVED = frozenset({"COLORCORR", "EXPOSURE", "FORMAT", "GAMMA", "PIXASPECT", "PRIMARIES", "VIEW"})
"""Header lines by which readers change the light or the picture: by each EXPOSURE they divide."""

OWN = "DCDR_"
"""Before the name of a line that only has the name of a reserved one, such as a dial called exposure."""

RLE_WIDTHS = range(8, 32768)  # widths for which new-style run-length encoding exists
# 2^(e - 136) of each exponent byte, exact in float32; an exponent byte of 0 is black.
_SCALE = np.where(np.arange(256) > 0, np.ldexp(1.0, np.arange(256) - (128 + 8)), 0).astype(np.float32)
_ROUNDED_UP = 2**15  # half of a mantissa step, in a float's bits
_BLACK_EXPONENT = -120  # the scale 2^(8 - exponent) must not overflow float32
_SHORTEST_RUN = 4  # as in Radiance's own writer: shorter runs cost more than they save
_LONGEST_RUN, _LONGEST_LITERAL = 127, 128


def write_radiance(
    path: Path, scene: NDArray[np.float32], *, metadata: dict[str, str], chromaticities: Chromaticities = REC709
) -> None:
    """Write a .hdr file: new-style RLE where the width allows it (8..32767), flat pixels otherwise.

    Args:
        path: where to write; not atomic by itself.
        scene: (H, W, 3) linear light, finite, >= 0, at most :data:`RGBE_MAX`; 1.0 is SDR diffuse white.
        metadata: single lines, written as ``KEY=value`` into the header, those of a :data:`RESERVED` name behind
            :data:`OWN`.
        chromaticities: of the light; the header's line PRIMARIES, which many programs do not read.

    Raises:
        OSError: the file could not be written.
    """
    height, width = scene.shape[:2]

    def packed(start: int, stop: int) -> bytes:
        rgbe = encode_rgbe(scene[start:stop])
        return run_length_encode(rgbe) if width in RLE_WIDTHS else rgbe.tobytes()

    with path.open("wb") as stream:
        stream.write(_header(width, height, metadata, chromaticities))
        stream.writelines(for_strips(height, packed))


def encode_rgbe(linear: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    """(..., W, 3) linear, finite and >= 0, at most :data:`RGBE_MAX` -> (..., W, 4) uint8 RGBE.

    The largest channel of a pixel is off by at most 1/256 of itself, the others by half a mantissa step. Pixels below
    2^-120 become black.
    """
    rgb = np.asarray(linear, dtype=np.float32)
    largest = np.maximum(np.maximum(rgb[..., 0], rgb[..., 1]), rgb[..., 2])
    # A float's upper bits are 126 more than the exponent of largest = f x 2^exponent with f in [0.5, 1). An f of
    # 255.5/256 or more, whose mantissa would round to 256, goes over into the next exponent.
    biased = (largest.view(np.int32) + np.int32(_ROUNDED_UP)) >> 23
    visible = biased > _BLACK_EXPONENT + 126
    scale = np.where(visible, (8 + 126 + 127 - biased) << 23, np.int32(0)).view(np.float32)  # 2^(8 - exponent), or 0
    *before, width = rgb.shape[:-1]
    planes = np.empty((*before, 4, width), np.uint8)  # as a file has them
    values = np.empty_like(largest)
    for component in range(3):
        np.multiply(rgb[..., component], scale, out=values)
        np.copyto(planes[..., component, :], np.rint(values, out=values), casting="unsafe")
    np.copyto(planes[..., 3, :], np.where(visible, biased + 2, 0), casting="unsafe")
    return np.swapaxes(planes, -1, -2)


def decode_rgbe(rgbe: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(..., 4) uint8 RGBE -> (..., 3) float32, by the formula at the top of this module."""
    return rgbe[..., :3] * _SCALE[rgbe[..., 3:]]


def run_length_encode(rgbe: NDArray[np.uint8]) -> bytes:
    """Encode (rows, W, 4) as new-style scanlines: a row marker, then the four components one after the other.

    A count above 128 repeats the next byte (count - 128) times, any other announces that many literal bytes. All rows
    are encoded at once: the segments are found with array operations and scattered into the output.
    """
    width = rgbe.shape[1]
    planes = np.ascontiguousarray(rgbe.transpose(0, 2, 1)).reshape(-1)  # row by row, component by component
    starts, lengths, repeats, in_run = _segments(planes, width)
    sizes = np.where(repeats, 2, 1 + lengths)
    first_of_row = starts % (4 * width) == 0
    ends = np.cumsum(sizes + 4 * first_of_row)
    counts_at = ends - sizes
    markers = counts_at[first_of_row, None] + np.arange(-4, 0)
    values_at = counts_at[repeats] + 1
    out = np.empty(int(ends[-1]), np.uint8)
    is_literal = np.ones(out.size, np.bool_)
    for positions in (markers, counts_at, values_at):
        is_literal[positions] = False
    out[markers] = np.array([2, 2, width >> 8, width & 255], np.uint8)
    out[counts_at] = np.where(repeats, 128 + lengths, lengths)
    out[values_at] = planes[starts[repeats]]
    out[is_literal] = planes[~in_run]
    return out.tobytes()


def _segments(
    planes: NDArray[np.uint8], width: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
    """Cut the components into runs and literals.

    Returns:
        For each segment its start, its length (within the format's limits) and whether it is a run; and for each byte
        whether it belongs to a run.
    """
    continues = np.empty(planes.size, np.bool_)  # equal to the byte before it in the same component
    continues[0] = False
    np.equal(planes[1:], planes[:-1], out=continues[1:])
    continues[::width] = False
    # A byte is in a run if it is among _SHORTEST_RUN equal ones: three that continue, and the one before them.
    ends_run = np.zeros_like(continues)
    ends_run[3:] = continues[1:-2] & continues[2:-1] & continues[3:]
    in_run = ends_run.copy()
    for back in range(1, _SHORTEST_RUN):
        in_run[:-back] |= ends_run[back:]
    # Borders: where a component or a run begins, and where a literal follows a run.
    begins = in_run & ~continues
    begins[1:] |= in_run[:-1] & ~in_run[1:]
    begins[::width] = True
    starts = np.flatnonzero(begins)
    kind = in_run[starts]
    lengths = np.diff(starts, append=planes.size)
    longest = np.where(kind, _LONGEST_RUN, _LONGEST_LITERAL)
    pieces = -(-lengths // longest)
    index = np.repeat(np.arange(len(starts)), pieces)
    piece = np.arange(len(index)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    offset = piece * longest[index]
    return starts[index] + offset, np.minimum(lengths[index] - offset, longest[index]), kind[index], in_run


def _header(width: int, height: int, metadata: dict[str, str], chromaticities: Chromaticities) -> bytes:
    lines = _header_lines(width, height, metadata, chromaticities)
    return "".join(f"{line}\n" for line in lines).encode("ascii", "replace")


def _header_lines(width: int, height: int, metadata: dict[str, str], chromaticities: Chromaticities) -> Iterator[str]:
    yield "#?RADIANCE"
    for key, value in metadata.items():
        name = key.upper().replace("=", "_")
        yield f"{OWN if name in RESERVED else ''}{name}={value}"
    yield "FORMAT=32-bit_rle_rgbe"
    yield "EXPOSURE=1"
    yield "PRIMARIES=" + " ".join(f"{each:g}" for each in chromaticities)
    yield ""
    yield f"-Y {height} +X {width}"
