"""What the actors of a run are made of: their pool, and whether all of them would compute the same."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from dcdr_deploy.errors import EngineError
from dcdr_deploy.run.events import EngineReady, ModelChosen
from dcdr_deploy.run.opening import DEFAULT_SETTINGS, RunnerSettings
from dcdr_deploy.run.outputs import ConvertOptions
from dcdr_deploy.run.selection import ModelChoice
from dcdr_deploy.run.video.options import VideoOptions
from dcdr_deploy.serving.actor_pool import ActorPool
from dcdr_deploy.serving.layout import DEFAULT_ACTORS, ActorOptions, Layout, lay_out
from dcdr_deploy.serving.nodes import nodes_of
from dcdr_deploy.serving.worker import ActorReady, Worker, portable
from dcdr_deploy.system.progress import Event, Listener
from dcdr_deploy.system.words import number_of


@dataclass(frozen=True)
class ActorSetup:
    """What the actors of a run are made of.

    Attributes:
        ray: connected, from :func:`dcdr_deploy.serving.cluster.cluster`.
        choice: the model, from :func:`dcdr_deploy.serving.cluster_folder.choose`.
        settings: how each actor runs its model.
        options: how many actors, and what each takes.
        worker: what an actor is.
    """

    ray: Any
    choice: ModelChoice
    settings: RunnerSettings = DEFAULT_SETTINGS
    options: ActorOptions = DEFAULT_ACTORS
    worker: type[Worker] = Worker

    def layout(self) -> Layout:
        """Share out the cluster.

        Raises:
            InputError: as :func:`~dcdr_deploy.serving.layout.lay_out`.
        """
        return lay_out(nodes_of(self.ray), self.options, self.settings)


@contextmanager
def open_actor_pool(
    setup: ActorSetup, layout: Layout, options: ConvertOptions, video: VideoOptions | None, listener: Listener
) -> Iterator[tuple[ActorPool, ActorReady]]:
    """Give a pool for the block, one of whose actors has its engine, and what that said.

    Args:
        setup: of the actors.
        layout: of the setup.
        options: what is made of pictures.
        video: what is made of videos, for actors that take them.
        listener: told of the model, and of the first engine.

    Raises:
        DcdrError: as :meth:`ActorPool.first`.
    """
    ray, choice = setup.ray, setup.choice
    listener(ModelChosen(choice=choice))
    for note in choice.notes:
        listener(Event(note=note))
    arguments = (portable(choice.path), layout.settings, options, video)
    with ActorPool(ray, layout, arguments, setup.worker) as pool:
        first = pool.first()
        listener(EngineReady(info=first.info))
        listener(Event(note=f"{number_of(layout.actors, 'actor')} on {number_of(len(nodes_of(ray)), 'machine')}"))
        yield pool, first


def check_same(first: ActorReady, ready: ActorReady) -> None:
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
