"""OpenEXR files without compression, written strip by strip as the picture is made.

OpenEXR's own writer takes a whole picture and does nothing but lay it out anew; making that picture first would take
as long again. A file (OpenEXR, "File Layout") is a header, 8 bytes for each row that say where it begins, and the rows:
number, bytes, and the samples of each channel in the order of their names. The header is OpenEXR's own, of a file of
one pixel.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.system.strips import Scratch, for_strips

_MAGIC_AND_VERSION = 8
_WINDOWS = (b"dataWindow", b"displayWindow")

Sample = np.float16 | np.float32


def write_rows(
    path: Path, shape: tuple[int, int, int], kind: type[Sample], fill: Callable[[int, int, NDArray[Any]], object]
) -> None:
    """Put a picture into the place of the only pixel of a file.

    Args:
        path: a file of one pixel without compression, whose channels are of this kind: R, G and B, or those and A.
        shape: (H, W, 3) or (H, W, 4) of the picture.
        kind: of its samples.
        fill: writes rows ``start`` to ``stop`` into a C-contiguous array, R first; called by several threads.

    Raises:
        OSError: the file could not be written.
    """
    import cv2

    height, width, channels = shape
    moved = "<u2" if kind is np.float16 else "<f4"  # OpenCV moves halves only as integers
    row = np.dtype([("number", "<i4"), ("size", "<i4"), ("samples", moved, (channels, width))])
    header = resized(path.read_bytes(), width, height)
    first = len(header) + 8 * height
    offsets = first + row.itemsize * np.arange(height, dtype="<u8")
    scratch, lock = Scratch(), threading.Lock()

    with path.open("wb") as stream:
        stream.write(header)
        stream.write(offsets.tobytes())

        def work(start: int, stop: int) -> None:
            samples = scratch.array("samples", (stop - start, width, channels), kind)
            fill(start, stop, samples)
            rows = scratch.array("rows", (stop - start,), row)
            rows["number"], rows["size"] = np.arange(start, stop), row["samples"].itemsize
            # By their names: (A,) B, G, R.
            cv2.split(samples.view(moved), [rows["samples"][:, place] for place in reversed(range(channels))])
            with lock:
                stream.seek(int(offsets[start]))
                stream.write(rows.data)

        for _ in for_strips(height, work):
            pass


def resized(file: bytes, width: int, height: int) -> bytes:
    """Return the header of a file of a single part for a picture of another size."""
    header = bytearray(file)
    at = _MAGIC_AND_VERSION
    while header[at]:  # attributes: name, type, size, value
        after_name = header.index(0, at)
        after_type = header.index(0, after_name + 1)
        (size,) = struct.unpack_from("<i", header, after_type + 1)
        value = after_type + 5
        if header[at:after_name] in _WINDOWS:
            struct.pack_into("<4i", header, value, 0, 0, width - 1, height - 1)
        at = value + size
    return bytes(header[: at + 1])
