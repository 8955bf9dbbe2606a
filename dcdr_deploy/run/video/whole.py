"""What is done with whole frames, before the network and after it: by the processor, or by the engine's own device.

The device gives what the processor would but for a last code here and there. It is tried on a small picture first, and
where it fails on the way the processor goes on.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.engines.passes import Finished, FramePasses, Samples
from dcdr_deploy.errors import DcdrError, EngineError
from dcdr_deploy.run.gain import ExcessField, WorkingPicture
from dcdr_deploy.run.preprocessing import NetworkInput, network_input, prepare, tables_for
from dcdr_deploy.run.recovery import Recovery
from dcdr_deploy.run.restore import NetworkResult, Steady
from dcdr_deploy.run.strips import SecondPass, average_down
from dcdr_deploy.run.video.frames import Picture, Selection
from dcdr_deploy.run.video.passes import CODE_BITS, clipping_of, samples_of, stacked
from dcdr_deploy.run.video.sinks import Restoring, Sink, TakesSamples
from dcdr_deploy.run.video.source import SourceFrame
from dcdr_deploy.run.video.yuv import BT709_LUMA, Layout, Planes, to_rgb
from dcdr_deploy.run.working_scale import NATIVE, checked, working_sizes

Made = TypeVar("Made")
_log = logging.getLogger(__name__)

_TRIAL_SIZE, _TRIAL_CELLS = (90, 162), (9, 16)
_CLOSE = 1e-4
"""Largest difference of a trial's averages between device and processor."""


@dataclass(frozen=True)
class Taken:
    """A frame as it came, for the device; ``samples`` are what it takes of it."""

    picture: Picture
    frame: SourceFrame
    samples: Samples


class ByProcessor(Generic[Made]):
    """Whole frames by the processor."""

    def __init__(self, selection: Selection, restoring: Restoring, sink: Sink[Made]) -> None:
        self._selection, self._restoring, self._sink = selection, restoring, sink

    def take(self, picture: Picture, frame: SourceFrame) -> Any:
        """Return what :meth:`ready` takes of a decoded frame; on any thread, as all methods."""
        return self._selection.whole(picture, frame).rgb

    def ready(self, taken: Any) -> NetworkInput:
        """Make a frame ready for the network."""
        return prepare(taken, self._restoring.scale, self._restoring.dials)

    def made(self, picture: Picture, taken: Any, found: NetworkResult, steady: Steady | None) -> tuple[Made, Recovery]:
        """Put what was found onto a frame and make of it what is written.

        Args:
            picture: without its pixels.
            taken: from :meth:`take`, where the frame was made ready without its picture, else ``None``.
            found: of it.
            steady: as for :meth:`NetworkResult.put_on`.
        """
        restored = found.put_on(steady)
        return self._sink.make(picture, restored.linear), restored.recovery


class ByDevice(ByProcessor[Made]):
    """Whole frames by a device, by the processor where it fails."""

    def __init__(
        self, passes: FramePasses, selection: Selection, restoring: Restoring, sink: Sink[Made], samples: TakesSamples
    ) -> None:
        """Set up.

        Args:
            passes: of the device.
            selection, restoring, sink: of the run.
            samples: the sink again.
        """
        super().__init__(selection, restoring, sink)
        self._passes, self._samples = passes, samples
        self._clipping, self._signal = clipping_of(restoring.dials), samples.signal(restoring)
        self._lock = threading.Lock()
        self._failed = False

    def take(self, picture: Picture, frame: SourceFrame) -> Any:
        """As of the class above."""
        if self._failed:
            return super().take(picture, frame)
        return Taken(picture, frame, self._selection.samples(frame))

    def ready(self, taken: Any) -> NetworkInput:
        """As of the class above; without its picture where the device did it."""
        if not isinstance(taken, Taken):
            return super().ready(taken)
        size, scale = taken.samples.size, self._restoring.scale
        finest = working_sizes(*size, scale)[0]
        try:
            found = self._passes.average(taken.samples, self._clipping, finest)
        except EngineError as error:
            self._give_up(error)
            return super().ready(super().take(taken.picture, taken.frame))
        return network_input(WorkingPicture(found.light, found.weight, found.clipped), size, scale, gray=found.gray)

    def made(self, picture: Picture, taken: Any, found: NetworkResult, steady: Steady | None) -> tuple[Made, Recovery]:
        """As of the class above."""
        if not isinstance(taken, Taken):
            return super().made(picture, taken, found, steady)
        field, (height, width) = found.field(steady), taken.samples.size

        def write(planes: Planes) -> Finished:
            return self._passes.finish(taken.samples, self._clipping, stacked(field), self._signal, planes)

        try:
            made, done = self._samples.make_of_samples((height, width), write)
        except EngineError as error:
            self._give_up(error)
            outcome = self._second_pass(super().take(picture, taken.frame)).from_field(field)
            return self._sink.make(picture, outcome.linear), outcome.recovery
        recovery = Recovery(height * width, int(done.stops.sum()), done.whole, done.stops)
        return made, recovery

    def agrees(self) -> bool:
        """Tell whether the device makes of a small picture what the processor makes.

        Raises:
            EngineError: it fails.
        """
        layout = Layout(8, 2, 2)
        planes, field = _trial(layout)
        samples = samples_of(planes, layout, BT709_LUMA, full_range=False)
        rgb = to_rgb(planes, layout, BT709_LUMA, full_range=False)
        found = self._passes.average(samples, self._clipping, _TRIAL_CELLS)
        second = self._second_pass(rgb)
        wanted = average_down(rgb, second.tables, _TRIAL_CELLS)
        pairs = [(getattr(found, name), getattr(wanted, name)) for name in ("light", "weight", "clipped")]
        if not all(np.allclose(one, other, rtol=0, atol=_CLOSE) for one, other in pairs):
            return False
        wished = self._samples.samples(second.from_field(field).linear)
        made = tuple(map(np.empty_like, wished))
        self._passes.finish(samples, self._clipping, stacked(field), self._signal, made)
        return all(np.abs(one.astype(int) - other).max() <= 1 for one, other in zip(made, wished, strict=True))

    def _second_pass(self, rgb: NDArray[np.uint16]) -> SecondPass:
        dials, peak = self._restoring.dials, self._restoring.runner.engine.info.metadata.peak
        return SecondPass(rgb, rgb, tables_for(CODE_BITS, dials), dials, peak)

    def _give_up(self, error: DcdrError) -> None:
        with self._lock:
            if not self._failed:
                _log.warning("whole frames are made by the processor from here on: %s", error)
            self._failed = True


def _trial(layout: Layout) -> tuple[tuple[NDArray[np.uint8], ...], ExcessField]:
    """Return planes that hold colours, white and all that lies between, and a field that is nowhere even."""
    height, width = _TRIAL_SIZE
    rows, columns = layout.chroma_size(height, width)
    luma = np.add.outer(np.linspace(0, 200, height), np.linspace(0, 200, width))
    blue, red = (
        np.add.outer(np.linspace(40, 190, rows), np.linspace(*ends, columns)) / 2 for ends in ((90, 40), (10, 220))
    )
    planes = tuple(np.clip(plane, 0, 255).astype(np.uint8) for plane in (luma, 64 + blue, 64 + red))
    excess = np.linspace(0, 7, 3 * _TRIAL_CELLS[0] * _TRIAL_CELLS[1], dtype=np.float32).reshape(*_TRIAL_CELLS, 3)
    certainty = np.linspace(1, 0.01, _TRIAL_CELLS[0] * _TRIAL_CELLS[1], dtype=np.float32).reshape(*_TRIAL_CELLS, 1)
    return planes, ExcessField(excess * certainty, certainty, np.ones_like(certainty))


def whole_frames(selection: Selection, restoring: Restoring, sink: Sink[Made]) -> ByProcessor[Made]:
    """Return what does whole frames: the engine's device, where it can and gives what the processor gives.

    Raises:
        InputError: a scale out of range.
    """
    checked(restoring.scale)
    processor = ByProcessor(selection, restoring, sink)
    size = selection.size
    if not (isinstance(sink, TakesSamples) and restoring.dials.is_neutral and restoring.scale != NATIVE):
        return processor
    if working_sizes(*size, restoring.scale)[0] == size:
        return processor  # the network sees the picture itself
    passes = restoring.runner.engine.passes()
    if passes is None:
        return processor
    device = ByDevice(passes, selection, restoring, sink, sink)
    try:
        if device.agrees():
            return device
        _log.warning(
            "the GPU makes other light of a frame than the processor, which makes it instead; please report it"
        )
    except EngineError as error:
        _log.warning("whole frames are made by the processor: %s", error)
    return processor
