"""``dcdr-deploy inspect --offsets``: a picture of where deformable kernels look, and the figures beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from dcdr_deploy.errors import InputError, ModelError
from dcdr_deploy.imaging.read import read_image
from dcdr_deploy.inspection.offsets import (
    BlockOffsets,
    Pixel,
    choose_pixels,
    looks_at,
    open_source,
    overexposed,
    place_window,
)
from dcdr_deploy.system.files import atomic_path, refuse_overwriting

CELL = 150
"""Side of one cell in pixels: the surroundings of one chosen pixel, as one block sees them."""

GAP, LABEL, LEGEND_GAP, OVERVIEW = 6, 34, 18, 480
LEAST_RADIUS = 9
"""Input pixels that a cell shows on each side at least: a normal kernel at x0.25 spans 4 to 8."""

INK, PAPER, MARK, VOID = (30, 30, 30), (250, 250, 250), (20, 90, 220), (70, 70, 70)
COLOURS = {"kept": (0, 140, 60), "overexposed": (215, 60, 20), "outside": (150, 150, 150)}
"""Colour of a tap by what it reads."""

LEGEND = (
    ("tap on a pixel that is not overexposed", COLOURS["kept"]),
    ("on an overexposed one", COLOURS["overexposed"]),
    ("outside what was measured (reads zero)", COLOURS["outside"]),
    ("squares: a normal 3x3 kernel", INK),
    ("cross: the chosen pixel", MARK),
)


def default_output(picture: Path) -> Path:
    """``sky.offsets.png`` in the working directory for ``photos/sky.jpg``."""
    return Path(f"{picture.stem}.offsets.png")


def inspect_offsets(model: Path, picture: Path, output: Path | None, at: Sequence[tuple[int, int]]) -> dict[str, Any]:
    """Draw where a model's deformable kernels look on a picture, and give the figures as plain data.

    Args:
        model: checkpoint or ONNX file with deformable blocks.
        picture: any picture that ``run`` takes.
        output: PNG to write; by default :func:`default_output`.
        at: (x, y) of pixels to draw; by default overexposed ones whose kernels reach far.

    Returns:
        ``output``, ``picture``, ``window`` (x, y, width, height), ``overexposed`` (share of the window), ``blocks``
        (for each ``scale`` and offsets' ``mean_abs``, ``p99``, ``max`` in pixels of that scale), ``pixels`` (for each
        ``x``, ``y`` and, by block, how many of nine taps read pixels that are not overexposed).

    Raises:
        DcdrError: model, picture or output cannot be used, or there is no pixel to draw.
    """
    output = output or default_output(picture)
    if output.suffix.lower() != ".png":
        raise InputError(f"{output}: the drawing needs the suffix .png")
    refuse_overwriting(output, picture, model)
    source = open_source(model)
    whole = read_image(picture).normalised()
    window = place_window(overexposed(whole), source, [(y, x) for x, y in at])
    part = np.ascontiguousarray(window.of(whole))
    mask = overexposed(part)
    blocks = source.read(part)
    for block in blocks:
        if not np.isfinite(block.values).all():
            raise ModelError(f"{model}: offsets of {block.name} are NaN or infinite on {picture}; export it again")
    pixels = [(y - window.top, x - window.left) for x, y in at] or choose_pixels(mask, blocks)
    labels = [f"{column + window.left},{row + window.top}" for row, column in pixels]
    with atomic_path(output) as temporary:
        draw_offsets(part, mask, blocks, pixels, labels).save(temporary)
    return {
        "output": str(output),
        "picture": str(picture),
        "window": {"x": window.left, "y": window.top, "width": window.width, "height": window.height},
        "overexposed": float(mask.mean()),
        "blocks": {block.name: _figures(block) for block in blocks},
        "pixels": [
            {
                "x": column + window.left,
                "y": row + window.top,
                "kept_taps": {block.name: looks_at(block.taps((row, column)), mask).count("kept") for block in blocks},
            }
            for row, column in pixels
        ],
    }


def draw_offsets(
    picture: NDArray[np.float32],
    mask: NDArray[np.bool_],
    blocks: list[BlockOffsets],
    pixels: list[Pixel],
    labels: list[str],
) -> Image.Image:
    """An overview with the chosen pixels, and below it a row of cells for each: its surroundings by block.

    Args:
        picture: (H, W, 3) SDR in [0, 1].
        mask: (H, W) overexposed pixels.
        blocks: offsets on the picture.
        pixels: chosen pixels.
        labels: their names, for the drawing.
    """
    codes = np.rint(picture * 255).astype(np.uint8)
    font = ImageFont.load_default(12)
    legend = sum(font.getlength(text) + LEGEND_GAP for text, _ in LEGEND)
    width = max(len(blocks) * (CELL + GAP) + LABEL, GAP + int(legend))
    overview, factor = _overview(codes, width - 2 * GAP)
    top = overview.height + 2 * GAP
    height = top + LABEL + len(pixels) * (CELL + GAP) + LABEL
    sheet = Image.new("RGB", (width, height), PAPER)
    sheet.paste(overview, (GAP, GAP))
    pen = ImageDraw.Draw(sheet)
    for number, (row, column) in enumerate(pixels, 1):
        x, y = GAP + (column + 0.5) * factor, GAP + (row + 0.5) * factor
        pen.ellipse((x - 7, y - 7, x + 7, y + 7), outline=MARK, width=2)
        pen.text((x + 9, y - 8), str(number), MARK, font, stroke_width=2, stroke_fill=PAPER)
    for place, block in enumerate(blocks):
        x = LABEL + place * (CELL + GAP)
        pen.text((x, top), block.name, INK, font)
        pen.text((x, top + 15), f"x{1 / block.scale:g}, max {np.abs(block.values).max():.2f}", INK, font)
    for line, pixel in enumerate(pixels):
        y = top + LABEL + line * (CELL + GAP)
        pen.text((GAP, y), str(line + 1), MARK, ImageFont.load_default(18))
        pen.text((GAP, y + 22), labels[line].replace(",", "\n"), INK, ImageFont.load_default(9))
        radius = min(_radius(blocks, pixel), max(mask.shape))  # what lies farther is outside of the picture
        for place, block in enumerate(blocks):
            sheet.paste(_cell(codes, mask, block, pixel, radius), (LABEL + place * (CELL + GAP), y))
    x = float(GAP)
    for text, colour in LEGEND:
        pen.text((x, height - LABEL + 10), text, colour, font)
        x += font.getlength(text) + LEGEND_GAP
    return sheet


def _figures(block: BlockOffsets) -> dict[str, float]:
    magnitude = np.abs(block.values)
    return {
        "scale": block.scale,
        "mean_abs": float(magnitude.mean()),
        "p99": float(np.quantile(magnitude, 0.99)),
        "max": float(magnitude.max()),
    }


def _overview(codes: NDArray[np.uint8], width: int) -> tuple[Image.Image, float]:
    """The picture at most ``width`` x OVERVIEW pixels large, and the factor of its size."""
    factor = min(width / codes.shape[1], OVERVIEW / codes.shape[0])
    size = (max(1, round(codes.shape[1] * factor)), max(1, round(codes.shape[0] * factor)))
    way = Image.Resampling.NEAREST if factor > 1 else Image.Resampling.BOX
    return Image.fromarray(codes).resize(size, way), factor


def _radius(blocks: list[BlockOffsets], pixel: Pixel) -> int:
    """Input pixels on each side of a pixel that show all its taps in every block."""
    farthest = max(float(np.abs(block.taps(pixel) - np.asarray(pixel)).max()) for block in blocks)
    return max(LEAST_RADIUS, int(farthest) + 3)


def _cell(
    codes: NDArray[np.uint8], mask: NDArray[np.bool_], block: BlockOffsets, pixel: Pixel, radius: int
) -> Image.Image:
    """The surroundings of a pixel, enlarged, with one block's taps."""
    side = 2 * radius + 1
    padded = np.full((side, side, 3), VOID, np.uint8)
    top, left = pixel[0] - radius, pixel[1] - radius
    rows = slice(max(0, top), min(codes.shape[0], top + side))
    columns = slice(max(0, left), min(codes.shape[1], left + side))
    padded[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = codes[rows, columns]
    cell = Image.fromarray(padded).resize((CELL, CELL), Image.Resampling.NEAREST)
    pen = ImageDraw.Draw(cell)

    def place(at: NDArray[np.float32]) -> tuple[float, float]:
        row, column = np.clip(at - np.asarray((top, left), np.float32), -side, 2 * side)
        return (float(column) + 0.5) * CELL / side, (float(row) + 0.5) * CELL / side

    moved = block.taps(pixel)
    for start, end, kind in zip(block.taps(pixel, moved=False), moved, looks_at(moved, mask), strict=True):
        (x0, y0), (x1, y1) = place(start), place(end)
        pen.rectangle((x0 - 2, y0 - 2, x0 + 2, y0 + 2), outline=INK)
        pen.line((x0, y0, x1, y1), COLOURS[kind])
        pen.ellipse((x1 - 3, y1 - 3, x1 + 3, y1 + 3), COLOURS[kind], PAPER)
    x, y = place(np.asarray(pixel, np.float32))
    pen.line((x - 5, y, x + 5, y), MARK, 2)
    pen.line((x, y - 5, x, y + 5), MARK, 2)
    return cell
