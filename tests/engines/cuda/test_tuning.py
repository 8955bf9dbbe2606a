"""Measuring on a GPU whose kernels take the time that a test says: what is chosen, refused, kept, and taken later."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from timed_gpu import FIRST, KNOWN, LARGE, SECOND, SM, SMALL, WEIGHTS, Gpu

from dcdr_deploy.engines.cuda.engine import CudaEngine
from dcdr_deploy.engines.cuda.measures import FEWEST, SEPARATE, by_table
from dcdr_deploy.engines.cuda.tuning import session
from dcdr_deploy.engines.cuda.tuning.bench import Bench
from dcdr_deploy.engines.cuda.tuning.candidates import BLOCK, JOINED
from dcdr_deploy.engines.cuda.tuning.events import Found, Trial
from dcdr_deploy.engines.cuda.tuning.report import FRAME, Report
from dcdr_deploy.errors import EngineError, EngineOutOfMemory
from dcdr_deploy.system.progress import Event


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


@pytest.mark.parametrize("rows", [0, LARGE[1]], ids=["when compared", "when timed"])
def test_a_kernel_that_breaks_the_gpu_costs_itself_alone(gpu: Gpu, rows: int):
    gpu.fatal, gpu.fatal_rows = {("64_64", FIRST)}, rows
    gpu.share = {("64_64", FIRST): 0.1, ("64_64", SECOND): 0.8}
    notes: list[str] = []
    report = gpu.tune(listener=lambda event: notes.append(event.note))
    ((kind, label, why),) = report.left_out
    assert (kind, label) == ("64_64", FIRST)
    assert "illegal address" in why
    assert [f"{kind} {label}: {why}; another process goes on without it"] == [*filter(None, notes)]
    assert report.chosen == {"64_64": SECOND}
    assert report.adopted
    assert set(choice(report, "64_64").tried) == {SECOND}
    assert {each.kind for each in report.choices} == set(KNOWN)
    assert gpu.processes == 2


def test_every_kernel_may_break_the_gpu(gpu: Gpu):
    gpu.fatal = {(kind, label) for kind, labels in KNOWN.items() for label in labels}
    report = gpu.tune()
    assert {(kind, label) for kind, label, _ in report.left_out} == gpu.fatal
    assert len(report.left_out) == len(gpu.fatal)
    assert not report.adopted
    assert gpu.processes == 1 + len(gpu.fatal)


def test_kinds_without_faults_come_before_the_rest_of_one_with_a_fault(gpu: Gpu):
    gpu.fatal = {(next(iter(KNOWN)), next(iter(KNOWN[next(iter(KNOWN))])))}
    report = gpu.tune()
    first, *others = KNOWN
    assert [each.kind for each in report.choices] == [*others, first]


def test_what_was_measured_before_a_fault_is_not_measured_again(gpu: Gpu):
    events: list[Event] = []
    gpu.fatal = {(JOINED, next(iter(KNOWN[JOINED])))}  # which is tried last
    gpu.tune(listener=events.append)
    stages = [event.stage for event in events if event.total]
    assert stages == [*(f"kernel {kind}" for kind in (*KNOWN, JOINED)), "kernels"]


def test_an_error_of_the_table_s_kernels_ends_it_and_nothing_is_kept(gpu: Gpu, tmp_path: Path):
    gpu.fatal = {("64_64", "")}
    with pytest.raises(EngineError, match="illegal address"):
        gpu.tune()
    assert gpu.processes == 1
    assert list(tmp_path.rglob("measured*")) == []


@pytest.fixture
def breaking_frames(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Ways of cutting a frame into launches of which a whole frame breaks the context."""
    cuts: set[str] = set()

    class Breaking(Bench):
        def __init__(self, device, weights, kernels, shapes, form):
            measures = kernels.measures
            alone = session.COMPARED in shapes or measures == by_table(SM)  # no whole frames of what was chosen
            if not alone and form in [replace(measures, cut=cut).form for cut in cuts]:
                raise EngineError("illegal address")
            super().__init__(device, weights, kernels, shapes, form)

    monkeypatch.setattr(session, "Bench", Breaking)
    return cuts


def test_a_form_of_frames_that_breaks_the_gpu_is_not_taken(gpu: Gpu, breaking_frames: set[str]):
    gpu.share = {("64_64", FIRST): 0.5, (JOINED, ""): 0.1}
    breaking_frames.add(FEWEST)
    report = gpu.tune()
    assert report.left_out == [(FRAME, FEWEST, "illegal address")]
    assert report.adopted
    assert FEWEST not in report.forms
    assert gpu.processes == 2


def test_kernels_that_break_the_gpu_in_whole_frames_alone_are_not_taken(gpu: Gpu, breaking_frames: set[str]):
    gpu.share = {("64_64", FIRST): 0.5}
    breaking_frames.add(SEPARATE)  # as the table has it
    report = gpu.tune()
    assert report.left_out == [(FRAME, SEPARATE, "illegal address")]
    assert not report.adopted
    assert report.notes == ["whole frames with what was chosen do not work: nothing is taken"]
    assert report.after == report.before != {}


def test_what_is_known_is_told_before_the_first_kernel_and_after_each_kind(gpu: Gpu):
    events: list[Event] = []
    gpu.tune(listener=events.append)
    found = [[each["kind"] for each in event.report["choices"]] for event in events if isinstance(event, Found)]
    assert found == [list(KNOWN)[:number] for number in range(len(KNOWN) + 1)]
    assert not any(isinstance(event, Trial) for event in events)


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
    frames = session._Session._frame_times

    def slowed(self, opened):
        times = frames(self, opened)
        return {
            name: {s: ms * (1 if name == "table" else 1.2) for s, ms in each.items()} for name, each in times.items()
        }

    monkeypatch.setattr(session._Session, "_frame_times", slowed)
    report = gpu.tune()
    assert report.chosen == {"64_64": FIRST}
    assert not report.adopted
    assert report.notes == ["whole frames are not faster with what was chosen: nothing is taken"]
    assert report.after == report.before
    CudaEngine(None, WEIGHTS).close()
    assert gpu.asked[-1] == by_table(SM)


def test_where_the_largest_frame_finds_no_room_the_smaller_is_timed(make: Callable[..., Gpu], monkeypatch):
    gpu = make(memory=40 << 20)
    monkeypatch.setattr(session, "TIMED", (SMALL, (1, 512, 512)))
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
