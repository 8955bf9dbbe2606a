"""The child's side of a job in a process of its own, which child.py starts.

It reads one line of JSON on stdin, ``{"job": ..., ...}``, and writes lines of JSON on stdout:

- ``{"event": "progress", "class": ..., "stage": ..., "done": ..., ...}``, an Event of progress.py or a class of it,
- at its end ``{"event": "result", ...}`` or ``{"event": "error", "kind": class of errors.py, "message": ...}`` or
  ``{"event": "bug", "trace": ...}``.

Everything that libraries print goes to stderr, which the parent keeps as the log. When stdin ends before the job does,
the parent is gone, and the worker ends too; it takes the unfinished files along, which nobody else would remove.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from dcdr_deploy.errors import DcdrError, EngineOutOfMemory, kind_of
from dcdr_deploy.system.progress import Event, Listener

Jobs = Mapping[str, Callable[[Mapping[str, Any], Listener], dict[str, Any]]]
"""By name: each takes the request and returns its result, both plain data, as are the fields of its events."""

Tell = Callable[..., None]
"""``tell(event, **details)`` writes one line of the protocol."""


def answer(jobs: Jobs, request: Mapping[str, Any], tell: Tell) -> None:
    """Do a job and tell how it ended; nothing is raised."""

    def listener(event: Event) -> None:
        tell("progress", **{"class": type(event).__name__, **vars(event)})

    try:
        result = jobs[request["job"]](request, listener)
    except DcdrError as error:
        tell("error", kind=kind_of(error), message=str(error))
    except MemoryError:
        tell("error", kind=EngineOutOfMemory.__name__, message="there is not enough memory; close other programs")
    except Exception:
        # The parent raises it again: a bug must not end as a silent child.
        tell("bug", trace=traceback.format_exc())
    else:
        tell("result", **result)


def _follow_parent(stdin: IO[str], unfinished: Iterable[Path]) -> None:
    """End the process when the parent's end of stdin closes, without leaving ``unfinished`` files behind."""
    stdin.read()
    for path in unfinished:
        with suppress(OSError):
            path.unlink(missing_ok=True)
    os._exit(1)


def main(jobs: Jobs, unfinished: Callable[[Mapping[str, Any]], Iterable[Path]] = lambda request: ()) -> None:
    """Take one request from stdin, answer on stdout, and end the process.

    Args:
        jobs: that can be asked for.
        unfinished: the temporary files of a request, which the parent gives their names.
    """
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as protocol:
        os.dup2(2, 1)  # what native libraries print on stdout would tear the protocol
        lock = threading.Lock()

        def tell(event: str, **details: Any) -> None:
            with lock:
                protocol.write(json.dumps({"event": event, **details}) + "\n")
                protocol.flush()

        request = json.loads(sys.stdin.readline())
        threading.Thread(target=_follow_parent, args=(sys.stdin, unfinished(request)), daemon=True).start()
        answer(jobs, request, tell)
    # Native libraries of a build that is over have nothing left to do; some crash in their destructors.
    os._exit(0)
