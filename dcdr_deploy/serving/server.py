"""A socket, uvicorn, and signals: from an application to a process that serves it until it is told to stop. Needs
uvicorn.
"""

from __future__ import annotations

import errno
import ipaddress
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import uvicorn

from dcdr_deploy.errors import InputError

if TYPE_CHECKING:
    from fastapi import FastAPI

LEAST_CONNECTIONS = 64
"""Connections that are open at a time in any case; uvicorn answers 503 to more."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def listening_socket(host: str, port: int) -> socket.socket:
    """Return a socket that is bound to an address; port 0 takes a free one.

    Raises:
        InputError: the address cannot be had.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise InputError(f"`host` {host!r} is no address of this machine ({_reason(error)})") from error
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        other = "host" if error.errno == errno.EADDRNOTAVAIL else "port"
        raise InputError(f"{host}:{port} cannot be listened on ({_reason(error)}); choose another `{other}`") from error
    return bound


def address_of(bound: socket.socket) -> str:
    """Return the address of a bound socket as one types it, such as ``http://127.0.0.1:8000``."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def is_loopback(bound: socket.socket) -> bool:
    """Tell whether this machine alone can reach a socket."""
    return ipaddress.ip_address(bound.getsockname()[0].partition("%")[0]).is_loopback


def serve(app: FastAPI, bound: socket.socket, *, places: int, patience: float, ready: Callable[[], None]) -> None:
    """Serve until SIGINT or SIGTERM: then take nothing more, bring what is under way to its end, and return.

    Args:
        app: the application.
        bound: from :func:`listening_socket`; closed at the end.
        places: pictures at a time; decides how many connections are taken.
        patience: seconds given to what is under way; a second SIGINT ends it at once.
        ready: called once the first request can come.
    """

    class Server(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            if self.started:
                ready()

        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            # uvicorn would raise the signal again at the end, but to be stopped is no failure of a service.
            before = {number: signal.signal(number, self.handle_exit) for number in _SIGNALS}
            try:
                yield
            finally:
                for number, handler in before.items():
                    signal.signal(number, handler)

    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="off",
        timeout_graceful_shutdown=max(int(patience), 1),
        limit_concurrency=max(LEAST_CONNECTIONS, 2 * places),
    )
    with bound:
        Server(config).run([bound])


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
