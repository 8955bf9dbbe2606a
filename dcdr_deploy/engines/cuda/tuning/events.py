"""What measuring tells beside its progress, for a :data:`~dcdr_deploy.system.progress.Listener`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dcdr_deploy.system.progress import Event


@dataclass(frozen=True, kw_only=True)
class Trial(Event):
    """A form that may break the GPU's context, or never end, is about to be used; both are empty when it went well."""

    kind: str = ""
    label: str = ""


@dataclass(frozen=True, kw_only=True)
class Found(Event):
    """A report, see ``Report.as_dict``, with what is known by now."""

    report: Mapping[str, Any]
