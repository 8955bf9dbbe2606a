"""What ``dcdr-deploy doctor`` shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dcdr_deploy.system.words import number_of


def format_report(data: Mapping[str, Any]) -> str:
    """Return what :func:`dcdr_deploy.inspection.machine.report` found as plain text, without a newline at the end."""
    return "\n".join(_lines(data))


def _lines(data: Mapping[str, Any]) -> Iterator[str]:
    yield f"dcdr-deploy {data['dcdr-deploy']}, Python {data['python']}, {data['system']}"
    yield f"CPU: {data['cpu']['name']}, {number_of(data['cpu']['threads'], 'thread')}"
    yield f"Memory: {_gib(data['memory']['available'])} free of {_gib(data['memory']['total'])}"
    if not data["gpus"]:
        yield "GPU: no NVIDIA GPU found (nvidia-smi)"
    for gpu in data["gpus"]:
        memory = f"{_gib(gpu['memory_free'])} free of {_gib(gpu['memory_total'])}"
        yield f"GPU {gpu['index']}: {gpu['name']}, {memory}, sm {gpu['compute_capability']}, driver {gpu['driver']}"
    yield ""
    yield "Backends"
    for name, state in data["backends"].items():
        notes = [
            ", ".join(state["devices"]),
            " ".join(f"{n} {v}" for n, v in state["versions"].items()),
            state["reason"],
        ]
        yield f"  {name:<13} {'ok' if state['ok'] else 'no':<3} {state['role']}"
        yield from (f"  {'':<13}     {note}" for note in notes if note)
        if state["install"]:
            yield f"  {'':<13}     install: {state['install']}"
    yield ""
    yield "Packages"
    for name, version in data["packages"].items():
        yield f"  {name:<23} {version or '-'}"


def _gib(size: int | None) -> str:
    return "unknown" if size is None else f"{size / 2**30:.1f} GiB"
