"""What video compression leaves of a frame: transform blocks with one step for all frequencies, and smoothed edges.

An imitation of H.264 (ITU-T H.264) as far as pictures show it: Y'CbCr of limited range with chroma of half the
resolution, blocks of 8x8 whose coefficients are rounded to whole steps (8.5.13, without weighting: flat matrices), and
the filter at the blocks' edges (8.7). There is no prediction: it changes how many bits a frame takes, not how far what
comes out is from what went in. JPEG, in contrast, has steps that grow with the frequency, and no filter.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from dcdr_deploy.imaging.transfer import LUMINANCE_REC709, luminance

FloatArray = npt.NDArray[np.float32]

BLOCK = 8
"""Width and height of a block, in samples of its plane."""
ROUNDING = 1 / 3
"""Share of a step that is added before a magnitude is cut off, as encoders do: what is small becomes nothing."""
HIGHEST_QP = 51
"""H.264, 7.4.2.2, for samples of 8 bits."""

RED, GREEN, BLUE = LUMINANCE_REC709
"""Shares of luma: ITU-R BT.709-6, 3.2."""
RED_SCALE, BLUE_SCALE = 2 * (1 - RED), 2 * (1 - BLUE)
"""Ranges of R' - Y' and B' - Y': clause 3.3."""
LUMA_STEPS, CHROMA_STEPS = 219, 224
"""Codes of 8 bits from black to white, and of a colour difference: clause 3.5."""

_FREQUENCIES = np.arange(BLOCK)[:, None] * (2 * np.arange(BLOCK) + 1) * (np.pi / (2 * BLOCK))
_DCT = (np.cos(_FREQUENCIES) * np.sqrt(np.where(np.arange(BLOCK) == 0, 1, 2) / BLOCK)[:, None]).astype(np.float32)


def video_round_trip(frame: npt.NDArray[np.uint8], qp: int) -> npt.NDArray[np.uint8]:
    """Compress and decompress a frame.

    Args:
        frame: SDR, uint8 (H, W, 3) RGB, of any size.
        qp: H.264's quantisation parameter, 0 (nearly nothing is lost) to 51.

    Returns:
        What is left, uint8 (H, W, 3) RGB. Gray stays gray.
    """
    height, width = frame.shape[:2]
    whole = 2 * BLOCK
    padded = np.pad(frame, ((0, -height % whole), (0, -width % whole), (0, 0)), mode="edge")
    coded = padded.astype(np.float32) / 255
    luma = luminance(coded)  # the same shares, of coded values
    decoded = _compressed(np.rint(luma * LUMA_STEPS), qp) / LUMA_STEPS
    red, blue = _chroma(coded[..., 0] - luma, RED_SCALE, qp), _chroma(coded[..., 2] - luma, BLUE_SCALE, qp)
    green = -(RED * red + BLUE * blue) / GREEN
    rounded = np.rint((decoded[..., None] + np.stack([red, green, blue], -1))[:height, :width] * 255)
    return np.clip(rounded, 0, 255).astype(np.uint8)


def _chroma(difference: FloatArray, scale: float, qp: int) -> FloatArray:
    """A colour difference (H, W) in R'G'B' units as it is decoded from half the resolution."""
    rows, columns = difference.shape
    small = cv2.resize(difference, (columns // 2, rows // 2), interpolation=cv2.INTER_AREA)
    codes = _compressed(np.rint(small * (CHROMA_STEPS / scale)), qp)  # without 128, which is what is expected
    decoded = cv2.resize(codes, (columns, rows), interpolation=cv2.INTER_LINEAR)
    return np.asarray(decoded * np.float32(scale / CHROMA_STEPS), np.float32)


def _compressed(plane: FloatArray, qp: int) -> FloatArray:
    """A plane of whole codes (H, W), sides multiples of a block, as it is decoded."""
    step = np.float32(2 ** ((qp - 4) / 6))  # H.264, table 8-15 in short: 1 at 4, twice that every 6
    rows, columns = plane.shape
    blocks = plane.reshape(rows // BLOCK, BLOCK, columns // BLOCK, BLOCK).transpose(0, 2, 1, 3)
    coefficients = _DCT @ blocks @ _DCT.T
    levels = np.floor(np.abs(coefficients) / step + np.float32(ROUNDING))
    levels[..., 0, 0] = np.rint(np.abs(coefficients[..., 0, 0]) / step)
    decoded = _DCT.T @ (np.copysign(levels, coefficients) * step) @ _DCT
    smooth = _without_edges(decoded.transpose(0, 2, 1, 3).reshape(rows, columns), qp)
    return np.rint(_without_edges(smooth.T, qp).T)


def _without_edges(plane: FloatArray, qp: int) -> FloatArray:
    """Bring together what stands left and right of the blocks' edges, where it differs by as much as rounding does.

    H.264, 8.7.2, for edges inside of an intra macroblock (bS 3), with its tables 8-16 and 8-17 as the formulas that
    they follow (List et al., "Adaptive Deblocking Filter", 2003).
    """
    alpha, beta = 0.8 * (2 ** (qp / 6) - 1), 0.5 * qp - 7
    if beta <= 0:
        return plane
    filtered = plane.copy()
    far, left, right, beyond = (plane[:, BLOCK + shift : plane.shape[1] + shift : BLOCK] for shift in (-2, -1, 0, 1))
    beyond = beyond[:, : right.shape[1]]
    flat = (np.abs(right - left) < alpha) & (np.abs(far - left) < beta) & (np.abs(beyond - right) < beta)
    most = np.float32(alpha / 10 + 1)
    change = np.clip(((right - left) * 4 + far - beyond) / 8, -most, most) * flat
    filtered[:, BLOCK - 1 : -1 : BLOCK] += change
    filtered[:, BLOCK::BLOCK] -= change
    return filtered
