"""The architectures that this tool knows. Adding one is a module with an :class:`Architecture` and a name here."""

from __future__ import annotations

from dcdr_deploy.errors import InputError
from dcdr_deploy.models.architecture import Architecture, HdrNetwork
from dcdr_deploy.models.config import NetworkConfig
from dcdr_deploy.models.expandnet import EXPAND_NET
from dcdr_deploy.models.fhdr import FHDR_NET
from dcdr_deploy.models.hdrcnn import HDR_CNN
from dcdr_deploy.models.hdrtvnet import HDRTV_NET
from dcdr_deploy.models.hdrtvnetplus import HDRTV_NET_PLUS
from dcdr_deploy.models.hdrunet import HDR_UNET
from dcdr_deploy.models.kunet import KU_NET
from dcdr_deploy.models.lhdr import L_HDR
from dcdr_deploy.models.lsn import LSN_NET
from dcdr_deploy.models.network import DCDR_UNET
from dcdr_deploy.models.singlehdr import SINGLE_HDR

ARCHITECTURES: dict[str, Architecture] = {
    entry.name: entry
    for entry in (
        DCDR_UNET,
        HDR_UNET,
        HDR_CNN,
        SINGLE_HDR,
        FHDR_NET,
        HDRTV_NET,
        KU_NET,
        HDRTV_NET_PLUS,
        LSN_NET,
        EXPAND_NET,
        L_HDR,
    )
}
"""All architectures by name."""


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
