"""PQ, HLG and BT.2390's roll-off against the figures of their standards."""

import numpy as np
import pytest

from dcdr_deploy.imaging.hdr_transfer import (
    eetf_bt2390,
    eetf_knee_bt2390,
    hlg_decode,
    hlg_encode,
    hlg_scene_factor,
    pq_decode,
    pq_encode,
)


@pytest.mark.parametrize(("nits", "signal"), [(0, 0.0), (100, 0.5081), (203, 0.5807), (1000, 0.7518), (10000, 1.0)])
def test_pq_at_known_luminances(nits, signal):
    assert pq_encode(nits) == pytest.approx(signal, abs=1e-4)
    assert pq_decode(pq_encode(nits)) == pytest.approx(nits, rel=1e-9, abs=1e-6)


@pytest.mark.parametrize("source", [250.0, 1000.0, 1624.0, 10000.0])
def test_eetf_is_identity_below_the_knee_monotone_and_reaches_the_target(source):
    nits = np.concatenate([np.linspace(0, source, 4000), [source * 2]])
    shown = eetf_bt2390(nits, source, 203.0)
    assert np.all(np.diff(shown) >= -1e-9)
    assert shown[-1] == pytest.approx(203, rel=1e-6)
    knee = pq_decode((1.5 * pq_encode(203) / pq_encode(source) - 0.5) * pq_encode(source))
    np.testing.assert_allclose(shown[nits <= knee], nits[nits <= knee], rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(("source", "target"), [(1624.0, 1000.0), (10000.0, 203.0), (1000.0, 100.0)])
def test_eetf_is_a_cubic_above_the_knee(source, target):
    """BT.2390-8, 5.4.1: with slope 1 at KS, slope 0 at 1 and KS = 1.5 maxLum - 0.5 the Hermite spline is
    KS + (maxLum - KS) (1 - (1 - T)^3)."""
    largest = pq_encode(target) / pq_encode(source)
    knee = 1.5 * largest - 0.5
    place = np.linspace(0, 1, 50)
    nits = pq_decode((knee + place * (1 - knee)) * pq_encode(source))
    expected = pq_decode((knee + (largest - knee) * (1 - (1 - place) ** 3)) * pq_encode(source))
    np.testing.assert_allclose(eetf_bt2390(nits, source, target), expected, rtol=1e-9)


@pytest.mark.parametrize(("source", "target"), [(1624.0, 1.0), (1624.0, 3.0), (10000.0, 1.0), (10000.0, 10.0)])
def test_eetf_crushes_no_darks_however_dim_the_display(source, target):
    """BT.2390's knee lies below black where maxLum < 1/3, and its spline is negative at black."""
    nits = np.concatenate([[0.0], np.geomspace(1e-4, source, 500)])
    shown = eetf_bt2390(nits, source, target)
    assert shown[0] == 0
    assert shown[-1] == pytest.approx(target, rel=1e-6)
    assert np.all(np.diff(shown) > 0)
    assert np.all(shown[1:] <= nits[1:] * (1 + 1e-6))
    assert eetf_knee_bt2390(source, target) == 0


def test_eetf_of_a_dim_display_meets_that_of_brighter_ones():
    nits = np.geomspace(1e-3, 1624, 200)
    third = float(pq_decode(pq_encode(1624) / 3))
    below, above = (eetf_bt2390(nits, 1624, third * factor) for factor in (1 - 1e-9, 1 + 1e-9))
    np.testing.assert_allclose(below, above, rtol=1e-6)


def test_eetf_on_a_display_as_bright_as_the_source_is_identity():
    nits = np.linspace(0, 203, 50)
    np.testing.assert_allclose(eetf_bt2390(nits, 203.0, 203.0), nits, rtol=1e-7, atol=1e-9)


def test_the_roll_off_changes_nothing_below_its_knee_and_something_above():
    knee = eetf_knee_bt2390(1624.0, 1000.0)
    assert knee == pytest.approx(780, abs=5)
    assert eetf_bt2390(np.array(knee * 0.999), 1624, 1000) == pytest.approx(knee * 0.999, rel=1e-9)
    assert eetf_bt2390(np.array(knee * 1.05), 1624, 1000) < knee * 1.049
    assert eetf_knee_bt2390(500, 1000) == 500


@pytest.mark.parametrize("signal", [0.0, 0.2, 0.5, 0.75, 1.0])
def test_hlg_decodes_what_it_encoded(signal):
    assert hlg_encode(hlg_decode(signal)) == pytest.approx(signal, abs=1e-7)


def test_hlg_has_the_two_ends_and_the_joint_of_its_definition():
    assert hlg_encode(np.array([0, 1 / 12, 1, 2])) == pytest.approx([0, 0.5, 1, 1], abs=1e-6)


@pytest.mark.parametrize(
    ("nits", "pq", "hlg"), [(26, 0.38, 0.38), (162, 0.56, 0.71), (179, 0.57, 0.73), (203, 0.58, 0.75)]
)
def test_reference_levels_of_bt2408_table_1(nits, pq, hlg):
    """18 % gray, 83 % and 90 % reflectance and diffuse white."""
    assert pq_encode(nits) == pytest.approx(pq, abs=0.006)
    assert hlg_encode(nits / 1000 * hlg_scene_factor(nits)) == pytest.approx(hlg, abs=0.006)


@pytest.mark.parametrize("nits", [1e-6, 1e-3, 1.0, 1000.0])
def test_hlgs_scene_light_of_a_gray_gives_its_display_light_again(nits):
    """BT.2100-2, table 5: F_D = L_W Y_S^(gamma - 1) E with gamma 1.2, which for grays is L_W E^1.2; in the dark too."""
    assert 1000 * (nits / 1000 * hlg_scene_factor(nits)) ** 1.2 == pytest.approx(nits, rel=1e-9)
