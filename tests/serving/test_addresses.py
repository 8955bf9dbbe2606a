"""Files at addresses, on a file system of this machine: no network, no other process."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("fsspec")

from dcdr_deploy.errors import MissingDependency, OutputError
from dcdr_deploy.serving import addresses
from dcdr_deploy.serving.addresses import Address, address_of, file_system, identity, put


@pytest.mark.parametrize(
    "text", ["s3://bucket/a b/c.png", "gs://bucket/c.png", "memory://x/y", "file:///tmp/x/y.png", "s3://bucket"]
)
def test_an_address_keeps_its_text(text):
    assert str(Address(text)) == text
    assert str(Address(text) / "name.png") == f"{text}/name.png"
    assert Address(text).scheme == text.partition(":")[0]


def test_a_local_path_has_an_address_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(address_of("photos")) == f"file://{tmp_path}/photos"
    assert address_of("s3://a/b") == Address("s3://a/b")


@pytest.mark.parametrize("name", ["my photos", "Fotos für später", "100%25", "a#b"])
def test_any_name_of_a_local_folder_is_kept(tmp_path, name):
    (tmp_path / "made").write_bytes(b"new")
    put(tmp_path / "made", address_of(tmp_path / name) / "a b.exr")
    assert (tmp_path / name / "a b.exr").read_bytes() == b"new"


def test_the_content_counts_where_the_store_tells_of_it():
    same = {"ETag": '"abc"', "size": 3, "LastModified": "monday"}
    assert identity(same) == identity({**same, "LastModified": "tuesday"}) == "abc 3"
    assert identity({"mtime": 1.0, "size": 3}) != identity({"mtime": 2.0, "size": 3})


def test_on_a_file_system_a_file_gets_its_name_when_it_is_whole(tmp_path, monkeypatch):
    (tmp_path / "made").write_bytes(b"new")
    target = address_of(tmp_path / "deep" / "a.exr")
    put(tmp_path / "made", target)
    assert (tmp_path / "deep" / "a.exr").read_bytes() == b"new"

    def half(self, here, there, **options):
        Path(there).write_bytes(b"ha")
        raise OSError("the disk is full")

    monkeypatch.setattr("fsspec.implementations.local.LocalFileSystem.put_file", half)
    (tmp_path / "made").write_bytes(b"newer")
    with pytest.raises(OutputError, match=r"a\.exr: cannot be written \(the disk is full\)"):
        put(tmp_path / "made", target)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a.exr"]
    assert (tmp_path / "deep" / "a.exr").read_bytes() == b"new"


def test_a_missing_package_is_told(monkeypatch):
    monkeypatch.setattr("fsspec.core.url_to_fs", missing)
    monkeypatch.setattr(addresses, "_of_pyarrow", lambda address: None)
    with pytest.raises(MissingDependency, match="s3://a/b needs another package: Install s3fs"):
        file_system(Address("s3://a/b"))


def missing(address: str) -> None:
    raise ImportError("Install s3fs to access S3")
