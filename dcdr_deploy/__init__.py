"""DCDR-UNet from checkpoint to HDR file: one 8-bit SDR picture in, one linear HDR picture out.

::

    import dcdr_deploy

    with dcdr_deploy.open_runner() as runner:
        dcdr_deploy.convert_file("in.png", "out.exr", runner)

Importing the package loads nothing but this file; the module of each name below is imported on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from dcdr_deploy._version import __version__
from dcdr_deploy.system.privacy import silence_onnxruntime

silence_onnxruntime()  # here, because it has to come before any import of it

if TYPE_CHECKING:
    from dcdr_deploy.engines.base import Engine, EngineOptions
    from dcdr_deploy.engines.choice import load_engine
    from dcdr_deploy.errors import DcdrError
    from dcdr_deploy.imaging.frame import Frame
    from dcdr_deploy.imaging.light import Light
    from dcdr_deploy.imaging.read import read_image
    from dcdr_deploy.imaging.write import WriteOptions, write_image
    from dcdr_deploy.run.dials import Dials
    from dcdr_deploy.run.file import convert_file
    from dcdr_deploy.run.folder import convert_folder
    from dcdr_deploy.run.opening import RunnerSettings, open_runner
    from dcdr_deploy.run.outputs import ConvertOptions
    from dcdr_deploy.run.reports import FileReport, FolderReport
    from dcdr_deploy.run.restore import Restored, restore
    from dcdr_deploy.run.runner import Runner
    from dcdr_deploy.run.selection import ModelChoice, choose_model

__all__ = [
    "ConvertOptions",
    "DcdrError",
    "Dials",
    "Engine",
    "EngineOptions",
    "FileReport",
    "FolderReport",
    "Frame",
    "Light",
    "ModelChoice",
    "Restored",
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
    "restore",
    "write_image",
]

_HOMES = {
    "ConvertOptions": "run.outputs",
    "DcdrError": "errors",
    "Dials": "run.dials",
    "Engine": "engines.base",
    "EngineOptions": "engines.base",
    "FileReport": "run.reports",
    "FolderReport": "run.reports",
    "Frame": "imaging.frame",
    "Light": "imaging.light",
    "ModelChoice": "run.selection",
    "Restored": "run.restore",
    "Runner": "run.runner",
    "RunnerSettings": "run.opening",
    "WriteOptions": "imaging.write",
    "choose_model": "run.selection",
    "convert_file": "run.file",
    "convert_folder": "run.folder",
    "load_engine": "engines.choice",
    "open_runner": "run.opening",
    "read_image": "imaging.read",
    "restore": "run.restore",
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
