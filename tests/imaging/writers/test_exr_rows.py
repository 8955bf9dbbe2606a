"""Uncompressed OpenEXR files of ours are, byte for byte, those that OpenEXR itself writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import OpenEXR
import pytest

from dcdr_deploy.imaging import WriteOptions, write_image
from dcdr_deploy.imaging.writers.exr_rows import resized

PEAK = 8.0


def by_openexr(path: Path, pixels: np.ndarray, attributes: dict[str, object]) -> bytes:
    header = {**attributes, "compression": OpenEXR.NO_COMPRESSION, "type": OpenEXR.scanlineimage}
    OpenEXR.File(header, {"RGB" if pixels.shape[2] == 3 else "RGBA": pixels}).write(str(path))
    return path.read_bytes()


@pytest.mark.parametrize("size", [(1, 1), (70, 1), (64, 7), (150, 33)])
@pytest.mark.parametrize("floats", [False, True], ids=["half", "float"])
@pytest.mark.parametrize("with_alpha", [False, True], ids=["rgb", "rgba"])
def test_the_bytes_are_openexrs(tmp_path: Path, size, floats, with_alpha):
    rng = np.random.default_rng(2)
    linear, alpha = rng.random((*size, 3), np.float32), rng.random(size, np.float32) if with_alpha else None
    metadata = {"software": "dcdr-deploy", "comments": "dataWindow box2i", "displayWindow2": "x" * 300}
    path, options = tmp_path / "a.exr", WriteOptions("none", floats)
    write_image(path, linear, peak=PEAK, alpha=alpha, options=options, metadata=metadata)
    pixels = linear * np.float32(PEAK)
    if alpha is not None:
        pixels = np.dstack([pixels * alpha[..., None], alpha])
    with OpenEXR.File(str(path)) as file:
        colour = {name: file.header()[name] for name in ("chromaticities", "whiteLuminance")}
    expected = by_openexr(tmp_path / "b.exr", pixels if floats else pixels.astype(np.float16), {**metadata, **colour})
    assert path.read_bytes() == expected


def test_only_the_windows_of_a_header_change(tmp_path: Path):
    pixel, picture = (np.zeros((*size, 3), np.float16) for size in ((1, 1), (9, 5)))
    owner = "dataWindow\x01box2i\x02"  # a text that looks like an attribute is none
    small, large = (by_openexr(tmp_path / "a.exr", pixels, {"owner": owner}) for pixels in (pixel, picture))
    header = resized(small, 5, 9)
    assert large.startswith(header)
    assert len(header) == len(large) - 9 * (8 + 8 + 5 * 6)
