"""DCDR-UNet (Kim et al.): restoration net, condition net and tone net put together."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dcdr_deploy.models.blocks import DCRB, SFT, ConditionNet, DeformMode, ToneNet, conv3x3
from dcdr_deploy.models.config import DCDRUNetConfig


class RestorationNet(nn.Module):
    """Restoration net of section 3.1: a U-Net of three scales with DCRBs at x0.5 and x0.25.

    At x1 several convolutions with two SFT layers, one in the encoder and one in the decoder. Ours, as HDRUNet: strided
    convolutions down, 3x3 convolution to four times the width and pixel shuffle up, skips added.
    """

    def __init__(self, config: DCDRUNetConfig) -> None:
        super().__init__()
        n = config.width
        self.first, self.hr1, self.hr2, self.last = conv3x3(3, n), conv3x3(n, n), conv3x3(n, n), conv3x3(n, 3)
        self.sft1, self.sft2 = SFT(config), SFT(config)
        self.down1, self.down2 = conv3x3(n, n, 2), conv3x3(n, n, 2)
        self.up1, self.up2 = conv3x3(n, 4 * n), conv3x3(n, 4 * n)
        encoder, middle, decoder = config.blocks
        self.encoder = nn.ModuleList(DCRB(config) for _ in range(encoder))
        self.middle = nn.ModuleList(DCRB(config) for _ in range(middle))
        self.decoder = nn.ModuleList(DCRB(config) for _ in range(decoder))

    def forward(self, image: Tensor, conditions: list[Tensor] | list[None]) -> Tensor:
        """Map an image (N, 3, H, W) and three condition maps (x1, x0.5, x0.25) to (N, 3, H, W)."""
        full, half, quarter = conditions
        features1 = F.relu(self.hr1(self.sft1(F.relu(self.first(image)), full)))
        features2 = F.relu(self.down1(features1))
        for block in self.encoder:
            features2 = block(features2, half)
        features4 = F.relu(self.down2(features2))
        x = features4
        for block in self.middle:
            x = block(x, quarter)
        x = F.pixel_shuffle(F.relu(self.up1(x + features4)), 2) + features2
        for block in self.decoder:
            x = block(x, half)
        x = F.pixel_shuffle(F.relu(self.up2(x)), 2) + features1
        return self.last(F.relu(self.hr2(self.sft2(x, full))))


class DCDRUNet(nn.Module):
    """DCDR-UNet, eq. 1: I_hdr = Net_R(I_ldr, Net_C(I_ldr)) + Net_T(I_ldr).

    Input (N, 3, H, W): sRGB-encoded SDR in [0, 1]; H and W multiples of 4. Output (N, 3, H, W): linear light, where 1.0
    stands for full scale of 16 bits. There is no activation at the end, so values may leave [0, 1] slightly.
    """

    def __init__(self, config: DCDRUNetConfig | None = None) -> None:
        super().__init__()
        self.config = config or DCDRUNetConfig()
        self.restoration = RestorationNet(self.config)
        if self.config.condition_net:
            self.condition = ConditionNet(self.config)
        if self.config.tone_net:
            self.tone = ToneNet(self.config)

    def forward(self, image: Tensor) -> Tensor:
        """Map SDR (N, 3, H, W) in [0, 1] to linear HDR (N, 3, H, W)."""
        conditions = self.condition(image) if self.config.condition_net else [None, None, None]
        hdr = self.restoration(image, conditions)
        return hdr + self.tone(image) if self.config.tone_net else hdr

    def deformable_blocks(self) -> dict[str, DCRB]:
        """All DCRBs by module name, in the order of the data flow."""
        return {name: module for name, module in self.named_modules() if isinstance(module, DCRB)}

    def set_deform_mode(self, mode: DeformMode) -> DCDRUNet:
        """Select how every DCRB convolves (see :class:`~dcdr_deploy.models.blocks.DCRB`); returns ``self``."""
        for block in self.deformable_blocks().values():
            block.mode = mode
        return self

    def block_scales(self) -> dict[str, int]:
        """Input pixels per pixel of each DCRB's scale: 2 at x0.5, 4 at x0.25."""
        return {name: 4 if ".middle." in name else 2 for name in self.deformable_blocks()}


def count_parameters(network: nn.Module) -> int:
    """Number of trainable values."""
    return sum(parameter.numel() for parameter in network.parameters())


def initialise(network: DCDRUNet, seed: int = 0) -> None:
    """Kaiming initialisation (section 4.1.3), deterministic by ``seed``.

    Ours, for a stable start of a deep residual network: branches that are added to an identity (second convolution of a
    DCRB, last of each SFT map) start at a tenth, and offsets start at zero, as is usual for deformable convolutions.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, module in network.named_modules():
        if not isinstance(module, nn.Conv2d):
            continue
        scale = 0.0 if name.endswith(".offset") else 0.1 if name.endswith((".dcv2", ".gain1", ".shift1")) else 1.0
        nn.init.kaiming_normal_(module.weight, mode="fan_in", generator=generator)
        with torch.no_grad():
            module.weight *= scale
            cast(Tensor, module.bias).zero_()


@torch.no_grad()
def measure_offsets(network: DCDRUNet, images: list[Tensor]) -> dict[str, dict[str, float]]:
    """Spread of the offsets of every DCRB over pictures, in pixels of the block's own scale.

    Args:
        network: in evaluation mode; deformable.
        images: SDR pictures (N, 3, H, W) in [0, 1].

    Returns:
        For each block name ``{"mean_abs", "std", "p99", "max"}`` of |offset| (``std`` of the signed offset).
    """
    seen: dict[str, list[Tensor]] = {name: [] for name in network.deformable_blocks()}
    handles = [
        block.offset.register_forward_hook(lambda _m, _i, out, name=name: seen[name].append(out.detach().flatten()))
        for name, block in network.deformable_blocks().items()
    ]
    try:
        for image in images:
            network(image)
    finally:
        for handle in handles:
            handle.remove()
    report = {}
    for name, parts in seen.items():
        values = torch.cat(parts).float()
        magnitude = values.abs().numpy(force=True)
        ordered = torch.from_numpy(magnitude).sort().values
        report[name] = {
            "mean_abs": float(magnitude.mean()),
            "std": float(values.std()),
            "p99": float(ordered[int(0.99 * (len(ordered) - 1))]),
            "max": float(ordered[-1]),
        }
    return report
