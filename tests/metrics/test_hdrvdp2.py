"""HDR-VDP-2 against the numbers of the published release, and what must hold whatever the numbers are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dcdr_deploy.metrics.hdrvdp2 import Options, hdrvdp2
from dcdr_deploy.metrics.hdrvdp2.masking import masked_differences
from dcdr_deploy.metrics.hdrvdp2.model import band_frequencies, optics, visual_response
from dcdr_deploy.metrics.hdrvdp2.parameters import RGB_TO_LMSR
from dcdr_deploy.metrics.hdrvdp2.sensitivity import photoreceptors

GOLDEN = Path(__file__).parent / "golden"
NUMBERS: dict[str, Any] = json.loads((GOLDEN / "hdrvdp2.json").read_text())
PAIRS: dict[str, Any] = NUMBERS["pairs"]
STAGES: dict[str, Any] = NUMBERS["intermediate"]
PPD = float(NUMBERS["pixels_per_degree"])
DARK = (1e-5, 1e-5, 1e-5)


@pytest.fixture(scope="session")
def stored() -> dict[str, np.ndarray]:
    with np.load(GOLDEN / "hdrvdp2_pairs.npz") as pictures:
        return {name: pictures[name].astype(np.float64) for name in pictures.files}


# The published numbers


@pytest.mark.parametrize("name", PAIRS)
def test_figures_are_those_of_the_release(stored, name):
    expected = PAIRS[name]["normalised"]
    found = vars(hdrvdp2(stored[f"{name}_test"], stored[f"{name}_ref"]))
    assert found["Q221"] == pytest.approx(expected["Q221"], abs=1e-6)
    assert found["C_max"] == pytest.approx(expected["C_max"], rel=1e-6)
    assert found["P_det"] == pytest.approx(expected["P_det"], abs=1e-6)
    assert found["Q"] == pytest.approx(expected["Q"], abs=1e-6)


def test_some_pairs_tell_more_than_that_everything_is_seen():
    between = [name for name, pair in PAIRS.items() if 0 < pair["normalised"]["P_det"] < 1]
    assert {"bumps", "city_srgb8", "venice_colour"} <= set(between)


@pytest.mark.parametrize("name", PAIRS)
def test_weights_of_imresize_that_do_not_sum_to_one_make_next_to_no_difference(stored, name):
    released = PAIRS[name]["release"]
    found = vars(hdrvdp2(stored[f"{name}_test"], stored[f"{name}_ref"]))
    assert found["Q221"] == pytest.approx(released["Q221"], abs=1e-5)
    assert found["C_max"] == pytest.approx(released["C_max"], rel=1e-5)


@pytest.mark.parametrize("name", PAIRS)
def test_identical_pictures_have_quality_100_and_nothing_to_detect(stored, name):
    picture = stored[f"{name}_ref"]
    found = vars(hdrvdp2(picture, picture))
    assert (found["Q221"], found["P_det"], found["C_max"]) == (100.0, 0.0, 0.0)
    assert found["Q"] == pytest.approx(PAIRS[name]["identical"]["Q"], abs=1e-9)


# The published stages


def test_tables_are_those_of_the_release():
    tables = NUMBERS["tables"]
    options = Options()
    table = photoreceptors(options.rod_sensitivity, options.sensitivity_correction)
    assert np.array(RGB_TO_LMSR) == pytest.approx(np.array(tables["rgb_to_L_M_S_rod"]), rel=1e-12)
    assert table.cone[tables["jnd_index"]] == pytest.approx(np.array(tables["jnd_cone"]), rel=1e-11)
    assert table.rod[tables["jnd_index"]] == pytest.approx(np.array(tables["jnd_rod"]), rel=1e-11)


@pytest.mark.parametrize("kind", ["reference", "test"])
@pytest.mark.parametrize("name", STAGES)
def test_optics_and_adaptation_are_those_of_the_release(stored, name, kind):
    expected = STAGES[name][kind]
    picture = stored[f"{name}_{'ref' if kind == 'reference' else 'test'}"]
    light = optics(picture, PPD, DARK)
    assert light.mean(axis=(0, 1)) == pytest.approx(np.array(expected["after_optics_mean_rgb"]), rel=1e-10)
    assert light.min(axis=(0, 1)) == pytest.approx(np.array(expected["after_optics_min_rgb"]), rel=1e-8)
    adaptation = visual_response(picture, PPD, Options(), DARK).adaptation
    rows, columns = STAGES[name]["sample_rows"], STAGES[name]["sample_columns"]
    assert adaptation[np.ix_(rows, columns)] == pytest.approx(np.array(expected["L_adapt_samples"]), rel=1e-9)


@pytest.mark.parametrize("name", STAGES)
def test_bands_and_masked_differences_are_those_of_the_release(stored, name):
    seen = visual_response(stored[f"{name}_ref"], PPD, Options(), DARK)
    tested = visual_response(stored[f"{name}_test"], PPD, Options(), DARK, seen.base_surround)
    frequencies = band_frequencies(len(seen.bands), PPD)
    adaptation = (seen.adaptation + tested.adaptation) / 2
    masked = masked_differences(tested.bands, seen.bands, adaptation, frequencies, Options())
    expected = STAGES[name]["bands"]
    found = zip(flat(seen.bands), flat(tested.bands), flat(masked.differences), strict=True)
    for band, (reference, test, difference) in zip(expected, found, strict=True):
        assert reference.shape == (band["height"], band["width"])
        assert frequencies[band["level"] - 1] == band["frequency"]
        assert np.sum(reference**2) == pytest.approx(band["sumsq_reference"], rel=1e-9)
        assert np.sum(test**2) == pytest.approx(band["sumsq_test"], rel=1e-9)
        # Octave's weights of imresize, which do not sum to one, reach the masking of pictures with odd sides.
        exact = 1e-4 if name == "banded_ramp" else 1e-9
        assert np.sum(difference**2) == pytest.approx(band["sumsq_D"], rel=exact)
    assert seen.base_surround == pytest.approx(STAGES[name]["base_band_pad_value"], rel=1e-9)


def flat(bands: list[list[np.ndarray]]) -> list[np.ndarray]:
    return [band for level in bands for band in level]


# Whatever the numbers are


def noisy(picture: np.ndarray, amplitude: float) -> np.ndarray:
    noise = np.random.default_rng(3).random(picture.shape) - 0.5
    return picture * (1 + amplitude * noise)


def test_more_noise_is_seen_more_and_costs_quality(stored):
    picture = stored["checker_blur_ref"]
    results = [hdrvdp2(noisy(picture, amplitude), picture) for amplitude in (0.01, 0.05, 0.2)]
    assert results[0].C_max < results[1].C_max < results[2].C_max
    assert results[0].Q221 > results[1].Q221 > results[2].Q221


def test_the_same_contrast_is_seen_less_in_the_dark(stored):
    picture = stored["checker_blur_ref"]
    bright, dark = (hdrvdp2(noisy(picture, 0.05) * scale, picture * scale) for scale in (1.0, 1e-4))
    assert dark.C_max < 0.01 * bright.C_max


def test_far_apart_pixels_hide_noise(stored):
    """At 120 pixels per degree the noise is finer than the eye resolves."""
    picture = stored["checker_blur_ref"]
    near, far = (hdrvdp2(noisy(picture, 0.05), picture, pixels_per_degree=ppd) for ppd in (24, 120))
    assert far.C_max < near.C_max


def test_the_map_points_at_the_difference():
    picture = np.full((96, 128, 3), 100.0)
    changed = picture.copy()
    changed[40:44, 100:104] *= 1.5
    result = hdrvdp2(changed, picture)
    row, column = np.unravel_index(result.C_map.argmax(), result.C_map.shape)
    assert abs(row - 42) < 6
    assert abs(column - 102) < 6
    assert result.P_map.shape == (96, 128)
    assert result.P_map.max() == result.P_det


def test_masking_hides_noise_and_pooling_counts_area(stored):
    picture = stored["checker_blur_ref"]
    test = noisy(picture, 0.05)
    default = hdrvdp2(test, picture)
    assert hdrvdp2(test, picture, options=Options(do_masking=False)).C_max > default.C_max
    assert hdrvdp2(test, picture, options=Options(do_spatial_pooling=False)).C_max < default.C_max


def test_sensitivity_is_an_option(stored):
    picture = stored["checker_blur_ref"]
    test = noisy(picture, 0.01)
    assert hdrvdp2(test, picture, options=Options(peak_sensitivity=2.6)).C_max > hdrvdp2(test, picture).C_max


def test_a_surround_of_minus_one_is_the_geometric_mean_of_the_reference():
    gray = np.full((32, 32, 3), 40.0)
    gray[..., 2] = 10.0
    test = noisy(gray, 0.1)
    chosen = hdrvdp2(test, gray, options=Options(surround_l=-1))
    given = hdrvdp2(test, gray, options=Options(surround_l=(40.0, 40.0, 10.0)))
    assert chosen.C_max == pytest.approx(given.C_max, rel=1e-9)


def test_rgb_native_means_rgb_bt709(stored):
    pictures = stored["bumps_test"], stored["bumps_ref"]
    assert hdrvdp2(*pictures, color_encoding="rgb-native").Q221 == hdrvdp2(*pictures).Q221


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"test": np.ones((32, 33, 3))}, "shapes"),
        ({"test": np.ones((16, 32, 3)), "reference": np.ones((16, 32, 3))}, "at least 17"),
        ({"color_encoding": "luminance"}, "'luminance' is unknown"),
        ({"pixels_per_degree": 0.0}, "pixels_per_degree"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, said):
    pictures = {"test": np.ones((32, 32, 3)), "reference": np.ones((32, 32, 3))}
    with pytest.raises(ValueError, match=said):
        hdrvdp2(**{**pictures, **arguments})
