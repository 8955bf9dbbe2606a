"""One self-contained HTML page that shows HDR pictures beside their inputs, from disk and without a network."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, TextIO

from dcdr_deploy._version import __version__
from dcdr_deploy.errors import InputError, OutputError
from dcdr_deploy.imaging.light import SDR_WHITE_NITS
from dcdr_deploy.system.files import atomic_path, refuse_overwriting
from dcdr_deploy.system.progress import Event, Listener, silent
from dcdr_deploy.system.words import share_of
from dcdr_deploy.view import codec, false_colour, histogram
from dcdr_deploy.view.pairs import Files
from dcdr_deploy.view.picture import Shown, check_reference_white, fitting, load

SUFFIXES = (".html", ".htm")

PIXELS_OF_A_PICTURE = 3840 * 2160
"""How many pixels of a picture a page holds at most where no longest edge is asked for."""

PIXELS_OF_A_PAGE = 2 * PIXELS_OF_A_PICTURE
"""How many it holds in all then; about 2 bytes each with an input, else 5."""

LARGEST_EDGE = 4096
"""The longest edge that every browser draws (WebGL2 promises 2048; phones have 4096)."""

EXPOSURES = 8.0
"""Stops up and down that the page's slider goes."""

SCRIPTS = (
    "codec.js",
    "viewport.js",
    "shaders.js",
    "renderers.js",
    "viewer.js",
    "panels.js",
    "pointers.js",
    "controls.js",
)
"""The page's program, in the order in which its parts need each other."""

_SURROUND = 0x1C / 255  # --stage of page.css


@dataclass(frozen=True)
class PageSettings:
    """What a page shows.

    Attributes:
        reference_white: cd/m2 of SDR white.
        exposure: EV at which the page opens.
        max_edge: longest edge of a picture in pixels, larger ones are averaged down; ``None`` shares
            :data:`PIXELS_OF_A_PAGE` among the pictures, none of which gets more than :data:`PIXELS_OF_A_PICTURE`.
        full_scale: see :func:`dcdr_deploy.view.picture.load`.

    Raises:
        InputError: a value out of range.
    """

    reference_white: float = SDR_WHITE_NITS
    exposure: float = 0.0
    max_edge: int | None = None
    full_scale: float | None = None

    def __post_init__(self) -> None:
        check_reference_white(self.reference_white)
        if not abs(self.exposure) <= EXPOSURES:
            raise InputError(f"`exposure` = {self.exposure:g}: must be -{EXPOSURES:g} to {EXPOSURES:g} EV")
        if self.max_edge is not None and self.max_edge < 16:
            raise InputError(f"`max_edge` = {self.max_edge}: must be at least 16 pixels")

    def size_on_page(self, size: tuple[int, int], pictures: int) -> tuple[int, int]:
        """(height, width) at which one of so many pictures is kept."""
        if self.max_edge is not None:
            return fitting(size, edge=self.max_edge)
        return fitting(size, edge=LARGEST_EDGE, pixels=min(PIXELS_OF_A_PICTURE, PIXELS_OF_A_PAGE / pictures))


@dataclass(frozen=True)
class PictureReport:
    """One picture of a page.

    Attributes:
        name: as the page calls it.
        source: the HDR file.
        input: its input.
        size: (height, width) of the file.
        shown: (height, width) on the page.
        notes: sentences about how it was read.
    """

    name: str
    source: Path
    input: Path | None
    size: tuple[int, int]
    shown: tuple[int, int]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class PageReport:
    """A page that was written.

    Attributes:
        output: the file.
        size: its bytes.
        pictures: what it shows.
        failures: why others are not on it.
    """

    output: Path
    size: int
    pictures: tuple[PictureReport, ...]
    failures: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "output": str(self.output),
            "bytes": self.size,
            "pictures": [
                {
                    "name": each.name,
                    "source": str(each.source),
                    "input": None if each.input is None else str(each.input),
                    "width": each.size[1],
                    "height": each.size[0],
                    "shown_width": each.shown[1],
                    "shown_height": each.shown[0],
                    "notes": list(each.notes),
                }
                for each in self.pictures
            ],
            "failures": list(self.failures),
        }


def place_of_page(pictures: Sequence[Files], output: Path | None) -> Path:
    """Where a page goes: ``output``; in a folder, or in the working directory where nothing is said, under a name.

    The name is ``out.html`` for one picture ``hdr/out.exr`` and ``view.html`` for several.
    """
    if output is not None and not output.is_dir():
        return output
    return (output or Path()) / (f"{pictures[0].hdr.stem}.html" if len(pictures) == 1 else "view.html")


def write_page(
    pictures: Sequence[Files],
    output: str | os.PathLike[str],
    settings: PageSettings | None = None,
    listener: Listener = silent,
) -> PageReport:
    """Write a page, atomically. One picture is in memory at a time; what cannot be read is left out and reported.

    Args:
        pictures: at least one.
        output: the page.
        settings: how it shows them.
        listener: told after each picture, by name.

    Raises:
        OutputError: another suffix, or a file that cannot be written.
        InputError: no picture that can be read and fits its input, or an output that is one of the inputs.
    """
    settings, output = settings or PageSettings(), Path(output)
    if output.suffix.lower() not in SUFFIXES:
        raise OutputError(f"{output}: a page is written as .html")
    for each in pictures:
        refuse_overwriting(output, each.hdr, *(() if each.sdr is None else (each.sdr,)))
    names = _distinct([each.name for each in pictures])
    head, tail = _asset("page.html").split("{pictures}")
    title = names[0] if len(names) == 1 else f"{len(names)} pictures"
    style, script = _asset("page.css"), "\n".join(map(_asset, SCRIPTS))
    words = {
        "title": html.escape(title),
        "version": __version__,
        "style": style,
        "style_hash": _hash_source(style),
        "script": script,
        "script_hash": _hash_source(script),
    }
    reports: list[PictureReport] = []
    failures: list[str] = []
    facts: list[dict[str, Any]] = []
    with atomic_path(output) as temporary:
        # Line ends stay as they are: the scripts' hashes are over their bytes.
        with temporary.open("w", encoding="utf-8", newline="") as page:
            page.write(_filled(head, words))
            for done, (name, each) in enumerate(zip(names, pictures, strict=True), 1):
                try:
                    whole = load(each.hdr, each.sdr, full_scale=settings.full_scale)
                except InputError as error:
                    failures.append(str(error))
                    if len(failures) == len(pictures):
                        raise
                    continue
                shown = whole.reduced(settings.size_on_page(whole.size, len(pictures)))
                facts.append(_write_picture(page, len(facts), name, whole, shown, settings))
                reports.append(PictureReport(name, each.hdr, each.sdr, whole.size, shown.size, whole.notes))
                listener(Event(name, done, len(pictures)))
            page.write(_filled(tail, {**words, "settings": _as_json(_settings(title, facts, settings))}))
        size = temporary.stat().st_size
    return PageReport(output, size, tuple(reports), tuple(failures))


def _write_picture(
    page: TextIO, number: int, name: str, whole: Shown, shown: Shown, settings: PageSettings
) -> dict[str, Any]:
    """Write a picture's samples, and return what the page has to know about them."""
    light, codes = codec.pack_picture(shown)
    for part, packed in (("light", light), ("input", codes)):
        if packed is not None:
            page.write(f'<script type="text/plain" id="picture-{number}-{part}">{packed.text}</script>\n')
    figures = histogram.figures(whole.light)
    return {
        "name": name,
        "line": _line(whole, shown, figures, settings),
        "width": shown.size[1],
        "height": shown.size[0],
        "aboveWhite": round(figures.above_white, 6),
        "light": {"green": light.green},
        "input": None if codes is None else {"green": codes.green},
    }


def _line(whole: Shown, shown: Shown, figures: histogram.Light, settings: PageSettings) -> str:
    """The facts of a picture that the page shows beside its name."""
    size = f"{whole.size[1]} \u00d7 {whole.size[0]}"
    if shown.size != whole.size:
        size += f", shown at {shown.size[1]} \u00d7 {shown.size[0]}"
    parts = [
        size,
        f"up to {figures.high * settings.reference_white:,.0f} cd/m\u00b2",
        f"{share_of(figures.above_white, ' %')} above SDR white ({settings.reference_white:g} cd/m\u00b2)",
        *([_readable(whole.model)] if whole.model else []),
    ]
    return "   ".join(parts)


def _settings(title: str, facts: list[dict[str, Any]], settings: PageSettings) -> dict[str, Any]:
    return {
        "title": title,
        "referenceWhite": settings.reference_white,
        "exposure": settings.exposure,
        "surround": _SURROUND,
        "bands": false_colour.BANDS,
        "lowest": false_colour.LOWEST,
        "nudge": false_colour.NUDGE,
        "halfOfCode": codec.BITS_OF_CODE.tolist(),
        "pictures": facts,
    }


def _distinct(names: Sequence[str]) -> list[str]:
    """Names that differ, for the page's list."""
    result: list[str] = []
    for name in map(_readable, names):
        number, candidate = 2, name
        while candidate in result:
            number, candidate = number + 1, f"{name} ({number})"
        result.append(candidate)
    return result


def _readable(name: str) -> str:
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _as_json(value: dict[str, Any]) -> str:
    """JSON that cannot end the element it stands in."""
    return json.dumps(value, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _asset(name: str) -> str:
    return (files("dcdr_deploy.view") / "assets" / name).read_text(encoding="utf-8")


def _filled(template: str, words: dict[str, str]) -> str:
    """A template with ``{name}`` replaced; what is put in is not looked at again."""
    return re.sub(r"\{(\w+)\}", lambda found: words[found[1]], template)


def _hash_source(text: str) -> str:
    """The name of an inline script or style in a Content Security Policy (CSP Level 3, 2.3.1)."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
