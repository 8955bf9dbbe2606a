"""Whole frames from fields, by FFmpeg's bwdif."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from dcdr_deploy.run.video.package import load


class Deinterlacer:
    """Takes a stream's frames and gives as many, those marked as interlaced made whole; one frame is held back.

    Attributes:
        holds: a frame is held back.
    """

    def __init__(self, time_base: Fraction) -> None:
        """Set up.

        Args:
            time_base: seconds of a tick of the stamps.
        """
        av = load()
        self._again = (av.error.BlockingIOError, av.error.EOFError)
        self._time_base = time_base
        self.holds = False
        self._graph: Any = None
        self._takes: tuple[str, int, int] | None = None

    def frames(self, frame: Any) -> Iterator[Any]:
        """Take a frame, or ``None`` after the last one, and yield what is whole."""
        kind = None if frame is None else (frame.format.name, frame.width, frame.height)
        if kind != self._takes and self._graph is not None:  # FFmpeg's filters end the process at another format
            yield from self._pushed(None)
            self._graph = None
        self.holds = frame is not None
        if frame is not None:
            if self._graph is None:
                self._graph, self._takes = self._made(frame), kind
            yield from self._pushed(frame)

    def _made(self, frame: Any) -> Any:
        graph = load().filter.Graph()
        size, base = {"width": frame.width, "height": frame.height}, frame.time_base or self._time_base
        steps = (
            graph.add_buffer(**size, format=frame.format, time_base=base),
            graph.add("bwdif", "mode=send_frame:deint=interlaced"),
            graph.add("buffersink"),
        )
        for before, after in itertools.pairwise(steps):
            before.link_to(after)
        graph.configure()
        return graph

    def _pushed(self, frame: Any) -> Iterator[Any]:
        self._graph.push(frame)
        while True:
            try:
                yield self._graph.pull()
            except self._again:
                return
