"""The script as a whole: on a machine without a GPU, and played through on the CPU with everything made small."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

import gpu_check  # noqa: E402 - needs torch
import gpu_kernels  # noqa: E402
import gpu_measure  # noqa: E402
import gpu_results  # noqa: E402
import gpu_sanitizer  # noqa: E402
from fused_fake import FakeKernels  # noqa: E402
from gpu_report import DEFORM, FRAME, Ceilings, Report  # noqa: E402
from gpu_run import Run  # noqa: E402

from dcdr_deploy.errors import EngineError  # noqa: E402

SCRIPT = Path(gpu_check.__file__)
NO_GPU = not torch.cuda.is_available()


# Without a GPU


@pytest.mark.skipif(not NO_GPU, reason="this machine has a GPU")
def test_without_a_gpu_it_says_so_in_one_line(tmp_path: Path):
    blocked = ("torchvision", "safetensors", "onnx", "onnxruntime", "click", "rich", "cv2", "PIL", "OpenEXR", "cuda")
    code = f"""
import runpy, sys
sys.modules.update(dict.fromkeys({blocked!r}))
sys.argv = ["gpu_check.py", "--output", {str(tmp_path)!r}]
sys.path.insert(0, {str(SCRIPT.parent)!r})
runpy.run_path({str(SCRIPT)!r}, run_name="__main__")
"""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    call = [sys.executable, "-c", code]
    done = subprocess.run(call, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
    assert done.returncode == 2
    assert (done.stdout, done.stderr.count("\n")) == ("", 1)
    assert "needs an NVIDIA GPU" in done.stderr
    assert list(tmp_path.iterdir()) == []


# Played through


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> FakeKernels:
    """Everything that needs a GPU replaced, every size made small."""
    kernels = FakeKernels()
    small = {"1920x1080": (16, 24), "3840x2160": (24, 32)}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    monkeypatch.setattr(gpu_measure, "GPU", torch.device("cpu"))
    monkeypatch.setattr(gpu_measure, "stream", lambda: 0)
    monkeypatch.setattr(gpu_measure, "release", lambda: None)  # collecting garbage after every part takes long here
    monkeypatch.setattr(gpu_measure, "device_facts", lambda: {"name": "NVIDIA Played (TM) 1"})
    monkeypatch.setattr(gpu_measure, "ceilings", lambda: Ceilings(1e12, 1e12))
    monkeypatch.setattr(gpu_measure, "device_times", lambda function: [function() is None, 2.0, 3.0])
    monkeypatch.setattr(gpu_measure, "kernel_times", lambda function, prefix: {"dcrb_first_half": 1.0})
    monkeypatch.setattr(gpu_kernels, "kernels_for", lambda sm: (kernels, "played"))
    monkeypatch.setattr(gpu_check.fused, "compute_capability", lambda device: 86)
    monkeypatch.setattr(gpu_check.fused, "kernels_for", None)  # main replaces it
    monkeypatch.setattr(gpu_check, "CudaRecorder", lambda: lambda function, example: function)
    monkeypatch.setattr(gpu_check, "SIZES", small)
    for name, value in (("wrong_kernels", 0.0), ("psnr", 82.0), ("memory", 2.9)):
        monkeypatch.setattr(gpu_check.own, name, lambda *_, value=value: value)
    monkeypatch.setattr(gpu_sanitizer, "found", lambda: "compute-sanitizer")
    monkeypatch.setattr(gpu_sanitizer, "errors", lambda program: 0.0)
    for name in ("device_times", "half_times", "host_times", "half_block_times"):
        monkeypatch.setattr(gpu_check.own, name, lambda *_: [4.0, 5.0, 6.0])
    monkeypatch.setattr(gpu_check, "HALF_SIZES", {"960x540": (4, 6), "1920x1080": (8, 12)})
    monkeypatch.setattr(gpu_results, "BLOCKS", {"odd size, batch 2": (2, 5, 7), "one pixel": (1, 1, 1)})
    picture = gpu_measure.picture
    monkeypatch.setattr(gpu_measure, "picture", lambda height, width: picture(min(height, 24), min(width, 32)))
    return kernels


@pytest.mark.slow
def test_every_part_leaves_its_rows_and_both_files_are_written(
    played: FakeKernels, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    code = gpu_check.main(["--output", str(tmp_path / "new"), "--minutes", "5"])
    text = capsys.readouterr().out
    data = json.loads((tmp_path / "new" / "nvidia-played-tm-1.json").read_text())
    assert (tmp_path / "new" / "nvidia-played-tm-1.md").read_text() in text
    assert code == 0, text
    verdicts = {check["name"]: check["passed"] for check in data["checks"]}
    assert all(verdicts.values()), data["checks"]
    assert {"block, odd size, batch 2, float16", "block, one pixel, float32", "network, fp16"} <= set(verdicts)
    assert {"engine cuda, kernels one by one", "engine cuda, network", "engine cuda, 3840x2160"} <= set(verdicts)
    rows = {(row["group"], row["size"], row["name"]): row for row in data["timings"]}
    assert rows[DEFORM, "1920x1080", "half a fused block"]["milliseconds"] == 1.0
    assert rows[FRAME, "3840x2160", "fused, CUDA graph"]["milliseconds"] == 2.0
    assert rows[FRAME, "3840x2160", "engine cuda"]["milliseconds"] == 5.0
    assert rows[FRAME, "3840x2160", "engine cuda, network at half the size"]["milliseconds"] == 5.0
    assert rows[gpu_check.HOST, "1920x1080", "engine cuda"]["milliseconds"] == 5.0
    assert rows[DEFORM, "1920x1080", "half a block from hidden maps"]["milliseconds"] == 5.0
    assert rows[FRAME, "3840x2160", "fused, CUDA graph"]["floors_ms"]["arithmetic"] > 0
    for name in ("fused, torch.compile, CUDA graph", "torch.compile, torchvision"):
        assert (FRAME, "1920x1080", name) in rows
    # What cannot run here says why, and did not keep the rest from running.
    host = [row for row in data["timings"] if row["group"] == gpu_check.HOST]
    assert {"torch backend, fp16", "onnxruntime CUDA, fp32", "tensorrt, fp16", "tensorrt-rtx, fp16"} <= {
        row["name"] for row in host
    }
    assert all(row["note"] for row in data["timings"] if row["milliseconds"] is None)


def test_a_wrong_result_ends_with_exit_1(played: FakeKernels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    right = played.launch

    def wrong(arguments, stream):
        right(arguments, stream)
        from fused_fake import memory

        memory(arguments.out, 1, "float16" if arguments.fp16 else "float32")[:] = 30000

    monkeypatch.setattr(played, "launch", wrong)
    for part in ("time_convolutions", "time_frames", "time_backends", "time_video", "time_torch"):
        monkeypatch.setattr(gpu_check, part, lambda *_, **__: None)
    assert gpu_check.main(["--output", str(tmp_path)]) == 1
    assert "**no**" in (tmp_path / "nvidia-played-tm-1.md").read_text()


def test_an_output_that_the_kernel_does_not_write_is_noticed(played: FakeKernels, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(played, "launch", lambda arguments, stream: None)
    empty_like = torch.empty_like
    monkeypatch.setattr(torch, "empty_like", lambda *a, **k: empty_like(*a, **k).fill_(torch.nan))
    run = Run(60)
    error = lambda: gpu_results.block_error(played, (1, 5, 7), torch.half, 2.0)  # noqa: E731
    run.check("block", "relative error", 1.0, error)
    assert [check.passed for check in run.report.checks] == [False]


def test_an_error_in_a_check_is_a_wrong_result_and_lack_of_memory_is_none():
    def fail(error: Exception) -> float:
        raise error

    run = Run(60)
    run.check("block", "failures", 0.0, lambda: fail(RuntimeError("CUDA error: an illegal memory access")))
    run.check("block", "failures", 0.0, lambda: fail(RuntimeError("CUDA out of memory. Tried to allocate 9 GiB")))
    run.check("block", "failures", 0.0, lambda: fail(gpu_measure.OutOfTime("stopped after 1 s")))
    assert [check.passed for check in run.report.checks] == [False, None, None]
    assert all(check.note for check in run.report.checks)


def test_what_was_found_before_a_crash_is_written(played: FakeKernels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def crash(*_: object) -> None:
        raise SystemExit("killed")

    monkeypatch.setattr(gpu_check, "time_convolutions", crash)
    with pytest.raises(SystemExit):
        gpu_check.main(["--output", str(tmp_path)])
    checks = json.loads((tmp_path / "nvidia-played-tm-1.json").read_text())["checks"]
    assert checks
    assert all(check["passed"] for check in checks)


def test_a_broken_gpu_does_not_cost_the_report(monkeypatch: pytest.MonkeyPatch):
    def refuse() -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(torch.cuda, "empty_cache", refuse)
    run = Run(60)
    run.timing("table", "1x1", "good", lambda: [1.0])
    assert run.report.timings[0].milliseconds == 1.0


def test_a_gpu_without_a_kernel_is_one_line(
    played: FakeKernels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def refuse(sm: int) -> None:
        raise EngineError(f"there is no fused kernel for a GPU of SM{sm}")

    monkeypatch.setattr(gpu_kernels, "kernels_for", refuse)
    assert gpu_check.main(["--output", str(tmp_path)]) == 2
    assert capsys.readouterr().err.endswith("cannot make the kernel: there is no fused kernel for a GPU of SM86\n")


# Parts


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RuntimeError("CUDA out of memory.\nTried to allocate 9 GiB"), "CUDA out of memory. Tried to allocate 9 GiB"),
        (ImportError("no module"), "no module"),
        (AssertionError(), "AssertionError"),
    ],
)
def test_a_part_that_fails_leaves_its_reason(error: Exception, words: str):
    def fail() -> list[float]:
        raise error

    run = Run(60)
    run.timing("table", "1x1", "bad", fail)
    run.timing("table", "1x1", "good", lambda: [1.0])
    assert [(row.milliseconds, row.note) for row in run.report.timings] == [(None, words), (1.0, "")]


def test_a_part_that_takes_too_long_is_stopped_and_later_ones_have_no_time_left():
    run = Run(0.3)

    def forever() -> list[float]:
        while True:
            time.sleep(0.01)

    for name in ("slow", "late"):
        run.timing("table", "1x1", name, forever)
    slow, late = run.report.timings
    assert slow.note.startswith("stopped after")
    assert late.note == "no time was left for it"


@pytest.mark.skipif(not hasattr(__import__("signal"), "SIGALRM"), reason="no such alarm")
def test_the_alarm_is_off_afterwards():
    with gpu_measure.time_limit(0.05):
        pass
    time.sleep(0.1)


def test_the_report_goes_under_the_name_of_the_gpu(tmp_path: Path):
    files = gpu_check.write(Report({"name": "NVIDIA GeForce RTX 4090"}), tmp_path)
    assert [path.name for path in files] == ["nvidia-geforce-rtx-4090.md", "nvidia-geforce-rtx-4090.json"]


# compute-sanitizer


def sanitized(folder: Path, monkeypatch: pytest.MonkeyPatch, says: str, code: int = 0) -> str:
    """A program of that name on the path, which prints what it is called with, and this."""
    program = folder / "compute-sanitizer"
    program.write_text(f'#!/bin/sh\necho "$@"\necho "{says}"\nexit {code}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    found = gpu_sanitizer.found()
    assert found == str(program)
    return found


@pytest.mark.parametrize(("says", "count"), [("0 errors", 0), ("1 error", 1), ("12 errors", 12)])
def test_errors_that_compute_sanitizer_finds_are_counted(tmp_path, monkeypatch, says: str, count: int):
    program = sanitized(tmp_path, monkeypatch, f"========= ERROR SUMMARY: {says}", 1 if count else 0)
    assert gpu_sanitizer.errors(program) == count


def test_a_frame_that_fails_under_compute_sanitizer_is_a_wrong_result(tmp_path, monkeypatch):
    program = sanitized(tmp_path, monkeypatch, "========= ERROR SUMMARY: 0 errors", 1)
    run = Run(60)
    run.check("sanitizer", "errors", 0.0, lambda: gpu_sanitizer.errors(program))
    assert run.report.checks[0].passed is False
    assert "ERROR SUMMARY: 0 errors" in run.report.checks[0].note
    program = sanitized(tmp_path, monkeypatch, "========= Error: no such program")
    with pytest.raises(RuntimeError, match="no such program"):
        gpu_sanitizer.errors(program)


def test_a_gpu_that_compute_sanitizer_does_not_take_leaves_the_check_open(tmp_path, monkeypatch):
    program = sanitized(tmp_path, monkeypatch, "========= Error: Device not supported", 1)
    run = Run(60)
    run.check("sanitizer", "errors", 0.0, lambda: gpu_sanitizer.errors(program))
    assert (run.report.checks[0].value, run.report.checks[0].passed) == (None, None)
    assert "does not take this GPU" in run.report.checks[0].note


def test_a_frame_that_takes_long_under_compute_sanitizer_is_left_open(tmp_path, monkeypatch):
    program = tmp_path / "compute-sanitizer"
    program.write_text("#!/bin/sh\nsleep 60\n")
    program.chmod(0o755)
    run = Run(60)
    run.check("sanitizer", "errors", 0.0, lambda: gpu_sanitizer.errors(str(program), seconds=0.5))
    assert (run.report.checks[0].value, run.report.checks[0].passed) == (None, None)
    assert "stopped after" in run.report.checks[0].note


@pytest.mark.parametrize("there", [True, False])
def test_compute_sanitizer_watches_a_small_frame_where_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool
):
    monkeypatch.setattr(gpu_sanitizer, "TOOLKITS", ())
    if there:
        sanitized(tmp_path, monkeypatch, "========= ERROR SUMMARY: 0 errors")
    else:
        monkeypatch.setenv("PATH", str(tmp_path))
    run = Run(60)
    gpu_results.check_accesses(run)
    (check,) = run.report.checks
    assert check.name == "engine cuda, a small frame under compute-sanitizer"
    assert (check.value, check.passed) == ((0.0, True) if there else (None, None))
    assert bool(check.note) is not there


# What is fed in


def test_the_demo_weights_are_read_without_their_package():
    safetensors = pytest.importorskip("safetensors.torch")
    network, words = gpu_measure.network()
    assert words == "demo weights"
    stored = safetensors.load_file(gpu_measure.WEIGHTS)
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(tensor, stored[name].float())


@pytest.mark.parametrize("content", [None, b"", b"\x02\0\0\0\0\0\0\0{}", b"\xff" * 30])
def test_without_usable_weights_random_ones_with_offsets_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None
):
    path = tmp_path / "weights.safetensors"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setattr(gpu_measure, "WEIGHTS", path)
    network, words = gpu_measure.network()
    assert words.startswith("random weights")
    assert all(block.offset.bias.abs().max() > 0.1 for block in network.deformable_blocks().values())


def test_the_picture_has_shadows_and_a_light(monkeypatch: pytest.MonkeyPatch):
    picture = gpu_measure.picture(54, 96)
    assert picture.shape == (1, 3, 54, 96)
    assert (float(picture.min()) < 0.05, float(picture.max())) == (True, 1.0)


@pytest.mark.gpu
@pytest.mark.skipif(NO_GPU, reason="no NVIDIA GPU")
class TestOnTheGpu:
    def test_rates_are_those_of_a_gpu(self):
        rates = gpu_measure.ceilings()
        assert rates.flops > 1e12
        assert rates.bandwidth > 1e11

    def test_blocks_keep_their_bounds(self):
        kernels, _ = gpu_kernels.kernels_for(gpu_check.fused.compute_capability(0))
        run = Run(120)
        gpu_results.check_results(run, kernels)
        assert run.report.failed() == []
