"""OpenEXR as truth, prediction, target or panorama: what the file says is what is read, in linear Rec. 709."""

from __future__ import annotations

import numpy as np
import OpenEXR
import pytest
from exr_files import exr_bytes, mip_exr_bytes

from dcdr_deploy.errors import InputError
from dcdr_deploy.imaging import primaries as p
from dcdr_deploy.imaging.read_hdr import HdrOptions, read_hdr

HEIGHT, WIDTH = 20, 30


def scene(height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Colours from dark to far above white, all inside Rec. 709."""
    rng = np.random.default_rng(0)
    return (rng.uniform(0.05, 1, (height, width, 3)) * np.exp(rng.uniform(-2, 2, (height, width, 1)))).astype(
        np.float32
    )


def planes(picture: np.ndarray, prefix: str = "") -> dict[str, np.ndarray]:
    return {f"{prefix}{name}": np.ascontiguousarray(picture[..., i]) for i, name in enumerate("RGB")}


@pytest.fixture
def read(tmp_path):
    def read_bytes(data: bytes, **options):
        path = tmp_path / "a.exr"
        path.write_bytes(data)
        return read_hdr(path, HdrOptions(**options))

    return read_bytes


def in_primaries(picture: np.ndarray, chromaticities: p.Chromaticities) -> np.ndarray:
    """Rec. 709 -> these primaries, white on white by Bradford, written out here from its definition."""
    bradford = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])

    def xyz(xy):
        return np.array([xy[0], xy[1], 1 - sum(xy)]) / xy[1]

    def to_xyz(eight):
        columns = np.array([[x, y, 1 - x - y] for x, y in np.reshape(eight[:6], (3, 2))]).T
        return columns @ np.diag(np.linalg.inv(columns) @ xyz(eight[6:]))

    scale = np.diag((bradford @ xyz(chromaticities[6:])) / (bradford @ xyz(p.REC709[6:])))
    adapt = np.linalg.inv(bradford) @ scale @ bradford
    matrix = np.linalg.inv(to_xyz(chromaticities)) @ adapt @ to_xyz(p.REC709)
    return (picture @ matrix.T).astype(np.float32)


@pytest.mark.parametrize("name", [name for name in p.NAMES if name != "Rec. 709"])
def test_any_primaries_become_rec_709_white_on_white_and_it_is_noted(read, name):
    chromaticities = p.NAMES[name]
    stored = in_primaries(scene(), chromaticities)
    picture = read(exr_bytes(planes(stored), attributes={"chromaticities": chromaticities}))
    assert picture.pixels == pytest.approx(scene(), rel=2e-4, abs=2e-4)
    (note,) = picture.notes
    assert name in note


def test_rec_709_by_name_or_by_default_is_left_as_it_is_without_a_note(read):
    for attributes in ({}, {"chromaticities": p.REC709}, {"colorInteropID": "lin_rec709_scene"}):
        picture = read(exr_bytes(planes(scene()), attributes=attributes))
        assert np.array_equal(picture.pixels, scene())
        assert picture.notes == ()


@pytest.mark.parametrize(
    ("name", "chromaticities"),
    [
        ("lin_ap1_scene", p.ACES_AP1),
        ("lin_ap0_scene", p.ACES_AP0),
        ("lin_rec2020_scene", p.REC2020),
        ("lin_p3d65_scene", p.DISPLAY_P3),
        ("lin_adobergb_scene", p.ADOBE_RGB),
    ],
)
def test_color_interop_id_alone_says_the_primaries(read, name, chromaticities):
    stored = in_primaries(scene(), chromaticities)
    assert read(exr_bytes(planes(stored), attributes={"colorInteropID": name})).pixels == pytest.approx(
        scene(), rel=2e-4, abs=2e-4
    )


def test_xyz_of_d65_keeps_d65_as_neutral(read):
    stored = (scene() @ p.to_xyz(p.REC709).T).astype(np.float32)
    picture = read(exr_bytes(planes(stored), attributes={"colorInteropID": "lin_ciexyzd65_scene"}))
    assert picture.pixels == pytest.approx(scene(), rel=1e-4, abs=1e-4)
    # The same by attributes: XYZ of an image whose neutral is D65.
    said = {"chromaticities": p.XYZ, "adoptedNeutral": p.REC709[6:]}
    assert read(exr_bytes(planes(stored), attributes=said)).pixels == pytest.approx(scene(), rel=1e-4, abs=1e-4)


def test_an_aces_container_is_ap0_without_further_words(read):
    stored = in_primaries(scene(), p.ACES_AP0)
    picture = read(exr_bytes(planes(stored), attributes={"acesImageContainerFlag": 1}))
    assert picture.pixels == pytest.approx(scene(), rel=2e-4, abs=2e-4)


def test_encoded_light_is_decoded_and_what_has_none_is_refused(read):
    light = scene()
    encoded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055).astype(np.float32)
    picture = read(exr_bytes(planes(encoded), attributes={"colorInteropID": "srgb_rec709_scene"}))
    assert picture.pixels == pytest.approx(light, rel=1e-4, abs=1e-5)
    gamma = (light ** (1 / 2.2)).astype(np.float32)
    picture = read(exr_bytes(planes(gamma), attributes={"colorInteropID": "g22_rec709_scene"}))
    assert picture.pixels == pytest.approx(light, rel=1e-4, abs=1e-5)
    for name, said in (("data", "data and no colours"), ("hlg_rec2020_display", "HLG")):
        with pytest.raises(InputError, match=said):
            read(exr_bytes(planes(light), attributes={"colorInteropID": name}))


def test_what_contradicts_itself_or_spans_no_colours_is_noted(read):
    stored = in_primaries(scene(), p.ACES_AP1)
    both = {"colorInteropID": "lin_ap1_scene", "chromaticities": p.REC2020}
    picture = read(exr_bytes(planes(stored), attributes=both))
    assert picture.pixels == pytest.approx(scene(), rel=2e-4, abs=2e-4)
    assert any("contradict" in note for note in picture.notes)
    nothing = {"chromaticities": (0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3127, 0.329)}
    picture = read(exr_bytes(planes(scene()), attributes=nothing))
    assert np.array_equal(picture.pixels, scene())
    assert any("passed over" in note for note in picture.notes)
    unknown = read(exr_bytes(planes(scene()), attributes={"colorInteropID": "lin_mars_scene"}))
    assert any("not known here" in note for note in unknown.notes)


# Luminance and chroma


def luminance_chroma(picture: np.ndarray) -> dict[str, np.ndarray]:
    y = picture @ np.array([0.2126, 0.7152, 0.0722])
    parts = {"Y": y, "RY": (picture[..., 0] - y) / y, "BY": (picture[..., 2] - y) / y}
    return {name: plane.astype(np.float32) for name, plane in parts.items()}


def test_luminance_and_chroma_channels_become_rgb(read):
    assert read(exr_bytes(luminance_chroma(scene()))).pixels == pytest.approx(scene(), rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("left_top", [(0, 0), (-4, -2), (2, 6)])
def test_subsampled_chroma_lies_on_even_coordinates_wherever_the_data_window_begins(read, left_top):
    left, top = left_top
    y, x = np.mgrid[top : top + HEIGHT, left : left + WIDTH].astype(np.float64)
    # Shares that grow linearly with the place are interpolated exactly, but for the last odd row and column.
    parts = {"Y": 2 + 0.01 * x * y, "RY": 0.01 * x, "BY": -0.02 * y}
    whole = {name: plane.astype(np.float32) for name, plane in parts.items()}
    half = {name: (np.ascontiguousarray(whole[name][::2, ::2]), 2, 2) for name in ("RY", "BY")}
    window = (left, top, left + WIDTH - 1, top + HEIGHT - 1)
    expected, found = (read(exr_bytes({**whole, **chroma}, window)).pixels for chroma in ({}, half))
    assert found[:-1, :-1] == pytest.approx(expected[:-1, :-1], rel=1e-5, abs=1e-5)
    assert found == pytest.approx(expected, rel=0.05, abs=0.05)


def test_y_beside_x_and_z_is_a_position_and_no_luminance(read):
    position = {name: scene()[..., 0].copy() for name in "XYZ"}
    with pytest.raises(InputError, match="channels X, Y, Z and not R, G, B"):
        read(exr_bytes(position))
    assert read(exr_bytes({"Y": scene()[..., 0].copy(), "Z": scene()[..., 1].copy()})).size == (HEIGHT, WIDTH)


# Windows, parts, layers, levels, types


def test_the_picture_is_the_display_window(read):
    picture = read(exr_bytes(planes(scene()), (-4, -2, WIDTH - 5, HEIGHT - 3), (0, 0, 19, 9)))
    assert picture.size == (10, 20)
    assert np.array_equal(picture.pixels, scene()[2:12, 4:24])
    assert any("outside the display window" in note for note in picture.notes)
    cropped = read(exr_bytes(planes(scene()), (3, 4, WIDTH + 2, HEIGHT + 3), (0, 0, WIDTH + 9, HEIGHT + 9)))
    assert np.array_equal(cropped.pixels[4 : HEIGHT + 4, 3 : WIDTH + 3], scene())
    assert cropped.pixels[:4].max() == 0
    assert any("are black" in note for note in cropped.notes)
    with pytest.raises(InputError, match="no pixels inside its display window"):
        read(exr_bytes(planes(scene()), (100, 100, 99 + WIDTH, 99 + HEIGHT), (0, 0, 9, 9)))


def write_parts(path, **channels: dict[str, np.ndarray]) -> None:
    OpenEXR.File([OpenEXR.Part({}, content, name) for name, content in channels.items()]).write(str(path))


def test_of_several_parts_the_only_one_in_colour_is_read(tmp_path):
    write_parts(tmp_path / "a.exr", depth={"Z": scene()[..., 0].copy()}, beauty=planes(scene()))
    picture = read_hdr(tmp_path / "a.exr")
    assert np.array_equal(picture.pixels, scene())
    assert picture.notes == ("of 2 parts 1 'beauty' was read",)


def test_several_pictures_are_listed_and_chosen_by_part(tmp_path):
    write_parts(tmp_path / "a.exr", left=planes(scene()), right=planes(2 * scene()))
    with pytest.raises(InputError, match=r"--part: 0 'left' \(B, G, R\); 1 'right' \(B, G, R\)"):
        read_hdr(tmp_path / "a.exr")
    for wanted in ("right", "1"):
        assert np.array_equal(read_hdr(tmp_path / "a.exr", HdrOptions(part=wanted)).pixels, 2 * scene())
    with pytest.raises(InputError, match="has no part 'middle'; its parts are 0 'left'"):
        read_hdr(tmp_path / "a.exr", HdrOptions(part="middle"))


def test_layers_are_found_by_their_prefixes(read):
    one = exr_bytes({**planes(scene(), "ViewLayer.Combined."), "ViewLayer.Depth.Z": scene()[..., 0].copy()})
    picture = read(one)
    assert np.array_equal(picture.pixels, scene())
    assert picture.notes == ("layer 'ViewLayer.Combined' was read",)
    main_and_other = exr_bytes({**planes(scene()), **planes(3 * scene(), "diffuse.")})
    assert np.array_equal(read(main_and_other).pixels, scene())
    assert np.array_equal(read(main_and_other, layer="diffuse").pixels, 3 * scene())
    two = exr_bytes({**planes(scene(), "diffuse."), **planes(scene(), "specular.")})
    with pytest.raises(InputError, match="--layer: diffuse, specular"):
        read(two)
    with pytest.raises(InputError, match="has no layer 'albedo'; its layers are diffuse, specular"):
        read(two, layer="albedo")


def test_part_and_layer_do_not_count_in_files_that_have_none(read):
    assert np.array_equal(read(exr_bytes(planes(scene())), part="beauty", layer="diffuse").pixels, scene())


def test_of_levels_the_largest_is_read_and_tiles_are_put_together(read, tmp_path):
    levels, size = [], (HEIGHT, WIDTH)
    while True:
        levels.append(planes(scene(*size) if levels else scene()))
        if max(size) == 1:
            break
        size = tuple(max(1, edge // 2) for edge in size)
    assert np.array_equal(read(mip_exr_bytes(levels)).pixels, scene())
    tiles = OpenEXR.TileDescription()
    tiles.xSize = tiles.ySize = 16
    header = {"type": OpenEXR.tiledimage, "tiles": tiles}
    OpenEXR.File(header, planes(scene())).write(str(tmp_path / "tiled.exr"))
    assert np.array_equal(read_hdr(tmp_path / "tiled.exr").pixels, scene())


def test_halves_floats_and_a_mixture_are_read_and_whole_numbers_are_refused(read):
    mixed = planes(scene())
    mixed["G"] = mixed["G"].astype(np.float16)
    assert read(exr_bytes(mixed)).pixels == pytest.approx(scene(), rel=1e-3)
    numbers = {name: (100 * plane).astype(np.uint32) for name, plane in planes(scene()).items()}
    with pytest.raises(InputError, match="stores R as whole numbers"):
        read(exr_bytes(numbers))


def test_deep_files_are_refused_by_name(tmp_path):
    lists = np.empty((4, 5), dtype=object)
    for place in np.ndindex(4, 5):
        lists[place] = np.ones(1 + place[1] % 2, np.float32)
    header = {"type": OpenEXR.deepscanline, "compression": OpenEXR.ZIPS_COMPRESSION}
    OpenEXR.File(header, dict.fromkeys("RGBAZ", lists)).write(str(tmp_path / "deep.exr"))
    with pytest.raises(InputError, match="deep samples"):
        read_hdr(tmp_path / "deep.exr")


def test_large_windows_are_refused_by_the_header(read):
    data = exr_bytes(planes(scene()), display_window=(0, 0, 99_999, 99_999))
    with pytest.raises(InputError, match="100000 x 100000"):
        read(data)


# NaN and infinity


def test_nan_and_infinity_are_masked_and_counted_or_refused(read):
    broken = scene()
    broken[3, 5, 1], broken[4, 6] = np.nan, np.inf
    picture = read(exr_bytes(planes(broken)))
    assert picture.invalid is not None
    assert np.argwhere(picture.invalid).tolist() == [[3, 5], [4, 6]]
    assert np.isfinite(picture.pixels).all()
    assert picture.pixels[3, 5].tolist() == [0, 0, 0]
    assert picture.pixels[4, 6].tolist() == [scene()[~picture.invalid].max()] * 3
    assert picture.notes == ("NaN or infinity in 2 pixels, first at row 3, column 5: masked",)
    with pytest.raises(InputError, match="holds NaN or infinity in 2 pixels, first at row 3, column 5; write it again"):
        read(exr_bytes(planes(broken)), strict=True)
    with pytest.raises(InputError, match="in all its pixels"):
        read(exr_bytes(planes(np.full_like(broken, np.nan))))
