"""The network, its configuration and its checkpoints; needs torch (extra ``export``)."""

from __future__ import annotations

from dcdr_deploy.models.checkpoint import LoadedModel, load_checkpoint, save_safetensors
from dcdr_deploy.models.config import PRESETS, DCDRUNetConfig
from dcdr_deploy.models.network import DCDRUNet, count_parameters, initialise, measure_offsets

__all__ = [
    "PRESETS",
    "DCDRUNet",
    "DCDRUNetConfig",
    "LoadedModel",
    "count_parameters",
    "initialise",
    "load_checkpoint",
    "measure_offsets",
    "save_safetensors",
]
