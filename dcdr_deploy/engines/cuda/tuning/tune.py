"""Measuring which kernels, and which form of a frame, are fastest on the GPU at hand, and keeping that.

Each kind of kernel has candidates. They are compiled beside each other, compared with the table's kernel on the
launches of a frame and timed there in turns with it; one that is right and clearly faster takes its place. With what
was chosen the forms of a frame are timed as wholes. At last the whole has to be right, and at no size slower than the
table's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import partial

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
from dcdr_deploy.engines.cuda.tuning.report import Choice, Report
from dcdr_deploy.engines.cuda.weights import Weights
from dcdr_deploy.errors import EngineError, EngineOutOfMemory
from dcdr_deploy.system import hardware
from dcdr_deploy.system.progress import Event, Listener, silent

BOUND = 1e-3
"""Largest relative difference (RMS) of a kernel's result: what rounding to FP16 and another order of sums explain."""

COMPARED: Shape = (1, 268, 404)
"""Frame on which results are compared: no multiple of any tile, and several tiles for most blocks."""

TIMED: tuple[Shape, ...] = ((1, 512, 768), (1, 1080, 1920))
"""Frames that are timed: a photograph at the size at which ``--scale auto`` computes it, and a tile of a native run."""

_TABLE = "table"


def tune(
    weights: Weights,
    device_index: int = 0,
    seconds: float = 60.0,
    listener: Listener = silent,
    keep: bool = True,
    so_far: Callable[[Report], object] = lambda report: None,
) -> Report:
    """Measure a GPU's kernels and keep the fastest for engines that are opened from now on.

    Args:
        weights: of the network whose launches are timed; how long they take does not depend on the numbers.
        device_index: the GPU in CUDA's counting.
        seconds: no kind of kernel is begun after so many.
        listener: told of stages.
        keep: whether the result is kept; otherwise it is reported only.
        so_far: given the report after each kind of kernel, with what is known by then.

    Raises:
        MissingDependency: a package is not installed.
        EngineOutOfMemory: the GPU has no room for the smallest of the frames.
        EngineError: the GPU is too old or failed, or a kernel broke off.
    """
    started = time.monotonic()
    with ExitStack() as resources:
        device = Device(device_index)
        resources.callback(device.close)
        gpu = kept.gpu_of(device)
        table = by_table(gpu.sm)
        listener(Event("compiling the table's kernels"))
        session = _Session(device, weights, compile_kernels(device, table), Report(gpu, table.cut, table.cut), TIMED)
        pool = ThreadPoolExecutor(hardware.cpu_threads())
        resources.callback(pool.shutdown, cancel_futures=True)
        compiling = {
            kind: {label: pool.submit(_compiled, kind, each, gpu.sm) for label, each in found.items()}
            for kind, found in candidates(gpu.sm).items()
        }
        session.try_kinds(compiling, started + seconds, listener, so_far)
        session.try_frames(listener)
    report = session.report
    report.seconds = round(time.monotonic() - started, 1)
    if keep and kept.write(gpu, report.chosen if report.adopted else {}, report.cut, report.as_dict()):
        report.file = gpu.path
    return report


def _compiled(kind: str, candidate: Candidate, sm: int) -> bytes:
    """Compile a kernel alone."""
    if isinstance(candidate, BlockMeasures):
        return compile_text(candidate.text(), sm, f"{kind}.cu")
    return compile_text(f"{source_text('convolution')}{instantiation(PREFIX + kind, candidate)}\n", sm, f"{kind}.cu")


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

    def try_kinds(
        self,
        compiling: Mapping[str, Mapping[str, Future[bytes]]],
        end: float,
        listener: Listener,
        so_far: Callable[[Report], object],
    ) -> None:
        """Choose a kernel of each kind. Two forms of a frame have launches of all kinds together."""
        forms = {False: replace(self.usual.measures, cut=SEPARATE).form, True: _roomy(self.usual.measures)}
        done = 0
        for joined, form in forms.items():
            with closing(self._bench(self.usual, form, (COMPARED,))) as bench:
                for kind in (kind for kind in compiling if (kind == JOINED) == joined):
                    listener(Event(f"kernel {kind}", done, len(compiling)))
                    if time.monotonic() > end:
                        self.report.late.append(kind)
                    else:
                        self._try_kind(bench, kind, compiling[kind])
                    done += 1
                    so_far(self.report)
        listener(Event("kernels", done, len(compiling)))

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
        for label, candidate in candidates(sm)[kind].items():
            try:
                launches[label] = _loaded(kind, candidate, sm, compiling[label].result())
            except EngineError as error:
                left_out.append((kind, label, str(error)))
        for label, apart in bench.differences(kind, launches, COMPARED).items():
            if isinstance(apart, str):
                left_out.append((kind, label, apart))
            elif not apart <= BOUND:
                left_out.append((kind, label, f"its result is wrong: relative difference {apart:.1e}"))
            else:
                continue
            del launches[label]
        times: dict[str, dict[str, float]] = {name: {} for name in (_TABLE, *launches)}
        for shape in self.shapes:
            for name, each in bench.time_kind(kind, {_TABLE: self.usual.launch, **launches}, shape).items():
                times[name][_name(shape)] = each
        table = times.pop(_TABLE)
        best = fastest(table, times)
        self.report.choices.append(Choice(kind, best or "", table, times[best] if best else table, times))

    def try_frames(self, listener: Listener) -> None:
        """Choose the form of a frame, and compare the whole with the table's."""
        report, measures = self.report, self.usual.measures
        listener(Event("compiling the kernels that were chosen"))
        chosen = with_candidates(measures, report.chosen)
        kernels = compile_kernels(self.device, chosen) if report.chosen else self.usual
        listener(Event("timing whole frames"))
        with ExitStack() as opened:
            frames = {_TABLE: opened.enter_context(closing(self._bench(self.usual, measures.form)))}
            for cut in CUTS:
                if report.chosen or cut != measures.cut:  # else it is the table's
                    form = replace(chosen, cut=cut).form
                    frames[cut] = opened.enter_context(closing(self._bench(kernels, form)))
            times = self._frame_times(frames)
            report.before = times.pop(_TABLE)
            usual = times.setdefault(measures.cut, report.before)
            report.forms = dict(times)
            cut = fastest(usual, times) or measures.cut
            if not report.chosen and cut == measures.cut:
                report.after = report.before
                return
            apart = compare(frames[cut].result(self.shapes[0]), frames[_TABLE].result(self.shapes[0]))
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
            for bench in frames.values():
                bench.frame_milliseconds(shape)  # records the graph
            repeats = repeats_of(frames[_TABLE].warm_up(partial(frames[_TABLE].put_frame, shape)))
            measure = partial(_frame_milliseconds, frames, shape, repeats)
            for name, each in in_turns(list(frames), measure, ROUNDS).items():
                times[name][_name(shape)] = each
        return dict(times)


def _frame_milliseconds(frames: Mapping[str, Bench], shape: Shape, repeats: int, name: str) -> float:
    return frames[name].frame_milliseconds(shape, repeats)
