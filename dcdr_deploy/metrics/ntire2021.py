"""PSNR as the NTIRE 2021 challenge on HDR imaging defines it (E. Perez-Pellitero and others, CVPR workshops 2021).

Two figures, both normalised by the ground truth of each picture: PSNR-L after division by its maximum, and PSNR-mu
after division by its 99th percentile, tanh, and the mu-law with mu = 5000. The challenge's files store gamma-encoded
values, which its script raises to 2.24 before the latter; ``gamma`` repeats that, 1.0 suits pictures that are linear.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.metrics.psnr import mu_law

MU = 5000.0
PERCENTILE = 99.0
GAMMA = 2.24

Array = NDArray[np.floating[Any]]


def by_maximum(prediction: Array, truth: Array) -> tuple[Array, Array]:
    """Both divided by the truth's maximum; a truth that is black stays as it is."""
    largest = float(truth.max())
    return (prediction / largest, truth / largest) if largest > 0 else (prediction, truth)


def compressed(prediction: Array, truth: Array, gamma: float = 1.0) -> tuple[Array, Array]:
    """Both raised to ``gamma``, divided by the truth's 99th percentile, through tanh and the mu-law; in [0, 1].

    Negative values count as 0.
    """
    a, b = (np.maximum(picture, 0).astype(np.float64) ** gamma for picture in (prediction, truth))
    scale = float(np.percentile(b, PERCENTILE))
    if scale == 0:  # at least 99 % of the truth is black
        scale = 1.0
    return mu_law(np.tanh(a / scale), MU), mu_law(np.tanh(b / scale), MU)
