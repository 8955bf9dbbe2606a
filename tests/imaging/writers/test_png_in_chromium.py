"""PNG files for viewing in headless Chromium, which follows cICP and tone-maps them to its SDR canvas."""

from __future__ import annotations

import base64
import struct
from pathlib import Path

import numpy as np
from chromium import chromium

from dcdr_deploy.imaging import WriteOptions, write_image
from dcdr_deploy.imaging.light import Light

SHOWN = """async data => {
  const bytes = Uint8Array.from(atob(data), c => c.charCodeAt(0));
  const picture = await createImageBitmap(new Blob([bytes], {type: 'image/png'}));
  const canvas = new OffscreenCanvas(picture.width, picture.height).getContext('2d');
  canvas.drawImage(picture, 0, 0);
  return Array.from(canvas.getImageData(0, 0, picture.width, picture.height).data);
}"""
LEVELS = (0.02, 0.18, 0.5, 1.0, 2.0, 4.0)
"""In units of SDR white, gray above and greenish below."""


def picture() -> np.ndarray:
    linear = np.repeat(np.array(LEVELS, np.float32), 4)[None, :, None].repeat(8, axis=0).repeat(3, axis=2) / 8
    linear[4:, :, [0, 2]] *= np.float32(0.6)
    return linear


def without_cicp(data: bytes) -> bytes:
    at = data.index(b"cICP") - 4
    return data[:at] + data[at + 12 + struct.unpack(">I", data[at : at + 4])[0] :]


def test_chromium_shows_the_same_light_for_pq_and_hlg_and_knows_them_by_cicp(tmp_path: Path):
    files = {}
    for name, light in (
        ("pq", Light(transfer="pq")),
        ("pq in P3", Light(transfer="pq", primaries="p3")),
        ("hlg", Light(transfer="hlg")),
    ):
        write_image(tmp_path / "a.png", picture(), peak=8, options=WriteOptions(light=light))
        files[name] = (tmp_path / "a.png").read_bytes()
    files["not told"] = without_cicp(files["pq"])
    empty = tmp_path / "empty.html"
    empty.write_text("<!doctype html>")
    with chromium() as browser:
        page = browser.new_page()
        page.goto(empty.as_uri())
        shown = {
            name: np.array(page.evaluate(SHOWN, base64.b64encode(data).decode()), float).reshape(8, -1, 4)[..., :3]
            for name, data in files.items()
        }
    for name in ("hlg", "pq in P3"):
        assert np.abs(shown["pq"] - shown[name]).max() <= 6
    assert np.abs(shown["pq"] - shown["not told"]).max() > 20
    grays = shown["pq"][1, 1::4]
    assert np.ptp(grays, axis=1).max() <= 1
    assert np.all(np.diff(grays[:, 0]) > 5)
