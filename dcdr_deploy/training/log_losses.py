"""Losses of other publications' networks, most on logarithms of light: see :mod:`dcdr_deploy.training.losses`."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from dcdr_deploy.imaging.transfer import LUMINANCE_REC709
from dcdr_deploy.models.hdrcnn import BLEND, EPSILON
from dcdr_deploy.models.vgg import highlight_mask
from dcdr_deploy.training.mu_law import mu_law

ILLUMINATION_PIXELS, ILLUMINATION_SIGMA = 13, 4.213
"""Size and deviation in pixels of the filter that takes illumination from luminance. The public code's taps are square
roots of the normal distribution's mass in 13 parts of 0.337 deviations: within 2e-6 a Gaussian of this deviation."""

FHDR_MU = 5000.0

COLOURLESS = 1e-6
"""Length of a colour vector below which it hardly has a direction (ours)."""


def illumination_reflectance(prediction: Tensor, truth: Tensor, sdr: Tensor, peak: float) -> Tensor:
    """HDRCNN's loss (eq. 5): squared errors of log illumination and log reflectance, where the picture clips.

    Illumination is a low-pass of log luminance, reflectance what is left of each channel's log. Both weigh a half.

    Args:
        prediction: linear, (N, 3, H, W), 1.0 = ``peak`` x SDR white.
        truth: likewise.
        sdr: what the prediction was made from, sRGB-encoded in [0, 1].
        peak: linear value of 1.0 in units of SDR white.
    """
    clipped = highlight_mask(sdr, BLEND)
    lights, shades = zip(*(_parts(light * peak) for light in (prediction, truth)), strict=True)
    error = (lights[0] - lights[1]).square() + (shades[0] - shades[1]).square()
    return (0.5 * error * clipped).mean()


def _parts(light: Tensor) -> tuple[Tensor, Tensor]:
    """Log illumination (N, 1, H, W) and log reflectance (N, 3, H, W) of light in units of SDR white."""
    light = light.clamp(min=0)
    weights = light.new_tensor(LUMINANCE_REC709).reshape(1, 3, 1, 1)
    luminance = torch.log((light * weights).sum(1, keepdim=True) + EPSILON)
    half = ILLUMINATION_PIXELS // 2
    taps = torch.exp(-0.5 * (torch.arange(-half, half + 1, device=light.device) / ILLUMINATION_SIGMA) ** 2)
    along = (taps / taps.sum()).reshape(1, 1, 1, -1)
    padded = F.pad(luminance, (half, half, half, half), mode="replicate")
    illumination = F.conv2d(F.conv2d(padded, along), along.transpose(2, 3))
    return illumination, torch.log(light + EPSILON) - illumination


def mu5000_l1(prediction: Tensor, truth: Tensor) -> Tensor:
    """FHDR's first term (section II-D): mean absolute error after the mu-law with mu = 5000."""
    return (mu_law(prediction, FHDR_MU) - mu_law(truth, FHDR_MU)).abs().mean()


def mu_variation(prediction: Tensor, truth: Tensor) -> Tensor:
    """SingleHDR's total variation: mean step between neighbours after the mu-law, down and across; no truth needed."""
    del truth
    toned = mu_law(prediction)
    down, across = toned[:, :, 1:] - toned[:, :, :-1], toned[:, :, :, 1:] - toned[:, :, :, :-1]
    return down.abs().mean() + across.abs().mean()


def cosine(prediction: Tensor, truth: Tensor) -> Tensor:
    """Mean of 1 - the cosine between a pixel's colours as vectors (ExpandNet, eq. 2); both (N, 3, H, W) linear.

    Vectors shorter than :data:`COLOURLESS` count as shorter still, so that the gradient of black stays within floats.
    """
    return (1 - F.cosine_similarity(prediction, truth, dim=1, eps=COLOURLESS)).mean()
