"""TensorRT and TensorRT-RTX: one API under two module names.

The rest of the project takes the module that :func:`load_api` returns as ``trt`` and asks it with ``getattr`` for what
only one of the packages, or only some versions, have. What differs between the packages as such is data in
:data:`PACKAGES`.
"""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from dcdr_deploy.engines.tensorrt.library_alias import load_alias, loaded_library
from dcdr_deploy.errors import EngineError, MissingDependency
from dcdr_deploy.modelfile.names import ENGINE_SUFFIX
from dcdr_deploy.system import packages
from dcdr_deploy.system.faults import one_line


@dataclass(frozen=True)
class Package:
    """One of the two packages.

    Attributes:
        name: what a user types after ``--backend``.
        module: what is imported.
        distributions: names under which pip may know it.
        minimum: oldest version that is supported, as (major, minor).
        extra: the extra of this package that installs it.
        targets_sms: engines can be built for any compute capabilities, without a GPU; otherwise for the GPU that is
            there only.
        deform_form: body of ``dcdr::DeformConv2d`` that its parser understands, see ``export.operators``.
        suffix: of its engine files.
    """

    name: str
    module: str
    distributions: tuple[str, ...]
    minimum: tuple[int, int]
    extra: str
    targets_sms: bool
    deform_form: str
    suffix: str = ENGINE_SUFFIX

    @property
    def install(self) -> str:
        """The line that installs it."""
        return packages.install_line(self.extra)


PACKAGES = MappingProxyType(
    {
        package.name: package
        for package in (
            Package(
                name="tensorrt",
                module="tensorrt",
                distributions=("tensorrt", "tensorrt-cu13", "tensorrt-cu12"),
                minimum=(10, 3),
                extra="tensorrt",
                targets_sms=False,
                deform_form="native",
            ),
            Package(
                name="tensorrt-rtx",
                module="tensorrt_rtx",
                distributions=("tensorrt-rtx-cu13", "tensorrt-rtx-cu12", "tensorrt-rtx"),
                minimum=(1, 7),
                extra="rtx",
                targets_sms=True,
                deform_form="gridsample",
            ),
        )
    }
)

_RTX_LIBRARY = "libtensorrt_rtx.so"


def get_package(name: str) -> Package:
    """Return a package by its name.

    Raises:
        EngineError: there is no such package.
    """
    try:
        return PACKAGES[name]
    except KeyError:
        raise EngineError(f"there is no engine package {name!r}; choose one of: {', '.join(PACKAGES)}") from None


def version(name: str) -> str | None:
    """Return the installed version of a package, without importing it; ``None`` if it is not installed."""
    return next(iter(packages.versions(get_package(name).distributions).values()), None)


def versions() -> dict[str, str]:
    """Return the installed versions by package name, without importing anything; absent ones are left out."""
    found = {name: version(name) for name in PACKAGES}
    return {name: number for name, number in found.items() if number is not None}


@functools.cache
def load_api(name: str) -> Any:
    """Import a package and make it fit for use.

    Args:
        name: ``"tensorrt"`` or ``"tensorrt-rtx"``.

    Returns:
        The module: the API under either name.

    Raises:
        MissingDependency: it is not installed, or its libraries are missing; with the line that installs it.
        EngineError: an unknown name, or a version that is too old.
    """
    package = get_package(name)
    try:
        api = importlib.import_module(package.module)
    except (ImportError, OSError) as error:
        raise MissingDependency(f"{name} cannot be imported ({one_line(error)}); {package.install}") from error
    _check_version(package, str(api.__version__))
    if name == "tensorrt-rtx" and sys.platform == "linux":
        _name_rtx_library()
    return api


def _check_version(package: Package, found: str) -> None:
    numbers = tuple(int(part) if part.isdigit() else 0 for part in found.split(".")[:2])
    if numbers < package.minimum:
        oldest = ".".join(map(str, package.minimum))
        raise EngineError(f"{package.name} {found} is too old, {oldest} is the oldest that works; {package.install}")


def _name_rtx_library() -> None:
    """Let the ONNX parser find the library by the name that the wheel does not contain.

    The parser opens ``libtensorrt_rtx.so`` when it looks for plugins, and ends the process where that fails; the wheel
    holds ``libtensorrt_rtx.so.1`` only.
    """
    library = loaded_library(_RTX_LIBRARY)
    if library is None:
        raise EngineError(f"tensorrt-rtx was imported without {_RTX_LIBRARY}; {PACKAGES['tensorrt-rtx'].install}")
    if library.name == _RTX_LIBRARY:
        return
    try:
        load_alias(_RTX_LIBRARY, library)
    except (OSError, ValueError) as error:
        raise EngineError(
            f"{_RTX_LIBRARY} cannot be provided ({one_line(error)}); put a link of that name to {library} into a "
            "folder named in LD_LIBRARY_PATH"
        ) from error


@functools.cache
def shared_logger(trt: Any) -> Any:
    """Return the one logger of this process for a package; assign its ``sink``, a function of (severity, message).

    The libraries keep the first logger they are given until the process ends, so a logger per build would be asked
    after it is gone. Severities are the API's names: ``"ERROR"``, ``"WARNING"``, ``"INFO"``, ...
    """

    class Logger(trt.ILogger):
        sink: Callable[[str, str], None] = staticmethod(lambda severity, message: None)

        def log(self, severity: Any, message: str) -> None:
            self.sink(severity.name, message)

    return Logger()


def builder_sms(trt: Any) -> tuple[int, ...]:
    """Return the compute capabilities a package builds for by request, such as ``(75, 80)``; none for ``tensorrt``."""
    known = getattr(trt, "ComputeCapability", None)
    names = getattr(known, "__members__", {})
    return tuple(sorted(int(name[2:]) for name in names if name.startswith("SM") and name[2:].isdigit()))
