"""Files are whole or not there."""

import errno
import hashlib
import os
import shutil

import pytest

from dcdr_deploy.errors import OutputError
from dcdr_deploy.system import files
from dcdr_deploy.system.files import atomic_path, file_sha256


def test_target_appears_only_when_the_block_ends_well(tmp_path):
    target = tmp_path / "new" / "out.exr"
    with atomic_path(target) as temporary:
        temporary.write_bytes(b"whole")
        assert not target.exists()
        assert temporary.parent == target.parent
        assert temporary.suffix == ".exr"
        assert temporary.name.startswith(".")
    assert target.read_bytes() == b"whole"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_exceptions_pass_and_leave_the_old_file_and_nothing_else(tmp_path, error):
    target = tmp_path / "out.exr"
    target.write_bytes(b"old")

    def torn():
        with atomic_path(target) as temporary:
            temporary.write_bytes(b"half")
            raise error

    with pytest.raises(error):
        torn()
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_operating_system_errors_become_one_line_about_the_target(tmp_path):
    target = tmp_path / "out.exr"
    target.mkdir()
    with pytest.raises(OutputError, match="cannot be written") as caught, atomic_path(target) as temporary:
        temporary.write_bytes(b"whole")
    assert str(caught.value).startswith(str(target))
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == [target]


def test_a_sentence_of_a_library_goes_on_as_part_of_ours(tmp_path):
    with (
        pytest.raises(OutputError, match="cannot be written: No space left on device; choose"),
        atomic_path(tmp_path / "out.exr"),
    ):
        raise OSError("No space left on device.")


def test_a_block_that_writes_nothing_is_an_error_not_an_empty_file(tmp_path):
    with pytest.raises(OutputError), atomic_path(tmp_path / "out.exr"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_the_content_is_on_the_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    target, flushed, fsync = tmp_path / "out.exr", [], os.fsync

    def watched(descriptor):
        flushed.append((os.fstat(descriptor).st_ino, target.exists()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    with atomic_path(target) as temporary:
        temporary.write_bytes(b"whole")
    assert flushed[0] == (target.stat().st_ino, False)


def test_a_disk_that_turns_out_full_at_the_end_leaves_the_old_file(tmp_path, monkeypatch):
    target = tmp_path / "out.exr"
    target.write_bytes(b"old")

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left"), atomic_path(target) as temporary:
        temporary.write_bytes(b"new")
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_nested_use_on_one_target_uses_two_temporary_names(tmp_path):
    with atomic_path(tmp_path / "a.png") as first, atomic_path(tmp_path / "a.png") as second:
        assert first != second
        first.write_bytes(b"1")
        second.write_bytes(b"2")
    assert (tmp_path / "a.png").read_bytes() == b"1"


def test_a_name_that_is_too_long_is_not_told_to_free_space(tmp_path):
    target = tmp_path / ("a" * 256)
    with (
        pytest.raises(OutputError, match=r"File name too long; choose a shorter name$"),
        atomic_path(target) as temporary,
    ):
        temporary.write_bytes(b"whole")


class WaitedTooLong(TimeoutError):
    """What libraries raise that wait for another process, such as Ray."""


@pytest.mark.parametrize("error", [TimeoutError("no answer"), WaitedTooLong("no answer"), ChildProcessError("gone")])
def test_an_error_that_is_not_about_a_file_is_not_told_as_one(tmp_path, error):
    with pytest.raises(type(error), match=str(error)), atomic_path(tmp_path / "out.exr"):
        raise error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EACCES, "mend its permissions"),
        (errno.EROFS, "choose another place"),
        (errno.ETIMEDOUT, "a disk or a network fails: mend it, or choose another place"),
        (errno.EMFILE, "raise the limit of open files (`ulimit -n`)"),
    ],
)
def test_the_remedy_is_one_against_what_the_system_says(tmp_path, number, remedy):
    with pytest.raises(OutputError) as caught, atomic_path(tmp_path / "out.exr"):
        raise OSError(number, os.strerror(number))
    assert str(caught.value).startswith(f"{tmp_path / 'out.exr'}: cannot be written: {os.strerror(number)}; ")
    assert str(caught.value).endswith(remedy)
    assert ("space" in str(caught.value)) == (number == errno.ENOSPC)


@pytest.mark.parametrize("prefix", ["", "file:"])  # as FFmpeg names files
def test_another_file_that_fails_meanwhile_is_named_and_not_taken_for_the_target(tmp_path, prefix):
    with pytest.raises(OutputError) as caught, atomic_path(tmp_path / "out.mp4"):
        raise OSError(errno.EIO, os.strerror(errno.EIO), f"{prefix}{tmp_path / 'in.mp4'}")
    said = f"cannot be written: {tmp_path / 'in.mp4'}: {os.strerror(errno.EIO)}; see to that file"
    assert str(caught.value).startswith(f"{tmp_path / 'out.mp4'}: {said}")


@pytest.mark.parametrize("prefix", ["", "file:"])
def test_the_file_that_becomes_the_target_is_not_another_one(tmp_path, prefix):
    with pytest.raises(OutputError) as caught, atomic_path(tmp_path / "out.mp4") as temporary:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), f"{prefix}{temporary}")
    assert str(caught.value).endswith(f"written: {os.strerror(errno.ENOSPC)}; choose another place or free some space")


def test_names_near_the_limit_of_the_file_system(tmp_path):
    target = tmp_path / ("n" * 250 + ".exr")
    with atomic_path(target) as temporary:
        temporary.write_bytes(b"whole")
    assert target.exists()


@pytest.mark.parametrize(
    ("inside", "hidden"),
    [("a.jpg", False), ("._a.jpg", True), (".git/a.jpg", True), ("b/.DS_Store", True), ("b/a.jpg", False)],
)
def test_hidden_is_what_has_a_dot_in_front_wherever_it_lies(inside, hidden):
    assert files.is_hidden(inside) == hidden


def test_the_files_of_a_folder_are_those_that_people_see(tmp_path):
    for name in ("b.PNG", "a.png", "._a.png", "c.txt", "in/d.png", ".in/e.png", "f.png/g.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert files.files_in(tmp_path, (".png",)) == [tmp_path / "a.png", tmp_path / "b.PNG"]
    assert files.files_in(tmp_path, (".png",), below=True)[-1] == tmp_path / "in" / "d.png"


@pytest.fixture
def reads(monkeypatch):
    """Paths that were read for their digest."""
    seen = []
    real = files._digest
    monkeypatch.setattr(files, "_digest", lambda path: seen.append(path) or real(path))
    files._digest_at_rest.cache_clear()
    yield seen
    files._digest_at_rest.cache_clear()


def later(monkeypatch):
    now = files.time.time()
    monkeypatch.setattr(files.time, "time", lambda: now + 60)


def test_a_file_at_rest_is_digested_once_and_again_when_it_changed(tmp_path, reads, monkeypatch):
    path = tmp_path / "model.engine"
    path.write_bytes(b"first")
    later(monkeypatch)
    assert {file_sha256(path) for _ in range(3)} == {hashlib.sha256(b"first").hexdigest()}
    assert reads == [path]
    path.write_bytes(b"second, and longer")
    assert file_sha256(path) == hashlib.sha256(b"second, and longer").hexdigest()


def test_a_file_that_was_just_written_is_read_each_time(tmp_path, reads):
    path = tmp_path / "model.engine"
    path.write_bytes(b"one")
    assert {file_sha256(path) for _ in range(2)} == {hashlib.sha256(b"one").hexdigest()}
    assert reads == [path, path]  # a change within a tick of a coarse clock would show nowhere else


@pytest.mark.parametrize("stated", [None, "", "here", "./here", "~/here"])
def test_the_cache_is_in_the_home_folder_unless_an_absolute_path_says_where(tmp_path, monkeypatch, stated):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    if stated is not None:
        monkeypatch.setenv("XDG_CACHE_HOME", stated)
    assert files.cache_folder() == tmp_path / ".cache" / "dcdr-deploy"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "there"))
    assert files.cache_folder() == tmp_path / "there" / "dcdr-deploy"


def test_a_folder_that_vanishes_while_a_file_is_written_is_named(tmp_path):
    def lost():
        with atomic_path(tmp_path / "new" / "out.exr") as temporary:
            temporary.write_bytes(b"whole")
            shutil.rmtree(tmp_path / "new")

    with pytest.raises(OutputError, match="new: was deleted, moved or unmounted during the run"):
        lost()
