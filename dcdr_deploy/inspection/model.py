"""What a file holds: a model's inputs, outputs, metadata, operators and functions; an HDR picture's size and header."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dcdr_deploy.errors import InputError, ModelError
from dcdr_deploy.export import require_export_packages
from dcdr_deploy.imaging.read_hdr import HDR_SUFFIXES
from dcdr_deploy.modelfile.names import CHECKPOINT_SUFFIXES, ENGINE_SUFFIX, ONNX_SUFFIX

if TYPE_CHECKING:
    from dcdr_deploy.models import Architecture
    from dcdr_deploy.models.recognition import Reading


def inspect_file(path: Path, *, architecture: str | None = None, part: Sequence[Path] = ()) -> dict[str, Any]:
    """Describe a model file or an HDR picture as plain data.

    Args:
        path: the file.
        architecture: of checkpoints, what they are, where their tensors do not tell.
        part: of checkpoints, files of the network's other parts.

    Returns:
        ``kind`` ("onnx", "checkpoint", "engine" or "picture"), ``path``, ``metadata``; for pictures ``width``,
        ``height`` and the range of their numbers; for models ``parameters`` (count); for ONNX also ``inputs``,
        ``outputs``, ``opsets``, ``operators`` (counts by domain), ``functions``; for checkpoints ``network``,
        ``architecture``, what the ``output`` means, and for those of other tools the ``licence`` of the authors'
        weights, where those are ``published``, and what was ``assumed``.

    Raises:
        ModelError: missing, of an unknown kind, or damaged.
        CheckpointError: a checkpoint that cannot be used.
        InputError: a picture that cannot be read, or arguments that do not fit.
    """
    if not path.is_file():
        what = "is a folder; name a file in it" if path.exists() else "no such file; check the path"
        raise ModelError(f"{path}: {what}")
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise ModelError(
            f"{path}: cannot inspect {path.suffix or 'a file without suffix'}; known: {', '.join(READERS)}"
        )
    if reader is not _inspect_checkpoint and (architecture is not None or part):
        raise InputError(f"{path} is no checkpoint: leave `architecture` and `part` out")
    described = _inspect_checkpoint(path, architecture, part) if reader is _inspect_checkpoint else reader(path)
    return {"path": str(path), "bytes": path.stat().st_size, **described}


def _inspect_onnx(path: Path) -> dict[str, Any]:
    require_export_packages("onnx")
    import onnx

    from dcdr_deploy.export.loading import load_onnx

    model = load_onnx(path)
    graph = model.graph
    if not graph.node:
        raise ModelError(f"{path} holds an empty graph; export it again")
    operators: dict[str, dict[str, int]] = {}
    for (domain, name), count in sorted(
        Counter((node.domain or "ai.onnx", node.op_type) for node in graph.node).items()
    ):
        operators.setdefault(domain, {})[name] = count
    floats = {onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE, onnx.TensorProto.BFLOAT16}
    return {
        "kind": "onnx",
        "producer": f"{model.producer_name} {model.producer_version}".strip(),
        "inputs": [_tensor(value) for value in graph.input],
        "outputs": [_tensor(value) for value in graph.output],
        "opsets": {entry.domain or "ai.onnx": entry.version for entry in model.opset_import},
        "operators": operators,
        "functions": [
            {
                "name": f"{function.domain}::{function.name}",
                "inputs": list(function.input),
                "operators": dict(Counter(f"{node.domain or 'ai.onnx'}::{node.op_type}" for node in function.node)),
            }
            for function in model.functions
        ],
        "parameters": sum(math.prod(tensor.dims) for tensor in graph.initializer if tensor.data_type in floats),
        "metadata": {entry.key: entry.value for entry in model.metadata_props},
    }


def _tensor(value: Any) -> dict[str, Any]:
    import onnx

    kind, names = value.type.tensor_type, {number: name for name, number in onnx.TensorProto.DataType.items()}
    return {
        "name": value.name,
        "type": names[kind.elem_type].lower() if kind.elem_type in names else f"type {kind.elem_type}",
        "shape": [dimension.dim_param or dimension.dim_value for dimension in kind.shape.dim],
    }


def _inspect_checkpoint(path: Path, architecture: str | None = None, part: Sequence[Path] = ()) -> dict[str, Any]:
    require_export_packages()
    from dcdr_deploy.modelfile.metadata import encode
    from dcdr_deploy.models import architecture_of, count_parameters, load_checkpoint
    from dcdr_deploy.models.recognition import PartAlone

    try:
        loaded = load_checkpoint(path, architecture=architecture, part=part)
    except PartAlone as alone:
        return _part_alone(alone.reading)
    network = loaded.network
    entry = architecture_of(network.config)
    taken = {"taken": loaded.taken} if loaded.taken else {}
    return {
        "kind": "checkpoint",
        **taken,
        "network": entry.name_of(network),
        "parameters": count_parameters(network),
        "architecture": json.loads(network.config.to_json()),
        "output": network.encoding.words,
        **({} if loaded.has_metadata else _published(entry)),
        **({"assumed": dict(loaded.assumed)} if loaded.assumed else {}),
        "deformable_blocks": sum(block.deformable for block in network.deformable_blocks().values()),
        "metadata": encode(loaded.metadata) if loaded.has_metadata else {},
    }


def _part_alone(reading: Reading) -> dict[str, Any]:
    """What a checkpoint is that is no network without others."""
    from dcdr_deploy.models.encodings import Encoding

    entry = reading.architecture
    return {
        "kind": "checkpoint",
        "network": reading.title,
        "needs": f"{reading.others}, by --part",
        "parameters": sum(tensor.numel() for tensor in reading.state.values() if tensor.is_floating_point()),
        "output": Encoding.parse(entry.published_output).words,
        **_published(entry),
        "metadata": {},
    }


def _published(entry: Architecture) -> dict[str, str]:
    """What an architecture's authors state of their weights. Whether a file holds just those, it does not say."""
    if entry.published is None:
        return {}
    return {"licence": f"{entry.published.licence}, of the authors' weights", "published": entry.published.place}


def _inspect_engine(path: Path) -> dict[str, Any]:
    from dcdr_deploy.modelfile.sidecar import read_sidecar

    facts = read_sidecar(path).as_dict()
    metadata, sms = facts.pop("metadata"), facts.pop("sms")
    shapes = {name.partition("_")[0]: "x".join(map(str, facts.pop(name))) for name in _SHAPES}
    gpus = " ".join(f"SM{sm}" for sm in sms)
    known = {key: value for key, value in facts.items() if value not in (None, {})}
    return {"kind": "engine", "gpus": gpus, "images x height x width": shapes, **known, "metadata": metadata}


def _inspect_picture(path: Path) -> dict[str, Any]:
    from dcdr_deploy.imaging.read_hdr import HdrOptions, read_hdr

    picture = read_hdr(path, HdrOptions(use_gain_map=True))
    height, width = picture.size
    return {
        "kind": "picture",
        "width": width,
        "height": height,
        "samples": "16-bit integers, 0 to 1" if picture.integer else "light",
        "range": f"{picture.pixels.min():.4g} to {picture.pixels.max():.4g}",
        "metadata": dict(picture.texts),
    }


ULTRA_HDR_SUFFIXES = (".jpg", ".jpeg")

_SHAPES = ("min_shape", "opt_shape", "max_shape")

READERS: dict[str, Callable[[Path], dict[str, Any]]] = {
    ONNX_SUFFIX: _inspect_onnx,
    ENGINE_SUFFIX: _inspect_engine,
    **dict.fromkeys(CHECKPOINT_SUFFIXES, _inspect_checkpoint),
    **dict.fromkeys((*HDR_SUFFIXES, *ULTRA_HDR_SUFFIXES), _inspect_picture),
}
"""How a file is described, by suffix."""
