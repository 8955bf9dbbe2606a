"""Files for viewing in headless Chromium: its own decoders (dav1d, jxl-rs in Rust, Skia's JPEG) find what was written.

``ImageDecoder`` hands out samples as they are coded, before any colour management. A headless browser has no headroom
above SDR white, so that of an Ultra HDR file it shows the base: that the gain map does not disturb it is what is seen.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from chromium import chromium
from delivered import WEIGHTS, close, expected, picture, rgb_of, written
from PIL import Image

from dcdr_deploy.imaging.light import Light

DECODE = """async ([data, type]) => {
  const bytes = Uint8Array.from(atob(data), c => c.charCodeAt(0));
  const decoder = new ImageDecoder({data: bytes, type, colorSpaceConversion: 'none'});
  const frame = (await decoder.decode()).image;
  const samples = new Uint8Array(frame.allocationSize());
  const planes = await frame.copyTo(samples);
  let text = '';
  for (let at = 0; at < samples.length; at += 8192) text += String.fromCharCode(...samples.slice(at, at + 8192));
  return {format: frame.format, colours: frame.colorSpace.toJSON(), planes, samples: btoa(text),
          width: frame.codedWidth, height: frame.codedHeight};
}"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    empty = tmp_path_factory.mktemp("page") / "empty.html"
    empty.write_text("<!doctype html>")
    with chromium() as browser:
        page = browser.new_page()
        page.goto(empty.as_uri())  # ImageDecoder is there in secure contexts only, as files are
        yield page


def decoded(page: Any, data: bytes, kind: str) -> tuple[dict[str, Any], list[np.ndarray]]:
    """What Chromium says of a picture, and its planes: of 8 or 16 bits, or one of four 8-bit samples."""
    if not page.evaluate("type => ImageDecoder.isTypeSupported(type)", kind):
        pytest.skip(f"this Chromium does not decode {kind}")
    found = page.evaluate(DECODE, [base64.b64encode(data).decode(), kind])
    samples = base64.b64decode(found["samples"])
    wide = found["format"].endswith(("P10", "P12"))
    planes = []
    for place in found["planes"]:
        rows = np.frombuffer(samples, np.uint8, place["stride"] * found["height"], place["offset"])
        rows = rows.reshape(found["height"], place["stride"])
        planes.append(rows.view("<u2") if wide else rows)
    return found, planes


@pytest.mark.parametrize("bits", [10, 12])
@pytest.mark.parametrize("transfer", ["pq", "hlg"])
def test_chromium_decodes_an_avif_to_the_same_codes(tmp_path, page, transfer, bits):
    linear, light = picture(), Light(transfer=transfer)
    data = written(tmp_path / "out.avif", linear, bits=bits, quality=95, light=light)
    found, planes = decoded(page, data, "image/avif")
    assert found["format"] == f"I444P{bits}"
    assert found["colours"] | {"transfer": ""} == {
        "primaries": "bt2020", "matrix": "bt2020-ncl", "fullRange": True, "transfer": "",
    }  # fmt: skip
    top = (1 << bits) - 1
    rgb = rgb_of([plane[:, : found["width"]].astype(np.float64) for plane in planes], top, WEIGHTS["rec2020"])
    close(rgb, expected(linear, light, bits)[0], top)


def test_a_decoder_of_jpeg_xl_that_is_not_libjxl_finds_the_codes(tmp_path, page):
    linear = picture()
    for quality in (97, 100):
        data = written(tmp_path / "out.jxl", linear, quality=quality)
        found, (samples,) = decoded(page, data, "image/jxl")
        assert found["format"] in ("BGRX", "BGRA")
        rgb = samples.reshape(found["height"], -1, 4)[:, : found["width"], 2::-1].astype(np.float64)
        close(rgb * (1023 / 255), expected(linear, Light(transfer="pq"))[0], 1023)


def test_chromium_shows_the_base_of_an_ultra_hdr_file_as_it_shows_the_source(tmp_path, page):
    codes = (np.clip(picture(), 0, 1) * 255).astype(np.uint8)
    source = tmp_path / "in.jpg"
    Image.fromarray(codes).save(source, quality=95, subsampling=0)
    data = written(tmp_path / "out.jpg", picture(), source=source)
    (said, before), (told, after) = (decoded(page, each, "image/jpeg") for each in (source.read_bytes(), data))
    assert said["colours"] == told["colours"]
    for one, two in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, two)
