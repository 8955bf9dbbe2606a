"""Radiance pictures: every orientation, both run lengths, and all that the header says about the light."""

from __future__ import annotations

import re

import numpy as np
import pytest

from dcdr_deploy.errors import InputError
from dcdr_deploy.imaging import primaries as p
from dcdr_deploy.imaging import write_image
from dcdr_deploy.imaging.radiance import decode_rgbe, encode_rgbe, run_length_encode
from dcdr_deploy.imaging.read_hdr import read_hdr

HEIGHT, WIDTH = 12, 20


def scene() -> np.ndarray:
    """Values that RGBE holds exactly."""
    return decode_rgbe(encode_rgbe(np.random.default_rng(0).uniform(0.1, 4, (HEIGHT, WIDTH, 3)).astype(np.float32)))


def hdr(scanlines: np.ndarray, resolution: str, *lines: str, packed: bool = True, kind: str = "rgbe") -> bytes:
    head = "\n".join(["#?RADIANCE", *lines, f"FORMAT=32-bit_rle_{kind}", "", resolution, ""]).encode()
    rgbe = encode_rgbe(scanlines)
    return head + (run_length_encode(rgbe) if packed else rgbe.tobytes())


@pytest.fixture
def read(tmp_path):
    def read_bytes(data: bytes):
        path = tmp_path / "a.hdr"
        path.write_bytes(data)
        return read_hdr(path)

    return read_bytes


UPRIGHT = f"-Y {HEIGHT} +X {WIDTH}"
ORIENTATIONS = {
    UPRIGHT: lambda a: a,
    f"-Y {HEIGHT} -X {WIDTH}": lambda a: a[:, ::-1],
    f"+Y {HEIGHT} -X {WIDTH}": lambda a: a[::-1, ::-1],
    f"+Y {HEIGHT} +X {WIDTH}": lambda a: a[::-1],
    f"+X {WIDTH} -Y {HEIGHT}": lambda a: a.transpose(1, 0, 2),
    f"+X {WIDTH} +Y {HEIGHT}": lambda a: a[::-1].transpose(1, 0, 2),
    f"-X {WIDTH} -Y {HEIGHT}": lambda a: a[:, ::-1].transpose(1, 0, 2),
    f"-X {WIDTH} +Y {HEIGHT}": lambda a: a[::-1, ::-1].transpose(1, 0, 2),
}


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("resolution", ORIENTATIONS)
def test_all_eight_orientations_come_out_upright(read, resolution, packed):
    stored = np.ascontiguousarray(ORIENTATIONS[resolution](scene()))
    assert np.array_equal(read(hdr(stored, resolution, packed=packed)).pixels, scene())


def test_exposures_and_colour_corrections_are_multiplied_up_and_divided_out(read):
    lines = ("EXPOSURE=2", "EXPOSURE = 4.0", "COLORCORR=1 2 4", "COLORCORR= 2 1 1")
    picture = read(hdr(scene(), UPRIGHT, *lines))
    assert picture.pixels == pytest.approx(scene() / np.array([16, 16, 32], np.float32))
    assert any("was divided out" in note for note in picture.notes)


@pytest.mark.parametrize("line", ["EXPOSURE=0.0000", "EXPOSURE=-1", "EXPOSURE=none", "EXPOSURE=inf", "COLORCORR=1 0 1"])
def test_an_exposure_that_nothing_can_be_divided_by_says_nothing(read, line):
    picture = read(hdr(scene(), UPRIGHT, line))
    assert np.array_equal(picture.pixels, scene())
    assert any("says nothing" in note for note in picture.notes)


def test_primaries_are_converted(read):
    stated = "PRIMARIES=0.708 0.292 0.170 0.797 0.131 0.046 0.3127 0.3290"
    picture = read(hdr(scene(), UPRIGHT, stated))
    assert picture.pixels == pytest.approx(scene() @ p.to_rec709(p.REC2020).T, rel=1e-4, abs=1e-4)
    assert any("Rec. 2020 by its PRIMARIES" in note for note in picture.notes)
    own = read(hdr(scene(), UPRIGHT, "PRIMARIES=0.64 0.33 0.30 0.60 0.15 0.06 0.3127 0.3290"))
    assert np.array_equal(own.pixels, scene())
    assert own.notes == ()
    for nonsense in ("PRIMARIES=1 2 3", "PRIMARIES=a b c d e f g h", "PRIMARIES=.3 .3 .3 .3 .3 .3 .3 .3"):
        passed_over = read(hdr(scene(), UPRIGHT, nonsense))
        assert np.array_equal(passed_over.pixels, scene())
        assert any("passed over" in note for note in passed_over.notes)


def test_xyz_colours_become_rec_709(read):
    stored = scene() @ p.to_xyz(p.REC709).T.astype(np.float32)
    picture = read(hdr(stored, UPRIGHT, kind="xyze"))
    assert picture.pixels == pytest.approx(scene(), abs=0.1)  # three mantissas of eight bits
    assert any("CIE XYZ" in note for note in picture.notes)


def test_older_run_lengths_and_flat_lines_may_be_mixed(read):
    rgbe = encode_rgbe(scene())
    rgbe[:, 5:12] = rgbe[:, 4:5]
    rgbe[3, 1:] = rgbe[3, :1]
    body = b""
    for row, line in enumerate(rgbe):
        if row % 3 == 0:
            body += run_length_encode(line[None])
        elif row % 3 == 1:
            body += line.tobytes()
        else:
            body += line[:5].tobytes() + bytes((1, 1, 1, 7)) + line[12:].tobytes()
    head = f"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n{UPRIGHT}\n".encode()
    assert np.array_equal(read(head + body).pixels, decode_rgbe(rgbe))


def test_long_repetitions_are_counted_in_digits_of_256(read):
    width = 1000
    pixel = encode_rgbe(np.full((1, 1, 3), 0.5, np.float32)).tobytes()
    repeats = width - 1
    body = pixel + bytes((1, 1, 1, repeats & 255)) + bytes((1, 1, 1, repeats >> 8))
    picture = read(f"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 1 +X {width}\n".encode() + body)
    assert np.unique(picture.pixels).tolist() == [0.5]


def test_other_programs_headers_and_line_ends_are_taken(read):
    data = hdr(scene(), UPRIGHT).replace(b"#?RADIANCE", b"#?RGBE", 1)
    assert np.array_equal(read(data).pixels, scene())
    head, _, body = data.partition(f"{UPRIGHT}\n".encode())
    windows = head.replace(b"\n", b"\r\n") + f"{UPRIGHT}\r\n".encode() + body
    assert np.array_equal(read(windows).pixels, scene())


@pytest.mark.parametrize("size", [7, 8, 40])
def test_what_the_tool_writes_is_read_back(tmp_path, size):
    linear = np.random.default_rng(1).uniform(0, 1, (5, size, 3)).astype(np.float32)
    write_image(tmp_path / "a.hdr", linear, peak=8)
    assert read_hdr(tmp_path / "a.hdr").pixels == pytest.approx(8 * linear, abs=8 / 128)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (hdr(scene(), UPRIGHT)[:-1], "is damaged"),
        (hdr(scene(), UPRIGHT)[:80], "is damaged"),
        (hdr(scene(), UPRIGHT, packed=False)[:-1], "is damaged"),
        (hdr(scene(), "-Y 12"), "is damaged.*no resolution"),
        (hdr(scene(), "-Y 12 +Y 20"), "is damaged.*no resolution"),
        (hdr(scene(), f"-Y {'9' * 5000} +X 20"), "is damaged.*no resolution"),
        (hdr(scene(), "-Y 99999 +X 99999"), "99999 x 99999"),
        (hdr(scene(), UPRIGHT, kind="lab"), "cannot be decoded here.*32-bit_rle_lab is not supported"),
        (hdr(scene(), UPRIGHT, "EXPOSURE=1e-300", "EXPOSURE=1e-300"), "exposures multiply to"),
    ],
)
def test_what_cannot_be_read_is_one_line(read, data, said):
    with pytest.raises(InputError) as told:
        read(data)
    assert re.search(said, str(told.value))
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("stops", ["-1", "0.5", "2"])
def test_what_is_told_under_a_name_of_the_format_changes_no_light(tmp_path, stops):
    told = {"exposure": stops, "format": "of a book", "primaries": "none", "view": "from above", "scale": "auto"}
    write_image(tmp_path / "a.hdr", scene(), peak=1, metadata=told)
    picture = read_hdr(tmp_path / "a.hdr")
    np.testing.assert_array_equal(picture.pixels, scene())
    assert dict(picture.texts).items() >= told.items()
    assert not picture.notes


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n", "\v", "\x1c", "\x85", "\u2028"])
@pytest.mark.parametrize("suffix", [".hdr", ".tif", ".png"])
def test_no_text_is_a_line_of_the_header_of_its_own(tmp_path, suffix, end):
    """A model's name comes from a file of somebody else."""
    light = scene().clip(0, 1)
    write_image(tmp_path / f"a{suffix}", light, peak=1, metadata={"peak": "1", "model": f"m{end}EXPOSURE=4{end}peak=9"})
    picture = read_hdr(tmp_path / f"a{suffix}")
    np.testing.assert_allclose(picture.pixels, light, atol=2**-7)
    assert picture.peak == 1
    assert picture.texts["model"] == "m EXPOSURE=4 peak=9"
