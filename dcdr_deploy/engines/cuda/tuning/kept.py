"""What was measured on a GPU, kept beside its kernels: a JSON file that names candidates, and nothing else.

It is for one kind of GPU with one driver, compiler and version of the sources; for any other there is none. What it
names is looked up among the candidates of that GPU, so that it cannot bring in anything that is not known here.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from dcdr_deploy.engines.cuda import cached, dcrb_from_hidden
from dcdr_deploy.engines.cuda.compiler import compiler_version, source_hash, target_sm
from dcdr_deploy.engines.cuda.measures import CUTS, Measures, by_table
from dcdr_deploy.engines.cuda.memory import Device
from dcdr_deploy.engines.cuda.tuning.candidates import candidates, with_candidates

_INSTEAD = "the table's kernels are taken"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Gpu:
    """What measured times depend on.

    Attributes:
        name: of the GPU.
        sm: that kernels are compiled for.
        multiprocessors: of the GPU.
        driver: the newest CUDA that the driver knows, e.g. 13000.
        compiler: NVRTC's version.
        sources: digest of the kernels' sources and of the candidates.
    """

    name: str
    sm: int
    multiprocessors: int
    driver: int
    compiler: str
    sources: str

    @property
    def path(self) -> Path:
        """Where it is kept what was measured."""
        digest = hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()
        return cached.place(f"measured.sm{self.sm}.{digest[:32]}.json")


def gpu_of(device: Device) -> Gpu:
    """Return what the times of a GPU depend on.

    Raises:
        MissingDependency: the compiler is not installed.
        EngineError: there is no kernel for the GPU, or its driver failed.
    """
    sm = target_sm(device.sm)
    known = json.dumps({kind: list(each) for kind, each in candidates(sm).items()})
    texts = (source_hash("convolution"), source_hash(dcrb_from_hidden.SOURCE), known)
    sources = hashlib.sha256("\0".join(texts).encode()).hexdigest()
    return Gpu(device.name, sm, device.multiprocessors, device.driver_version, compiler_version(), sources)


def kept_measures(device: Device) -> Measures:
    """Return the measures that were found on a GPU like this one, else the table's. Errors as :func:`gpu_of`."""
    return read(gpu_of(device))


def read(gpu: Gpu) -> Measures:
    """Return what is kept for a GPU; what is not kept, not whole or not known is the table's, and the log says so."""
    content = cached.read(gpu.path, _INSTEAD)
    if content is None:
        return by_table(gpu.sm)
    try:
        found = json.loads(content)
    except ValueError:  # JSON and UTF-8 both
        found = None
    if not isinstance(found, dict) or found.get("gpu") != asdict(gpu) or not isinstance(found.get("kernels"), dict):
        _log.warning("%s is not as it was written; %s", gpu.path, _INSTEAD)
        return by_table(gpu.sm)
    known = candidates(gpu.sm)
    chosen = {}
    for kind, label in found["kernels"].items():
        if isinstance(label, str) and label in known.get(kind, {}):
            chosen[kind] = label
        else:
            _log.warning("%s names a kernel that is not known, for %s; the table's is taken", gpu.path, kind)
    measures = with_candidates(by_table(gpu.sm), chosen)
    cut = found.get("cut")
    if isinstance(cut, str) and cut in CUTS:
        return replace(measures, cut=cut)
    _log.warning("%s names a form of frames that is not known; the table's is taken", gpu.path)
    return measures


def write(gpu: Gpu, chosen: Mapping[str, str], cut: str, figures: Mapping[str, Any]) -> bool:
    """Keep what was found on a GPU.

    Args:
        gpu: the GPU.
        chosen: labels of candidates by kind; kinds that are not there have the table's.
        cut: name of the form of a frame.
        figures: what was measured, for whoever looks at the file; it is not read again.

    Returns:
        whether it is kept; if not, the log says why.
    """
    content = {"gpu": asdict(gpu), "kernels": dict(chosen), "cut": cut, "figures": dict(figures)}
    return cached.write(gpu.path, json.dumps(content, indent=2).encode() + b"\n")


def forget(gpu: Gpu) -> bool:
    """Remove what is kept for a GPU; tell whether there was anything.

    Raises:
        OSError: it cannot be removed.
    """
    there = gpu.path.is_file()
    gpu.path.unlink(missing_ok=True)
    return there
