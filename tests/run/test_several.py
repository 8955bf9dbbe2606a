"""Several inputs, patterns, lists and numbered files: what is taken, what outputs are called, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcdr_deploy.errors import InputError
from dcdr_deploy.run import sequence
from dcdr_deploy.run.outputs import ConvertOptions
from dcdr_deploy.run.several import Inputs, named, paths_of, plan_several

EXR = ConvertOptions()


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(b"x")


def lookup(*arguments: str, listed: tuple[str, ...] = ()) -> Inputs:
    return named(arguments, lambda: listed)


def outputs(*arguments: str, target: str = "out/", listed: tuple[str, ...] = (), **options: object) -> dict[str, str]:
    """Inputs and outputs of a plan, by their paths."""
    inputs = lookup(*arguments, listed=listed)
    plan, folder = plan_several(inputs, target, ConvertOptions(**options), recursive=False)
    assert all(folder / job.name == job.output for job in plan.jobs)
    return {job.source.as_posix(): job.output.as_posix() for job in plan.jobs}


def test_files_patterns_and_folders_go_into_one_folder_in_the_order_given() -> None:
    make("z.jpg", "shots/f10.png", "shots/f2.png", "shots/notes.txt", "album/b.webp", "album/a.webp")
    assert list(outputs("z.jpg", "shots/*.png", "album").items()) == [
        ("z.jpg", "out/z.exr"),
        ("shots/f2.png", "out/f2.exr"),
        ("shots/f10.png", "out/f10.exr"),
        ("album/a.webp", "out/a.exr"),
        ("album/b.webp", "out/b.exr"),
    ]


def test_the_suffix_is_that_of_the_format() -> None:
    make("a.jpg", "b.jpg")
    assert set(outputs("a.jpg", "b.jpg", format="tif").values()) == {"out/a.tif", "out/b.tif"}


def test_a_list_has_a_path_a_line_or_ends_each_by_nul() -> None:
    assert paths_of(b"BMW 1.jpg\r\n\xc3\xa4.png\n") == ["BMW 1.jpg", "ä.png", ""]
    assert paths_of(b"BM two\nlines.jpg\0b.png\0") == ["BM two\nlines.jpg", "b.png", ""]  # as of find -print0


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01", "JPEG"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "PNG"),
        (b"\x76\x2f\x31\x01\x02\0\0\0", "OpenEXR"),
    ],
)
def test_a_picture_in_the_place_of_a_list_is_told(head: bytes, name: str) -> None:
    with pytest.raises(InputError, match=f"standard input should be a list of files, not {name}"):
        paths_of(head)


def test_one_file_by_name_or_by_pattern_may_become_a_file() -> None:
    make("a.jpg", "b.png")
    for argument in ("a.jpg", "a.*", "[a].jpg"):
        inputs = lookup(argument)
        assert (inputs.several, [file.as_posix() for file in inputs.files]) == (False, ["a.jpg"])


def test_a_file_whose_name_looks_like_a_pattern_is_that_file() -> None:
    make("a[1].jpg", "a1.jpg", "s.%04d.png")
    assert lookup("a[1].jpg").files == [Path("a[1].jpg")]
    assert lookup("s.%04d.png").files == [Path("s.%04d.png")]


def test_a_pattern_that_nothing_fits_is_one_line() -> None:
    with pytest.raises(InputError, match=r"\*\.heic: no file fits this pattern"):
        lookup("*.heic")


def test_lines_of_standard_input_are_names_and_patterns_too() -> None:
    make("a.jpg", "b c.jpg", "d.png")
    assert set(outputs("-", listed=("a.jpg", "", "b c.jpg", "*.png"))) == {"a.jpg", "b c.jpg", "d.png"}
    assert lookup("-", listed=("a.jpg",)).several  # the same rule however long the list is
    with pytest.raises(InputError, match="standard input lists no files"):
        lookup("-", listed=("",))
    with pytest.raises(InputError, match="name it once"):
        lookup("-", "-")


def test_what_is_named_twice_is_taken_once_which_is_told() -> None:
    make("a.jpg", "b.jpg")
    inputs = lookup("a.jpg", str(Path("a.jpg").absolute()), "./a.jpg", "*.jpg")
    assert inputs.files == [Path("a.jpg"), Path("b.jpg")]
    assert inputs.notes == ["3 files are named more than once; each is taken once"]


@pytest.mark.parametrize(
    "twice", [("album/a.1.png", "album"), ("album", "album/"), ("album/a.%d.png", "album/a.1.png")]
)
def test_a_file_and_what_it_belongs_to_take_it_once(twice: tuple[str, ...]) -> None:
    make("album/a.1.png")
    inputs = lookup(*twice)
    plan, _ = plan_several(inputs, "out", EXR, recursive=False)
    assert [job.name for job in plan.jobs] == ["a.1.exr"]
    assert plan.notes == ("1 file is named more than once; each is taken once",)


@pytest.mark.parametrize(
    ("files", "arguments"),
    [
        (("a/x.jpg", "b/x.png"), ("a/x.jpg", "b/x.png")),
        (("a/x.jpg", "a/X.png"), ("a/x.jpg", "a/X.png")),
        (("x.jpg", "album/x.png"), ("x.jpg", "album")),
    ],
)
def test_names_that_collide_are_refused_with_both_inputs(files: tuple[str, ...], arguments: tuple[str, ...]) -> None:
    make(*files)
    with pytest.raises(InputError, match=r"x\.jpg and .*[xX]\.png would both become out/[xX]\.exr"):
        outputs(*arguments)


@pytest.mark.parametrize("target", ["out.exr", "new.jpg", "new.mkv", "there.txt"])
def test_several_inputs_need_a_folder(target: str) -> None:
    make("a.jpg", "b.jpg", "there.txt")
    with pytest.raises(InputError, match=f"{target}: .*several inputs need a folder"):
        outputs("a.jpg", "b.jpg", target=target)


def test_pictures_with_numbers_do_not_become_a_video_but_the_way_there_is_told() -> None:
    make("shot.0007.png", "shot.0008.png")
    with pytest.raises(InputError) as refused:
        outputs("shot.%04d.png", target="film.mp4")
    assert str(refused.value) == (
        "film.mp4: is the name of a video; make one of the pictures first, for example by ffmpeg -framerate 24 "
        "-start_number 7 -i shot.%04d.png -c:v ffv1 pictures.mkv"
    )


def test_a_folder_that_is_there_may_have_any_name() -> None:
    make("a.jpg", "b.jpg", "out.exr/old")
    assert set(outputs("a.jpg", "b.jpg", target="out.exr").values()) == {"out.exr/a.exr", "out.exr/b.exr"}


def test_no_input_is_overwritten() -> None:
    make("a.png", "b.png")
    with pytest.raises(InputError, match=r"a\.png: is an input and would be overwritten"):
        outputs("a.png", "b.png", target=".", format="png")


def test_outputs_are_not_put_where_the_next_run_would_take_them_for_inputs() -> None:
    make("album/a.jpg", "more/b.jpg")
    with pytest.raises(InputError, match=r"album: \.png outputs would become inputs of the next run"):
        outputs("album", "more", target="album", format="png")
    assert outputs("album", "more", target="album") == {"album/a.jpg": "album/a.exr", "more/b.jpg": "album/b.exr"}


def test_a_picture_of_somebody_else_is_not_replaced() -> None:
    """``run *.png out/`` where out/ holds other pictures by those names."""
    make("a.png", "b.png", "out/b.png")
    with pytest.raises(InputError, match=r"out/b\.png: is a picture that dcdr-deploy has not written"):
        outputs("a.png", "b.png", format="png")
    Path("out/b.png").write_bytes(b"... Software dcdr-deploy 0.1.0 ...")
    assert len(outputs("a.png", "b.png", format="png")) == 2


def test_a_preview_replaces_no_picture_of_somebody_else() -> None:
    make("a.png", "b.png", "out/b.preview.png")
    with pytest.raises(InputError, match=r"out/b\.preview\.png: is a picture that dcdr-deploy has not written"):
        plan_several(named(["a.png", "b.png"], list), "out", ConvertOptions(preview=True), recursive=False)
    assert len(outputs("a.png", "b.png", target="out")) == 2


def test_other_files_of_named_folders_are_counted() -> None:
    make("a.jpg", "album/b.jpg", "album/c.cr2", "album/README")
    plan, _ = plan_several(lookup("a.jpg", "album"), "out", EXR, recursive=False)
    assert plan.left_out == {"": 1, ".cr2": 1}
    assert plan.notes[0].startswith("1 without suffix, 1 .cr2 in the folders left out")
    assert "video" not in plan.notes[0]
    make("album/clip.mp4")
    plan, _ = plan_several(lookup("a.jpg", "album"), "out", EXR, recursive=False)
    assert plan.notes[0].endswith("`output_format` mkv converts the videos, in a run of their own")


# Numbered files


def test_numbers_are_kept_whatever_the_digits_of_both_patterns() -> None:
    make("in/shot.0007.png", "in/shot.0010.png", "in/shot.0100.png", "in/shot.7.png", "in/other.0001.png")
    assert outputs("in/shot.%04d.png", target="out/s_%06d.exr") == {
        "in/shot.0007.png": "out/s_000007.exr",
        "in/shot.0010.png": "out/s_000010.exr",
        "in/shot.0100.png": "out/s_000100.exr",
    }
    assert outputs("in/shot.%d.png", target="out/%d.exr") == {"in/shot.7.png": "out/7.exr"}


def test_a_sequence_may_go_into_a_folder() -> None:
    make("shot.0001.png", "shot.0002.png")
    assert set(outputs("shot.%04d.png", target="out").values()) == {"out/shot.0001.exr", "out/shot.0002.exr"}


def test_gaps_are_told() -> None:
    make(*(f"s{number}.png" for number in (1, 2, 4, 8, 9)))
    plan, _ = plan_several(lookup("s%d.png"), "out/", EXR, recursive=False)
    assert plan.notes == ("s%d.png: missing between 1 and 9: 3, 5-7",)


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("s.%04d.%04d.png", "has 2 numbers"),
        ("s.%4d.png", "%4d is no frame number; use %d, or %04d"),
        ("s.%010d.png", "%010d is no frame number"),
        ("shot%02d/a.png", "must be in the file's name"),
        ("t.%04d.png", "no file of this sequence is there"),
        ("nowhere/t.%04d.png", "cannot be listed"),
        ("s.%s.png", "no such file, and %s is no frame number"),
        ("s.%04i.png", "no such file, and %04i is no frame number"),
    ],
)
def test_patterns_that_are_no_sequence_are_refused(pattern: str, words: str) -> None:
    make("s.0001.png")
    with pytest.raises(InputError, match=words):
        outputs(pattern)


def test_a_numbered_output_needs_one_sequence() -> None:
    make("a.jpg", "b.jpg", "s.1.png")
    for arguments in (("a.jpg", "b.jpg"), ("s.%d.png", "a.jpg")):
        with pytest.raises(InputError, match="has a number to fill in, so that the input must be one sequence"):
            outputs(*arguments, target="out/%04d.exr")
    with pytest.raises(InputError, match=r"out\.exr: is the name of a file, .* such as out\.%04d\.exr"):
        outputs("s.%d.png", target="out.exr")


def test_a_doubled_percent_sign_is_one_and_a_single_one_no_number() -> None:
    make("50%.1.png", "100%.png")
    assert outputs("50%%.%d.png") == {"50%.1.png": "out/50%.1.exr"}
    assert sequence.parse("100%.png") is None
    assert sequence.parse("plain.png") is None


@given(st.integers(0, 10**9 - 1), st.integers(0, 9))
def test_a_sequences_names_are_those_of_printf(number: int, width: int) -> None:
    pattern = f"%0{width}d" if width else "%d"
    parsed = sequence.parse(f"a/b.{pattern}.png")
    assert parsed is not None
    assert parsed.path(number).as_posix() == f"a/b.{pattern}.png" % number


@given(st.sets(st.integers(0, 60), min_size=1))
def test_gaps_and_numbers_together_leave_nothing_out(numbers: set[int]) -> None:
    ordered = sorted(numbers)
    missing: set[int] = set()
    for part in filter(None, sequence.gaps(ordered).split(", ")):
        first, _, last = part.partition("-")
        missing |= set(range(int(first), int(last or first) + 1))
    assert missing | numbers == set(range(ordered[0], ordered[-1] + 1))
    assert not missing & numbers
