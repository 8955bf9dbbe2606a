"""One video over the actors of a cluster: each computes closed segments of it, which are joined here at the end.

This process reads the video through, without the network, to know where segments begin (run/video/apart.py), and hands
them out as it goes; actors write them into the folder that a run of one machine writes too, so that either goes on
where the other stopped.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from dcdr_deploy.errors import DcdrError
from dcdr_deploy.run.events import FileBegun, FramesDone
from dcdr_deploy.run.opening import DEFAULT_SETTINGS, RunnerSettings
from dcdr_deploy.run.outputs import DEFAULT_OPTIONS
from dcdr_deploy.run.selection import ModelChoice
from dcdr_deploy.run.stages import StopError
from dcdr_deploy.run.video.apart import ComputedSegment, SegmentJob, Survey
from dcdr_deploy.run.video.convert import Computed, PreparedVideo
from dcdr_deploy.run.video.opening import open_video
from dcdr_deploy.run.video.prepared import Network
from dcdr_deploy.run.video.reports import VideoReport
from dcdr_deploy.run.video.segments import Workplace
from dcdr_deploy.serving.ahead import Ahead
from dcdr_deploy.serving.crew import Crew
from dcdr_deploy.serving.engaging import check_same, engaged
from dcdr_deploy.serving.layout import Wishes, lay_out
from dcdr_deploy.serving.nodes import check_nodes, nodes_of
from dcdr_deploy.serving.worker import Ready, Trouble, Worker, carried_model, portable
from dcdr_deploy.system.files import make_folder
from dcdr_deploy.system.progress import Listener, silent


def convert_video_over_cluster(
    ray: Any,
    prepared: PreparedVideo,
    choice: ModelChoice,
    settings: RunnerSettings = DEFAULT_SETTINGS,
    wishes: Wishes | None = None,
    *,
    worker: type[Worker] = Worker,
    listener: Listener = silent,
) -> VideoReport:
    """Convert one video.

    The output is, to the byte, that of :meth:`PreparedVideo.convert`. A KeyboardInterrupt leaves a file that plays, as
    there.

    Args:
        ray: connected, from :func:`dcdr_deploy.serving.cluster.cluster`.
        prepared: the video, and what is made of it.
        choice: the model, from :func:`dcdr_deploy.serving.cluster_folder.choose`.
        settings: how each actor runs its model.
        wishes: how many actors, and what each takes.
        worker: what an actor is.
        listener: told of progress.

    Raises:
        InputError: a machine does not reach the files, or the cluster has not what is asked for; or as
            :meth:`PreparedVideo.convert`.
        OutputError, EngineError: as :meth:`PreparedVideo.convert`; or all actors died.
    """
    layout = replace(lay_out(nodes_of(ray), wishes or Wishes(), settings), pictures=0)
    source, folder = prepared.info.path.absolute(), prepared.output.absolute().parent
    make_folder(folder)
    check_nodes(ray, [source, *carried_model(choice.path)], [], [folder])
    arguments = (portable(choice.path), layout.settings, DEFAULT_OPTIONS, prepared.settings.video)
    with engaged(ray, layout, choice, arguments, worker, listener) as (crew, first):
        try:
            return convert_segments(crew, first, prepared, listener)
        except StopError as stop:
            raise stop.reason from stop


def convert_segments(crew: Crew, first: Ready, prepared: PreparedVideo, listener: Listener) -> VideoReport:
    """Convert one video by actors that are there.

    Args:
        crew: of actors that take one job at a time.
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
    runs = crew.layout.settings
    network = Network(first.info, runs.tile, runs.overlap)
    with ExitStack() as stack:
        place = stack.enter_context(prepared.opened(network))
        deinterlace = prepared.settings.video.deinterlace
        source = stack.enter_context(open_video(prepared.info.path, deinterlace=deinterlace))
        survey = Survey(prepared, source, prepared.place_key(network), place.whole)
        ahead = Ahead(survey.jobs(), crew.layout.actors, survey.stop)
        stack.callback(ahead.close)
        run = _Run(prepared, place, ahead, listener, started)
        try:
            crew.run(ahead, run.done, lambda ready: check_same(first, ready), run.told)
        except KeyboardInterrupt:
            place.look_again()  # an actor closes a segment before it tells
            prepared.leave_partial(place, place.segments, listener)
            raise
        except DcdrError as error:
            raise StopError(error) from error  # of the actors, not of this video
        ahead.close()
        failed = run.error or ahead.error
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
        ahead: Ahead[SegmentJob],
        listener: Listener,
        started: float,
    ) -> None:
        self.error: DcdrError | None = None
        self.fresh = 0
        self.stages: dict[str, float] = {}
        self._prepared = prepared
        self._place = place
        self._ahead = ahead
        self._listener = listener
        self._started = started
        self._under_way: dict[int, int] = {}

    def done(self, job: SegmentJob, outcome: ComputedSegment | Trouble) -> None:
        """Take a segment, or note why there is none; no further ones are begun then."""
        self._under_way.pop(job.number, None)
        if isinstance(outcome, Trouble):
            self._ahead.stop()
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
