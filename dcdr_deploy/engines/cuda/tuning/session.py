"""Measuring which kernels, and which form of a frame, are fastest on the GPU at hand.

Each kind of kernel has candidates. They are compiled beside each other, compared with the table's kernel on the
launches of a frame and timed there in turns with it; one that is right and clearly faster takes its place. With what
was chosen the forms of a frame are timed as wholes. At last the whole has to be right, and at no size slower than the
table's.
"""

from __future__ import annotations

import hashlib
import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from dcdr_deploy.engines.compare import EXPORTED, compare
from dcdr_deploy.engines.cuda.compiler import compile_text, source_text
from dcdr_deploy.engines.cuda.convolution import ConvolutionKernels
from dcdr_deploy.engines.cuda.convolution_table import PREFIX, instantiation, ring_bytes
from dcdr_deploy.engines.cuda.dcrb_from_hidden import FromHiddenKernels
from dcdr_deploy.engines.cuda.launches import Form, Shape
from dcdr_deploy.engines.cuda.measures import CUTS, FEWEST, SEPARATE, BlockMeasures, Measures, by_table
from dcdr_deploy.engines.cuda.memory import Device
from dcdr_deploy.engines.cuda.network import NetworkKernels, compile_kernels
from dcdr_deploy.engines.cuda.tuning import kept
from dcdr_deploy.engines.cuda.tuning.bench import ROUNDS, Bench, Launch, repeats_of
from dcdr_deploy.engines.cuda.tuning.candidates import JOINED, Candidate, candidates, with_candidates
from dcdr_deploy.engines.cuda.tuning.decision import Times, fastest, in_turns, never_slower
from dcdr_deploy.engines.cuda.tuning.events import Found, Trial
from dcdr_deploy.engines.cuda.tuning.report import FRAME, Choice, Report
from dcdr_deploy.engines.cuda.weights import Weights
from dcdr_deploy.errors import EngineError, EngineOutOfMemory, OutputError
from dcdr_deploy.system import hardware
from dcdr_deploy.system.files import atomic_path
from dcdr_deploy.system.progress import Event, Listener, silent

BOUND = 1e-3
"""Largest relative difference (RMS) of a kernel's result: what rounding to FP16 and another order of sums explain."""

COMPARED: Shape = (1, 268, 404)
"""Frame on which results are compared: no multiple of any tile, and several tiles for most blocks."""

TIMED: tuple[Shape, ...] = ((1, 512, 768), (1, 1080, 1920))
"""Frames that are timed: a photograph at the size at which ``--scale auto`` computes it, and a tile of a native run."""

_TABLE = "table"


def measure(
    weights: Weights,
    device_index: int,
    seconds: float,
    folder: Path,
    listener: Listener = silent,
    known: Report | None = None,
) -> Report:
    """Measure a GPU's kernels.

    Args:
        weights: of the network whose launches are timed; how long they take does not depend on the numbers.
        device_index: the GPU in CUDA's counting.
        seconds: no kind of kernel is begun after so many.
        folder: where kernels that were compiled lie for another call that goes on after this one.
        listener: told of stages, by ``Trial`` of each use of a form that may break the GPU's context, and by ``Found``
            of what is known, before the first of them and after each kind of kernel.
        known: what an earlier call told last before such a form ended it, that form among what is left out. Nothing of
            it is tried again.

    Raises:
        MissingDependency: a package is not installed.
        EngineOutOfMemory: the GPU has no room for the smallest of the frames.
        EngineError: the GPU is too old or failed, or was broken by the form of the last trial.
    """
    end = time.monotonic() + seconds
    with ExitStack() as resources:
        device = Device(device_index)
        resources.callback(device.close)
        gpu = kept.gpu_of(device)
        table = by_table(gpu.sm)
        listener(Event("compiling the table's kernels"))
        report = known or Report(gpu, table.cut, table.cut)
        session = _Session(device, weights, compile_kernels(device, table), report, TIMED, listener)
        listener(Found(report=report.as_dict()))
        pool = ThreadPoolExecutor(hardware.cpu_threads())
        resources.callback(pool.shutdown, cancel_futures=True)
        compiling = {
            kind: {
                label: pool.submit(_compiled, kind, each, gpu.sm, folder)
                for label, each in candidates(gpu.sm)[kind].items()
                if label not in report.unfit(kind)
            }
            for kind in _open_kinds(report)
        }
        session.try_kinds(compiling, end)
        session.try_frames()
    return report


def _compiled(kind: str, candidate: Candidate, sm: int, folder: Path) -> bytes:
    """Return a kernel that is compiled alone, or was before."""
    place = folder / f"{hashlib.sha256(f'{kind} {candidate.label}'.encode()).hexdigest()}.cubin"
    if place.is_file():
        return place.read_bytes()
    if isinstance(candidate, BlockMeasures):
        cubin = compile_text(candidate.text(), sm, f"{kind}.cu")
    else:
        text = f"{source_text('convolution')}{instantiation(PREFIX + kind, candidate)}\n"
        cubin = compile_text(text, sm, f"{kind}.cu")
    with suppress(OutputError), atomic_path(place) as temporary:  # it saves time, no more
        temporary.write_bytes(cubin)
    return cubin


def _open_kinds(report: Report) -> list[str]:
    """Return the kinds that a report tells nothing of yet; last those whose trials may end in one more fault."""
    told = {each.kind for each in report.choices} | set(report.late)
    return sorted(
        (kind for kind in candidates(report.gpu.sm) if kind not in told), key=lambda kind: bool(report.unfit(kind))
    )


def _loaded(kind: str, candidate: Candidate, sm: int, cubin: bytes) -> Launch:
    """Load a kernel on the current GPU; return what launches it."""
    kernels: FromHiddenKernels | ConvolutionKernels
    if isinstance(candidate, BlockMeasures):
        kernels = FromHiddenKernels({sm: cubin}, shape=candidate.shape(sm))
    else:
        kernels = ConvolutionKernels({sm: cubin}, table=lambda _: {kind: candidate})
    kernels.prepare()
    return kernels.launch  # type: ignore[return-value]


def _name(shape: Shape) -> str:
    return f"{shape[2]}x{shape[1]}"


def _roomy(table: Measures) -> Form:
    """The form with two convolutions at once, with room for what tiles of any candidate leave for each other."""
    found = [table.convolutions[JOINED], *candidates(table.sm)[JOINED].values()]
    tiles = [each.shape.tile for each in found if not isinstance(each, BlockMeasures)]
    tile = max(tiles, key=lambda tile: max(ring_bytes(*shape, tile) for shape in TIMED))
    return replace(replace(table, cut=FEWEST).form, tile=tile)


@dataclass
class _Session:
    """A GPU with the table's kernels, and what is found on it."""

    device: Device
    weights: Weights
    usual: NetworkKernels
    report: Report
    shapes: tuple[Shape, ...]
    listener: Listener

    @contextmanager
    def _trial(self, kind: str, label: str) -> Iterator[None]:
        """Tell that a form is used; that it went well is not told if the block raises."""
        if label == _TABLE:
            yield
            return
        self.listener(Trial(kind=kind, label=label))
        yield
        self.listener(Trial())

    def try_kinds(self, compiling: Mapping[str, Mapping[str, Future[bytes]]], end: float) -> None:
        """Choose a kernel of each kind. Two forms of a frame have launches of all kinds together."""
        forms = {False: replace(self.usual.measures, cut=SEPARATE).form, True: _roomy(self.usual.measures)}
        total = len(candidates(self.report.gpu.sm))
        done = total - len(compiling)
        for joined, kinds in itertools.groupby(compiling, lambda kind: kind == JOINED):
            with closing(self._bench(self.usual, forms[joined], (COMPARED,))) as bench:
                for kind in kinds:
                    self.listener(Event(f"kernel {kind}", done, total))
                    if time.monotonic() > end:
                        self.report.late.append(kind)
                    else:
                        self._try_kind(bench, kind, compiling[kind])
                    done += 1
                    self.listener(Found(report=self.report.as_dict()))
        self.listener(Event("kernels", done, total))

    def _bench(self, kernels: NetworkKernels, form: Form, others: Sequence[Shape] = ()) -> Bench:
        """Open a bench for all frames; if there is no room for the largest, it is left out from now on."""
        while True:
            try:
                return Bench(self.device, self.weights, kernels, (*others, *self.shapes), form)
            except EngineOutOfMemory as error:
                if len(self.shapes) == 1:
                    raise
                self.shapes, largest = self.shapes[:-1], self.shapes[-1]
                self.report.notes.append(f"frames of {_name(largest)} are not timed: {error}")

    def _try_kind(self, bench: Bench, kind: str, compiling: Mapping[str, Future[bytes]]) -> None:
        if not bench.launches(kind, COMPARED):
            return  # not in this network
        sm, left_out = self.report.gpu.sm, self.report.left_out
        launches: dict[str, Launch] = {}
        trial = partial(self._trial, kind)
        for label, compiled in compiling.items():
            try:
                launches[label] = _loaded(kind, candidates(sm)[kind][label], sm, compiled.result())
            except EngineError as error:
                left_out.append((kind, label, str(error)))
        for label, apart in bench.differences(kind, launches, COMPARED, trial).items():
            if isinstance(apart, str):
                left_out.append((kind, label, apart))
            elif not apart <= BOUND:
                left_out.append((kind, label, f"its result is wrong: relative difference {apart:.1e}"))
            else:
                continue
            del launches[label]
        times: dict[str, dict[str, float]] = {name: {} for name in (_TABLE, *launches)}
        for shape in self.shapes:
            tried = {_TABLE: self.usual.launch, **launches}
            for name, each in bench.time_kind(kind, tried, shape, trial).items():
                times[name][_name(shape)] = each
        table = times.pop(_TABLE)
        best = fastest(table, times)
        self.report.choices.append(Choice(kind, best or "", table, times[best] if best else table, times))

    def try_frames(self) -> None:
        """Choose the form of a frame, and compare the whole with the table's."""
        report, measures = self.report, self.usual.measures
        self.listener(Event("compiling the kernels that were chosen"))
        chosen = with_candidates(measures, report.chosen)
        kernels = compile_kernels(self.device, chosen) if report.chosen else self.usual
        self.listener(Event("timing whole frames"))
        unfit = report.unfit(FRAME)
        lost = bool(report.chosen) and measures.cut in unfit
        with ExitStack() as opened:
            frames = {_TABLE: opened.enter_context(closing(self._bench(self.usual, measures.form)))}
            for cut in () if lost else CUTS:
                if cut not in unfit and (report.chosen or cut != measures.cut):  # else it is the table's
                    form = replace(chosen, cut=cut).form
                    with self._trial(FRAME, cut):
                        frames[cut] = opened.enter_context(closing(self._bench(kernels, form)))
            times = self._frame_times(frames)
            report.before = report.after = times.pop(_TABLE)
            if lost:
                report.notes.append("whole frames with what was chosen do not work: nothing is taken")
                return
            usual = times.setdefault(measures.cut, report.before)
            report.forms = dict(times)
            cut = fastest(usual, times) or measures.cut
            if not report.chosen and cut == measures.cut:
                return
            with self._trial(FRAME, cut):
                found = frames[cut].result(self.shapes[0])
            apart = compare(found, frames[_TABLE].result(self.shapes[0]))
        report.after = times[cut]
        if not EXPORTED["fp16"].hold(apart):
            report.notes.append(f"frames of what was chosen are wrong (PSNR {apart.psnr:.1f} dB): nothing is taken")
        elif not never_slower(report.after, report.before):
            report.notes.append("whole frames are not faster with what was chosen: nothing is taken")
        else:
            report.adopted, report.cut = True, cut
            return
        report.after = report.before

    def _frame_times(self, frames: Mapping[str, Bench]) -> dict[str, Times]:
        times: dict[str, dict[str, float]] = {name: {} for name in frames}
        for shape in self.shapes:
            for name, bench in frames.items():
                with self._trial(FRAME, name):
                    bench.frame_milliseconds(shape)  # records the graph
            repeats = repeats_of(frames[_TABLE].warm_up(partial(frames[_TABLE].put_frame, shape)))
            measure = partial(self._frame_milliseconds, frames, shape, repeats)
            for name, each in in_turns(list(frames), measure, ROUNDS).items():
                times[name][_name(shape)] = each
        return dict(times)

    def _frame_milliseconds(self, frames: Mapping[str, Bench], shape: Shape, repeats: int, name: str) -> float:
        with self._trial(FRAME, name):
            return frames[name].frame_milliseconds(shape, repeats)
