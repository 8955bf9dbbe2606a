"""Make the sample crops whose truth is known: views of held-out panoramas through the sRGB camera.

    python benchmarks/make_samples.py

Writes samples/<name>.png (8-bit SDR) and samples/truth/<name>.exr (linear, 1.0 = SDR white, up to 8).
"""

from __future__ import annotations

import functools
from pathlib import Path

import cv2
import numpy as np
from command_line import Parser, start
from numpy.typing import NDArray

from dcdr_deploy.imaging import write_image
from dcdr_deploy.scenes.camera import TARGET_MAX, CameraModel, simulate
from dcdr_deploy.scenes.panorama import Panorama, PanoramaSet, perspective

ROOT = Path(__file__).parents[1]
SIZE = 384
CAMERA = CameraModel(white_balance_sigma=0.0, noise_probability=0.0, jpeg_probability=0.0, clipped_share=(0.12, 0.121))

VIEWS = {
    "forest-tree": ("bpy/forest", 45.0, 15.0, 75.0),
    "forest-sky": ("bpy/forest", 90.0, 2.0, 75.0),
    "venice-sunset": ("pmndrs/sunset", 10.0, 2.0, 70.0),
}
"""Name: panorama of the validation split, yaw, pitch and field of view in degrees."""


@functools.cache
def panoramas() -> dict[str, Panorama]:
    files = sorted((ROOT / "data" / "hdri" / "validation").rglob("*.exr"))
    return {panorama.name: panorama for panorama in PanoramaSet(files)}


def render(
    panorama: str, yaw: float, pitch: float, fov: float, size: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
    """SDR picture and target of a view of a panorama, (size, size, 3)."""
    crop = perspective(panoramas()[panorama].radiance, yaw, pitch, fov, size)
    return simulate(crop, CAMERA, np.random.default_rng(0))


def main() -> None:
    Parser(__doc__).parse_args()
    for name, view in VIEWS.items():
        ldr, target = render(*view, SIZE)
        cv2.imwrite(str(ROOT / "samples" / f"{name}.png"), cv2.cvtColor(ldr, cv2.COLOR_RGB2BGR))
        truth = target.astype(np.float32) / TARGET_MAX
        write_image(ROOT / "samples" / "truth" / f"{name}.exr", truth, peak=CAMERA.peak)


if __name__ == "__main__":
    start(main)
