"""The networks of Table 1 beside DCDR-UNet and HDRUNet, a few channels wide, with outputs in the range of pictures."""

from __future__ import annotations

import torch

from dcdr_deploy.models import HdrNetwork, NetworkConfig, build_network, initialise
from dcdr_deploy.models.fhdr import FHDRConfig
from dcdr_deploy.models.hdrcnn import HDRCNNConfig
from dcdr_deploy.models.hdrtvnet import HDRTVNetConfig
from dcdr_deploy.models.kunet import KUNetConfig
from dcdr_deploy.models.singlehdr import SingleHDRConfig

TINY: dict[str, NetworkConfig] = {
    "hdrcnn": HDRCNNConfig(2),
    "singlehdr": SingleHDRConfig(2, 2, 2),
    "fhdr": FHDRConfig(4, 2),
    "hdrtvnet": HDRTVNetConfig(4, 2, 3, 4, 1, 2),
    "kunet": KUNetConfig(4),
}

LAST = {"hdrcnn": "unet.last_fusion.conv", "fhdr": "hrb2", "hdrtvnet": "le.conv_last", "kunet": "conv_last"}
"""The convolution that sets the level of the output, for networks whose random start leaves it to chance."""


def tiny_network(name: str, config: NetworkConfig | None = None) -> HdrNetwork:
    """A network in evaluation mode, the same every time."""
    torch.manual_seed(0)
    network = build_network(config or TINY[name])
    initialise(network, 1)
    if name in LAST:
        last = network.get_submodule(LAST[name])
        assert isinstance(last, torch.nn.Conv2d)
        with torch.no_grad():
            last.weight.mul_(0.1)
            assert last.bias is not None
            last.bias.fill_(0.0 if name in ("fhdr", "hdrcnn") else 0.4)
    return network.eval()
