"""One video in, one HDR video out; what an earlier run had finished is not done again."""

from __future__ import annotations

import os
import time
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from pathlib import Path

from dcdr_deploy.engines.base import EngineInfo
from dcdr_deploy.errors import OutputError
from dcdr_deploy.imaging.delivery import Delivery
from dcdr_deploy.imaging.light import COLOUR_VOLUME, LINEAR, PQ
from dcdr_deploy.imaging.own import THIS_TOOL, check_replaced
from dcdr_deploy.run.events import FileBegun, FileConverted
from dcdr_deploy.run.runner import Runner
from dcdr_deploy.run.video import trial
from dcdr_deploy.run.video.bitstream import Hdr10
from dcdr_deploy.run.video.encoding import Encoded, SegmentSink, padded_size
from dcdr_deploy.run.video.frames import ResumePoint, Selection
from dcdr_deploy.run.video.joining import Join, join
from dcdr_deploy.run.video.opening import open_video
from dcdr_deploy.run.video.prepared import DEFAULT_SETTINGS, Network, Prepared, VideoSettings
from dcdr_deploy.run.video.reports import VideoReport
from dcdr_deploy.run.video.segments import Segment, Workplace, opened
from dcdr_deploy.run.video.source import VideoSource
from dcdr_deploy.run.video.streams import TimeRange
from dcdr_deploy.run.video.sums import Sums
from dcdr_deploy.run.video.target import CONTAINERS, NVENC, SOFTWARE, Geometry, resolve
from dcdr_deploy.run.video.work import Work
from dcdr_deploy.system.files import refuse_no_path, refuse_overwriting
from dcdr_deploy.system.progress import Event, Listener, silent


@dataclass(frozen=True)
class Computed:
    """What a run computed of a video.

    Attributes:
        fresh: frames.
        stages: seconds of each.
        trailing: stamps of frames after the last one that could not be decoded; as of
            :class:`~dcdr_deploy.run.video.frames.Picture`.
    """

    fresh: int = 0
    stages: dict[str, float] = field(default_factory=dict)
    trailing: tuple[int | None, ...] = ()


class PreparedVideo(Prepared):
    """A video whose output may be written; made before a model is loaded, converted once.

    Attributes:
        output: the file that is going to be written.
    """

    def __init__(self, source: Path, target: Path, settings: VideoSettings = DEFAULT_SETTINGS) -> None:
        """Check source and target.

        Raises:
            InputError: as :class:`Prepared`, or the source would be overwritten, or a video of others.
            OutputError: the target cannot be written, or not hold what the source has.
            MissingDependency: PyAV is not installed.
        """
        refuse_no_path(target, OutputError)
        if target.suffix.lower() not in CONTAINERS:
            raise OutputError(f"{target}: a video is written as {', '.join(sorted(CONTAINERS))}; give it such a name")
        if settings.light.primaries not in (None, "rec2020"):
            raise OutputError(f"{target}: videos are written in rec2020, not {settings.light.primaries}")
        light = replace(settings.light, transfer=settings.light.transfer or PQ)
        super().__init__(source, replace(settings, light=light))
        refuse_overwriting(target, source)
        check_replaced(target)
        self.output = target
        self._target = resolve(target, settings.video.encode, light.transfer or LINEAR)
        self.notes += trial.check(source, target, self._target.container)
        sar, codec = self.info.shown_sar, self._target.codec
        if sar != 1 and self._target.container == "matroska" and not codec.states_sar:
            raise OutputError(
                f"{target}: cannot say that its pixels are {sar} as wide as high beside {codec.title}; "
                "write .mp4 or .mov, or hevc"
            )
        size = padded_size(self.info.shown_size, codec)
        if size != self.info.shown_size:
            height, width = self.info.shown_size
            self.notes.append(f"{width}x{height} became {size[1]}x{size[0]}: 4:2:0 and 4:2:2 need even edges")
        self._picture = Geometry(size, self.info.time_base, self.info.rate, sar)
        self._target = resolve(target, settings.video.encode, light.transfer or LINEAR, self._picture)

    def convert(self, runner: Runner, listener: Listener = silent) -> VideoReport:
        """Run the network over every frame and write the result.

        A KeyboardInterrupt leaves what there is as a file that plays, see :func:`partial_path`.

        Raises:
            InputError: a frame cannot be decoded and that is to end the run, or nothing comes out.
            OutputError: the target cannot be written, or another run is at it.
            EngineError: the model cannot be run.
        """
        started = time.perf_counter()
        listener(FileBegun(source=self.info.path))
        deinterlace = self.settings.video.deinterlace
        with ExitStack() as stack:
            place = stack.enter_context(self.opened(Network.of(runner)))
            source = stack.enter_context(open_video(self.info.path, deinterlace=deinterlace))
            computed = Computed()
            if not place.ends:
                reached = place.reached
                selection = self.selection(source, reached)
                sink = self.sink(runner.engine.info, place, reached)
                work = Work(selection, self.restoring(runner), sink, self.counting(listener, reached.frames))
                self._run(work, sink, place, listener)
                computed = Computed(work.fresh, work.seconds, selection.trailing)
                self.note_end(source, selection, place.reached.frames)
            return self.finish(place, runner.engine.info, computed, started, listener)

    def selection(self, source: VideoSource, reached: ResumePoint) -> Selection:
        """Return the frames after those that are written; with every segment they begin with a whole picture.

        Args:
            source: open.
            reached: what is written.
        """
        video = self.settings.video
        return Selection(source, video, reached, whole_every=video.segment_frames)

    def sink(self, engine: EngineInfo, place: Workplace, reached: ResumePoint) -> SegmentSink:
        """Return where pictures go.

        Args:
            engine: that computes them.
            place: in which segments lie.
            reached: how far those go that are there.
        """
        peak = engine.metadata.peak
        delivery = Delivery(self.settings.light, peak, peak * 2**self.settings.dials.exposure)
        return SegmentSink(self._target, self._picture, place, delivery, self.settings.video.segment_frames, reached)

    def opened(self, network: Network) -> AbstractContextManager[Workplace]:
        """Open the folder of what is done, see :func:`dcdr_deploy.run.video.segments.opened`."""
        return opened(self.output, self.place_key(network))

    def place_key(self, network: Network) -> str:
        """Return a digest of all that decides about a segment."""
        target = self._target.settings()
        del target["container"]  # it decides about nothing that a segment holds
        light, segment = asdict(self.settings.light), self.settings.video.segment_frames
        return self.key(network, target=target, segment=segment, light=light)

    def settled(self) -> VideoSettings:
        """Return the settings with the encoder that was chosen, for other machines to take the same."""
        nvenc = self._target.encoder is self._target.codec.nvenc
        encode = replace(self.settings.video.encode, encoder=NVENC if nvenc else SOFTWARE)
        return replace(self.settings, video=replace(self.settings.video, encode=encode))

    def finish(
        self, place: Workplace, engine: EngineInfo, computed: Computed, started: float, listener: Listener
    ) -> VideoReport:
        """Join all segments to the output, and remove them.

        Args:
            place: in which they lie.
            engine: that computed them.
            computed: by this run.
            started: when that began, on the clock of ``time.perf_counter``.
            listener: told of the report.

        Raises:
            InputError: there are none.
            OutputError: the target cannot be written.
        """
        if not place.segments:
            raise self.empty()
        sums = self._join(self.output, place, place.segments) + Sums(lost=computed.trailing)
        place.remove()
        with suppress(OSError):
            partial_path(self.output).unlink(missing_ok=True)
        report = self.report(
            engine,
            sums,
            time.perf_counter() - started,
            output=self.output,
            height=self._picture.size[0],
            width=self._picture.size[1],
            fresh=computed.fresh,
            stages=computed.stages,
            codec=self._target.codec.title,
            encoder=self._target.encoder.name,
            transfer=self._target.transfer,
            max_cll=round(sums.max_cll),
            max_fall=round(sums.max_fall),
        )
        listener(FileConverted(report=report))
        return report

    def leave_partial(self, place: Workplace, segments: list[Segment], listener: Listener) -> None:
        """Write what there is of a run that was stopped as a file that plays."""
        if segments:
            path = partial_path(self.output)
            self._join(path, place, segments)
            goes_on = "goes on" if place.segments else "begins anew"
            listener(Event(note=f"{path} plays up to where it was stopped; the same command {goes_on}"))

    def _run(self, work: Work[Encoded], sink: SegmentSink, place: Workplace, listener: Listener) -> None:
        try:
            work.run()
        except KeyboardInterrupt:
            last = sink.stopped()
            self.leave_partial(place, [*place.segments, *([last] if last is not None else [])], listener)
            raise
        finally:
            sink.release()

    def _join(self, path: Path, place: Workplace, segments: list[Segment]) -> Sums:
        """Write a file of segments, and return what was counted over them."""
        sums, light, video = _sum(segments), self.settings.light, self.settings.video
        is_pq = light.transfer == PQ
        hdr10 = Hdr10(COLOUR_VOLUME, light.peak_nits, sums.max_cll, sums.max_fall) if is_pq else None
        stamps = [segments[0].stamps()[0], segments[-1].stamps()[-1] + max(segments[-1].last_duration, 1)]
        first, end = (Fraction(stamp) * self.info.time_base for stamp in stamps)
        cut = video.end is not None or video.frames is not None or path != self.output
        taken = TimeRange(
            begin=first if video.start is not None else None,
            end=end if cut else None,
            origin=first if video.start is not None else self.info.origin,
        )
        entries = self.settings.noted().items()
        made = f"{THIS_TOOL}, " + ", ".join(f"{name} {value}" for name, value in entries)
        skipped = round((first - self.info.begin * self.info.time_base) * self.info.rate)
        job = Join(self._target, self._picture, self.info.path, taken, hdr10, {"comment": made}, skipped)
        self.notes += join(path, job, place, segments)
        return sums


def convert_video(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    runner: Runner,
    settings: VideoSettings = DEFAULT_SETTINGS,
    *,
    listener: Listener = silent,
) -> VideoReport:
    """Convert one SDR video into one HDR video.

    Args:
        source: any file that FFmpeg decodes.
        target: the file to write: .mp4, .mov or .mkv. While the run goes on there is a folder ``<target>.parts`` beside
            it, from which the same call goes on after a kill.
        runner: from :func:`~dcdr_deploy.run.opening.open_runner`; serves any number of calls.
        settings: what is made of it.
        listener: told of frames.

    Raises:
        DcdrError: as :class:`PreparedVideo` and :meth:`PreparedVideo.convert`.
    """
    return PreparedVideo(Path(source), Path(target), settings).convert(runner, listener)


def partial_path(target: Path) -> Path:
    """Return where what there is of a stopped run can be played."""
    return target.with_name(f"{target.stem}.partial{target.suffix}")


def _sum(segments: list[Segment]) -> Sums:
    return sum((segment.sums for segment in segments), Sums())
