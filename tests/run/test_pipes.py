"""What can be read only once is refused where it is read more often, and nothing waits for it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from dcdr_deploy.errors import InputError
from dcdr_deploy.imaging.read_hdr import read_hdr
from dcdr_deploy.run.file import PreparedFile
from dcdr_deploy.run.jobs import Job
from dcdr_deploy.run.ledger import wanted_of
from dcdr_deploy.run.outputs import ConvertOptions
from dcdr_deploy.run.picture import decode
from dcdr_deploy.run.video.opening import open_video
from dcdr_deploy.view.pairs import in_a_row

pytestmark = pytest.mark.skipif(os.name == "nt", reason="pipes by name are those of POSIX")


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[Path]:
    """A named pipe that holds a byte and has a writer: opening it does not wait, reading it to the end would."""
    path = tmp_path / "pipe.png"
    os.mkfifo(path)
    kept_open = os.open(path, os.O_RDWR)
    os.write(kept_open, b"\x89")
    yield path
    os.close(kept_open)


def prepared(path: Path) -> PreparedFile:
    return PreparedFile(path, path.with_name("out.exr"))


def opened_as_video(path: Path) -> None:
    pytest.importorskip("av")
    with open_video(path):
        pytest.fail("opened")


def shown(path: Path) -> object:
    return in_a_row([path])


@pytest.mark.parametrize("read", [prepared, decode, read_hdr, opened_as_video, shown])
def test_a_pipe_is_refused_by_name(pipe: Path, read) -> None:
    with pytest.raises(InputError, match=r"pipe\.png: is a pipe or a device, not a file; save its content"):
        read(pipe)


def test_books_do_not_read_a_pipe_to_know_it_again(pipe: Path) -> None:
    assert wanted_of(Job(pipe, pipe.with_name("out.exr"), "out.exr"), "settings", ConvertOptions()) is None
