"""One video in, one HDR video out; what an earlier run had finished is not done again."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack, suppress
from dataclasses import asdict, replace
from fractions import Fraction
from pathlib import Path

from dcdr_deploy._version import __version__
from dcdr_deploy.errors import OutputError
from dcdr_deploy.imaging.delivery import Delivery
from dcdr_deploy.imaging.light import COLOUR_VOLUME, LINEAR, PQ
from dcdr_deploy.run.events import FileBegun, FileConverted
from dcdr_deploy.run.runner import Runner
from dcdr_deploy.run.video import streams
from dcdr_deploy.run.video.bitstream import Hdr10
from dcdr_deploy.run.video.encoding import Encoded, SegmentSink, padded_size
from dcdr_deploy.run.video.frames import Selection
from dcdr_deploy.run.video.joining import Join, join
from dcdr_deploy.run.video.opening import open_video
from dcdr_deploy.run.video.prepared import DEFAULT_SETTINGS, Prepared, VideoSettings
from dcdr_deploy.run.video.reports import VideoReport
from dcdr_deploy.run.video.segments import Segment, Workplace, opened
from dcdr_deploy.run.video.source import VideoSource
from dcdr_deploy.run.video.streams import Window
from dcdr_deploy.run.video.sums import Sums
from dcdr_deploy.run.video.target import CONTAINERS, Geometry, resolve
from dcdr_deploy.run.video.work import Work
from dcdr_deploy.system.files import refuse_overwriting, refuse_url
from dcdr_deploy.system.progress import Event, Listener, silent


class PreparedVideo(Prepared):
    """A video whose output may be written; made before a model is loaded, converted once.

    Attributes:
        output: the file that is going to be written.
    """

    def __init__(self, source: Path, target: Path, settings: VideoSettings = DEFAULT_SETTINGS) -> None:
        """Check source and target.

        Raises:
            InputError: as :class:`Prepared`, or the source would be overwritten.
            OutputError: the target cannot be written, or not hold what the source has.
            MissingDependency: PyAV is not installed.
        """
        refuse_url(target, OutputError)
        if target.suffix.lower() not in CONTAINERS:
            raise OutputError(f"{target}: a video is written as {', '.join(sorted(CONTAINERS))}; give it such a name")
        if settings.light.primaries not in (None, "rec2020"):
            raise OutputError(f"{target}: videos are written in rec2020, not {settings.light.primaries}")
        light = replace(settings.light, transfer=settings.light.transfer or PQ)
        super().__init__(source, replace(settings, light=light))
        refuse_overwriting(target, source)
        self.output = target
        self._target = resolve(target, settings.video.encode, light.transfer or LINEAR)
        self.notes += streams.check(source, target, self._target.container)
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
        path, deinterlace = self._target.path, self.settings.video.deinterlace
        with ExitStack() as stack:
            place = stack.enter_context(opened(path, self._key(runner)))
            source = stack.enter_context(open_video(self.info.path, deinterlace=deinterlace))
            before = _sum(place.segments)
            fresh, stages, trailing = 0, dict[str, float](), Sums()
            if not (place.segments and place.segments[-1].ends):
                selection = self._rest(source, place, before.frames)
                sink = self._sink(runner, place)
                restoring = self.restoring(runner)
                work = Work(selection, restoring, sink, self.counting(listener, before.frames))
                self._run(work, sink, place, listener)
                fresh, stages, trailing = work.fresh, work.seconds, Sums(lost=selection.trailing)
                missing = source.shortfall(_sum(place.segments).frames) if selection.complete else ""
                self.notes += [missing] if missing else []
            if not place.segments:
                raise self.empty()
            sums = self._join(path, place, place.segments) + trailing
            place.remove()
        with suppress(OSError):
            partial_path(path).unlink(missing_ok=True)
        report = self.report(
            runner,
            sums,
            time.perf_counter() - started,
            output=path,
            height=self._picture.size[0],
            width=self._picture.size[1],
            fresh=fresh,
            stages=stages,
            codec=self._target.codec.title,
            encoder=self._target.encoder.name,
            transfer=self._target.transfer,
            max_cll=round(sums.max_cll),
            max_fall=round(sums.max_fall),
        )
        listener(FileConverted(report=report))
        return report

    def _sink(self, runner: Runner, place: Workplace) -> SegmentSink:
        peak = runner.engine.info.metadata.peak
        delivery = Delivery(self.settings.light, peak, peak * 2**self.settings.dials.exposure)
        return SegmentSink(self._target, self._picture, place, delivery, self.settings.video.segment_frames)

    def _rest(self, source: VideoSource, place: Workplace, done: int) -> Selection:
        """Return the frames that no segment holds yet."""
        video, every = self.settings.video, self.settings.run_frames
        if not place.segments:
            return Selection(source, video, whole_every=every)
        last = place.segments[-1]
        return Selection(source, video, done, last.stamps()[-1], last.seen, whole_every=every)

    def _run(self, work: Work[Encoded], sink: SegmentSink, place: Workplace, listener: Listener) -> None:
        try:
            work.run()
        except KeyboardInterrupt:
            last = sink.stopped()
            segments = [*place.segments, *([last] if last is not None else [])]
            if segments:
                path = partial_path(self._target.path)
                self._join(path, place, segments)
                listener(Event(note=f"{path} plays up to where it was stopped; the same command goes on"))
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
        cut = video.end is not None or video.frames is not None or path != self._target.path
        window = Window(
            begin=first if video.start is not None else None,
            end=end if cut else None,
            origin=first if video.start is not None else self.info.origin,
        )
        entries = self.settings.noted().items()
        made = f"dcdr-deploy {__version__}, " + ", ".join(f"{name} {value}" for name, value in entries)
        job = Join(self._target, self._picture, self.info.path, window, hdr10, {"comment": made})
        join(path, job, place, segments)
        return sums

    def _key(self, runner: Runner) -> str:
        target = self._target.settings()
        del target["container"]  # it decides about nothing that a segment holds
        light, segment = asdict(self.settings.light), self.settings.video.segment_frames
        return self.key(runner, target=target, segment=segment, light=light)


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
