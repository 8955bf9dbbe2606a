"""`dcdr-deploy export` and `inspect` as a user calls them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from dcdr_deploy.cli import main
from dcdr_deploy.export.checkpoint import ExportReport


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_export_reports_figures_and_names_the_next_command(single_checkpoint: Path, tmp_path: Path) -> None:
    shutil.copy(single_checkpoint, tmp_path / "model.pth")
    result = call("export", tmp_path / "model.pth", "--peak", "4")
    assert result.exit_code == 0, result.output
    assert f"wrote {tmp_path / 'model.onnx'}" in result.stdout
    assert result.stdout.count("max abs error") == 2
    assert result.stdout.strip().splitlines()[-1].startswith("next: dcdr-deploy run in.png out.exr --model")
    assert "verifying" in result.stderr


def test_an_fp16_export_says_what_its_check_does_not_cover(single_checkpoint: Path, tmp_path: Path) -> None:
    result = call("export", single_checkpoint, "-o", tmp_path / "m.onnx", "--fp16")
    assert result.exit_code == 0, result.output
    assert "computes FP16 files in FP32" in result.stdout


def test_export_without_verification_says_so(single_checkpoint: Path, tmp_path: Path) -> None:
    result = call("export", single_checkpoint, "-o", tmp_path / "m.onnx", "--no-verify", "--json")
    report = json.loads(result.stdout)
    assert report["verified"] == []
    assert Path(report["path"]).stat().st_size == report["bytes"]


def test_the_exported_file_runs(exported: ExportReport, tmp_path: Path) -> None:
    import cv2
    import numpy as np

    cv2.imwrite(str(tmp_path / "in.png"), np.full((30, 42, 3), 90, np.uint8))
    result = call("run", tmp_path / "in.png", tmp_path / "out.exr", "--model", exported.path)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out.exr").is_file()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["missing.pth"], "no such checkpoint"),
        (["model.pth", "-o", "out.engine"], "needs the suffix .onnx"),
        (["model.pth", "--static", "30x40"], "multiples of 4"),
        (["model.pth", "--static", "big"], "HEIGHTxWIDTH"),
        (["model.pth", "--peak", "-1"], "--peak"),
        (["other.pth"], "is of no known network"),
        (["model.pth", "--calibrate", "nowhere"], "holds no pictures"),
    ],
)
def test_wrong_moves_exit_with_2_and_a_sentence(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], complaint: str
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(checkpoint, "model.pth")
    torch.save({"fc.weight": torch.zeros(1)}, "other.pth")
    result = call("export", *arguments)
    assert result.exit_code == 2
    assert complaint in result.stderr
    assert "Traceback" not in result.output
    assert not list(tmp_path.glob("*.onnx"))


def test_offsets_can_be_measured_on_own_pictures(checkpoint: Path, tmp_path: Path) -> None:
    import cv2
    import numpy as np

    picture = np.random.default_rng(0).integers(0, 255, (50, 70, 3)).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), picture)
    result = call("export", checkpoint, "-o", tmp_path / "m.onnx", "--no-verify", "--calibrate", tmp_path, "--json")
    assert json.loads(result.stdout)["overlap"] > 84


def test_inspect_an_onnx_file(exported: ExportReport) -> None:
    data = json.loads(call("inspect", exported.path, "--json").stdout)
    assert data["kind"] == "onnx"
    assert data["operators"]["dcdr"] == {"DCRB": 4}
    assert {function["name"] for function in data["functions"]} == {"dcdr::DCRB", "dcdr::DeformConv2d"}
    assert data["inputs"] == [{"name": "sdr", "type": "float", "shape": ["n", 3, "4*h", "4*w"]}]
    assert data["metadata"]["dcdr.peak"] == "4.0"


def test_inspect_a_checkpoint(checkpoint: Path, exported: ExportReport) -> None:
    data = json.loads(call("inspect", checkpoint, "--json").stdout)
    assert data["kind"] == "checkpoint"
    assert data["architecture"]["width"] == 8
    assert data["deformable_blocks"] == 4
    # All weights and a few constants of the graph.
    assert 0 <= json.loads(call("inspect", exported.path, "--json").stdout)["parameters"] - data["parameters"] < 50


def test_inspect_prints_readable_lines(exported: ExportReport) -> None:
    text = call("inspect", exported.path).stdout
    assert "sdr  type float  shape n x 3 x 4*h x 4*w" in text
    assert "    DCRB: 4" in text


@pytest.mark.parametrize(
    ("name", "content"), [("a.onnx", b"junk" * 50), ("a.onnx", b""), ("a.txt", b"x"), ("a.pth", b"junk")]
)
def test_inspect_refuses_what_it_does_not_know(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    result = call("inspect", tmp_path / name)
    assert result.exit_code == 2
    assert name in result.stderr
    assert "Traceback" not in result.output


def test_inspect_a_missing_file() -> None:
    assert call("inspect", "missing.onnx").exit_code == 2
