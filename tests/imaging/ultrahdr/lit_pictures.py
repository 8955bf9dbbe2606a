"""SDR pictures with the light that is to be in their Ultra HDR files, and readers of those that are not ours."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dcdr_deploy.imaging import read_image, srgb_to_linear
from dcdr_deploy.imaging.ultrahdr.write import write_ultrahdr

PEAK = 8.0


def smooth(height: int = 48, width: int = 64) -> np.ndarray:
    """(H, W, 3) uint8: ramps, and a clipped corner."""
    y, x = np.mgrid[0:height, 0:width]
    ramps = (x / max(width - 1, 1), y / max(height - 1, 1), (x + y) / max(width + height - 2, 1))
    return np.minimum(np.stack(ramps, axis=-1) * 300, 255).astype(np.uint8)


def jpeg(path: Path, pixels: np.ndarray, **options: Any) -> Path:
    Image.fromarray(pixels).save(path, "JPEG", **{"quality": 95, "subsampling": 0, **options})
    return path


def light_of(source: Path, most: float = 4.0) -> np.ndarray:
    """(H, W, 3) float32 in units of SDR white: what is clipped rises to ``most``, the rest is the picture's own."""
    codes = read_image(source).pixels
    light = srgb_to_linear(codes.astype(np.float32) / np.iinfo(codes.dtype).max)
    rise = np.linspace(0, most - 1, codes.shape[1], dtype=np.float32)[None, :, None]
    brightest = codes.max(axis=-1, keepdims=True) / np.iinfo(codes.dtype).max * 255
    clipped = np.clip((brightest - 245) / 9, 0, 1).astype(np.float32)
    return light + clipped * rise * np.array([1, 0.9, 0.7], np.float32)


def written(path: Path, source: Path, light: np.ndarray, **options: Any) -> bytes:
    settings = {"quality": 95, "metadata": {"software": "dcdr-deploy 1", "model": 'a "model" <1>'}, **options}
    write_ultrahdr(path, light / np.float32(PEAK), PEAK, source=source, **settings)
    return path.read_bytes()


def libultrahdr(data: bytes) -> np.ndarray:
    """(H, W, 3) float32: what Google's library makes of it at full headroom, as stored."""
    codecs = pytest.importorskip("imagecodecs")
    return codecs.ultrahdr_decode(data, dtype="float16").astype(np.float32)[..., :3]


def base_of(data: bytes) -> np.ndarray:
    """(H, W, 3) uint8: what an SDR viewer shows, as stored."""
    with Image.open(io.BytesIO(data)) as image:
        return np.array(image.convert("RGB"))


def stops_apart(light: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """How far two lights are apart, in stops; 1/64 of SDR white stands in for black."""
    return np.abs(np.log2((light + 1 / 64) / (expected + 1 / 64)))
