"""Checkpoints: reading them without running their code, and deducing architecture and configuration from the tensors.

Taken: a bare state dict, whatever training tools put around one (:mod:`dcdr_deploy.models.envelopes`), training
checkpoints of this tool, and safetensors. A checkpoint is untrusted input (:mod:`dcdr_deploy.models.untrusted`).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from dcdr_deploy.errors import CheckpointError, InputError, ModelError
from dcdr_deploy.modelfile.metadata import (
    ABSOLUTE,
    KEY_FORMAT,
    KEY_LIGHT,
    KEY_OUTPUT,
    KEY_WHOLE,
    ModelMetadata,
    decode,
    encode,
)
from dcdr_deploy.modelfile.names import DOMAIN
from dcdr_deploy.models.architecture import HdrNetwork
from dcdr_deploy.models.config import NetworkConfig, overlap_for_offsets
from dcdr_deploy.models.encodings import Encoding
from dcdr_deploy.models.envelopes import find_state
from dcdr_deploy.models.recognition import Reading, Wanted, join, outline, recognise
from dcdr_deploy.models.registry import architecture_of, build_network
from dcdr_deploy.models.shapes import Shapes, some
from dcdr_deploy.models.untrusted import is_plain, read_untrusted
from dcdr_deploy.system.faults import one_line

_logger = logging.getLogger(__name__)

CONFIG_KEY = "config"
"""Where files of this tool keep the configuration as JSON: in a training checkpoint, in a safetensors header."""


@dataclass(frozen=True)
class LoadedModel:
    """A network and what its file said of it.

    Attributes:
        network: evaluation mode, float32, on the CPU.
        metadata: stored metadata, or defaults where the file has none; size multiple and encoding are the network's.
        source: the file.
        has_metadata: whether the file stored metadata; without it ``peak`` is an assumption.
        taken: what was taken of the file and what was left out, in words; empty where there was no choice.
        assumed: fields of the configuration that neither tensors nor metadata nor the caller told, with the values of
            the authors' weights, which they were given.
    """

    network: HdrNetwork
    metadata: ModelMetadata
    source: Path
    has_metadata: bool
    taken: str = ""
    assumed: Mapping[str, Any] = field(default_factory=dict)


def load_checkpoint(
    path: Path | str, *, architecture: str | None = None, part: Sequence[Path | str] = ()
) -> LoadedModel:
    """Load a checkpoint of any supported kind and any known architecture.

    Args:
        path: the file.
        architecture: what it is, where its tensors do not tell, as ``NAME`` or ``NAME:FIELD=VALUE,...``.
        part: files of the other parts, for networks that are published in parts.

    Raises:
        CheckpointError: the file is missing, cut short, asks for more than plain types, is of no known architecture or
            of several, is a part of a network only, or has NaN weights.
        InputError: no such architecture, or it does not have these fields.
    """
    path = Path(path)
    wanted = None if architecture is None else Wanted.parse(architecture)
    content, header = read_untrusted(path)
    found = find_state(content, path)
    if part:
        others = [(Path(file), find_state(read_untrusted(Path(file))[0], Path(file)).tensors) for file in part]
        reading, metadata = join([(path, found.tensors), *others], wanted), None
    else:
        reading, metadata = recognise(found.tensors, path, wanted), _stored_metadata(content, header, path)
    given = dict(wanted.fields) if wanted else {}
    assumed = {} if metadata else dict(reading.architecture.unseen)
    stored = (header or content).get(CONFIG_KEY) if metadata else None
    config = _configuration(reading, _stored_fields(stored, reading, path) | assumed | given, path)
    _check_fit(reading, config, path)
    network = build_network(config)
    network.load_state_dict({name: tensor.float() for name, tensor in reading.state.items()})
    chosen = described(network, metadata or ModelMetadata(name=path.stem))
    taken = found.describe()
    if taken:
        _logger.info("%s: %s", path, taken)
    assumed = {name: value for name, value in assumed.items() if name not in given}
    _tell_assumptions(reading, assumed, path)
    return LoadedModel(network.eval(), chosen, path, metadata is not None, taken, assumed)


def _tell_assumptions(reading: Reading, assumed: Mapping[str, Any], path: Path) -> None:
    """Warn where a network may compute something else than the weights were made for. Outputs are said elsewhere."""
    entry, shown = reading.architecture, [f"{name}={value}" for name, value in assumed.items() if name != "output"]
    if shown:
        _logger.warning(
            "%s: no tensor shows whether %s was trained with %s, as assumed; else say by `architecture` at its export, "
            "such as %s:%s",
            *(path, entry.title, " and ".join(shown), entry.name, shown[0]),
        )


def described(network: HdrNetwork, metadata: ModelMetadata) -> ModelMetadata:
    """Metadata with what the network itself says.

    That is its size multiple, the meaning of its output, the peak of absolute light, and, without offsets, the overlap.
    """
    encoding, multiple = network.encoding, architecture_of(network.config).size_multiple
    overlap = metadata.overlap
    if not network.deforms():
        overlap = overlap_for_offsets({}, {}, network.receptive_field(), multiple)
    said = {
        **({} if encoding.is_linear else {KEY_OUTPUT: network.config.output}),
        **({KEY_LIGHT: ABSOLUTE} if encoding.curve.absolute else {}),
        **({KEY_WHOLE: "yes"} if network.sees_whole_picture else {}),
    }
    return replace(
        metadata,
        peak=metadata.peak if encoding.peak is None else encoding.peak,
        size_multiple=multiple,
        overlap=overlap,
        extra=metadata.extra | said,
    )


def _configuration(reading: Reading, fields: Mapping[str, Any], path: Path) -> NetworkConfig:
    """The configuration that tensors show, with fields that they do not show."""
    title = reading.architecture.title
    try:
        return replace(reading.architecture.deduce(Shapes(reading.state, path, title)), **fields)
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"{path} does not fit together as {title}: {one_line(error)}") from error


def _stored_fields(stored: Any, reading: Reading, path: Path) -> dict[str, Any]:
    """What a configuration, stored as JSON, says of the fields that no tensor shows."""
    try:
        values = json.loads(stored) if isinstance(stored, str) else {}
        fields = {name: values[name] for name in reading.architecture.unseen if name in values}
        for name, value in fields.items():
            kind = type(reading.architecture.unseen[name])
            if type(value) is not kind:
                raise TypeError(f"{name} is of type {type(value).__name__}, not {kind.__name__}")
        if "output" in fields:
            Encoding.parse(fields["output"])
        return fields
    except (ValueError, TypeError, RecursionError, InputError) as error:
        raise CheckpointError(f"{path} stores a configuration that cannot be read: {one_line(error)}") from error


def save_safetensors(
    network: HdrNetwork, path: Path, metadata: ModelMetadata, dtype: torch.dtype = torch.float16
) -> None:
    """Write the weights as safetensors with metadata in the header; the form in which weights are published.

    Raises:
        OutputError: the file cannot be written.
    """
    from safetensors.torch import save

    from dcdr_deploy.system.files import atomic_path

    tensors = {name: tensor.detach().cpu().to(dtype).contiguous() for name, tensor in network.state_dict().items()}
    header = {**encode(metadata), CONFIG_KEY: network.config.to_json()}
    with atomic_path(path) as temporary:
        # Not save_file: it makes files that only their owner may read.
        temporary.write_bytes(save(tensors, metadata=header))


def _check_fit(reading: Reading, config: NetworkConfig, path: Path) -> None:
    state, title = reading.state, reading.title
    wanted = outline(reading.architecture, config)
    missing, extra = sorted(wanted.keys() - state.keys()), sorted(state.keys() - wanted.keys())
    if missing or extra:
        parts = [f"lacks {some(missing)}"] * bool(missing) + [f"has unknown {some(extra)}"] * bool(extra)
        raise CheckpointError(f"{path} is no {title}: it {' and '.join(parts)}")
    wrong = [
        f"{name} {tuple(state[name].shape)} instead of {tuple(tensor.shape)}"
        for name, tensor in wanted.items()
        if state[name].shape != tensor.shape
    ]
    if wrong:
        raise CheckpointError(f"{path} does not fit together as {title}: {some(wrong)}")
    for name, tensor in state.items():
        if not is_plain(tensor):
            raise CheckpointError(f"{path}: {name} is no plain tensor; save model.state_dict() of the plain network")
        if not wanted[name].is_floating_point():
            continue  # a counter of batch normalisation
        if not tensor.is_floating_point():
            raise CheckpointError(f"{path}: {name} holds {tensor.dtype}, not floating-point weights")
        if not torch.isfinite(tensor.float()).all():  # as they are loaded: doubles may be too large
            raise CheckpointError(f"{path}: {name} holds NaN or infinity; the training run diverged")


def _stored_metadata(content: Mapping[str, Any], header: dict[str, str], path: Path) -> ModelMetadata | None:
    stored = content.get(DOMAIN) if isinstance(content.get(DOMAIN), Mapping) else header
    if not stored or KEY_FORMAT not in stored:
        return None
    try:
        return decode({str(key): str(value) for key, value in stored.items()})
    except ModelError as error:
        raise CheckpointError(f"{path}: {error}") from error
