"""OpenEXR files: linear light, 1.0 = SDR diffuse white, in the primaries asked for.

What the light is, is said once, as the Color Interop Forum's draft on OpenEXR files (04, May 2026) asks for: by
``colorInteropID`` or by ``chromaticities``, not both, and no ID by a guess. Its list of IDs has scene-linear light and
encoded display light, and none for linear display light, which this is. So a file tagged ``"display"`` has
chromaticities and, as its 1.0 is meant as so many cd/m2, ``whiteLuminance``; one tagged ``"scene"`` has the ID of
scene-linear light.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.imaging.carried import EXIF, XMP
from dcdr_deploy.imaging.half import HALF_MAX, to_half
from dcdr_deploy.imaging.light import SCENE, Light
from dcdr_deploy.imaging.writers.alpha import beside
from dcdr_deploy.imaging.writers.base import Format, Job
from dcdr_deploy.imaging.writers.capture import exr_attributes
from dcdr_deploy.imaging.writers.exr_rows import Sample, write_rows
from dcdr_deploy.system import hardware
from dcdr_deploy.system.strips import Scratch, for_strips

SCENE_ID = {
    "rec709": "lin_rec709_scene",
    "p3": "lin_p3d65_scene",
    "rec2020": "lin_rec2020_scene",
    "acescg": "lin_ap1_scene",
    "aces2065-1": "lin_ap0_scene",
}
"""The Color Interop Forum's names ("Color Space Encodings for Texture Assets and CG Rendering")."""

UNCOMPRESSED = "none"

_FLOAT_MAX = float(np.finfo(np.float32).max)

_COMPRESSION = {
    "zip": "ZIP_COMPRESSION",
    "zips": "ZIPS_COMPRESSION",
    "piz": "PIZ_COMPRESSION",
    "dwaa": "DWAA_COMPRESSION",
    UNCOMPRESSED: "NO_COMPRESSION",
}


def write_exr(path: Path, job: Job) -> None:
    """Write one single-part scanline file (OpenEXR Technical Introduction).

    Halves have relative steps of 1/2048 to 1/1024. OpenEXR's colours are premultiplied (associated) by convention, so
    R, G and B are multiplied by an alpha: colour under full transparency is lost.

    Raises:
        OSError: the file could not be written.
    """
    # The colour attributes cannot be overridden by strings of the same name.
    header: dict[str, Any] = {key: value for key, value in job.metadata.items() if key not in _COLOUR_ATTRIBUTES}
    if job.carried.exif is not None:
        header |= exr_attributes(job.carried.exif)
    if job.carried.xmp is not None:
        header["xmp"] = job.carried.xmp.decode("utf-8", "replace")
    header |= colour_attributes(job.light)
    stored, channels, compression = _stored(job), "RGB" if job.alpha is None else "RGBA", job.options.exr_compression
    if compression != UNCOMPRESSED:
        _write(path, channels, stored.whole(), compression, header)
        return
    _write(path, channels, np.zeros((1, 1, len(channels)), stored.kind), compression, header)
    write_rows(path, stored.shape, stored.kind, stored.fill)


_COLOUR_ATTRIBUTES = ("chromaticities", "whiteLuminance", "colorInteropID", "adoptedNeutral", "acesImageContainerFlag")


def colour_attributes(light: Light) -> dict[str, Any]:
    """Return the standard attributes that say what linear light is."""
    if light.tag == SCENE:
        return {"colorInteropID": SCENE_ID[light.primaries or "rec709"]}
    return {"chromaticities": light.chromaticities, "whiteLuminance": float(light.reference_white)}


@dataclass(frozen=True)
class _Stored:
    """The samples of a file.

    Attributes:
        shape: (H, W, 3), or (H, W, 4) with alpha.
        kind: half or float32.
        fill: writes rows ``start`` to ``stop`` of them into a C-contiguous array.
    """

    shape: tuple[int, int, int]
    kind: type[Sample]
    fill: Callable[[int, int, NDArray[Any]], object]

    def whole(self) -> NDArray[Any]:
        """All of them."""
        samples: NDArray[Any] = np.empty(self.shape, self.kind)
        for _ in for_strips(len(samples), lambda start, stop: self.fill(start, stop, samples[start:stop])):
            pass
        return samples


def _stored(job: Job) -> _Stored:
    alpha, floats = job.alpha, job.options.float32
    light, scratch = job.relative(job.peak, _FLOAT_MAX if floats else HALF_MAX), Scratch()

    def pixels(start: int, stop: int, out: NDArray[np.float32]) -> NDArray[np.float32]:
        if alpha is None:
            return light(start, stop, out)
        import cv2

        cover = alpha[start:stop]
        colours = light(start, stop, scratch.array("colours", (*cover.shape, 3), np.float32))
        cv2.multiply(colours, cv2.merge([cover] * 3, scratch.array("cover", colours.shape, np.float32)), colours)
        return beside(colours, cover, out)

    def halves(start: int, stop: int, out: NDArray[np.float16]) -> NDArray[np.float16]:
        return to_half(pixels(start, stop, scratch.array("pixels", out.shape, np.float32)), out)

    height, width = job.linear.shape[:2]
    shape = (height, width, 3 if alpha is None else 4)
    return _Stored(shape, np.float32, pixels) if floats else _Stored(shape, np.float16, halves)


def _held(job: Job) -> NDArray[np.float32]:
    return _stored(job).whole()[..., :3].astype(np.float32)


FORMAT = Format(
    (".exr",),
    "image/x-exr",
    write_exr,
    _held,
    lambda job: math.inf if job.options.float32 else HALF_MAX,
    takes=frozenset({"exr_compression", "float32"}),
    of_linear=frozenset({"reference_white", "tag"}),
    carries={EXIF: "what OpenEXR has attributes for, such as date, place, camera, lens and exposure", XMP: ""},
)


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
    """Let OpenEXR compress on all cores that this process may use: its default is none but the caller's."""
    import OpenEXR

    # The binding has these two functions since 3.4; older ones compress on the calling thread.
    if hasattr(OpenEXR, "set_global_thread_count") and OpenEXR.global_thread_count() == 0:
        OpenEXR.set_global_thread_count(hardware.cpu_threads())
