"""The service without HTTP: a bounded number of pictures wait for one engine, each with a deadline.

A picture has a *ticket*: one of a bounded number of places, and a folder of its own for what was sent and what is sent
back. Nothing of a client but the bytes of its picture gets onto the disk: files have names of the service's own.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, fields
from pathlib import Path

from dcdr_deploy.errors import EngineError, EngineOutOfMemory, InputError, NonFiniteError
from dcdr_deploy.imaging.decoders.common import at_most_pixels
from dcdr_deploy.run.outputs import ConvertOptions
from dcdr_deploy.run.reports import FileReport
from dcdr_deploy.run.runner import Runner
from dcdr_deploy.serving.shared_runner import SharedRunner
from dcdr_deploy.system.scratch import scratch_folder

REPORT_HEADER = "X-Dcdr-Report"
"""Of an answer: what was done to its picture, in JSON."""

AT_ONCE = 2
"""Pictures worked on at a time: one is read or written while the engine has the other. A third takes memory only."""

SENDING_SECONDS = 10.0
"""That results get to be sent when the service is closed."""

FAILURES_IN_A_ROW = 3
"""So many failures of the engine one after the other, and the service calls itself unhealthy."""

SOURCE_NAME = "picture"
"""What a picture is called here; it stands in the header of its result, where the local name would."""


@dataclass(frozen=True)
class Limits:
    """What the service takes; the defaults suit one picture of a camera at a time.

    Attributes:
        max_megabytes: largest body of a request, in millions of bytes.
        max_megapixels: largest picture, in millions of pixels; checked in its header, before it is decoded. A pixel
            takes 20 to 30 bytes of memory.
        timeout: seconds from the begin of a request to its result, the time it waits and is sent included; after that
            it is given up at the next tile.
        queue: pictures that may wait beside those that are worked on; further ones are refused.

    Raises:
        InputError: a value out of range.
    """

    max_megabytes: float = 64.0
    max_megapixels: float = 50.0
    timeout: float = 60.0
    queue: int = 16

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not 0 < value < 1e9:
                raise InputError(f"`{field.name}` must be above 0 and below 1e9, not {value:g}")

    @property
    def bytes(self) -> int:
        """Most bytes of a body."""
        return int(self.max_megabytes * 1e6)

    @property
    def pixels(self) -> int:
        """Most pixels of a picture."""
        return int(self.max_megapixels * 1e6)

    @property
    def places(self) -> int:
        """Pictures that are received, wait, or are worked on."""
        return self.queue + AT_ONCE


class BusyError(Exception):
    """All places are taken."""


class GivenUpError(Exception):
    """A picture's time is over, or nobody waits for it any more."""


class Ticket:
    """One picture's place, folder and deadline.

    Attributes:
        source: where the picture is put.
        deadline: on the clock of ``time.monotonic``.
    """

    def __init__(
        self, folder: Path, deadline: float, leave: Callable[[], None], ended: Callable[[], None] = lambda: None
    ) -> None:
        """Take a place.

        Args:
            folder: of its own.
            deadline: on the clock of ``time.monotonic``.
            leave: gives the place back.
            ended: hears that the folder is removed.
        """
        self._ended = ended
        self.folder = folder
        self.source = folder / SOURCE_NAME
        self.deadline = deadline
        self._leave = leave
        self._lock = threading.Lock()
        self._holders = 1
        self._given_up = False

    @property
    def seconds_left(self) -> float:
        """Seconds until the deadline, at least 0."""
        return max(self.deadline - time.monotonic(), 0.0)

    def give_up(self) -> None:
        """Have the work end at the next tile."""
        self._given_up = True

    def check(self) -> None:
        """Let the work go on.

        Raises:
            GivenUpError: it was given up, or its time is over.
        """
        if self._given_up or not self.seconds_left:
            raise GivenUpError

    def hold(self) -> None:
        """Keep the folder until one more :meth:`drop`."""
        with self._lock:
            self._holders += 1

    def leave(self) -> None:
        """Give the place back; twice does no harm."""
        with self._lock:
            leave, self._leave = self._leave, _nothing
        leave()

    def drop(self) -> None:
        """End a :meth:`hold`, or the one that a ticket begins with; the last one removes the folder."""
        with self._lock:
            self._holders -= 1
            last = not self._holders
        if last:
            self.leave()
            shutil.rmtree(self.folder, ignore_errors=True)
            self._ended()


class Service:
    """Takes pictures, converts them on threads of its own, and counts what becomes of the engine.

    A context manager: its end waits for the pictures at work, drops those that wait, and removes all files.
    """

    def __init__(self, runner: Runner, limits: Limits) -> None:
        self.info = runner.engine.info
        self.limits = limits
        self._shared = SharedRunner(runner)
        self._resources = ExitStack()
        self._folder = self._resources.enter_context(scratch_folder("dcdr-serve-"))
        self._threads = ThreadPoolExecutor(AT_ONCE, "dcdr-serve")
        self._lock = threading.Lock()
        self._all_ended = threading.Condition(self._lock)
        self._open = 0
        self._taken = 0
        self._tickets = 0
        self._failures = 0
        self._closing = False

    def __enter__(self) -> Service:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def taken(self) -> int:
        """Places that are taken."""
        return self._taken

    @property
    def state(self) -> str:
        """``"ok"``, ``"failing"`` (the engine fails for one picture after the other) or ``"closing"``."""
        if self._closing:
            return "closing"
        return "failing" if self._failures >= FAILURES_IN_A_ROW else "ok"

    def admit(self) -> Ticket:
        """Give a place to a picture that is about to be received; to be dropped by the caller.

        Raises:
            BusyError: there is none.
        """
        with self._lock:
            if self._closing or self._taken >= self.limits.places:
                raise BusyError
            self._taken += 1
            self._open += 1
            self._tickets += 1
            folder = self._folder / str(self._tickets)
        ticket = Ticket(folder, time.monotonic() + self.limits.timeout, self._left, self._ended)
        try:
            folder.mkdir()
        except OSError:
            ticket.drop()
            raise
        return ticket

    def _ended(self) -> None:
        with self._all_ended:
            self._open -= 1
            self._all_ended.notify_all()

    def _left(self) -> None:
        with self._lock:
            self._taken -= 1

    def submit(self, ticket: Ticket, options: ConvertOptions) -> Future[FileReport]:
        """Convert the picture of a ticket; the future raises as :meth:`SharedRunner.convert`, or GivenUpError."""
        ticket.hold()
        try:
            work = self._threads.submit(self._convert, ticket, options)
        except RuntimeError:  # closed meanwhile
            ticket.drop()
            raise BusyError from None
        work.add_done_callback(lambda done: ticket.drop() if done.cancelled() else None)
        return work

    def _convert(self, ticket: Ticket, options: ConvertOptions) -> FileReport:
        try:
            ticket.check()
            output = ticket.folder / f"result{options.suffix}"
            with at_most_pixels(self.limits.pixels):
                report = self._shared.convert(ticket.source, output, options, check=ticket.check)
            self._count(failed=False)
            return report
        except (EngineOutOfMemory, NonFiniteError):  # of this picture
            raise
        except EngineError:
            self._count(failed=True)
            raise
        finally:
            ticket.leave()
            ticket.drop()

    def _count(self, *, failed: bool) -> None:
        with self._lock:
            self._failures = self._failures + 1 if failed else 0

    def close(self) -> None:
        """Take nothing more, wait for what is being worked on and sent, remove all files."""
        self._closing = True
        self._threads.shutdown(cancel_futures=True)
        with self._all_ended:
            self._all_ended.wait_for(lambda: not self._open, SENDING_SECONDS)
        self._resources.close()


def _nothing() -> None:
    """Do nothing: what a ticket does that has left its place."""
