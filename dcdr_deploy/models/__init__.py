"""Networks, their configurations and their checkpoints; needs torch (extra ``export``)."""

from __future__ import annotations

from dcdr_deploy.models.architecture import Architecture, HdrNetwork, count_parameters, initialise
from dcdr_deploy.models.checkpoint import LoadedModel, load_checkpoint, save_safetensors
from dcdr_deploy.models.config import PRESETS, DCDRUNetConfig, NetworkConfig
from dcdr_deploy.models.hdrunet import HDRUNet, HDRUNetConfig
from dcdr_deploy.models.network import DCDRUNet
from dcdr_deploy.models.offsets import measure_offsets
from dcdr_deploy.models.registry import ARCHITECTURES, architecture_of, build_network, find_preset, preset_names

__all__ = [
    "ARCHITECTURES",
    "PRESETS",
    "Architecture",
    "DCDRUNet",
    "DCDRUNetConfig",
    "HDRUNet",
    "HDRUNetConfig",
    "HdrNetwork",
    "LoadedModel",
    "NetworkConfig",
    "architecture_of",
    "build_network",
    "count_parameters",
    "find_preset",
    "initialise",
    "load_checkpoint",
    "measure_offsets",
    "preset_names",
    "save_safetensors",
]
