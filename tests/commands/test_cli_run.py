"""`dcdr-deploy run` as a user sees it: streams, lines, exit codes, Ctrl-C."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import OpenEXR
import pytest
from click.testing import CliRunner
from PIL import Image
from screen import Screen

import dcdr_deploy
from dcdr_deploy import cli
from dcdr_deploy.commands.show import run
from dcdr_deploy.system import hardware
from dcdr_deploy.system.packages import install_line

ORT = ("--backend", "onnxruntime")
NATIVE = ("--scale", "native")
"""The network's own numbers, for pictures in which nothing clips."""


@pytest.fixture
def photos(tmp_path, make_picture) -> Path:
    for name in ("a.png", "b.jpg", "c.webp"):
        make_picture(tmp_path / "photos" / name)
    return tmp_path / "photos"


# One file


def test_one_file_gives_one_line_on_stdout_and_the_model_with_its_reason_on_stderr(dcdr, make_picture, tiny_model):
    make_picture(Path("in.png"))
    done = dcdr("run", "in.png", "out.exr", "--model", tiny_model, *ORT, *NATIVE)
    assert done.exit_code == 0
    assert Path("out.exr").is_file()
    (line,) = done.stdout.splitlines()
    assert line.startswith("out.exr  32x24  gain.onnx  onnxruntime on CPU (")
    assert line.endswith("min 0  median 0.8  p99 0.8  max 0.8  (1 = SDR white)  nothing clipped")
    model, backend = done.stderr.splitlines()
    assert model == f"model: {tiny_model} (as asked for)"
    assert backend.startswith("backend: onnxruntime on CPU")


def test_what_the_input_was_taken_for_is_in_the_verbose_line_and_in_json(dcdr, tiny_model):
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA001] = 65535
    exif.get_ifd(0x8769)[0xA005] = {1: "R03"}
    Image.new("RGB", (24, 32), (152, 115, 89)).save("in.png", exif=exif.tobytes())
    done = dcdr("run", "in.png", "out.exr", "--model", tiny_model, *ORT, "-v")
    assert "in.png: Adobe RGB (1998) by Exif, converted to sRGB; " in done.stderr
    done = dcdr("run", "in.png", "out.exr", "--model", tiny_model, *ORT, "--json")
    assert json.loads(done.stdout)["colour"] == "Adobe RGB (1998) by Exif, converted to sRGB"


def test_wrapped_panoramas_say_so_in_the_file_and_are_made_anew_where_they_were_not(dcdr, photos, tiny_model):
    for options in ((), ("--wrap",), ("--wrap",)):
        done = dcdr("run", photos, "hdr", "-m", tiny_model, "--scale", "native", *options, *ORT)
        assert done.exit_code == 0, done.stderr
    assert "3 unchanged since an earlier run" in done.stderr
    assert OpenEXR.File("hdr/a.exr").header()["wrap"] == "yes"


def test_without_options_the_model_in_the_working_directory_is_taken(dcdr, make_picture, write_tiny_model):
    make_picture(Path("in.png"))
    write_tiny_model(Path("mine.onnx"))
    write_tiny_model(Path("stray.onnx"), stored={})
    done = dcdr("run", "in.png", "out.exr")
    assert done.exit_code == 0
    note, model, _ = done.stderr.splitlines()
    assert note.startswith("note: not taken: stray.onnx is an ONNX model that carries no DCDR-UNet metadata")
    assert model == "model: mine.onnx (the only .onnx model in the working directory)"


def test_the_preview_is_named_in_the_line(dcdr, make_picture, tiny_model):
    make_picture(Path("in.png"))
    done = dcdr("run", "in.png", "out/", "--format", "hdr", "--preview", "-m", tiny_model, *ORT)
    assert done.stdout.endswith(f"preview {Path('out/in.preview.png')}\n")
    assert Path("out/in.preview.png").is_file()


def test_quiet_leaves_results_only(dcdr, make_picture, tiny_model):
    make_picture(Path("in.png"))
    done = dcdr("run", "in.png", "out.exr", "--quiet", "-m", tiny_model, *ORT)
    assert (done.stderr, len(done.stdout.splitlines())) == ("", 1)


def test_a_model_that_was_found_is_named_with_its_place_even_when_quiet(
    dcdr, make_picture, write_tiny_model, monkeypatch
):
    make_picture(Path("in.png"))
    write_tiny_model(Path("mine.onnx"))
    write_tiny_model(Path("stray.onnx"), stored={"author": "someone"})
    monkeypatch.delenv("DCDR_MODEL", raising=False)
    done = dcdr("run", "in.png", "out.exr", "-q", *ORT)
    assert done.stderr == "model: mine.onnx (the only .onnx model in the working directory)\n"
    monkeypatch.setenv("DCDR_MODEL", "mine.onnx")
    done = dcdr("run", "in.png", "out.exr", "-q", "--json", *ORT)
    assert done.stderr == "model: mine.onnx (from $DCDR_MODEL)\n"
    assert json.loads(done.stdout)["output"] == "out.exr"


def test_verbose_tells_times_and_tiles(dcdr, make_picture, tiny_model):
    make_picture(Path("in.png"), size=(100, 100))
    done = dcdr("run", "in.png", "out.exr", "-v", "-m", tiny_model, *ORT, *NATIVE, "--tile", "64", "--overlap", "4")
    assert "4 tiles of 64 x 64, overlap 4, batch 1; 0 retries" in done.stderr
    assert len(done.stdout.splitlines()) == 1


@pytest.mark.parametrize(("name", "reason"), [("broken.png", "damaged or incomplete"), ("missing.png", "no such file")])
def test_a_single_file_that_fails_is_an_object_on_stdout_too(dcdr, make_picture, tiny_model, name, reason):
    whole = make_picture(Path("broken.png")).read_bytes()
    Path("broken.png").write_bytes(whole[: len(whole) // 2])
    done = dcdr("run", name, "out.exr", "--json", "-m", tiny_model, *ORT)
    data = json.loads(done.stdout)
    assert done.exit_code == 2
    assert (data["status"], data["input"], data["kind"]) == ("failed", name, "InputError")
    assert reason in data["error"]
    assert done.stderr.splitlines()[-1] == f"error: {data['error']}"


def test_json_is_one_object_on_stdout(dcdr, make_picture, tiny_model):
    make_picture(Path("in.png"))
    done = dcdr("run", "in.png", "out.exr", "--json", "-m", tiny_model, *ORT, *NATIVE)
    data = json.loads(done.stdout)
    assert (data["status"], data["output"], data["width"], data["height"]) == ("converted", "out.exr", 32, 24)
    assert data["statistics"]["max"] == pytest.approx(0.8, rel=1e-3)


@pytest.mark.parametrize(
    ("arguments", "tiles"),
    [
        (["--tile", "none"], 1),
        (["--tile", "NONE", "--overlap", "auto", "--batch", "auto"], 1),
        (["--tile", "64", "--overlap", "4", "--batch", "2"], 4),
    ],
)
def test_tile_options_reach_the_runner(dcdr, make_picture, tiny_model, arguments, tiles):
    make_picture(Path("in.png"), size=(100, 100))
    done = dcdr("run", "in.png", "out.exr", "--json", "-m", tiny_model, *ORT, *NATIVE, *arguments)
    assert json.loads(done.stdout)["tiles"] == tiles


def test_a_model_file_of_another_precision_than_the_one_asked_for_is_one_line(dcdr, make_picture, tiny_model):
    make_picture(Path("in.png"))
    assert dcdr("run", "in.png", "out.exr", "-m", tiny_model, *ORT, "--precision", "fp32").exit_code == 0
    done = dcdr("run", "in.png", "half.exr", "-m", tiny_model, *ORT, "--precision", "fp16")
    assert done.exit_code == 2
    assert done.stderr.splitlines()[-1] == (
        f"error: {tiny_model} is fp32, not fp16 as asked for; export the checkpoint with --fp16, "
        "or leave the precision to the file"
    )
    assert not Path("half.exr").exists()


@pytest.mark.parametrize(
    "wrong",
    [
        [],
        ["in.png"],
        ["in.png", "out.exr", "--tile", "many"],
        ["in.png", "out.exr", "--format", "gif"],
        ["in.png", "out.exr", "--exr-compression", "rar"],
        ["in.png", "out.exr", "--precision", "int8"],
        ["in.png", "out.exr", "--nonsense"],
    ],
)
def test_wrong_usage_is_exit_2(dcdr, make_picture, wrong):
    make_picture(Path("in.png"))
    done = dcdr("run", *wrong)
    assert done.exit_code == 2
    assert done.stderr.startswith("Usage: ")


# Folders


def test_a_folder_gives_a_line_a_file_and_a_sum(dcdr, photos, tiny_model):
    done = dcdr("run", photos, "hdr", "-m", tiny_model, *ORT)
    assert done.exit_code == 0
    names = [str(Path("hdr") / name) for name in ("a.exr", "b.exr", "c.exr")]
    assert sorted(line.split("  ")[0] for line in done.stdout.splitlines()) == names
    assert done.stderr.splitlines()[-1].startswith("3 converted into hdr; ")


def test_a_second_run_says_what_it_skips_and_overwrite_does_not(dcdr, photos, tiny_model):
    arguments = ("run", photos, "hdr", "-m", tiny_model, *ORT)
    dcdr(*arguments)
    again = dcdr(*arguments)
    assert (again.exit_code, again.stdout) == (0, "")
    assert "0 converted into hdr; 3 unchanged since an earlier run (--overwrite converts them again)" in again.stderr
    assert len(dcdr(*arguments, "--overwrite").stdout.splitlines()) == 3
    machine = [json.loads(line) for line in dcdr(*arguments, "--json").stdout.splitlines()]
    assert [line["status"] for line in machine] == ["unchanged"] * 3


def test_a_bad_file_makes_exit_3_and_the_others_are_done(dcdr, photos, tiny_model):
    (photos / "b.jpg").write_bytes(b"")
    done = dcdr("run", photos, "hdr", "-m", tiny_model, *ORT, "--json")
    assert done.exit_code == 3
    lines = {line["input"]: line for line in map(json.loads, done.stdout.splitlines())}
    assert [lines[str(photos / name)]["status"] for name in ("a.png", "b.jpg", "c.webp")] == [
        "converted",
        "failed",
        "converted",
    ]
    assert f"failed: {photos / 'b.jpg'}: is empty (zero bytes)" in done.stderr
    assert f"1 failed, listed in {Path('hdr/failures.jsonl')}" in done.stderr
    assert json.loads(Path("hdr/failures.jsonl").read_text())["input"] == str(photos / "b.jpg")


def test_quiet_hides_what_may_surprise_in_a_plan(dcdr, photos, tiny_model):
    (photos / "notes.txt").write_bytes(b"x")
    assert dcdr("run", photos, "hdr", "-m", tiny_model, *ORT, "-q").stderr == ""
    assert dcdr("run", photos / "b.jpg", photos / "b.jpg", "one.exr", "-m", tiny_model, *ORT, "-q").stderr == ""
    assert "1 .txt left out" in dcdr("run", photos, "hdr", "-m", tiny_model, *ORT).stderr


def test_quiet_does_not_hide_failures(dcdr, photos, tiny_model):
    assert dcdr("run", photos, "quiet", "-m", tiny_model, *ORT, "-q").stderr == ""
    (photos / "b.jpg").write_bytes(b"")
    done = dcdr("run", photos, "hdr", "-m", tiny_model, *ORT, "-q")
    assert done.exit_code == 3
    assert done.stderr.startswith("failed: ")


def test_recursive_mirrors_the_tree_in_the_format_asked_for(dcdr, photos, make_picture, tiny_model):
    make_picture(photos / "sub" / "d.png")
    dcdr("run", photos, "hdr", "-r", "--format", "tif", "-m", tiny_model, *ORT)
    assert Path("hdr/sub/d.tif").is_file()


# Ctrl-C

SLOW = """
import sys, time
from dcdr_deploy.run import runner
from dcdr_deploy.cli import main

def slow(self, *arguments, run=runner.Runner.run, **more):
    time.sleep(0.2)
    return run(self, *arguments, **more)

runner.Runner.run = slow
main()
"""


def interrupt_when(ready, *arguments: object, cwd: Path) -> tuple[int, str]:
    """Start a slow run, send SIGINT as soon as ``ready()``, and return its exit code and stderr."""
    root = Path(dcdr_deploy.__file__).parent.parent
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, "run", *map(str, arguments)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(root)},
        # A background job of a shell inherits SIGINT ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    deadline = time.monotonic() + 60
    while not ready() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, words = process.communicate(timeout=60)
    return process.returncode, words


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_ctrl_c_leaves_whole_files_only_and_the_next_run_goes_on(tmp_path, make_picture, tiny_model, dcdr):
    names = [f"{number}.png" for number in range(30)]
    for name in names:
        make_picture(tmp_path / "photos" / name)
    hdr = tmp_path / "hdr"
    arguments = ("photos", "hdr", "--preview", "-m", tiny_model, *ORT, *NATIVE)
    code, words = interrupt_when(lambda: (hdr / "1.exr").exists(), *arguments, cwd=tmp_path)
    assert code == 130, words
    assert "Traceback" not in words
    assert words.splitlines()[-1] == "interrupted; what was finished is kept"
    left = {path.name for path in hdr.iterdir()}
    finished = {name for name in names if name.replace("png", "exr") in left}
    assert 2 <= len(finished) < len(names)
    assert not [name for name in left if ".tmp" in name]
    done = dcdr("run", *arguments, "--json")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    unchanged = {Path(line["output"]).stem + ".png" for line in lines if line["status"] == "unchanged"}
    again = {Path(line["input"]).name for line in lines if line["status"] == "converted"}
    assert unchanged == finished
    assert again == set(names) - finished
    assert {path.name for path in hdr.glob("*.exr")} == {name.replace("png", "exr") for name in names}


# Light


def test_light_goes_into_the_file_as_asked_for(dcdr, make_picture, tiny_model):
    make_picture(Path("in.png"))
    base = ("-m", tiny_model, *ORT, *NATIVE)
    assert dcdr("run", "in.png", "a.exr", *base, "--primaries", "acescg", "--tag", "scene").exit_code == 0
    with OpenEXR.File("a.exr") as file:
        assert file.header()["colorInteropID"] == "lin_ap1_scene"
    options = ("--transfer", "pq", "--reference-white", "100", "--peak-nits", "600")
    assert dcdr("run", "in.png", "a.png", *base, *options).exit_code == 0
    with Image.open("a.png") as image:
        assert (image.text["referenceWhite"], image.text["peakNits"]) == ("100", "600")
    refused = dcdr("run", "a.png", "b.exr", *base)
    assert refused.exit_code == 2
    assert "a.png: is an HDR picture already (PNG with PQ transfer by its cICP)" in refused.stderr


@pytest.mark.parametrize(
    ("target", "options", "said"),
    [
        ("a.exr", ("--transfer", "pq"), ".exr cannot hold --transfer pq; it has linear"),
        ("a.png", ("--primaries", "aces2065-1"), ".png cannot hold --primaries aces2065-1; it has rec709, p3"),
        ("a.png", ("--transfer", "pq", "--peak-nits", "100"), "--peak-nits 100 is below the reference white"),
        ("a.png", ("--reference-white", "0"), "reference white must be 1 to 10000 cd/m2, not 0"),
        ("a.hdr", ("--float",), ".hdr has no --float; leave it out"),
        ("a.png", ("--exr-compression", "piz"), ".png has no --exr-compression"),
    ],
)
def test_light_that_the_format_cannot_hold_is_one_line(dcdr, make_picture, tiny_model, target, options, said):
    make_picture(Path("in.png"))
    done = dcdr("run", "in.png", target, "-m", tiny_model, *ORT, *options)
    assert done.exit_code == 2
    (line,) = done.stderr.splitlines()
    assert said in line
    assert not Path(target).exists()


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_ctrl_c_in_a_single_file_leaves_the_older_output(tmp_path, make_picture, tiny_model, monkeypatch, dcdr):
    make_picture(tmp_path / "in.png")
    Path("out.exr").write_bytes(b"old")

    def interrupted(*arguments, **options):
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job of a shell inherits it ignored
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)

    monkeypatch.setattr("dcdr_deploy.imaging.writers.exr._write", interrupted)
    done = dcdr("run", "in.png", "out.exr", "-m", tiny_model, *ORT)
    assert done.exit_code == 130
    assert Path("out.exr").read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.png", "out.exr"]


# The frame around the commands


def test_a_bug_keeps_its_traceback(dcdr, make_picture, tiny_model, monkeypatch):
    make_picture(Path("in.png"))
    monkeypatch.setattr("dcdr_deploy.run.file.infer", lambda *arguments: 1 / 0)
    done = dcdr("run", "in.png", "out.exr", "-m", tiny_model, *ORT)
    assert isinstance(done.exception, ZeroDivisionError)


def test_a_missing_module_of_our_own_is_a_bug(monkeypatch):
    broken = {"x": cli.LazyCommand("dcdr_deploy.gone:command", "")}
    done = CliRunner().invoke(cli.LazyGroup("group", lazy=broken), ["x"])
    assert isinstance(done.exception, ModuleNotFoundError)


def test_a_missing_package_is_a_line_with_what_to_install():
    broken = {"x": cli.LazyCommand("no_such_package_here:command", "", "train")}
    done = CliRunner().invoke(cli.LazyGroup("group", lazy=broken), ["x"])
    assert done.exit_code == 2
    assert done.stderr == (
        "error: `dcdr-deploy x` needs the package no_such_package_here, which is not installed: "
        f"{install_line('train')}\n"
    )


def test_help_lists_every_command_with_its_line(dcdr):
    words = dcdr("--help").stdout
    for name, command in cli.COMMANDS.items():
        assert f"  {name}" in words
        assert command.help in words


def test_version(dcdr):
    assert dcdr("--version").stdout == f"dcdr-deploy {dcdr_deploy.__version__}\n"


@pytest.mark.parametrize("name", ["run", "doctor"])
def test_the_list_leads_to_commands(name):
    command = cli.COMMANDS[name].load()
    assert isinstance(command, click.Command)
    assert command.name == name


def test_doctor_prints_the_backends(dcdr):
    assert "onnxruntime" in dcdr("doctor").stdout
    assert set(json.loads(dcdr("doctor", "--json").stdout)["backends"]) >= {"onnxruntime", "openvino", "torch"}


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.126, "0.13 s"), (12.34, "12.3 s"), (200, "3 min 20 s"), (59.99, "60.0 s"), (7510, "2 h 05 min")],
)
def test_durations_read_well(seconds, words):
    assert run.duration(seconds) == words


def test_names_that_are_no_utf8_can_be_printed(dcdr, make_picture, tiny_model):
    name = os.fsdecode(b"caf\xe9.png")
    make_picture(Path("in.png")).rename(name)
    done = dcdr("run", name, os.fsdecode(b"caf\xe9.hdr"), "-m", tiny_model, *ORT)
    assert done.exit_code == 0
    assert done.stdout.startswith("caf\ufffd.hdr  32x24")


def test_on_a_terminal_a_bar_counts_the_files(monkeypatch, capsys, tmp_path, photos, tiny_model):
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("COLUMNS", "100")
    (photos / "b.jpg").write_bytes(b"")
    from dcdr_deploy.run.folder import convert_folder
    from dcdr_deploy.run.opening import RunnerSettings, open_runner

    with run.Console() as shown:
        with open_runner(tiny_model, RunnerSettings("onnxruntime"), shown) as runner:
            convert_folder(photos, tmp_path / "hdr", runner, listener=shown)
        shown.line("the bar is drawn below")
        assert re.fullmatch(r"3/3 c\.webp \|█{40}\| 100% \d\d:\d\d left 00:00", screen.rows[-1])
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert [row for row in screen.rows if "|" in row] == []
    assert [row.partition(":")[0] for row in screen.rows if "b.jpg" in row] == ["failed"]


def test_an_unknown_command_is_wrong_usage(dcdr):
    done = dcdr("convert", "in.png", "out.exr")
    assert done.exit_code == 2
    assert "No such command 'convert'" in done.stderr


def test_more_threads_than_the_machine_has_are_cut_with_a_note(dcdr, make_picture, tiny_model):
    make_picture(Path("in.png"))
    done = dcdr("run", "in.png", "out.exr", "--threads", "2000", "-m", tiny_model, *ORT)
    assert done.exit_code == 0
    assert "note: --threads 2000: this process may run " in done.stderr


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        (("--device", "cuda:99"), "leave --device out to take the best that works here"),
        (("--backend", "tensorrt", "--device", "cpu"), "leave --device and --backend out"),
        (("--backend", "tensorrt"), "build one with `dcdr-deploy build-engine`, or leave --backend out"),
    ],
)
def test_what_cannot_be_had_says_what_to_do_instead(dcdr, make_picture, monkeypatch, arguments, remedy):
    monkeypatch.delenv("DCDR_MODEL", raising=False)
    monkeypatch.setattr(hardware, "compute_capabilities", list)
    make_picture(Path("in.png"))
    done = dcdr("run", "in.png", "out.exr", *arguments)
    assert done.exit_code == 2
    assert remedy in done.stderr.splitlines()[-1]


# Several inputs


def test_several_inputs_give_a_line_each_and_are_resumed(dcdr, make_picture, tiny_model):
    for name in ("a.png", "shots/b.jpg", "shots/c.jpg"):
        make_picture(Path(name))
    arguments = ("run", "a.png", "shots/*.jpg", "out/", "--model", tiny_model, *ORT)
    done = dcdr(*arguments)
    assert done.exit_code == 0, done.stderr
    assert [line.split("  ")[0] for line in sorted(done.stdout.splitlines())] == ["out/a.exr", "out/b.exr", "out/c.exr"]
    assert "3 converted into out" in done.stderr
    again = dcdr(*arguments)
    assert (again.exit_code, again.stdout) == (0, "")
    assert "3 unchanged since an earlier run" in again.stderr


def test_a_list_on_standard_input_is_read_and_bad_files_end_with_exit_code_3(dcdr, make_picture, tiny_model):
    from dcdr_deploy.cli import main

    make_picture(Path("a b.png"))
    lines = b"a b.png\r\nmissing.png\n"
    done = CliRunner().invoke(main, ["run", "-", "out", "--model", str(tiny_model), *ORT], input=lines)
    assert done.exit_code == 3
    assert Path("out/a b.exr").is_file()
    assert json.loads(Path("out/failures.jsonl").read_text())["input"] == "missing.png"


def test_numbered_files_keep_their_numbers_and_gaps_are_told(dcdr, make_picture, tiny_model):
    for number in (8, 9, 11):
        make_picture(Path(f"shot.{number:04d}.png"))
    done = dcdr("run", "shot.%04d.png", "out/s.%03d.exr", "--model", tiny_model, *ORT)
    assert done.exit_code == 0, done.stderr
    assert sorted(path.name for path in Path("out").glob("*.exr")) == ["s.008.exr", "s.009.exr", "s.011.exr"]
    assert "note: shot.%04d.png: missing between 8 and 11: 10" in done.stderr


def test_a_forgotten_output_costs_no_picture(dcdr, make_picture):
    for name in ("a.png", "b.png", "c.png"):
        make_picture(Path(name))
    before = Path("b.png").read_bytes()
    for names, words in (
        (("a.png",), "Missing argument 'OUTPUT'"),
        (("a.png", "b.png"), "b.png: is a picture that dcdr-deploy has not written"),
        (("a.png", "b.png", "c.png"), "c.png: is a file, but several inputs need a folder"),
    ):
        done = dcdr("run", *names)
        assert (done.exit_code, done.stdout) == (2, "")
        assert words in done.stderr
    assert Path("b.png").read_bytes() == before


def test_what_a_folder_holds_and_is_not_taken_is_a_line_of_json(dcdr, make_picture, tiny_model):
    make_picture(Path("photos/a.png"))
    Path("photos/b.cr2").write_bytes(b"x")
    done = dcdr("run", "photos", "out", "--model", tiny_model, *ORT, "--json")
    first, second = map(json.loads, done.stdout.splitlines())
    assert first == {"status": "left out", "suffixes": {".cr2": 1}}
    assert second["status"] == "converted"
    assert "note: photos: 1 .cr2 left out" in done.stderr


# Metadata


@pytest.fixture
def with_exif(dcdr) -> Path:
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "Acme", 6
    exif.get_ifd(0x8769)[0x9003] = "2024:05:06 07:08:09"
    exif.get_ifd(0x8825).update({1: "N", 2: (47.0, 30.0, 0.0), 3: "E", 4: (8.0, 15.0, 0.0)})
    for name in ("a", "b"):
        Image.new("RGB", (24, 32), (152, 115, 89)).save(f"{name}.jpg", exif=exif.tobytes())
    return Path("a.jpg")


def test_date_camera_and_place_are_carried_and_what_has_no_place_is_told_once(dcdr, with_exif, tiny_model):
    done = dcdr("run", "a.jpg", "b.jpg", "out", "--model", tiny_model, *ORT, "--json")
    assert done.exit_code == 0, done.stderr
    header = OpenEXR.File("out/a.exr").header()
    assert (header["capDate"], header["cameraMake"], header["latitude"]) == ("2024:05:06 07:08:09", "Acme", 47.5)
    report = json.loads(done.stdout.splitlines()[0])
    assert report["metadata"] == ["Exif"]
    told = [line for line in done.stderr.splitlines() if "holds of Exif only" in line]
    assert told == [f"note: {report['metadata_left_out'][0]}"]


def test_strip_carries_nothing_and_makes_other_files(dcdr, with_exif, tiny_model):
    arguments = ("run", "a.jpg", "b.jpg", "out", "--model", tiny_model, *ORT)
    dcdr(*arguments)
    done = dcdr(*arguments, "--strip")
    assert "2 converted" in done.stderr  # those of before had other contents
    header = OpenEXR.File("out/a.exr").header()
    assert not {"capDate", "cameraMake", "latitude", "source"} & set(header)
    assert header["model"]


def test_a_name_that_begins_like_an_option_is_told_from_options(dcdr, make_picture):
    make_picture(Path("-dash.png"))
    done = dcdr("run", "-dash.png", "out.exr")
    assert (done.exit_code, done.stderr) == (2, "error: -dash.png: begins like an option; name this file ./-dash.png\n")
    done = dcdr("run", "-cash.png", "out.exr")
    assert done.exit_code == 2
    assert "No such option" in done.stderr


def test_an_empty_name_is_not_the_working_directory(dcdr, make_picture):
    make_picture(Path("a.png"))
    for names in (("", "out"), ("a.png", ""), ("a.png", "a.exr", "-m", "")):
        done = dcdr("run", *names)
        assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
        assert done.stderr.startswith("error: an argument is empty")
    assert [path.name for path in Path().iterdir()] == ["a.png"]
