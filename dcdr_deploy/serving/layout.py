"""How many actors a cluster gets, and what each takes of it: pure functions on numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from dcdr_deploy.errors import InputError
from dcdr_deploy.run.opening import RunnerSettings
from dcdr_deploy.system.words import number_of

MOST_ACTORS = 10_000


@dataclass(frozen=True)
class Node:
    """A machine of the cluster: its address and what Ray has to give of it."""

    address: str
    cpus: float
    gpus: float
    name: str = ""


@dataclass(frozen=True)
class Layout:
    """What is asked of Ray.

    Attributes:
        actors: how many; each has one engine.
        cpus: processor cores of each.
        gpus: GPUs of each; parts of one share it.
        pictures: that an actor works on at a time, beside one that waits there: one is with the engine, others are read
            or written. 0: nothing is given to an actor that has something.
        settings: how each runs its model.
    """

    actors: int
    cpus: float
    gpus: float
    pictures: int
    settings: RunnerSettings


@dataclass(frozen=True)
class ActorOptions:
    """What a user asks of a cluster.

    Attributes:
        actors: how many; ``None`` is one for each GPU, or for each machine where there is none.
        cpus: processor cores of each; ``None`` shares out what a machine has.
        gpus: GPUs of each; ``None`` is 1 where the cluster has any and the model may run on them.

    Raises:
        InputError: a value out of range.
    """

    actors: int | None = None
    cpus: int | None = None
    gpus: float | None = None

    def __post_init__(self) -> None:
        if self.actors is not None and not 1 <= self.actors <= MOST_ACTORS:
            raise InputError(f"`actors` must be 1 to {MOST_ACTORS}, not {self.actors}")
        if self.cpus is not None and not 1 <= self.cpus <= 1024:
            raise InputError(f"`cpus_per_actor` must be 1 to 1024, not {self.cpus}")
        if self.gpus is not None and not (0 <= self.gpus <= 1 or self.gpus in range(2, 17)):
            raise InputError(f"`gpus_per_actor` must be 0 to 1, or a whole number up to 16, not {self.gpus:g}")


DEFAULT_ACTORS = ActorOptions()


def lay_out(nodes: Sequence[Node], options: ActorOptions, settings: RunnerSettings) -> Layout:
    """Share out a cluster.

    Raises:
        InputError: what is asked for does not fit, or names one GPU of many.
    """
    kind, _, index = settings.device.partition(":")
    if index:
        raise InputError(f"`device` {settings.device}: the cluster gives each actor its GPU; use cuda")
    gpus = options.gpus
    if gpus is None:
        gpus = 0.0 if kind == "cpu" or not any(node.gpus for node in nodes) else 1.0
    if kind == "cuda" and (not gpus or not any(node.gpus for node in nodes)):
        raise InputError("`device` cuda: no machine of the cluster has a GPU, or the actors were given none")
    if kind == "cpu" and gpus:
        raise InputError("`device` cpu: the actors need no GPUs; leave `gpus_per_actor` out")
    usable = [node for node in nodes if node.cpus >= 1 and (not gpus or node.gpus >= gpus)]
    if not usable:
        raise InputError(
            f"no machine of the cluster has {number_of(gpus, 'GPU', form='g')} and a processor core free for an actor"
        )
    actors = options.actors or (sum(int(node.gpus / gpus) for node in usable) if gpus else len(usable))
    cpus = options.cpus or _share(usable, actors, gpus)
    room = sum(_fitting(node, cpus, gpus) for node in usable)
    if actors > room:
        each = [number_of(cpus, "processor core", form="g"), *([number_of(gpus, "GPU", form="g")] if gpus else [])]
        here = f"{number_of(room, 'actor')} with {' and '.join(each)} each"
        raise InputError(f"the cluster has room for {here}, not for {actors}")
    threads = settings.threads if settings.threads is not None or gpus else int(cpus)
    device = settings.device if gpus else "cpu"
    pictures = max(2, min(int(cpus), 8)) if gpus else 2
    return Layout(actors, cpus, gpus, pictures, replace(settings, threads=threads, device=device))


def _share(nodes: Sequence[Node], actors: int, gpus: float) -> int:
    """Return the largest number of cores with which so many actors fit, 1 at least."""
    most = int(max(node.cpus for node in nodes))
    for cpus in range(most, 1, -1):
        if sum(_fitting(node, cpus, gpus) for node in nodes) >= actors:
            return cpus
    return 1


def _fitting(node: Node, cpus: float, gpus: float) -> int:
    by_cpu = math.floor(node.cpus / cpus)
    return min(by_cpu, math.floor(node.gpus / gpus)) if gpus else by_cpu
