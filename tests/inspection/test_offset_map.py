"""Where kernels look is read off a model exactly, and drawn where it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dcdr_deploy.errors import InputError, ModelError
from dcdr_deploy.inspection import drawing as offset_picture
from dcdr_deploy.inspection.offsets import (
    BlockOffsets,
    OffsetSource,
    Window,
    choose_pixels,
    looks_at,
    open_source,
    overexposed,
    place_window,
)

torch = pytest.importorskip("torch")

Dcdr = Callable[..., Result]

SHIFT = (1.25, -0.5)
"""Rows and columns by which every tap of the first block of the model below is moved."""


@pytest.fixture(scope="session")
def shifting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DCDR-UNet whose first block looks 1.25 rows down and half a column left, and whose others look straight."""
    from dcdr_deploy.models import DCDRUNet, DCDRUNetConfig, initialise

    network = DCDRUNet(DCDRUNetConfig(width=8, condition_width=4, sft_hidden=2, tone_width=6, blocks=(1, 1, 1)))
    initialise(network, 1)
    first = next(iter(network.deformable_blocks().values()))
    with torch.no_grad():
        first.offset.bias.copy_(torch.tensor(SHIFT * 9))
    path = tmp_path_factory.mktemp("offsets") / "shifting.pth"
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture(scope="session")
def shifting_onnx(shifting: Path) -> Path:
    import onnx

    from dcdr_deploy.export.checkpoint import store_metadata
    from dcdr_deploy.export.onnx_export import to_onnx
    from dcdr_deploy.modelfile.metadata import ModelMetadata
    from dcdr_deploy.models import load_checkpoint

    model = to_onnx(load_checkpoint(shifting).network)
    store_metadata(model, ModelMetadata())
    onnx.save(model, str(shifting.with_suffix(".onnx")))
    return shifting.with_suffix(".onnx")


@pytest.fixture
def sky(tmp_path: Path) -> Path:
    """80x64 pixels, grey, with a white square of 20 at x 40, y 8."""
    pixels = np.full((64, 80, 3), 100, np.uint8)
    pixels[8:28, 40:60] = 255
    Image.fromarray(pixels).save(tmp_path / "sky.png")
    return tmp_path / "sky.png"


def block(scale: int = 2, value: float = 0.0, size: tuple[int, int] = (8, 8)) -> BlockOffsets:
    return BlockOffsets("block", scale, np.full((9, 2, *size), value, np.float32))


def source(multiple: int = 4, fixed: tuple[int, int] | None = None) -> OffsetSource:
    return OffsetSource(multiple, fixed, lambda picture: [])


@given(st.sampled_from([2, 4]), st.integers(0, 15), st.integers(0, 15))
def test_without_offsets_taps_surround_the_cell_of_the_pixel(scale: int, row: int, column: int) -> None:
    taps = block(scale).taps((row, column))
    centre = taps[4]
    assert np.array_equal(taps - centre, scale * np.mgrid[-1:2, -1:2].reshape(2, 9).T)
    assert np.abs(centre - (row, column)).max() <= (scale - 1) / 2
    assert np.array_equal(taps, block(scale).taps((row, column), moved=False))


def test_offsets_move_taps_by_their_scale() -> None:
    moved = BlockOffsets("block", 4, np.zeros((9, 2, 8, 8), np.float32))
    moved.values[5, :, 2, 3] = (0.5, -1.25)  # rows, columns of the tap right of the centre
    difference = moved.taps((9, 14)) - moved.taps((9, 14), moved=False)
    assert difference[5].tolist() == [2.0, -5.0]
    assert not np.delete(difference, 5, axis=0).any()
    assert moved.reach()[2, 3] == 5.0


@pytest.mark.parametrize("kind", ["shifting", "shifting_onnx"])
def test_offsets_of_a_model_are_read_block_by_block(kind: str, request: pytest.FixtureRequest) -> None:
    opened = open_source(request.getfixturevalue(kind))
    blocks = opened.read(np.random.default_rng(0).random((16, 24, 3), np.float32))
    assert [(each.name, each.scale, each.values.shape) for each in blocks] == [
        ("restoration.encoder.0", 2, (9, 2, 8, 12)),
        ("restoration.middle.0", 4, (9, 2, 4, 6)),
        ("restoration.decoder.0", 2, (9, 2, 8, 12)),
    ]
    assert np.allclose(blocks[0].values, np.reshape(SHIFT, (1, 2, 1, 1)))
    assert not blocks[1].values.any()
    assert not blocks[2].values.any()


def test_overexposed_is_grey_above_240() -> None:
    codes = np.array([[[240, 240, 240], [241, 241, 241], [255, 0, 0], [255, 255, 130]]], np.float32)
    assert overexposed(codes / 255).tolist() == [[False, True, False, True]]


def test_chosen_pixels_are_overexposed_apart_and_those_that_reach_farthest() -> None:
    mask = np.zeros((64, 64), bool)
    mask[:, :40] = True
    values = np.zeros((9, 2, 32, 32), np.float32)
    values[3, 1, 10, 5] = 2.0  # inside the mask: rows 20 and 21, columns 10 and 11
    values[3, 1, 10, 30] = 9.0  # outside
    chosen = choose_pixels(mask, [BlockOffsets("block", 2, values)], 3)
    assert chosen[0] == (20, 10)
    assert len(chosen) == 3
    assert all(mask[pixel] for pixel in chosen)
    distances = [np.hypot(*np.subtract(a, b)) for a in chosen for b in chosen if a != b]
    assert min(distances) > 8


def test_small_overexposed_areas_give_fewer_pixels() -> None:
    mask = np.zeros((64, 64), bool)
    mask[5:7, 5:7] = True
    assert len(choose_pixels(mask, [block(2, 0.0, (32, 32))])) == 1


def test_taps_are_told_apart_by_what_they_read() -> None:
    mask = np.zeros((4, 4), bool)
    mask[1, 2] = True
    assert looks_at(np.array([[1.4, 1.6], [0, 0], [-1, 2], [3, 3.6]], np.float32), mask) == [
        "overexposed",
        "kept",
        "outside",
        "outside",
    ]


def test_a_large_picture_is_measured_where_most_is_overexposed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dcdr_deploy.inspection.offsets.WINDOW", 40)  # tried every 5 pixels
    mask = np.zeros((70, 101), bool)
    mask[40:60, 70:86] = True
    window = place_window(mask, source())
    assert (window.height, window.width) == (40, 40)
    assert window.of(mask).sum() == mask.sum()
    assert window.top % 4 == window.left % 4 == 0


@given(st.integers(8, 60), st.integers(8, 60), st.data())
def test_a_window_lies_inside_and_holds_the_named_pixel(height: int, width: int, data: st.DataObject) -> None:
    pixel = (data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1)))
    window = place_window(np.zeros((height, width), bool), source(), [pixel])
    assert 0 <= window.top <= pixel[0] < window.top + window.height <= height
    assert 0 <= window.left <= pixel[1] < window.left + window.width <= width


def test_a_pixel_at_the_edge_of_an_odd_picture_can_be_named() -> None:
    window = place_window(np.zeros((50, 51), bool), source(), [(49, 50)])
    assert window == Window(2, 3, 48, 48)


def test_a_model_of_one_size_gets_a_window_of_that_size() -> None:
    assert place_window(np.zeros((50, 50), bool), source(fixed=(16, 24)), [(40, 10)]) == Window(32, 0, 16, 24)
    with pytest.raises(InputError, match="takes 64x64"):
        place_window(np.zeros((50, 50), bool), source(fixed=(64, 64)))


@pytest.mark.parametrize("kind", ["shifting", "shifting_onnx"])
def test_the_drawing_and_its_figures(kind: str, sky: Path, dcdr: Dcdr, request: pytest.FixtureRequest) -> None:
    result = dcdr("inspect", request.getfixturevalue(kind), "--offsets", sky, "--json")
    assert result.exit_code == 0, result.output
    data = json.loads(result.stdout)
    assert data["output"] == "sky.offsets.png"
    assert data["window"] == {"x": 0, "y": 0, "width": 80, "height": 64}
    assert data["overexposed"] == pytest.approx(20 * 20 / (64 * 80))
    assert data["blocks"]["restoration.encoder.0"]["max"] == pytest.approx(1.25)
    assert data["blocks"]["restoration.decoder.0"]["max"] == 0
    assert 2 <= len(data["pixels"]) <= 4
    assert all(40 <= pixel["x"] < 60 and 8 <= pixel["y"] < 28 for pixel in data["pixels"])
    with Image.open("sky.offsets.png") as drawing:
        assert drawing.mode == "RGB"
        assert drawing.height > 4 * offset_picture.CELL


def test_taps_are_drawn_where_they_read_and_in_the_colour_of_what_they_read() -> None:
    picture = np.ones((64, 64, 3), np.float32)
    picture[:, 32:] = 0.3
    mask = overexposed(picture)
    values = np.zeros((9, 2, 32, 32), np.float32)
    values[5, 1] = 5  # the tap right of the centre looks ten pixels further
    drawing = offset_picture.draw_offsets(picture, mask, [BlockOffsets("b", 2, values)], [(32, 28)], ["28,32"])
    pixels = np.asarray(drawing).astype(int)
    kept, clipped = (offset_picture.COLOURS[kind] for kind in ("kept", "overexposed"))
    cells = pixels[: -offset_picture.LABEL]
    green = np.argwhere((cells == kept).all(-1))
    red = np.argwhere((cells == clipped).all(-1))
    assert len(green) > 20
    assert len(red) > 100
    assert green[:, 1].max() > red[:, 1].max()


@pytest.mark.parametrize("far", [1e6, 1e30])
def test_kernels_that_look_beyond_all_measure_are_drawn_as_large_as_the_picture(far: float) -> None:
    picture = np.ones((16, 24, 3), np.float32)
    drawing = offset_picture.draw_offsets(picture, overexposed(picture), [block(2, far, (8, 12))], [(3, 4)], ["4,3"])
    usual = offset_picture.draw_offsets(picture, overexposed(picture), [block(2, 0, (8, 12))], [(3, 4)], ["4,3"])
    assert drawing.size == usual.size


def test_offsets_that_are_no_numbers_are_told_with_their_block(
    sky: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = OffsetSource(4, None, lambda picture: [block(value=np.nan, size=(32, 40))])
    monkeypatch.setattr(offset_picture, "open_source", lambda model: broken)
    with pytest.raises(
        ModelError, match=r"m\.onnx: offsets of block are NaN or infinite on .*sky\.png; export it again"
    ):
        offset_picture.inspect_offsets(tmp_path / "m.onnx", sky, tmp_path / "out.png", [])
    assert not (tmp_path / "out.png").exists()


def test_of_windows_with_equally_much_the_first_is_measured() -> None:
    mask = np.zeros((5000, 1024), np.bool_)
    mask[2600, 500] = mask[4300, 500] = True
    window = place_window(mask, source())
    assert window.top <= 2600 < window.top + window.height


def test_named_pixels_are_drawn_whatever_their_level(shifting: Path, sky: Path, dcdr: Dcdr) -> None:
    result = dcdr(
        "inspect", shifting, "--offsets", sky, "--at", "3,60", "--at", "41,9", "-o", "here/taps.png", "--json"
    )
    data = json.loads(result.stdout)
    assert [(pixel["x"], pixel["y"]) for pixel in data["pixels"]] == [(3, 60), (41, 9)]
    assert data["pixels"][0]["kept_taps"]["restoration.middle.0"] == 4  # the others lie below and left of the picture
    assert Path("here/taps.png").is_file()


def test_the_text_gives_a_line_for_each_block(shifting: Path, sky: Path, dcdr: Dcdr) -> None:
    lines = dcdr("inspect", shifting, "--offsets", sky).stdout.splitlines()
    assert lines[0] == "wrote sky.offsets.png"
    row = next(line.split() for line in lines if line.startswith("restoration.encoder.0"))
    assert row[1:] == ["x0.5", "0.88", "1.25", "1.25"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("model.pth", "--offsets", "missing.png"), "missing.png"),
        (("model.pth", "--offsets", "grey.png"), "no pixel is overexposed"),
        (("model.pth", "--offsets", "tiny.png"), "too small"),
        (("model.pth", "--offsets", "grey.png", "--at", "80,0"), "outside the picture of 80x64"),
        (("model.pth", "--offsets", "grey.png", "--at", "middle"), "write X,Y"),
        (("model.pth", "--offsets", "grey.png", "-o", "taps.jpg"), "suffix .png"),
        (("model.pth", "--at", "1,1"), "belong to --offsets"),
        (("hdrunet.pth", "--offsets", "grey.png"), "(HDRUNet) has no deformable blocks"),
        (("plain.pth", "--offsets", "grey.png"), "(DCDR-UNet) has no deformable blocks"),
        (("gain.onnx", "--offsets", "grey.png"), "holds no dcdr::DCRB nodes"),
        (("model.engine", "--offsets", "grey.png"), "name the file that it was built from"),
        (("missing.pth", "--offsets", "grey.png"), "no such model file"),
    ],
)
def test_wrong_moves_exit_with_2_and_a_sentence(
    shifting: Path, tiny_model: Path, dcdr: Dcdr, arguments: tuple[str, ...], complaint: str
) -> None:
    from dcdr_deploy.models import DCDRUNet, DCDRUNetConfig, HDRUNet, HDRUNetConfig

    Path("model.pth").write_bytes(shifting.read_bytes())
    Path("gain.onnx").write_bytes(tiny_model.read_bytes())
    Path("model.engine").write_bytes(b"engine")
    torch.save(HDRUNet(HDRUNetConfig(2, 2, 2, 2, (1, 1, 1))).state_dict(), "hdrunet.pth")
    torch.save(DCDRUNet(DCDRUNetConfig(2, 2, 2, 2, (1, 1, 1), deformable=False)).state_dict(), "plain.pth")
    Image.fromarray(np.full((64, 80, 3), 100, np.uint8)).save("grey.png")
    Image.fromarray(np.full((3, 80, 3), 255, np.uint8)).save("tiny.png")
    before = set(Path.cwd().iterdir())
    result = dcdr("inspect", *arguments)
    assert result.exit_code == 2
    assert complaint in result.stderr
    assert "Traceback" not in result.output
    assert set(Path.cwd().iterdir()) == before


def test_an_unknown_kind_of_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(ModelError, match=r"checkpoints and ONNX files \(\.onnx, \.pth"):
        open_source(tmp_path / "a.txt")
