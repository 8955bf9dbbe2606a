"""Checkpoints: reading them without running their code, and deducing the network's configuration from tensor shapes.

Taken: a bare state dict, the usual wrappers around one, ``module.`` prefixes of data-parallel training, training
checkpoints of this tool, and safetensors. A checkpoint is untrusted input: pickles are read by torch's restricted
unpickler only.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dcdr_deploy.engines.base import ModelMetadata
from dcdr_deploy.engines.faults import one_line
from dcdr_deploy.engines.metadata import KEY_FORMAT, decode, encode
from dcdr_deploy.errors import CheckpointError, ModelError
from dcdr_deploy.models.config import DCDRUNetConfig
from dcdr_deploy.models.network import DCDRUNet

WRAPPERS = ("params_ema", "params", "state_dict", "model")
"""Keys under which training tools keep a state dict, best first."""

SHOWN = 4
"""Keys that an error message lists before it says how many more there are."""


@dataclass(frozen=True)
class LoadedModel:
    """A network and what its file said of it.

    Attributes:
        network: evaluation mode, float32, on the CPU.
        metadata: stored metadata, or defaults where the file has none.
        source: the file.
        has_metadata: whether the file stored metadata; without it ``peak`` is an assumption.
    """

    network: DCDRUNet
    metadata: ModelMetadata
    source: Path
    has_metadata: bool


def load_checkpoint(path: Path | str) -> LoadedModel:
    """Load a DCDR-UNet checkpoint of any supported kind.

    Raises:
        CheckpointError: the file is missing, damaged, carries code, is no DCDR-UNet, or has NaN weights.
    """
    path = Path(path)
    content, header = _read(path)
    state = _unwrap(content, path)
    config = deduce_config(state, path)
    network = DCDRUNet(config)
    _check_fit(network, state, path)
    network.load_state_dict({name: tensor.float() for name, tensor in state.items()})
    metadata = _stored_metadata(content, header, path)
    chosen = metadata or ModelMetadata(name=path.stem)
    return LoadedModel(network.eval(), chosen, path, metadata is not None)


def save_safetensors(
    network: DCDRUNet, path: Path, metadata: ModelMetadata, dtype: torch.dtype = torch.float16
) -> None:
    """Write the weights as safetensors with metadata in the header; the form in which weights are published.

    Raises:
        OutputError: the file cannot be written.
    """
    from safetensors.torch import save

    from dcdr_deploy.atomic import atomic_path

    tensors = {name: tensor.detach().cpu().to(dtype).contiguous() for name, tensor in network.state_dict().items()}
    with atomic_path(path) as temporary:
        # Not save_file: it makes files that only their owner may read.
        temporary.write_bytes(save(tensors, metadata=encode(metadata)))


def deduce_config(state: Mapping[str, Tensor], source: Path) -> DCDRUNetConfig:
    """Read every width and switch off the tensors' names and shapes.

    Raises:
        CheckpointError: keys are missing without which it is no DCDR-UNet.
    """

    def width(key: str) -> int:
        if key not in state:
            raise CheckpointError(
                f"{source} is no DCDR-UNet: it lacks {key!r}; its keys begin with {_some(sorted(state))}"
            )
        return int(state[key].shape[0])

    def blocks(part: str) -> int:
        numbers = [re.match(rf"restoration\.{part}\.(\d+)\.", key) for key in state]
        return max((int(match.group(1)) + 1 for match in numbers if match), default=0)

    conditioned, toned = "condition.trunk.0.weight" in state, "tone.layers.0.weight" in state
    config = DCDRUNetConfig(
        width=width("restoration.first.weight"),
        blocks=(blocks("encoder"), blocks("middle"), blocks("decoder")),
        deformable=any(".offset." in key for key in state),
        condition_net=conditioned,
        tone_net=toned,
    )
    if conditioned:
        config = replace(
            config,
            condition_width=width("condition.trunk.0.weight"),
            sft_hidden=width("restoration.sft1.gain0.weight"),
        )
    return replace(config, tone_width=width("tone.layers.0.weight")) if toned else config


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
        raise CheckpointError(f"{path} holds no tensors; its keys are {_some([str(key) for key in content])}")
    prefix = "module."
    while all(name.startswith(prefix) for name in tensors):
        tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return tensors


def _check_fit(network: DCDRUNet, state: Mapping[str, Tensor], path: Path) -> None:
    wanted = network.state_dict()
    missing, extra = sorted(wanted.keys() - state.keys()), sorted(state.keys() - wanted.keys())
    if missing or extra:
        parts = [f"lacks {_some(missing)}"] * bool(missing) + [f"has unknown {_some(extra)}"] * bool(extra)
        raise CheckpointError(f"{path} is no DCDR-UNet: it {' and '.join(parts)}")
    wrong = [
        f"{name} {tuple(state[name].shape)} instead of {tuple(tensor.shape)}"
        for name, tensor in wanted.items()
        if state[name].shape != tensor.shape
    ]
    if wrong:
        raise CheckpointError(f"{path} does not fit together as a DCDR-UNet: {_some(wrong)}")
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


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
