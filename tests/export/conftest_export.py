"""One small network and one export of it for all export tests."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from dcdr_deploy.export.checkpoint import ExportOptions, ExportReport, export_checkpoint
from dcdr_deploy.models import DCDRUNet, DCDRUNetConfig, initialise

SMALL = DCDRUNetConfig(width=8, condition_width=4, sft_hidden=3, tone_width=5, blocks=(1, 2, 1))
SINGLE = replace(SMALL, blocks=(0, 1, 0))
"""With one deformable block, where only the export is looked at: half of the time."""


def small_network(config: DCDRUNetConfig = SMALL) -> DCDRUNet:
    """A network with offsets of about a pixel and an output in the range of pictures."""
    network = DCDRUNet(config)
    initialise(network, 2)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv2d) and module.bias is not None:
                nn.init.normal_(module.bias, std=0.02)
        for block in network.deformable_blocks().values():
            if block.deformable:
                nn.init.normal_(block.offset.weight, std=0.2)
        network.restoration.last.weight.mul_(0.1)
        if config.tone_net:
            network.tone.layers[-1].weight.mul_(0.1)
    return network.eval()


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "model.pth"
    torch.save(small_network().state_dict(), path)
    return path


@pytest.fixture(scope="session")
def single_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("single") / "model.pth"
    torch.save(small_network(SINGLE).state_dict(), path)
    return path


@pytest.fixture(scope="session")
def exported(checkpoint: Path) -> ExportReport:
    return export_checkpoint(checkpoint, options=ExportOptions(peak=4.0))


@pytest.fixture(scope="session")
def exported_fp16(checkpoint: Path) -> ExportReport:
    return export_checkpoint(checkpoint, options=ExportOptions(peak=4.0, fp16=True))
