"""A listener that remembers what it was told."""

from __future__ import annotations

from typing import TypeVar

from dcdr_deploy.system.progress import Event

Kind = TypeVar("Kind", bound=Event)


class Ear:
    """Pass it as ``listener``."""

    def __init__(self) -> None:
        self.heard: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.heard.append(event)

    def of(self, kind: type[Kind]) -> list[Kind]:
        """The events of a kind."""
        return [event for event in self.heard if isinstance(event, kind)]

    @property
    def notes(self) -> list[str]:
        """All notes, in order."""
        return [event.note for event in self.heard if event.note]

    @property
    def steps(self) -> list[tuple[int, int]]:
        """(done, total) of all events that have a total, in order."""
        return [(event.done, event.total) for event in self.heard if event.total is not None]
