"""A crew for one run, and whether all of it would compute the same."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dcdr_deploy.errors import EngineError
from dcdr_deploy.run.events import EngineReady, ModelChosen
from dcdr_deploy.run.selection import ModelChoice
from dcdr_deploy.serving.crew import Crew
from dcdr_deploy.serving.layout import Layout
from dcdr_deploy.serving.nodes import nodes_of
from dcdr_deploy.serving.worker import Ready, Worker
from dcdr_deploy.system.progress import Event, Listener
from dcdr_deploy.system.words import number_of


@contextmanager
def engaged(
    ray: Any,
    layout: Layout,
    choice: ModelChoice,
    arguments: tuple[Any, ...],
    kind: type[Worker],
    listener: Listener,
) -> Iterator[tuple[Crew, Ready]]:
    """Give a crew for the block, one of whose actors has its engine, and what that said.

    Args:
        ray: connected.
        layout: of the actors.
        choice: the model.
        arguments: as of :class:`Crew`.
        kind: what an actor is.
        listener: told of the model, and of the first engine.

    Raises:
        DcdrError: as :meth:`Crew.first`.
    """
    listener(ModelChosen(choice=choice))
    for note in choice.notes:
        listener(Event(note=note))
    with Crew(ray, layout, arguments, kind) as crew:
        first = crew.first()
        listener(EngineReady(info=first.info))
        listener(Event(note=f"{number_of(layout.actors, 'actor')} on {number_of(len(nodes_of(ray)), 'machine')}"))
        yield crew, first


def check_same(first: Ready, ready: Ready) -> None:
    """Compare an actor's engine with the first one's.

    Raises:
        EngineError: they would not compute the same.
    """
    if ready.settings != first.settings:
        raise EngineError(
            f"the machines of the cluster would not compute the same: {ready.info.backend} on {ready.info.device} "
            f"works in {ready.info.precision} with another model or version than the first; set `precision`, or "
            "copy the same model everywhere"
        )
