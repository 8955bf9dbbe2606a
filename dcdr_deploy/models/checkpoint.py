"""Checkpoints: reading them without running their code, and deducing architecture and configuration from the tensors.

Taken: a bare state dict, the usual wrappers around one, ``module.`` prefixes of data-parallel training, training
checkpoints of this tool, and safetensors. A checkpoint is untrusted input: pickles are read by torch's restricted
unpickler only.
"""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dcdr_deploy.errors import CheckpointError, ModelError
from dcdr_deploy.modelfile.metadata import KEY_FORMAT, ModelMetadata, decode, encode
from dcdr_deploy.models.architecture import HdrNetwork
from dcdr_deploy.models.config import NetworkConfig
from dcdr_deploy.models.registry import architecture_of, build_network, recognise
from dcdr_deploy.models.shapes import Shapes, some
from dcdr_deploy.system.faults import one_line

WRAPPERS = ("params_ema", "params", "state_dict", "model")
"""Keys under which training tools keep a state dict, best first."""

CONFIG_KEY = "config"
"""Where files of this tool keep the configuration as JSON: in a training checkpoint, in a safetensors header."""


@dataclass(frozen=True)
class LoadedModel:
    """A network and what its file said of it.

    Attributes:
        network: evaluation mode, float32, on the CPU.
        metadata: stored metadata, or defaults where the file has none.
        source: the file.
        has_metadata: whether the file stored metadata; without it ``peak`` is an assumption.
    """

    network: HdrNetwork
    metadata: ModelMetadata
    source: Path
    has_metadata: bool


def load_checkpoint(path: Path | str) -> LoadedModel:
    """Load a checkpoint of any supported kind and any known architecture.

    Raises:
        CheckpointError: the file is missing, damaged, carries code, is of no known architecture, or has NaN weights.
    """
    path = Path(path)
    content, header = _read(path)
    state = _unwrap(content, path)
    metadata = _stored_metadata(content, header, path)
    stored_config = (header or content).get(CONFIG_KEY)
    network = build_network(_configuration(state, stored_config, metadata is not None, path))
    _check_fit(network, state, path)
    network.load_state_dict({name: tensor.float() for name, tensor in state.items()})
    chosen = metadata or ModelMetadata(name=path.stem)
    return LoadedModel(network.eval(), chosen, path, metadata is not None)


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


def _read(path: Path) -> tuple[Mapping[str, Any], dict[str, str]]:
    """The file's dictionary and its header metadata (safetensors only)."""
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder: name the checkpoint file in it (.pth, .pt, .safetensors)")
    if not path.is_file():
        raise CheckpointError(f"no such checkpoint: {path}")
    if path.stat().st_size == 0:
        raise CheckpointError(f"{path} is empty: copy or download it again")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(_pickle_complaint(path, str(error))) from error
    except Exception as error:  # a damaged archive raises whatever the zip reader and the unpickler stumble over
        raise CheckpointError(f"{path} is damaged or no PyTorch checkpoint: {one_line(error)}") from error
    if isinstance(content, Mapping):
        return content, {}
    raise CheckpointError(f"{path} holds {type(content).__name__}, not a state dict; save model.state_dict() instead")


def _pickle_complaint(path: Path, text: str) -> str:
    """Why the restricted unpickler refused a file, in one line."""
    needed = re.search(r"GLOBAL ([\w.]+)", text)
    if needed:
        return (
            f"{path} refused: its pickle asks for {needed.group(1)}, which could run code; save model.state_dict() "
            "(tensors only) or safetensors"
        )
    return f"{path} is damaged or no PyTorch checkpoint: {text.splitlines()[0][:120]}"


def _read_safetensors(path: Path) -> tuple[Mapping[str, Any], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is damaged or no safetensors file: {one_line(error)}") from error


def _unwrap(content: Mapping[str, Any], path: Path) -> dict[str, Tensor]:
    """The state dict inside a checkpoint, with plain names."""
    state: Any = content
    for wrapper in WRAPPERS:
        if isinstance(content.get(wrapper), Mapping):
            state = content[wrapper]
            break
    tensors = {str(name): value for name, value in state.items() if isinstance(value, Tensor)}
    if not tensors:
        raise CheckpointError(f"{path} holds no tensors; its keys are {some([str(key) for key in content])}")
    prefix = "module."
    while all(name.startswith(prefix) for name in tensors):
        tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return tensors


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
        if not tensor.is_floating_point():
            raise CheckpointError(f"{path}: {name} holds {tensor.dtype}, not floating-point weights")
        if not torch.isfinite(tensor).all():
            raise CheckpointError(f"{path}: {name} holds NaN or infinity; the training run diverged")


def _stored_metadata(content: Mapping[str, Any], header: dict[str, str], path: Path) -> ModelMetadata | None:
    stored = content.get("dcdr") if isinstance(content.get("dcdr"), Mapping) else header
    if not stored or KEY_FORMAT not in stored:
        return None
    try:
        return decode({str(key): str(value) for key, value in stored.items()})
    except ModelError as error:
        raise CheckpointError(f"{path}: {error}") from error
