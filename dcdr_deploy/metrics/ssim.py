"""SSIM (Z. Wang and others, IEEE Transactions on Image Processing 13(4), 2004) by scikit-image.

As published: Gaussian window of 11 x 11 pixels with sigma 1.5, K1 = 0.01, K2 = 0.03, and only windows that lie within
the picture count. Of colour pictures the mean of the three channels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

WINDOW = 11
"""Width of the window, and so the least width and height of a picture."""

SIGMA = 1.5
_BORDER = WINDOW // 2


def ssim_map(a: NDArray[np.floating[Any]], b: NDArray[np.floating[Any]], data_range: float) -> NDArray[np.float64]:
    """SSIM of every pixel; NaN in the border of five pixels, where the window does not fit.

    Args:
        a, b: (H, W) or (H, W, 3) of one shape, at least :data:`WINDOW` pixels each way.
        data_range: full scale of the values.

    Returns:
        (H, W).
    """
    from skimage.metrics import structural_similarity

    _, similarity = structural_similarity(
        a.astype(np.float64),
        b.astype(np.float64),
        data_range=data_range,
        channel_axis=-1 if a.ndim == 3 else None,
        gaussian_weights=True,
        sigma=SIGMA,
        use_sample_covariance=False,
        full=True,
    )
    inner = similarity.mean(axis=-1) if similarity.ndim == 3 else similarity
    result = np.full(inner.shape, np.nan)
    inside = (slice(_BORDER, -_BORDER),) * 2
    result[inside] = inner[inside]
    return result
