"""What the writers make strip by strip in one pass is, bit for bit, what whole pictures give pass after pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import OpenEXR
import pytest
import tifffile

from dcdr_deploy.imaging import WriteOptions, write_image
from dcdr_deploy.imaging import primaries as p
from dcdr_deploy.imaging.delivery import CodeRange, Delivery, _eetf_table, _hlg_factors, _table
from dcdr_deploy.imaging.dither import quantised
from dcdr_deploy.imaging.hdr_transfer import eetf_knee_bt2390
from dcdr_deploy.imaging.light import PRIMARIES, Light
from dcdr_deploy.imaging.lookup import look_up
from dcdr_deploy.system.strips import ROWS

PEAK, HALF_MAX = 8.0, np.float32(65504)


def picture(kind: type = np.float32) -> np.ndarray:
    """More rows than a strip; light below 0, above the peak and above halves, -0, denormals, NaN and infinities."""
    rng = np.random.default_rng(11)
    light = (rng.uniform(-0.2, 1.2, (150, 31, 3)) ** 3).astype(np.float32)
    light[3, :4] = [[np.nan, np.inf, -np.inf], [-0.0, 0.0, -1e-45], [1e-45, 1e-30, 1e4], [2e4, 1, np.nan]]
    light[140, 5].view(np.uint32)[:] = 0xFFC00000, 0x7FC00000, 0x80000001
    return light.astype(kind)


def alpha() -> np.ndarray:
    cover = np.linspace(-0.1, 1.1, 150 * 31, dtype=np.float32).reshape(150, 31)
    cover[0, 0] = np.nan
    return cover


def transformed(light: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """By OpenCV, whose last bits depend on how many pixels it gets at once."""
    return np.concatenate([cv2.transform(light[row : row + ROWS], matrix) for row in range(0, len(light), ROWS)])


def plain(linear: np.ndarray, primaries: str, scale: float, most: float) -> np.ndarray:
    """Limits, primaries, scale: a pass over the picture for each."""
    light = np.fmax(linear.astype(np.float32), np.float32(0))
    if primaries == "rec709":
        light = light * np.float32(scale)
    else:
        matrix = np.asarray(p.from_rec709(PRIMARIES[primaries]) * scale, np.float32)
        light = np.maximum(transformed(np.minimum(light, np.float32(1e30)), matrix), 0)
    return np.minimum(light, np.float32(most))


def bits(samples: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(samples).view(f"u{samples.dtype.itemsize}")


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("compression", ["zip", "none"])
@pytest.mark.parametrize("floats", [False, True], ids=["half", "float"])
@pytest.mark.parametrize("primaries", ["rec709", "aces2065-1"])
@pytest.mark.parametrize("with_alpha", [False, True], ids=["rgb", "rgba"])
def test_exr_holds_the_light(tmp_path: Path, kind, compression, floats, primaries, with_alpha):
    options = WriteOptions(compression, floats, Light(primaries=primaries))
    cover = alpha() if with_alpha else None
    write_image(tmp_path / "a.exr", picture(kind), peak=PEAK, alpha=cover, options=options)
    expected = plain(picture(kind), primaries, PEAK, np.finfo(np.float32).max if floats else HALF_MAX)
    if cover is not None:
        cover = np.minimum(np.fmax(cover, 0), 1)
        expected = np.dstack([expected * cover[..., None], cover])
    with OpenEXR.File(str(tmp_path / "a.exr")) as file:
        (channel,) = file.channels().values()
        np.testing.assert_array_equal(bits(channel.pixels), bits(expected if floats else expected.astype(np.float16)))


@pytest.mark.parametrize("with_alpha", [False, True], ids=["rgb", "rgba"])
@pytest.mark.parametrize("primaries", ["rec709", "acescg"])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_integers_hold_the_light(tmp_path: Path, suffix, primaries, with_alpha):
    path, cover = tmp_path / f"a{suffix}", alpha() if with_alpha else None
    write_image(path, picture(), peak=PEAK, alpha=cover, options=WriteOptions(light=Light(primaries=primaries)))
    expected = np.rint(plain(picture(), primaries, 65535, 65535))
    if cover is not None:
        expected = np.dstack([expected, np.rint(np.minimum(np.fmax(cover, 0), 1) * np.float32(65535))])
    if suffix == ".tif":
        found = tifffile.imread(path)
    else:
        found = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[..., [2, 1, 0, 3][: expected.shape[2]]]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("with_alpha", [False, True], ids=["rgb", "rgba"])
def test_a_tiff_of_floats_holds_the_light(tmp_path: Path, with_alpha):
    cover = alpha() if with_alpha else None
    write_image(tmp_path / "a.tif", picture(), peak=PEAK, alpha=cover, options=WriteOptions(float32=True))
    expected = plain(picture(), "rec709", PEAK, np.finfo(np.float32).max)
    if cover is not None:
        expected = np.dstack([expected, np.minimum(np.fmax(cover, 0), 1)])
    np.testing.assert_array_equal(bits(tifffile.imread(tmp_path / "a.tif")), bits(expected))


def rolled(light: Light, linear: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """cd/m2 after the roll-off, and the pixels' largest channels."""
    matrix = np.maximum(p.from_rec709(light.chromaticities) * (PEAK * light.reference_white), 0).astype(np.float32)
    block = np.minimum(np.fmax(linear, np.float32(0)), np.float32(1e9))
    block = transformed(block, matrix)
    largest = block.max(axis=2)
    source = PEAK * light.reference_white
    knee = eetf_knee_bt2390(source, light.peak_nits) if light.peak_nits < source else light.peak_nits
    bright = largest > np.float32(knee)
    after = look_up(_eetf_table(source, light.peak_nits), largest)
    factor = np.where(bright, np.divide(after, largest, out=np.ones_like(largest), where=bright), np.float32(1))
    return block * factor[..., None], np.where(bright, after, largest)


LIGHTS: list[dict[str, Any]] = [
    {"transfer": transfer, "primaries": primaries, "peak_nits": peak_nits}
    for transfer in ("pq", "hlg")
    for primaries in ("rec709", "rec2020")
    for peak_nits in (500.0, 1000.0)
]


@pytest.mark.parametrize("given", LIGHTS, ids=lambda given: "-".join(map(str, given.values())))
def test_delivered_codes_are_those_of_the_curves(given):
    light, linear = Light(**given), picture()
    nits, largest = rolled(light, linear)
    delivery, hlg = Delivery(light, PEAK), light.transfer == "hlg"
    strips = [delivery.nits(linear[row : row + ROWS]) for row in range(0, len(linear), ROWS)]
    np.testing.assert_array_equal(np.concatenate(strips), nits)
    of_signal = nits
    if hlg:
        red, green, blue = np.asarray(p.luminance_weights(light.chromaticities), np.float32)
        luminance = nits[..., 0] * red + nits[..., 1] * green + nits[..., 2] * blue
        of_signal = nits * look_up(_hlg_factors(), luminance)[..., None]
    signal = look_up(_table(hlg), of_signal)
    found, level = delivery.signals(linear)
    np.testing.assert_array_equal(found, signal)
    assert level.max_cll == largest.max()
    assert level.max_fall == pytest.approx(largest.mean(dtype=np.float64), rel=1e-12)
    for range_, seed in ((CodeRange(10), 0), (CodeRange(12, narrow=True), 5), (CodeRange(16), None)):
        scale, black = np.float32(range_.white - range_.black), np.float32(range_.black)
        expected = quantised(signal * scale + black, range_.black, range_.white, seed=seed)
        np.testing.assert_array_equal(delivery.codes(linear, range_, seed=seed)[0], expected)
