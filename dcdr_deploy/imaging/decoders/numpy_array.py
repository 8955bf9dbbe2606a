"""NumPy arrays as HDR pictures, and the alignment ratios of the NTIRE 2021 challenge.

That challenge (Perez-Pellitero et al., "NTIRE 2021 Challenge on High Dynamic Range Imaging", section 2) stores a ground
truth ``NAME_gt`` as 16-bit codes or an array, and beside it ``NAME_alignratio.npy``, the number that they were
multiplied by; divided by it 1.0 is the white of ``NAME_medium``.
"""

from __future__ import annotations

import io
from pathlib import Path
from tokenize import TokenError

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.errors import InputError
from dcdr_deploy.imaging.decoders.common import UnreadableError, check_size, damaged, unsupported
from dcdr_deploy.imaging.decoders.linear import Linear

MAGIC = b"\x93NUMPY"
TRUTH_ENDING, RATIO_ENDING = "_gt", "_alignratio"


def decode_numpy(data: bytes) -> Linear:
    """Read (H, W), (H, W, 3) or (H, W, 4) of floats, or of uint16 codes.

    Raises:
        UnreadableError: damaged, of another shape or type, or an array of Python objects.
    """
    array = _load(data)
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise UnreadableError(f"holds an array of shape {array.shape} and no picture (H, W, 3)")
    check_size(array.shape[1], array.shape[0])
    if array.dtype.kind != "f" and array.dtype != np.uint16:
        raise unsupported(f"arrays of {array.dtype} are not supported")
    integer = array.dtype == np.uint16
    pixels = array.astype(np.float32) / np.float32(65535 if integer else 1)
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    rgb = np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels[..., :3]
    return Linear(np.ascontiguousarray(rgb), integer)


def ratio_beside(path: Path) -> float | None:
    """The alignment ratio of ``NAME_gt.*``; ``None`` without one.

    Raises:
        InputError: the file beside it holds no positive number.
    """
    if not path.stem.endswith(TRUTH_ENDING):
        return None
    beside = path.with_name(f"{path.stem.removesuffix(TRUTH_ENDING)}{RATIO_ENDING}.npy")
    try:
        data = beside.read_bytes()
    except OSError:
        return None
    try:
        numbers = _load(data)
    except UnreadableError as refusal:
        raise InputError(f"{beside}: {refusal}") from refusal
    if numbers.size != 1 or numbers.dtype.kind not in "fiu" or not np.isfinite(numbers).all() or numbers.item() <= 0:
        raise InputError(f"{beside}: holds no positive number; copy it again")
    return float(numbers.item())


def _load(data: bytes) -> NDArray[np.generic]:
    try:
        array: NDArray[np.generic] = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    except ValueError as error:
        if "Object arrays" in str(error):  # a header that cannot be parsed is named by its parser's objects
            raise UnreadableError(
                "holds Python objects, which could run code; save it as an array of floats"
            ) from error
        raise damaged(error) from error
    except (
        OSError,
        EOFError,
        SyntaxError,
        TokenError,
        ArithmeticError,
        RecursionError,
        MemoryError,
        TypeError,
    ) as error:
        raise damaged(error) from error
    return array
