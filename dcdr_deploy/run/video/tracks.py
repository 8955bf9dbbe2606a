"""Which of a file's video tracks is the film, and which are covers."""

from __future__ import annotations

from typing import Any


def pictures_of(container: Any) -> list[Any]:
    """Return the video tracks that are no covers, the one to take first: marked as default, else as they come."""
    found = [stream for stream in container.streams.video if not is_cover(stream)]
    return sorted(found, key=lambda stream: not stream.disposition & type(stream.disposition).default)


def is_cover(stream: Any) -> bool:
    """Tell whether a video track is a still that stands for the whole file."""
    dispositions = type(stream.disposition)
    return bool(stream.disposition & (dispositions.attached_pic | dispositions.timed_thumbnails))
