"""Whole frames from fields, by FFmpeg's bwdif."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from dcdr_deploy.run.video.package import load


class Deinterlacer:
    """Takes a stream's frames and gives as many, those marked as interlaced made whole; one frame is held back."""

    def __init__(self, stream: Any) -> None:
        av = load()
        self._again = (av.error.BlockingIOError, av.error.EOFError)
        self._graph = av.filter.Graph()
        steps = (
            self._graph.add_buffer(template=stream),
            self._graph.add("bwdif", "mode=send_frame:deint=interlaced"),
            self._graph.add("buffersink"),
        )
        for before, after in itertools.pairwise(steps):
            before.link_to(after)
        self._graph.configure()

    def frames(self, frame: Any) -> Iterator[Any]:
        """Take a frame, or ``None`` after the last one, and yield what is whole."""
        self._graph.push(frame)
        while True:
            try:
                yield self._graph.pull()
            except self._again:
                return
