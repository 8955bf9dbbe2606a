"""An exported file is run before success is declared: checked by onnx and compared with torch at two sizes.

Both compute in FP32, and a file counts as the network where they differ by 1e-4 at most. Where layers give large
logarithms, as HDRCNN's do before it is trained, the exponential turns their rounding into more than that, in torch as
in ONNX Runtime. So a larger difference is compared with torch's own distance from the same network in FP64: what
exceeds :data:`ROUNDINGS` times that is an error of the file.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from dcdr_deploy.engines.compare import EXPORTED, Difference, compare, sample_tiles
from dcdr_deploy.errors import ExportError
from dcdr_deploy.export.operators import register_schemas
from dcdr_deploy.models import HdrNetwork, architecture_of
from dcdr_deploy.system.faults import one_line

SIZES = ((64, 96), (136, 88))
"""(height, width) of the comparisons, rounded up to what the network takes; the second differs from the traced example
in both and is not square."""


ROUNDINGS = 4.0
"""Two FP32 results differ by at most so many times the distance of one of them from the exact one; 1.8 was seen."""


@dataclass(frozen=True)
class Comparison:
    """Difference between the file in ONNX Runtime and the network in torch at one size.

    Attributes:
        size: (height, width).
        max_abs_error: largest absolute difference, network units.
        psnr: of the worst picture in dB, full scale 1.0.
    """

    size: tuple[int, int]
    max_abs_error: float
    psnr: float


def verify(path: Path, network: HdrNetwork, fp16: bool, static: tuple[int, int] | None = None) -> list[Comparison]:
    """Check a model file and compare it with the network it came from.

    Args:
        path: ONNX file.
        network: evaluation mode; computes the reference in FP32.
        fp16: judge by the bounds of such files. ONNX Runtime's CPU computes them in FP32, so this covers weights, types
            and structure, not the rounding of FP16 arithmetic on a GPU.
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
    multiple = architecture_of(network.config).size_multiple
    fitting = [(-(-height // multiple) * multiple, -(-width // multiple) * multiple) for height, width in SIZES]
    for number, size in enumerate([static] if static else fitting):
        batch = 1 if static else number + 1
        picture = _pictures(batch, *size)
        with torch.no_grad():
            reference = network(torch.from_numpy(picture)).numpy()
        found = _run(path, picture)
        if found.shape != reference.shape:
            raise ExportError(f"the exported file returns shape {found.shape} instead of {reference.shape}")
        difference = compare(found, reference)
        if fp16 or not _is_rounding(difference, network, picture, reference):
            _judge(difference, size, fp16)
        results.append(Comparison(size, difference.max_abs_error, difference.psnr))
    return results


def _pictures(batch: int, height: int, width: int) -> NDArray[np.float32]:
    """The first ``batch`` of the sample pictures, at most two, as (batch, 3, height, width) in [0, 1]."""
    codes = sample_tiles(height, width)[:batch].transpose(0, 3, 1, 2)
    return np.ascontiguousarray(codes, np.float32) / np.float32(255)


def _run(path: Path, picture: NDArray[np.float32]) -> NDArray[np.float32]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return session.run(None, {session.get_inputs()[0].name: picture})[0]
    except Exception as error:  # ONNX Runtime's exceptions share no base class of their own
        raise ExportError(f"ONNX Runtime cannot run the exported file: {one_line(error)}") from error


def _is_rounding(
    difference: Difference, network: HdrNetwork, picture: NDArray[np.float32], reference: NDArray[np.float32]
) -> bool:
    """Whether a difference beyond the bounds of FP32 files is one that torch's own result has from the exact one."""
    if EXPORTED["fp32"].hold(difference) or not difference.finite:
        return False
    with torch.no_grad():
        exact = copy.deepcopy(network).double()(torch.from_numpy(picture).double()).numpy()
    return difference.max_abs_error <= ROUNDINGS * compare(reference, exact).max_abs_error


def _judge(difference: Difference, size: tuple[int, int], fp16: bool) -> None:
    bounds = EXPORTED["fp16" if fp16 else "fp32"]
    if bounds.hold(difference):
        return
    place = f"{size[1]}x{size[0]}"
    if fp16:
        raise ExportError(
            f"the FP16 file differs from torch at {place} by {difference.psnr:.1f} dB PSNR, under "
            f"{bounds.min_psnr:.0f} dB; export without `fp16`"
        )
    raise ExportError(
        f"the file differs from torch at {place} by {difference.max_abs_error:.2e}, more than "
        f"{bounds.max_abs_error:.0e}"
    )
