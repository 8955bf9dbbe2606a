"""What a video's conversion looks like."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dcdr_deploy.commands.show.text import duration, recovered
from dcdr_deploy.system.words import number_of

if TYPE_CHECKING:
    from dcdr_deploy.run.events import FramesDone
    from dcdr_deploy.run.video.reports import VideoReport


def progress_line(event: FramesDone) -> str:
    """Return how far a video is: frames, frames a second, time that is left."""
    parts = [f"{event.done} of {number_of(event.total, 'frame')}" if event.total else number_of(event.done, "frame")]
    if event.fps:
        parts.append(f"{event.fps:.3g} fps")
        if event.total:
            parts.append(f"{duration((event.total - event.done) / event.fps)} left")
    return ", ".join(parts)


def summary(report: VideoReport) -> str:
    """Return a video's line: output, size, frames, codec, light, model, time."""
    fields = [
        str(report.output),
        f"{report.width}x{report.height}",
        number_of(report.frames, "frame") + (f", {len(report.lost)} lost" if report.lost else ""),
        ", ".join(part for part in (report.codec, report.transfer.upper()) if part),
        *([] if report.max_cll is None else [f"MaxCLL {report.max_cll} MaxFALL {report.max_fall} cd/m2"]),
        report.model,
        f"{report.backend} on {report.device}",
        f"{duration(report.seconds)}, {report.fps:.3g} fps",
        recovered(report.recovery),
    ]
    return "  ".join(fields)


def details(report: VideoReport) -> str:
    """Return how a video was made: colours of the input, seconds by stage, what was not computed anew."""
    stages = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in report.stages.items())
    dials = "".join(f", {name.replace('_', ' ')} {value:g}" for name, value in report.dials.items())
    earlier = f"; {report.frames - report.fresh} of an earlier run" if report.fresh < report.frames else ""
    repeated = f"; {report.repeated} the same as the one before" if report.repeated else ""
    return (
        f"{report.source}: {report.colour}; {stages or 'nothing left to do'}; scale {report.scale}{dials}; "
        f"{report.encoder or 'pictures'}; {number_of(report.frames, 'frame')}{repeated}{earlier}"
    )
