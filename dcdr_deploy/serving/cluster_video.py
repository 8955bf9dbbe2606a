"""One video over the actors of a cluster: each computes closed segments of it, which are joined here at the end.

This process reads the video through, without the network, to know where segments begin (run/video/segment_jobs.py),
and hands them out as it goes; actors write them into the folder that a run of one machine writes too, so that either
goes on where the other stopped.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import replace

from dcdr_deploy.errors import DcdrError
from dcdr_deploy.run.events import FileBegun, FramesDone
from dcdr_deploy.run.outputs import DEFAULT_OPTIONS
from dcdr_deploy.run.stages import StopError
from dcdr_deploy.run.video.convert import Computed, PreparedVideo
from dcdr_deploy.run.video.opening import open_video
from dcdr_deploy.run.video.prepared import Network
from dcdr_deploy.run.video.reports import VideoReport
from dcdr_deploy.run.video.segment_jobs import ComputedSegment, SegmentJob, Survey
from dcdr_deploy.run.video.segments import Workplace
from dcdr_deploy.serving.actor_pool import ActorPool
from dcdr_deploy.serving.actor_setup import ActorSetup, check_same, open_actor_pool
from dcdr_deploy.serving.nodes import check_nodes
from dcdr_deploy.serving.prefetch import Prefetcher
from dcdr_deploy.serving.worker import ActorFailure, ActorReady, carried_model
from dcdr_deploy.system.files import make_folder
from dcdr_deploy.system.progress import Listener, silent


def convert_video_over_cluster(setup: ActorSetup, prepared: PreparedVideo, listener: Listener = silent) -> VideoReport:
    """Convert one video.

    The output is, to the byte, that of :meth:`PreparedVideo.convert`. A KeyboardInterrupt leaves a file that plays, as
    there.

    Args:
        setup: of the actors.
        prepared: the video, and what is made of it.
        listener: told of progress.

    Raises:
        InputError: a machine does not reach the files, or the cluster has not what is asked for; or as
            :meth:`PreparedVideo.convert`.
        OutputError, EngineError: as :meth:`PreparedVideo.convert`; or all actors died.
    """
    layout = replace(setup.layout(), pictures=0)
    source, folder = prepared.info.path.absolute(), prepared.output.absolute().parent
    make_folder(folder)
    check_nodes(setup.ray, [source, *carried_model(setup.choice.path)], [], [folder])
    with open_actor_pool(setup, layout, DEFAULT_OPTIONS, prepared.settings.video, listener) as (pool, first):
        try:
            return convert_segments(pool, first, prepared, listener)
        except StopError as stop:
            raise stop.reason from stop


def convert_segments(pool: ActorPool, first: ActorReady, prepared: PreparedVideo, listener: Listener) -> VideoReport:
    """Convert one video by actors that are there.

    Args:
        pool: of actors that take one job at a time.
        first: what the first of them said.
        prepared: the video, and what is made of it.
        listener: told of progress, and of the report.

    Raises:
        InputError, OutputError, EngineError: of this video; what is with actors when a segment fails is brought to its
            end before.
        StopError: of the actors.
    """
    started = time.perf_counter()
    listener(FileBegun(source=prepared.info.path))
    runs = pool.layout.settings
    network = Network(first.info, runs.tile, runs.overlap)
    with ExitStack() as stack:
        place = stack.enter_context(prepared.opened(network))
        deinterlace = prepared.settings.video.deinterlace
        source = stack.enter_context(open_video(prepared.info.path, deinterlace=deinterlace))
        survey = Survey(prepared, source, prepared.place_key(network), place.whole)
        jobs = Prefetcher(survey.jobs(), pool.layout.actors, survey.stop)
        stack.callback(jobs.close)
        run = _Run(prepared, place, jobs, listener, started)
        try:
            pool.run(jobs, run.done, lambda ready: check_same(first, ready), run.told)
        except KeyboardInterrupt:
            place.look_again()  # an actor closes a segment before it tells
            prepared.leave_partial(place, place.segments, listener)
            raise
        except DcdrError as error:
            raise StopError(error) from error  # of the actors, not of this video
        jobs.close()
        failed = run.error or jobs.error
        if failed is not None:
            raise failed
        trailing: tuple[int | None, ...] = ()
        if survey.selection is not None:
            trailing = survey.selection.trailing
            prepared.note_end(source, survey.selection, place.reached.frames)
        return prepared.finish(place, first.info, Computed(run.fresh, run.stages, trailing), started, listener)


class _Run:
    """What becomes of a video's segments.

    Attributes:
        error: of the first one that failed.
        fresh: frames of those that were computed.
        stages: seconds of each, summed over the actors.
    """

    def __init__(
        self,
        prepared: PreparedVideo,
        place: Workplace,
        jobs: Prefetcher[SegmentJob],
        listener: Listener,
        started: float,
    ) -> None:
        self.error: DcdrError | None = None
        self.fresh = 0
        self.stages: dict[str, float] = {}
        self._prepared = prepared
        self._place = place
        self._jobs = jobs
        self._listener = listener
        self._started = started
        self._under_way: dict[int, int] = {}

    def done(self, job: SegmentJob, outcome: ComputedSegment | ActorFailure) -> None:
        """Take a segment, or note why there is none; no further ones are begun then."""
        self._under_way.pop(job.number, None)
        if isinstance(outcome, ActorFailure):
            self._jobs.stop()
            names = {job.source: self._prepared.info.path, job.output: self._prepared.output}
            self.error = self.error or outcome.error(names)
            return
        self._place.add(outcome.segment)
        self.fresh += job.frames
        for name, seconds in outcome.stages.items():
            self.stages[name] = self.stages.get(name, 0.0) + seconds
        self._tell()

    def told(self, job: SegmentJob, frames: int) -> None:
        """Take how far a segment is."""
        self._under_way[job.number] = frames
        self._tell()

    def _tell(self) -> None:
        under_way = sum(self._under_way.values())
        whole = sum(segment.sums.frames for segment in self._place.whole.values())
        fps = (self.fresh + under_way) / max(time.perf_counter() - self._started, 1e-3)
        self._listener(FramesDone(done=whole + under_way, total=self._prepared.frames, fps=fps))
