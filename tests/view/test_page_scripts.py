"""The page's scripts one by one, in headless Chromium: unpacking, numbers, and the renderer for HDR canvases.

Headless Chromium has WebGPU by software, which draws into textures and puts nothing on the screen: there the pixels are
read.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chromium import chromium
from opened_page import some_light

from dcdr_deploy.imaging import linear_to_srgb
from dcdr_deploy.view import codec
from dcdr_deploy.view.false_colour import BANDS, LOWEST, NUDGE, false_colour

ASSETS = Path(codec.__file__).parent / "assets"


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """An empty tab with the parts of the page that need none of it."""
    blank = tmp_path_factory.mktemp("bench") / "blank.html"
    blank.write_text("<!doctype html><title>blank</title>", encoding="utf-8")
    with chromium() as browser:
        tab = browser.new_page()
        tab.goto(blank.as_uri())  # a file: there is no WebGPU on about:blank
        for name in ("codec.js", "viewport.js", "shaders.js", "renderers.js"):
            tab.add_script_tag(content=(ASSETS / name).read_text(encoding="utf-8"))
        yield tab


def samples() -> Iterator[np.ndarray]:
    generator = np.random.default_rng(1)
    for kind in (np.uint8, np.uint16):
        top = np.iinfo(kind).max
        for size in ((1, 1), (1, 9), (9, 1), (7, 5)):
            yield generator.integers(0, top, (*size, 3), dtype=kind, endpoint=True)
        ramp = np.linspace(0, top, 60).astype(kind).reshape(6, 10)
        yield np.stack([ramp, ramp[::-1], ramp], axis=2)
        yield np.stack([ramp] * 3, axis=2)
        yield np.full((3, 4, 3), top, kind)


def test_what_is_packed_comes_back_bit_by_bit(bench):
    greens = set()
    for each in samples():
        packed = codec.pack(each)
        greens.add(packed.green)
        height, width = each.shape[:2]
        planes = bench.evaluate(
            "async (all) => [...(await unpacked(...all))]",
            [packed.text, width, height, 8 * each.dtype.itemsize, packed.green],
        )
        np.testing.assert_array_equal(np.moveaxis(each, 2, 0).ravel(), planes)
    assert greens == {False, True}


def test_every_half_float_is_read_as_numpy_reads_it(bench):
    bits = np.arange(65536, dtype=np.uint16)
    finite = bits[np.isfinite(bits.view(np.float16))]
    found = bench.evaluate("(all) => all.map(floatOfHalf)", finite.tolist())
    np.testing.assert_array_equal(np.float32(found), finite.view(np.float16).astype(np.float32))


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (203, "203.0"), (1624, "1624"), (12992, "12992"), (0.0123456, "0.01235"), (-1.5, "-1.500")],
)
def test_numbers_have_four_digits(bench, value, text):
    assert bench.evaluate("digits", value) == text


def drawn_by_webgpu(bench: Any, light: np.ndarray, frame: dict[str, Any]) -> np.ndarray:
    """What the renderer for HDR canvases draws, read from a texture in the canvas's place."""
    height, width = light.shape[:2]
    rgba = np.dstack([light, np.ones((height, width, 1))]).astype(np.float16).view(np.uint16)
    halves = bench.evaluate(
        """async ([bands, lowest, nudge, pixels, width, height, frame]) => {
          const way = await extendedWay({ bands, lowest, nudge });
          if (!way) return null;
          const { device } = way;
          device.addEventListener("uncapturederror", (event) => { throw event.error; });
          const usage = GPUTextureUsage.RENDER_ATTACHMENT | GPUTextureUsage.COPY_SRC;
          const target = device.createTexture({ size: [width, height], format: "rgba16float", usage });
          const context = { configure() {}, unconfigure() {}, getCurrentTexture: () => target };
          const renderer = new WebGpuRenderer({ getContext: () => context }, way);
          const after = Uint16Array.from(pixels);
          renderer.load({ width, height, after, before: null });
          renderer.draw({ width, height, origin: [0, 0], zoom: 1, divider: 0, surround: 0, shows: 0, ...frame });
          const stride = 256 * Math.ceil((8 * width) / 256);
          const size = stride * height;
          const buffer = device.createBuffer({ size, usage: GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ });
          const commands = device.createCommandEncoder();
          commands.copyTextureToBuffer({ texture: target }, { buffer, bytesPerRow: stride }, [width, height]);
          device.queue.submit([commands.finish()]);
          await buffer.mapAsync(GPUMapMode.READ);
          const all = new Uint16Array(buffer.getMappedRange());
          const row = (y) => [...all.slice((y * stride) / 2, (y * stride) / 2 + 4 * width)];
          const rows = Array.from({ length: height }, (_, y) => row(y));
          renderer.close();
          return rows;
        }""",
        [BANDS, LOWEST, NUDGE, rgba.ravel().tolist(), width, height, frame],
    )
    if halves is None:
        pytest.skip("this Chromium has no WebGPU with extended tone mapping")
    return np.asarray(halves, np.uint16).view(np.float16).astype(np.float64).reshape(height, width, 4)[..., :3]


@pytest.mark.parametrize("stops", [0, -1.5, 2])
def test_an_hdr_canvas_is_drawn_in_srgb_that_goes_on_above_white_and_below_black(bench, stops):
    light = some_light()
    light[0, :5] = [[-0.5, 1, 1], [-0.001, 0.2, 0.2], [0, 0, 0], [60, 60, 60], [1, 1, 1]]
    drawn = drawn_by_webgpu(bench, light, {"gain": 2.0**stops})
    wanted = linear_to_srgb(light.astype(np.float64) * 2.0**stops)
    assert wanted.max() > 3
    np.testing.assert_allclose(drawn, wanted, rtol=2e-3, atol=1e-4)


def test_an_hdr_canvas_has_the_same_false_colours(bench):
    drawn = drawn_by_webgpu(bench, some_light(), {"gain": 1, "shows": 4})
    np.testing.assert_array_equal(np.rint(drawn * 255), false_colour(some_light()))
