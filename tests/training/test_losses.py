"""The losses are the paper's equations 7 and 8, and the mu-law terms match the metric."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from dcdr_deploy.errors import InputError
from dcdr_deploy.imaging.transfer import linear_to_srgb
from dcdr_deploy.metrics.psnr import mu_law as metric_mu_law
from dcdr_deploy.training.losses import (
    VGG19_LAYERS,
    VGG19Loss,
    WeightedLoss,
    mu_l1,
    mu_law,
    mu_log_mse,
    mu_mse,
    sdr_l1,
    tanh_l1,
)


@pytest.fixture(scope="session")
def vgg19_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of torchvision's VGG19 layout with random weights; the real one is the user's to bring."""
    from torchvision.models import vgg19

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("vgg") / "vgg19-random.pth"
    torch.save({f"features.{k}": v for k, v in vgg19(weights=None).features.state_dict().items()}, path)
    return path


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
    assert (outside.grad > 0).all()
    assert outside.grad[0] == outside.grad[1]


def test_sdr_l1_counts_code_values_up_to_sdr_white() -> None:
    truth = torch.full((1, 3, 2, 2), 0.18 / 8)
    grey = torch.full((1, 3, 2, 2), 0.5 / 8)
    codes = linear_to_srgb(np.array([0.18, 0.5]))
    assert sdr_l1(grey, truth, 8.0).item() == pytest.approx(codes[1] - codes[0], rel=1e-4)
    assert sdr_l1(truth + 0.5, truth + 0.7, 8.0).item() == 0  # both above white


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


def test_the_paper_takes_the_last_convolution_before_each_pooling() -> None:
    from torchvision.models import vgg19

    layers = list(vgg19(weights=None).features)
    convolutions = [i for i, layer in enumerate(layers) if isinstance(layer, torch.nn.Conv2d)]
    # S = {(1, 2), (2, 4), (3, 8), (4, 12), (5, 16)}: the 2nd, 4th, 8th, 12th and 16th convolution
    assert [convolutions[j - 1] for j in (2, 4, 8, 12, 16)] == list(VGG19_LAYERS)


@pytest.mark.slow
def test_vgg_loss_sums_over_channels_and_averages_over_pixels(vgg19_file: Path) -> None:
    loss = VGG19Loss(vgg19_file)
    a, b = pair()
    expected = 0.0
    x, y = (a - loss.mean) / loss.std, (b - loss.mean) / loss.std
    for i, layer in enumerate(loss.features):
        x, y = layer(x), layer(y)
        if i in VGG19_LAYERS:
            n, _, h, w = x.shape
            expected += ((x - y) ** 2).sum().item() / (n * h * w)
    assert loss(a, b).item() == pytest.approx(expected, rel=1e-4)
    assert not any(parameter.requires_grad for parameter in loss.parameters())


@pytest.mark.slow
def test_eq_8_adds_a_tenth_of_the_perceptual_loss(vgg19_file: Path) -> None:
    a, b = pair()
    both = WeightedLoss({"tanh_l1": 1.0, "perceptual": 0.1}, vgg19_file)
    expected = tanh_l1(a, b) + 0.1 * VGG19Loss(vgg19_file)(a, b)
    assert both(a, b).item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_missing_vgg_file_is_named_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--perceptual none"):
        WeightedLoss({"perceptual": 0.1}, tmp_path / "missing.pth")


def test_a_file_that_is_no_vgg_is_refused(tmp_path: Path) -> None:
    torch.save({"conv.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(InputError, match="no VGG19"):
        WeightedLoss({"perceptual": 0.1}, tmp_path / "other.pth")


def test_an_unknown_loss_is_refused() -> None:
    with pytest.raises(InputError, match="unknown loss"):
        WeightedLoss({"l3": 1.0})


def test_only_the_active_terms_are_summed() -> None:
    a, b = torch.zeros(1, 3, 8, 8), torch.full((1, 3, 8, 8), 0.5)
    loss = WeightedLoss({"tanh_l1": 1.0, "mu_mse": 4.0})
    assert loss(a, b, {"tanh_l1"}) == tanh_l1(a, b)
    assert loss(a, b) == tanh_l1(a, b) + 4 * mu_mse(a, b)


def test_halving_the_error_of_an_easy_patch_counts_as_much_as_of_a_hard_one() -> None:
    truth = torch.full((2, 3, 8, 8), 0.2)
    errors = torch.tensor([0.3, 0.03]).view(2, 1, 1, 1)

    def loss(scale: list[float]) -> float:
        encoded = mu_law(truth) + errors * torch.tensor(scale).view(2, 1, 1, 1)
        return float(mu_log_mse((11**encoded - 1) / 10, truth))

    whole = loss([1, 1])
    assert whole - loss([0.5, 1]) == pytest.approx(whole - loss([1, 0.5]), rel=0.01)
