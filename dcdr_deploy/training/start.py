"""How a network's weights start: from the inverse sRGB curve, so that training cannot begin below that baseline."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dcdr_deploy.errors import InputError
from dcdr_deploy.imaging.transfer import srgb_to_linear
from dcdr_deploy.models.architecture import HdrNetwork

CODES = 1024
QUIET_SCALE = 0.03
"""Scale of the restoration net's last convolution at the start. Not zero: Adam's first steps would move all of its
weights alike, a flash of light over the whole picture, which is answered by ReLUs before it that never open again."""

SPARE_SCALE = 0.02
"""Weights that the construction does not need start at this share of their Kaiming values, so that they can learn."""


def start_from_inverse_srgb(network: HdrNetwork, peak: float) -> float:
    """Set the tone net to inverse sRGB / ``peak`` and turn the restoration net's last convolution down.

    The gain T_G(x) = linear(x) / (x peak) of each colour channel is written into the tone net as a piecewise linear
    function: ReLUs at fixed knots in the first convolution's centre taps, handed on by those between, and summed by
    the last with coefficients from least squares. No training step is needed, and the fit is far below one 8-bit code.

    Args:
        network: Kaiming-initialised; changed in place.
        peak: linear value of 1.0 in units of SDR white.

    Returns:
        Largest error over all code values, in units of SDR white (NaN without a tone net).

    Raises:
        InputError: the tone net is too narrow for a curve for each channel.
    """
    tone, restoration = network.tone_part(), network.restoration_part()
    with torch.no_grad():
        if restoration is not None:
            restoration.last.weight.mul_(QUIET_SCALE)
        if tone is None:
            return float("nan")
        width = tone.layers[0].out_channels
        knots = width // 3
        if knots < 4:
            raise InputError(f"a tone net of {width} channels is too narrow for an sRGB start")
        positions, coefficients, bias, error = fit_gain(knots, peak)
        _write_curve(tone.layers, positions, coefficients, bias)
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


def _write_curve(
    layers: list[nn.Conv2d], positions: NDArray[np.float64], coefficients: NDArray[np.float64], bias: float
) -> None:
    first, *between, last = layers
    knots = len(positions)
    for layer in layers:
        layer.weight.mul_(SPARE_SCALE)
    curve_channels = torch.arange(3 * knots)
    first.weight[: 3 * knots] = 0
    last.weight[:] = 0
    for colour in range(3):
        span = slice(colour * knots, (colour + 1) * knots)
        _centre(first)[span, colour] = 1
        cast(Tensor, first.bias)[span] = torch.from_numpy(-positions).float()
        _centre(last)[colour, span] = torch.from_numpy(coefficients).float()
        cast(Tensor, last.bias)[colour] = bias
    for layer in between:
        layer.weight[: 3 * knots] = 0
        _centre(layer)[curve_channels, curve_channels] = 1


def _centre(layer: nn.Conv2d) -> Tensor:
    """The weights of a convolution's middle tap, (out, in), as a view."""
    return layer.weight[:, :, layer.weight.shape[2] // 2, layer.weight.shape[3] // 2]
