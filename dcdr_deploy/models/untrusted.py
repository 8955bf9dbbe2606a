"""Reading checkpoints without running their code: safetensors, and pickles by torch's restricted unpickler only."""

from __future__ import annotations

import argparse
import pickle
import re
import types
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dcdr_deploy.errors import CheckpointError
from dcdr_deploy.modelfile.checkpoint_file import require_checkpoint
from dcdr_deploy.modelfile.names import SAFETENSORS_SUFFIX
from dcdr_deploy.system.faults import one_line

_NUMPY_SCALARS = (np.bool_, *(np.dtype(code).type for code in "bhilqBHILQefd"))


def plain_types() -> list[Any]:
    """What may lie beside weights: NumPy's numbers, and containers that do nothing but hold values.

    Building any of these runs no code that a file brings along. torch allows ordered dictionaries and sets by itself.
    """
    from numpy._core import multiarray

    # NumPy 1 wrote the same functions under another module's name.
    renamed = [
        (getattr(multiarray, name), f"{module}.{name}")
        for name in ("scalar", "_reconstruct")
        for module in ("numpy._core.multiarray", "numpy.core.multiarray")
    ]
    dtypes = {type(np.dtype(scalar)) for scalar in _NUMPY_SCALARS}
    return [*renamed, np.ndarray, np.dtype, *dtypes, argparse.Namespace, types.SimpleNamespace]


def read_untrusted(path: Path, device: torch.device | str = "cpu") -> tuple[Mapping[str, Any], dict[str, str]]:
    """A checkpoint's dictionary and its header metadata (safetensors only).

    Raises:
        CheckpointError: no such file, empty, no checkpoint, cut short, or asking for more than plain types.
    """
    require_checkpoint(path)
    if path.suffix == SAFETENSORS_SUFFIX:
        return _read_safetensors(path)
    _refuse_programs(path)
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(plain_types()):
            warnings.simplefilter("ignore")  # about pickle protocols: what cannot be read is an error below
            content = torch.load(path, map_location=device, weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(_pickle_complaint(path, str(error))) from error
    except Exception as error:  # a broken archive raises whatever the zip reader and the unpickler stumble over
        raise CheckpointError(
            f"{path} is no PyTorch checkpoint, or was cut short: {one_line(error)}; copy or download it again"
        ) from error
    if isinstance(content, Mapping):
        return content, {}
    raise CheckpointError(f"{path} holds {type(content).__name__}, not a state dict; save model.state_dict() instead")


def is_plain(tensor: torch.Tensor) -> bool:
    """Whether a tensor holds a number for each of its places: not sparse, quantised, empty, or stretched from a few.

    A stretched one fills gigabytes from a file of a few bytes as soon as it is copied.
    """
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
        return False
    return tensor.untyped_storage().nbytes() >= tensor.nbytes


def _refuse_programs(path: Path) -> None:
    """Tell archives that hold a network as a program, before torch gives advice of its own about them."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return  # an older, bare pickle, or nothing at all: torch says which
    for sign, kind in (("/constants.pkl", "TorchScript"), ("/archive_format", "torch.export")):
        if any(name.endswith(sign) for name in names):
            raise CheckpointError(
                f"{path} is a {kind} archive: a program, not weights; save model.state_dict() of the network it was "
                "made from"
            )


def _pickle_complaint(path: Path, text: str) -> str:
    """Why the restricted unpickler refused a file, in one line."""
    needed = re.search(r"GLOBAL ([\w.]+)", text) or re.search(r"[Uu]nsupported (?:class|operand|global) ([\w.]+)", text)
    if needed:
        return (
            f"{path} refused: its pickle asks for {needed.group(1)}, and only tensors, numbers and plain containers "
            "are read from a file that is not trusted; save model.state_dict() or safetensors"
        )
    return f"{path} is no PyTorch checkpoint, or was cut short: {text.splitlines()[0][:120]}; copy or download it again"


def _read_safetensors(path: Path) -> tuple[Mapping[str, Any], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path} is no safetensors file, or was cut short: {one_line(error)}; copy or download it again"
        ) from error
