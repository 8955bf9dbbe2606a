"""What was measured is kept for this GPU alone, and read as data that names candidates."""

from __future__ import annotations

import json
import logging
import os
import stat
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from fake_cuda import FakeDriver

from dcdr_deploy.engines.cuda import memory as cuda
from dcdr_deploy.engines.cuda.measures import CUTS, FEWEST, SEPARATE, by_table
from dcdr_deploy.engines.cuda.tuning import kept
from dcdr_deploy.engines.cuda.tuning.candidates import BLOCK, candidates, with_candidates
from dcdr_deploy.engines.cuda.tuning.kept import Gpu

GPU = Gpu("NVIDIA GeForce RTX 3060", 86, 28, 13000, "13.0", "digest")
CHOSEN = {"64_64": next(iter(candidates(86)["64_64"])), BLOCK: next(iter(candidates(86)[BLOCK]))}


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def spoil(change) -> None:
    content = json.loads(GPU.path.read_text())
    change(content)
    GPU.path.write_text(json.dumps(content))


@pytest.mark.parametrize("cut", CUTS)
def test_what_is_written_is_read(cut):
    assert kept.write(GPU, CHOSEN, cut, {"seconds": 1.0})
    expected = replace(with_candidates(by_table(86), CHOSEN), cut=cut)
    assert kept.read(GPU) == expected
    assert expected.convolutions["64_64"] == candidates(86)["64_64"][CHOSEN["64_64"]]
    assert expected.block == candidates(86)[BLOCK][CHOSEN[BLOCK]]


def test_what_is_chosen_changes_the_texts_that_are_compiled():
    table = by_table(86)
    assert [table.text(source) for source in ("convolution", "dcrb_from_hidden", "picture")] == [None] * 3
    chosen = with_candidates(table, CHOSEN)
    assert chosen.text("picture") is None
    text, block = chosen.text("convolution"), chosen.text("dcrb_from_hidden")
    assert text is not None
    assert block is not None
    assert text.count("CONVOLUTION(convolution_") == len(table.convolutions)
    assert block.startswith(f"#define DCRB_THREADS {chosen.block.threads}\n")


def test_a_gpu_without_a_file_has_the_table_and_nothing_is_said(caplog):
    assert kept.read(GPU) == by_table(86)
    assert caplog.text == ""


@pytest.mark.parametrize(
    "other",
    [{"name": "another"}, {"multiprocessors": 30}, {"driver": 13010}, {"compiler": "13.1"}, {"sources": "other"}],
    ids=str,
)
def test_another_gpu_driver_compiler_or_source_has_the_table(other):
    kept.write(GPU, CHOSEN, FEWEST, {})
    assert kept.read(replace(GPU, **other)) == by_table(86)


def test_a_file_under_the_name_of_another_gpus_is_not_taken(caplog):
    other = replace(GPU, multiprocessors=30)
    kept.write(GPU, CHOSEN, FEWEST, {})
    GPU.path.rename(other.path)
    assert kept.read(other) == by_table(86)
    assert "is not as it was written; the table's kernels are taken" in caplog.text


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"kernels": {}}', b"null"])
def test_a_damaged_file_is_told_and_not_taken(content, caplog):
    kept.write(GPU, CHOSEN, FEWEST, {})
    GPU.path.write_bytes(content)
    assert kept.read(GPU) == by_table(86)
    assert "is not as it was written" in caplog.text


@pytest.mark.parametrize(
    ("kind", "label"),
    [
        ("64_64", "rows=9 /1"),
        ("64_64", 5),
        ("64_64", ["rows=2 /1"]),
        ("63_64", "rows=2 stages=1 /1"),
        ("4_32", "/2"),
        ("64_64", "rows=3 warps_n=1 stages=1 wgmma=1 workers=3 /1"),  # of SM90 alone
    ],
)
def test_what_is_not_known_is_the_tables_and_the_rest_is_taken(kind, label, caplog):
    kept.write(GPU, {BLOCK: CHOSEN[BLOCK]}, FEWEST, {})
    spoil(lambda content: content["kernels"].update({kind: label}))
    assert kept.read(GPU) == replace(with_candidates(by_table(86), {BLOCK: CHOSEN[BLOCK]}), cut=FEWEST)
    assert f"names a kernel that is not known, for {kind}" in caplog.text


@pytest.mark.parametrize("cut", [None, 3, "no launch at all", ["one launch each"]])
def test_a_form_that_is_not_known_is_the_tables(cut, caplog):
    kept.write(GPU, CHOSEN, FEWEST, {})
    spoil(lambda content: content.update(cut=cut))
    assert kept.read(GPU).cut == SEPARATE
    assert "names a form of frames that is not known" in caplog.text


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="has no owners")
@pytest.mark.parametrize("place", ["file", "folder", "cache"])
def test_what_others_can_write_is_not_taken(place, caplog):
    kept.write(GPU, CHOSEN, FEWEST, {})
    assert stat.S_IMODE(GPU.path.stat().st_mode) == 0o600
    path = {"file": GPU.path, "folder": GPU.path.parent, "cache": GPU.path.parent.parent}[place]
    path.chmod(0o777)
    with caplog.at_level(logging.WARNING):
        assert kept.read(GPU) == by_table(86)
        if place != "file":
            assert not kept.write(GPU, CHOSEN, FEWEST, {})
    assert "can be written by others" in caplog.text


def test_what_is_forgotten_is_gone():
    assert not kept.forget(GPU)
    kept.write(GPU, CHOSEN, FEWEST, {})
    assert kept.forget(GPU)
    assert kept.read(GPU) == by_table(86)


def test_a_gpu_is_known_by_all_that_times_depend_on(monkeypatch):
    monkeypatch.setattr(cuda, "load_driver", lambda: FakeDriver(sms=[89], multiprocessors=24))
    monkeypatch.setattr(kept, "compiler_version", lambda: "13.2")
    device = cuda.Device(0)
    gpu = kept.gpu_of(device)
    assert asdict(gpu) | {"sources": ""} == {
        "name": "Fake GPU",
        "sm": 89,
        "multiprocessors": 24,
        "driver": 13000,
        "compiler": "13.2",
        "sources": "",
    }
    monkeypatch.setattr(kept, "source_hash", lambda source: "changed")
    assert kept.gpu_of(device).sources != gpu.sources
