"""Folders at addresses as jobs, with fsspec's file system in memory: no network, no other process."""

from __future__ import annotations

import io
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

pytest.importorskip("fsspec")

from fsspec.implementations.memory import MemoryFileSystem

from dcdr_deploy.errors import InputError
from dcdr_deploy.run.outputs import ConvertOptions
from dcdr_deploy.serving.addresses import Address, address_of
from dcdr_deploy.serving.staging import AddressStore, plan_addresses, staged

SOURCE, TARGET = Address("memory://bucket/in"), Address("memory://bucket/out")
PLAIN = ConvertOptions()


@pytest.fixture
def memory() -> Iterator[MemoryFileSystem]:
    system = MemoryFileSystem()
    system.store.clear()
    yield system
    system.store.clear()


@pytest.fixture
def give(memory: MemoryFileSystem) -> Callable[[str], bytes]:
    def picture(name: str) -> bytes:
        stream = io.BytesIO()
        Image.new("RGB", (8, 8), "white").save(stream, "PNG")
        memory.pipe_file(f"/bucket/in/{name}", stream.getvalue())
        return stream.getvalue()

    return picture


def test_pictures_are_found_and_named_as_in_a_folder(give, memory):
    looks = ("x.preview.png", "x.sheet.png")
    for name in ("frame10.png", "frame2.png", "a.jpg", "a.png", "deep/b.tif", ".hidden/c.png", *looks):
        give(name)
    memory.pipe_file("/bucket/in/notes.txt", b"x")
    plan = plan_addresses(SOURCE, TARGET, PLAIN, recursive=False)
    assert [job.name for job in plan.jobs] == ["a.jpg.exr", "a.png.exr", "frame2.exr", "frame10.exr"]
    assert (str(plan.jobs[2].source), str(plan.jobs[2].output)) == (f"{SOURCE}/frame2.png", f"{TARGET}/frame2.exr")
    assert any("1 .txt left out" in note for note in plan.notes)
    assert any("2 files named *.preview.png or *.sheet.png left out" in note for note in plan.notes)
    assert any("2 pictures share a name with another but for the suffix" in note for note in plan.notes)
    assert plan.left_out == {".txt": 1}
    assert "deep/b.exr" in [job.name for job in plan_addresses(SOURCE, TARGET, PLAIN, recursive=True).jobs]


@pytest.mark.parametrize(
    ("source", "target", "options", "sentence"),
    [
        ("memory://bucket/none", TARGET, PLAIN, "no such folder"),
        (SOURCE, SOURCE, ConvertOptions(format="png"), "is an input and would be overwritten"),
        (SOURCE, TARGET, ConvertOptions(gain_map=Path("gain")), "leave `gain_map` out"),
        ("nonsense://x/y", TARGET, PLAIN, "nonsense://x/y: cannot be used"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(give, source, target, options, sentence):
    give("a.png")
    with pytest.raises(InputError) as raised:
        plan_addresses(Address(source), target, options, recursive=False)
    assert sentence in str(raised.value)
    assert "\n" not in str(raised.value)


def test_outputs_beside_their_inputs_are_not_told_as_left_out(give, memory):
    give("a.png")
    memory.pipe_file("/bucket/in/a.exr", b"light")
    assert plan_addresses(SOURCE, SOURCE, PLAIN, recursive=True).notes == ()
    assert plan_addresses(SOURCE, TARGET, PLAIN, recursive=True).left_out == {".exr": 1}


def test_a_folder_without_pictures_is_told(memory):
    memory.pipe_file("/bucket/in/notes.txt", b"x")
    with pytest.raises(InputError, match="holds no pictures"):
        plan_addresses(SOURCE, TARGET, PLAIN, recursive=True)


def test_a_staged_picture_lies_here_and_what_is_written_goes_where_it_belongs(give, memory):
    content = give("deep/a.png")
    (job,) = plan_addresses(SOURCE, TARGET, PLAIN, recursive=True).jobs
    with staged(job, "settings", PLAIN) as near:
        folder = near.job.source.parents[1]
        assert near.job.source.read_bytes() == content
        near.job.output.write_bytes(b"light")
        near.job.output.with_suffix(".preview.png").write_bytes(b"preview")
        assert not memory.exists("/bucket/out/deep/a.exr")
    assert memory.cat_file("/bucket/out/deep/a.exr") == b"light"
    assert memory.cat_file("/bucket/out/deep/a.preview.png") == b"preview"
    assert not folder.exists()
    assert (near.wanted.output, near.wanted.input) == ("deep/a.exr", f"{SOURCE}/deep/a.png")


def test_nothing_is_put_where_the_work_fails_and_the_address_is_named(give, memory):
    give("a.png")
    (job,) = plan_addresses(SOURCE, TARGET, PLAIN, recursive=False).jobs

    def fail() -> None:
        with staged(job, "", PLAIN) as near:
            near.job.output.write_bytes(b"half")
            raise InputError(f"{near.job.source}: is damaged")

    with pytest.raises(InputError, match=f"^{SOURCE}/a.png: is damaged$"):
        fail()
    assert not memory.exists("/bucket/out/a.exr")


def test_a_picture_that_is_gone_is_its_own_failure(give, memory):
    give("a.png")
    (job,) = plan_addresses(SOURCE, TARGET, PLAIN, recursive=False).jobs
    memory.rm_file("/bucket/in/a.png")
    with pytest.raises(InputError, match=f"{SOURCE}/a.png: no such file"), staged(job, "", PLAIN):
        pass


def test_the_store_knows_inputs_by_what_it_is_told_and_outputs_by_their_size(give, memory):
    give("a.png")
    memory.pipe_file("/bucket/out/a.exr", b"12345")
    (job,) = plan_addresses(SOURCE, TARGET, PLAIN, recursive=False).jobs
    store = AddressStore(SOURCE, TARGET)
    first = store.wanted(job, "settings", PLAIN)
    with staged(job, "settings", PLAIN) as near:
        assert near.wanted == first
        near.job.output.write_bytes(b"x")
    assert (store.size(job.output), store.size(Path("gone"))) == (5, None)
    give("a.png")
    assert AddressStore(SOURCE, TARGET).wanted(job, "settings", PLAIN) != first


def test_where_fsspec_lacks_a_package_pyarrow_s_file_system_is_taken(tmp_path, monkeypatch):
    pytest.importorskip("pyarrow")
    monkeypatch.setattr("fsspec.core.url_to_fs", missing)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(b"picture")
    source, target = address_of(tmp_path / "in"), address_of(tmp_path / "out")
    (job,) = plan_addresses(source, target, PLAIN, recursive=False).jobs
    with staged(job, "", PLAIN) as near:
        assert near.job.source.read_bytes() == b"picture"
        near.job.output.write_bytes(b"light")
    assert (tmp_path / "out" / "a.exr").read_bytes() == b"light"
    assert AddressStore(source, target).size(job.output) == 5


def missing(address: str) -> None:
    raise ImportError("Install s3fs to access S3")


KILLED = """
import os, signal, sys
from dcdr_deploy.run.outputs import ConvertOptions
from dcdr_deploy.serving.addresses import address_of
from dcdr_deploy.serving.staging import plan_addresses, staged
source, target = map(address_of, sys.argv[1:])
(job,) = plan_addresses(source, target, ConvertOptions(), recursive=False).jobs
with staged(job, "", ConvertOptions()):
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="has no SIGKILL")
def test_a_picture_that_a_killed_worker_had_fetched_goes_when_the_next_one_is(give, tmp_path, monkeypatch):
    for name in ("temporary", "photos"):
        (tmp_path / name).mkdir()
    (tmp_path / "photos" / "private.png").write_bytes(give("a.png"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "photos"), str(tmp_path / "hdr")], check=False)
    assert len(list((tmp_path / "temporary").rglob("private.png"))) == 1
    (job,) = plan_addresses(SOURCE, TARGET, PLAIN, recursive=False).jobs
    with staged(job, "", PLAIN):
        assert [path.name for path in (tmp_path / "temporary").rglob("*.png")] == ["a.png"]
        with staged(job, "", PLAIN):  # another worker's
            assert [path.name for path in (tmp_path / "temporary").rglob("*.png")] == ["a.png", "a.png"]
    assert list((tmp_path / "temporary").iterdir()) == []
