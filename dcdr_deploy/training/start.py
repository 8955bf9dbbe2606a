"""How a network's weights start: from the inverse sRGB curve, so that training cannot begin below that baseline."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dcdr_deploy.errors import InputError
from dcdr_deploy.imaging.transfer import srgb_to_linear
from dcdr_deploy.models.blocks import ToneNet
from dcdr_deploy.models.network import DCDRUNet

CODES = 1024
QUIET_SCALE = 0.03
"""Scale of the restoration net's last convolution at the start. Not zero: Adam's first steps would move all of its
weights alike, a flash of light over the whole picture, which is answered by ReLUs before it that never open again."""

SPARE_SCALE = 0.02
"""Weights that the construction does not need start at this share of their Kaiming values, so that they can learn."""


def start_from_inverse_srgb(network: DCDRUNet, peak: float) -> float:
    """Set the tone net to inverse sRGB / ``peak`` and turn the restoration net's last convolution down.

    The gain T_G(x) = linear(x) / (x peak) of each colour channel is written into the tone net as a piecewise linear
    function: ReLUs at fixed knots in the first convolution's centre taps, handed through by the next two, and summed by
    the last with coefficients from least squares. No training step is needed, and the fit is far below one 8-bit code.

    Args:
        network: Kaiming-initialised; changed in place.
        peak: linear value of 1.0 in units of SDR white.

    Returns:
        Largest error over all code values, in units of SDR white (NaN without a tone net).

    Raises:
        InputError: the tone net is too narrow for a curve for each channel.
    """
    with torch.no_grad():
        network.restoration.last.weight.mul_(QUIET_SCALE)
        if not network.config.tone_net:
            return float("nan")
        knots = network.config.tone_width // 3
        if knots < 4:
            raise InputError(f"a tone net of {network.config.tone_width} channels is too narrow for an sRGB start")
        positions, coefficients, bias, error = fit_gain(knots, peak)
        _write_curve(network.tone, positions, coefficients, bias)
    return error


def fit_gain(knots: int, peak: float) -> tuple[NDArray[np.float64], NDArray[np.float64], float, float]:
    """Least-squares fit of linear(x) / (x peak) by ``bias + sum_k c_k relu(x - t_k)``.

    Returns:
        Knots t (ascending, first below 0), coefficients c, bias, and the largest error of x times the fit, in units of
        SDR white.
    """
    x = (np.arange(CODES) + 1) / CODES
    linear = srgb_to_linear(x)
    # Knots lie denser in the dark, where the curve leaves its linear toe.
    positions = np.concatenate([[-0.05], np.linspace(0.17, 0.97, knots - 1) ** 1.6])
    features = np.column_stack([np.maximum(x[:, None] - positions, 0), np.ones(CODES)])
    weight = x / (linear + 0.02)  # errors relative to the level: harmless at white, a colour cast in the dark
    solution, *_ = np.linalg.lstsq(features * weight[:, None], linear / (x * peak) * weight, rcond=None)
    error = np.abs(features @ solution * x * peak - linear).max()
    return positions, solution[:-1], float(solution[-1]), float(error)


def _write_curve(tone: ToneNet, positions: NDArray[np.float64], coefficients: NDArray[np.float64], bias: float) -> None:
    first, second, third, last = (cast(nn.Conv2d, layer) for layer in tone.layers)
    knots = len(positions)
    for layer in (first, second, third, last):
        layer.weight.mul_(SPARE_SCALE)
    curve_channels = torch.arange(3 * knots)
    first.weight[: 3 * knots] = 0
    last.weight[:] = 0
    for colour in range(3):
        span = slice(colour * knots, (colour + 1) * knots)
        first.weight[span, colour, 1, 1] = 1
        cast(Tensor, first.bias)[span] = torch.from_numpy(-positions).float()
        last.weight[colour, span, 1, 1] = torch.from_numpy(coefficients).float()
        cast(Tensor, last.bias)[colour] = bias
    for layer in (second, third):
        layer.weight[: 3 * knots] = 0
        layer.weight[curve_channels, curve_channels, 1, 1] = 1
