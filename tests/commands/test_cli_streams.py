"""The command line on terminals that cannot take everything: closed and full streams, other encodings, signals."""

from __future__ import annotations

import errno
import os
import re
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from screen import Screen

from dcdr_deploy.cli import main

RUN = [sys.executable, "-m", "dcdr_deploy", "run"]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="streams of POSIX shells")


@pytest.fixture
def photos(tmp_path: Path, make_picture) -> Path:
    folder = tmp_path / "photos"
    for name in ("絵.png", "b.png", "\x1b[31mred\n.png"):
        make_picture(folder / name, size=(8, 8))
    return folder


def shell(
    line: str, photos: Path, out: Path, tiny_model: Path, **environment: str
) -> subprocess.CompletedProcess[bytes]:
    names = {"IN": str(photos), "OUT": str(out), "MODEL": str(tiny_model), "PYTHON": sys.executable}
    run = '"$PYTHON" -m dcdr_deploy run "$IN" "$OUT" -m "$MODEL" '
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", line.replace("RUN", run)],
        env={**os.environ, **names, **environment},
        capture_output=True,
        check=False,
        timeout=120,
    )


def converted(out: Path) -> int:
    return len(list(out.glob("*.exr")))


def test_a_terminal_without_the_name_s_letters_gets_escapes(photos: Path, tmp_path: Path, tiny_model: Path) -> None:
    result = shell("RUN", photos, tmp_path / "out", tiny_model, PYTHONIOENCODING="cp1252", PYTHONUTF8="0")
    assert (result.returncode, converted(tmp_path / "out")) == (0, 3), result.stderr
    assert b"\\u7d75.exr" in result.stdout


def test_names_cannot_command_the_terminal(photos: Path, tmp_path: Path, tiny_model: Path) -> None:
    result = shell("RUN -v", photos, tmp_path / "out", tiny_model)
    assert b"\x1b" not in result.stdout + result.stderr
    assert b"\\x1b[31mred\\n.exr" in result.stdout


def test_a_closed_stderr_changes_nothing(photos: Path, tmp_path: Path, tiny_model: Path) -> None:
    result = shell("RUN 2>&-", photos, tmp_path / "out", tiny_model)
    assert (result.returncode, converted(tmp_path / "out")) == (0, 3)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("RUN >/dev/full", b"No space left"),
        ("RUN | head -c 0", b"its reader is gone"),
        ('"$PYTHON" -m dcdr_deploy --help >/dev/full', b"No space left"),
        ('"$PYTHON" -m dcdr_deploy run --help >/dev/full', b"No space left"),
    ],
)
def test_a_stdout_that_fails_is_told_in_one_line(
    photos: Path, tmp_path: Path, tiny_model: Path, line: str, words: bytes
) -> None:
    result = shell(line, photos, tmp_path / "out", tiny_model)
    told = [each for each in result.stderr.splitlines() if each.startswith(b"error: ")]
    assert result.returncode == 2, result.stderr
    assert len(told) == 1
    assert words in told[0]
    assert b"Traceback" not in result.stderr
    assert b"Exception ignored" not in result.stderr


@contextmanager
def on_terminal(photos: Path, out: Path, model: Path, columns: int) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """``run`` with a real terminal as stdin and stderr; gives the process and the terminal's other end."""
    import fcntl
    import pty
    import termios

    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("4H", 24, columns, 0, 0))
    with subprocess.Popen(
        [*RUN, photos, out, "-m", model],
        stdin=its,
        stderr=its,
        stdout=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # so that Ctrl-C is for it
    ) as process:
        os.close(its)
        try:
            yield process, ours
        finally:
            process.kill()
            os.close(ours)


def written(terminal: int, until: bytes = b"") -> bytes:
    """What is written to a terminal, until some text comes or everybody has closed it."""
    text = b""
    while not until or until not in text:
        try:
            text += os.read(terminal, 1024)
        except OSError:  # how Linux tells the end
            return text
    return text


@pytest.mark.parametrize("columns", [80, 40])
def test_on_a_terminal_the_bar_is_gone_at_the_end_and_results_are_on_stdout(
    photos: Path, tmp_path: Path, tiny_model: Path, columns: int
) -> None:
    with on_terminal(photos, tmp_path / "out", tiny_model, columns) as (process, terminal):
        text = written(terminal)
        assert process.stdout is not None
        assert process.stdout.read().count(b"\n") == 3
        assert process.wait(60) == 0
    assert b"left" in text  # of the bar
    screen = Screen(columns)
    screen.write(text.decode())
    told = "".join(screen.rows)
    assert "left" not in told
    assert told.startswith("model: ")
    assert re.search(r"3 converted into .*/out; [\d.]+ s$", told)


def test_ctrl_c_leaves_the_terminal_clean(tmp_path: Path, make_picture, tiny_model: Path) -> None:
    photos = tmp_path / "photos"
    for name in "abcdefgh":
        make_picture(photos / f"{name}.png", size=(1600, 1600))
    with on_terminal(photos, tmp_path / "out", tiny_model, 80) as (process, terminal):
        text = written(terminal, b"left")
        os.write(terminal, b"\x03")
        text += written(terminal)
        assert process.wait(60) == 130
    screen = Screen(80)
    screen.write(text.decode())
    assert screen.rows[-2:] == ["interrupted; what was finished is kept", ""]
    assert "left" not in "".join(screen.rows)
    assert "^C" not in "".join(screen.rows)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
@pytest.mark.parametrize("times", [1, 4])
def test_signals_end_a_run_like_ctrl_c(tmp_path: Path, make_picture, number: signal.Signals, times: int) -> None:
    make_picture(tmp_path / "a.png", level=255, size=(1600, 1600))  # what is not clipped needs no network
    # Small tiles: a run ends when the one in the network is done.
    files = str(tmp_path / "a.png"), str(tmp_path / "a.exr")
    command = [*RUN, *files, "--scale", "native", "--tile", "256"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith(b"backend: "):
            break
    for _ in range(times):
        process.send_signal(number)
        time.sleep(0.1)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said.strip()) == (130, b"interrupted; what was finished is kept")
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize("filename", ["film.ts", None])
def test_a_disk_that_fails_under_a_run_is_one_line(monkeypatch, filename):
    def failing(*_arguments):
        raise OSError(errno.EIO, os.strerror(errno.EIO), filename)

    monkeypatch.setattr(click.Group, "invoke", failing)
    result = CliRunner().invoke(main, ["doctor"])
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith(
        f"error: {filename + ': ' if filename else ''}{os.strerror(errno.EIO)}; a disk or a network fails"
    )


def test_an_error_of_our_own_keeps_its_traceback(monkeypatch):
    def failing(*_arguments):
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    monkeypatch.setattr(click.Group, "invoke", failing)
    assert isinstance(CliRunner().invoke(main, ["doctor"]).exception, OSError)
