"""A block of random numbers on the GPU, its result by torch in FP32, and how far another result is from that."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from dcdr_deploy.engines.cuda.dcrb_from_hidden import FromHiddenArguments
from dcdr_deploy.engines.cuda.packing import pack_sft_bias, pack_sft_weight, pack_weight
from dcdr_deploy.engines.cuda.sft import SftLayer
from dcdr_deploy.models.deform import deform_conv2d

GPU = torch.device("cuda")

HIDDEN, SECOND, NEXT = 128, 16, 96
"""Channels of the hidden map, where the block's second SFT layer and the next block's first one begin."""


@dataclass(frozen=True)
class Sft:
    """Second convolutions of an SFT layer in FP32, and what the kernels take of them."""

    gain: Tensor
    gain_bias: Tensor
    shift: Tensor
    shift_bias: Tensor
    weight: Tensor
    bias: Tensor

    def maps(self, hidden: Tensor, first: int) -> tuple[Tensor, Tensor]:
        """Gain and shift (N, 64, H, W) FP32 from a hidden map (N, H, W, C)."""
        planes = hidden.permute(0, 3, 1, 2).float()
        gain = F.conv2d(planes[:, first : first + 8], self.gain, self.gain_bias, padding=1)
        return gain, F.conv2d(planes[:, first + 8 : first + 16], self.shift, self.shift_bias, padding=1)

    def layer(self, hidden: Tensor, first: int) -> SftLayer:
        """The same for the kernels."""
        return SftLayer(hidden.data_ptr(), hidden.shape[3], first, self.weight.data_ptr(), self.bias.data_ptr())


class Block:
    """A block of random numbers on the GPU, maps (N, H, W, C) FP16."""

    def __init__(self, batch: int, height: int, width: int, reach: float, seed: int = 0) -> None:
        generator = torch.Generator(GPU).manual_seed(seed)

        def random(scale: float, *shape: int) -> Tensor:
            return (torch.randn(shape, generator=generator, device=GPU) * scale).half()

        def sft() -> Sft:
            gain, shift = (random(0.05, 64, 8, 3, 3) for _ in range(2))
            biases = [random(0.1, 64).float() for _ in range(2)]
            weight = torch.from_numpy(pack_sft_weight(gain.cpu().numpy(), shift.cpu().numpy())).to(GPU)
            bias = torch.from_numpy(pack_sft_bias(*(each.cpu().numpy() for each in biases))).to(GPU)
            return Sft(gain.float(), biases[0], shift.float(), biases[1], weight, bias)

        size = (batch, height, width)
        self.size = size
        self.u, self.z, self.skip = (random(0.5, *size, 64) for _ in range(3))
        self.offset = random(reach, *size, 24)
        self.hidden = random(1.0, *size, HIDDEN)
        self.second, self.next = sft(), sft()
        self.weights = [random(0.03, 64, 64, 3, 3) for _ in range(2)]
        self.biases = [random(0.1, 64).float() for _ in range(2)]
        self.packed = [torch.from_numpy(pack_weight(each.cpu().numpy())).to(GPU) for each in self.weights]
        self.v, self.out, self.next_out = (torch.full_like(self.z, torch.nan) for _ in range(3))

    def arguments(self) -> FromHiddenArguments:
        """With skip and the next layer."""
        return FromHiddenArguments(
            *self.size,
            u=self.u.data_ptr(),
            offset=self.offset.data_ptr(),
            z=self.z.data_ptr(),
            sft2=self.second.layer(self.hidden, SECOND),
            w1=self.packed[0].data_ptr(),
            b1=self.biases[0].data_ptr(),
            w2=self.packed[1].data_ptr(),
            b2=self.biases[1].data_ptr(),
            out=self.out.data_ptr(),
            workspace=self.v.data_ptr(),
            skip=self.skip.data_ptr(),
            next_sft=self.next.layer(self.hidden, NEXT),
            next_out=self.next_out.data_ptr(),
        )

    def expected(self) -> tuple[Tensor, Tensor]:
        """z' with the skip map, and u', (N, 64, H, W) FP32, by torch's operators."""
        u, z, skip, offset = (each.permute(0, 3, 1, 2).float() for each in (self.u, self.z, self.skip, self.offset))
        offset = offset[:, :18].contiguous()
        gain, shift = self.second.maps(self.hidden, SECOND)
        v = F.relu(deform_conv2d(u.contiguous(), offset, self.weights[0].float(), self.biases[0]))
        z = z + skip + deform_conv2d(v + gain * v + shift, offset, self.weights[1].float(), self.biases[1])
        gain, shift = self.next.maps(self.hidden, NEXT)
        return z, z + gain * z + shift


def error(result: Tensor, expected: Tensor) -> float:
    """Relative error of (N, H, W, C) against (N, C, H, W)."""
    value = float((result.permute(0, 3, 1, 2).float() - expected).norm() / expected.norm())
    return value if value == value else float("inf")
