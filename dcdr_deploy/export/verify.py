"""An exported file is run before success is declared: checked by onnx and compared with torch at two sizes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from dcdr_deploy.errors import ExportError
from dcdr_deploy.export.operators import register_schemas
from dcdr_deploy.metrics.psnr import psnr_from_mse
from dcdr_deploy.models import HdrNetwork
from dcdr_deploy.system.faults import one_line

SIZES = ((64, 96), (136, 88))
"""(height, width) of the comparisons; the second differs from the traced example in both and is not square."""

MAX_ABS_ERROR = 1e-4
MIN_PSNR_FP16 = 60.0


@dataclass(frozen=True)
class Comparison:
    """Difference between the file in ONNX Runtime and the network in torch at one size.

    Attributes:
        size: (height, width).
        max_abs_error: largest absolute difference, network units.
        psnr: in dB, full scale 1.0.
    """

    size: tuple[int, int]
    max_abs_error: float
    psnr: float


def verify(path: Path, network: HdrNetwork, fp16: bool, static: tuple[int, int] | None = None) -> list[Comparison]:
    """Check a model file and compare it with the network it came from.

    Args:
        path: ONNX file.
        network: evaluation mode; computes the reference in FP32.
        fp16: judge by PSNR (>= 60 dB) instead of the largest error (<= 1e-4). ONNX Runtime's CPU computes such files
            in FP32, so this covers weights, types and structure, not the rounding of FP16 arithmetic on a GPU.
        static: the one size that the file takes; otherwise :data:`SIZES` are tried, with batches of 1 and 2.

    Returns:
        The measured differences.

    Raises:
        ExportError: the checker, ONNX Runtime or the comparison refuses the file.
    """
    register_schemas()
    try:
        onnx.checker.check_model(str(path))
    except onnx.checker.ValidationError as error:
        raise ExportError(f"onnx.checker refuses the exported file: {one_line(error)}") from error
    results = []
    for number, size in enumerate((static,) if static else SIZES):
        batch = 1 if static else number + 1
        picture = _test_picture(batch, *size)
        with torch.no_grad():
            reference = network(torch.from_numpy(picture)).numpy()
        result = _compare(_run(path, picture), reference, size)
        _judge(result, fp16)
        results.append(result)
    return results


def _test_picture(batch: int, height: int, width: int) -> NDArray[np.float32]:
    """A picture with smooth parts, edges and clipped areas, (batch, 3, height, width) in [0, 1]."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    smooth = 0.6 + 0.5 * np.sin(x / 17 + rng.uniform(0, 6, (batch, 3, 1, 1))) * np.cos(y / 11)
    edges = 0.3 * (((x // 16 + y // 12) % 2) - 0.5)
    noise = rng.normal(0, 0.02, (batch, 3, height, width))
    return np.clip(smooth + edges + noise, 0, 1).astype(np.float32)


def _run(path: Path, picture: NDArray[np.float32]) -> NDArray[np.float32]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return session.run(None, {session.get_inputs()[0].name: picture})[0]
    except Exception as error:  # ONNX Runtime's exceptions share no base class of their own
        raise ExportError(f"ONNX Runtime cannot run the exported file: {one_line(error)}") from error


def _compare(result: NDArray[np.float32], reference: NDArray[np.float32], size: tuple[int, int]) -> Comparison:
    if result.shape != reference.shape:
        raise ExportError(f"the exported file returns shape {result.shape} instead of {reference.shape}")
    difference = result.astype(np.float64) - reference
    return Comparison(size, float(np.abs(difference).max()), psnr_from_mse(float(np.mean(difference**2))))


def _judge(result: Comparison, fp16: bool) -> None:
    height, width = result.size
    # Written so that a NaN fails as well.
    if fp16 and not result.psnr >= MIN_PSNR_FP16:
        raise ExportError(
            f"the FP16 file differs from torch at {width}x{height} by {result.psnr:.1f} dB PSNR, under "
            f"{MIN_PSNR_FP16:.0f} dB; export without `fp16`"
        )
    if not fp16 and not result.max_abs_error <= MAX_ABS_ERROR:
        raise ExportError(
            f"the file differs from torch at {width}x{height} by {result.max_abs_error:.2e}, more than "
            f"{MAX_ABS_ERROR:.0e}"
        )
