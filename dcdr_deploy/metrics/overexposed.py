"""The paper's rule for overexposed pictures (section 4.1.1): what makes up its Test Set 2."""

from __future__ import annotations

BRIGHT_CODE = 240
"""T_bright: a pixel is overexposed when its gray value exceeds this 8-bit code."""

BRIGHT_SHARE = 0.029
"""A picture is, when more than this share of its pixels are."""

GRAY = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in the gray value: Rec. 601, as MATLAB's and OpenCV's conversions to gray."""
