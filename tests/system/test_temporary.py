"""Temporary files: unguessable, short, on the disk before they get their names, and gone with their processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dcdr_deploy.errors import InputError, OutputError
from dcdr_deploy.system import temporary
from dcdr_deploy.system.files import atomic_path, is_url, open_to_append, refuse_no_path
from dcdr_deploy.system.temporary import create_temporary, remove_leftovers


@pytest.fixture(autouse=True)
def every_folder_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(temporary, "_searched", set())


@pytest.mark.parametrize(
    "name", ["名" * 80 + ".exr", "n" * 250 + ".exr", os.fsdecode(b"\xff\xfe.exr"), "a\nb.png", "é.tif"]
)
def test_any_legal_name_can_be_written(tmp_path: Path, name: str) -> None:
    target = tmp_path / name
    with atomic_path(target) as path:
        assert path.name.isascii()
        assert len(path.name) < 80
        assert path.suffix == target.suffix
        path.write_bytes(b"whole")
    assert target.read_bytes() == b"whole"


def test_names_cannot_be_guessed(tmp_path: Path) -> None:
    names = {create_temporary(tmp_path / "a.exr").name.split("-")[-1] for _ in range(50)}
    assert len(names) == 50
    assert all(len(name.partition(".")[0]) == 12 for name in names)


def test_a_planted_link_is_never_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    tokens = iter(["0" * 12, "1" * 12])
    monkeypatch.setattr(temporary.secrets, "token_hex", lambda count: next(tokens))
    planted = create_temporary(tmp_path / "a.exr")
    planted.unlink()
    planted.symlink_to(victim)
    tokens = iter(["0" * 12, "1" * 12])
    with atomic_path(tmp_path / "a.exr") as path:
        assert path != planted
        path.write_bytes(b"whole")
    assert victim.read_text() == "precious"


def test_lines_are_not_appended_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "list").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match="symbolic"):
        open_to_append(tmp_path / "list")
    assert not (tmp_path / "victim").exists()


KILLED = """
import os, signal, sys
from dcdr_deploy.system.files import atomic_path
with atomic_path(sys.argv[1]) as path:
    path.write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="has no SIGKILL")
def test_what_a_killed_process_left_is_removed_by_the_next_write(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "a.exr")], check=False)
    assert len(list(tmp_path.iterdir())) == 1
    with atomic_path(tmp_path / "b.exr") as path:
        path.write_bytes(b"whole")
    assert [entry.name for entry in tmp_path.iterdir()] == ["b.exr"]


def test_what_belongs_to_others_stays(tmp_path: Path) -> None:
    ours = create_temporary(tmp_path / "a.exr")
    host, _, token = ours.name.removeprefix(".dcdr-").split("-")
    elsewhere = tmp_path / f".dcdr-{'0' * 8 if host != '0' * 8 else '1' * 8}-{2**22 + 5}-{token}"
    strangers = [elsewhere, tmp_path / ".dcdr-notes.txt", tmp_path / ".other.tmp"]
    for path in strangers:
        path.touch()
    remove_leftovers(tmp_path)
    assert ours.exists()
    assert all(path.exists() for path in strangers)


@pytest.mark.parametrize(("days", "stays"), [(6, True), (8, False)])
def test_what_another_machine_has_not_touched_for_a_week_goes(tmp_path: Path, days: int, stays: bool) -> None:
    """Such as a container that was killed, whose name and processes nobody knows any more."""
    elsewhere = tmp_path / f".dcdr-01234567-1-{'0' * 12}.tmp.exr"
    elsewhere.touch()
    then = time.time() - days * 24 * 3600
    os.utime(elsewhere, (then, then))
    with atomic_path(tmp_path / "a.exr") as path:
        path.write_bytes(b"whole")
    assert elsewhere.exists() == stays


@pytest.mark.skipif(sys.platform != "linux", reason="namespaces of Linux")
def test_a_container_of_the_same_name_is_another_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its processes have numbers of their own: 1 there may be at work where there is no such process here."""
    monkeypatch.setattr(temporary, "_process_numbers", lambda: 1)
    there = create_temporary(tmp_path / "a.exr")
    monkeypatch.undo()
    there = there.rename(tmp_path / there.name.replace(f"-{os.getpid()}-", f"-{2**22 + 5}-"))
    remove_leftovers(tmp_path, again=True)
    assert there.exists()


def test_an_empty_file_gets_no_name(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match=r"a\.exr: cannot be written: nothing was written"),
        atomic_path(tmp_path / "a.exr"),
    ):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "path", ["https://host/o.exr", "s3://bucket/a", "https:/host/o.exr", "HTTP://x", "file:///a.png"]
)
def test_addresses_are_refused_by_name(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert is_url(path)
    with pytest.raises(InputError, match="is an address, not a file"):
        refuse_no_path(path, InputError)
    with pytest.raises(OutputError, match="is an address"), atomic_path(path):
        pass
    assert not list(tmp_path.iterdir())


def test_an_address_is_named_as_it_was_typed() -> None:
    with pytest.raises(InputError, match=r"^https://host/a\.png is an address"):
        refuse_no_path(Path("https://host/a.png"), InputError)


def test_no_folder_called_tilde_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OutputError, match=r"^~/hdr/o\.exr: no shell has put your home folder in the place of ~"):
        refuse_no_path("~/hdr/o.exr", OutputError)
    for name in ("~o.exr", "a/~/o.exr"):
        refuse_no_path(name, OutputError)
    (tmp_path / "~").mkdir()
    refuse_no_path("~/o.exr", OutputError)


@pytest.mark.parametrize("path", ["C:/a.png", "c:\\a.png", "a:b.png", "folder/https", "./https:/a", "a b://c"])
def test_names_with_colons_are_names(path: str) -> None:
    assert not is_url(path)
