"""The stages of a video run: decode, infer, light and encode, side by side.

Decoding, the network, the mean of steadied frames and encoding each go in the order of the frames. Where the network
leaves the processor free, what needs no order is done of several frames at a time: a decoded frame becomes R'G'B' and
its working picture, and what the network found becomes light and samples. How many frames are between two stages is
bounded, so that memory does not grow with the length of a video.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from dcdr_deploy.engines.base import DEVICE_CUDA
from dcdr_deploy.errors import DcdrError
from dcdr_deploy.run.preprocessing import NetworkInput
from dcdr_deploy.run.recovery import Recovery
from dcdr_deploy.run.restore import NetworkResult
from dcdr_deploy.run.restore import begin as begin_restoring
from dcdr_deploy.run.stages import PendingResult, Pipeline, Stages, StopError, pixels_in_flight, workers_for
from dcdr_deploy.run.video.frames import Picture, Selection
from dcdr_deploy.run.video.sinks import Restoring, Sink
from dcdr_deploy.run.video.steady_in_turn import Place, SteadyingInTurn
from dcdr_deploy.run.video.turns import OutOfTurn, Turns
from dcdr_deploy.run.video.whole import whole_frames
from dcdr_deploy.system import hardware
from dcdr_deploy.system.progress import Event, Listener, silent

if TYPE_CHECKING:  # brings OpenCV
    from dcdr_deploy.run.video.steady import View

PIXELS_IN_FLIGHT = 40_000_000
"""Pixels of decoded frames that may wait for the network in any case, and of results that may wait for the encoder."""

DECODE, INFER, LIGHT, ENCODE = "decode", "infer", "light", "encode"


Made = TypeVar("Made")


@dataclass(frozen=True)
class _Early:
    """A picture without its pixels, ready for the network; ``ready`` is ``None`` where it repeats the one before.

    ``taken`` is there where the frame itself is still needed, ``view`` where frames are steadied.
    """

    picture: Picture
    ready: NetworkInput | None = None
    taken: Any = None
    view: View | None = None

    @property
    def pixels(self) -> int:
        """Height x width of what waits for the network."""
        return 0 if self.ready is None else math.prod(self.ready.size)


@dataclass(frozen=True)
class _Late:
    """A picture of so many pixels after the network; ``found`` is ``None`` where it repeats the picture before."""

    picture: Picture
    found: NetworkResult | None = None
    pixels: int = 0
    taken: Any = None
    place: Place | None = None


class Work(Generic[Made]):
    """One run over what is left of a video.

    Attributes:
        fresh: frames that were written.
        seconds: of each stage, summed over its threads.
    """

    def __init__(
        self, selection: Selection, restoring: Restoring, sink: Sink[Made], listener: Listener = silent
    ) -> None:
        """Set up.

        Args:
            selection: gives the frames.
            restoring: what is done with them.
            sink: where they go.
            listener: told after each frame how many this run has done.
        """
        self.fresh = 0
        self.seconds = dict.fromkeys((DECODE, INFER, LIGHT, ENCODE), 0.0)
        self._selection = selection
        self._restoring = restoring
        self._sink = sink
        self._listener = listener
        self._whole = whole_frames(selection, restoring, sink)
        self._looks, self._turns = Turns(), Turns()
        self._adding = threading.Lock()
        renewed = restoring.steadying
        self._steadying = None if renewed is None else SteadyingInTurn(renewed, self._waited)
        self._before: tuple[Made, Recovery] | None = None

    def run(self) -> None:
        """Write all frames; returns when the sink has finished.

        Raises:
            DcdrError: a frame cannot be decoded, the network or the encoder fails.
            OSError: the sink cannot write.
        """
        stages: Stages[int, _Early | None, _Late | None, None] = Stages(
            first=self._decode,
            begun=lambda number: None,
            middle=self._infer,
            last=self._encode,
            weight=lambda late: 0 if late is None else late.pixels,
            done=lambda number, _: self._listener(Event(done=self.fresh)),
            failed=self._failed,
            early_weight=lambda early: 0 if early is None else early.pixels,
        )
        on_gpu = self._restoring.runner.engine.info.device_kind == DEVICE_CUDA
        workers = workers_for(hardware.cpu_threads(), processor_is_free=on_gpu)
        limit = pixels_in_flight(PIXELS_IN_FLIGHT) if on_gpu else PIXELS_IN_FLIGHT
        pipeline = Pipeline(stages, limit, workers)
        try:
            pipeline.run(self._numbers())
        except StopError as stop:
            raise stop.reason from stop
        finally:
            self._stop()
        self._sink.finish()

    def _numbers(self) -> Iterator[int]:
        number = 0
        while not self._selection.ended:
            yield number
            number += 1

    def _decode(self, number: int) -> _Early | None:
        with self._looks.turn(number):  # a video is decoded from its beginning on
            started = time.perf_counter()
            found = self._selection.look()
        if found is None:
            return None
        picture, frame = found
        taken = None if frame is None else self._whole.take(picture, frame)
        decoded = time.perf_counter()
        self._add(DECODE, decoded - started)
        if taken is None:
            return _Early(picture)
        ready, view = self._whole.ready(taken), None
        if self._steadying is not None:
            view = self._steadying.view(ready.working[0].picture)
        self._add(INFER, time.perf_counter() - decoded)
        return _Early(picture, ready, taken if ready.full is None else None, view)

    def _infer(self, number: int, early: _Early | None) -> _Late | PendingResult[_Late | None] | None:
        if early is None or early.ready is None:
            return None if early is None else _Late(early.picture)
        started = time.perf_counter()
        do, picture, pixels, place = self._restoring, early.picture, early.pixels, None
        if self._steadying is not None and early.view is not None:
            place = self._steadying.place(picture.number, early.view)
        finish = begin_restoring(early.ready, do.runner, do.scale, do.dials)
        self._add(INFER, time.perf_counter() - started)

        def finished() -> _Late:
            started = time.perf_counter()
            found = finish()
            self._add(INFER, time.perf_counter() - started)
            return _Late(picture, found, pixels, early.taken, place)

        return PendingResult(finished) if do.runner.engine.info.overlaps else finished()

    def _made(self, late: _Late, found: NetworkResult) -> tuple[Made, Recovery]:
        """Put what was found onto its picture and make of it what is written, which waits for its turn alone."""
        steady = None if late.place is None else late.place.steady
        return self._whole.made(late.picture, late.taken, found, steady)

    def _encode(self, number: int, late: _Late | None) -> None:
        if late is None:
            return
        started, fresh = time.perf_counter(), None
        try:
            if late.found is not None:
                fresh = self._made(late, late.found)
            ready = time.perf_counter()
            with self._turns.turn(late.picture.number):
                begun = time.perf_counter()
                self._before = fresh or self._before
                assert self._before is not None  # the first picture of a run is never a repetition
                self._sink.write(late.picture, *self._before, repeated=fresh is None)
                self.fresh += 1
                self._add(LIGHT, ready - started)
                self._add(ENCODE, time.perf_counter() - begun)
        except OutOfTurn:
            return  # what broke the row is reported
        except BaseException:
            self._stop()
            raise

    def _stop(self) -> None:
        """Let nobody wait for a turn that does not come."""
        for each in (self._looks, self._turns, self._steadying):
            if each is not None:
                each.stop()

    def _waited(self, seconds: float) -> None:
        self._add(LIGHT, -seconds)  # within the light's, and no work

    def _add(self, stage: str, seconds: float) -> None:
        with self._adding:
            self.seconds[stage] += seconds

    @staticmethod
    def _failed(number: int, error: DcdrError) -> None:
        raise StopError(error)
