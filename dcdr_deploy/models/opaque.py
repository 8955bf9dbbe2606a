"""DCRBs as single operators, for exporters and fused kernels: a network with the same weights and other blocks.

To torch.export and to a kernel such a block is one call of ``dcdr::dcrb`` (or, without a condition net, two of
``dcdr::deform_conv2d``) on what its offset and SFT convolutions give.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar, cast

from torch import Tensor, nn
from torch.nn import functional as F

from dcdr_deploy.models import ops
from dcdr_deploy.models.architecture import HdrNetwork
from dcdr_deploy.models.blocks import DCRB

Network = TypeVar("Network", bound=HdrNetwork)


class OpaqueDCRB(nn.Module):
    """What a deformable :class:`~dcdr_deploy.models.blocks.DCRB` computes, by our operators.

    It holds the block's own layers, under the names they have there: weights are shared, state dicts are the same.
    """

    def __init__(self, block: DCRB) -> None:
        super().__init__()
        self.sft1, self.sft2, self.dcv1, self.dcv2 = block.sft1, block.sft2, block.dcv1, block.dcv2
        self.offset = block.offset
        self.train(block.training)

    def forward(self, z: Tensor, y: Tensor | None) -> Tensor:
        """Map features z (N, width, H, W) and a condition map y of the same size to (N, width, H, W)."""
        offset = self.offset(z)
        first, second = (conv.weight for conv in (self.dcv1, self.dcv2))
        bias1, bias2 = (cast(Tensor, conv.bias) for conv in (self.dcv1, self.dcv2))
        if self.sft1.conditioned:
            maps = (*self.sft1.maps(cast(Tensor, y)), *self.sft2.maps(cast(Tensor, y)))
            return ops.dcrb(z, offset, *maps, first, bias1, second, bias2)
        hidden = F.relu(ops.deform_conv2d(self.sft1(z, y), offset, first, bias1))
        return z + ops.deform_conv2d(self.sft2(hidden, y), offset, second, bias2)


def make_opaque(network: Network) -> Network:
    """Swap a network's deformable blocks for :class:`OpaqueDCRB`; returns the network, changed in place."""
    for name, block in network.deformable_blocks().items():
        if block.deformable:
            network.set_submodule(name, OpaqueDCRB(block))
    return network


@contextmanager
def opaque_blocks(network: Network) -> Iterator[Network]:
    """Give a network with :class:`OpaqueDCRB`; at the end of the block it has its own blocks again."""
    own = network.deformable_blocks()
    try:
        yield make_opaque(network)
    finally:
        for name, block in own.items():
            network.set_submodule(name, block)
