"""The accuracy gate: an engine against ONNX Runtime in FP32, on two sample tiles.

A fused kernel, FP16 and a builder that chooses among a hundred tactics can each go wrong without an error. So an engine
counts as verified only when its results were compared on a GPU: after the build if there is one, else with its first
run.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.engines.base import DEVICE_CPU, Engine, EngineOptions
from dcdr_deploy.engines.choice import load_engine
from dcdr_deploy.engines.compare import BUILT, compare, sample_tiles
from dcdr_deploy.engines.registry import AUTO
from dcdr_deploy.errors import DcdrError, EngineError, ModelError, OutputError
from dcdr_deploy.modelfile.names import ONNX_SUFFIX
from dcdr_deploy.modelfile.sidecar import REBUILD, Sidecar, mark_verified
from dcdr_deploy.run.runner import Runner
from dcdr_deploy.run.selection import NAMED_MODELS
from dcdr_deploy.system.faults import one_line
from dcdr_deploy.system.files import file_sha256, files_in

TILE_EDGE = 256
"""Pixels of the tiles for an engine that takes many sizes; small enough for a reference on the CPU."""

_REPEATS = 2
"""Calls with both tiles: the second run of a shape is recorded as a CUDA graph, so the graph is compared as well,
however many tiles the engine computes at once."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class GateResult:
    """Outcome of a comparison.

    Attributes:
        psnr: of the worst tile in dB at full scale 1.0; NaN if a result is not finite.
        finite: all results are finite.
        passed: finite, and no tile below the least PSNR for the engine's precision.
    """

    psnr: float
    finite: bool
    passed: bool

    def figures(self) -> dict[str, float]:
        """Return what a sidecar stores."""
        return {"psnr": round(self.psnr, 2)}


def run_gate(engine: Engine, onnx_path: Path) -> GateResult:
    """Compare an engine with ONNX Runtime, FP32 on the CPU.

    Args:
        engine: the engine; its precision decides what must be reached.
        onnx_path: the file it was built from.

    Raises:
        ModelError: ONNX Runtime refuses the file.
        MissingDependency: ONNX Runtime is not installed.
        EngineError: one of both failed or ran out of memory.
    """
    tiles = sample_tiles(*_tile_size(engine))
    return _compare(engine, tiles, _reference(onnx_path, tiles))


def _compare(engine: Engine, tiles: NDArray[np.uint8], expected: NDArray[np.float32]) -> GateResult:
    found = np.concatenate([engine.infer_codes(tiles) for _ in range(_REPEATS)])
    difference = compare(found, np.concatenate([expected] * _REPEATS))
    return GateResult(difference.psnr, difference.finite, BUILT[engine.info.precision].hold(difference))


def verify_first_run(engine: Engine, path: Path, sidecar: Sidecar) -> None:
    """Run the gate for an engine that was built where there was no GPU, and note in its sidecar that it passed.

    Where the comparison cannot be made (the ONNX file is gone, or does not run here) or the sidecar cannot be written,
    a warning says so and the engine is used: the next run tries again.

    Raises:
        ModelError: the engine's results are wrong.
        EngineError: the engine failed.
    """
    if sidecar.verified:
        return
    source = find_source(path, sidecar)
    if source is None:
        _logger.warning(
            "%s has not been compared with ONNX Runtime: the ONNX file it was built from is not beside it", path
        )
        return
    tiles = sample_tiles(*_tile_size(engine))
    try:
        expected = _reference(source, tiles)
    except DcdrError as error:
        _logger.warning("%s could not be compared with ONNX Runtime: %s", path, error)
        return
    result = _compare(engine, tiles, expected)
    if not result.passed:
        found = f"PSNR {result.psnr:.1f} dB, {BUILT[sidecar.precision].min_psnr:.0f} needed" if result.finite else "NaN"
        raise ModelError(
            f"{path} does not give on this GPU what ONNX Runtime gives for {source} ({found}); {REBUILD}"
            f"{' --plugin none' if sidecar.plugin else ''}, or run {source.name} instead"
        )
    try:
        mark_verified(path, sidecar, result.figures())
    except OutputError as error:
        _logger.warning("%s agrees with ONNX Runtime, but that cannot be noted: %s", path, error)
    else:
        _logger.info("%s agrees with ONNX Runtime: PSNR %.1f dB", path, result.psnr)


def find_source(path: Path, sidecar: Sidecar) -> Path | None:
    """Return the ONNX file that an engine was built from: beside it, or of the package; ``None`` if it is neither."""
    for candidate in _candidates(path):
        try:
            if file_sha256(candidate) == sidecar.onnx_sha256:
                return candidate
        except OSError as error:
            _logger.debug("%s cannot be read: %s", candidate, one_line(error))
    return None


def _candidates(path: Path) -> Iterator[Path]:
    try:
        yield from files_in(path.parent, (ONNX_SUFFIX,))
    except OSError as error:
        _logger.debug("%s cannot be listed: %s", path.parent, one_line(error))
    yield from NAMED_MODELS.values()


def _tile_size(engine: Engine) -> tuple[int, int]:
    """Return (height, width) of the sample tiles: the engine's only size, or one that it takes."""
    info = engine.info
    if info.fixed_size is not None:
        return info.fixed_size
    multiple = info.metadata.size_multiple
    smallest, largest = info.smallest_size or (0, 0), info.largest_size or (TILE_EDGE, TILE_EDGE)
    edges = (
        min(max(-(-TILE_EDGE // multiple) * multiple, low), high) for low, high in zip(smallest, largest, strict=True)
    )
    height, width = edges
    return height, width


def _reference(onnx_path: Path, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return what the ONNX file gives on the CPU, in FP32, for tiles (N, H, W, 3) as (N, 3, H, W).

    By a runner of its own, because a tile of an engine for whole 4K frames takes more memory at once than a machine may
    have; the runner takes such a tile in parts.
    """
    with load_engine(onnx_path, AUTO, EngineOptions(device=DEVICE_CPU)) as reference:
        if reference.info.device_kind != DEVICE_CPU:
            raise EngineError("the reference does not run on the CPU")
        runner = Runner(reference)
        return np.stack([runner.run(tile).transpose(2, 0, 1) for tile in tiles])
