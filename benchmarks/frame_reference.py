"""The launches of engine ``cuda`` one by one as torch computes them in FP32: what each has to give."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from dcdr_deploy.engines.cuda.launches import IMAGE, SMALL, Block, Frame, Launch, Sft
from dcdr_deploy.engines.cuda.weights import WIDTH, Weights
from dcdr_deploy.models.blocks import LEAKY_SLOPE
from dcdr_deploy.models.deform import deform_conv2d

Parameters = Mapping[str, tuple[Tensor, Tensor]]


def parameters(weights: Weights, device: str = "cpu") -> dict[str, tuple[Tensor, Tensor]]:
    """Return weights and biases of all layers as tensors."""
    return {
        name: (torch.from_numpy(weight).to(device), torch.from_numpy(bias).to(device))
        for name, (weight, bias) in weights.tensors.items()
    }


def walk(
    frame: Frame, layers: Parameters, picture: Tensor, store: Callable[[Tensor], Tensor] = lambda values: values
) -> Iterator[tuple[Launch, dict[str, Tensor]]]:
    """Compute a frame and give after each launch the maps that it has written, (N, C, H, W).

    Maps are as wide as what is computed: without the zeros that fill up the image, the offsets and narrow tone nets.

    Args:
        frame: the launches.
        layers: from :func:`parameters`.
        picture: (N, 3, H, W) float32 in [0, 1].
        store: what happens to a map between the launch that writes it and those that read it, such as rounding.
    """
    maps: dict[str, Tensor] = {IMAGE: picture, SMALL: F.avg_pool2d(picture, 4)}
    for launch in frame.launches:
        computed = (_block if isinstance(launch, Block) else _convolution)(launch, layers, maps)
        written = {name: store(values) for name, values in computed.items()}
        maps |= written
        yield launch, written
        del written


def _sft(x: Tensor, sft: Sft, layers: Parameters, maps: Mapping[str, Tensor]) -> Tensor:
    hidden = maps[sft.hidden][:, sft.first : sft.first + 16]
    gain, shift = (
        F.conv2d(hidden[:, start : start + 8], *layers[f"{sft.layer}.{part}1"], padding=1)
        for start, part in ((0, "gain"), (8, "shift"))
    )
    return x + gain * x + shift


def _convolution(launch: Any, layers: Parameters, maps: Mapping[str, Tensor]) -> dict[str, Tensor]:
    x = maps[launch.source]
    if launch.upsample > 1:
        x = F.interpolate(x, scale_factor=launch.upsample, mode="bilinear", align_corners=False)
    parts = [layers[name] for name in launch.layers]
    weight, bias = (torch.cat([part[number] for part in parts]) for number in range(2))
    x = F.conv2d(x, weight, bias, stride=launch.stride, padding=1)
    if launch.activation:
        x = F.relu(x) if launch.activation == "relu" else F.leaky_relu(x, LEAKY_SLOPE)
    if launch.then:
        x = F.conv2d(x, *layers[launch.then], padding=1)
    if launch.shuffle:
        x = F.pixel_shuffle(x, 2)
    if launch.residual:
        x = x + maps[launch.residual]
    if launch.times:
        x = x * maps[launch.times]
    if launch.sft is None and launch.second:
        return dict(zip((launch.target, launch.second), x.chunk(2, dim=1), strict=True))
    if launch.sft is None:
        return {launch.target: x}
    steered = _sft(x, launch.sft, layers, maps)
    return {launch.target: x, launch.second: steered} if launch.second else {launch.target: steered}


def _block(launch: Any, layers: Parameters, maps: Mapping[str, Tensor]) -> dict[str, Tensor]:
    offset = maps[launch.offset]
    v = F.relu(deform_conv2d(maps[launch.u], offset, *layers[f"{launch.name}.dcv1"]))
    v = _sft(v, launch.sft2, layers, maps)
    z = maps[launch.z] + deform_conv2d(v, offset, *layers[f"{launch.name}.dcv2"])
    if launch.skip:
        z = z + maps[launch.skip]
    written = {launch.between: v, launch.target: z}
    return written if launch.next_sft is None else written | {launch.next_u: _sft(z, launch.next_sft, layers, maps)}


def channels(name: str, frame: Frame, computed: Tensor) -> int:
    """Return how many channels of a map hold numbers: the rest are zeros, or nothing at all."""
    return min(frame.maps[name].channels, computed.shape[1], WIDTH * 4)
