"""Timing all backends: everybody in turn, whoever fails with the reason, in a table and as JSON."""

from __future__ import annotations

import json
import types
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ear import Ear

from dcdr_deploy.commands.show.benchmark import format_results
from dcdr_deploy.engines import registry
from dcdr_deploy.engines.base import DEVICE_CUDA, Availability, Engine, EngineInfo, EngineOptions
from dcdr_deploy.engines.registry import Backend
from dcdr_deploy.errors import EngineError, EngineOutOfMemory, InputError
from dcdr_deploy.modelfile.metadata import ModelMetadata
from dcdr_deploy.run import benchmark as run_benchmark
from dcdr_deploy.run import contenders as run_contenders
from dcdr_deploy.run.benchmark import FEWEST_ROUNDS, BenchmarkOptions, benchmark, picture
from dcdr_deploy.run.contenders import Contender, contenders
from dcdr_deploy.run.timings import Result, Timing, as_dict
from dcdr_deploy.system import hardware

MODEL = Path("net.fake")
SIZE = (8, 12)


class Fake(Engine):
    """Doubles its input; remembers when it ran."""

    def __init__(self, name: str, calls: list[str], fail_at: int | None = None) -> None:
        self.info = EngineInfo(name, "nowhere", "fp32", MODEL, ModelMetadata())
        self._calls, self._fail_at, self.ran = calls, fail_at, 0

    def _infer(self, batch: np.ndarray) -> np.ndarray:
        self.ran += 1
        self._calls.append(self.info.backend)
        if self._fail_at == self.ran:
            raise EngineError("broke")
        return batch * 2


@pytest.fixture
def field(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """``field(name=None or number of the run that fails, ...)``: these backends for .fake files; what they ran."""

    def make(**backends: int | None) -> list[str]:
        calls: list[str] = []
        rows = {}
        for name, fail_at in backends.items():
            module = types.ModuleType(f"fake_{name}")
            module.availability = lambda *, deep=False: Availability(True, devices=("cpu",))
            module.refusal = lambda path, options: ""
            module.load = lambda path, options, name=name, fail_at=fail_at: Fake(name, calls, fail_at)
            monkeypatch.setitem(__import__("sys").modules, module.__name__, module)
            rows[name] = Backend(name, module.__name__, "a test", (".fake",), {"cpu": 1})
        for holder in (registry, run_benchmark, run_contenders):
            monkeypatch.setattr(holder, "BACKENDS", rows)
        return calls

    return make


def run(
    seconds: float = 0.0, sizes: tuple[tuple[int, int], ...] = (SIZE,), rounds: int = FEWEST_ROUNDS
) -> list[Result]:
    return benchmark(contenders("all", [MODEL]), BenchmarkOptions(sizes, seconds, rounds))


def test_all_take_turns_and_each_round_begins_with_another(field):
    calls = field(one=None, two=None, three=None)
    results = run()
    timed = calls[3 + 3 :]  # behind the comparison and each one's first frame
    assert timed == ["one", "two", "three", "two", "three", "one", "three", "one", "two"]
    assert [len(result.timings[0].seconds) for result in results] == [FEWEST_ROUNDS] * 3


def test_on_a_gpu_the_second_frame_which_is_recorded_is_not_timed(field, monkeypatch: pytest.MonkeyPatch):
    calls = field(one=None)
    load = registry.BACKENDS["one"].import_module().load

    def on_gpu(path: Path, options: EngineOptions) -> Engine:
        engine = load(path, options)
        engine.info = replace(engine.info, device_kind=DEVICE_CUDA)
        return engine

    registry.BACKENDS["one"].import_module().load = on_gpu
    (result,) = run()
    assert len(calls) == 1 + 1 + 1 + FEWEST_ROUNDS
    assert len(result.timings[0].seconds) == FEWEST_ROUNDS


def test_memory_is_the_most_that_was_held_at_a_time(field):
    """Given back before the frame is done; ONNX Runtime and torch give back most of what a frame takes of a CPU."""
    if not hardware.restart_peak_memory():
        pytest.skip("this system does not tell")
    field(small=None, large=None)
    module = registry.BACKENDS["large"].import_module()
    load = module.load

    def large(path: Path, options: EngineOptions) -> Engine:
        engine = load(path, options)
        infer = engine._infer
        engine._infer = lambda batch: infer(batch) if b"\1" * (200 << 20) else batch
        return engine

    module.load = large
    small, most = run()
    assert small.memory < 100 << 20 < 190 << 20 < most.memory < 300 << 20


def test_rounds_say_how_many_frames_a_slow_network_runs(field):
    calls = field(one=None)
    (result,) = run(rounds=1)
    assert len(calls) == 1 + 1 + 1
    assert len(result.timings[0].seconds) == 1
    del calls[:]
    (result,) = run(seconds=100, rounds=0)
    assert len(calls) == 1 + 1
    assert result.timings[0].seconds == (result.timings[0].first,)


def test_sizes_are_timed_from_the_smallest(field):
    field(one=None)
    (result,) = run(sizes=((16, 16), (8, 8)))
    assert [timing.size for timing in result.timings] == [(8, 8), (16, 16)]


def test_whoever_fails_at_the_comparison_is_not_timed(field):
    calls = field(good=None, bad=1)
    good, bad = run()
    assert (good.note, bad.note, bad.timings, calls.count("bad")) == ("", "broke", [], 1)
    field(bad=1)
    with pytest.raises(EngineError, match=r"no backend can be timed here \(bad: broke\)"):
        run()


@pytest.mark.parametrize("fail_at", [2, 3, 5])
def test_whoever_fails_is_told_with_the_reason_and_the_others_go_on(field, fail_at: int):
    field(good=None, bad=fail_at)
    good, bad = run()
    assert len(good.timings[0].seconds) == FEWEST_ROUNDS
    assert bad.timings == [Timing(SIZE, note="broke")]


def test_no_round_is_told_where_nobody_is_left(field):
    field(bad=4)
    ear = Ear()
    benchmark(contenders("all", [MODEL]), BenchmarkOptions((SIZE,), seconds=20.0), ear)
    assert [event.stage for event in ear.heard if "round" in event.stage] == ["12 x 8: round 1", "12 x 8: round 2"]


def test_whoever_cannot_be_loaded_stays_in_the_list(field, monkeypatch: pytest.MonkeyPatch):
    def refuse(path: Path, options: EngineOptions) -> Engine:
        raise EngineOutOfMemory("no room")

    field(good=None, full=None)
    registry.BACKENDS["full"].import_module().load = refuse
    registry.BACKENDS["other"] = Backend("other", "fake_good", "-", (".engine",), {"cpu": 1})
    good, full, other = run()
    assert (good.note, full.note) == ("", "no room")
    assert other.note == "it takes .engine files; name one with `models`"
    del registry.BACKENDS["good"]
    with pytest.raises(EngineError, match=r"no backend can be timed here \(full: no room; other: it takes"):
        run()


def test_a_backend_that_was_named_must_take_a_file(field):
    field(good=None)
    assert contenders("good", [MODEL]) == [Contender(registry.BACKENDS["good"], MODEL)]
    with pytest.raises(InputError, match=r"backend good takes \.fake, and none of: net\.h5"):
        contenders("good", [Path("net.h5")])
    with pytest.raises(EngineError, match="backend 'better' is not known"):
        contenders("better", [MODEL])


def test_a_file_that_no_backend_takes_is_refused_and_not_passed_over(field):
    field(good=None)
    for given in ([MODEL, Path("other.fake")], [Path("picture.png")], [MODEL, Path("net.h5")]):
        with pytest.raises(InputError, match=f"{given[-1]}: no backend that was asked for takes it"):
            contenders("all", given)


def test_backends_may_be_listed_with_spaces_and_count_once(field):
    field(good=None, better=None)
    assert [each.backend.name for each in contenders("better, good,better", [MODEL])] == ["better", "good"]
    for wrong in ("", "good,,better", "auto"):
        with pytest.raises(EngineError, match="is not known; choose all, or some of: good,better"):
            contenders(wrong, [MODEL])


def test_a_size_that_is_asked_for_twice_is_timed_once(field):
    field(one=None)
    (result,) = run(sizes=(SIZE, SIZE))
    assert [timing.size for timing in result.timings] == [SIZE]


def test_large_pictures_are_made_of_a_sample_without_a_seam(monkeypatch: pytest.MonkeyPatch):
    whole = picture((40, 60))
    monkeypatch.setattr("dcdr_deploy.run.benchmark.LARGEST_SAMPLE", (40, 60))
    large = picture((130, 70))
    assert large.shape == (130, 70, 3)
    assert np.array_equal(large[:40, :60], whole)
    assert np.array_equal(large[40:80, :60], whole[::-1])
    assert np.array_equal(large[80:120, 60:70], whole[:, :-11:-1])


def test_a_picture_without_room_is_a_line_and_nothing_is_timed(field, monkeypatch: pytest.MonkeyPatch):
    calls = field(one=None)
    monkeypatch.setattr("dcdr_deploy.run.benchmark.MAX_PIXELS", 2**60)
    monkeypatch.setattr("dcdr_deploy.run.benchmark.LARGEST_SAMPLE", (40, 60))
    with pytest.raises(InputError, match=f"there is no memory for a picture of {2**23} x {2**23} pixels"):
        run(sizes=((2**23, 2**23),))
    assert len(calls) == 1  # the comparison


def test_the_table_has_the_fastest_first_and_ratios_to_it():
    timings = [
        [Timing(SIZE, (0.5, 0.5, 0.5), 1.0, 1)],
        [Timing(SIZE, (0.1, 0.1, 0.1), 2.0, 1)],
        [Timing(SIZE, note="broke")],
    ]
    names = zip(("slow", "fast", "bad"), (90.25, float("inf"), None), timings, strict=True)
    results = [Result(name, MODEL, precision="fp16", agreement=db, memory=10**9, timings=t) for name, db, t in names]
    results.append(Result("absent", None, note="not installed"))
    machine = {
        "dcdr-deploy": "1",
        "python": "3",
        "system": "here",
        "cpu": {"name": "a CPU", "threads": 2},
        "gpus": [{"index": 0, "name": "a GPU", "compute_capability": "9.0", "driver": "580"}],
    }
    text = format_results(results, machine)
    lines = [" ".join(line.split()) for line in text.splitlines()]
    fast, slow = (next(n for n, line in enumerate(lines) if line.startswith(name)) for name in ("fast", "slow"))
    assert fast < slow
    assert lines[fast] == "fast fp16 100.0 100.0 to 100.0 0.00096 1.00 0.0 + 2.00 s 1.00 GB exact"
    assert lines[slow].endswith("5.00 0.0 + 1.00 s 1.00 GB 90.2 dB")
    assert "bad: broke" in lines
    assert "not timed: absent: not installed" in lines
    assert json.loads(json.dumps(as_dict(results)))[1]["agreement"] == "exact"


def test_the_command_times_real_backends(dcdr, tiny_model: Path):
    pytest.importorskip("onnxruntime")
    options = ["--size", "64x64", "--size", "32x48", "--seconds", "0", "--device", "cpu", "--backend", "onnxruntime"]
    result = dcdr("benchmark", "-m", str(tiny_model), *options)
    assert result.exit_code == 0, result.output
    assert "48 x 32, from memory to memory" in result.stdout
    data = json.loads(dcdr("benchmark", "-m", str(tiny_model), *options, "--json", "-q").stdout)
    (only,) = data["results"]
    assert only["agreement"] == "exact"
    assert [timing["rounds"] for timing in only["timings"]] == [FEWEST_ROUNDS] * 2
    assert data["machine"]["cpu"]["threads"] >= 1


def test_bad_options_are_a_line(dcdr, tmp_path: Path):
    for arguments in (
        ["-m", str(tmp_path / "no.onnx")],
        ["--backend", "fastest"],
        ["--size", "0x64"],
        ["--size", "65536x65536"],
        ["--seconds", "nan"],
        ["--device", "npu"],
    ):
        result = dcdr("benchmark", *arguments)
        assert result.exit_code == 2
        assert len(result.stderr.strip().splitlines()) == 1
