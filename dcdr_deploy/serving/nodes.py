"""The machines of a cluster: which are up, and whether each has this package and the same files at the same places."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dcdr_deploy._version import __version__
from dcdr_deploy.errors import DcdrError, InputError, OutputError
from dcdr_deploy.serving.addresses import Address, begins, near_folder, put, remove
from dcdr_deploy.serving.layout import Node
from dcdr_deploy.system.faults import one_line
from dcdr_deploy.system.files import is_url

CHECK_SECONDS = 180.0
"""For a machine's answer to what it can reach: a busy one takes a minute to start a process."""

_logger = logging.getLogger(__name__)


def nodes_of(ray: Any) -> list[Node]:
    """Return the machines of the cluster that are up."""
    return [
        Node(
            each["NodeManagerAddress"], each["Resources"].get("CPU", 0), each["Resources"].get("GPU", 0), each["NodeID"]
        )
        for each in ray.nodes()
        if each["Alive"]
    ]


def unreachable(readable: Sequence[str], folders: Sequence[str], probes: Sequence[tuple[str, str]]) -> str:
    """Return what this machine lacks of what the driver has, in words; empty if nothing.

    Args:
        readable: files that must be there.
        folders: folders that must be there.
        probes: files and their content, which the driver has just written into the folders that are written to.
    """
    for path in folders:
        if not os.path.isdir(path):  # noqa: PTH112
            return f"{path} is not there; mount it at the same place on every machine"
    for path in readable:
        try:
            _begin_of(path)
        except (OSError, DcdrError) as error:
            return _unread(path, error)
    for path, content in probes:
        folder = Address(path).parent if is_url(path) else Path(path).parent
        try:
            found = _begin_of(path)
        except FileNotFoundError:
            found = b""
        except (OSError, DcdrError) as error:
            return _unread(str(folder), error)
        if found != content.encode():
            return f"{folder} is another folder there; mount the same one on every machine"
        if isinstance(folder, Path) and not os.access(folder, os.W_OK | os.X_OK):
            return f"{folder} may not be written; mend its permissions"
    return ""


def _unread(path: str, error: OSError | DcdrError) -> str:
    remedy = "give this machine access to it" if is_url(path) else "mount it at the same place on every machine"
    return f"{path} cannot be read ({getattr(error, 'strerror', None) or error}); {remedy}"


def _begin_of(path: str) -> bytes:
    """The first bytes of a file or of what lies at an address."""
    if is_url(path):
        return begins(Address(path))
    with open(path, "rb") as file:  # noqa: PTH123
        return file.read(64)


def _answer(readable: Sequence[str], folders: Sequence[str], probes: Sequence[tuple[str, str]]) -> tuple[str, str]:
    """What a machine says of itself: its version of this package, and :func:`unreachable`."""
    return __version__, unreachable(readable, folders, probes)


def check_nodes(ray: Any, readable: Sequence[Path], folders: Sequence[Path], written: Sequence[Path | Address]) -> None:
    """Ask every machine of the cluster whether it has this package and the same files at the same places.

    Args:
        ray: connected.
        readable: files, at addresses too, that must be readable.
        folders: folders that must be there.
        written: folders, at addresses too, that must be the same as here, and writable.

    Raises:
        OutputError: this machine cannot write there.
        InputError: a machine does not; the first is named, with what it lacks.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    places = [folder / f".dcdr-{secrets.token_hex(8)}.probe" for folder in written]
    probes = [(str(place), secrets.token_hex(16)) for place in places]
    try:
        for place, (_, content) in zip(places, probes, strict=True):
            _write(place, content)
        asked = {}
        for node in nodes_of(ray):
            here = NodeAffinitySchedulingStrategy(node.name, soft=False)
            task = ray.remote(num_cpus=0, max_retries=1)(_answer).options(scheduling_strategy=here)
            asked[node.address] = task.remote(list(map(str, readable)), list(map(str, folders)), probes)
        for address, answer in asked.items():
            _judge(ray, address, answer)
    finally:
        for place in places:
            _remove(place)


def _write(place: Path | Address, content: str) -> None:
    """Write a probe.

    Raises:
        OutputError: the place cannot be written.
    """
    with near_folder() as folder:
        file = folder / "probe"
        file.write_text(content, encoding="ascii")
        if isinstance(place, Address):
            put(file, place)
            return
        try:
            shutil.copyfile(file, place)
        except OSError as error:
            raise OutputError(f"{place.parent}: cannot be written ({error.strerror}); choose another place") from error


def _remove(place: Path | Address) -> None:
    """Remove a probe, if it is there; one that stays hides no error that came before."""
    try:
        remove(place) if isinstance(place, Address) else place.unlink(missing_ok=True)
    except (OutputError, OSError) as error:
        _logger.warning("%s is left behind: %s", place, one_line(error))


def _judge(ray: Any, address: str, answer: Any) -> None:
    try:
        version, lacks = ray.get(answer, timeout=CHECK_SECONDS)
    except ray.exceptions.GetTimeoutError as error:
        raise InputError(
            f"{address}: this machine of the cluster has not answered for {CHECK_SECONDS:g} seconds; if it is busy, "
            "try again later, else see whether it runs other tasks of Ray"
        ) from error
    except ray.exceptions.RayError as error:
        # The last line is the reason; those before it are a traceback.
        reason = [line for line in str(getattr(error, "cause", None) or error).splitlines() if line.strip()][-1].strip()
        raise InputError(
            f"{address}: this machine of the cluster cannot run dcdr-deploy {__version__} ({reason}); install it there"
        ) from error
    if version != __version__:
        raise InputError(f"{address}: has dcdr-deploy {version}, not {__version__} as here; install the same")
    if lacks:
        raise InputError(f"{address}: {lacks}")
