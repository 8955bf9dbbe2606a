"""Judging many pictures with many processes of which one holds the networks.

Workers render pictures, put results onto them as ``run`` does (run/restore.py), and compute figures; what they ask the
networks for comes from this process, the only one that touches a GPU. Pictures and results lie in memory that a worker
shares with it, so that pipes carry a few bytes each. Workers are new interpreters (``spawn``), never forks of a process
that has CUDA, and begin with their first pictures while the networks are still being loaded.
"""

from __future__ import annotations

import multiprocessing
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from typing import Any

import numpy as np
from held_out import Source
from judgement import Figures, compared
from numpy.typing import NDArray

from dcdr_deploy.engines.base import Engine, EngineInfo
from dcdr_deploy.run.restore import restore
from dcdr_deploy.run.runner import Runner
from dcdr_deploy.run.working_scale import AUTO, NATIVE, Scale, working_sizes
from dcdr_deploy.system.interrupts import unheard_by_children


@dataclass(frozen=True)
class Settings:
    """What holds for all pictures.

    Attributes:
        scale: working scale, as of ``run``.
        everything: baselines and slow figures too.
        largest: long side of the largest picture.
    """

    scale: Scale = AUTO
    everything: bool = False
    largest: int = 256

    def buffer_bytes(self) -> int:
        """Room for the largest working picture that a network is given, and for its result."""
        edge = self.largest
        sizes = [(edge, edge)] if self.scale == NATIVE else working_sizes(edge, edge, self.scale)
        return max((height + 64) * (width + 64) * 3 * 4 for height, width in sizes)


@dataclass(frozen=True)
class Task:
    """A picture to judge, and the table row that it belongs to."""

    row: str
    source: Source
    size: int
    camera: str


@dataclass(frozen=True)
class Judged:
    """A judged picture; ``figures`` is ``None`` where it does not exist at that size."""

    task: Task
    name: str = ""
    edge: int = 0
    figures: dict[str, Figures] | None = None


@dataclass(frozen=True)
class _Wanted:
    """A worker wants a network's result for what lies in its shared memory."""

    network: str
    shape: tuple[int, ...]
    dtype: str


class RemoteEngine(Engine):
    """A network in another process."""

    def __init__(self, name: str, info: EngineInfo, connection: Connection, buffer: Any) -> None:
        """Set up.

        Args:
            name: of the network over there.
            info: what it says of itself.
            connection: to the process that holds it.
            buffer: memory shared with that process.
        """
        self._name, self._connection, self._buffer = name, connection, buffer
        self.info = replace(info, overlaps=False)

    def _infer(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        return self._asked(batch)

    def _infer_codes(self, batch: NDArray[np.uint8] | NDArray[np.uint16]) -> NDArray[np.float32]:
        return self._asked(batch)

    def _asked(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """The result for (N, H, W, 3) codes or (N, 3, H, W) floats."""
        _place(self._buffer, batch.shape, batch.dtype.str)[...] = batch
        self._connection.send(_Wanted(self._name, batch.shape, batch.dtype.str))
        shape = self._connection.recv()
        return np.array(_place(self._buffer, shape, "<f4"))


def _place(buffer: Any, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
    """The array of this shape at the beginning of shared memory."""
    count = int(np.prod(shape))
    return np.frombuffer(buffer, np.dtype(dtype), count).reshape(shape)


class _Networks(Mapping[str, Callable[[NDArray[np.uint8]], NDArray[np.float32]]]):
    """Predictions by network; the first call waits until the networks are loaded."""

    def __init__(self, connection: Connection, buffer: Any, scale: Scale) -> None:
        self._connection, self._buffer, self._scale = connection, buffer, scale
        self._runners: dict[str, Runner] | None = None

    def _loaded(self) -> dict[str, Runner]:
        if self._runners is None:
            self._connection.send(None)
            engines = {
                name: RemoteEngine(name, info, self._connection, self._buffer)
                for name, info in self._connection.recv().items()
            }
            self._runners = {name: Runner(engine, tile=None) for name, engine in engines.items()}
        return self._runners

    def __getitem__(self, name: str) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
        runner = self._loaded()[name]
        return lambda ldr: restore(ldr, runner, self._scale).linear

    def __iter__(self) -> Iterator[str]:
        return iter(self._loaded())

    def __len__(self) -> int:
        return len(self._loaded())


def _work(connection: Connection, buffer: Any, settings: Settings) -> None:
    """A worker: takes tasks and gives their figures until it is told that there are no more."""
    import cv2

    cv2.setNumThreads(1)
    networks = _Networks(connection, buffer, settings.scale)
    with suppress(EOFError, BrokenPipeError):  # the other side has gone
        while (task := connection.recv()) is not None:
            try:
                picture = task.source.render(task.size, task.camera)
                answer: Judged | str = Judged(task)
                if picture is not None:
                    figures = compared(picture, networks, settings.everything, baselines=settings.everything)
                    answer = Judged(task, picture.name, max(picture.ldr.shape), figures)
            except (EOFError, BrokenPipeError):
                raise
            except Exception:
                answer = traceback.format_exc()
            connection.send(answer)


def judge(
    tasks: Sequence[Task],
    load: Callable[[], Mapping[str, Engine]],
    settings: Settings,
    workers: int,
) -> Iterator[Judged]:
    """Judge pictures, begun in their order; results come as they are done.

    Closing the iterator ends the workers.

    Args:
        tasks: the pictures.
        load: makes the engines, by name; called once, after the workers have been started.
        settings: what holds for all.
        workers: processes beside this one.

    Raises:
        RuntimeError: a worker failed; the message is its traceback.
    """
    context = multiprocessing.get_context("spawn")
    waiting = iter(tasks)
    open_ends: dict[Connection, Any] = {}
    processes = []
    engines: Mapping[str, Engine] = {}
    try:
        for _ in range(min(workers, len(tasks))):
            here, there = context.Pipe()
            buffer = context.RawArray("B", settings.buffer_bytes())
            process = context.Process(target=_work, args=(there, buffer, settings), daemon=True)
            with unheard_by_children():
                process.start()
            there.close()
            open_ends[here] = buffer
            processes.append(process)
            here.send(next(waiting))
        engines = load()
        infos = {name: engine.info for name, engine in engines.items()}
        while open_ends:
            for end in wait(list(open_ends)):
                assert isinstance(end, Connection)
                message = _received(end)
                if message is None:
                    end.send(infos)
                elif isinstance(message, _Wanted):
                    end.send(_served(engines[message.network], message, open_ends[end]))
                else:
                    following = next(waiting, None)
                    end.send(following)
                    if following is None:
                        del open_ends[end]
                    yield message
    finally:
        for end in open_ends:
            end.close()
        for process in processes:
            process.terminate()
            process.join()
        for engine in engines.values():
            engine.close()


def _received(end: Connection) -> Any:
    try:
        message = end.recv()
    except EOFError:
        raise RuntimeError("a worker ended by itself; was there too little memory?") from None
    if isinstance(message, str):
        raise RuntimeError(f"a worker failed:\n{message}")
    return message


def _served(engine: Engine, wanted: _Wanted, buffer: Any) -> tuple[int, ...]:
    """Run a network on what lies in shared memory; its result takes the place."""
    given = _place(buffer, wanted.shape, wanted.dtype)
    result = engine.infer(given) if given.dtype == np.float32 else engine.infer_codes(given)
    _place(buffer, result.shape, "<f4")[...] = result
    return result.shape
