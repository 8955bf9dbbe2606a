"""Measuring on a GPU whose kernels take the time that a test says: what is chosen, refused, kept, and taken later.

Kernels are stand-ins that write the same numbers whatever the inputs are, late, as streams do, and move the clock.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fake_cuda import CUresult, FakeDriver

from dcdr_deploy.engines.cuda import engine as backend
from dcdr_deploy.engines.cuda import memory as cuda
from dcdr_deploy.engines.cuda import network as networks
from dcdr_deploy.engines.cuda.dcrb import DcrbArguments
from dcdr_deploy.engines.cuda.engine import CudaEngine
from dcdr_deploy.engines.cuda.measures import FEWEST, SEPARATE, Measures, by_table
from dcdr_deploy.engines.cuda.tuning import bench, kept, tune
from dcdr_deploy.engines.cuda.tuning import candidates as choosing
from dcdr_deploy.engines.cuda.tuning.bench import Launch, kind_of, written
from dcdr_deploy.engines.cuda.tuning.candidates import BLOCK, JOINED, candidates
from dcdr_deploy.engines.cuda.tuning.report import Report
from dcdr_deploy.engines.cuda.weights import read_onnx
from dcdr_deploy.errors import EngineError, EngineOutOfMemory
from dcdr_deploy.system.progress import Event

WEIGHTS = read_onnx(Path(backend.__file__).parents[2] / "weights" / "dcdr-unet-demo.onnx")
SM = 86
SMALL, LARGE = (1, 16, 24), (1, 32, 40)
KNOWN = {kind: dict(list(candidates(SM)[kind].items())[:2]) for kind in (BLOCK, "64_64", "64_24", JOINED)}
"""A few of the candidates are enough here."""
FIRST, SECOND = KNOWN["64_64"]


def milliseconds(arguments) -> float:
    """What the table's kernel takes: by the channels that come out, so that all forms of a frame take the same."""
    a = arguments
    channels = 128 if isinstance(a, DcrbArguments) else a.channels_out + (8 if a.then else 0)
    return channels * (1e-4 + 1e-7 * a.batch * a.height * a.width)


class Gpu:
    """A GPU whose kernels are as fast, wrong or broken as is said, by (kind, label); the table's have no label.

    Attributes:
        share: of the time of the table's kernel.
        wrong: by how much a result is.
        refused: cannot be launched.
        fatal: breaks the context.
        uncompilable: does not compile.
        asked: measures of the networks that were compiled.
    """

    def __init__(self, patch: pytest.MonkeyPatch, memory: int = 1 << 30) -> None:
        self.driver = FakeDriver(sms=[SM], memory=memory)
        self.share: dict[tuple[str, str], float] = {}
        self.wrong: dict[tuple[str, str], float] = {}
        self.refused: set[tuple[str, str]] = set()
        self.fatal: set[tuple[str, str]] = set()
        self.uncompilable: set[tuple[str, str]] = set()
        self.asked: list[Measures] = []
        patch.setattr(cuda, "load_driver", lambda: self.driver)
        for module in (tune, kept, choosing):
            patch.setattr(module, "candidates", lambda sm: KNOWN)
        patch.setattr(kept, "compiler_version", lambda: "13.0")
        patch.setattr(tune, "_compiled", self._compiled)
        patch.setattr(tune, "_loaded", lambda kind, candidate, sm, cubin: self.launch(kind, cubin.decode()))
        for module in (tune, networks):
            patch.setattr(module, "compile_kernels", self.compile_kernels)
        patch.setattr(bench, "LEAST_MILLISECONDS", 0.0)
        patch.setattr(bench, "WARM_UP", 0.0)
        patch.setattr(tune, "ROUNDS", 2)
        patch.setattr(bench, "ROUNDS", 2)
        patch.setattr(tune, "TIMED", (SMALL, LARGE))
        patch.setattr(tune, "COMPARED", (1, 12, 20))

    def _compiled(self, kind: str, candidate: tune.Candidate, sm: int) -> bytes:
        assert KNOWN[kind][candidate.label] == candidate
        if (kind, candidate.label) in self.uncompilable:
            raise EngineError("it does not compile")
        return candidate.label.encode()

    def launch(self, kind: str, label: str) -> Launch:
        """A kernel."""

        def launch(arguments, stream: int) -> None:
            assert kind_of(arguments) == kind
            if (kind, label) in self.refused:
                raise EngineError("too many resources")
            self.driver.put(stream, lambda: self._run(arguments, label), "launch")
            if (kind, label) in self.fatal:
                self.driver.cuStreamSynchronize = self._broken

        return launch

    def _broken(self, stream: int) -> tuple:
        self.driver._streams[stream].clear()
        return (CUresult.CUDA_ERROR_ILLEGAL_ADDRESS,)

    def _run(self, arguments, label: str) -> None:
        case = kind_of(arguments), label
        self.driver.clock += milliseconds(arguments) * self.share.get(case, 1.0)
        for region in written(arguments):
            self.driver.values(region.address, region.count, region.dtype)[:] = 0.7 * (1 + self.wrong.get(case, 0.0))

    def compile_kernels(self, device: cuda.Device, measures: Measures | None = None) -> Kernels:
        """Stand in for the function of that name."""
        self.asked.append(kept.kept_measures(device) if measures is None else measures)
        return Kernels(self, self.asked[-1])

    def tune(self, **options) -> Report:
        """Measure."""
        return tune.tune(WEIGHTS, **options)


class Kernels:
    """A network's kernels: the table's, or candidates in their places."""

    def __init__(self, gpu: Gpu, measures: Measures) -> None:
        self.measures, self._gpu = measures, gpu
        table = by_table(SM)
        self._labels = {kind: each.label for kind, each in measures.convolutions.items()}
        self._labels = {
            kind: "" if label == table.convolutions[kind].label else label for kind, label in self._labels.items()
        }
        self._labels[BLOCK] = "" if measures.block == table.block else measures.block.label

    def launch(self, arguments, stream: int) -> None:
        kind = kind_of(arguments)
        self._gpu.launch(kind, self._labels[kind])(arguments, stream)

    def read(self, arguments, stream: int) -> None:
        self._gpu.driver.put(stream, lambda: None, "read")

    def check(self, values: int, count: int, found: int, stream: int) -> None:
        self._gpu.driver.put(stream, lambda: None, "check")


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Gpu]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return lambda **options: Gpu(monkeypatch, **options)


@pytest.fixture
def gpu(make: Callable[..., Gpu]) -> Gpu:
    return make()


def choice(report: Report, kind: str):
    return next(each for each in report.choices if each.kind == kind)


def test_where_all_take_the_same_the_table_stays(gpu: Gpu):
    report = gpu.tune()
    assert not report.adopted
    assert report.chosen == {}
    assert report.before == report.after
    assert {each.kind for each in report.choices} == set(KNOWN)
    assert all(each.table == each.taken and set(each.tried) == set(KNOWN[each.kind]) for each in report.choices)
    assert gpu.asked == [by_table(SM)]  # nothing else was compiled as a whole


def test_the_fastest_kernel_that_is_right_is_kept_and_engines_take_it(gpu: Gpu):
    gpu.share = {("64_64", FIRST): 0.9, ("64_64", SECOND): 0.8, (BLOCK, list(KNOWN[BLOCK])[1]): 0.7}
    report = gpu.tune()
    chosen = {"64_64": SECOND, BLOCK: list(KNOWN[BLOCK])[1]}
    assert report.adopted
    assert report.chosen == chosen
    assert choice(report, "64_64").taken["40x32"] == pytest.approx(0.8 * choice(report, "64_64").table["40x32"])
    assert all(report.after[size] < report.before[size] for size in ("24x16", "40x32"))
    assert report.file is not None
    assert report.file.parent.name == "kernels"
    with CudaEngine(None, WEIGHTS) as engine:
        found = gpu.asked[-1]
        assert "kernels measured here" in engine.info.device
        assert engine.infer_codes(np.zeros((1, 16, 24, 3), np.uint8)).shape == (1, 3, 16, 24)
    assert found.convolutions["64_64"] == KNOWN["64_64"][SECOND]
    assert found.block == KNOWN[BLOCK][chosen[BLOCK]]
    assert {**found.convolutions, "64_64": None} == {**by_table(SM).convolutions, "64_64": None}


def test_an_engine_without_a_choice_has_the_table(gpu: Gpu):
    with CudaEngine(None, WEIGHTS) as engine:
        assert "measured" not in engine.info.device
    assert gpu.asked == [by_table(SM)]


def test_times_are_what_a_frame_spends_in_all_launches_of_a_kind(gpu: Gpu):
    report = gpu.tune()
    area = 16 * 24  # offsets of four blocks at a half of the scale, and of four at a quarter
    assert choice(report, "64_24").table["24x16"] == pytest.approx(24 * (8e-4 + 1e-7 * (4 * area / 4 + 4 * area / 16)))


@pytest.mark.parametrize("wrong", [0.01, float("nan")])
def test_a_wrong_kernel_is_not_taken_however_fast(gpu: Gpu, wrong: float):
    gpu.share = {("64_64", FIRST): 0.1, ("64_64", SECOND): 0.9}
    gpu.wrong = {("64_64", FIRST): wrong}
    report = gpu.tune()
    assert report.chosen == {"64_64": SECOND}
    ((kind, label, why),) = report.left_out
    assert (kind, label) == ("64_64", FIRST)
    assert why.startswith("its result is wrong: relative difference")


def test_rounding_is_not_wrong(gpu: Gpu):
    gpu.share, gpu.wrong = {("64_64", FIRST): 0.5}, {("64_64", FIRST): 5e-4}
    assert gpu.tune().chosen == {"64_64": FIRST}


def test_kernels_that_do_not_compile_or_cannot_be_launched_are_named(gpu: Gpu):
    gpu.uncompilable, gpu.refused = {("64_64", FIRST)}, {("64_64", SECOND)}
    gpu.share = dict.fromkeys((("64_64", FIRST), ("64_64", SECOND)), 0.1)
    report = gpu.tune()
    assert report.left_out == [("64_64", FIRST, "it does not compile"), ("64_64", SECOND, "too many resources")]
    assert report.chosen == {}


def test_a_kernel_that_breaks_the_gpu_ends_it_and_nothing_is_kept(gpu: Gpu, tmp_path: Path):
    gpu.fatal = {("64_64", FIRST)}
    with pytest.raises(EngineError, match=rf"kernel 64_64 {FIRST} broke off on this GPU .*nothing is kept"):
        gpu.tune()
    assert list(tmp_path.rglob("measured*")) == []


def test_a_form_that_is_clearly_faster_is_taken_with_the_tile_of_the_kernel_chosen(gpu: Gpu):
    label = next(iter(KNOWN[JOINED]))
    gpu.share = {(JOINED, ""): 0.2, (JOINED, label): 0.1}
    report = gpu.tune()
    assert report.adopted
    assert report.cut in (FEWEST, "two convolutions at once")
    assert report.chosen == {JOINED: label}
    CudaEngine(None, WEIGHTS).close()
    assert gpu.asked[-1].form.tile == KNOWN[JOINED][label].shape.tile


def test_a_form_alone_can_be_what_is_chosen(gpu: Gpu):
    gpu.share = {(JOINED, ""): 0.1}
    report = gpu.tune()
    assert report.adopted
    assert report.chosen == {}
    assert report.table_cut == SEPARATE
    assert report.cut != SEPARATE
    assert all(report.after[size] < report.before[size] for size in report.before)


def test_kernels_that_make_whole_frames_slower_are_not_taken(gpu: Gpu, monkeypatch: pytest.MonkeyPatch):
    gpu.share = {("64_64", FIRST): 0.9}
    frames = tune._Session._frame_times

    def slowed(session, opened):
        times = frames(session, opened)
        return {
            name: {s: ms * (1 if name == "table" else 1.2) for s, ms in each.items()} for name, each in times.items()
        }

    monkeypatch.setattr(tune._Session, "_frame_times", slowed)
    report = gpu.tune()
    assert report.chosen == {"64_64": FIRST}
    assert not report.adopted
    assert report.notes == ["whole frames are not faster with what was chosen: nothing is taken"]
    assert report.after == report.before
    CudaEngine(None, WEIGHTS).close()
    assert gpu.asked[-1] == by_table(SM)


def test_where_the_largest_frame_finds_no_room_the_smaller_is_timed(make: Callable[..., Gpu], monkeypatch):
    gpu = make(memory=40 << 20)
    monkeypatch.setattr(tune, "TIMED", (SMALL, (1, 512, 512)))
    report = gpu.tune()
    assert set(report.before) == {"24x16"}
    assert len([note for note in report.notes if note.startswith("frames of 512x512 are not timed: ")]) == 1


def test_without_room_for_any_frame_it_is_an_error_in_a_line(make: Callable[..., Gpu]):
    with pytest.raises(EngineOutOfMemory, match=r"out of memory|GiB on the GPU, which has"):
        make(memory=2 << 20).tune()


def test_after_its_time_no_kind_is_begun(gpu: Gpu):
    gpu.share = {("64_64", FIRST): 0.5}
    report = gpu.tune(seconds=-1)
    assert report.late == list(KNOWN)
    assert report.choices == []
    assert not report.adopted


def test_what_is_timed_follows_other_work_without_a_gap(gpu: Gpu):
    gpu.tune()
    trace = [name for name, _ in gpu.driver.trace]
    starts = [
        place for place in range(1, len(trace) - 1) if trace[place] == "record" and trace[place + 1] != "host waits"
    ]
    assert starts
    assert all(trace[place - 1] not in ("host waits", "record") for place in starts)


def test_what_is_not_to_be_kept_is_not(gpu: Gpu, tmp_path: Path):
    gpu.share = {("64_64", FIRST): 0.5}
    report = gpu.tune(keep=False)
    assert report.adopted
    assert report.file is None
    assert list(tmp_path.rglob("measured*")) == []


def test_a_later_try_that_finds_nothing_takes_the_place_of_an_earlier_one(gpu: Gpu):
    gpu.share = {("64_64", FIRST): 0.5}
    assert gpu.tune().adopted
    gpu.share = {}
    assert not gpu.tune().adopted
    CudaEngine(None, WEIGHTS).close()
    assert gpu.asked[-1] == by_table(SM)


def test_nothing_is_left_on_the_gpu(gpu: Gpu):
    gpu.tune()
    assert gpu.driver.used == 0
    assert gpu.driver.live_handles == 0
    assert not gpu.driver._pinned


def test_who_listens_hears_of_every_kind(gpu: Gpu):
    events: list[Event] = []
    gpu.tune(listener=events.append)
    counted = [event for event in events if event.total]
    assert [event.stage for event in counted] == [*(f"kernel {kind}" for kind in KNOWN), "kernels"]
    assert [event.done for event in counted] == list(range(len(KNOWN) + 1))
    assert {event.total for event in counted} == {len(KNOWN)}
