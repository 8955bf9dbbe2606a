"""OpenEXR pictures as linear Rec. 709: parts, layers, windows, chroma channels and primaries resolved."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.imaging import primaries as p
from dcdr_deploy.imaging.decoders import exr_layout as layout
from dcdr_deploy.imaging.decoders.common import UnreadableError, check_size, damaged
from dcdr_deploy.imaging.decoders.exr_colour import Meaning, meaning_of
from dcdr_deploy.imaging.decoders.exr_quiet import quiet_library
from dcdr_deploy.imaging.decoders.linear import Linear
from dcdr_deploy.system.words import number_of, word_for

MAGIC = b"\x76\x2f\x31\x01"
_FAILURES = (RuntimeError, ValueError, LookupError, TypeError, ArithmeticError, SystemError)
"""How the binding reports failures of the library, and what headers that contradict themselves make of it."""

Window = tuple[int, int, int, int]
"""x and y of the first, x and y of the last pixel."""


def decode_exr(path: Path, part: str | None = None, layer: str | None = None) -> Linear:
    """Read the picture of a file.

    The result covers the display window: what the data window lacks is black, what it has beyond is left out. Of tiled
    files with several levels the largest is taken. Luminance/chroma channels become RGB (OpenEXR, "Luminance/Chroma
    Images"); chroma that is stored for every second pixel is interpolated.

    Args:
        path: the file; the library reads files only.
        part: name or number of the part, in files of several.
        layer: name of the layer, in files with layers.

    Raises:
        UnreadableError: damaged, deep, without a picture or with several, or integer channels.
    """
    headers = [header for header, _ in _open(path, header_only=True)]
    sampling = [_sampling(header) for header in headers]
    parts = [_layout(index, header, tuple(sampling[index])) for index, header in enumerate(headers)]
    chosen, picture, notes = layout.choose(parts, part, layer)
    header = headers[chosen.index]
    data, display = (_window(header, name) for name in ("dataWindow", "displayWindow"))
    for left, top, right, bottom in (data, display):
        check_size(right - left + 1, bottom - top + 1)
    _, stored = _open(path, header_only=False)[chosen.index]
    steps = sampling[chosen.index]
    planes = [_plane(stored.get(name), name, steps[name], data) for name in picture.channels]
    if any(steps[name] != (1, 1) for name in picture.channels):
        notes.append("channels that are not stored for every pixel were interpolated")
    meaning = meaning_of(header, headers[0])
    linear = _linear(picture, planes, meaning)
    notes += meaning.notes if picture.kind != layout.GRAY else ()
    texts = {name.lower(): value for name, value in header.items() if isinstance(value, str)}
    return Linear(_in_display(linear, data, display, notes), texts=texts, notes=notes)


def _linear(picture: layout.Layer, planes: list[NDArray[np.float32]], meaning: Meaning) -> NDArray[np.float32]:
    if picture.kind == layout.GRAY:  # the white of the file is the white of the result
        return np.repeat(planes[0][..., None], 3, axis=-1)
    if picture.kind == layout.LUMINANCE_CHROMA:
        y, red_share, blue_share = planes
        weights = p.luminance_weights(meaning.chromaticities).astype(np.float32)
        red, blue = (red_share + 1) * y, (blue_share + 1) * y
        with np.errstate(all="ignore"):
            planes = [red, (y - weights[0] * red - weights[2] * blue) / weights[1], blue]
    return meaning.to_rec709(np.stack(planes, axis=-1))


def _open(path: Path, *, header_only: bool) -> list[tuple[Mapping[str, Any], dict[str, Any]]]:
    """Header, and channels by name, of each part."""
    import OpenEXR

    try:
        with quiet_library():
            opened = OpenEXR.File(str(path), separate_channels=True, header_only=header_only)
            found: list[tuple[Mapping[str, Any], dict[str, Any]]] = [
                (dict(part.header), {name: channel.pixels for name, channel in part.channels.items()})
                for part in opened.parts
            ]
    except _FAILURES as error:
        raise damaged(str(error).replace(str(path), "").strip(" '\"")) from error
    if not found:
        raise damaged("its pixels cannot be read")
    return found


def _sampling(header: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    """x and y sampling by channel."""
    try:
        return {channel.name: (channel.xSampling, channel.ySampling) for channel in header.get("channels", ())}
    except _FAILURES as error:  # names that are no UTF-8 are found out here
        raise damaged(error) from error


def _layout(index: int, header: Mapping[str, Any], channels: tuple[str, ...]) -> layout.PartLayout:
    import OpenEXR

    deep = header.get("type") in (OpenEXR.deepscanline, OpenEXR.deeptile)
    return layout.PartLayout(index, str(header.get("name", "")), deep, channels)


def _window(header: Mapping[str, Any], name: str) -> Window:
    try:
        (left, top), (right, bottom) = header[name]
        return int(left), int(top), int(right), int(bottom)
    except (KeyError, TypeError, ValueError) as error:
        raise damaged(f"its {name} cannot be read") from error


def _plane(pixels: Any, name: str, sampling: tuple[int, int], data: Window) -> NDArray[np.float32]:
    """One channel at full size, float32 (H, W) of the data window."""
    if pixels is None:
        raise damaged("its pixels cannot be read")
    stored = np.asarray(pixels)
    if stored.dtype.kind != "f":
        raise UnreadableError(f"stores {name} as whole numbers, which are no light; export it as half or float")
    left, top, right, bottom = data
    plane = stored.astype(np.float32)
    for axis, step, first, last in ((0, sampling[1], top, bottom), (1, sampling[0], left, right)):
        plane = _interpolated(plane, axis, step, first, last)
    return plane


def _interpolated(plane: NDArray[np.float32], axis: int, step: int, first: int, last: int) -> NDArray[np.float32]:
    """Linearly along an axis from the coordinates that ``step`` divides to all from ``first`` to ``last``."""
    stored, due = plane.shape[axis], last // step - -(-first // step) + 1
    if stored != due:
        raise damaged(f"it has {stored} rows or columns of a channel where {due} are due")
    if step == 1:
        return plane
    place = np.clip(np.arange(first, last + 1) / step - -(-first // step), 0, stored - 1)
    before = np.floor(place).astype(np.intp)
    after = np.minimum(before + 1, stored - 1)
    share = (place - before).astype(np.float32).reshape((-1, 1) if axis == 0 else (1, -1))
    return np.take(plane, before, axis) * (1 - share) + np.take(plane, after, axis) * share


def _in_display(linear: NDArray[np.float32], data: Window, display: Window, notes: list[str]) -> NDArray[np.float32]:
    """The pixels of the display window."""
    if data == display:
        return np.ascontiguousarray(linear)
    left, top = max(data[0], display[0]), max(data[1], display[1])
    right, bottom = min(data[2], display[2]), min(data[3], display[3])
    if left > right or top > bottom:
        raise UnreadableError("has no pixels inside its display window; export it with a data window in that")
    height, width = display[3] - display[1] + 1, display[2] - display[0] + 1
    picture = np.zeros((height, width, 3), np.float32)
    there = linear[top - data[1] : bottom + 1 - data[1], left - data[0] : right + 1 - data[0]]
    picture[top - display[1] : bottom + 1 - display[1], left - display[0] : right + 1 - display[0]] = there
    lacking = height * width - there.shape[0] * there.shape[1]
    if lacking:
        where = "of the display window"
        lie = number_of(lacking, f"pixel {where} lies", f"pixels {where} lie", ",")
        notes.append(f"{lie} outside the data window and {word_for(lacking, 'is', 'are')} black")
    if there.shape[:2] != linear.shape[:2]:
        notes.append("pixels outside the display window were left out")
    return picture
