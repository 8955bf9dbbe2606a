"""Resizing, pyramid and filtering in the frequency domain on their own."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcdr_deploy.metrics.hdrvdp2.filters import sp3_filters
from dcdr_deploy.metrics.hdrvdp2.fourier import filter_padded, padded_frequencies
from dcdr_deploy.metrics.hdrvdp2.pyramid import build, height_of, reconstruct
from dcdr_deploy.metrics.hdrvdp2.resize import imresize
from dcdr_deploy.metrics.hdrvdp2.sensitivity import neural_csf, optical_mtf

sides = st.integers(1, 40)


@settings(max_examples=50, deadline=None)
@given(sides, sides, sides, sides)
def test_resizing_keeps_a_constant(height, width, rows, columns):
    resized = imresize(np.full((height, width), 3.5), (rows, columns))
    assert resized.shape == (rows, columns)
    assert resized == pytest.approx(np.full((rows, columns), 3.5))


def test_resizing_to_the_same_size_changes_nothing():
    picture = np.random.default_rng(0).random((5, 7))
    assert np.array_equal(imresize(picture, (5, 7)), picture)


def test_enlarging_keeps_a_ramp_straight_inside():
    ramp = np.arange(16.0)[:, None] * np.ones((1, 3))
    doubled = imresize(ramp, (32, 3))
    assert doubled[6:-6, 0] == pytest.approx((np.arange(32) + 0.5)[6:-6] / 2 - 0.5)


def test_halving_takes_the_antialiased_cubic_kernel():
    impulse = np.zeros((16, 1))
    impulse[7] = 1
    # Output k lies at 2 k + 0.5: half of Keys' kernel at half the distance, here at 1/4, 3/4, 5/4 and 7/4.
    kernel = [0.8671875, 0.2265625, -0.0703125, -0.0234375]
    halved = imresize(impulse, (8, 1))[:, 0]
    assert halved[[3, 4, 2, 5]] == pytest.approx(np.array(kernel) / 2)


def test_filters_are_balanced():
    filters = sp3_filters()
    assert filters.high_pass.sum() == pytest.approx(0, abs=1e-6)
    assert filters.first_low_pass.sum() == pytest.approx(1, abs=1e-6)
    assert filters.low_pass.sum() == pytest.approx(2, abs=1e-6)
    for kernel in filters.oriented:
        assert kernel.shape == (9, 9)
        assert np.array_equal(kernel, -kernel[::-1, ::-1])


@pytest.mark.parametrize(("size", "levels"), [((16, 99), 0), ((17, 99), 1), ((128, 160), 3), ((160, 192), 4)])
def test_the_pyramid_ends_where_its_filter_no_longer_fits(size, levels):
    assert height_of(size, sp3_filters()) == levels
    bands = build(np.zeros(size), sp3_filters())
    assert [len(level) for level in bands] == [1, *[4] * levels, 1]


def test_the_pyramid_puts_a_picture_together_again():
    y, x = np.mgrid[:128, :128] / 128
    picture = np.sin(9 * x + 4 * y) + np.random.default_rng(0).standard_normal((128, 128))
    filters = sp3_filters()
    error = (reconstruct(build(picture, filters), filters) - picture)[24:-24, 24:-24]
    assert np.sqrt(np.mean(error**2)) < 0.03 * picture.std()


def test_each_orientation_answers_to_its_own_direction():
    y, x = np.mgrid[:96, :96]
    waves = {0: x, 1: x + y, 2: y, 3: x - y}
    energies = {}
    for name, phase in waves.items():
        band = build(np.sin(phase * (0.9 if name % 2 == 0 else 0.64)), sp3_filters())[1]
        energies[name] = int(np.argmax([np.sum(b[20:-20, 20:-20] ** 2) for b in band]))
    assert sorted(energies.values()) == [0, 1, 2, 3]


def test_a_response_of_one_changes_nothing():
    plane = np.random.default_rng(0).random((9, 14))
    ones = np.ones_like(padded_frequencies((9, 14), 24.0))
    assert filter_padded(plane, ones, 7.0) == pytest.approx(plane)


def test_a_plane_in_its_own_surround_stays_flat():
    mtf = optical_mtf(padded_frequencies((20, 30), 24.0))
    assert filter_padded(np.full((20, 30), 5.0), mtf, 5.0) == pytest.approx(np.full((20, 30), 5.0 * mtf[0, 0]))


def test_the_surround_shines_into_the_edges():
    mtf = optical_mtf(padded_frequencies((20, 30), 24.0))
    dark = filter_padded(np.zeros((20, 30)), mtf, 100.0)
    assert dark[0, 0] > dark[10, 15] > 0


def test_optics_lose_fine_detail_and_pass_light():
    mtf = optical_mtf(np.array([0.0, 1.0, 8.0, 30.0]))
    assert mtf[0] == pytest.approx(1.0)
    assert (np.diff(mtf) < 0).all()


def test_contrast_sensitivity_has_no_answer_to_a_constant_and_a_peak_at_middle_frequencies():
    sensitivity = neural_csf(np.array([0.0, 0.5, 4.0, 50.0]), 100.0)
    assert sensitivity[0] == 0
    assert sensitivity[2] > max(sensitivity[1], sensitivity[3])
