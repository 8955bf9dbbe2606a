"""DCDR-UNet from checkpoint to HDR file: one 8-bit SDR picture in, one linear HDR picture out.

::

    import dcdr_deploy

    dcdr_deploy.convert_file("in.png", "out.exr")

Importing the package loads nothing but this file; each name below brings its module with its first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from dcdr_deploy._version import __version__

if TYPE_CHECKING:
    from dcdr_deploy.batch import FolderReport, convert_folder
    from dcdr_deploy.convert import FileReport, convert_file
    from dcdr_deploy.engines.base import Engine, EngineOptions
    from dcdr_deploy.engines.registry import load_engine
    from dcdr_deploy.errors import DcdrError
    from dcdr_deploy.imaging.frame import Frame
    from dcdr_deploy.imaging.read import read_image
    from dcdr_deploy.imaging.write import WriteOptions, write_image
    from dcdr_deploy.model_selection import ModelChoice, choose_model
    from dcdr_deploy.outputs import ConvertOptions
    from dcdr_deploy.runner import Runner
    from dcdr_deploy.session import RunnerSettings, open_runner

__all__ = [
    "ConvertOptions",
    "DcdrError",
    "Engine",
    "EngineOptions",
    "FileReport",
    "FolderReport",
    "Frame",
    "ModelChoice",
    "Runner",
    "RunnerSettings",
    "WriteOptions",
    "__version__",
    "choose_model",
    "convert_file",
    "convert_folder",
    "load_engine",
    "open_runner",
    "read_image",
    "write_image",
]

_HOMES = {
    "ConvertOptions": "outputs",
    "DcdrError": "errors",
    "Engine": "engines.base",
    "EngineOptions": "engines.base",
    "FileReport": "convert",
    "FolderReport": "batch",
    "Frame": "imaging.frame",
    "ModelChoice": "model_selection",
    "Runner": "runner",
    "RunnerSettings": "session",
    "WriteOptions": "imaging.write",
    "choose_model": "model_selection",
    "convert_file": "convert",
    "convert_folder": "batch",
    "load_engine": "engines.registry",
    "open_runner": "session",
    "read_image": "imaging.read",
    "write_image": "imaging.write",
}
"""Public name -> module that defines it."""


def __getattr__(name: str) -> Any:
    """Import a public name on first use (PEP 562)."""
    try:
        home = _HOMES[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
