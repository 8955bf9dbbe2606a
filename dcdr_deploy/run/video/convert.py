"""One video in, one HDR video out; what an earlier run had finished is not done again."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from pathlib import Path

from dcdr_deploy._version import __version__
from dcdr_deploy.errors import InputError, OutputError
from dcdr_deploy.imaging.delivery import Delivery
from dcdr_deploy.imaging.light import COLOUR_VOLUME, LINEAR, PQ, Light
from dcdr_deploy.run import working_scale
from dcdr_deploy.run.dials import NEUTRAL, Dials, as_text
from dcdr_deploy.run.events import FileBegun, FramesDone, VideoConverted
from dcdr_deploy.run.manifest import settings_key
from dcdr_deploy.run.runner import Runner
from dcdr_deploy.run.video import streams
from dcdr_deploy.run.video.bitstream import Hdr10
from dcdr_deploy.run.video.encoding import padded_size
from dcdr_deploy.run.video.frames import Selection
from dcdr_deploy.run.video.joining import Join, join
from dcdr_deploy.run.video.options import DEFAULT_VIDEO_OPTIONS, VideoOptions
from dcdr_deploy.run.video.reports import VideoReport
from dcdr_deploy.run.video.segments import Segment, Sums, Workplace, opened
from dcdr_deploy.run.video.source import VideoInfo, VideoSource, open_video
from dcdr_deploy.run.video.streams import Window
from dcdr_deploy.run.video.target import CONTAINERS, Geometry, resolve
from dcdr_deploy.run.video.work import Restoring, Work, partial_path
from dcdr_deploy.run.working_scale import Scale
from dcdr_deploy.system.files import refuse_overwriting, refuse_url
from dcdr_deploy.system.progress import Listener, silent

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


DEFAULT_SETTINGS = VideoSettings()


class PreparedVideo:
    """A video that can be read, and whose output may be written; made before a model is loaded, converted once.

    Attributes:
        frames: that are going to be written; ``None`` where the source does not say.
    """

    def __init__(self, source: Path, target: Path, settings: VideoSettings = DEFAULT_SETTINGS) -> None:
        """Check source and target.

        Raises:
            InputError: the source cannot be read as a video, is HDR or interlaced, or would be overwritten.
            OutputError: the target cannot be written, or not hold what the source has.
            MissingDependency: PyAV is not installed.
        """
        refuse_url(target, OutputError)
        if target.suffix.lower() not in CONTAINERS:
            raise OutputError(f"{target}: a video is written as {', '.join(sorted(CONTAINERS))}; give it such a name")
        if settings.light.primaries not in (None, "rec2020"):
            raise OutputError(f"{target}: videos are written in rec2020, not {settings.light.primaries}")
        self._light = replace(settings.light, transfer=settings.light.transfer or PQ)
        self._settings = settings
        with open_video(source, deinterlace=settings.video.deinterlace) as video:
            self._info = video.info
        refuse_overwriting(target, source)
        self._target = resolve(target, settings.video.encode, self._light.transfer or LINEAR)
        self._notes = [*self._info.notes, *streams.check(source, target, self._target.container)]
        if self._info.shown_sar != 1 and self._target.container == "matroska" and not self._target.codec.states_sar:
            raise OutputError(
                f"{target}: cannot say that its pixels are {self._info.shown_sar} as wide as high beside "
                f"{self._target.codec.title}; write .mp4 or .mov, or hevc"
            )
        size = padded_size(self._info.shown_size, self._target.codec)
        if size != self._info.shown_size:
            height, width = self._info.shown_size
            self._notes.append(f"{width}x{height} became {size[1]}x{size[0]}: 4:2:0 and 4:2:2 need even edges")
        self._picture = Geometry(size, self._info.time_base, self._info.rate, self._info.shown_sar)
        self.frames = _expected(self._info, settings.video)

    def convert(self, runner: Runner, listener: Listener = silent) -> VideoReport:
        """Run the network over every frame and write the result.

        A KeyboardInterrupt leaves what there is as a file that plays, see ``work.partial_path``.

        Raises:
            InputError: a frame cannot be decoded and that is to end the run, or nothing comes out.
            OutputError: the target cannot be written, or another run is at it.
            EngineError: the model cannot be run.
        """
        started = time.perf_counter()
        listener(FileBegun(source=self._info.path))
        path, video = self._target.path, self._settings.video
        with ExitStack() as stack:
            place = stack.enter_context(opened(path, self._key(runner)))
            source = stack.enter_context(open_video(self._info.path, deinterlace=video.deinterlace))
            before = sum((segment.sums for segment in place.segments), Sums())
            work, selection = None, None
            if not (place.segments and place.segments[-1].ends):
                selection = _rest(source, video, place, before.frames)
                work = self._work(
                    selection,
                    runner,
                    place,
                    lambda done: listener(self._progress(before.frames, done, started)),
                )
                self._run(work, place)
            if not place.segments:
                raise InputError(
                    f"{self._info.path}: no frame came out; it is cut short, damaged or ends before `start`"
                )
            self._join(path, place, place.segments, runner)
            sums = sum((segment.sums for segment in place.segments), Sums())
            missing = source.shortfall(sums.frames) if selection is not None and selection.complete else ""
            place.remove()
        with suppress(OSError):
            partial_path(path).unlink(missing_ok=True)
        report = self._report(runner, sums, work, missing, time.perf_counter() - started)
        listener(VideoConverted(report=report))
        return report

    def _progress(self, before: int, done: int, started: float) -> FramesDone:
        return FramesDone(done=before + done, total=self.frames, fps=done / max(time.perf_counter() - started, 1e-3))

    def _work(self, selection: Selection, runner: Runner, place: Workplace, progress: Callable[[int], None]) -> Work:
        settings, peak = self._settings, runner.engine.info.metadata.peak
        delivery = Delivery(self._light, peak)
        restoring = Restoring(runner, settings.scale, settings.dials, delivery)
        return Work(selection, restoring, self._target, self._picture, place, settings.video.segment_frames, progress)

    def _run(self, work: Work, place: Workplace) -> None:
        try:
            work.run()
        except KeyboardInterrupt:
            last = work.stopped()
            segments = [*place.segments, *([last] if last is not None else [])]
            if segments:
                self._join(partial_path(self._target.path), place, segments, None)
            raise
        finally:
            work.release()

    def _join(self, path: Path, place: Workplace, segments: list[Segment], runner: Runner | None) -> None:
        sums = sum((segment.sums for segment in segments), Sums())
        is_pq = self._light.transfer == PQ
        hdr10 = Hdr10(COLOUR_VOLUME, self._light.peak_nits, sums.max_cll, sums.max_fall) if is_pq else None
        stamps = [segments[0].stamps()[0], segments[-1].stamps()[-1] + max(segments[-1].last_duration, 1)]
        first, end = (Fraction(stamp) * self._info.time_base for stamp in stamps)
        video = self._settings.video
        cut = video.end is not None or video.frames is not None or path != self._target.path
        window = Window(
            begin=first if video.start is not None else None,
            end=end if cut else None,
            origin=first if video.start is not None else self._info.origin,
        )
        job = Join(self._target, self._picture, self._info.path, window, hdr10, self._metadata(runner))
        join(path, job, place, segments)

    def _metadata(self, runner: Runner | None) -> dict[str, str]:
        """Return entries for the file's header that stay the same whenever it is made."""
        settings = self._settings
        entries = {"scale": str(settings.scale), **as_text(settings.dials.turned())}
        made = f"dcdr-deploy {__version__}, " + ", ".join(f"{name} {value}" for name, value in entries.items())
        return {"comment": made}

    def _key(self, runner: Runner) -> str:
        """Return a digest of all that decides about the packets; what becomes of lost frames may change on the way."""
        settings, video = self._settings, self._settings.video
        target = self._target.settings()
        del target["container"]
        return settings_key(
            runner.engine.info,
            source=_digest(self._info.path),
            target=target,
            light=asdict(self._light),
            scale=str(settings.scale),
            dials=settings.dials.turned(),
            part=[str(video.start), str(video.end), video.frames, video.deinterlace, video.segment_frames],
            tile=runner.tile,
            overlap=runner.overlap,
        )

    def _report(self, runner: Runner, sums: Sums, work: Work | None, missing: str, seconds: float) -> VideoReport:
        info, engine = self._info, runner.engine.info
        notes = [*self._notes, *([missing] if missing else [])]
        if sums.mended:
            notes.append(f"{sums.mended} time stamps that did not rise were moved on by a tick")
        height, width = self._picture.size
        return VideoReport(
            source=info.path,
            output=self._target.path,
            width=width,
            height=height,
            frames=sums.frames,
            fresh=0 if work is None else work.fresh,
            repeated=sums.repeated,
            lost=tuple(round(info.seconds_of(stamp), 6) if stamp >= 0 else -1.0 for stamp in sums.lost),
            codec=self._target.codec.title,
            encoder=self._target.encoder.name,
            transfer=self._target.transfer,
            max_cll=round(sums.max_cll),
            max_fall=round(sums.max_fall),
            model=engine.metadata.name if engine.model is None else engine.model.name,
            backend=engine.backend,
            device=engine.device,
            seconds=seconds,
            stages={} if work is None else dict(work.seconds),
            scale=str(self._settings.scale),
            dials=self._settings.dials.turned(),
            recovery=sums.recovery,
            notes=tuple(notes),
            colour=info.colours.name,
        )


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


def _rest(source: VideoSource, video: VideoOptions, place: Workplace, done: int) -> Selection:
    """Return the frames that no segment holds yet."""
    if not place.segments:
        return Selection(source, video)
    last = place.segments[-1]
    return Selection(source, video, done, last.stamps()[-1], last.seen)


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
