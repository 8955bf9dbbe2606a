"""What every conversion of a video shares: the source, what is made of it, what is said of it."""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dcdr_deploy.engines.base import EngineInfo
from dcdr_deploy.errors import InputError
from dcdr_deploy.imaging.light import Light
from dcdr_deploy.run import working_scale
from dcdr_deploy.run.dials import NEUTRAL, Dials, as_text
from dcdr_deploy.run.events import FramesDone
from dcdr_deploy.run.manifest import settings_key
from dcdr_deploy.run.runner import Runner
from dcdr_deploy.run.video.frames import Selection
from dcdr_deploy.run.video.opening import open_video
from dcdr_deploy.run.video.options import DEFAULT_TEMPORAL, DEFAULT_VIDEO_OPTIONS, VideoOptions
from dcdr_deploy.run.video.reports import VideoReport
from dcdr_deploy.run.video.sinks import Restoring
from dcdr_deploy.run.video.source import VideoInfo, VideoSource
from dcdr_deploy.run.video.steady_in_turn import Renewed
from dcdr_deploy.run.video.sums import Sums
from dcdr_deploy.run.working_scale import NATIVE, Scale
from dcdr_deploy.system.progress import Event, Listener
from dcdr_deploy.system.words import number_of

if TYPE_CHECKING:  # brings OpenCV
    from dcdr_deploy.run.video.steady import Steadying

_SAMPLE, _SAMPLES = 1 << 16, 64


@dataclass(frozen=True)
class VideoSettings:
    """What is made of a video.

    Attributes:
        scale: at which size the network works (run/working_scale.py).
        dials: how much of what was restored.
        video: which part of it, and how it is encoded.
        light: reference white, peak and curve; a transfer of ``None`` is PQ.
    """

    scale: Scale = working_scale.AUTO
    dials: Dials = NEUTRAL
    video: VideoOptions = DEFAULT_VIDEO_OPTIONS
    light: Light = field(default_factory=Light)

    @property
    def temporal(self) -> float:
        """By how much frames are steadied, 0 where they are not."""
        if self.scale == NATIVE:
            return 0.0
        return DEFAULT_TEMPORAL if self.video.temporal is None else self.video.temporal

    @property
    def run_frames(self) -> int:
        """Frames after which steadying begins anew, 0 where there is none.

        A run that was interrupted goes on at a multiple of it, and so gives the same as one that was not.
        """
        return self.video.segment_frames if self.temporal else 0

    def noted(self) -> dict[str, str]:
        """Return what a file's header says of the way it was made."""
        steadied = {"temporal": f"{self.temporal:g}"} if self.temporal else {}
        return {"scale": str(self.scale), **steadied, **as_text(self.dials.turned())}


DEFAULT_SETTINGS = VideoSettings()


@dataclass(frozen=True)
class Network:
    """What of a runner decides about the pictures.

    Attributes:
        info: of its engine.
        tile, overlap: as of :class:`~dcdr_deploy.run.runner.Runner`.
    """

    info: EngineInfo
    tile: int | Literal["auto"] | None
    overlap: int | Literal["auto"]

    @staticmethod
    def of(runner: Runner) -> Network:
        """Return a runner's."""
        return Network(runner.engine.info, runner.tile, runner.overlap)


class Prepared:
    """A video that can be read, and what is going to be made of it.

    Attributes:
        info: what is known of it.
        settings: what is made of it.
        frames: that are going to be written; ``None`` where the source does not say.
        notes: sentences about what was taken for want of better, and what is left out.
    """

    def __init__(self, source: Path, settings: VideoSettings) -> None:
        """Look at a source.

        Raises:
            InputError: it cannot be read as a video, is HDR or interlaced; or it is to be steadied at scale native.
            MissingDependency: PyAV is not installed.
        """
        self.settings = settings
        if settings.video.temporal and settings.scale == NATIVE:
            raise InputError(
                f"{source}: `temporal` steadies what the network finds at a working size, which scale native has not; "
                "leave one of them out"
            )
        with open_video(source, deinterlace=settings.video.deinterlace) as video:
            self.info = video.info
        self.frames = _expected(self.info, settings.video)
        self.notes = list(self.info.notes)

    def key(self, network: Network, **more: Any) -> str:
        """Return a digest of all that decides about the pictures; what becomes of lost frames may change on the way.

        Args:
            network: that works on them.
            more: what decides beside the source, its part, the network and its dials, as plain data.

        Raises:
            InputError: the source cannot be read.
        """
        settings, video = self.settings, self.settings.video
        if settings.temporal:
            more["temporal"] = settings.temporal
        return settings_key(
            network.info,
            source=_digest(self.info.path),
            scale=str(settings.scale),
            dials=settings.dials.turned(),
            part=[str(video.start), str(video.end), video.frames, video.deinterlace],
            tile=network.tile,
            overlap=network.overlap,
            **more,
        )

    def restoring(self, runner: Runner) -> Restoring:
        """Return what is done with every frame."""
        settings = self.settings
        strength, frames = settings.temporal, settings.run_frames
        steadying = Renewed(lambda: steady_with(strength), frames) if strength else None
        return Restoring(runner, settings.scale, settings.dials, steadying)

    def counting(self, listener: Listener, before: int) -> Listener:
        """Return a listener to the work of one run, which tells of the whole video in its turn.

        Args:
            listener: told of :class:`FramesDone`.
            before: frames that an earlier run did.
        """
        started = time.perf_counter()

        def tell(event: Event) -> None:
            fps = event.done / max(time.perf_counter() - started, 1e-3)
            listener(FramesDone(done=before + event.done, total=self.frames, fps=fps))

        return tell

    def note_end(self, source: VideoSource, selection: Selection, frames: int) -> None:
        """Note what is to be said of a source once frames were read.

        Args:
            source: that was read.
            selection: that read it.
            frames: that came out, of this run and earlier ones.
        """
        missing = source.shortfall(frames, selection.trailing) if selection.complete else ""
        self.notes += [sentence for sentence in (missing, *source.changes) if sentence]

    def empty(self) -> InputError:
        """Return the error for a video of which nothing came out."""
        return InputError(f"{self.info.path}: no frame came out; it is cut short or damaged, or ends before `start`")

    def report(self, engine: EngineInfo, sums: Sums, seconds: float, **made: Any) -> VideoReport:
        """Describe what was done.

        Args:
            engine: that computed it.
            sums: over all frames.
            seconds: of this run.
            made: fields of the report that depend on what was written.
        """
        info = self.info
        notes = list(self.notes)
        before = sum(stamp is not None and stamp < info.begin for stamp in sums.lost)
        if before:
            notes.append(f"its beginning cannot be decoded; frames left out: {before}")
        if sums.mended:
            moved = "time stamp that did not rise was", "time stamps that did not rise were"
            notes.append(f"{number_of(sums.mended, *moved)} moved on")
        return VideoReport(
            source=info.path,
            frames=sums.frames,
            repeated=sums.repeated,
            lost=tuple(None if stamp is None else round(info.seconds_of(stamp), 6) for stamp in sums.lost),
            model=engine.metadata.name if engine.model is None else engine.model.name,
            backend=engine.backend,
            device=engine.device,
            seconds=seconds,
            scale=str(self.settings.scale),
            dials=self.settings.dials.turned(),
            recovery=sums.recovery,
            notes=tuple(notes),
            colour=info.colours,
            **made,
        )


def _expected(info: VideoInfo, video: VideoOptions) -> int | None:
    frames = info.frames
    if frames is None and info.seconds is not None:
        frames = round(info.seconds * info.rate)
    if video.start is not None or video.end is not None:
        end = video.end if video.end is not None else info.seconds
        part = None if end is None else max(round((end - (video.start or 0)) * info.rate), 1)
        frames = part if frames is None or part is None else min(part, frames)
    return video.frames if frames is None else min(frames, video.frames or frames)


def _digest(path: Path) -> str:
    """Return a digest of a file's size and of parts spread over it: whole films would be read for minutes.

    Raises:
        InputError: it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            digest.update(str(size).encode())
            step = max((size - _SAMPLE) // (_SAMPLES - 1), _SAMPLE)
            for start in range(0, max(size, 1), step):
                file.seek(start)
                digest.update(file.read(_SAMPLE))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    return digest.hexdigest()


def steady_with(strength: float) -> Steadying:
    """Return what steadies consecutive frames."""
    from dcdr_deploy.run.video.steady import Steadying  # brings OpenCV

    return Steadying(strength)
