"""Training losses: the paper's tanh L1 and VGG19 terms (eq. 7, 8) and mu-law terms for the demo weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from dcdr_deploy.errors import InputError

LossTerm = Callable[[Tensor, Tensor], Tensor]

VGG19_LAYERS = (2, 7, 16, 25, 34)
"""Positions in torchvision's ``vgg19().features`` of the convolutions S = {(1,2), (2,4), (3,8), (4,12), (5,16)}."""

LOG_FLOOR = 1e-6
"""Mean squared error (60 dB) below which a patch counts as exact."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def tanh_l1(prediction: Tensor, truth: Tensor) -> Tensor:
    """Mean of |tanh(prediction) - tanh(truth)|, first term of eq. 8; both (N, 3, H, W) linear."""
    return (torch.tanh(prediction) - torch.tanh(truth)).abs().mean()


def mu_law(x: Tensor, mu: float = 10.0) -> Tensor:
    """mu-law of linear light, continued as a straight line below 0 and above 1 so that gradients never vanish."""
    inside = x.clamp(0, 1)
    slope_low, slope_high = mu / math.log1p(mu), mu / (1 + mu) / math.log1p(mu)
    outside = slope_low * (x - inside).clamp(max=0) + slope_high * (x - inside).clamp(min=0)
    return torch.log1p(mu * inside) / math.log1p(mu) + outside


def mu_l1(prediction: Tensor, truth: Tensor) -> Tensor:
    """Mean absolute error after the mu-law (ours): weighs dark and bright more evenly than linear light does."""
    return (mu_law(prediction) - mu_law(truth)).abs().mean()


def mu_mse(prediction: Tensor, truth: Tensor) -> Tensor:
    """Mean squared error after the mu-law (ours): what PSNR-mu measures."""
    return (mu_law(prediction) - mu_law(truth)).square().mean()


def mu_log_mse(prediction: Tensor, truth: Tensor) -> Tensor:
    """Mean over patches of the logarithm of each patch's :func:`mu_mse` (ours): what PSNR-mu per picture measures.

    Patches in which little clips are nearly exact from the start. Pooled errors hardly see them; here a decibel lost
    there weighs as much as one lost in a patch full of lights.
    """
    errors = (mu_law(prediction) - mu_law(truth)).square().mean(dim=(1, 2, 3))
    return torch.log(errors + LOG_FLOOR).mean()


def sdr_l1(prediction: Tensor, truth: Tensor, peak: float) -> Tensor:
    """Mean absolute error in sRGB code values of the part up to SDR white (ours).

    Errors in the dark, which neither tanh nor the mu-law weighs, are colour casts in what a viewer sees first. The
    curve is continued as a straight line below 0; above SDR white it says nothing, the other terms do.

    Args:
        prediction: linear, (N, 3, H, W), 1.0 = ``peak`` x SDR white.
        truth: likewise.
        peak: linear value of 1.0 in units of SDR white.
    """
    return (_srgb_encode(prediction * peak) - _srgb_encode(truth * peak)).abs().mean()


def _srgb_encode(linear: Tensor) -> Tensor:
    """sRGB curve (IEC 61966-2-1) with its straight toe continued below 0, constant above 1."""
    inside = linear.clamp(max=1)
    # The power's gradient is infinite at 0, so it must not even be computed there.
    power = 1.055 * inside.clamp(min=0.0031308) ** (1 / 2.4) - 0.055
    return torch.where(inside <= 0.0031308, 12.92 * inside, power)


class VGG19Loss(nn.Module):
    """Perceptual loss of eq. 7: squared feature differences, summed over channels and averaged over pixels.

    The feature maps are the outputs of the convolutions, before their ReLU, as the text below eq. 7 says. Inputs are
    normalised by ImageNet's mean and deviation (ours: the paper names no normalisation). The weights are torchvision's
    and must be on disk; nothing is downloaded.

    Args:
        weights: ``.pth`` with torchvision's VGG19 state dict.

    Raises:
        InputError: the file is missing or no VGG19.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, weights: Path) -> None:
        super().__init__()
        from torchvision.models import vgg19

        if not weights.is_file():
            raise InputError(
                f"no VGG19 weights at {weights}: give torchvision's file by --vgg19-weights, or use --perceptual none"
            )
        features = vgg19(weights=None).features[: VGG19_LAYERS[-1] + 1]
        state = torch.load(weights, map_location="cpu", weights_only=True)
        wanted = {f"features.{key}": key for key in features.state_dict()}
        if not isinstance(state, dict) or not wanted.keys() <= state.keys():
            raise InputError(f"{weights} is no VGG19 of torchvision: it lacks {next(iter(wanted))}")
        features.load_state_dict({short: state[key] for key, short in wanted.items()})
        for layer in features:
            if isinstance(layer, nn.ReLU):
                layer.inplace = False
        self.features = features.eval().requires_grad_(False)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1))

    def forward(self, prediction: Tensor, truth: Tensor) -> Tensor:
        """Loss of two linear pictures (N, 3, H, W) in [0, 1]."""
        a, b = (prediction - self.mean) / self.std, (truth - self.mean) / self.std
        total = prediction.new_zeros(())
        for position, layer in enumerate(self.features):
            a, b = layer(a), layer(b)
            if position in VGG19_LAYERS:
                total = total + (a - b).square().sum(dim=1).mean()
        return total


def find_vgg19_weights() -> Path | None:
    """torchvision's VGG19 file in torch's own cache folder, or ``None``."""
    candidates = sorted((Path(torch.hub.get_dir()) / "checkpoints").glob("vgg19-*.pth"))
    return candidates[0] if candidates else None


TERMS: dict[str, Callable[[float], LossTerm]] = {
    "tanh_l1": lambda peak: tanh_l1,
    "mu_l1": lambda peak: mu_l1,
    "mu_mse": lambda peak: mu_mse,
    "mu_log_mse": lambda peak: mu_log_mse,
    "sdr_l1": lambda peak: partial(sdr_l1, peak=peak),
}
"""Losses without weights of their own, made for a peak, by the name used in a recipe."""


class WeightedLoss(nn.Module):
    """Sum of named loss terms.

    Args:
        weights: weight of each name of :data:`TERMS`, and of ``"perceptual"``; zero weights are left out.
        vgg19: weights file for ``"perceptual"``.
        peak: linear value of 1.0 in units of SDR white.

    Raises:
        InputError: unknown name, or perceptual loss without weights.
    """

    def __init__(self, weights: dict[str, float], vgg19: Path | None = None, peak: float = 1.0) -> None:
        super().__init__()
        unknown = weights.keys() - TERMS.keys() - {"perceptual"}
        if unknown:
            raise InputError(f"unknown loss {sorted(unknown)}; known: {sorted(TERMS)} and 'perceptual'")
        self.weights = {name: weight for name, weight in weights.items() if weight}
        self.terms = {name: TERMS[name](peak) for name in self.weights.keys() & TERMS.keys()}
        self.perceptual: VGG19Loss | None = None
        if "perceptual" in self.weights:
            path = vgg19 or find_vgg19_weights()
            if path is None:
                raise InputError(
                    "the perceptual loss needs torchvision's VGG19 weights: give the file by --vgg19-weights, "
                    "or train with --perceptual none"
                )
            self.perceptual = VGG19Loss(path)

    def forward(self, prediction: Tensor, truth: Tensor, active: Collection[str] | None = None) -> Tensor:
        """Weighted sum for float32 pictures (N, 3, H, W), of the terms named in ``active`` (default: all)."""
        total = prediction.new_zeros(())
        for name, weight in self.weights.items():
            if active is not None and name not in active:
                continue
            term = self.perceptual if name == "perceptual" else self.terms[name]
            assert term is not None
            total = total + weight * term(prediction, truth)
        return total
