"""Work that is put into a stream again and again, as a CUDA graph once it has run."""

from __future__ import annotations

import logging
from collections.abc import Callable

from dcdr_deploy.engines.cuda.memory import Graph, Stream
from dcdr_deploy.errors import EngineError

_logger = logging.getLogger(__name__)


class RecordedWork:
    """The same launches with the same addresses, recorded with their second run: the first may still load something.

    Args:
        capturable: whether to record at all; work that cannot be recorded goes on as it is.
    """

    def __init__(self, capturable: bool = True) -> None:
        self.capturable = capturable
        self.graph: Graph | None = None
        self.warm = False

    def put(self, stream: Stream, work: Callable[[], None]) -> None:
        """Put the work into a stream; ``work`` does that launch by launch.

        Raises:
            EngineError: as ``work``, or the graph cannot be launched.
        """
        if self.graph is None and self.warm and self.capturable:
            try:
                self.graph = stream.capture(work)
            except EngineError as error:
                self.capturable = False
                _logger.debug("runs without a CUDA graph: %s", error)
        if self.graph is not None:
            stream.launch(self.graph)
            return
        work()
        self.warm = True

    def forget(self) -> None:
        """Drop the graph: it holds addresses that are about to change."""
        if self.graph is not None:
            self.graph.close()
        self.graph, self.warm = None, False
