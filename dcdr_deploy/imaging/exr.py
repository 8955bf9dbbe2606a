"""OpenEXR files: scene-linear Rec. 709/D65, 1.0 = SDR diffuse white."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.imaging.light import SDR_WHITE_NITS

REC709_CHROMATICITIES = (0.64, 0.33, 0.30, 0.60, 0.15, 0.06, 0.3127, 0.3290)
"""CIE x, y of red, green, blue and the D65 white (ITU-R BT.709-6, item 1.3), in the order of OpenEXR's attribute."""

COLOR_INTEROP_ID = "lin_rec709_scene"
"""The Color Interop Forum's name for scene-linear Rec. 709 (OpenEXR standard attribute ``colorInteropID``)."""

HALF_MAX = 65504.0
"""The largest finite half float."""

_COMPRESSION = {
    "zip": "ZIP_COMPRESSION",
    "piz": "PIZ_COMPRESSION",
    "dwaa": "DWAA_COMPRESSION",
    "none": "NO_COMPRESSION",
}
COMPRESSIONS = tuple(_COMPRESSION)
"""zip: lossless, 16 rows a block; piz: lossless, wavelet, fast; dwaa: lossy, small (level 45); none."""


def write_exr(
    path: Path,
    scene: NDArray[np.float32] | NDArray[np.float16],
    *,
    alpha: NDArray[np.float32] | None,
    compression: str,
    float32: bool,
    metadata: dict[str, str],
) -> None:
    """Write one single-part scanline file (OpenEXR Technical Introduction; standard attributes chromaticities,
    whiteLuminance and colorInteropID).

    Args:
        path: where to write; not atomic by itself.
        scene: (H, W, 3) scene-linear Rec. 709, finite, >= 0 and at most :data:`HALF_MAX` for halves; 1.0 is SDR
            diffuse white.
        alpha: (H, W) in [0, 1]. OpenEXR's colours are premultiplied (associated) by convention, so R, G and B are
            multiplied by it: colour under full transparency is lost.
        compression: one of :data:`COMPRESSIONS`.
        float32: store 32-bit floats; else halves, with relative steps of 1/2048 to 1/1024.
        metadata: string attributes. The colour attributes above cannot be overridden by it.

    Raises:
        OSError: the file could not be written.
    """
    pixels = stored_samples(scene, alpha, float32=float32)
    header: dict[str, Any] = {
        **metadata,
        "chromaticities": REC709_CHROMATICITIES,
        "whiteLuminance": SDR_WHITE_NITS,
        "colorInteropID": COLOR_INTEROP_ID,
    }
    _write(path, "RGB" if alpha is None else "RGBA", pixels, compression, header)


def stored_samples(
    scene: NDArray[np.float32] | NDArray[np.float16], alpha: NDArray[np.float32] | None, *, float32: bool
) -> NDArray[Any]:
    """Return the samples that :func:`write_exr` stores, (H, W, 3), or (H, W, 4) with alpha; arguments as there."""
    pixels: NDArray[Any] = scene if alpha is None else np.dstack([scene * alpha[..., None], alpha])
    return pixels if float32 else pixels.astype(np.float16, copy=False)


def write_data(path: Path, values: NDArray[np.float16], *, metadata: dict[str, str]) -> None:
    """Write numbers that are no light, (H, W, 3) halves, as channels R, G and B (colorInteropID ``data``).

    Raises:
        OSError: the file could not be written.
    """
    _write(path, "RGB", values, "zip", {**metadata, "colorInteropID": "data"})


def _write(path: Path, channels: str, pixels: NDArray[Any], compression: str, attributes: dict[str, Any]) -> None:
    """Write one single-part scanline file of interleaved channels."""
    import OpenEXR

    _start_threads()
    header = {
        **attributes,
        "compression": getattr(OpenEXR, _COMPRESSION[compression]),
        "type": OpenEXR.scanlineimage,
    }
    # OpenEXR writes arrays that are not C-contiguous wrongly, without an error.
    stored = {channels: np.ascontiguousarray(pixels)}
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise OSError("the name is not valid UTF-8, which OpenEXR needs") from error
    try:
        OpenEXR.File(header, stored).write(str(path))
    except RuntimeError as error:  # how the binding reports every failure of the C++ library, disk errors included
        raise OSError(str(error).replace(f' "{path}"', "")) from error


@functools.cache
def _start_threads() -> None:
    """Let OpenEXR compress on all cores: its default is none but the caller's."""
    import OpenEXR

    # The binding has these two functions since 3.4; older ones compress on the calling thread.
    if hasattr(OpenEXR, "set_global_thread_count") and OpenEXR.global_thread_count() == 0:
        OpenEXR.set_global_thread_count(os.cpu_count() or 1)
