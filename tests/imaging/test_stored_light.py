"""What lies below 0 or above the peak, in one place for every format; and the line of numbers is the file's."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import OpenEXR
import pytest
import tifffile

from dcdr_deploy.imaging import WriteOptions, write_image
from dcdr_deploy.imaging.half import HALF_MAX
from dcdr_deploy.imaging.statistics import light_summary
from dcdr_deploy.imaging.write import stored_light

PEAK = 8.0
CASES = [(suffix, False) for suffix in (".exr", ".hdr", ".png", ".tif", ".tiff")] + [(".exr", True), (".tif", True)]


def picture() -> np.ndarray:
    """Light on both sides of the network's range, in more rows than are handled at once."""
    rng = np.random.default_rng(3)
    linear = rng.uniform(-0.4, 1.4, (150, 40, 3)).astype(np.float32)
    linear[0, :3] = [[np.nan, np.inf, -np.inf], [1e-9, 0.5, 0.25], [1e-30, 1e-30, 1e-30]]
    return linear


def in_file(path: Path) -> np.ndarray:
    """Light in units of SDR white, as a library other than ours reads it."""
    if path.suffix == ".exr":
        with OpenEXR.File(str(path)) as file:
            return next(iter(file.channels().values())).pixels[..., :3].astype(np.float32)
    if path.suffix == ".hdr":
        return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[..., ::-1]
    codes = tifffile.imread(path) if path.suffix != ".png" else cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    scale = PEAK / 65535 if codes.dtype == np.uint16 else 1
    return codes[..., :3].astype(np.float32) * np.float32(scale)


@pytest.mark.parametrize(("suffix", "float32"), CASES)
def test_below_0_is_0_and_above_the_peak_is_kept_where_the_format_holds_it(tmp_path, suffix, float32):
    linear = picture()
    linear[0] = 0.5
    write_image(tmp_path / f"out{suffix}", linear, peak=PEAK, options=WriteOptions(float32=float32))
    held = in_file(tmp_path / f"out{suffix}")
    assert held.min() == 0
    assert held.max() == pytest.approx(
        linear.max() * PEAK if float32 or suffix in (".exr", ".hdr") else PEAK, rel=1 / 200
    )


@pytest.mark.parametrize("with_alpha", [False, True])
@pytest.mark.parametrize(("suffix", "float32"), CASES)
def test_the_line_of_numbers_is_that_of_the_file(tmp_path, suffix, float32, with_alpha):
    linear, options = picture(), WriteOptions(float32=float32)
    alpha = np.linspace(0, 1, 150 * 40, dtype=np.float32).reshape(150, 40) if with_alpha else None
    path = tmp_path / f"out{suffix}"
    write_image(path, linear, peak=PEAK, alpha=alpha, options=options)
    summary = light_summary(150, stored_light(path, linear, peak=PEAK, alpha=alpha, options=options))
    ordered = np.sort(in_file(path), axis=None).astype(np.float64)
    exact = {"rel": 1e-6, "abs": 0}
    assert summary["min"] == pytest.approx(ordered[0], **exact)
    assert summary["max"] == pytest.approx(ordered[-1], **exact)
    for name, share in (("median", 0.5), ("p99", 0.99)):
        assert summary[name] == pytest.approx(ordered[math.ceil(share * ordered.size) - 1], rel=2**-11)


def test_infinite_light_is_the_largest_number_of_the_format():
    linear = np.full((2, 2, 3), np.inf, np.float32)
    assert stored_light("out.exr", linear, peak=PEAK)(0, 2).max() == HALF_MAX
    assert stored_light("out.png", linear, peak=PEAK)(0, 2).max() == PEAK
