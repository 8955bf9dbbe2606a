"""Where the deformable convolutions of a model look on one picture (the paper's Figure 2), as plain data.

Offsets are read at the one place where they exist: behind the offset convolution of each deformable block, of a
checkpoint by torch and of an ONNX file by ONNX Runtime.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.errors import InputError, ModelError
from dcdr_deploy.export import require_export_packages
from dcdr_deploy.metrics.overexposed import BRIGHT_CODE, GRAY
from dcdr_deploy.modelfile.names import CHECKPOINT_SUFFIXES, DCRB, DOMAIN, ONNX_SUFFIX

FloatImage = NDArray[np.float32]
Pixel = tuple[int, int]
"""(row, column)."""

WINDOW = 1024
"""Larger pictures are measured in a window of this side: offsets are local, memory is not."""

CHOSEN = 4
TAPS = tuple((y, x) for y in (-1, 0, 1) for x in (-1, 0, 1))
"""Displacements (rows, columns) of a 3x3 filter's taps, in the order of the offset channels."""


@dataclass(frozen=True)
class BlockOffsets:
    """Offsets of one deformable block on one picture.

    Attributes:
        name: the block's module name.
        scale: input pixels per pixel of the block's scale, 2 or 4.
        values: (9, 2, h, w) float32: for each tap (y, x) in pixels of the block's scale.
    """

    name: str
    scale: int
    values: FloatImage

    def taps(self, pixel: Pixel, moved: bool = True) -> FloatImage:
        """Where the block reads for the cell that holds an input pixel.

        Args:
            pixel: (row, column) of the input.
            moved: with the offsets; otherwise where a normal 3x3 convolution would read.

        Returns:
            (9, 2) rows and columns in input pixels, whole numbers at pixel centres.
        """
        row, column = pixel[0] // self.scale, pixel[1] // self.scale
        cells = np.asarray(TAPS, np.float32) + np.asarray((row, column), np.float32)
        if moved:
            cells = cells + self.values[:, :, row, column]
        return self.scale * (cells + 0.5) - 0.5

    def reach(self) -> FloatImage:
        """(h, w) largest |offset| of any tap, in input pixels."""
        return self.scale * np.abs(self.values).max(axis=(0, 1))


@dataclass(frozen=True)
class Window:
    """The part of a picture that is measured: place and size in pixels."""

    top: int
    left: int
    height: int
    width: int

    def of(self, picture: NDArray[Any]) -> NDArray[Any]:
        """This part of a picture, a view."""
        return picture[self.top : self.top + self.height, self.left : self.left + self.width]


@dataclass(frozen=True)
class OffsetSource:
    """A model that offsets can be read from.

    Attributes:
        multiple: sides of a picture must be multiples of this.
        fixed_size: the one (height, width) that the model takes, ``None`` for any.
        read: maps a picture (H, W, 3) float32 in [0, 1] to its blocks' offsets, in the order of the data flow.
    """

    multiple: int
    fixed_size: tuple[int, int] | None
    read: Callable[[FloatImage], list[BlockOffsets]]


def open_source(model: Path) -> OffsetSource:
    """Open a model to read offsets from.

    Raises:
        ModelError: missing, of a kind that offsets cannot be read from, or without deformable blocks.
        CheckpointError: a checkpoint that cannot be used.
        MissingDependency: torch or onnx is needed.
    """
    if not model.is_file():
        raise ModelError(f"no such model file: {model}")
    opener = SOURCES.get(model.suffix.lower())
    if opener is None:
        raise ModelError(
            f"{model}: offsets are read from checkpoints and ONNX files ({', '.join(SOURCES)}); an engine keeps them "
            "inside, so name the file that it was built from"
        )
    return opener(model)


def overexposed(picture: FloatImage) -> NDArray[np.bool_]:
    """(H, W) mask of the overexposed pixels of a picture (H, W, 3) in [0, 1]."""
    return np.rint(picture @ np.asarray(GRAY, np.float32) * 255) > BRIGHT_CODE


def place_window(mask: NDArray[np.bool_], source: OffsetSource, pixels: Sequence[Pixel] = ()) -> Window:
    """The window to measure: around the first named pixel, else where most pixels are overexposed.

    Raises:
        InputError: the picture is smaller than the model takes, or a named pixel lies outside picture or window.
    """
    shape = mask.shape
    sides = source.fixed_size or tuple(min(side, WINDOW) // source.multiple * source.multiple for side in shape)
    if not all(0 < side <= whole for side, whole in zip(sides, shape, strict=True)):
        needed = source.fixed_size or (source.multiple, source.multiple)
        raise InputError(f"a picture of {shape[1]}x{shape[0]} is too small: the model takes {needed[1]}x{needed[0]}")
    for row, column in pixels:
        if not (0 <= row < shape[0] and 0 <= column < shape[1]):
            raise InputError(f"`at` {column},{row} lies outside the picture of {shape[1]}x{shape[0]}")
    if pixels:
        corner = [min(max(at - side // 2, 0), n - side) for at, side, n in zip(pixels[0], sides, shape, strict=True)]
    else:
        corner = _brightest(mask, (sides[0], sides[1]))
    # Where cells of the blocks' scales begin should not depend on the window, unless a pixel at the edge asks for it.
    aligned = [start // source.multiple * source.multiple for start in corner]
    if not pixels or all(at < start + side for at, start, side in zip(pixels[0], aligned, sides, strict=True)):
        corner = aligned
    top, left = corner
    window = Window(top, left, sides[0], sides[1])
    for row, column in pixels:
        if not (top <= row < top + sides[0] and left <= column < left + sides[1]):
            raise InputError(
                f"`at` {column},{row} lies outside the part of {sides[1]}x{sides[0]} that is measured around the first "
                "pixel; look at it in a run of its own"
            )
    return window


def choose_pixels(mask: NDArray[np.bool_], blocks: list[BlockOffsets], count: int = CHOSEN) -> list[Pixel]:
    """Overexposed pixels whose kernels reach farthest, apart from each other by an eighth of the shorter side.

    Args:
        mask: (H, W) overexposed pixels.
        blocks: offsets on the same picture.
        count: largest number of pixels.

    Raises:
        InputError: no pixel is overexposed.
    """
    if not mask.any():
        raise InputError(f"no pixel is overexposed (grey over {BRIGHT_CODE}): name pixels by `at` X,Y")
    reach = sum(np.kron(block.reach(), np.ones((block.scale, block.scale), np.float32)) for block in blocks)
    left = np.where(mask, reach, -1.0)
    rows, columns = np.ogrid[: mask.shape[0], : mask.shape[1]]
    apart = min(mask.shape) // 8
    chosen: list[Pixel] = []
    while len(chosen) < count and left.max() >= 0:
        row, column = divmod(int(left.argmax()), mask.shape[1])
        chosen.append((row, column))
        left[(rows - row) ** 2 + (columns - column) ** 2 <= apart**2] = -1.0
    return chosen


def looks_at(taps: FloatImage, mask: NDArray[np.bool_]) -> list[str]:
    """What each tap reads, by the pixel next to it: ``"kept"``, ``"overexposed"``, or ``"outside"`` it all."""
    kinds = []
    for row, column in np.rint(taps):
        inside = 0 <= row < mask.shape[0] and 0 <= column < mask.shape[1]
        kinds.append("outside" if not inside else "overexposed" if mask[int(row), int(column)] else "kept")
    return kinds


def _brightest(mask: NDArray[np.bool_], sides: tuple[int, int]) -> list[int]:
    """Corner of the first window with most overexposed pixels, on a raster of an eighth of its sides."""
    total = np.pad(mask.astype(np.int64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    (height, width), best, corner = sides, -1, [0, 0]
    for top in (*range(0, mask.shape[0] - height, max(1, height // 8)), mask.shape[0] - height):
        for left in (*range(0, mask.shape[1] - width, max(1, width // 8)), mask.shape[1] - width):
            bottom, right = top + height, left + width
            count = total[bottom, right] - total[top, right] - total[bottom, left] + total[top, left]
            if count > best:
                best, corner = int(count), [top, left]
    return corner


def _planes(picture: FloatImage) -> FloatImage:
    return np.ascontiguousarray(picture.transpose(2, 0, 1)[None])


def _blocks(named: list[tuple[str, NDArray[Any]]], height: int) -> list[BlockOffsets]:
    """Offsets (1, 18, h, w) by name as blocks; the scale follows from their height."""
    return [
        BlockOffsets(name, height // values.shape[2], values[0].reshape(9, 2, *values.shape[2:]).astype(np.float32))
        for name, values in named
    ]


def _open_checkpoint(path: Path) -> OffsetSource:
    require_export_packages()
    import torch

    from dcdr_deploy.models import architecture_of, load_checkpoint
    from dcdr_deploy.models.offsets import watched_offsets

    network = load_checkpoint(path).network.set_deform_mode("gather")
    architecture = architecture_of(network.config)
    if not network.deforms():
        raise ModelError(f"{path} ({architecture.title}) has no deformable blocks: there are no offsets to draw")

    def read(picture: FloatImage) -> list[BlockOffsets]:
        with torch.no_grad(), watched_offsets(network) as seen:
            network(torch.from_numpy(_planes(picture)))
        return _blocks([(name, parts[0].numpy()) for name, parts in seen.items()], picture.shape[0])

    return OffsetSource(architecture.size_multiple, None, read)


def _open_onnx(path: Path) -> OffsetSource:
    require_export_packages("onnx")
    import onnx
    import onnxruntime

    from dcdr_deploy.export.loading import load_onnx
    from dcdr_deploy.modelfile.onnx_file import read_model
    from dcdr_deploy.system.faults import one_line

    header = read_model(path)
    model = load_onnx(path)
    nodes = [node for node in model.graph.node if (node.domain, node.op_type) == (DOMAIN, DCRB)]
    if not nodes:
        raise ModelError(f"{path} holds no dcdr::DCRB nodes: there are no offsets to draw")
    # Values inside a graph can be read once they are outputs; ONNX Runtime finds their types by itself.
    model.graph.output.extend(onnx.ValueInfoProto(name=node.input[1]) for node in nodes)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions share no base class of their own
        raise ModelError(f"ONNX Runtime cannot run {path}: {one_line(error)}") from error

    def read(picture: FloatImage) -> list[BlockOffsets]:
        results = session.run([node.input[1] for node in nodes], {header.input_name: _planes(picture)})
        return _blocks([(node.name, np.asarray(r)) for node, r in zip(nodes, results, strict=True)], picture.shape[0])

    return OffsetSource(header.metadata.size_multiple, header.fixed_size, read)


SOURCES: dict[str, Callable[[Path], OffsetSource]] = {
    ONNX_SUFFIX: _open_onnx,
    **dict.fromkeys(CHECKPOINT_SUFFIXES, _open_checkpoint),
}
"""How offsets are read from a model file, by suffix."""
