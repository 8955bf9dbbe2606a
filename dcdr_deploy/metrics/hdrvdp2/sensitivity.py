"""Sensitivities of HDR-VDP-2: the eye's optics, its photoreceptors and the neural contrast sensitivity."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.metrics.hdrvdp2 import parameters

Array = NDArray[np.float64]

LEAST_LOG_LUMINANCE, LARGEST_LOG_LUMINANCE = -5.0, 5.0
_TABLE_ENTRIES = 2048
_LEAST_CONE_SENSITIVITY = 1e-3


@dataclass(frozen=True)
class Photoreceptors:
    """Responses in just noticeable differences over log10 of what a receptor takes up in cd/m2; all (2048,).

    Attributes:
        log_luminance: evenly spaced, -5 to 5.
        cone: of L and of M cones.
        rod: of rods.
    """

    log_luminance: Array
    cone: Array
    rod: Array

    def cone_response(self, luminance: Array) -> Array:
        """Response of L or M cones; luminances beyond the table count as its ends."""
        return self._look_up(luminance, self.cone)

    def rod_response(self, luminance: Array) -> Array:
        """Response of rods."""
        return self._look_up(luminance, self.rod)

    def _look_up(self, luminance: Array, table: Array) -> Array:
        limited = np.clip(luminance, 10.0**LEAST_LOG_LUMINANCE, 10.0**LARGEST_LOG_LUMINANCE)
        return np.asarray(np.interp(np.log10(limited), self.log_luminance, table))


@functools.lru_cache(maxsize=4)
def photoreceptors(rod_sensitivity: float, sensitivity_correction: float) -> Photoreceptors:
    """Tables of the luminance response: the integral of sensitivity over log luminance."""
    log_luminance = np.linspace(LEAST_LOG_LUMINANCE, LARGEST_LOG_LUMINANCE, _TABLE_ENTRIES)
    luminance = 10.0**log_luminance
    rod = rod_sensitivity_at(luminance) * 10.0**rod_sensitivity
    cones_together = np.maximum(joint_sensitivity_at(luminance) - rod, _LEAST_CONE_SENSITIVITY)
    # L and M cones are equally sensitive and share the luminance, so one of them meets half of it.
    cone = 0.5 * np.interp(np.minimum(2 * luminance, luminance[-1]), luminance, cones_together)
    return Photoreceptors(
        log_luminance,
        cone=_integrate(log_luminance, cone) * sensitivity_correction,
        rod=_integrate(log_luminance, rod) * sensitivity_correction,
    )


def joint_sensitivity_at(luminance: Array) -> Array:
    """Sensitivity of cones and rods together at a luminance in cd/m2."""
    peak, drop, transition, low_slope = parameters.CSF_SA
    return np.asarray(peak * ((drop / luminance) ** transition + 1) ** -low_slope)


def rod_sensitivity_at(luminance: Array) -> Array:
    """Sensitivity of rods at a luminance in cd/m2."""
    peak, low_scale, low_exponent, high_scale, high_exponent, gain = parameters.CSF_SR_PAR
    distance = np.abs(np.log10(luminance / peak))
    above = luminance > peak
    scale, exponent = np.where(above, high_scale, low_scale), np.where(above, high_exponent, low_exponent)
    return np.asarray(np.exp(-(distance**exponent) / scale) * 10.0**gain)


def neural_csf(frequency: Any, luminance: Any) -> Array:
    """Neural contrast sensitivity, without optics and luminance sensitivity.

    Args:
        frequency: cycles per degree; broadcasts with ``luminance``.
        luminance: adapting luminance in cd/m2.
    """
    log_luminance = np.log10(np.clip(luminance, parameters.CSF_LUMS[0], parameters.CSF_LUMS[-1]))
    known = np.log10(parameters.CSF_LUMS)
    p1, p2, p3, gain = (np.interp(log_luminance, known, column) for column in zip(*parameters.CSF_PARAMS, strict=True))
    low_pass = 1 + (p1 * frequency) ** p2
    # 0 at frequency 0: written as a factor, the formula's division by zero does not arise.
    high_pass = (1 - np.exp(-((np.asarray(frequency) / 7.0) ** 2))) ** p3
    return np.asarray(gain * np.sqrt(high_pass / low_pass))


def optical_mtf(frequency: Array) -> Array:
    """Modulation transfer of the eye's optics at frequencies in cycles per degree: four exponentials."""
    return np.asarray(sum(a * np.exp(-b * frequency) for a, b in zip(parameters.MTF_A, parameters.MTF_B, strict=True)))


def _integrate(x: Array, y: Array) -> Array:
    """The integral of ``y ln 10`` over ``x`` up to each entry, by trapezia."""
    steps = np.diff(x) * (y[1:] + y[:-1]) / 2 * np.log(10.0)
    return np.concatenate([[0.0], np.cumsum(steps)])
