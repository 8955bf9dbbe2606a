"""Videos on the command line."""

from __future__ import annotations

import json
import shutil
import sys

import pytest

pytest.importorskip("av")

from videos import Clip, read_clip, write_clip


@pytest.fixture
def film(tmp_path):
    return write_clip(tmp_path / "film.mp4", Clip(frames=6, sounds=1))


def test_a_video_becomes_an_hdr_video(dcdr, film, tiny_model):
    done = dcdr("run", film, "film.hdr.mp4", "-m", tiny_model, "--preset", "ultrafast")
    assert done.exit_code == 0, done.output
    assert read_clip(film.with_name("film.hdr.mp4")).code_points == (9, 16, 9, 1)
    assert "film.hdr.mp4  96x64  6 frames  HEVC Main 10, PQ  MaxCLL " in done.stdout
    assert "fps" in done.stdout


def test_json_says_what_was_made(dcdr, film, tiny_model):
    done = dcdr("run", film, "film.mov", "-m", tiny_model, "--json", "--start", "0:00.1", "--frames", 2, "-q")
    found = json.loads(done.stdout)
    assert (found["status"], found["frames"], found["codec"]) == ("converted", 2, "ProRes 422 HQ")
    assert found["max_cll"] > found["max_fall"] > 0


def test_verbose_tells_colours_and_stages(dcdr, film, tiny_model):
    done = dcdr("run", film, "film.mkv", "-m", tiny_model, "-v", "--codec", "ffv1")
    assert "BT.709, Rec. 709, limited range; decode " in done.stderr
    assert "ffv1; 6 frames" in done.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("film.avi",), "a video is written as .m4v, .mkv, .mov, .mp4"),
        (("film.mp4",), "would be overwritten by its own output"),
        (("o.mov", "--crf", "20"), "ProRes 422 HQ has no --crf; leave it out"),
        (("o.mp4", "--start", "soon"), "'soon' is no time"),
        (("o.mp4", "--start", "2", "--end", "1"), "must come after the start"),
        (("o.mp4", "--end", "0"), "the end at 0 s must come after the start at 0 s"),
        (("https://host/o.mp4",), "is an address"),
        (("o.mp4", "--temporal", "much"), "temporal 'much' is not known"),
        (("o.mp4", "--temporal", "1"), "temporal must be off or 0 to 0.95, not 1"),
        (("o.mp4", "--temporal", "0.5", "--scale", "native"), "--temporal steadies what the network finds"),
    ],
)
def test_a_slip_is_one_line_and_exit_2(dcdr, film, options, words):
    done = dcdr("run", film, *options)
    assert done.exit_code == 2
    assert words in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_frames_become_pictures_by_a_number_in_the_name(dcdr, film, tiny_model, tmp_path):
    done = dcdr("run", film, "frames/f.%03d.exr", "-m", tiny_model, "--frames", 2)
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in (tmp_path / "frames").glob("*.exr")) == ["f.001.exr", "f.002.exr"]
    assert "f.%03d.exr  96x64  2 frames  EXR" in done.stdout


def test_a_folder_of_videos_is_converted_and_skipped_when_done(dcdr, film, tiny_model, tmp_path):
    films = tmp_path / "films"
    films.mkdir()
    film.rename(films / "a.mp4")
    (films / "b.mp4").write_bytes(b"nothing")
    done = dcdr("run", films, "hdr", "-m", tiny_model, "--codec", "ffv1")
    assert done.exit_code == 3
    assert (tmp_path / "hdr" / "a.mkv").exists()
    assert "1 converted into hdr; 1 failed" in done.stderr
    (films / "b.mp4").unlink()
    done = dcdr("run", films, "hdr", "-m", tiny_model, "--codec", "ffv1")
    assert done.exit_code == 0
    assert "1 unchanged since an earlier run" in done.stderr


@pytest.mark.parametrize("option", [("--preview",), ("--bits", "12"), ("--float",), ("--tag", "scene")])
def test_options_of_pictures_are_refused_for_videos(dcdr, film, tmp_path, option):
    other = shutil.copyfile(film, tmp_path / "other.mp4")
    for names in ((film, "o.mkv"), (film, "films/"), (film, other, "films/")):
        done = dcdr("run", *names, *option)
        assert done.exit_code == 2
        assert f"{option[0]} is for pictures, not for videos; leave it out" in done.stderr


def test_options_of_a_codec_are_refused_where_frames_become_pictures(dcdr, film):
    done = dcdr("run", film, "f.%03d.exr", "--crf", 20)
    assert done.exit_code == 2
    assert "f.%03d.exr: --crf is for videos; leave it out" in done.stderr


@pytest.mark.parametrize("option", [("--crf", 20), ("--deinterlace",), ("--start", "1")])
def test_options_of_videos_are_refused_for_pictures(dcdr, make_picture, tmp_path, option):
    done = dcdr("run", make_picture(tmp_path / "a.png"), "a.exr", *option)
    assert done.exit_code == 2
    assert f"{option[0]} is for videos; leave it out" in done.stderr
    (tmp_path / "more").mkdir()
    make_picture(tmp_path / "more" / "b.png")
    assert f"{option[0]} is for videos" in dcdr("run", tmp_path / "more", "out", *option).stderr


def test_an_interlaced_video_is_refused_in_words_of_the_command(dcdr, tmp_path):
    source = write_clip(tmp_path / "tv.mkv", Clip(frames=2, options={"preset": "ultrafast", "x264-params": "tff=1"}))
    done = dcdr("run", source, "o.mkv")
    assert done.exit_code == 2
    assert "is interlaced; --deinterlace makes whole frames of it" in done.stderr


def test_a_video_of_several_that_fails_is_told_in_words_of_the_command_too(dcdr, film, tiny_model, tmp_path):
    fields = Clip(frames=2, options={"preset": "ultrafast", "x264-params": "tff=1"})
    (tmp_path / "films").mkdir()
    write_clip(tmp_path / "films" / "tv.mkv", fields)
    film.rename(tmp_path / "films" / "a.mp4")
    done = dcdr("run", "films", "hdr", "-m", tiny_model, "--codec", "ffv1")
    assert done.exit_code == 3
    (failed,) = [line for line in done.stderr.splitlines() if line.startswith("failed: ")]
    assert failed.endswith("tv.mkv: is interlaced; --deinterlace makes whole frames of it")


def test_without_pyav_the_line_that_installs_it_is_told(dcdr, film, monkeypatch):
    from dcdr_deploy.run.video import package

    package.load.cache_clear()
    monkeypatch.setitem(sys.modules, "av", None)
    try:
        done = dcdr("run", film, "o.mp4")
    finally:
        package.load.cache_clear()
    assert done.exit_code == 2
    assert "videos need PyAV" in done.stderr
    assert 'pip install "av' in done.stderr


@pytest.mark.parametrize("name", ["12:30 take.mp4", "100%d.mp4", "-first.mp4", "ein Stück.mp4", "film.h264", "film"])
@pytest.mark.parametrize("target", ["20:15 out.mkv", "-out.mp4"])
def test_any_name_is_a_files_name(dcdr, film, tiny_model, name, target):
    """FFmpeg takes what stands before a colon for a protocol; what is to become a video is one by any name."""
    film.rename(film.with_name(name))
    result = dcdr("run", "-m", tiny_model, "-q", "--frames", 2, "--", name, target)
    assert result.exit_code == 0, result.output
    assert film.with_name(target).exists()


def test_a_picture_is_no_video_whatever_its_name(dcdr, make_picture, tmp_path):
    make_picture(tmp_path / "shot.png")
    for name in ("shot.png", "shot.mp4"):
        if not (tmp_path / name).exists():
            (tmp_path / "shot.png").rename(tmp_path / name)
        result = dcdr("run", name, "out.mkv")
        assert result.exit_code == 2
        renamed = "rename it, such as to .png, and " if name == "shot.mp4" else ""
        assert f"{name}: is a picture by its content; {renamed}give its output the name of one" in result.stderr


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("in.png", b"text\n", "is neither a video nor a picture by its content"),
        ("in.png", b"", "is empty (zero bytes)"),
        ("in.mp4", b"", "is empty (zero bytes)"),
        ("in.mp4", b"text\n", "cannot be read as a video"),
    ],
)
def test_what_is_neither_video_nor_picture_is_told_by_its_content(dcdr, tmp_path, name, content, words):
    """FFmpeg takes text for a picture if it is called so."""
    (tmp_path / name).write_bytes(content)
    result = dcdr("run", name, "out.mkv")
    assert result.exit_code == 2
    assert result.stderr.strip().startswith(f"error: {name}: {words}")
