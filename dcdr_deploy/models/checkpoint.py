"""Checkpoints: reading them without running their code, and deducing architecture and configuration from the tensors.

Taken: a bare state dict, whatever training tools put around one (:mod:`dcdr_deploy.models.envelopes`), training
checkpoints of this tool, and safetensors. A checkpoint is untrusted input (:mod:`dcdr_deploy.models.untrusted`).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dcdr_deploy.errors import CheckpointError, ModelError
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
from dcdr_deploy.models.envelopes import find_state
from dcdr_deploy.models.registry import architecture_of, build_network, recognise
from dcdr_deploy.models.shapes import Shapes, some
from dcdr_deploy.models.untrusted import read_untrusted
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
    """

    network: HdrNetwork
    metadata: ModelMetadata
    source: Path
    has_metadata: bool
    taken: str = ""


def load_checkpoint(path: Path | str) -> LoadedModel:
    """Load a checkpoint of any supported kind and any known architecture.

    Raises:
        CheckpointError: the file is missing, cut short, asks for more than plain types, is of no known architecture, or
            has NaN weights.
    """
    path = Path(path)
    content, header = read_untrusted(path)
    found = find_state(content, path)
    state = found.tensors
    metadata = _stored_metadata(content, header, path)
    stored_config = (header or content).get(CONFIG_KEY)
    network = build_network(_configuration(state, stored_config, metadata is not None, path))
    _check_fit(network, state, path)
    network.load_state_dict({name: tensor.float() for name, tensor in state.items()})
    chosen = described(network, metadata or ModelMetadata(name=path.stem))
    taken = found.describe()
    if taken:
        _logger.info("%s: %s", path, taken)
    return LoadedModel(network.eval(), chosen, path, metadata is not None, taken)


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


def _configuration(state: Mapping[str, Tensor], stored: Any, own: bool, path: Path) -> NetworkConfig:
    """The configuration of a state dict: what tensors show from them, the rest as stored or by origin.

    Args:
        state: tensors by name.
        stored: the configuration that the file holds as JSON, if any.
        own: the file was made by this tool.
        path: for messages.
    """
    architecture = recognise(state, path)
    deduced = architecture.deduce(Shapes(state, path, architecture.title))
    if not own:
        return replace(deduced, **architecture.unseen)
    try:
        values = json.loads(stored) if isinstance(stored, str) else {}
        return replace(deduced, **{name: values[name] for name in architecture.unseen if name in values})
    except (ValueError, TypeError) as error:
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


def _check_fit(network: HdrNetwork, state: Mapping[str, Tensor], path: Path) -> None:
    wanted, title = network.state_dict(), architecture_of(network.config).title
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
        if not wanted[name].is_floating_point():
            continue  # a counter of batch normalisation
        if not tensor.is_floating_point():
            raise CheckpointError(f"{path}: {name} holds {tensor.dtype}, not floating-point weights")
        if not torch.isfinite(tensor).all():
            raise CheckpointError(f"{path}: {name} holds NaN or infinity; the training run diverged")


def _stored_metadata(content: Mapping[str, Any], header: dict[str, str], path: Path) -> ModelMetadata | None:
    stored = content.get(DOMAIN) if isinstance(content.get(DOMAIN), Mapping) else header
    if not stored or KEY_FORMAT not in stored:
        return None
    try:
        return decode({str(key): str(value) for key, value in stored.items()})
    except ModelError as error:
        raise CheckpointError(f"{path}: {error}") from error
