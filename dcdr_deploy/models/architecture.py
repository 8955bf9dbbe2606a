"""What every network architecture has in common, so that checkpoints, export and training treat all of them alike.

A network is an :class:`HdrNetwork`; what only some have (deformable blocks, a tone net) are methods whose defaults say
"none". An :class:`Architecture` describes the rest as data: how its checkpoints are told apart, which presets it has,
what its layers take and give (:mod:`dcdr_deploy.models.encodings`), by which loss it was published.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar, cast

import torch
from torch import Tensor, nn

from dcdr_deploy.models.blocks import DCRB, DeformMode
from dcdr_deploy.models.config import NetworkConfig
from dcdr_deploy.models.encodings import DECODER, Decoder, Encoding, Normalisation
from dcdr_deploy.models.shapes import Shapes

Network = TypeVar("Network", bound="HdrNetwork")


@dataclass(frozen=True)
class TonePart:
    """The part of a network that multiplies its input by a gain map made of plain convolutions.

    Attributes:
        layers: its convolutions in the order of the data flow, with ReLUs between them.
        output: maps SDR (N, 3, H, W) to this part of the network's output, gain times input, same shape.
    """

    layers: list[nn.Conv2d]
    output: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class RestorationPart:
    """The end of the part of a network that is added to the tone part.

    Attributes:
        hidden: its last hidden convolution, with a ReLU behind it.
        last: the convolution that gives its three channels.
        output: maps SDR (N, 3, H, W) to this part of the network's output, same shape; ``None`` where that is no plain
            sum of parts.
    """

    hidden: nn.Conv2d
    last: nn.Conv2d
    output: Callable[[Tensor], Tensor] | None


class HdrNetwork(nn.Module):
    """Base of all networks.

    Input (N, 3, H, W): sRGB-encoded SDR in [0, 1]; H and W multiples of the architecture's size multiple. Output
    (N, 3, H, W): linear Rec. 709 light. An architecture sets ``config``, implements :meth:`layers`, says its receptive
    field, and overrides those of the methods below that stand for something it has.

    Attributes:
        config: its configuration, which names the output's encoding.
        normalisation: what is done to the picture before :meth:`layers`.
        sees_whole_picture: an output pixel depends on all of the picture (a global mean, for instance), so that tiles
            give another result than the whole.
    """

    config: NetworkConfig
    normalisation: ClassVar[Normalisation] = Normalisation()
    sees_whole_picture: ClassVar[bool] = False
    decoder: nn.Module

    def __init__(self) -> None:
        super().__init__()
        self.add_module(DECODER, Decoder())

    @property
    def encoding(self) -> Encoding:
        """Encoding of what :meth:`coded` gives."""
        return Encoding.parse(self.config.output)

    def forward(self, image: Tensor) -> Tensor:
        """Map SDR (N, 3, H, W) in [0, 1] to linear HDR (N, 3, H, W)."""
        coded = self.coded(image)
        return coded if self.encoding.is_linear else cast(Tensor, self.decoder(coded, self.encoding))

    def coded(self, image: Tensor) -> Tensor:
        """Map SDR (N, 3, H, W) in [0, 1] to HDR (N, 3, H, W) as the layers give it, in the network's encoding."""
        return self.layers(self.normalisation.apply(image))

    def layers(self, x: Tensor) -> Tensor:
        """Map the normalised picture (N, 3, H, W) to the encoded output (N, 3, H, W)."""
        raise NotImplementedError

    def receptive_field(self) -> int:
        """One-sided extent in input pixels of one output pixel, with all offsets at zero."""
        raise NotImplementedError

    def initial_scale(self, name: str) -> float:
        """Share of its Kaiming values at which the weight of the convolution ``name`` starts."""
        return 1.0

    def settle_start(self) -> None:
        """Set layers whose start is not Kaiming's to their own; called behind :func:`initialise`."""

    def deformable_blocks(self) -> dict[str, DCRB]:
        """All DCRBs by module name, in the order of the data flow; none by default."""
        return {}

    def block_scales(self) -> dict[str, int]:
        """Input pixels per pixel of each DCRB's scale, same keys as :meth:`deformable_blocks`."""
        return {}

    def deforms(self) -> bool:
        """Whether any block has offsets, so that what the network reaches depends on the picture."""
        return any(block.deformable for block in self.deformable_blocks().values())

    def set_deform_mode(self: Network, mode: DeformMode) -> Network:
        """Select how every DCRB convolves (see :class:`~dcdr_deploy.models.blocks.DCRB`); returns ``self``."""
        for block in self.deformable_blocks().values():
            block.mode = mode
        return self

    def upsamplers(self) -> list[nn.Conv2d]:
        """The convolutions before pixel shuffles by 2."""
        return []

    def tone_part(self) -> TonePart | None:
        """The part that gives a gain times the input, ``None`` for a network without one."""
        return None

    def restoration_part(self) -> RestorationPart | None:
        """The end of the part that is added to the tone part, ``None`` for a network without one."""
        return None


@dataclass(frozen=True)
class Published:
    """Weights that an architecture's authors made public.

    Attributes:
        licence: what their repository states, as an SPDX name.
        place: where they are to be had.
    """

    licence: str
    place: str


@dataclass(frozen=True, eq=False)
class Architecture:
    """One entry of the registry.

    Attributes:
        name: short name, as stored in model files.
        title: name for people.
        config: class of its configurations.
        network: class of its networks, an :class:`HdrNetwork` that is made from a configuration.
        deduce: reads a configuration off a state dict's tensors.
        presets: named configurations; names are unique over all architectures.
        size_multiple: height and width of an input must be multiples of this.
        losses: weights of the losses that its publication trains by, names as in :mod:`dcdr_deploy.training.losses`;
            none for DCDR-UNet, whose loss is the recipe's.
        forms: configurations with modules at the top that the default one has not, as checkpoints may have them.
        unseen: fields of the configuration that no tensor shows, with the values that checkpoints made by other tools
            have; files of this tool store them.
        parts: modules at the top whose weights are published in files of their own, under the names inside the module,
            and what the publication calls each, in the order of the data flow.
        published: its authors' weights, where there are any that can be read here.
    """

    name: str
    title: str
    config: type[NetworkConfig]
    network: type[Any]
    deduce: Callable[[Shapes], NetworkConfig]
    presets: Mapping[str, NetworkConfig]
    size_multiple: int
    losses: Mapping[str, float] = field(default_factory=dict)
    forms: tuple[NetworkConfig, ...] = ()
    unseen: Mapping[str, Any] = field(default_factory=dict)
    parts: Mapping[str, str] = field(default_factory=dict)
    published: Published | None = None

    @property
    def normalisation(self) -> Normalisation:
        """What its networks' layers take."""
        return cast(Normalisation, self.network.normalisation)

    def name_of(self, network: nn.Module) -> str:
        """What one of its networks is called by people, where it has some of the parts only."""
        there = [title for part, title in self.parts.items() if hasattr(network, part)]
        return self.title if len(there) == len(self.parts) else f"{' and '.join(there)} of {self.title}"

    @property
    def published_output(self) -> str:
        """Encoding of the output of weights that say nothing of it: those of other tools."""
        return str(self.unseen.get("output", self.config().output))


def count_parameters(network: nn.Module) -> int:
    """Number of trainable values."""
    return sum(parameter.numel() for parameter in network.parameters())


def initialise(network: HdrNetwork, seed: int = 0) -> None:
    """Kaiming initialisation (section 4.1.3), deterministic by ``seed``, with the network's scales for each layer."""
    generator = torch.Generator().manual_seed(seed)
    for name, module in network.named_modules():
        if not isinstance(module, nn.Conv2d):
            continue
        nn.init.kaiming_normal_(module.weight, mode="fan_in", generator=generator)
        with torch.no_grad():
            module.weight *= network.initial_scale(name)
            if module.bias is not None:
                module.bias.zero_()
    network.settle_start()
