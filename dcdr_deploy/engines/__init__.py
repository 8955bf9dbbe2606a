"""Inference backends behind one small interface; importing this package loads none of their libraries."""

from __future__ import annotations

from dcdr_deploy.engines.base import Availability, Engine, EngineInfo, EngineOptions
from dcdr_deploy.engines.choice import choose_backend, load_engine
from dcdr_deploy.engines.registry import BACKENDS, availabilities, backend_names, get_backend
from dcdr_deploy.modelfile.metadata import ModelMetadata

__all__ = [
    "BACKENDS",
    "Availability",
    "Engine",
    "EngineInfo",
    "EngineOptions",
    "ModelMetadata",
    "availabilities",
    "backend_names",
    "choose_backend",
    "get_backend",
    "load_engine",
]
