"""Radiance RGBE and XYZE pictures as linear Rec. 709 (G. Ward, "Radiance file formats", "picture").

Stored are exposed values: each EXPOSURE and COLORCORR line says by what the ones before it were multiplied, so that
their products are divided out. OpenCV knows neither, nor the orientations or the older run-length encoding.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.imaging import primaries as p
from dcdr_deploy.imaging.decoders.common import check_size, damaged, unsupported
from dcdr_deploy.imaging.decoders.linear import Linear
from dcdr_deploy.imaging.radiance import OWN, RLE_WIDTHS, decode_rgbe

MAGIC = b"#?"
_HEADER_LIMIT = 2**20
_RESOLUTION = re.compile(rb"([-+])([XY])[ \t]+(\d{1,9})[ \t]+([-+])([XY])[ \t]+(\d{1,9})[ \t]*\r?\n")
_XYZE = "32-bit_rle_xyze"
_FORMATS = ("", "32-bit_rle_rgbe", _XYZE)
_SHIFT = 8  # of the count, where older run-length markers follow each other


@dataclass(frozen=True)
class _Header:
    """Name = value lines in their order, and where the pixels begin."""

    fields: tuple[tuple[str, str], ...]
    first_axis: tuple[bytes, bytes, int]
    second_axis: tuple[bytes, bytes, int]
    start: int

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.fields if key == name]


def decode_radiance(data: bytes) -> Linear:
    """Read a picture of any of the eight orientations.

    Raises:
        UnreadableError: damaged, or of a format other than RGBE and XYZE.
    """
    header = _header(data)
    notes: list[str] = []
    kind = (header.all("FORMAT") or [""])[-1]
    if kind not in _FORMATS:
        raise unsupported(f"Radiance format {kind} is not supported")
    rows, columns = header.first_axis[2], header.second_axis[2]
    check_size(columns, rows)
    stored = decode_rgbe(_scanlines(data, header.start, rows, columns))
    linear, multipliers = _turned(stored, header), _multipliers(header, notes)
    if (multipliers != 1).any():
        linear = linear / multipliers
    if kind == _XYZE:
        linear = p.convert(linear, np.asarray(np.linalg.inv(p.to_xyz(p.REC709)), np.float64))
        notes.append("converted to Rec. 709 from CIE XYZ with D65 as neutral")
    else:
        linear = _from_primaries(linear, header, notes)
    return Linear(np.ascontiguousarray(linear, np.float32), texts=_texts(header), notes=notes)


def _texts(header: _Header) -> Mapping[str, str]:
    """Strings by lower-case names; where one of ours had to be called otherwise, it stands for the format's."""
    ours = {name.removeprefix(OWN): value for name, value in header.fields if name.startswith(OWN)}
    return {name.lower(): value for name, value in (dict(header.fields) | ours).items() if not name.startswith(OWN)}


def _header(data: bytes) -> _Header:
    end = re.compile(rb"\r?\n[ \t]*\r?\n").search(data, 0, _HEADER_LIMIT)
    resolution = _RESOLUTION.match(data, end.end()) if end else None
    if end is None or resolution is None or resolution[2] == resolution[5]:
        raise damaged("its header has no end, or no resolution after it")
    lines = data[: end.start()].decode("latin-1").split("\n")[1:]
    fields = [line.split("=", 1) for line in lines if "=" in line]
    return _Header(
        tuple((name.strip(), value.strip()) for name, value in fields),
        (resolution[1], resolution[2], int(resolution[3])),
        (resolution[4], resolution[5], int(resolution[6])),
        resolution.end(),
    )


def _multipliers(header: _Header, notes: list[str]) -> NDArray[np.float32]:
    """(3,): what the scene's R, G and B were multiplied by."""
    product = np.ones(3)
    for name, count in (("EXPOSURE", 1), ("COLORCORR", 3)):
        for value in header.all(name):
            numbers = _numbers(value)
            if numbers is not None and len(numbers) == count and (numbers > 0).all():
                product *= numbers
            else:  # 0 is what some writers put for "not known"; nothing can be divided by it
                notes.append(f"{name}={value[:30]} says nothing and was passed over")
    if not (np.isfinite(product) & (product > 1e-30) & (product < 1e30)).all():
        raise damaged(f"its exposures multiply to {product.max():g}")
    if not np.allclose(product, 1):
        shown = f"{product[0]:.4g}" if np.ptp(product) == 0 else " ".join(f"{number:.4g}" for number in product)
        notes.append(f"exposure {shown} was divided out")
    return product.astype(np.float32)


def _from_primaries(linear: NDArray[np.float32], header: _Header, notes: list[str]) -> NDArray[np.float32]:
    stated = header.all("PRIMARIES")
    if not stated:
        return linear
    numbers = _numbers(stated[-1])
    try:
        chromaticities = tuple(() if numbers is None else numbers.tolist())
        if len(chromaticities) == 8 and p.is_rec709(chromaticities):
            return linear
        matrix = p.to_rec709(chromaticities)
    except (p.ImpossiblePrimariesError, ValueError) as reason:
        notes.append(f"PRIMARIES were passed over: {reason}")
        return linear
    notes.append(f"converted to Rec. 709 from {p.name_of(chromaticities)} by its PRIMARIES")
    return p.convert(linear, matrix)


def _numbers(text: str) -> NDArray[np.float64] | None:
    try:
        numbers = np.array([float(word) for word in text.split()])
    except ValueError:
        return None
    return numbers if np.isfinite(numbers).all() else None


def _turned(stored: NDArray[np.float32], header: _Header) -> NDArray[np.float32]:
    """From scanlines in file order to rows from the top, columns from the left.

    The first axis runs over scanlines, the second along them. Y grows upwards and X to the right: ``-Y +X`` is upright.
    """
    picture = stored
    for axis, (sign, letter, _) in enumerate((header.first_axis, header.second_axis)):
        backwards = sign == (b"+" if letter == b"Y" else b"-")
        picture = np.flip(picture, axis) if backwards else picture
    return picture if header.first_axis[1] == b"Y" else picture.swapaxes(0, 1)


def _scanlines(data: bytes, start: int, rows: int, columns: int) -> NDArray[np.uint8]:
    """(rows, columns, 4) RGBE. Each scanline says by its first bytes how it is stored."""
    rgbe = np.empty((rows, columns, 4), np.uint8)
    mark = bytes((2, 2, columns >> 8 & 0xFF, columns & 0xFF))
    at = start
    try:
        for row in range(rows):
            if columns in RLE_WIDTHS and data[at : at + 4] == mark:
                at = _new_scanline(data, at + 4, rgbe[row])
            else:
                at = _old_scanline(data, at, rgbe[row])
    except (IndexError, ValueError) as error:  # ValueError: a slice shorter than its place
        raise damaged("the pixel data ends too early, or its runs do not fit") from error
    return rgbe


def _new_scanline(data: bytes, at: int, line: NDArray[np.uint8]) -> int:
    """Four components one after the other, each of runs (count + 128, value) and literals (count, values)."""
    columns = len(line)
    for component in range(4):
        bytes_of_row = bytearray()
        while len(bytes_of_row) < columns:
            count = data[at]
            if count > 128:
                bytes_of_row += data[at + 1 : at + 2] * (count - 128)
                at += 2
            else:
                if count == 0:
                    raise ValueError("a run of no length")
                bytes_of_row += data[at + 1 : at + 1 + count]
                at += 1 + count
            if at > len(data):
                raise IndexError
        line[:, component] = np.frombuffer(bytes_of_row, np.uint8)  # a row too long does not fit: ValueError
    return at


def _old_scanline(data: bytes, at: int, line: NDArray[np.uint8]) -> int:
    """Flat pixels, among which (1, 1, 1, n) repeats the one before n times; such marks in a row are digits of n."""
    columns = len(line)
    flat = data[at : at + 4 * columns]
    if len(flat) == 4 * columns and b"\1\1\1" not in flat:
        line[:] = np.frombuffer(flat, np.uint8).reshape(columns, 4)
        return at + 4 * columns
    filled, shift = 0, 0
    while filled < columns:
        pixel = data[at : at + 4]
        at += 4
        if len(pixel) < 4:
            raise IndexError
        if pixel[:3] == b"\1\1\1":
            count = pixel[3] << shift
            if not filled or filled + count > columns:
                raise ValueError("a repetition that does not fit")
            line[filled : filled + count] = line[filled - 1]
            filled += count
            shift += _SHIFT
        else:
            line[filled] = np.frombuffer(pixel, np.uint8)
            filled += 1
            shift = 0
    return at
