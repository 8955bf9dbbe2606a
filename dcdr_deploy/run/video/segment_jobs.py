"""Segments of one video, each computed apart from the others, by whatever process.

Where a segment begins is known only once all frames before it were looked at: some may be lost, and stamps need not be
regular. A :class:`Survey` reads the video through, without the network, and says of each segment that is missing after
which frame it begins and what it holds. That is enough to compute it: steadying begins anew with every segment, and an
encoder knows of one only. Whoever computes one compares what it decodes with what the survey saw, so that the file is
that of a run that goes from the beginning to the end.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from dcdr_deploy.errors import InputError
from dcdr_deploy.run.runner import Runner
from dcdr_deploy.run.video.convert import PreparedVideo
from dcdr_deploy.run.video.frames import BEGINNING, Picture, ResumePoint, Selection
from dcdr_deploy.run.video.opening import open_video
from dcdr_deploy.run.video.prepared import Network, VideoSettings
from dcdr_deploy.run.video.segments import Segment, shared
from dcdr_deploy.run.video.source import SourceFrame, VideoSource
from dcdr_deploy.run.video.work import Work
from dcdr_deploy.system.progress import Listener, silent


@dataclass(frozen=True)
class SegmentJob:
    """A segment that is to be computed.

    Attributes:
        source: the video.
        output: what is made of it; its segments lie beside it.
        settings: of the video; the encoder is no longer ``"auto"``.
        key: of all that decides about the segment, see :meth:`PreparedVideo.place_key`.
        number: from 0.
        after: how far the segments before it go.
        frames: of the segment.
        digest: of its pictures, from :class:`RunningDigest`.
    """

    source: Path
    output: Path
    settings: VideoSettings
    key: str
    number: int
    after: ResumePoint
    frames: int
    digest: int


@dataclass(frozen=True)
class ComputedSegment:
    """A segment that was computed.

    Attributes:
        segment: it is whole.
        stages: seconds of each.
    """

    segment: Segment
    stages: dict[str, float]


class RunningDigest:
    """What identifies pictures in their order: their stamps and samples, what was lost and what repeats.

    Attributes:
        frames: so many.
        value: of them all.
    """

    def __init__(self) -> None:
        self.frames = 0
        self.value = 0

    def add(self, picture: Picture, *, repeats: bool) -> None:
        """Take the next picture.

        Args:
            picture: its pixels do not count: its frame's checksum does.
            repeats: it is the same as the one before.
        """
        about = (picture.stamp, picture.duration, picture.seen, picture.lost, picture.mended, repeats)
        self.value = zlib.crc32(repr(about).encode(), self.value)
        self.frames += 1


class Survey:
    """Looks through a video for the segments that are missing.

    Attributes:
        selection: that looked at the video's end; ``None`` where the last segment is there.
    """

    def __init__(self, prepared: PreparedVideo, source: VideoSource, key: str, whole: Mapping[int, Segment]) -> None:
        """Set up.

        Args:
            prepared: what is made of the video.
            source: the video, open.
            key: of the segments.
            whole: segments that are there, by number. One counts only where it begins after the very frame that the
                survey found, or the segment before it ends with: what becomes of lost frames may have changed.
        """
        self.selection: Selection | None = None
        self._prepared = prepared
        self._source = source
        self._key = key
        self._whole = dict(whole)
        self._stopped = False

    def jobs(self) -> Iterator[SegmentJob]:
        """Yield the segments that are missing, in their order; where some are there, nothing is decoded.

        Raises:
            InputError: as :meth:`Selection.next`.
        """
        number, reached = 0, BEGINNING
        while not self._stopped:
            segment = self._whole.get(number)
            if segment is not None and segment.after == reached:
                number, reached, self.selection = number + 1, segment.reached, None
                if segment.ends:
                    return
                continue
            if self.selection is None:
                self.selection = self._prepared.selection(self._source, reached)
            digest, last = self._look(self.selection, reached)
            if self._stopped:
                return
            if digest.frames:
                yield self._job(number, reached, digest)
            if digest.frames < self._prepared.settings.video.segment_frames:
                return
            number, reached = number + 1, last

    def stop(self) -> None:
        """Have :meth:`jobs` end soon; from any thread."""
        self._stopped = True

    def _look(self, selection: Selection, last: ResumePoint) -> tuple[RunningDigest, ResumePoint]:
        """Look at the frames of one segment, and return how far it goes."""
        digest = RunningDigest()
        while not self._stopped and digest.frames < self._prepared.settings.video.segment_frames:
            found = selection.look()
            if found is None:
                break
            picture, frame = found
            digest.add(picture, repeats=frame is None)
            last = ResumePoint(last.frames + 1, picture.stamp, picture.seen)
        return digest, last

    def _job(self, number: int, reached: ResumePoint, digest: RunningDigest) -> SegmentJob:
        prepared = self._prepared
        source, output = prepared.info.path.absolute(), prepared.output.absolute()
        return SegmentJob(source, output, prepared.settled(), self._key, number, reached, digest.frames, digest.value)


class _DecodedOtherwise(InputError):
    """Other frames came out than the survey saw."""


class _Checked(Selection):
    """A selection that must give what the survey saw; told before the last picture goes to the encoder."""

    def __init__(self, prepared: PreparedVideo, source: VideoSource, job: SegmentJob) -> None:
        video = prepared.settings.video
        super().__init__(source, video, job.after, job.frames, whole_every=video.segment_frames)
        self._job = job
        self._digest = RunningDigest()

    def look(self) -> tuple[Picture, SourceFrame | None] | None:
        """Return the next picture without its pixels.

        Raises:
            InputError: as :meth:`Selection.look`; another picture came than the survey saw.
        """
        found, job, digest = super().look(), self._job, self._digest
        if found is not None:
            digest.add(found[0], repeats=found[1] is None)
        ended = found is None or digest.frames == job.frames
        if ended and (digest.frames, digest.value) != (job.frames, job.digest):
            raise _DecodedOtherwise(
                f"{job.source}: its frames from number {job.after.frames} on are decoded otherwise than before; have "
                "the same version of PyAV on every machine"
            )
        return found


def compute_segment(
    job: SegmentJob, prepared: PreparedVideo, runner: Runner, listener: Listener = silent
) -> ComputedSegment:
    """Compute one segment and write it beside the output.

    Args:
        job: from a survey.
        prepared: of the job's source, output and settings.
        runner: with the network.
        listener: told after each frame how many of them are done.

    Raises:
        InputError: the source is another one here, or decoded otherwise; or as :meth:`Selection.next`.
        OutputError: it cannot be written.
        EngineError: the model cannot be run.
    """
    if prepared.place_key(Network.of(runner)) != job.key:
        raise InputError(
            f"{job.source}: is another file here than where the run began, or the model is; mount the same"
        )
    with open_video(job.source, deinterlace=job.settings.video.deinterlace) as source:
        try:
            return _computed(job, prepared, runner, source, listener)
        except _DecodedOtherwise:
            source.read_through()  # whatever the frames before a key frame do to those after it
            return _computed(job, prepared, runner, source, listener)


def _computed(
    job: SegmentJob, prepared: PreparedVideo, runner: Runner, source: VideoSource, listener: Listener
) -> ComputedSegment:
    with shared(job.output, job.key) as place:
        sink = prepared.sink(runner.engine.info, place, job.after)
        work = Work(_Checked(prepared, source, job), prepared.restoring(runner), sink, listener)
        try:
            work.run()
        finally:
            sink.release()
        return ComputedSegment(place.whole[job.number], work.seconds)
