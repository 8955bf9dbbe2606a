"""How work tells of itself: one kind of event and one kind of listener, whatever the work is.

The library prints nothing. What takes long takes a ``listener`` and calls it with an :class:`Event`; who wants a bar, a
log or nothing at all passes a function. What a listener may want to know beyond progress comes as a subclass of Event
beside the work that tells it (run/events.py, training/events.py), so that four fields are enough to follow any of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Event:
    """Something that work tells.

    Attributes:
        stage: what is being done, in words; empty where that has not changed.
        done: how much of ``total`` is behind; it goes back to 0 where something has to be done again.
        total: how much there is; ``None`` where that is not known or does not matter.
        note: a sentence about something that is no error but should not pass silently; empty for most events.
    """

    stage: str = ""
    done: int = 0
    total: int | None = None
    note: str = ""


Listener = Callable[[Event], None]
"""Called on the thread that started the work. What it raises ends the work."""


def silent(event: Event) -> None:
    """Take an event in and do nothing: the listener of those who want none."""
