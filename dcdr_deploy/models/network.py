"""DCDR-UNet (Kim et al.): restoration net, condition net and tone net put together."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from torch import Tensor, nn
from torch.nn import functional as F

from dcdr_deploy.modelfile.names import SIZE_MULTIPLE
from dcdr_deploy.models.architecture import Architecture, HdrNetwork, RestorationPart, TonePart
from dcdr_deploy.models.blocks import DCRB, SFT, ConditionNet, ToneNet, conv3x3
from dcdr_deploy.models.config import PRESETS, DCDRUNetConfig
from dcdr_deploy.models.shapes import Shapes


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


class DCDRUNet(HdrNetwork):
    """DCDR-UNet, eq. 1: I_hdr = Net_R(I_ldr, Net_C(I_ldr)) + Net_T(I_ldr).

    Input (N, 3, H, W): sRGB-encoded SDR in [0, 1]; H and W multiples of 4. Output (N, 3, H, W): linear light, where 1.0
    stands for full scale of 16 bits. There is no activation at the end, so values may leave [0, 1] slightly.
    """

    config: DCDRUNetConfig

    def __init__(self, config: DCDRUNetConfig | None = None) -> None:
        super().__init__()
        self.config = config or DCDRUNetConfig()
        self.restoration = RestorationNet(self.config)
        if self.config.condition_net:
            self.condition = ConditionNet(self.config)
        if self.config.tone_net:
            self.tone = ToneNet(self.config)

    def layers(self, image: Tensor) -> Tensor:
        """Map SDR (N, 3, H, W) in [0, 1] to HDR (N, 3, H, W)."""
        hdr = self.restored(image)
        return hdr + self.tone(image) if self.config.tone_net else hdr

    def restored(self, image: Tensor) -> Tensor:
        """The first term of eq. 1: what restoration and condition net add, (N, 3, H, W)."""
        conditions = self.condition(image) if self.config.condition_net else [None, None, None]
        return cast(Tensor, self.restoration(image, conditions))

    def deformable_blocks(self) -> dict[str, DCRB]:
        """All DCRBs by module name, in the order of the data flow."""
        return {name: module for name, module in self.named_modules() if isinstance(module, DCRB)}

    def block_scales(self) -> dict[str, int]:
        """Input pixels per pixel of each DCRB's scale: 2 at x0.5, 4 at x0.25."""
        return {name: 4 if ".middle." in name else 2 for name in self.deformable_blocks()}

    def receptive_field(self) -> int:
        """One-sided extent in pixels with zero offsets.

        For the presets it is :data:`dcdr_deploy.models.config.FIXED_RECEPTIVE_FIELD`.

        With a condition net the farthest way into the first block at x0.25 is as long as through one encoder block.
        Without one, the 3x3 convolutions in place of the SFT layers double what each block adds.
        """
        encoder, middle, decoder = self.config.blocks
        if not self.config.condition_net:
            return 18 + 8 * (encoder + decoder) + 16 * middle
        return 35 + 4 * (max(encoder, 1) + decoder) + 8 * middle

    def initial_scale(self, name: str) -> float:
        """Ours, for a stable start of a deep residual network.

        Branches that are added to an identity (second convolution of a DCRB, last of each SFT map) start at a tenth,
        and offsets start at zero, as is usual for deformable convolutions.
        """
        return 0.0 if name.endswith(".offset") else 0.1 if name.endswith((".dcv2", ".gain1", ".shift1")) else 1.0

    def upsamplers(self) -> list[nn.Conv2d]:
        """The convolutions before pixel shuffles by 2."""
        return [self.restoration.up1, self.restoration.up2]

    def tone_part(self) -> TonePart | None:
        """The tone net, unless the configuration leaves it out."""
        if not self.config.tone_net:
            return None
        return TonePart([cast(nn.Conv2d, layer) for layer in self.tone.layers], self.tone)

    def restoration_part(self) -> RestorationPart:
        """The end of the restoration net."""
        return RestorationPart(self.restoration.hr2, self.restoration.last, self.restored)


def deduce_config(shapes: Shapes) -> DCDRUNetConfig:
    """Read every width and switch off the tensors' names and shapes.

    Raises:
        CheckpointError: keys are missing without which it is no DCDR-UNet.
    """
    blocks = [shapes.count(f"restoration.{part}") for part in ("encoder", "middle", "decoder")]
    conditioned, toned = "condition.trunk.0.weight" in shapes.state, "tone.layers.0.weight" in shapes.state
    config = DCDRUNetConfig(
        width=shapes.width("restoration.first.weight"),
        blocks=(blocks[0], blocks[1], blocks[2]),
        deformable=shapes.has(".offset."),
        condition_net=conditioned,
        tone_net=toned,
    )
    if conditioned:
        config = replace(
            config,
            condition_width=shapes.width("condition.trunk.0.weight"),
            sft_hidden=shapes.width("restoration.sft1.gain0.weight"),
        )
    return replace(config, tone_width=shapes.width("tone.layers.0.weight")) if toned else config


DCDR_UNET = Architecture(
    name="dcdrunet",
    title="DCDR-UNet",
    config=DCDRUNetConfig,
    network=DCDRUNet,
    deduce=deduce_config,
    presets=PRESETS,
    size_multiple=SIZE_MULTIPLE,
)
