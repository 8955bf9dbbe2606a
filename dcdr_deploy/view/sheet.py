"""A sheet for one HDR picture: input, false colour with its legend, histogram, and exposures from -4 to +4 EV."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from dcdr_deploy.errors import InputError, OutputError
from dcdr_deploy.imaging.light import SDR_WHITE_NITS
from dcdr_deploy.imaging.own import THIS_TOOL, check_replaced
from dcdr_deploy.imaging.preview import preview_sdr
from dcdr_deploy.system.files import atomic_path, refuse_overwriting
from dcdr_deploy.system.words import share_of
from dcdr_deploy.view import histogram
from dcdr_deploy.view.false_colour import BANDS, LOWEST, band_of, edges, false_colour
from dcdr_deploy.view.picture import LIGHT_OF_CODE, Shown, check_reference_white, fitting, to_codes

EXPOSURES = (-4, -3, -2, -1, 0, 1, 2, 3, 4)
"""Stops by which the picture is shown brighter."""

CELL = 480
"""Longest edge of one picture on the sheet, in pixels, where nothing else is said."""

CELLS = range(64, 4097)
"""What the longest edge of one picture may be."""

SUFFIXES = (".png", ".jpg", ".jpeg")

_COLUMNS = 3
_GAP, _TITLE, _HEAD, _LEGEND = 12, 24, 60, 76
_LEAST_WIDTH, _LEAST_HEIGHT = 300, 190
_PAPER, _INK, _FAINT, _RULE = (34, 34, 34), (222, 222, 222), (158, 158, 158), (74, 74, 74)
_JPEG_QUALITY = 92


@dataclass(frozen=True)
class _Cell:
    """One picture of the sheet with its title."""

    title: str
    picture: Image.Image


def write_sheet(
    picture: Shown, output: str | os.PathLike[str], *, reference_white: float = SDR_WHITE_NITS, cell: int = CELL
) -> tuple[int, int]:
    """Write :func:`draw_sheet` as PNG or JPEG that names this tool, atomically.

    Returns:
        (height, width) of the sheet.

    Raises:
        OutputError: another suffix, or a file that cannot be written.
        InputError: the output is one of the inputs or a picture of somebody else, or a value out of range.
    """
    output = Path(output)
    inputs = [each for each in (picture.path, picture.sdr_path) if each is not None]
    check_sheet(output, inputs, reference_white=reference_white, cell=cell)
    sheet = draw_sheet(picture, reference_white=reference_white, cell=cell)
    with atomic_path(output) as temporary:
        if output.suffix.lower() == ".png":
            texts = PngInfo()
            texts.add_text("Software", THIS_TOOL)
            sheet.save(temporary, "PNG", pnginfo=texts)
        else:
            sheet.save(temporary, "JPEG", quality=_JPEG_QUALITY, subsampling=0, comment=THIS_TOOL)
    return sheet.height, sheet.width


def check_sheet(output: Path, inputs: Iterable[Path], *, reference_white: float, cell: int) -> None:
    """Refuse what no sheet can be made of, before any work.

    Raises:
        OutputError: a suffix other than :data:`SUFFIXES`.
        InputError: a value out of range, or one of the inputs or a picture of somebody else would be replaced.
    """
    if output.suffix.lower() not in SUFFIXES:
        raise OutputError(f"{output}: a sheet is written as {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}")
    check_reference_white(reference_white)
    if cell not in CELLS:
        raise InputError(f"`cell` = {cell}: must be {CELLS.start} to {CELLS.stop - 1} pixels")
    refuse_overwriting(output, *inputs)
    check_replaced(output)


def draw_sheet(picture: Shown, *, reference_white: float = SDR_WHITE_NITS, cell: int = CELL) -> Image.Image:
    """Draw the sheet: three columns, four rows of pictures, between them the legend of the false colours.

    Exposures are what an SDR display shows of the light x 2^EV, clipped at its white. Pictures are averaged down in
    linear light to ``cell``; smaller ones keep their pixels.

    Args:
        picture: what to show.
        reference_white: cd/m2 of SDR white, for the labels.
        cell: longest edge of one picture in pixels.
    """
    small = picture.reduced(fitting(picture.size, edge=cell))
    size = (max(_LEAST_WIDTH, small.size[1]), max(_LEAST_HEIGHT, small.size[0]))
    top = [
        _input(small),
        _Cell("false colour, EV over SDR white", Image.fromarray(false_colour(small.light))),
        _Cell("luminance, root of the share of pixels", _draw_histogram(picture, size, reference_white)),
    ]
    exposures = [_exposure(small, stops, reference_white) for stops in EXPOSURES]
    width = _COLUMNS * (size[0] + _GAP) + _GAP
    row = size[1] + _TITLE + _GAP
    rows = 1 + len(exposures) // _COLUMNS
    sheet = Image.new("RGB", (width, _HEAD + _LEGEND + rows * row), _PAPER)
    pen = ImageDraw.Draw(sheet)
    _draw_head(pen, picture, width, reference_white)
    _draw_row(sheet, pen, top, _HEAD, size)
    _draw_legend(pen, (_GAP, _HEAD + row), width - 2 * _GAP, reference_white)
    for number in range(0, len(exposures), _COLUMNS):
        y = _HEAD + row + _LEGEND + number // _COLUMNS * row
        _draw_row(sheet, pen, exposures[number : number + _COLUMNS], y, size)
    return sheet


def _input(small: Shown) -> _Cell:
    if small.sdr is not None:
        return _Cell("SDR input", Image.fromarray(small.sdr))
    peak = small.peak or max(1.0, float(small.light.max()))
    shown = preview_sdr(small.light / np.float32(peak), peak)
    return _Cell("tone-mapped to SDR white (BT.2390)", Image.fromarray(shown))


def _exposure(small: Shown, stops: int, reference_white: float) -> _Cell:
    white = f"white is {_number(reference_white * 2.0**-stops)} cd/m2"
    return _Cell(f"{_signed(stops)} EV, {white}", Image.fromarray(to_codes(small.light, stops)))


def _draw_row(sheet: Image.Image, pen: ImageDraw.ImageDraw, cells: list[_Cell], y: int, size: tuple[int, int]) -> None:
    for number, cell in enumerate(cells):
        x = _GAP + number * (size[0] + _GAP)
        pen.text((x, y + _TITLE - 6), cell.title, _INK, _font(14), anchor="ls")
        left, above = (size[0] - cell.picture.width) // 2, (size[1] - cell.picture.height) // 2
        sheet.paste(cell.picture, (x + left, y + _TITLE + above))


def _draw_head(pen: ImageDraw.ImageDraw, picture: Shown, width: int, reference_white: float) -> None:
    light = histogram.figures(picture.light)
    nits = [_number(value * reference_white) for value in (light.low, light.median, light.p99, light.high)]
    facts = [
        f"{picture.size[1]} x {picture.size[0]}",
        f"min {nits[0]}, median {nits[1]}, 99 % {nits[2]}, max {nits[3]} cd/m2",
        f"{share_of(light.above_white, ' %')} brighter than SDR white ({_number(reference_white)} cd/m2)",
        *([f"full scale {picture.peak:g} x white"] if picture.peak else []),
        *([picture.model] if picture.model else []),
    ]
    pen.text((_GAP, 24), _shortened(picture.path.name, _font(18), width - 2 * _GAP), _INK, _font(18), anchor="ls")
    line = _shortened("   ".join(facts), _font(13), width - 2 * _GAP)
    pen.text((_GAP, 48), line, _FAINT, _font(13), anchor="ls")


def _draw_legend(pen: ImageDraw.ImageDraw, at: tuple[int, int], width: int, reference_white: float) -> None:
    """The bands in a line; above it the stops between them, below it their luminance."""
    x, y = at
    step = width / len(BANDS)
    top, height = y + 22, 22
    for number, colour in enumerate(BANDS):
        pen.rectangle((x + number * step, top, x + (number + 1) * step - 1, top + height), colour)
    pen.text((x, y + 14), "EV", _FAINT, _font(12), anchor="ls")
    pen.text((x, top + height + 18), "cd/m2", _FAINT, _font(12), anchor="ls")
    for number, stop in enumerate(edges(), 1):
        place = x + number * step
        pen.line((place, top - 4, place, top + height + 4), _INK if stop == 0 else _PAPER, 2 if stop == 0 else 1)
        pen.text((place, y + 14), _signed(stop), _INK, _font(12), anchor="ms")
        nits = _number(reference_white * 2.0**stop)
        pen.text((place, top + height + 18), nits, _INK, _font(12), anchor="ms")


def _draw_histogram(picture: Shown, size: tuple[int, int], reference_white: float) -> Image.Image:
    """Bars in the colours of their bands, heights by the square root of the share; the input as a line."""
    ground = (20, 20, 20)
    image = Image.new("RGB", size, ground)
    pen = ImageDraw.Draw(image)
    left, right, top, bottom = 8, size[0] - 8, 26, size[1] - 36
    bars = np.sqrt(histogram.histogram(picture.light))
    line = None if picture.sdr is None else np.sqrt(histogram.histogram(LIGHT_OF_CODE[picture.sdr]))
    tallest = max(float(bars.max()), 0.0 if line is None else float(line.max()))
    step = (right - left) / len(bars)
    middles = 2.0 ** (histogram.FROM + (np.arange(len(bars)) + 0.5) / histogram.BINS_A_STOP)
    bands = band_of(np.repeat(middles.astype(np.float32)[:, None], 3, axis=1))
    for number, (height, band) in enumerate(zip(bars, bands, strict=True)):
        if height:
            x = left + number * step
            # The darkest band is nearly black, as its bars would be.
            colour = BANDS[band] if band else (70, 70, 76)
            pen.rectangle((x, bottom - height / tallest * (bottom - top), x + max(step - 1, 1), bottom), colour)
    if line is not None:
        points = [
            (left + (n + 0.5) * step, bottom - height / tallest * (bottom - top)) for n, height in enumerate(line)
        ]
        pen.line(points, (235, 235, 235), 1)
        pen.text((left, 18), "bars: HDR   line: SDR input", _FAINT, _font(12), anchor="ls")
    pen.line((left, bottom + 1, right, bottom + 1), _RULE)
    for stop in range(LOWEST, histogram.TO, 2):
        place = left + (stop - histogram.FROM) * histogram.BINS_A_STOP * step
        pen.line((place, bottom + 1, place, bottom + 5), _INK if stop == 0 else _RULE)
        pen.text((place, bottom + 18), _signed(stop), _INK, _font(11), anchor="ms")
        if stop % 4 == 0:
            pen.text((place, bottom + 31), _number(reference_white * 2.0**stop), _FAINT, _font(11), anchor="ms")
    white = left - histogram.FROM * histogram.BINS_A_STOP * step
    pen.line((white, top, white, bottom), _RULE)
    label = ((white + 3, top + 10), "SDR white")
    pen.rectangle(pen.textbbox(*label, _font(11), anchor="ls"), ground)  # bars may reach up to it
    pen.text(*label, _FAINT, _font(11), anchor="ls")
    return image


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _number(value: float) -> str:
    """Three digits, as people read them: 0.79, 12.7, 203, 3,248."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2g}"


def _signed(stops: int) -> str:
    return f"{stops:+d}" if stops else "0"


def _shortened(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: float) -> str:
    """A text that fits, its end cut off where it does not; characters that fonts cannot draw are replaced."""
    text = "".join(each if each.isprintable() else "?" for each in text)
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}...") > width:
        text = text[:-1]
    return f"{text}..."
