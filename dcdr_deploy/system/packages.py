"""Which packages are installed, found without importing them, and how to install those that are missing."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import operator
import platform
import re
import sys
from collections.abc import Callable, Iterable, Iterator

from dcdr_deploy.errors import MissingDependency

DISTRIBUTION = "dcdr-deploy"

_OF_EXTRA = re.compile(r"""(?:\s*\band\s+)?\bextra\s*==\s*(['"])(?P<extra>[^'"]+)\1""")
_OF_OURS = re.compile(rf"{DISTRIBUTION}\[(?P<extras>[^\]]+)\]")
_COMPARE: dict[type[ast.cmpop], Callable[[str, str], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.In: lambda part, whole: part in whole,
    ast.NotIn: lambda part, whole: part not in whole,
}
_COMPARE_VERSIONS: dict[type[ast.cmpop], Callable[[list[int], list[int]], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


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


def require(modules: Iterable[str], extra: str) -> None:
    """Say in one line what has to be installed, before an import fails somewhere.

    Args:
        modules: top-level modules that are needed.
        extra: of this package, which installs them.

    Raises:
        MissingDependency: one is missing.
    """
    missing = [name for name in modules if not installed(name)]
    if missing:
        raise MissingDependency(f"this needs {', '.join(missing)}: {install_line(extra)}")


def install_line(extra: str = "") -> str:
    """Return the command that installs what an extra of this package needs, or without one what the package needs.

    It names the packages themselves, those that this machine takes, as the metadata of this installation have them:
    ``dcdr-deploy[extra]`` means something to pip only where an index holds this package, ``.[extra]`` only inside a
    checkout, and neither may be true where the message is read. Where this package is not installed, it is run from a
    checkout.
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
    """Yield the requirements of one extra that concern this machine; conditions that only pip can judge stay."""
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
        holds = _holds(condition) if condition else True
        if holds is None:
            yield f"{requirement}; {condition}".replace('"', "'")
        elif holds:
            yield requirement


def _holds(condition: str) -> bool | None:
    """Whether an environment marker holds here; ``None`` for one of other names than this package's metadata use.

    Markers (Python packaging's specification of dependency specifiers) that compare names with strings are Python.
    """
    here = {
        "platform_machine": platform.machine(),
        "sys_platform": sys.platform,
        "python_version": ".".join(map(str, sys.version_info[:2])),
    }
    try:
        return _value(ast.parse(condition, mode="eval").body, here)
    except (SyntaxError, KeyError, ValueError):
        return None


def _value(node: ast.expr, here: dict[str, str]) -> bool:
    """Evaluate a marker's tree.

    Raises:
        KeyError: a name or an operator that is not known.
        ValueError: anything but a comparison of a name with a string, or a version that is not made of numbers.
    """
    if isinstance(node, ast.BoolOp):
        values = [_value(each, here) for each in node.values]  # all of them: what is not known has to show
        return all(values) if isinstance(node.op, ast.And) else any(values)
    if not (isinstance(node, ast.Compare) and isinstance(node.left, ast.Name) and len(node.ops) == 1):
        raise ValueError("no comparison of a name")
    stated = ast.literal_eval(node.comparators[0])
    name, kind = node.left.id, type(node.ops[0])
    if name == "python_version":
        ours, theirs = ([int(part) for part in text.split(".")] for text in (here[name], stated))
        return _COMPARE_VERSIONS[kind](ours, theirs)
    return _COMPARE[kind](here[name], stated)
