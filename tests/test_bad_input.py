"""Bad input: one line, exit 2, no output; and the API raises the same sentence."""

from __future__ import annotations

import os
import struct
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dcdr_deploy.cli import COMMANDS
from dcdr_deploy.commands.show.text import with_options
from dcdr_deploy.errors import DcdrError
from dcdr_deploy.imaging import write_image
from dcdr_deploy.run.file import PreparedFile
from dcdr_deploy.run.folder import convert_folder
from dcdr_deploy.run.opening import open_runner


@dataclass(frozen=True)
class Case:
    """A wrong call: what lies in the working directory, the call, and words of the sentence.

    ``make`` gets the working directory and the fixtures make_picture and write_tiny_model.
    """

    name: str
    make: Callable[..., Any]
    source: str
    target: str
    words: str
    model: str | None = "tiny"


def _picture(folder: Path, make_picture: Any, write_tiny_model: Any) -> None:
    make_picture(folder / "in.png")


def _truncated(suffix: str) -> Callable[..., None]:
    def make(folder: Path, make_picture: Any, write_tiny_model: Any) -> None:
        whole = make_picture(folder / f"in{suffix}", size=(64, 64)).read_bytes()
        (folder / f"in{suffix}").write_bytes(whole[: len(whole) // 2])

    return make


def _bytes(name: str, content: bytes) -> Callable[..., None]:
    return lambda folder, *rest: (folder / name).write_bytes(content)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


HUGE_PNG = (
    b"\x89PNG\r\n\x1a\n"
    + _chunk(b"IHDR", struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0))
    + _chunk(b"IDAT", zlib.compress(bytes(100)))
    + _chunk(b"IEND", b"")
)


def _corrupt(folder: Path, make_picture: Any, write_tiny_model: Any) -> None:
    data = bytearray(make_picture(folder / "in.png", size=(64, 64)).read_bytes())
    data[45:60] = bytes(15)
    (folder / "in.png").write_bytes(data)


def _folder_with(name: str) -> Callable[..., None]:
    return lambda folder, *rest: (folder / name).mkdir()


def _folder_of_one(folder: Path, make_picture: Any, write_tiny_model: Any) -> None:
    make_picture(folder / "photos" / "in.png")


def _foreign_model(folder: Path, make_picture: Any, write_tiny_model: Any) -> None:
    make_picture(folder / "in.png")
    write_tiny_model(folder / "foreign.onnx", stored={"author": "someone"})


def _other_network(folder: Path, make_picture: Any, write_tiny_model: Any) -> None:
    make_picture(folder / "in.png")
    write_tiny_model(folder / "gray.onnx", channels=1)


def _broken_model(folder: Path, make_picture: Any, write_tiny_model: Any) -> None:
    make_picture(folder / "in.png")
    whole = write_tiny_model(folder / "cut.onnx").read_bytes()
    (folder / "cut.onnx").write_bytes(whole[: len(whole) // 2])


def _folder_model(folder: Path, make_picture: Any, write_tiny_model: Any) -> None:
    make_picture(folder / "in.png")
    (folder / "models").mkdir()


def _two_models(folder: Path, make_picture: Any, write_tiny_model: Any) -> None:
    make_picture(folder / "in.png")
    for name in ("a.onnx", "b.onnx"):
        write_tiny_model(folder / name)


def _pq(folder: Path, make_picture: Any, write_tiny_model: Any) -> None:
    data = make_picture(folder / "in.png").read_bytes()
    (folder / "in.png").write_bytes(data[:33] + _chunk(b"cICP", bytes((9, 16, 0, 1))) + data[33:])


def _own(folder: Path, make_picture: Any, write_tiny_model: Any) -> None:
    metadata = {"software": "dcdr-deploy 1", "peak": "8"}
    write_image(folder / "in.png", np.full((8, 8, 3), 0.5, np.float32), peak=8, metadata=metadata)


def _jpeg12(folder: Path, make_picture: Any, write_tiny_model: Any) -> None:
    data = bytearray(make_picture(folder / "in.jpg").read_bytes())
    frame = data.index(b"\xff\xc0")
    data[frame + 1], data[frame + 4] = 0xC1, 12
    (folder / "in.jpg").write_bytes(data)


CASES = [
    Case("missing file", lambda *_: None, "gone.png", "out.exr", "gone.png: no such file; check the path"),
    Case("missing folder", lambda *_: None, "holiday", "hdr", "holiday: no such file; check the path"),
    Case("empty folder", _folder_with("empty"), "empty", "out", "empty: holds no pictures"),
    Case("folder to a file name", _folder_with("photos"), "photos", "out.exr", "out.exr: is the name of a file"),
    Case("folder to a file", _picture, ".", "in.png", "in.png: is a file, but . is a folder"),
    Case("unknown suffix", _picture, "in.png", "out.gif", "out.gif: unknown output format '.gif'; use one of .exr"),
    Case("no suffix", _picture, "in.png", "out", "out: the output name has no suffix"),
    Case("truncated png", _truncated(".png"), "in.png", "out.exr", "in.png: is damaged or incomplete"),
    Case("truncated jpeg", _truncated(".jpg"), "in.jpg", "out.exr", "in.jpg: is damaged or incomplete"),
    Case("truncated webp", _truncated(".webp"), "in.webp", "out.exr", "in.webp: is damaged or incomplete"),
    Case("truncated tiff", _truncated(".tif"), "in.tif", "out.exr", "in.tif: is damaged or incomplete"),
    Case("corrupt png", _corrupt, "in.png", "out.exr", "in.png: is damaged or incomplete"),
    Case("zero bytes", _bytes("in.png", b""), "in.png", "out.exr", "in.png: is empty (zero bytes)"),
    Case("text as png", _bytes("in.png", b"hello" * 99), "in.png", "out.exr", "in.png: is no picture by its content"),
    Case("exr as png", _bytes("in.png", b"\x76\x2f\x31\x01" * 9), "in.png", "out.exr", "OpenEXR, which is HDR already"),
    Case("huge header", _bytes("in.png", HUGE_PNG), "in.png", "out.exr", "50000 x 50000 = 2,500,000,000 pixels"),
    Case("output below a file", _picture, "in.png", "in.png/out.exr", "is not a folder; choose another place"),
    Case("output on itself", _picture, "in.png", "in.png", "would be overwritten by its own output"),
    Case("overlong output", _picture, "in.png", "x" * 300 + ".exr", "too long"),
    Case("overlong folder", _folder_of_one, "photos", "x" * 300, "too long"),
    Case("overlong input", lambda *_: None, "x" * 300 + ".png", "out.exr", "too long"),
    Case("url as input", lambda *_: None, "https://host/in.png", "out.exr", "is an address, not a file on this mach"),
    Case("url as output", _picture, "in.png", "https://host/out.exr", "is an address, not a file on this machine"),
    Case("url as folder", _folder_of_one, "photos", "s3://bucket/out", "is an address, not a file on this machine"),
    Case("pq png", _pq, "in.png", "out.exr", "in.png: is an HDR picture already (PNG with PQ transfer by its cICP)"),
    Case(
        "own output", _own, "in.png", "out.exr", "in.png: is an HDR picture already (written by dcdr-deploy, full sca"
    ),
    Case("12-bit jpeg", _jpeg12, "in.jpg", "out.exr", "in.jpg: cannot be decoded here (12-bit JPEG is not supported)"),
    Case("unknown model", _picture, "in.png", "out.exr", "model gone.onnx does not exist", "gone.onnx"),
    Case("model is a folder", _folder_model, "in.png", "out.exr", "model models is a folder", "models"),
    Case("model of no kind", _picture, "in.png", "out.exr", "in.png has a suffix that no backend takes", "in.png"),
    Case("foreign onnx", _foreign_model, "in.png", "out.exr", "carries no DCDR-UNet metadata", "foreign.onnx"),
    Case("other network", _other_network, "in.png", "out.exr", "not float32 (N, 3, H, W)", "gray.onnx"),
    Case("cut model", _broken_model, "in.png", "out.exr", "cut.onnx is no ONNX model, or was cut short", "cut.onnx"),
    Case("two models", _two_models, "in.png", "out.exr", "a.onnx, b.onnx; choose one with --model", None),
]


def from_python(source: Path, target: str, model: str | Path | None) -> None:
    """What a program does that wants no model loaded for nothing."""
    if os.path.isdir(source):  # noqa: PTH112 - Path.is_dir raises for overlong names
        with open_runner(model) as runner:
            convert_folder(source, target, runner)
        return
    prepared = PreparedFile(source, target)
    with open_runner(model) as runner:
        prepared.convert(runner)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_one_line_exit_2_no_output_and_the_same_sentence_from_the_api(
    case, tmp_path, dcdr, make_picture, write_tiny_model, tiny_model
):
    case.make(tmp_path, make_picture, write_tiny_model)
    model = tiny_model if case.model == "tiny" else case.model
    before = sorted(tmp_path.rglob("*"))
    done = dcdr("run", case.source, case.target, *(["--model", model] if model else []))
    assert done.exit_code == 2, done.output
    assert done.stdout == ""
    *notes, error = done.stderr.splitlines()
    assert error.startswith("error: ")
    assert case.words in error
    assert all(note.startswith(("model: ", "note: ", "backend: ")) for note in notes)
    with pytest.raises(DcdrError) as raised:
        from_python(Path(case.source), case.target, model)
    assert with_options(f"error: {raised.value}", COMMANDS["run"].load()) == error
    assert sorted(tmp_path.rglob("*")) == before


def test_a_wrong_extension_is_decoded_by_content(tmp_path, dcdr, make_picture, tiny_model):
    make_picture(tmp_path / "in.jpg").rename(tmp_path / "in.png")
    assert dcdr("run", "in.png", "out.exr", "--model", tiny_model).exit_code == 0
    assert Path("out.exr").is_file()


def test_a_folder_where_a_picture_is_due_is_named_by_the_api(tmp_path):
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(DcdrError, match=r"folder\.png: is a folder where a picture is due"):
        PreparedFile(tmp_path / "folder.png", tmp_path / "out.exr")


def test_errors_of_several_lines_become_one(dcdr, make_picture, monkeypatch):
    def fail(*arguments, **options):
        raise DcdrError("first\nsecond")

    monkeypatch.setattr("dcdr_deploy.commands.run.PreparedFile", fail)
    done = dcdr("run", "in.png", "out.exr")
    assert (done.exit_code, done.stderr) == (2, "error: first second\n")


# Checkpoints go through torch


class _Bomb:
    """What an attacker would pickle: a call that leaves a trace."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.trace,)


@pytest.mark.slow
@pytest.mark.parametrize("zipped", [True, False])
def test_a_checkpoint_that_carries_code_is_refused_and_not_run(tmp_path, dcdr, make_picture, zipped):
    torch = pytest.importorskip("torch")
    pytest.importorskip("torchvision")
    trace = tmp_path / "trace"
    make_picture(tmp_path / "in.png")
    torch.save({"state_dict": _Bomb(trace)}, tmp_path / "bomb.pth", _use_new_zipfile_serialization=zipped)
    torch.load(tmp_path / "bomb.pth", weights_only=False)
    assert trace.exists()  # the bomb works
    trace.unlink()
    done = dcdr("run", "in.png", "out.exr", "--model", "bomb.pth")
    assert done.exit_code == 2
    assert not trace.exists()
    assert not Path("out.exr").exists()
    (error,) = [line for line in done.stderr.splitlines() if not line.startswith(("model: ", "note: "))]
    assert error.startswith("error: bomb.pth")


@pytest.mark.slow
def test_a_checkpoint_of_another_architecture_is_refused(tmp_path, dcdr, make_picture):
    torch = pytest.importorskip("torch")
    pytest.importorskip("torchvision")
    make_picture(tmp_path / "in.png")
    torch.save({"conv_first.weight": torch.zeros(8, 3, 3, 3), "conv_first.bias": torch.zeros(8)}, "rrdb.pth")
    done = dcdr("run", "in.png", "out.exr", "--model", "rrdb.pth")
    assert done.exit_code == 2
    (error,) = [line for line in done.stderr.splitlines() if not line.startswith(("model: ", "note: "))]
    assert error.startswith("error: rrdb.pth is of no known network (DCDR-UNet, HDRUNet")
    assert "): its keys begin with conv_first" in error
    assert not Path("out.exr").exists()


def test_no_message_says_anything_about_python(tmp_path, dcdr):
    done = dcdr("run", "gone.png", "out.exr")
    assert "Traceback" not in done.output
    assert Path(sys.executable).name not in done.output


def test_a_picture_below_the_size_multiple_is_no_bad_input(tmp_path, dcdr, tiny_model):
    Image.new("RGB", (1, 3)).save(tmp_path / "in.png")
    assert dcdr("run", "in.png", "out.exr", "--model", tiny_model).exit_code == 0
