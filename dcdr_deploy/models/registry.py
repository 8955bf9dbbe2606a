"""The architectures that this tool knows. Adding one is a module with an :class:`Architecture` and a name here."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from dcdr_deploy.errors import CheckpointError, InputError
from dcdr_deploy.models.architecture import Architecture, HdrNetwork
from dcdr_deploy.models.config import NetworkConfig
from dcdr_deploy.models.fhdr import FHDR_NET
from dcdr_deploy.models.hdrcnn import HDR_CNN
from dcdr_deploy.models.hdrtvnet import HDRTV_NET
from dcdr_deploy.models.hdrunet import HDR_UNET
from dcdr_deploy.models.kunet import KU_NET
from dcdr_deploy.models.network import DCDR_UNET
from dcdr_deploy.models.shapes import some
from dcdr_deploy.models.singlehdr import SINGLE_HDR

ARCHITECTURES: dict[str, Architecture] = {
    entry.name: entry for entry in (DCDR_UNET, HDR_UNET, HDR_CNN, SINGLE_HDR, FHDR_NET, HDRTV_NET, KU_NET)
}
"""All architectures by name."""

LEAST_SHARE = 0.25
"""A checkpoint with a smaller share of an architecture's parts is not one of it. Ablations lack up to two of three."""


def preset_names() -> list[str]:
    """Names of all presets of all architectures."""
    return [name for entry in ARCHITECTURES.values() for name in entry.presets]


def find_preset(name: str) -> NetworkConfig:
    """The configuration of a preset.

    Raises:
        InputError: there is none of this name.
    """
    for entry in ARCHITECTURES.values():
        if name in entry.presets:
            return entry.presets[name]
    raise InputError(f"unknown preset {name!r}; known: {', '.join(preset_names())}")


def architecture_of(config: NetworkConfig) -> Architecture:
    """The architecture that a configuration belongs to."""
    return next(entry for entry in ARCHITECTURES.values() if entry.config is type(config))


def build_network(config: NetworkConfig) -> HdrNetwork:
    """A network of this configuration, with torch's own initial weights."""
    network: HdrNetwork = architecture_of(config).network(config)
    return network


def recognise(state: Mapping[str, Tensor], source: Path) -> Architecture:
    """The architecture of whose networks' parts a state dict has the largest share.

    Whether the tensors really fit is for the caller to check; this only says which architecture to compare with.

    Raises:
        CheckpointError: it has hardly a part of any: a name like ``conv_first`` alone is common to many networks.
    """
    found = {key.partition(".")[0] for key in state}
    shared = {entry: len(found & _parts(entry)) / len(_parts(entry)) for entry in ARCHITECTURES.values()}
    best = max(shared, key=lambda entry: shared[entry])
    if shared[best] < LEAST_SHARE:
        titles = ", ".join(entry.title for entry in ARCHITECTURES.values())
        raise CheckpointError(f"{source} is of no known network ({titles}): its keys begin with {some(sorted(state))}")
    return best


@functools.cache
def top_modules() -> Mapping[str, frozenset[str]]:
    """For every module at the top of any known network: all modules that networks of that architecture usually have."""
    return {
        part: _parts(entry)
        for entry in ARCHITECTURES.values()
        for form in (entry.config(), *entry.forms)
        for part in _parts(entry, form)
    }


@functools.cache
def _parts(entry: Architecture, form: NetworkConfig | None = None) -> frozenset[str]:
    """Names of the modules at the top of an architecture's networks, by default of its default configuration."""
    with torch.device("meta"):  # names without memory for weights
        return frozenset(name.partition(".")[0] for name in entry.network(form or entry.config()).state_dict())
