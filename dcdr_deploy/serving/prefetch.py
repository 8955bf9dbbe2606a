"""An iterator on a thread of its own, a few items ahead of whoever takes them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")

_CLOSING = 0.1
"""Seconds between two looks whether it is over, where nobody takes an item."""


class Prefetcher(Generic[Item]):
    """Gives items as they come, and ``None`` while the next one is not there yet.

    Attributes:
        error: what ended the items early, ``None`` if nothing did.
    """

    def __init__(self, items: Iterator[Item], room: int, stop: Callable[[], None]) -> None:
        """Begin.

        Args:
            items: used by the thread alone.
            room: items that may wait.
            stop: has them end soon; called from another thread.
        """
        self.error: Exception | None = None
        self._items = items
        self._stop = stop
        self._stopped = threading.Event()
        self._waiting: queue.Queue[Item] = queue.Queue(room)
        self._thread = threading.Thread(target=self._run, name="dcdr-prefetch", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Item | None]:
        return self

    def __next__(self) -> Item | None:
        runs = self._thread.is_alive()  # looked at first: what came before its end is in the queue
        if self._stopped.is_set():
            raise StopIteration
        try:
            return self._waiting.get_nowait()
        except queue.Empty:
            if runs:
                return None
            raise StopIteration from None

    def stop(self) -> None:
        """Give no more, and have the thread end."""
        self._stopped.set()
        self._stop()

    def close(self) -> None:
        """Stop, and wait for the thread."""
        self.stop()
        self._thread.join()

    def _run(self) -> None:
        try:
            for item in self._items:
                if not self._put(item):
                    return
        except Exception as error:  # kept for whoever takes the items
            self.error = error

    def _put(self, item: Item) -> bool:
        while not self._stopped.is_set():
            try:
                self._waiting.put(item, timeout=_CLOSING)
            except queue.Full:
                continue
            return True
        return False
