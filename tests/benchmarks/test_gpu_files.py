"""The measurement of videos and folders on a GPU, with small ones and an engine that needs none."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from bright_engine import BrightEngine

pytest.importorskip("av")
pytest.importorskip("imagecodecs")

import gpu_files
from gpu_files import AUTO, CASES, NATIVE, Folder, Video

from dcdr_deploy.run.runner import Runner

SIZE = (72, 128)
SMALL = (
    Video(SIZE, "hevc", "ultrafast", 6),
    Video(SIZE, "prores", None, 6),
    Folder("exr", AUTO, 6, SIZE),
    Folder("avif", NATIVE, 6, SIZE),
)


def said(seconds: float, factor: float = 1.0) -> str:
    lines: list[str] = []
    gpu_files.run(Runner(BrightEngine()), seconds, factor, lines.append)
    return "\n".join(lines)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_files, "CASES", SMALL)


def test_every_kind_of_case_is_measured():
    text = said(1e9)
    assert re.findall(r"128x72, 6 frames, .*, (\S+)\n", text) == ["libx265", "prores_ks"]
    for stage in ("decode", "convert", "prepare", "infer", "light", "encode"):
        assert len(re.findall(rf"^\| {stage} \| [\d.]+ \| [\d.]+ \| [\d.]+ \|$", text, re.MULTILINE)) == 2
    assert text.count("6 files; of a frame, alone: network") == 2
    assert len(re.findall(r"\| ratio \|\n\|---.*\n\| [\d.]+ \| [\d.]+ \| [\d.]+ \| [\d.]+ \| [\d.]+ \|\n", text)) == 2
    assert "left out" not in text


def test_numbers_of_frames_and_files_can_be_changed():
    text = said(1e9, 2 / 3)
    assert "128x72, 4 frames" in text
    assert "\n4 files" in text


def test_cases_that_would_begin_too_late_are_left_out_and_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gpu_files, "CASES", CASES)
    text = said(-1)
    assert text.count("left out: the -1 s were over") == len(CASES)
    assert all(case.title in text for case in CASES)


def test_a_folder_holds_both_kinds_of_files_and_few_different_ones(tmp_path: Path):
    folder = gpu_files.make_folder(tmp_path / "in", 6, SIZE)
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["000.png", "001.jpg", "002.png", "003.jpg", "004.png", "005.jpg"]
    assert (folder / "004.png").samefile(folder / "000.png")
    assert (folder / "000.png").read_bytes() != (folder / "002.png").read_bytes()
