"""A page that is open in a browser, and the pictures that it was made from."""

from __future__ import annotations

import io
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dcdr_deploy.imaging import linear_to_srgb, write_image
from dcdr_deploy.view.page import PageSettings, write_page
from dcdr_deploy.view.pairs import Files

HEIGHT, WIDTH = 48, 64
WHITE = 100.0
NAMES = ("first", "second <b>&amp;</b>", "alone")


def some_light() -> np.ndarray:
    """(HEIGHT, WIDTH, 3) half floats as float32: noise over many stops, ramps, saturated colours, SDR white."""
    light = 2.0 ** np.random.default_rng(0).uniform(-9, 4, (HEIGHT, WIDTH, 3)).astype(np.float32)
    light[:8] = np.geomspace(2.0**-10, 2.0**7, WIDTH, dtype=np.float32)[None, :, None]
    light[8:16, :, 1] = 0
    light[16, :8] = (1, 1, 1)
    return light.astype(np.float16).astype(np.float32)


def exposed(light: np.ndarray, stops: float = 0.0) -> np.ndarray:
    return np.rint(linear_to_srgb(np.clip(light * 2.0**stops, 0, 1)) * 255).astype(int)


class OpenedPage:
    """The page in a tab, and what it was made from."""

    def __init__(self, browser: Any, folder: Path) -> None:
        self.light = some_light()
        self.codes = np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        self.codes[:24] = exposed(self.light)[:24]
        files = []
        for name in NAMES:
            write_image(folder / f"{name.replace('/', '')}.exr", self.light / 128, peak=128)
            Image.fromarray(self.codes).save(folder / "input.png")
            files.append(Files(name, folder / f"{name.replace('/', '')}.exr", folder / "input.png"))
        files[-1] = Files(NAMES[-1], files[-1].hdr)
        self.report = write_page(files, folder / "page.html", PageSettings(reference_white=WHITE))
        self.messages: list[str] = []
        self.requests: list[str] = []
        self.tab = browser.new_page(viewport={"width": 900, "height": 620})
        self.tab.on("console", lambda message: self.messages.append(f"{message.type}: {message.text}"))
        self.tab.on("pageerror", lambda error: self.messages.append(f"error: {error}"))
        self.tab.on("request", lambda request: self.requests.append(request.url))
        self.address = (folder / "page.html").as_uri()

    def open(self) -> None:
        """Load the page anew and wait for its first picture."""
        self.tab.goto(self.address)
        self.tab.wait_for_selector('#stage[data-drawn="0"]')
        self.settle()

    def settle(self) -> None:
        """Wait until what was asked for is drawn."""
        self.tab.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def press(self, *keys: str) -> None:
        for key in keys:
            self.tab.keyboard.press(key)
        self.settle()

    def slide(self, slider: str, value: float) -> None:
        """Put a slider somewhere as a user's drag does."""
        self.tab.locator(slider).fill(str(value))
        self.settle()

    def choose(self, number: int) -> None:
        self.tab.select_option("#picture", str(number))
        self.tab.wait_for_selector(f'#stage[data-drawn="{number}"]')
        self.settle()

    def stage(self) -> np.ndarray:
        """The stage as the user sees it."""
        return np.asarray(Image.open(io.BytesIO(self.tab.locator("#stage").screenshot())).convert("RGB")).astype(int)

    def corner(self, zoom: float = 1) -> tuple[int, int]:
        """Where the picture's upper left pixel lies on the stage, (y, x), when it is smaller than the stage."""
        box = self.tab.locator("#stage").bounding_box()
        return (
            math.floor((box["height"] - HEIGHT * zoom) / 2 + 0.5),
            math.floor((box["width"] - WIDTH * zoom) / 2 + 0.5),
        )

    def seen(self, zoom: float = 1) -> np.ndarray:
        """The picture as the user sees it."""
        y, x = self.corner(zoom)
        return self.stage()[y : y + round(HEIGHT * zoom), x : x + round(WIDTH * zoom)]

    def point(self, x: int, y: int, zoom: float = 1) -> None:
        """Put the cursor on a pixel of the picture."""
        box, (top, left) = self.tab.locator("#stage").bounding_box(), self.corner(zoom)
        self.tab.mouse.move(box["x"] + left + (x + 0.5) * zoom, box["y"] + top + (y + 0.5) * zoom)
        self.settle()

    def text(self, selector: str) -> str:
        return self.tab.locator(selector).inner_text()

    def nits(self, which: str) -> float:
        return float(re.search(r"([\d.]+) cd/m²", self.text(f"#value-{which}"))[1])

    @property
    def zoom(self) -> int:
        return int(self.text("#zoom-value").rstrip(" %"))
