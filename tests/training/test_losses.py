"""The pixel losses are the paper's equation 8 and mu-law terms that match the metric."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

from dcdr_deploy.errors import InputError
from dcdr_deploy.imaging.transfer import linear_to_srgb, srgb_to_linear
from dcdr_deploy.metrics.chromaticity import uv_difference
from dcdr_deploy.metrics.psnr import mu_law as metric_mu_law
from dcdr_deploy.metrics.psnr import psnr_mu
from dcdr_deploy.models.encodings import srgb_decode
from dcdr_deploy.training.heldout import baseline
from dcdr_deploy.training.losses import (
    CLIPPED_LOG_FLOOR,
    CLIPPED_TERMS,
    RELATIVE_TERMS,
    TERMS,
    WeightedLoss,
    clipped_log_mse,
    mu_l1,
    mu_log_mse,
    mu_mse,
    mu_regret,
    sdr_l1,
    tanh_l1,
)
from dcdr_deploy.training.mu_law import mu_law


def pair() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(2, 3, 32, 32, generator=generator), torch.rand(2, 3, 32, 32, generator=generator)


def test_tanh_l1_is_the_mean_distance_of_hyperbolic_tangents() -> None:
    a, b = pair()
    assert tanh_l1(a, b).item() == pytest.approx(np.abs(np.tanh(a.numpy()) - np.tanh(b.numpy())).mean(), rel=1e-5)


def test_mu_law_is_the_metrics_inside_and_straight_outside() -> None:
    x = torch.linspace(0, 1, 101)
    assert np.allclose(mu_law(x).numpy(), metric_mu_law(x.numpy()), atol=1e-6)
    outside = torch.tensor([-0.2, -0.1, 1.1, 1.2], requires_grad=True)
    mu_law(outside).sum().backward()
    assert outside.grad is not None
    # The slopes at 0 and at 1.
    expected = np.array([10, 10, 10 / 11, 10 / 11]) / np.log(11)
    np.testing.assert_allclose(outside.grad.numpy(), expected, rtol=1e-6)


def test_sdr_l1_counts_code_values_up_to_sdr_white() -> None:
    truth = torch.full((1, 3, 2, 2), 0.18 / 8)
    grey = torch.full((1, 3, 2, 2), 0.5 / 8)
    codes = linear_to_srgb(np.array([0.18, 0.5]))
    assert sdr_l1(grey, truth, 8.0).item() == pytest.approx(codes[1] - codes[0], rel=1e-4)
    assert sdr_l1(truth + 0.5, truth + 0.7, 8.0).item() == 0  # both above white


def test_both_pieces_of_the_srgb_curve_are_those_of_the_standard() -> None:
    codes = np.linspace(0, 1, 1021)
    light = srgb_to_linear(codes)
    np.testing.assert_allclose(srgb_decode(torch.from_numpy(codes)).numpy(), light, atol=1e-9)
    black = torch.zeros(1, 1, 1, 1, dtype=torch.float64)
    for code, value in zip(codes[1:80], light[1:80], strict=True):  # the knee is at code 41
        assert sdr_l1(torch.full_like(black, value), black, 1.0).item() == pytest.approx(code, abs=1e-6)


def test_sdr_l1_has_finite_gradients_everywhere() -> None:
    x = torch.tensor([-1.0, -1e-6, 0.0, 1e-7, 0.01, 0.125, 0.9]).reshape(1, 1, 1, 7).requires_grad_()
    sdr_l1(x, torch.full_like(x, 0.05), 8.0).backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()
    assert (x.grad[..., :4] < 0).all()  # too dark: pulled up, below zero as well


@pytest.mark.parametrize("loss", [tanh_l1, mu_l1, mu_mse, partial(sdr_l1, peak=1.0)])
def test_equal_pictures_cost_nothing(loss) -> None:
    a, b = pair()
    assert loss(a, a).item() == 0
    assert loss(a, b).item() > 0


def test_an_unknown_loss_is_refused() -> None:
    with pytest.raises(InputError, match="unknown loss"):
        WeightedLoss({"l3": 1.0})


def test_only_the_active_terms_are_summed() -> None:
    a, b = torch.zeros(1, 3, 8, 8), torch.full((1, 3, 8, 8), 0.5)
    loss = WeightedLoss({"tanh_l1": 1.0, "mu_mse": 4.0})
    assert loss(a, b, a, {"tanh_l1"}) == tanh_l1(a, b)
    assert loss(a, b, a) == tanh_l1(a, b) + 4 * mu_mse(a, b)


def test_halving_the_error_of_an_easy_patch_counts_as_much_as_of_a_hard_one() -> None:
    truth = torch.full((2, 3, 8, 8), 0.2)
    errors = torch.tensor([0.3, 0.03]).view(2, 1, 1, 1)

    def loss(scale: list[float]) -> float:
        encoded = mu_law(truth) + errors * torch.tensor(scale).view(2, 1, 1, 1)
        return float(mu_log_mse((11**encoded - 1) / 10, truth))

    whole = loss([1, 1])
    assert whole - loss([0.5, 1]) == pytest.approx(whole - loss([1, 0.5]), rel=0.01)


def test_regret_is_the_squared_decibels_lost_against_the_trivial_conversion() -> None:
    rng = np.random.default_rng(0)
    sdr = rng.random((2, 16, 16, 3), np.float32)
    truth = np.stack([baseline(picture, 8.0) for picture in sdr]) + np.float32(0.02)
    prediction = truth + np.array([0.04, 0.005], np.float32).reshape(2, 1, 1, 1)
    lost = psnr_mu(baseline(sdr[0], 8.0), truth[0]) - psnr_mu(prediction[0], truth[0])
    assert lost > 3
    tensors = [torch.from_numpy(picture.transpose(0, 3, 1, 2)) for picture in (prediction, truth, sdr)]
    # The second picture is better than the conversion and costs nothing.
    assert mu_regret(*tensors, peak=8.0).item() == pytest.approx(lost**2 / 2, rel=0.02)
    assert WeightedLoss({"mu_regret": 0.5}, peak=8.0)(*tensors).item() == pytest.approx(lost**2 / 4, rel=0.02)


def test_regret_has_no_gradient_where_the_network_is_better() -> None:
    sdr = torch.full((1, 3, 8, 8), 0.5)
    truth = torch.full((1, 3, 8, 8), 0.9)
    for level, pulls in ((0.8, False), (0.001, True)):
        prediction = torch.full((1, 3, 8, 8), level, requires_grad=True)
        mu_regret(prediction, truth, sdr, 8.0).backward()
        assert prediction.grad is not None
        assert bool(prediction.grad.any()) is pulls


def test_colour_counts_over_clipped_pixels_only_and_as_the_metric_measures_it() -> None:
    prediction, truth = (picture.clamp(min=0.01) for picture in pair())
    sdr = torch.full_like(prediction, 0.5)
    clipped_uv = WeightedLoss({"clipped_uv": 1.0})
    assert clipped_uv(prediction, truth, sdr).item() == 0
    sdr[1, 2, 4:12] = 254 / 255  # one channel is enough
    expected = uv_difference(prediction[1].permute(1, 2, 0).numpy(), truth[1].permute(1, 2, 0).numpy())[4:12].mean()
    assert clipped_uv(prediction, truth, sdr).item() == pytest.approx(expected, abs=1e-4)
    assert clipped_uv(truth * 0.5, truth, sdr).item() < 2e-4  # darker is no cast


def test_colour_pulls_channels_that_went_below_zero_by_the_others_and_never_breaks() -> None:
    prediction = torch.tensor([0.4, -0.1, 0.3]).view(1, 3, 1, 1).repeat(1, 1, 4, 4).requires_grad_()
    clipped_uv = WeightedLoss({"clipped_uv": 1.0})
    for truth in (torch.full((1, 3, 4, 4), 0.3), prediction.detach()):
        prediction.grad = None
        clipped_uv(prediction, truth, torch.ones(1, 3, 4, 4)).backward()
        assert prediction.grad is not None
        assert torch.isfinite(prediction.grad).all()


def clipped_pair() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Prediction, truth and SDR of two patches; in the first one a quarter clips, in the second nothing."""
    prediction, truth = pair()
    sdr = torch.full_like(truth, 0.5)
    sdr[0, 1, :16, :16] = 1.0
    return prediction, truth, sdr


def test_terms_of_clipped_pixels_look_at_those_alone_and_at_every_patch_alike() -> None:
    prediction, truth, sdr = clipped_pair()
    error = mu_law(prediction) - mu_law(truth)
    clipped_l1 = WeightedLoss({"clipped_l1": 1.0})
    assert clipped_l1(prediction, truth, sdr).item() == pytest.approx(error[0, :, :16, :16].abs().mean().item())
    mean = error[0, :, :16, :16].square().mean() + CLIPPED_LOG_FLOOR
    assert clipped_log_mse(prediction, truth, sdr).item() == pytest.approx(mean.log().item() / 2, rel=1e-5)
    elsewhere = prediction.clone()
    elsewhere[0, :, 16:] += 0.3
    elsewhere[1] += 0.3
    for term in (clipped_l1, clipped_log_mse):
        assert term(elsewhere, truth, sdr).item() == term(prediction, truth, sdr).item()


@pytest.mark.parametrize("name", sorted(TERMS | RELATIVE_TERMS | CLIPPED_TERMS))
def test_pixels_whose_truth_nobody_knows_change_no_loss_and_get_no_gradient(name: str) -> None:
    prediction, truth, sdr = clipped_pair()
    unknown = torch.zeros(2, 1, 32, 32, dtype=torch.bool)
    unknown[:, :, 10:20, 5:25] = True
    hidden = truth.masked_fill(unknown, torch.nan)
    loss = WeightedLoss({name: 1.0}, peak=8.0)
    prediction.requires_grad_()
    value = loss(prediction, hidden, sdr)
    value.backward()
    assert torch.isfinite(value)
    assert prediction.grad is not None
    assert torch.isfinite(prediction.grad).all()
    assert (prediction.grad[unknown.expand_as(prediction)] == 0).all()
    other = torch.where(unknown, prediction.detach() + 0.4, prediction.detach())
    assert loss(other, hidden, sdr).item() == value.item()
