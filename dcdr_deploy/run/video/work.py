"""The stages of a video run: decode, infer, light and encode, side by side, into segments.

Decoding and encoding each go in the order of the frames, light is made on several threads at a time. How many frames
are between two stages is bounded, so that memory does not grow with the length of a video.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.engines.base import DEVICE_CUDA
from dcdr_deploy.errors import DcdrError
from dcdr_deploy.imaging.delivery import ContentLight, Delivery
from dcdr_deploy.run.dials import Dials
from dcdr_deploy.run.recovery import Recovery
from dcdr_deploy.run.restore import Steady
from dcdr_deploy.run.restore import begin as begin_restoring
from dcdr_deploy.run.runner import Runner
from dcdr_deploy.run.stages import Begun, Pipeline, Stages, workers_for
from dcdr_deploy.run.video.encoding import Planes, SegmentEncoder, planes_of_light
from dcdr_deploy.run.video.frames import Picture, Selection
from dcdr_deploy.run.video.segments import Segment, SegmentFile, Sums, Workplace
from dcdr_deploy.run.video.source import Seen
from dcdr_deploy.run.video.target import Geometry, Target
from dcdr_deploy.run.video.turns import OutOfTurn, Turns
from dcdr_deploy.run.working_scale import Scale
from dcdr_deploy.system import hardware

PIXELS_IN_FLIGHT = 40_000_000
"""Pixels of decoded frames that may wait for the network, and of results that may wait for the encoder."""

DECODE, INFER, LIGHT, ENCODE = "decode", "infer", "light", "encode"


@dataclass(frozen=True)
class Restoring:
    """What is done with every frame.

    Attributes:
        runner: with the network.
        scale: at which size it works.
        dials: how much of what it found.
        delivery: how its light is written.
        steady: what is done with it before, frame after frame; ``None`` leaves every frame on its own. A picture that
            repeats the one before is not shown to it.
    """

    runner: Runner
    scale: Scale
    dials: Dials
    delivery: Delivery
    steady: Steady | None = None


@dataclass(frozen=True)
class _Made:
    """A picture's planes, with what was measured of it."""

    planes: Planes
    light: ContentLight
    recovery: Recovery


@dataclass(frozen=True)
class _Late:
    """A picture after the network; ``linear`` is ``None`` where it is the same as the picture before."""

    picture: Picture
    linear: NDArray[np.float32] | None
    recovery: Recovery


@dataclass
class _Open:
    """The segment being encoded."""

    file: SegmentFile
    encoder: SegmentEncoder
    sums: Sums = field(default_factory=Sums)
    seen: Seen | None = None
    last_duration: int = 0


class _StopError(Exception):
    """Ends a run for a reason; no DcdrError, which the pipeline would take for a failure of one frame."""

    def __init__(self, reason: DcdrError) -> None:
        super().__init__(str(reason))
        self.reason = reason


class Work:
    """One run over what is left of a video.

    Attributes:
        fresh: frames that were encoded.
        seconds: of each stage, summed over its threads.
    """

    def __init__(
        self,
        selection: Selection,
        restoring: Restoring,
        target: Target,
        picture: Geometry,
        place: Workplace,
        segment_frames: int,
        progress: Callable[[int], None],
    ) -> None:
        """Set up.

        Args:
            selection: gives the frames.
            restoring: what is done with them.
            target, picture: of the encoder.
            place: where segments go.
            segment_frames: frames of a segment.
            progress: called with the number of frames done, on the thread of :meth:`run`.
        """
        self.fresh = 0
        self.seconds = dict.fromkeys((DECODE, INFER, LIGHT, ENCODE), 0.0)
        self._selection = selection
        self._restoring = restoring
        self._target = target
        self._picture = picture
        self._place = place
        self._segment_frames = segment_frames
        self._progress = progress
        self._turns = Turns()
        self._open: _Open | None = None
        self._before: _Made | None = None

    def run(self) -> None:
        """Write all frames; returns when the last segment is closed.

        Raises:
            DcdrError: a frame cannot be decoded, the network or the encoder fails.
            OSError: a segment cannot be written.
        """
        stages: Stages[int, Picture | None, _Late | None, None] = Stages(
            first=self._decode,
            begun=lambda number: None,
            middle=self._infer,
            last=self._encode,
            weight=lambda late: 0 if late is None or late.linear is None else late.linear[..., 0].size,
            done=lambda number, _: self._progress(self.fresh),
            failed=self._failed,
            early_weight=lambda picture: 0 if picture is None or picture.rgb is None else picture.rgb[..., 0].size,
        )
        on_gpu = self._restoring.runner.engine.info.device_kind == DEVICE_CUDA
        workers = workers_for(hardware.cpu_threads(), processor_is_free=on_gpu)
        one_decoder = type(workers)(1, workers.last)  # a video is decoded from its beginning on
        pipeline = Pipeline(stages, PIXELS_IN_FLIGHT, one_decoder)
        try:
            pipeline.run(self._numbers())
        except _StopError as stop:
            raise stop.reason from stop
        finally:
            self._turns.stop()
        self._close(ends=True)

    def stopped(self) -> Segment | None:
        """Return the segment that was being encoded when the run ended early, ``None`` if there is none.

        It can be read from the folder, but does not count as whole.
        """
        if self._open is None:
            return None
        return self._finished(self._open, ends=False)

    def release(self) -> None:
        """Close the file that is open."""
        if self._open is not None:
            self._open.file.close()

    def _numbers(self) -> Iterator[int]:
        number = 0
        while not self._selection.ended:
            yield number
            number += 1

    def _decode(self, number: int) -> Picture | None:
        started = time.perf_counter()
        picture = self._selection.next()
        self.seconds[DECODE] += time.perf_counter() - started
        return picture

    def _infer(self, number: int, picture: Picture | None) -> _Late | Begun[_Late | None] | None:
        if picture is None or picture.rgb is None:
            return None if picture is None else _Late(picture, None, Recovery())
        started = time.perf_counter()
        do = self._restoring
        finish = begin_restoring(picture.rgb, do.runner, do.scale, do.dials, steady=do.steady)
        self.seconds[INFER] += time.perf_counter() - started
        without = Picture(**{**vars(picture), "rgb": None})

        def finished() -> _Late:
            started = time.perf_counter()
            restored = finish()
            self.seconds[INFER] += time.perf_counter() - started
            return _Late(without, restored.linear, restored.recovery)

        return Begun(finished) if do.runner.engine.info.overlaps else finished()

    def _encode(self, number: int, late: _Late | None) -> None:
        if late is None:
            return
        started, made = time.perf_counter(), None
        if late.linear is not None:
            planes, light = planes_of_light(late.linear, self._restoring.delivery, self._target.codec)
            made = _Made(planes, light, late.recovery)
        ready = time.perf_counter()
        try:
            with self._turns.turn(late.picture.number):
                begun = time.perf_counter()
                self._write(late.picture, made)
                self.seconds[LIGHT] += ready - started
                self.seconds[ENCODE] += time.perf_counter() - begun
        except OutOfTurn:
            return  # what broke the row is reported

    def _write(self, picture: Picture, made: _Made | None) -> None:
        """Encode one picture; one after the other."""
        repeated = made is None
        made = made or self._before
        assert made is not None  # the first picture of a run is never a repetition
        self._before = made
        if self._open is None:
            file = self._place.begin_segment()
            self._open = _Open(file, SegmentEncoder(self._target, self._picture, file))
        now = self._open
        now.encoder.add(made.planes, picture.stamp)
        now.seen, now.last_duration = picture.seen, picture.duration
        light = made.light
        now.sums += Sums(
            1, int(repeated), picture.lost, int(picture.mended), light.max_cll, light.max_fall, made.recovery
        )
        self.fresh += 1
        if now.sums.frames == self._segment_frames:
            self._close(ends=False)

    def _close(self, *, ends: bool) -> None:
        if self._open is not None:
            now, self._open = self._open, None
            self._place.close_segment(now.file, self._finished(now, ends=ends))

    @staticmethod
    def _finished(now: _Open, *, ends: bool) -> Segment:
        now.encoder.finish()
        return now.file.described(now.last_duration, now.seen, now.sums, ends=ends)

    @staticmethod
    def _failed(number: int, error: DcdrError) -> None:
        raise _StopError(error)


def partial_path(target: Path) -> Path:
    """Return where what there is of a stopped run can be played."""
    return target.with_name(f"{target.stem}.partial{target.suffix}")
