"""A headless Chromium for pages, driven by Playwright; skips with a reason where there is none."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--force-color-profile=srgb",
    "--enable-unsafe-webgpu",  # its software adapter draws into textures; it cannot put canvases on the screen
    "--use-webgpu-adapter=swiftshader",
)


@contextmanager
def chromium() -> Iterator[Any]:
    """The browser; closed at the end of the block."""
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright to drive a browser with")
    found = next((path for path in map(shutil.which, NAMES) if path), None)
    if found is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is on the path")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found, args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()
