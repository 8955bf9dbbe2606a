"""What a process keeps for a while is gone with it, also where it was killed."""

import errno
import shutil
import subprocess
import sys

import pytest

from dcdr_deploy.system import locks, scratch
from dcdr_deploy.system.scratch import scratch_folder

KILLED = """
import os, signal, sys
from dcdr_deploy.system.scratch import scratch_folder
with scratch_folder("dcdr-test-") as folder:
    (folder / "picture.png").write_bytes(b"private")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)


def test_a_folder_goes_with_its_block(tmp_path):
    with scratch_folder("dcdr-test-") as folder:
        assert list(folder.iterdir()) == []
        (folder / "picture.png").touch()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="has no SIGKILL")
def test_what_a_killed_process_left_goes_with_the_next_one(tmp_path):
    subprocess.run([sys.executable, "-c", KILLED], check=False)
    assert len(list(tmp_path.rglob("picture.png"))) == 1
    with scratch_folder("dcdr-test-"):
        assert list(tmp_path.rglob("picture.png")) == []


def test_the_folder_of_one_that_lives_and_those_of_others_stay(tmp_path):
    for name in ("dcdr-test-being-made", "dcdr-other-1"):
        (tmp_path / name).mkdir()
    with scratch_folder("dcdr-test-") as first:
        (first / "picture.png").touch()
        with scratch_folder("dcdr-test-"):
            assert (first / "picture.png").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dcdr-other-1", "dcdr-test-being-made"]


def test_a_link_in_the_place_of_a_folder_is_not_followed(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "lock").touch()
    (tmp_path / "dcdr-test-link").symlink_to(tmp_path / "mine")
    with scratch_folder("dcdr-test-"):
        assert (tmp_path / "mine" / "lock").exists()


def test_a_folder_that_another_process_takes_for_a_left_one_before_it_is_locked_is_made_anew(tmp_path, monkeypatch):
    taken = []

    def too_late(path):
        if not taken:
            taken.append(path.parent)
            shutil.rmtree(path.parent)
        return locks.locked(path)

    monkeypatch.setattr(scratch, "locked", too_late)
    with scratch_folder("dcdr-test-") as folder:
        assert folder.is_dir()
        assert folder.parent != taken[0]


def test_where_files_cannot_be_locked_only_its_own_process_removes_a_folder(tmp_path, monkeypatch):
    def refuse(descriptor):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locks, "_lock", refuse)
    with scratch_folder("dcdr-test-") as first, scratch_folder("dcdr-test-"):
        assert first.is_dir()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_can_be_made_elsewhere(tmp_path):
    (tmp_path / "short").mkdir()
    with scratch_folder("dcdr-test-", tmp_path / "short") as folder:
        assert folder.is_relative_to(tmp_path / "short")
    assert list((tmp_path / "short").iterdir()) == []
