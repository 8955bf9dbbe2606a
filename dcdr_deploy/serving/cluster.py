"""A Ray cluster: one that is joined by its address, or one of our own on this machine that goes with us.

Ray's usage statistics are off and its dashboard is not started. A cluster of our own listens on the network, as Ray has
it; nobody takes part in it who does not hold its token, which is made up here and known to our processes alone.
"""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from dcdr_deploy.errors import EngineError, InputError, MissingDependency
from dcdr_deploy.system.faults import one_line
from dcdr_deploy.system.packages import install_line
from dcdr_deploy.system.privacy import silence_ray
from dcdr_deploy.system.scratch import scratch_folder

LOCAL = "local"

OBJECT_STORE = 100_000_000
"""Bytes of the object store of a cluster of our own: paths and reports go through it, no pixels. Ray takes a third of
the memory otherwise."""

KNOCK_SECONDS = 10.0
"""For the head of a cluster to answer at all."""

START_SECONDS = 180.0
"""For a cluster of our own to be up. Ray gives it 30; a machine under load has been seen to take longer."""

_LONGEST_PARENT = 16
"""Characters of the path of the system's temporary folder. 24 of our folder's are added, and Ray puts sockets below it,
whose names end at 107."""

_logger = logging.getLogger(__name__)


def import_ray(address: str) -> Any:
    """Return the package, told what it must be told before it is imported.

    Args:
        address: of the cluster it is for, see :func:`cluster`.

    Raises:
        MissingDependency: it is not installed.
    """
    silence_ray()
    if address == LOCAL:
        if "ray" not in sys.modules:
            os.environ["RAY_AUTH_MODE"], os.environ["RAY_AUTH_TOKEN"] = "token", secrets.token_hex(32)
        elif os.environ.get("RAY_AUTH_MODE") != "token":
            _logger.warning("Ray was imported before: others on the network can take part in this cluster")
    try:
        import ray
    except ImportError as error:
        raise MissingDependency(f"`ray` needs the package ray: {install_line('ray')}") from error
    return ray


@contextmanager
def cluster(address: str, cpus: int | None = None) -> Iterator[Any]:
    """Give Ray, connected, for the block.

    Args:
        address: ``"local"`` starts a cluster of our own on this machine and stops it at the end of the block; anything
            else is the address of one that runs: ``"10.0.0.1:6379"``, or ``"auto"`` for the one of this machine.
        cpus: processor cores of a cluster of our own; by default those of this process.

    Raises:
        MissingDependency: Ray is not installed.
        InputError: the address is none.
        EngineError: there is no cluster at the address, or none can be started.
    """
    _knock(address)
    ray = import_ray(address)
    handler = signal.getsignal(signal.SIGTERM)
    with _folder() if address == LOCAL else nullcontext() as folder:
        try:
            _keep_off_stdout()
            try:
                with _waiting_longer(ray._private.services):
                    ray.init(**_own(folder, cpus) if folder is not None else {"address": address}, **_QUIET)
            except Exception as error:  # Ray's own, and those of sockets and processes
                where = f"no Ray cluster answers at {address}" if folder is None else "no cluster can be started here"
                raise EngineError(f"{where}: {one_line(error)}") from error
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, handler)  # Ray puts its own in
            yield ray
        finally:
            ray.shutdown()


def _knock(address: str) -> None:
    """Look whether anybody listens at an address: Ray itself would try for minutes, and tell so."""
    if address in (LOCAL, "auto"):
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or "/" in host:
        raise InputError(
            f"`ray` {address!r}: give local, auto, or HOST:PORT of the cluster's head, such as 10.0.0.1:6379"
        )
    try:
        with socket.create_connection((host, int(port)), KNOCK_SECONDS):
            pass
    except (OSError, OverflowError) as error:
        raise EngineError(f"no Ray cluster answers at {address} ({error})") from error


_QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}


def _own(folder: Path, cpus: int | None) -> dict[str, Any]:
    return {
        "address": LOCAL,
        "include_dashboard": False,
        "num_cpus": cpus,
        "object_store_memory": OBJECT_STORE,
        "_temp_dir": str(folder),
    }


@contextmanager
def _waiting_longer(services: Any) -> Iterator[None]:
    """Have Ray wait :data:`START_SECONDS` for a node that it has started, as long as that runs.

    Args:
        services: Ray's module whose ``start_raylet`` starts a node's process, and whose ``get_node`` raises a
            RuntimeError until the node has reported itself. It is as before after the block.
    """
    start_raylet, get_node = services.start_raylet, services.get_node
    started: list[Any] = []

    def start(*given: Any, **named: Any) -> Any:
        info = start_raylet(*given, **named)
        started.append(info.process)
        return info

    def get(*given: Any, **named: Any) -> Any:
        last = time.monotonic() + START_SECONDS
        while True:
            try:
                return get_node(*given, **named)
            except RuntimeError:
                if time.monotonic() > last or not all(process.poll() is None for process in started):
                    raise
            time.sleep(0.1)

    services.start_raylet, services.get_node = start, get
    try:
        yield
    finally:
        services.start_raylet, services.get_node = start_raylet, get_node


def _folder() -> AbstractContextManager[Path]:
    usual, short = Path(tempfile.gettempdir()), Path("/tmp")
    return scratch_folder("dcdr-ray-", short if len(str(usual)) > _LONGEST_PARENT and short.is_dir() else usual)


def _keep_off_stdout() -> None:
    """Have what Ray tells of its processes go to the log: it would print it on stdout, among the results."""
    import ray._private.worker as worker

    def to_log(data: Any, *others: Any, **options: Any) -> None:
        _logger.info("ray: %s", " ".join(map(str, data.get("lines", ()))))

    worker.print_to_stdstream = to_log
