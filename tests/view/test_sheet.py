"""The sheet: what its parts show, pixel by pixel."""

import numpy as np
import pytest
from PIL import Image

from dcdr_deploy.errors import InputError, OutputError
from dcdr_deploy.imaging import linear_to_srgb, write_image
from dcdr_deploy.view.false_colour import BANDS, false_colour
from dcdr_deploy.view.picture import load
from dcdr_deploy.view.sheet import EXPOSURES, _draw_histogram, draw_sheet, write_sheet

SIZE = (200, 320)


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """A ramp over all stops with an input, larger than the least cell, so that sheets hold its pixels as they are."""
    folder = tmp_path_factory.mktemp("sheet")
    light = np.tile(np.geomspace(2.0**-9, 2.0**5, SIZE[1], dtype=np.float32)[None, :, None], (SIZE[0], 1, 3))
    light[:, :, 1] *= np.linspace(1, 0.5, SIZE[0], dtype=np.float32)[:, None]
    write_image(folder / "ramp.exr", light / 32, peak=32, metadata={"peak": "32"})
    codes = np.rint(linear_to_srgb(np.clip(light, 0, 1)) * 255).astype(np.uint8)
    Image.fromarray(codes).save(folder / "ramp.png")
    return load(folder / "ramp.exr", folder / "ramp.png")


def places(sheet: np.ndarray, picture: np.ndarray) -> list[tuple[int, int]]:
    """Where a picture lies on a sheet."""
    height, width = picture.shape[:2]
    corner = (sheet[: len(sheet) - height + 1, : sheet.shape[1] - width + 1] == picture[0, 0]).all(-1)
    return [
        (y, x)
        for y, x in np.argwhere(corner)
        if (sheet[y, x : x + width] == picture[0]).all() and (sheet[y : y + height, x : x + width] == picture).all()
    ]


def test_the_sheet_holds_the_input_false_colour_and_every_exposure_in_order(shown):
    sheet = np.asarray(draw_sheet(shown))
    exposures = [
        np.rint(linear_to_srgb(np.clip(shown.light * 2.0**ev, 0, 1)) * 255).astype(np.uint8) for ev in EXPOSURES
    ]
    (at_input,) = [place for place in places(sheet, shown.sdr) if place[0] < SIZE[0]]
    (at_colour,) = places(sheet, false_colour(shown.light))
    assert at_input[0] == at_colour[0]
    assert at_input[1] < at_colour[1]
    found = [places(sheet, exposure)[-1] for exposure in exposures]
    assert found == sorted(found)
    assert [EXPOSURES[0], EXPOSURES[-1]] == [-4, 4]


def test_the_legend_holds_every_colour_of_the_picture_from_dark_to_bright(shown):
    sheet = np.asarray(draw_sheet(shown))
    rows = [row for row in sheet if {tuple(pixel) for pixel in row} >= set(BANDS)]
    assert len(rows) > 10
    legend = [tuple(pixel) for pixel in rows[len(rows) // 2]]
    assert sorted(BANDS, key=legend.index) == list(BANDS)


def test_the_label_of_sdr_white_is_readable_where_bars_reach_it(tmp_path):
    drawn = []
    for stops in (-6.0, 0.5):
        write_image(tmp_path / "flat.exr", np.full((40, 40, 3), 2.0**stops / 8, np.float32), peak=8)
        drawn.append(np.asarray(_draw_histogram(load(tmp_path / "flat.exr"), (480, 300), 203)))
    (y, x) = np.nonzero((drawn[0][:60, 272:] != drawn[0][0, 0]).any(-1))  # right of the line at white
    label = np.s_[y.min() : y.max() + 1, 272 + x.min() : 272 + x.max() + 1]
    assert (drawn[1] == BANDS[9]).all(-1).any()
    np.testing.assert_array_equal(drawn[1][label], drawn[0][label])


def test_without_an_input_a_tone_mapped_picture_takes_its_place(shown):
    from dataclasses import replace

    from dcdr_deploy.imaging import preview_sdr

    alone = replace(shown, sdr=None, sdr_path=None)
    sheet = np.asarray(draw_sheet(alone))
    assert len(places(sheet, preview_sdr(shown.light / np.float32(32), 32))) == 1


@pytest.mark.parametrize("size", [(1, 1), (3, 700), (700, 3), (40, 60)])
def test_any_shape_of_picture_has_a_sheet(tmp_path, size):
    write_image(tmp_path / "a.exr", np.full((*size, 3), 0.25, np.float32), peak=8)
    height, width = write_sheet(load(tmp_path / "a.exr"), tmp_path / "new" / "sheet.jpg", cell=128)
    with Image.open(tmp_path / "new" / "sheet.jpg") as sheet:
        assert (sheet.format, sheet.size) == ("JPEG", (width, height))


def test_nothing_wrong_is_written(tmp_path, shown):
    for output, settings, error in [
        ("a.gif", {}, OutputError),
        ("a.png", {"cell": 10}, InputError),
        ("a.png", {"reference_white": 0}, InputError),
        ("a.png", {"reference_white": float("nan")}, InputError),
    ]:
        with pytest.raises(error):
            write_sheet(shown, tmp_path / output, **settings)
    with pytest.raises(InputError, match="overwritten"):
        write_sheet(shown, shown.sdr_path)
    assert list(tmp_path.iterdir()) == []
