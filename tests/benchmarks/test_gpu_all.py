"""All that needs a GPU in one command: steps apart from each other, within a time, with what they found kept."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import gpu_all
import gpu_steps
import processes
import pytest
from gpu_steps import STEPS, TRAINED, Place, Step
from gpu_summary import Ending

from dcdr_deploy.errors import InputError

SCRIPT = Path(gpu_all.__file__)

WRITES = "import pathlib, sys; pathlib.Path(sys.argv[1], 'found.txt').write_text('figures'); print('said')"
FAILS = "print('begun'); raise SystemExit(3)"
SLEEPS = "import time; print('begun'); time.sleep(60)"
TELLS = "import sys; print(sys.argv[1])"
LOOKS = "import sys; print(open(sys.argv[1]).read())"
SLEEPS_WITH_CHILD = (
    "import pathlib, subprocess, sys\n"
    "child = subprocess.Popen([sys.executable, '-c', 'import signal, time\\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\\ntime.sleep(60)'])\n"
    "pathlib.Path(sys.argv[1], 'child').write_text(str(child.pid))\n"
    "child.wait()\n"
)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "out")


@pytest.fixture
def step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Step]:
    """``step(name, code, *words)``: a step whose script is some code."""
    monkeypatch.setattr(gpu_steps, "SCRIPTS", tmp_path)

    def make(name: str, code: str, *words: str, **fields: object) -> Step:
        (tmp_path / f"{name}.py").write_text(code)
        given = {"seconds": 20.0, "margin": 1.0, "least": 0.0, **fields}
        return Step(name, "a test", (f"{name}.py", *words), **given)  # type: ignore[arg-type]

    return make


def run(steps: list[Step], place: Place, seconds: float = 100.0, again: bool = False) -> dict[str, Ending]:
    endings: dict[str, Ending] = {}
    gpu_all.run(steps, place, seconds, again, endings)
    return endings


def summary(place: Place) -> dict[str, dict]:
    return json.loads((place.output / "summary.json").read_text())


def is_alive(process: int) -> bool:
    """Whether it runs; one that has ended and waits for its parent does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


# Steps


def test_a_step_that_fails_or_is_late_does_not_stop_the_others(step: Callable[..., Step], place: Place):
    steps = [
        step("fails", FAILS),
        step("sleeps", SLEEPS, seconds=2.0),
        step("writes", WRITES, "{folder}", writes=("*.txt",)),
    ]
    endings = run(steps, place)
    assert {name: each.how for name, each in endings.items()} == {"fails": "failed", "sleeps": "late", "writes": "done"}
    assert endings["fails"].words == "failed, exit code 3"
    assert endings["writes"].files == ("writes.log", "writes/found.txt")
    assert (place.output / "writes.log").read_text() == "said\n"
    assert (place.output / "sleeps.log").read_text() == "begun\n"
    assert endings["sleeps"].seconds < 20


def test_what_a_step_has_started_ends_with_it(step: Callable[..., Step], place: Place, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(processes, "STOPPING", 0.2)
    assert run([step("parent", SLEEPS_WITH_CHILD, "{folder}", seconds=2.0)], place)["parent"].how == "late"
    child = int((place.output / "parent" / "child").read_text())
    ended = time.monotonic() + 10
    while is_alive(child) and time.monotonic() < ended:
        time.sleep(0.01)
    assert not is_alive(child)


def test_the_summary_is_written_after_every_step(step: Callable[..., Step], place: Place):
    steps = [step("fails", FAILS), step("looks", LOOKS, "{output}/summary.json")]
    run(steps, place)
    seen = json.loads((place.output / "looks.log").read_text())
    assert set(seen) == {"fails"}
    assert set(summary(place)) == {"fails", "looks"}
    assert shlex.split(summary(place)["looks"]["command"])[-1] == str(place.output / "summary.json")


def test_a_step_is_told_its_time_less_what_its_end_takes(step: Callable[..., Step], place: Place):
    run([step("whole", TELLS, "{seconds}", seconds=70.0, margin=5.0)], place)
    run([step("rest", TELLS, "{minutes}", seconds=600.0, margin=5.0)], place, seconds=36.0)
    assert (place.output / "whole.log").read_text() == "65\n"
    assert (place.output / "rest.log").read_text() == "0.50\n"


def test_a_step_for_which_too_little_time_is_left_is_not_begun(step: Callable[..., Step], place: Place):
    steps = [step("long", WRITES, "{folder}", least=15.0), step("short", TELLS, "{seconds}", seconds=5.0, least=15.0)]
    endings = run(steps, place, seconds=10.0)
    assert endings["long"].how == "left out"
    assert "needs 15" in endings["long"].why
    assert not (place.output / "long").exists()
    assert endings["short"].how == "done"  # whose whole time is less than that


def test_time_of_what_was_asked_for_is_kept_for_it(step: Callable[..., Step], place: Place):
    first = step("first", TELLS, "{seconds}")
    asked = step("asked", TELLS, "{seconds}", seconds=90.0, on_demand=True)
    run([first, asked], place)
    assert int((place.output / "first.log").read_text()) <= 9
    assert int((place.output / "asked.log").read_text()) == 89
    run([first, asked], Place(place.output / "missing"), seconds=100.0)
    assert int((place.output / "missing" / "first.log").read_text()) <= 9


def test_no_time_is_kept_for_what_cannot_run_or_is_done(step: Callable[..., Step], place: Place):
    first = step("first", TELLS, "{seconds}")
    cannot = step("cannot", TELLS, "{seconds}", seconds=95.0, on_demand=True, needs=("no_such_module",))
    endings = run([first, cannot], place)
    assert (place.output / "first.log").read_text() == "19\n"
    assert endings["cannot"].words == "left out, missing: module no_such_module"
    done = step("done", TELLS, "{seconds}", seconds=95.0, on_demand=True)
    run([done], place)
    run([first, done], place, again=False)
    assert (place.output / "first.log").read_text() == "19\n"


# Runs that go on


def test_what_is_done_is_left_out_and_what_failed_is_tried_again(step: Callable[..., Step], place: Place):
    steps = [step("writes", WRITES, "{folder}", writes=("found.txt",)), step("other", FAILS)]
    run(steps, place)
    (place.output / "writes.log").write_text("of the first run")
    steps[1] = step("other", TELLS, "now")
    endings = run(steps, place)
    assert endings["writes"].words == "done, before"
    assert (place.output / "writes.log").read_text() == "of the first run"
    assert (place.output / "other.log").read_text() == "now\n"
    assert (place.output / "other.log.before").read_text() == "begun\n"
    assert [each["how"] for each in summary(place).values()] == ["done", "done"]


def test_again_runs_what_is_done_and_keeps_the_results_before(step: Callable[..., Step], place: Place):
    steps = [step("writes", WRITES, "{folder}", writes=("found.txt",))]
    for _ in range(3):
        run(steps, place)
        (place.output / "writes" / "found.txt").write_text("earlier")
        run(steps, place, again=True)
        assert (place.output / "writes" / "found.txt").read_text() == "figures"
        assert (place.output / "writes.before" / "found.txt").read_text() == "earlier"


def test_a_step_whose_result_has_gone_runs_again(step: Callable[..., Step], place: Place):
    steps = [step("writes", WRITES, "{folder}", writes=("found.txt",))]
    run(steps, place)
    (place.output / "writes" / "found.txt").unlink()
    assert run(steps, place)["writes"].words == "done"


def test_what_reads_a_result_runs_again_with_the_step_that_writes_it(step: Callable[..., Step], place: Place):
    first = step("first", WRITES, "{folder}", writes=("found.txt",))
    second = step("second", LOOKS, "{output}/first/found.txt", files=("first/found.txt",))
    run([first, second], place)
    assert run([first, second], place)["second"].words == "done, before"
    (place.output / "first" / "found.txt").unlink()
    assert run([first, second], place)["second"].words == "done"
    (place.output / "first" / "found.txt").unlink()
    assert run([second], place, again=True)["second"].words.startswith("left out, missing: ")


def test_a_step_left_out_does_not_hide_what_an_earlier_try_came_to(step: Callable[..., Step], place: Place):
    run([step("fails", FAILS)], place)
    endings = run([step("fails", FAILS, needs=("no_such_module",))], place)
    assert endings["fails"].how == "left out"
    assert summary(place)["fails"]["how"] == "failed"


def test_a_folder_with_another_summary_is_refused(step: Callable[..., Step], place: Place):
    place.output.mkdir()
    (place.output / "summary.json").write_text("[1]")
    with pytest.raises(InputError, match="no summary"):
        run([step("writes", WRITES, "{folder}")], place)
    assert (place.output / "summary.json").read_text() == "[1]"


INTERRUPTED = """
import sys
sys.path.insert(0, {folder!r})
import gpu_all, gpu_steps
from pathlib import Path
gpu_steps.SCRIPTS = Path({scripts!r})
gpu_all.STEPS = tuple(
    gpu_steps.Step(name, "a test", (name + ".py", "{{folder}}"), 60.0) for name in ("writes", "sleeps", "later")
)
sys.exit(gpu_all.main())
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_cut_off_keeps_what_it_has(step: Callable[..., Step], place: Place, number: int, tmp_path: Path):
    step("writes", WRITES)
    step("sleeps", SLEEPS)
    step("later", WRITES)
    code = INTERRUPTED.format(folder=str(SCRIPT.parent), scripts=str(tmp_path))
    process = subprocess.Popen(
        [sys.executable, "-c", code, "-o", place.output],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(gpu_all.ROOT)},
    )
    log = place.output / "sleeps.log"
    ended = time.monotonic() + 60
    while not (log.is_file() and log.read_text()) and time.monotonic() < ended:
        time.sleep(0.02)
    process.send_signal(number)
    said, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted; " in errors
    assert "Traceback" not in errors
    assert {name: each["how"] for name, each in summary(place).items()} == {"writes": "done", "sleeps": "interrupted"}
    assert said.rstrip().splitlines()[-1].startswith("| sleeps | ")


# The real steps


class Parsed(Exception):
    """The command line was understood."""


@pytest.mark.parametrize("one", STEPS, ids=lambda each: each.name)
def test_command_lines_are_what_the_scripts_take(one: Step, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for module in ("torch", "av", "imagecodecs"):
        pytest.importorskip(module)
    folders = tmp_path / "a", tmp_path / "b c"
    weights, trained = tmp_path / "squeezenet.pkl", tmp_path / TRAINED
    for folder in (*folders, trained.parent):
        folder.mkdir()
    for file in (weights, trained):
        file.touch()
    _, script, *words = one.command_line(Place(tmp_path, folders, folders, weights, 3), one.margin + 61)
    parse = argparse.ArgumentParser.parse_args
    found: list[argparse.Namespace] = []

    def parse_only(self: argparse.ArgumentParser, arguments: list[str] | None = None) -> NoReturn:
        found.append(parse(self, arguments))
        raise Parsed

    module = importlib.import_module(Path(script).stem)
    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_only)
    monkeypatch.setattr(sys, "argv", [script, *words])
    with pytest.raises(Parsed):
        module.main()
    (options,) = found
    assert (60 * options.minutes if hasattr(options, "minutes") else options.seconds) == pytest.approx(61, abs=1)
    if hasattr(options, "photos"):
        assert list(options.photos) == list(options.panoramas) == list(folders)
    if hasattr(options, "squeezenet_weights"):
        assert options.squeezenet_weights == weights
    assert getattr(options, "split", "validation") == "validation"
    assert getattr(options, "device", "cuda") == "cuda"


def test_what_a_step_reads_is_written_by_one_before_it():
    coming: tuple[str, ...] = ()
    for each in STEPS:
        assert set(each.files) <= set(coming)
        coming += each.coming


def test_the_steps_without_training_fit_the_usual_time():
    usual = gpu_all.parsed(["-o", "out"])
    assert sum(each.seconds for each in usual.chosen) <= usual.seconds
    assert [each.name for each in usual.chosen] == [each.name for each in STEPS if not each.on_demand]


# The command line


def test_a_list_shows_times_and_what_is_missing_and_runs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(gpu_steps.hardware, "cuda_device_count", lambda: 0)
    monkeypatch.setattr(gpu_steps, "installed", lambda module: module != "av")
    monkeypatch.setattr(
        sys, "argv", ["gpu_all.py", "-o", str(tmp_path / "out"), "--list", "--photos", "no-such-folder"]
    )
    assert gpu_all.main() == 0
    rows = {line.split(" | ")[0].strip("| "): line for line in capsys.readouterr().out.splitlines() if "|" in line}
    assert set(rows) == {"step", "---", *(each.name for each in STEPS)}
    assert rows["check"].endswith("| an NVIDIA GPU |")
    assert rows["files"].endswith("| an NVIDIA GPU, module av |")
    assert f"{Path.cwd() / 'no-such-folder'} (--photos)" in rows["train"]
    assert "weights.pth" not in rows["blends"].split("|")[-2]  # training is to write them
    assert not (tmp_path / "out").exists()


def test_a_dry_run_shows_command_lines_that_a_shell_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    arguments = ["-o", str(tmp_path / "my out"), "--dry-run", "--train", "420", "--photos", "p q", "--workers", "5"]
    monkeypatch.setattr(sys, "argv", ["gpu_all.py", *arguments])
    assert gpu_all.main() == 0
    lines = [shlex.split(line) for line in capsys.readouterr().out.splitlines()]
    assert [Path(line[1]).name for line in lines] == [each.command[0] for each in STEPS]
    (training,) = (line for line in lines if line[1].endswith("train_by_clock.py"))
    assert training[training.index("--seconds") + 1] == "420"
    assert training[training.index("--photos") + 1] == str(Path.cwd() / "p q")
    assert not (tmp_path / "my out").exists()


@pytest.mark.parametrize("from_scratch", [False, True])
def test_training_goes_on_from_the_shipped_weights_or_begins_without(from_scratch: bool, tmp_path: Path):
    words = ["-o", str(tmp_path), "--train", "420", "--steps", "train,blends", *["--from-scratch"] * from_scratch]
    options = gpu_all.parsed(words)
    train, judge = (step.command_line(options.place, 420) for step in options.chosen)
    weights = str(tmp_path / "train" / "weights.pth")
    assert ("--weights" in train) is ("--compile" in train) is not from_scratch
    assert train[train.index("--recipe") + 1] == ("demo-gpu-scratch" if from_scratch else "demo-gpu")
    assert judge[judge.index("--model" if from_scratch else "--blend") + 1] == weights


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--from-scratch"], "--from-scratch needs --train SECONDS"),
        (["--steps", "check,nothing"], "no step nothing; there are: check, forms"),
        (["--steps", "train"], "step train needs --train SECONDS"),
        (["--steps", "check", "--train", "9"], "--train needs step train among --steps"),
        (["--seconds", "0"], "--seconds must be at least 1"),
        (["--workers", "0"], "--workers must be at least 1"),
    ],
)
def test_a_wrong_command_line_ends_with_one_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        gpu_all.parsed(["-o", "out", *words])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(("code", "status"), [(WRITES, 0), (FAILS, 1)])
def test_the_exit_code_says_whether_all_ended_well(
    code: str,
    status: int,
    step: Callable[..., Step],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.setattr(gpu_all, "STEPS", (step("only", code, "{folder}"),))
    monkeypatch.setattr(sys, "argv", ["gpu_all.py", "-o", str(tmp_path / "out")])
    assert gpu_all.main() == status
    assert capsys.readouterr().out.splitlines()[-1].startswith("| only | ")


def test_an_output_that_is_a_file_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "out").write_text("mine")
    monkeypatch.setattr(sys, "argv", ["gpu_all.py", "-o", str(tmp_path / "out")])
    assert gpu_all.main() == 2
    assert capsys.readouterr().err.startswith(f"error: {tmp_path / 'out'}: cannot be made")
    assert (tmp_path / "out").read_text() == "mine"
