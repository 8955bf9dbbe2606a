"""The list of metrics: names, regions, and what holds for all of them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dcdr_deploy.errors import InputError
from dcdr_deploy.metrics import pu21, registry
from dcdr_deploy.metrics.pair import Pair
from dcdr_deploy.metrics.psnr import psnr_l, psnr_mu
from dcdr_deploy.metrics.registry import ALL, HIGHER, METRICS, PAPER, SETS, chosen_metrics

OWN = [name for name, metric in METRICS.items() if not metric.package]
FAST = [name for name in METRICS if not name.startswith(("lpips", "cvvdp"))]


def pictures(noise: float = 0.02) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:64, :80] / 80
    truth = (0.1 + 0.4 * x + 0.3 * np.sin(9 * y) ** 2)[..., None] * np.array([1.0, 0.9, 0.7])
    prediction = np.clip(truth + noise * rng.standard_normal(truth.shape), 0, 1)
    return prediction.astype(np.float32), truth.astype(np.float32)


def score(name: str, prediction: np.ndarray, truth: np.ndarray, mask: np.ndarray | None = None) -> float:
    metric = METRICS[name]
    if reason := metric.missing():
        pytest.skip(reason)
    return metric.score(Pair(prediction, truth, nits=1624.0), mask)


def test_names_and_headings_are_told_apart():
    headings = [metric.heading for metric in METRICS.values()]
    assert len(set(headings)) == len(headings)
    assert all(metric.description for metric in METRICS.values())


def test_the_papers_five_metrics_are_what_is_asked_for_by_default():
    assert [METRICS[name].title.split("-")[0] for name in SETS[PAPER]] == [
        "PSNR", "PSNR", "SSIM", "SSIM", "LPIPS", "LPIPS", "HDR",
    ]  # fmt: skip
    assert set(SETS[ALL]) == set(METRICS)


def test_names_and_sets_are_chosen_once_in_order():
    chosen = chosen_metrics(["pu21-psnr", "paper", "psnr-l"])
    assert [metric.name for metric in chosen] == ["pu21-psnr", *SETS[PAPER]]


def test_an_unknown_name_is_told_with_those_that_are_known():
    with pytest.raises(InputError, match=r"'psnr'.*psnr-mu10"):
        chosen_metrics(["psnr"])


@pytest.mark.parametrize("name", FAST)
def test_identical_pictures_have_the_best_figure_and_noise_has_a_worse_one(name):
    metric = METRICS[name]
    _, truth = pictures()
    best, little, much = (score(name, pictures(noise)[0], truth) for noise in (0.0, 0.02, 0.1))
    if name.endswith("pdet"):  # saturates
        assert best == 0 <= little <= much
    elif metric.better == HIGHER:
        assert best > little > much
    else:
        assert best < little < much


@pytest.mark.parametrize("name", ["psnr-l", "psnr-mu10", "ssim-l", "ssim-mu10", "pu21-psnr", "pu21-ssim"])
def test_it_does_not_matter_which_picture_is_the_truth(name):
    prediction, truth = pictures()
    assert score(name, prediction, truth) == pytest.approx(score(name, truth, prediction), rel=1e-6)


def test_psnr_is_that_of_the_library():
    prediction, truth = pictures()
    assert score("psnr-l", prediction, truth) == pytest.approx(psnr_l(prediction, truth))
    assert score("psnr-mu10", prediction, truth) == pytest.approx(psnr_mu(prediction, truth))


def test_psnr_of_a_known_error():
    truth = np.full((32, 32, 3), 0.5, np.float32)
    assert score("psnr-l", truth + np.float32(0.1), truth) == pytest.approx(20.0, abs=1e-4)


def test_pu21_psnr_of_a_known_error_has_a_peak_of_256():
    """As its authors compute it: the range of SDR displays, not the 595 of 10,000 cd/m2."""
    truth, brighter = (np.full((32, 32, 3), pu21.decode(np.array(code)), np.float32) for code in (200.0, 225.6))
    assert METRICS["pu21-psnr"].score(Pair(brighter, truth, nits=1.0), None) == pytest.approx(20.0, abs=1e-4)


@pytest.mark.parametrize("name", ["psnr-l-ntire21", "psnr-mu5000-ntire21"])
def test_the_challenges_figures_are_free_of_the_full_scale(name):
    prediction, truth = pictures()
    assert score(name, prediction, truth) == pytest.approx(score(name, prediction / 4, truth / 4), abs=1e-4)


def test_values_above_full_scale_count_as_full_scale_in_the_papers_metrics():
    prediction, truth = pictures()
    bright = truth.copy()
    bright[:8] = 5.0
    for name in ("psnr-l", "psnr-mu10", "ssim-l", "hdrvdp2-q"):
        assert score(name, prediction, bright) == score(name, prediction, np.minimum(bright, 1))
    assert score("psnr-l-ntire21", prediction, bright) != score("psnr-l-ntire21", prediction, np.minimum(bright, 1))


@pytest.mark.parametrize("name", [name for name in FAST if METRICS[name].regional])
def test_a_region_without_errors_has_a_better_figure_than_the_region_with_them(name):
    _, truth = pictures()
    prediction = truth.copy()
    prediction[20:40, 10:30] = 1 - prediction[20:40, 10:30]
    wrong = np.zeros(truth.shape[:2], bool)
    wrong[20:40, 10:30] = True
    right = np.zeros_like(wrong)
    right[:, 60:] = True
    inside, outside = score(name, prediction, truth, wrong), score(name, prediction, truth, right)
    assert (inside < outside) if METRICS[name].better == HIGHER else (inside >= outside)


@pytest.mark.parametrize("name", ["psnr-l", "psnr-mu10", "ssim-l", "pu21-psnr", "hdrvdp2-cmax", "psnr-mu5000-ntire21"])
def test_a_mask_of_everything_is_the_whole_picture(name):
    prediction, truth = pictures()
    everything = np.ones(truth.shape[:2], bool)
    assert score(name, prediction, truth, everything) == pytest.approx(score(name, prediction, truth))


@pytest.mark.parametrize("name", [name for name in FAST if METRICS[name].regional])
def test_an_empty_region_has_no_figure(name):
    prediction, truth = pictures()
    assert math.isnan(score(name, prediction, truth, np.zeros(truth.shape[:2], bool)))


def test_the_three_figures_of_hdr_vdp_share_one_computation(monkeypatch):
    calls = []
    original = registry.hdrvdp2
    monkeypatch.setattr(registry, "hdrvdp2", lambda *a, **k: calls.append(1) or original(*a, **k))
    pair = Pair(*pictures())
    for name in ("hdrvdp2-q", "hdrvdp2-pdet", "hdrvdp2-cmax"):
        METRICS[name].score(pair, None)
    assert len(calls) == 1


def test_only_metrics_of_luminance_ask_for_it():
    prediction, truth = pictures()
    for name in OWN:
        if METRICS[name].absolute:
            with pytest.raises(ValueError, match="luminance"):
                METRICS[name].score(Pair(prediction, truth), None)
        else:
            assert math.isfinite(METRICS[name].score(Pair(prediction, truth), None))


@pytest.mark.parametrize("name", [name for name in FAST if METRICS[name].minimum_size > 1])
def test_the_least_size_is_enough(name):
    least = METRICS[name].minimum_size
    truth = np.random.default_rng(0).random((least, least, 3)).astype(np.float32)
    assert math.isfinite(score(name, truth / 2, truth))


def test_pictures_of_two_shapes_are_no_pair():
    with pytest.raises(ValueError, match="shapes"):
        Pair(np.zeros((4, 4, 3)), np.zeros((4, 5, 3)))
