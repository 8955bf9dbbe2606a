"""The tone-mapped look at an HDR picture."""

import numpy as np
import pytest
from PIL import Image

from dcdr_deploy.errors import OutputError
from dcdr_deploy.imaging import linear_to_srgb, preview_sdr, write_preview
from dcdr_deploy.imaging.hdr_transfer import eetf_bt2390


def gray(value, peak):
    return np.full((2, 2, 3), value / peak, np.float32)


@pytest.mark.parametrize("peak", [1, 4, 8, 16, 40])
def test_mid_gray_stays_near_its_srgb_code(peak):
    assert np.abs(preview_sdr(gray(0.18, peak), peak).astype(int) - 118).max() <= (1 if peak <= 16 else 10)


@pytest.mark.parametrize(("peak", "sdr_white"), [(2, 244), (8, 221), (40, 198)])
def test_peak_is_white_and_sdr_white_stays_bright_below_it(peak, sdr_white):
    assert preview_sdr(gray(peak, peak), peak).tolist() == [[[255] * 3] * 2] * 2
    assert preview_sdr(gray(1, peak), peak)[0, 0, 0] == sdr_white


def test_grays_follow_the_formula_within_rounding_so_nothing_is_posterised():
    ramp = np.geomspace(1e-4, 1, 20_000, dtype=np.float32)
    codes = preview_sdr(np.repeat(ramp[None, :, None], 3, axis=2), 8.0)[0, :, 0]
    exact = linear_to_srgb(eetf_bt2390(ramp.astype(np.float64) * 8 * 203, 8 * 203, 203) / 203) * 255
    assert np.abs(codes - exact).max() <= 0.6
    assert set(codes[ramp > 0.1]) == set(range(int(codes[ramp > 0.1].min()), 256))


def test_channels_are_scaled_alike():
    colour = np.array([[[1.0, 0.5, 0.1]]], np.float32)
    code = preview_sdr(colour, 8.0)[0, 0] / 255
    linear = np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4)
    assert linear / linear[0] == pytest.approx(colour[0, 0] / colour[0, 0, 0], abs=0.01)


def test_nan_and_infinity_are_shown_as_black_and_white():
    pixels = np.array([[[np.nan] * 3, [np.inf] * 3, [-np.inf] * 3, [0.5, np.nan, 0.5]]], np.float32)
    shown = preview_sdr(pixels, 8.0)[0]
    assert shown[:3, 0].tolist() == [0, 255, 0]
    assert shown[3, 1] == 0
    assert shown[3, 0] > 128


@pytest.mark.parametrize("shape", [(1, 1), (33, 7), (100, 3)])
def test_result_is_independent_of_the_blocks_rows_are_worked_in(shape):
    pixels = np.random.default_rng(0).random((*shape, 3), dtype=np.float32)
    rows = np.concatenate([preview_sdr(pixels[y : y + 1], 8.0) for y in range(shape[0])])
    np.testing.assert_array_equal(preview_sdr(pixels, 8.0), rows)


def test_preview_file_holds_the_preview(tmp_path):
    pixels = np.random.default_rng(0).random((48, 64, 3), dtype=np.float32)
    write_preview(tmp_path / "new" / "preview.png", pixels, 8.0)
    with Image.open(tmp_path / "new" / "preview.png") as image:
        np.testing.assert_array_equal(np.asarray(image), preview_sdr(pixels, 8.0))
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError):
        write_preview(tmp_path / "file" / "preview.png", pixels, 8.0)
