"""What an actor of the cluster is: a process with one engine that converts what it is given the paths of."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from dcdr_deploy.engines.base import EngineInfo
from dcdr_deploy.errors import DcdrError, kind_of, of_kind
from dcdr_deploy.run.jobs import Job
from dcdr_deploy.run.ledger import entry_of, run_settings, wanted_of
from dcdr_deploy.run.manifest import ManifestEntry
from dcdr_deploy.run.opening import RunnerSettings, open_runner
from dcdr_deploy.run.outputs import ConvertOptions, gain_map_path
from dcdr_deploy.run.reports import FileReport
from dcdr_deploy.run.runner import Runner
from dcdr_deploy.run.selection import DEMO_MODEL
from dcdr_deploy.run.video.choice import settings_of
from dcdr_deploy.run.video.convert import PreparedVideo
from dcdr_deploy.run.video.folder import videos_key
from dcdr_deploy.run.video.options import VideoOptions
from dcdr_deploy.run.video.prepared import VideoSettings
from dcdr_deploy.run.video.reports import VideoReport
from dcdr_deploy.run.video.segment_jobs import ComputedSegment, SegmentJob, compute_segment
from dcdr_deploy.serving.addresses import Address
from dcdr_deploy.serving.shared_runner import SharedRunner
from dcdr_deploy.serving.staging import staged


@dataclass(frozen=True)
class ActorFailure:
    """An error that a user can mend, on its way between processes.

    Attributes:
        kind: name of its class in errors.py.
        sentence: its message.
    """

    kind: str
    sentence: str

    @staticmethod
    def of(error: DcdrError) -> ActorFailure:
        """Return an error as plain text."""
        return ActorFailure(kind_of(error), str(error))

    def error(self, names: Mapping[Path, Path] = MappingProxyType({})) -> DcdrError:
        """Return the error again, with the files named as the user does: ``names`` gives that for ours."""
        sentence = self.sentence
        for ours, theirs in names.items():
            sentence = sentence.replace(str(ours), str(theirs))
        return of_kind(self.kind, sentence)


@dataclass(frozen=True)
class ActorReady:
    """An actor's engine is loaded.

    Attributes:
        info: what it says of itself.
        settings: digest of all that decides an output's numbers, see run/ledger.py: the same for all actors of a run.
    """

    info: EngineInfo
    settings: str


@dataclass(frozen=True)
class JobResult:
    """A picture or a video is converted.

    Attributes:
        report: on it.
        entry: the manifest's line, ``None`` where its files are gone again.
    """

    report: FileReport | VideoReport
    entry: ManifestEntry | None


def portable(model: Path) -> str:
    """Return how actors are told of a model: our own weights by name, as each machine has its own copy of them."""
    return model.name if model.parent == DEMO_MODEL.parent else str(model.absolute())


def carried_model(model: Path) -> list[Path]:
    """Return the model's file where every machine must reach it: none where :func:`portable` gives a name."""
    return [] if portable(model) == model.name else [model.absolute()]


class Worker:
    """One engine; its methods are called by threads of the actor. The engine is loaded with the first of them."""

    def __init__(
        self, model: str, settings: RunnerSettings, options: ConvertOptions, video: VideoOptions | None = None
    ) -> None:
        """Take what is needed to load the engine, and load nothing: an actor that cannot be made tells no reason.

        Args:
            model: of :func:`portable`.
            settings: how it runs.
            options: what is made of a picture.
            video: what is made of a video, for actors that take videos.
        """
        self._video = video
        self._model = DEMO_MODEL.parent / model  # which an absolute path replaces
        self._given = settings
        self._options = options
        self._lock = threading.Lock()
        self._stack = ExitStack()
        self._shared: SharedRunner | None = None
        self._settings = ""
        self._frames = 0
        self._prepared: tuple[tuple[Path, Path, VideoSettings], PreparedVideo] | None = None

    def ready(self) -> ActorReady | ActorFailure:
        """Load the engine, if it is not."""
        try:
            shared = self._open()
        except DcdrError as error:
            return ActorFailure.of(error)
        return ActorReady(shared.runner.engine.info, self._settings)

    def _open(self) -> SharedRunner:
        with self._lock:
            if self._shared is None:
                runner = self._stack.enter_context(open_runner(self._model, self._given))
                self._settings = self._digest(runner)
                self._shared = SharedRunner(runner)
            return self._shared

    def _digest(self, runner: Runner) -> str:
        if self._video is not None:
            return videos_key(runner, self._video, self._options)
        return run_settings(runner, self._options)

    def convert(self, job: Job | SegmentJob) -> JobResult | ComputedSegment | ActorFailure:
        """Convert one picture or video and write its files, or compute a segment of a video."""
        try:
            shared = self._open()
            if isinstance(job, SegmentJob):
                return self._compute(shared, job)
            if self._video is not None:
                return self._convert_video(shared, job, settings_of(self._video, self._options))
            if isinstance(job.source, Address):
                return self._convert_far(shared, job)
            wanted = wanted_of(job, self._settings, self._options)  # before it is read: see run/folder.py
            report = shared.convert(job.source, job.output, self._options, gain_map_path(self._options, job.name))
            return JobResult(report, entry_of(wanted, job, self._options))
        except DcdrError as error:
            return ActorFailure.of(error)

    def _convert_video(self, shared: SharedRunner, job: Job, settings: VideoSettings) -> JobResult:
        wanted = wanted_of(job, self._settings, self._options)
        prepared = PreparedVideo(job.source, job.output, settings)
        with shared.exclusive() as runner:
            report = prepared.convert(runner)
        return JobResult(report, entry_of(wanted, job, self._options))

    def progress(self) -> int:
        """Return how many frames of the segment in work are done."""
        return self._frames

    def _compute(self, shared: SharedRunner, job: SegmentJob) -> ComputedSegment:
        self._progressed(0)
        if self._prepared is None or self._prepared[0] != (job.source, job.output, job.settings):
            prepared = PreparedVideo(job.source, job.output, job.settings)
            self._prepared = (job.source, job.output, job.settings), prepared
        with shared.exclusive() as runner:
            return compute_segment(job, self._prepared[1], runner, lambda event: self._progressed(event.done))

    def _progressed(self, frames: int) -> None:
        self._frames = frames

    def _convert_far(self, shared: SharedRunner, job: Job) -> JobResult:
        with staged(job, self._settings, self._options) as near:
            report = shared.convert(near.job.source, near.job.output, self._options)
            entry = entry_of(near.wanted, near.job, self._options)
        return JobResult(near.told(report), entry)
