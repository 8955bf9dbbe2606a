"""A frame's launches with everything that a kernel wants to know: addresses of maps and of packed weights.

Packing does not depend on the frame's size and is done once; binding does and is arithmetic only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.engines.cuda import convolution_packing, packing
from dcdr_deploy.engines.cuda.arena import ALIGNMENT, MemoryPlan, plan_memory
from dcdr_deploy.engines.cuda.convolution import ConvolutionArguments, SecondConvolution
from dcdr_deploy.engines.cuda.dcdr_unet import describe
from dcdr_deploy.engines.cuda.dcrb_from_hidden import FromHiddenArguments
from dcdr_deploy.engines.cuda.launches import (
    RESULT,
    Block,
    Convolution,
    Form,
    Frame,
    Launch,
    Map,
    Sft,
    Shape,
    lifetimes,
)
from dcdr_deploy.engines.cuda.loaded import MOST_PIXELS
from dcdr_deploy.engines.cuda.sft import SftLayer
from dcdr_deploy.engines.cuda.weights import WIDTH, Array, Weights

Arguments = ConvolutionArguments | FromHiddenArguments

_RESULT = Map(RESULT, 1, 3, 4)
_END_CHANNELS = 8
"""Output channels that a convolution to three channels computes."""


@dataclass(frozen=True)
class PackedWeights:
    """Weights in the orders that the kernels read, in one piece, and where in it each tensor begins."""

    content: NDArray[np.uint8]
    offsets: Mapping[str, int]


def pack(frame: Frame, weights: Weights) -> PackedWeights:
    """Pack a network's weights for its frame.

    Raises:
        ValueError: the kernels do not take a layer.
    """
    arrays = dict(_packed(frame, weights.tensors))
    offsets, end = {}, 0
    for name, array in arrays.items():
        offsets[name] = end
        end += -(-array.nbytes // ALIGNMENT) * ALIGNMENT
    content = np.zeros(end, np.uint8)
    for name, array in arrays.items():
        content[offsets[name] :][: array.nbytes] = np.ascontiguousarray(array).view(np.uint8).reshape(-1)
    return PackedWeights(content, offsets)


def _packed(frame: Frame, tensors: Mapping[str, tuple[Array, Array]]) -> Iterator[tuple[str, NDArray]]:
    for launch in frame.launches:
        if isinstance(launch, Block):
            for number in (1, 2):
                weight, bias = tensors[f"{launch.name}.dcv{number}"]
                yield f"{launch.name}.{number}.weight", packing.pack_weight(weight)
                yield f"{launch.name}.{number}.bias", bias
            for sft in filter(None, (launch.sft2, launch.next_sft)):
                yield from _packed_sft(sft, tensors, "block", packing.pack_sft_weight)
        else:
            channels_in, channels_out = _channels(launch, frame)
            parts = [tensors[layer] for layer in launch.layers]
            weight, bias = (np.concatenate([part[number] for part in parts]) for number in range(2))
            yield (
                f"{launch.name}.weight",
                convolution_packing.pack_weight(
                    weight, channels_in=channels_in, channels_out=channels_out, shuffle=launch.shuffle
                ),
            )
            yield (
                f"{launch.name}.bias",
                convolution_packing.pack_bias(bias, channels_out=channels_out, shuffle=launch.shuffle),
            )
            if launch.then:
                weight, bias = tensors[launch.then]
                yield f"{launch.then}.weight", convolution_packing.pack_second_weight(weight)
                yield f"{launch.then}.bias", bias
            if launch.sft is not None:
                yield from _packed_sft(launch.sft, tensors, "convolution", convolution_packing.pack_sft_weight)


def _packed_sft(
    sft: Sft, tensors: Mapping[str, tuple[Array, Array]], kernel: str, pack_weight: Callable[[Array, Array], NDArray]
) -> Iterator[tuple[str, NDArray]]:
    """Pack an SFT layer's second convolutions; the two kernels want the weights in orders of their own."""
    (gain, gain_bias), (shift, shift_bias) = (tensors[f"{sft.layer}.{part}1"] for part in ("gain", "shift"))
    yield f"{sft.layer}.{kernel}.weight", pack_weight(gain, shift)
    yield f"{sft.layer}.{kernel}.bias", packing.pack_sft_bias(gain_bias, shift_bias)


def _channels(launch: Convolution, frame: Frame) -> tuple[int, int]:
    channels_in = frame.maps[launch.source].channels
    channels_out = frame.maps[launch.target].channels
    if launch.then:
        return channels_in, WIDTH
    if launch.times or launch.target == RESULT:
        return channels_in, _END_CHANNELS
    in_halves = launch.second and launch.sft is None
    return channels_in, channels_out * (4 if launch.shuffle else 2 if in_halves else 1)


@dataclass(frozen=True)
class Program:
    """A frame of one shape: where its maps lie in an arena, and its launches."""

    frame: Frame
    shape: Shape
    memory: MemoryPlan

    def bind(self, arena: int, weights: int, packed: PackedWeights, result: int) -> list[Arguments]:
        """Return the launches' arguments.

        Args:
            arena: address of ``memory.size`` bytes for the maps.
            weights: address of the packed weights' content.
            packed: the packed weights.
            result: address of the result, (N, H, W, 3) float32.
        """
        places = {name: arena + offset for name, offset in self.memory.offsets.items()} | {RESULT: result}
        tensors = {name: weights + offset for name, offset in packed.offsets.items()}
        return [_bound(launch, self.frame, self.shape, places, tensors) for launch in self.frame.launches]


def frame_of(weights: Weights, form: Form) -> Frame:
    """Return the frame of a network; its result is (N, H, W, 3) float32, as a picture lies in memory."""
    return describe(weights.structure, _RESULT, form)


def program(frame: Frame, shape: Shape) -> Program:
    """Plan a frame of one shape.

    Raises:
        ValueError: it has more pixels than the kernels can count.
    """
    images, height, width = shape
    if images * height * width > MOST_PIXELS:
        raise ValueError(f"{images} x {height} x {width} pixels are more than the kernels can count ({MOST_PIXELS})")
    alive = lifetimes(frame, shape)
    del alive[RESULT]  # lies in the caller's memory
    return Program(frame, shape, plan_memory(alive))


def _bound(
    launch: Launch, frame: Frame, shape: Shape, places: Mapping[str, int], tensors: Mapping[str, int]
) -> Arguments:
    if isinstance(launch, Block):
        return _bound_block(launch, frame, shape, places, tensors)
    return _bound_convolution(launch, frame, shape, places, tensors)


def _bound_block(
    launch: Block, frame: Frame, shape: Shape, places: Mapping[str, int], tensors: Mapping[str, int]
) -> FromHiddenArguments:
    images, height, width = shape
    scale = frame.maps[launch.z].scale

    def block_sft(sft: Sft) -> SftLayer:
        return _sft(sft, frame, places, tensors, "block")

    return FromHiddenArguments(
        batch=images,
        height=height // scale,
        width=width // scale,
        u=places[launch.u],
        offset=places[launch.offset],
        z=places[launch.z],
        sft2=block_sft(launch.sft2),
        w1=tensors[f"{launch.name}.1.weight"],
        b1=tensors[f"{launch.name}.1.bias"],
        w2=tensors[f"{launch.name}.2.weight"],
        b2=tensors[f"{launch.name}.2.bias"],
        out=places[launch.target],
        workspace=places[launch.between],
        skip=places.get(launch.skip, 0),
        next_sft=None if launch.next_sft is None else block_sft(launch.next_sft),
        next_out=places.get(launch.next_u, 0),
    )


def _bound_convolution(
    launch: Convolution, frame: Frame, shape: Shape, places: Mapping[str, int], tensors: Mapping[str, int]
) -> ConvolutionArguments:
    images, height, width = shape
    scale = frame.maps[launch.source].scale
    channels_in, channels_out = _channels(launch, frame)
    end = "product" if launch.times else "interleaved" if launch.target == RESULT else "features"
    added = places.get(launch.residual, 0)
    sft = launch.sft
    then = None
    if launch.then:
        weight, bias = (tensors[f"{launch.then}.{part}"] for part in ("weight", "bias"))
        then = SecondConvolution(weight, bias, rings=places[launch.rings])
    return ConvolutionArguments(
        batch=images,
        height=height // scale,
        width=width // scale,
        channels_in=channels_in,
        channels_out=channels_out,
        x=places[launch.source],
        weight=tensors[f"{launch.name}.weight"],
        bias=tensors[f"{launch.name}.bias"],
        out=places[launch.target],
        activation=launch.activation or "none",
        stride=launch.stride,
        upsample=launch.upsample,
        shuffle=launch.shuffle,
        residual=0 if end == "interleaved" else added,
        sft=None if sft is None else _sft(sft, frame, places, tensors, "convolution"),
        second=places.get(launch.second, 0),
        then=then,
        end=end,
        image=places.get(launch.times, 0),
        tone=added if end == "interleaved" else 0,
    )


def _sft(sft: Sft, frame: Frame, places: Mapping[str, int], tensors: Mapping[str, int], kernel: str) -> SftLayer:
    return SftLayer(
        hidden=places[sft.hidden],
        stride=frame.maps[sft.hidden].channels,
        first=sft.first,
        weight=tensors[f"{sft.layer}.{kernel}.weight"],
        bias=tensors[f"{sft.layer}.{kernel}.bias"],
    )
