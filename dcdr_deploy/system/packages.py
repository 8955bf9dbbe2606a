"""Which packages are installed, found without importing them, and how to install those that are missing."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
from collections.abc import Iterable, Iterator

DISTRIBUTION = "dcdr-deploy"

_OF_EXTRA = re.compile(r"""(?:\s*\band\s+)?\bextra\s*==\s*(['"])(?P<extra>[^'"]+)\1""")
_OF_OURS = re.compile(rf"{DISTRIBUTION}\[(?P<extras>[^\]]+)\]")


def version(distribution: str) -> str | None:
    """Return a distribution's version, ``None`` if it is not installed."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def versions(distributions: Iterable[str]) -> dict[str, str]:
    """Return the versions of those distributions that are installed."""
    found = {name: version(name) for name in distributions}
    return {name: number for name, number in found.items() if number is not None}


def installed(module: str) -> bool:
    """Tell whether a top-level module could be imported."""
    return importlib.util.find_spec(module) is not None


def install_line(extra: str = "") -> str:
    """Return the command that installs what an extra of this package needs, or without one what the package needs.

    It names the packages themselves, as the metadata of this installation have them: ``dcdr-deploy[extra]`` means
    something to pip only where an index holds this package, ``.[extra]`` only inside a checkout, and neither may be
    true where the message is read. Where this package is not installed, it is run from a checkout.
    """
    try:
        stated = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        stated = []
    wanted = list(dict.fromkeys(_requirements(stated, extra)))
    if not wanted:
        return f'pip install ".[{extra}]"' if extra else "pip install ."
    return "pip install " + " ".join(f'"{requirement}"' for requirement in wanted)


def _requirements(stated: Iterable[str], extra: str) -> Iterator[str]:
    """Yield the requirements of one extra; conditions that do not concern extras stay, for pip to judge."""
    stated = list(stated)
    for line in stated:
        requirement, _, condition = (part.strip() for part in line.partition(";"))
        of = _OF_EXTRA.search(condition)
        if (of["extra"] if of else "") != extra:
            continue
        ours = _OF_OURS.fullmatch(requirement)
        if ours is not None:
            for other in ours["extras"].split(","):
                yield from _requirements(stated, other.strip())
            continue
        condition = _OF_EXTRA.sub("", condition).strip()
        yield f"{requirement}; {condition}".replace('"', "'") if condition else requirement
