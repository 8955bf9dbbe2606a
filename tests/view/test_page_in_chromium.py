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
from opened_page import HEIGHT, NAMES, WHITE, WIDTH, OpenedPage, exposed
from PIL import Image

from dcdr_deploy.imaging import luminance, srgb_to_linear
from dcdr_deploy.view.false_colour import BANDS, LOWEST, false_colour

SURROUND = [0x1C] * 3


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def made(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> OpenedPage:
    return OpenedPage(browser, tmp_path_factory.mktemp("page"))


@pytest.fixture
def shown(made: OpenedPage) -> OpenedPage:
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


def test_figures_of_the_read_out_do_not_run_into_each_other(shown):
    shown.point(20, 30)
    place, before, after = (
        shown.tab.eval_on_selector(
            selector,
            """(shown) => {
                const text = document.createRange();
                text.selectNodeContents(shown);
                const { left, right } = text.getBoundingClientRect();
                return [left, right];
            }""",
        )
        for selector in ("#place", "#value-before", "#value-after")
    )
    assert place[1] < before[0] < before[1] < after[0]


def test_the_exposure_does_not_change_the_read_out(shown):
    shown.point(20, 30)
    before = shown.text("#value-after")
    shown.slide("#exposure", -3)
    assert shown.text("#value-after") == before


def test_beside_the_picture_nothing_is_read_out(shown):
    shown.point(WIDTH + 5, 10)
    assert shown.text("#value-after") == ""


def exposure(shown: OpenedPage) -> float:
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


def opened_with(browser: Any, made: OpenedPage, script: str) -> Any:
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
