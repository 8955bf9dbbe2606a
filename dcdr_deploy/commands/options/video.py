"""Which part of a video is taken, and how it is encoded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from dcdr_deploy.commands.options.group import group
from dcdr_deploy.run.video.codecs import CODECS
from dcdr_deploy.run.video.options import DEFAULT_TEMPORAL, ON_ERROR, VideoOptions, parse_temporal, parse_time
from dcdr_deploy.run.video.target import ENCODERS, EncodeOptions

options = group(
    click.option(
        "--codec",
        type=click.Choice(list(CODECS)),
        help="Videos: codec of OUTPUT. [.mov: prores; .mp4, .mkv: hevc]",
    ),
    click.option(
        "--crf", type=int, help="Videos: quality of hevc (0 to 51) and av1 (0 to 63), lower is better. [18; 25]"
    ),
    click.option(
        "--preset", help="Videos: the encoder's preset, such as slow for hevc, 6 for av1. [medium; 8; NVENC: p5]"
    ),
    click.option(
        "--encoder",
        type=click.Choice(ENCODERS),
        default=EncodeOptions.encoder,
        show_default=True,
        help="Videos: auto uses NVENC if it works here.",
    ),
    click.option("--start", metavar="TIME", help="Videos: begin here, in seconds or h:mm:ss."),
    click.option("--end", metavar="TIME", help="Videos: end before this time."),
    click.option("--frames", type=int, metavar="N", help="Videos: convert at most N frames."),
    click.option("--deinterlace", is_flag=True, help="Videos: turn interlaced fields into whole frames."),
    click.option(
        "--on-error",
        type=click.Choice(ON_ERROR),
        default=VideoOptions.on_error,
        show_default=True,
        help="Videos: a frame that cannot be decoded ends the run, is left out, or repeats the one before.",
    ),
    click.option(
        "--temporal",
        metavar="off|STRENGTH",
        help="Videos: weight of earlier frames in the restored light, 0 to 0.95; reduces flicker."
        f" [{DEFAULT_TEMPORAL:g}; native scale: off]",
    ),
)


def video_options(chosen: Mapping[str, Any]) -> VideoOptions:
    """What is taken of a video, and how it is encoded."""
    start, end = (None if chosen[name] is None else parse_time(chosen[name]) for name in ("start", "end"))
    return VideoOptions(
        EncodeOptions(chosen["codec"], chosen["crf"], chosen["preset"], chosen["encoder"]),
        start=start,
        end=end,
        frames=chosen["frames"],
        deinterlace=chosen["deinterlace"],
        on_error=chosen["on_error"],
        temporal=None if chosen["temporal"] is None else parse_temporal(chosen["temporal"]),
    )
