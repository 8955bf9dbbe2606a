"""`dcdr-deploy tune` as a user calls it; what is measured is told by a stand-in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fake_cuda import FakeDriver

from dcdr_deploy.commands.show.tune import as_text
from dcdr_deploy.engines.cuda import engine
from dcdr_deploy.engines.cuda import memory as cuda
from dcdr_deploy.engines.cuda.tuning import kept, tune
from dcdr_deploy.engines.cuda.tuning.kept import Gpu
from dcdr_deploy.engines.cuda.tuning.report import Choice, Report
from dcdr_deploy.system import hardware, packages
from dcdr_deploy.system.progress import Event

GPU = Gpu("NVIDIA GeForce RTX 3060", 86, 28, 13000, "13.0", "digest")
VERSIONS = dict.fromkeys(("cuda-bindings", "nvidia-cuda-nvrtc", "nvidia-cuda-runtime"), "13.0")


def found(**changes) -> Report:
    slow, fast = {"768x512": 2.0, "1920x1080": 9.0}, {"768x512": 1.5, "1920x1080": 8.25}
    fields = {
        "cut": "fewest launches",
        "choices": [
            Choice("64_64", "rows=2 /2", slow, fast, {"rows=2 /2": fast, "stages=1 /1": slow}),
            Choice("64_24", "", fast, fast, {"rows=2 /1": slow}),
        ],
        "before": {"768x512": 12.0, "1920x1080": 60.0},
        "after": {"768x512": 11.5, "1920x1080": 59.25},
        "adopted": True,
        "file": Path("/cache/measured.json"),
        "seconds": 41.2,
    }
    return Report(GPU, "one launch each", **{**fields, **changes})


@pytest.fixture
def with_gpus(monkeypatch: pytest.MonkeyPatch):
    def present(*sms: int, versions: dict[str, str] = VERSIONS) -> None:
        monkeypatch.setattr(packages, "versions", lambda names: {n: versions[n] for n in names if n in versions})
        monkeypatch.setattr(hardware, "compute_capabilities", lambda: list(sms))
        monkeypatch.setattr(hardware, "cuda_driver_version", lambda: (13, 0))

    return present


def error(result) -> str:
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    return line


def test_without_a_gpu_or_with_one_that_is_too_old_it_is_one_line(dcdr, with_gpus):
    with_gpus()
    assert "no NVIDIA GPU or driver found; dcdr-deploy doctor shows" in error(dcdr("tune"))
    with_gpus(61)
    assert "the GPU is too old (SM61)" in error(dcdr("tune"))
    with_gpus(86, 61)
    assert "GPU 1 (SM61) is too old" in error(dcdr("tune", "--device", "cuda:1"))
    assert "there is no GPU 2; this machine has 2" in error(dcdr("tune", "--device", "cuda:2"))


def test_without_the_packages_the_line_that_installs_them_is_given(dcdr, with_gpus):
    with_gpus(86, versions={})
    assert packages.install_line(engine.EXTRA) in error(dcdr("tune"))


def test_a_processor_and_a_device_that_is_none_are_refused(dcdr):
    assert "for NVIDIA GPUs only; --device takes cuda" in error(dcdr("tune", "--device", "cpu"))
    assert "use auto, cpu, cuda or cuda:1" in error(dcdr("tune", "--device", "gpu0"))


def test_the_gpu_asked_for_is_measured_and_its_progress_and_table_are_shown(dcdr, with_gpus, monkeypatch):
    with_gpus(86, 89)
    asked = []

    def measure(weights, index, seconds, listener):
        asked.append((index, seconds))
        listener(Event("compiling the table's kernels"))
        listener(Event("kernel 64_64", 1, 12))
        return found()

    monkeypatch.setattr(tune, "tune", measure)
    result = dcdr("tune", "--device", "cuda:1", "--seconds", "20")
    assert result.exit_code == 0, result.output
    assert asked == [(1, 20)]
    assert result.stderr.splitlines() == ["compiling the table's kernels ...", "1/12 kernel 64_64"]
    assert result.stdout == as_text(found()) + "\n"
    data = json.loads(dcdr("tune", "--json").stdout)
    assert data["choices"][0]["tried"]["stages=1 /1"] == {"768x512": 2.0, "1920x1080": 9.0}
    assert (data["gpu"]["sm"], data["adopted"], data["file"]) == (86, True, "/cache/measured.json")


def test_the_table_tells_before_and_after():
    assert as_text(found()).splitlines() == [
        "NVIDIA GeForce RTX 3060, SM86: 3 kernels beside the 2 of the package, 41 s",
        "ms in a frame of  768x512           1920x1080",
        "64_64             2.000 -> 1.500    9.000 -> 8.250    rows=2 /2",
        "64_24             1.500             8.250             as before",
        "whole frame       12.000 -> 11.500  60.000 -> 59.250  fewest launches",
        "kept in /cache/measured.json: backend cuda takes it on this GPU from now on",
    ]


def test_what_went_otherwise_is_said():
    text = as_text(
        found(
            left_out=[("64_3", "rows=2 /1", "its result is wrong: relative difference 3.0e-01")],
            late=["4_64", "32_16"],
            notes=["frames of 1920x1080 are not timed: no room"],
            adopted=False,
            cut="one launch each",
        )
    )
    assert "not fit to be taken: 1\n  64_3 rows=2 /1: its result is wrong: relative difference 3.0e-01\n" in text
    assert "no time was left for 4_64, 32_16: --seconds gives more" in text
    assert "note: frames of 1920x1080 are not timed: no room" in text
    assert text.endswith("the kernels of the package stay")
    assert as_text(found(file=None)).endswith("not kept: this GPU goes on with the kernels of the package")


def test_what_was_kept_is_removed_when_asked(dcdr, with_gpus, monkeypatch, tmp_path):
    with_gpus(86)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(kept, "compiler_version", lambda: "13.0")
    driver = FakeDriver(sms=[86])
    monkeypatch.setattr(cuda, "load_driver", lambda: driver)
    assert dcdr("tune", "--forget").stdout == "nothing is kept for Fake GPU\n"
    device = cuda.Device(0)
    known = kept.gpu_of(device)
    device.close()
    assert kept.write(known, {}, "fewest launches", {})
    assert dcdr("tune", "--forget").stdout == f"removed {known.path}\n"
    assert not known.path.exists()
    assert json.loads(dcdr("tune", "--forget", "--json").stdout) == {"removed": None}
    assert driver.live_handles == 0


def test_help_shows_an_example(dcdr):
    text = dcdr("tune", "--help").stdout
    for words in ("Examples:", "dcdr-deploy tune --device cuda:1", "--seconds", "[default: 60", "--forget", "--json"):
        assert words in text
