"""The page as a browser shows it: pixels, read-out, sliders, keys, mouse; one headless Chromium for all of them."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chromium import chromium
from PIL import Image

from dcdr_deploy.imaging import linear_to_srgb, luminance, srgb_to_linear, write_image
from dcdr_deploy.view import codec
from dcdr_deploy.view.false_colour import BANDS, LOWEST, NUDGE, false_colour
from dcdr_deploy.view.page import PageSettings, write_page
from dcdr_deploy.view.pairs import Files

ASSETS = Path(codec.__file__).parent / "assets"
HEIGHT, WIDTH = 48, 64
WHITE = 100.0
NAMES = ("first", "second <b>&amp;</b>", "alone")
SURROUND = [0x1C] * 3


def exposed(light: np.ndarray, stops: float = 0.0) -> np.ndarray:
    return np.rint(linear_to_srgb(np.clip(light * 2.0**stops, 0, 1)) * 255).astype(int)


class Shown:
    """The page in a tab, and what it was made from."""

    def __init__(self, browser: Any, folder: Path) -> None:
        generator = np.random.default_rng(0)
        light = 2.0 ** generator.uniform(-9, 4, (HEIGHT, WIDTH, 3)).astype(np.float32)
        light[:8] = np.geomspace(2.0**-10, 2.0**7, WIDTH, dtype=np.float32)[None, :, None]
        light[8:16, :, 1] = 0
        light[16, :8] = (1, 1, 1)
        self.codes = generator.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        self.codes[:24] = exposed(light)[:24]
        files = []
        for name in NAMES:
            write_image(folder / f"{name.replace('/', '')}.exr", light / 128, peak=128)
            Image.fromarray(self.codes).save(folder / "input.png")
            files.append(Files(name, folder / f"{name.replace('/', '')}.exr", folder / "input.png"))
        files[-1] = Files(NAMES[-1], files[-1].hdr)
        self.report = write_page(files, folder / "page.html", PageSettings(reference_white=WHITE))
        self.light = light.astype(np.float16).astype(np.float32)
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


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def made(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Shown:
    return Shown(browser, tmp_path_factory.mktemp("page"))


@pytest.fixture
def shown(made: Shown) -> Shown:
    """The page just opened, its first picture at 100 %."""
    made.open()
    made.press("1")
    return made


def test_the_page_asks_for_nothing_but_itself_and_says_nothing(made):
    made.messages.clear()
    made.requests.clear()
    made.open()
    for number in (1, 2, 0):
        made.choose(number)
    made.press("c", "b", "a", "f")
    assert made.requests == [made.address]
    assert [each for each in made.messages if "GL Driver Message" not in each] == []
    assert "://" not in Path(made.report.output).read_text(encoding="utf-8")


@pytest.mark.parametrize("stops", [0, -2, -6.3, 1.5])
def test_pixels_at_100_percent_are_those_of_numpy_within_a_code(shown, stops):
    shown.press("a")
    shown.slide("#exposure", stops)
    assert np.abs(shown.seen() - exposed(shown.light, stops)).max() <= 1
    shown.press("b")
    assert np.abs(shown.seen() - exposed(srgb_to_linear(shown.codes / 255), stops)).max() <= 1


def test_the_input_at_0_ev_is_the_input(shown):
    shown.press("b")
    assert np.abs(shown.seen() - shown.codes).max() <= 1


@pytest.mark.parametrize("share", [0.48, 0.52])
def test_the_divider_parts_before_and_after(shown, share):
    shown.slide("#split", share)
    seen, at = shown.seen(), share * shown.stage().shape[1] - shown.corner()[1]
    before, after = slice(0, math.floor(at) - 2), slice(math.ceil(at) + 3, WIDTH)
    assert np.abs(seen[:, before] - shown.codes[:, before]).max() <= 1
    assert np.abs(seen[:, after] - exposed(shown.light)[:, after]).max() <= 1
    assert 10 < at < WIDTH - 10


def test_the_divider_follows_the_mouse(shown):
    box = shown.tab.locator("#stage").bounding_box()
    middle = box["x"] + box["width"] / 2
    shown.tab.mouse.move(middle + 3, box["y"] + 200)
    shown.tab.mouse.down()
    shown.tab.mouse.move(middle - 90, box["y"] + 220)
    shown.tab.mouse.up()
    shown.settle()
    assert float(shown.tab.input_value("#split")) == pytest.approx((box["width"] / 2 - 90) / box["width"], abs=0.004)
    assert shown.zoom == 100


def test_false_colour_is_that_of_the_sheet_whatever_the_exposure(shown):
    shown.press("a", "c", "e", "e")
    np.testing.assert_array_equal(shown.seen(), false_colour(shown.light))
    shown.press("b")
    np.testing.assert_array_equal(shown.seen(), false_colour(srgb_to_linear(shown.codes / 255).astype(np.float16)))


def test_the_legend_holds_every_band_with_its_luminance(shown):
    shown.press("c")
    texts = shown.tab.locator("#legend div").all_inner_texts()
    assert len(texts) == len(BANDS)
    white = texts[-LOWEST].split()
    assert white == ["0", "100"]
    assert texts[-LOWEST + 3].split() == ["+3", "800"]
    colours = shown.tab.eval_on_selector_all("#legend i", "all => all.map(each => getComputedStyle(each).background)")
    assert [tuple(map(int, re.findall(r"\d+", colour)[:3])) for colour in colours] == list(BANDS)
    assert shown.stage().shape[0] < 620 - 150  # it has its own place


def test_zoomed_out_a_pixel_is_the_mean_light_of_those_it_covers(shown):
    shown.press("a", "-", "-")
    assert shown.zoom == 50
    mean = shown.light.reshape(HEIGHT // 2, 2, WIDTH // 2, 2, 3).mean((1, 3))
    assert np.abs(shown.seen(0.5) - exposed(mean)).max() <= 1


def test_zoomed_in_a_pixel_is_a_square(shown):
    shown.press("a", *"++++")
    assert shown.zoom == 400
    assert np.abs(shown.seen(4) - exposed(shown.light).repeat(4, 0).repeat(4, 1)).max() <= 1


def test_beside_the_picture_is_neutral_grey(shown):
    y, x = shown.corner()
    stage = shown.stage()
    assert stage[y - 3, x + 5].tolist() == stage[y + 5, x - 3].tolist() == SURROUND


def test_on_a_dense_display_100_percent_is_one_device_pixel_a_picture_pixel(made, browser):
    tab = browser.new_page(viewport={"width": 500, "height": 400}, device_scale_factor=2)
    tab.goto(made.address)
    tab.wait_for_selector('#stage[data-drawn="0"]')
    tab.keyboard.press("1")
    tab.keyboard.press("a")
    tab.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    stage = np.asarray(Image.open(io.BytesIO(tab.locator("#stage").screenshot())).convert("RGB")).astype(int)
    y, x = (math.floor((room - size) / 2 + 0.5) for room, size in zip(stage.shape, (HEIGHT, WIDTH), strict=False))
    tab.close()
    assert np.abs(stage[y : y + HEIGHT, x : x + WIDTH] - exposed(made.light)).max() <= 1


@pytest.mark.parametrize(("x", "y"), [(0, 0), (63, 47), (20, 30), (5, 10), (40, 3), (3, 16)])
def test_the_read_out_is_the_luminance_under_the_cursor(shown, x, y):
    shown.point(x, y)
    assert shown.text("#place").split() == ["x", str(x), "y", str(y)]
    assert shown.nits("after") == pytest.approx(float(luminance(shown.light[y, x])) * WHITE, rel=6e-4)
    before = float(luminance(srgb_to_linear(shown.codes[y, x] / 255)))
    assert shown.nits("before") == pytest.approx(before * WHITE, rel=1e-3, abs=1e-6)
    assert shown.text("#value-before").endswith("sRGB " + " ".join(map(str, shown.codes[y, x])))
    linear = [float(each) for each in shown.text("#value-after").partition("linear ")[2].split()]
    assert linear == pytest.approx(shown.light[y, x].tolist(), rel=6e-4, abs=1e-6)


def test_the_exposure_does_not_change_the_read_out(shown):
    shown.point(20, 30)
    before = shown.text("#value-after")
    shown.slide("#exposure", -3)
    assert shown.text("#value-after") == before


def test_beside_the_picture_nothing_is_read_out(shown):
    shown.point(WIDTH + 5, 10)
    assert shown.text("#value-after") == ""


def exposure(shown: Shown) -> float:
    return float(shown.tab.input_value("#exposure"))


@pytest.mark.parametrize(("up", "down"), [("e", "Shift+E"), ("]", "[")])
def test_keys_turn_the_exposure(shown, up, down):
    shown.press(up, up, up)
    assert (exposure(shown), shown.text("#exposure-value")) == (1.5, "+1.5 EV")
    shown.press(*[down] * 5)
    assert (exposure(shown), shown.text("#exposure-value")) == (-1, "−1.0 EV")
    shown.press("0")
    assert (exposure(shown), shown.text("#exposure-value")) == (0, "0.0 EV")
    shown.press(*[down] * 20)
    assert exposure(shown) == -8


def test_keys_choose_what_is_seen(shown):
    def chosen() -> str:
        return shown.tab.locator("#views input:checked").get_attribute("value")

    seen = []
    for key in ("b", "a", "s", " ", " ", " "):
        shown.press(key)
        seen.append(chosen())
    assert seen == ["before", "after", "split", "before", "after", "before"]
    shown.press("s", ",", ",", ".")
    assert float(shown.tab.input_value("#split")) == pytest.approx(0.48)
    shown.press("c")
    assert shown.tab.get_attribute("#false-colour", "aria-pressed") == "true"
    shown.press("c")
    assert shown.tab.locator("#legend").is_hidden()


def test_keys_zoom_and_move(shown):
    shown.press("f")
    box = shown.tab.locator("#stage").bounding_box()
    assert shown.zoom == pytest.approx(100 * min(box["width"] / WIDTH, box["height"] / HEIGHT), abs=1)
    shown.press("1", "+", "+", "-")
    assert shown.zoom == 141
    shown.press("1", "a", *"+" * 10)
    assert shown.zoom == 3200
    at = shown.stage()[100, 100].tolist()
    shown.press("ArrowRight")
    assert shown.stage()[100, 40].tolist() == at
    shown.press("ArrowDown")
    assert shown.stage()[40, 40].tolist() == at
    shown.press("ArrowUp", "ArrowLeft")
    assert shown.stage()[100, 100].tolist() == at


def test_the_measured_pixel_is_moved_by_keys_and_told_to_screen_readers(shown):
    shown.point(20, 30)
    shown.press("Shift+ArrowRight", "Shift+ArrowRight", "Shift+ArrowUp")
    assert shown.text("#place").split() == ["x", "22", "y", "29"]
    assert shown.nits("after") == pytest.approx(float(luminance(shown.light[29, 22])) * WHITE, rel=6e-4)
    assert "22" in shown.text("#spoken")
    assert "cd/m²" in shown.text("#spoken")
    mark, stage = (shown.tab.locator(each).bounding_box() for each in ("#mark", "#stage"))
    y, x = shown.corner()
    middle = (mark["x"] + mark["width"] / 2 - stage["x"], mark["y"] + mark["height"] / 2 - stage["y"])
    assert middle == pytest.approx((x + 22.5, y + 29.5), abs=1)


def test_keys_and_the_list_choose_the_picture_and_one_without_input_has_nothing_to_compare(shown):
    assert shown.tab.locator("#picture option").all_inner_texts() == list(NAMES)
    shown.press("n")
    shown.tab.wait_for_selector('#stage[data-drawn="1"]')
    assert shown.tab.title().startswith(NAMES[1])
    shown.press("p", "p")
    shown.tab.wait_for_selector('#stage[data-drawn="2"]')
    assert shown.tab.locator("#views input:enabled").count() == 1
    assert shown.tab.locator("#divider").is_hidden()
    shown.press("1", "b")
    shown.point(20, 30)
    assert shown.text("#value-before") == ""
    assert np.abs(shown.seen() - exposed(shown.light)).max() <= 1


def test_pictures_of_one_size_are_compared_at_one_place_and_exposure(shown):
    shown.press("a", "[", "[", *"+" * 8)
    shown.press("ArrowRight", "ArrowDown")
    shown.press("Shift+ArrowRight")
    before = (shown.zoom, shown.text("#place"), shown.stage())
    shown.choose(1)
    assert (shown.zoom, shown.text("#place")) == before[:2]
    np.testing.assert_array_equal(shown.stage(), before[2])  # the file is the same


def test_a_question_mark_lists_the_keys_and_escape_closes_the_list(shown):
    shown.press("?")
    assert shown.tab.locator("dialog").is_visible()
    shown.press("e")
    assert exposure(shown) == 0
    shown.press("Escape")
    assert shown.tab.locator("dialog").is_hidden()


def test_the_wheel_zooms_around_the_cursor_and_a_drag_moves_the_picture(shown):
    shown.press("a")
    shown.point(10, 40)
    for _ in range(12):
        shown.tab.mouse.wheel(0, -120)
    shown.settle()
    assert shown.zoom > 1000
    place = shown.text("#place")
    assert place.split() == ["x", "10", "y", "40"]
    box = shown.tab.locator("#stage").bounding_box()
    shown.tab.mouse.move(box["x"] + 300, box["y"] + 200)
    held = shown.text("#place")
    shown.tab.mouse.down()
    shown.tab.mouse.move(box["x"] + 340, box["y"] + 260, steps=3)
    shown.tab.mouse.up()
    shown.settle()
    assert shown.text("#place") == held
    shown.tab.mouse.dblclick(box["x"] + 300, box["y"] + 200)
    shown.settle()
    assert shown.zoom == pytest.approx(100 * min(box["width"] / WIDTH, box["height"] / HEIGHT), abs=1)


def test_everything_that_can_be_operated_has_a_name_and_can_be_reached_by_tab(shown):
    names = shown.tab.eval_on_selector_all(
        "button, input, select, #stage",
        "all => all.map(each => each.getAttribute('aria-label') || each.labels?.[0]?.innerText || each.innerText)",
    )
    assert all(name.strip() for name in names)
    assert shown.tab.locator("main#stage[tabindex='0']").count() == 1
    shown.tab.focus("#exposure")
    shown.press("ArrowRight", "ArrowRight")
    assert exposure(shown) == pytest.approx(0.2)
    assert shown.tab.get_attribute("#exposure", "aria-valuetext") == "+0.2 EV"


def test_a_narrow_window_leaves_room_for_the_picture(shown):
    shown.tab.set_viewport_size({"width": 400, "height": 800})
    shown.settle()
    try:
        assert shown.tab.locator("#stage").bounding_box()["height"] > 300
        assert shown.tab.evaluate("document.documentElement.scrollWidth") <= 400
    finally:
        shown.tab.set_viewport_size({"width": 900, "height": 620})


def test_a_lost_context_is_drawn_again(shown):
    shown.press("a")
    shown.tab.evaluate(
        """async () => {
          const canvas = document.querySelector("#stage canvas");
          const back = new Promise((done) => canvas.addEventListener("webglcontextrestored", done));
          const lose = canvas.getContext("webgl2").getExtension("WEBGL_lose_context");
          lose.loseContext();
          await new Promise((done) => setTimeout(done, 50));
          lose.restoreContext();
          await back;
        }"""
    )
    shown.settle()
    assert np.abs(shown.seen() - exposed(shown.light)).max() <= 1


def opened_with(browser: Any, made: Shown, script: str) -> Any:
    """The page in a browser that lacks something."""
    tab = browser.new_page()
    tab.add_init_script(script)
    tab.goto(made.address)
    tab.wait_for_selector("#stage[aria-busy='false']")
    return tab


def test_a_browser_without_webgpu_has_an_sdr_canvas_and_says_what_is_brighter(made, browser):
    tab = opened_with(browser, made, "delete Navigator.prototype.gpu")
    assert tab.locator("#hdr").is_hidden()
    assert tab.locator("#canvas-kind").inner_text() == "SDR canvas"
    share = 100 * (luminance(made.light) > 1.001).mean()
    assert tab.locator("#hint").inner_text().startswith(f"{share:.1f} % of it is brighter than this canvas")
    tab.keyboard.press("[")
    tab.keyboard.press("h")
    assert tab.locator("#hint").inner_text() == ""
    tab.close()


def test_a_browser_without_webgl2_is_told_so(made, browser):
    tab = opened_with(browser, made, "HTMLCanvasElement.prototype.getContext = () => null")
    assert "no WebGL2" in tab.locator("#message").inner_text()
    tab.close()


def test_two_fingers_zoom_around_their_middle(made, browser):
    context = browser.new_context(viewport={"width": 600, "height": 600}, has_touch=True)
    tab = context.new_page()
    tab.goto(made.address)
    tab.wait_for_selector('#stage[data-drawn="0"]')
    tab.keyboard.press("1")
    box = tab.locator("#stage").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    session = context.new_cdp_session(tab)
    for kind, apart in (("touchStart", 20), ("touchMove", 30), ("touchMove", 40), ("touchMove", 60)):
        points = [{"x": x - apart, "y": y, "id": 0}, {"x": x + apart, "y": y, "id": 1}]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    zoom = int(tab.locator("#zoom-value").inner_text().rstrip(" %"))
    context.close()
    assert zoom == pytest.approx(300, abs=3)


@pytest.fixture(scope="module")
def bench(made: Shown, browser: Any) -> Iterator[Any]:
    """An empty tab with the parts of the page that need none of it."""
    tab = browser.new_page()
    blank = Path(made.report.output).with_name("blank.html")
    blank.write_text("<!doctype html><title>blank</title>", encoding="utf-8")
    tab.goto(blank.as_uri())
    for name in ("codec.js", "viewport.js", "shaders.js", "renderers.js"):
        tab.add_script_tag(content=(ASSETS / name).read_text(encoding="utf-8"))
    yield tab
    tab.close()


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
def test_an_hdr_canvas_is_drawn_in_srgb_that_goes_on_above_white_and_below_black(bench, made, stops):
    light = made.light.copy()
    light[0, :5] = [[-0.5, 1, 1], [-0.001, 0.2, 0.2], [0, 0, 0], [60, 60, 60], [1, 1, 1]]
    drawn = drawn_by_webgpu(bench, light, {"gain": 2.0**stops})
    wanted = linear_to_srgb(light.astype(np.float64) * 2.0**stops)
    assert wanted.max() > 3
    np.testing.assert_allclose(drawn, wanted, rtol=2e-3, atol=1e-4)


def test_an_hdr_canvas_has_the_same_false_colours(bench, made):
    drawn = drawn_by_webgpu(bench, made.light, {"gain": 1, "shows": 4})
    np.testing.assert_array_equal(np.rint(drawn * 255), false_colour(made.light))
