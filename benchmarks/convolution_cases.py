"""The convolutions of the network with numbers, and what PyTorch makes of them: for the GPU checks and the tests."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from dcdr_deploy.engines.cuda.convolution import SLOPES, ConvolutionArguments, SecondConvolution
from dcdr_deploy.engines.cuda.convolution_packing import (
    pack_bias,
    pack_second_weight,
    pack_sft_weight,
    pack_weight,
)
from dcdr_deploy.engines.cuda.convolution_table import Variant, ring_bytes
from dcdr_deploy.engines.cuda.packing import pack_sft_bias
from dcdr_deploy.engines.cuda.sft import SftLayer

TOLERANCE = {torch.float16: 4e-4, torch.float32: 2e-6}
"""Relative error (RMS) by the output's type, against the same rounded inputs: results are rounded to 11 bits once."""

TOLERANCE_OF_TWO = {torch.float16: 4e-4, torch.float32: 2e-5}
"""The same for two convolutions in one: what lies between them is rounded too, and not always to the same side."""


@dataclass(frozen=True)
class Case:
    """A convolution as the network has it: channels, and what belongs to it besides weights."""

    channels_in: int
    channels_out: int
    options: dict[str, Any] = field(default_factory=dict)
    sft: bool = False
    second: bool = False
    residual: bool = False
    tone: bool = False
    real_in: int = 0
    real_out: int = 0
    then: bool = False

    @property
    def end(self) -> str:
        """What becomes of the result, as :class:`ConvolutionArguments` has it."""
        return self.options.get("end", "features")

    def arguments(self, size: tuple[int, int, int]) -> ConvolutionArguments:
        """Arguments without pointers, for (N, H, W) pixels of the input."""
        sizes = dict(zip(("batch", "height", "width"), size, strict=True))
        channels = {"channels_in": self.channels_in, "channels_out": self.channels_out}
        pointers: dict[str, Any] = dict.fromkeys(("x", "weight", "bias", "out"), 0)
        if self.end == "product":
            pointers["image"] = 16
        if self.then:
            pointers["then"] = SecondConvolution(0, 0, 0)
        if self.second and not self.sft:
            pointers["second"] = 16
        return ConvolutionArguments(**sizes, **channels, **pointers, **self.options)


CASES = {
    "trunk from the image": Case(4, 32, {"activation": "leaky"}, real_in=3),
    "tone from the image": Case(4, 64, {"activation": "relu"}, real_in=3),
    "first": Case(4, 64, {"activation": "relu"}, sft=True, real_in=3),
    "trunk": Case(32, 32, {"activation": "leaky"}),
    "end of a head": Case(32, 32),
    "head at a half": Case(32, 32, {"activation": "leaky", "upsample": 2}),
    "head at the whole": Case(32, 32, {"activation": "leaky", "upsample": 4}),
    "hidden maps of two layers, apart": Case(32, 32, {"activation": "leaky"}, second=True),
    "hidden maps of one layer": Case(32, 16, {"activation": "leaky"}),
    "hidden maps of eight layers": Case(32, 128, {"activation": "leaky"}),
    "offsets": Case(64, 24, real_out=18),
    "hr": Case(64, 64, {"activation": "relu"}),
    "hr and last": Case(64, 64, {"activation": "relu", "end": "interleaved"}, tone=True, then=True),
    "hr and last, planar": Case(64, 64, {"activation": "relu", "end": "planar"}, tone=True, then=True),
    "hr and last without a tone net": Case(64, 64, {"activation": "relu", "end": "planar"}, then=True),
    "tone's end": Case(64, 64, {"activation": "relu", "end": "product"}, then=True),
    "down alone": Case(64, 64, {"activation": "relu", "stride": 2}),
    "down": Case(64, 64, {"activation": "relu", "stride": 2}, sft=True, second=True),
    "down without the first": Case(64, 64, {"activation": "relu", "stride": 2}, sft=True),
    "up alone": Case(64, 256, {"activation": "relu", "shuffle": True}),
    "up into blocks": Case(64, 256, {"activation": "relu", "shuffle": True}, sft=True, second=True, residual=True),
    "up into hr": Case(64, 256, {"activation": "relu", "shuffle": True}, sft=True, residual=True),
    "tone's gain": Case(64, 8, {"end": "product"}, real_out=3),
    "small tone's gain": Case(32, 8, {"end": "product"}, real_out=3),
    "last": Case(64, 8, {"end": "planar"}, tone=True, real_out=3),
    "last without a tone net": Case(64, 8, {"end": "planar"}, real_out=3),
    "last, interleaved": Case(64, 8, {"end": "interleaved"}, tone=True, real_out=3),
}
"""Every way in which the network uses the kernels."""


@dataclass
class Problem:
    """A case with numbers: inputs in NCHW, already rounded to what the kernels get."""

    case: Case
    size: tuple[int, int, int]
    x: Tensor
    weight: Tensor
    bias: Tensor
    hidden: Tensor
    gain: Tensor
    gain_bias: Tensor
    shift: Tensor
    shift_bias: Tensor
    residual: Tensor
    image: Tensor
    tone: Tensor
    then: Tensor
    then_bias: Tensor
    first: int = 8


def problem(case: Case, size: tuple[int, int, int], seed: int = 0, device: str = "cpu") -> Problem:
    """Return random inputs for (N, H, W) pixels of the input."""
    random = torch.Generator(device).manual_seed(seed)
    count, height, width = size
    rows, columns = case.arguments(size).output_size

    def normal(*shape: int, scale: float = 1.0, dtype: torch.dtype = torch.float16) -> Tensor:
        return (torch.randn(shape, generator=random, device=device) * scale).to(dtype)

    def map_of(channels: int, name: str, dtype: torch.dtype = torch.float16) -> Tensor:
        return normal(count, channels, rows, columns, dtype=dtype) if name in inputs(case) else torch.empty(0)

    channels_in, channels_out = case.real_in or case.channels_in, case.real_out or case.channels_out
    x = torch.zeros(count, case.channels_in, height, width, dtype=torch.float16, device=device)
    x[:, :channels_in] = normal(count, channels_in, height, width)
    return Problem(
        case=case,
        size=size,
        x=x,
        weight=normal(channels_out, channels_in, 3, 3, scale=(9 * channels_in) ** -0.5),
        bias=normal(channels_out, scale=0.5, dtype=torch.float32),
        hidden=map_of(32, "hidden"),
        gain=normal(64, 8, 3, 3, scale=0.03),
        gain_bias=normal(64, scale=0.3, dtype=torch.float32),
        shift=normal(64, 8, 3, 3, scale=0.1),
        shift_bias=normal(64, dtype=torch.float32),
        residual=map_of(64, "residual"),
        image=map_of(4, "image"),
        tone=map_of(4, "tone", torch.float32),
        then=normal(3, 64, 3, 3, scale=(9 * 64) ** -0.5),
        then_bias=normal(3, scale=0.5, dtype=torch.float32),
    )


def reference(given: Problem) -> tuple[Tensor, ...]:
    """Return the one or two results, (N, C, H, W), in FP32 (on a GPU, switch TF32 off) or FP64 on a CPU."""
    case, options = given.case, given.case.options
    dtype = torch.float32 if given.x.is_cuda else torch.float64
    x = given.x[:, : given.weight.shape[1]].to(dtype)
    if (factor := options.get("upsample", 1)) > 1:
        x = F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)
    v = F.conv2d(x, given.weight.to(dtype), given.bias.to(dtype), options.get("stride", 1), 1)
    v = F.leaky_relu(v, SLOPES[options.get("activation", "none")])
    if options.get("shuffle"):
        v = F.pixel_shuffle(v, 2)
    if case.then:
        v = F.conv2d(v.half().to(dtype), given.then.to(dtype), given.then_bias.to(dtype), 1, 1)
    if case.residual:
        v = v + given.residual.to(dtype)
    if case.end == "product":
        v = v * given.image[:, :3].to(dtype)
    if case.tone:
        v = v + given.tone[:, :3].to(dtype)
    if not case.sft:
        return (v[:, :16], v[:, 16:]) if case.second else (v,)
    hidden, first = given.hidden.to(dtype), given.first
    gain = F.conv2d(hidden[:, first : first + 8], given.gain.to(dtype), given.gain_bias.to(dtype), 1, 1)
    shift = F.conv2d(hidden[:, first + 8 : first + 16], given.shift.to(dtype), given.shift_bias.to(dtype), 1, 1)
    after = v + gain * v + shift
    return (v, after) if case.second else (after,)


def packed(given: Problem) -> dict[str, NDArray]:
    """Return weights and biases as the kernels want them."""
    case = given.case
    shuffle = case.options.get("shuffle", False)
    each = {name: getattr(given, name).cpu().numpy() for name in _PACKED}
    arrays = {
        "weight": pack_weight(each["weight"], case.channels_in, case.channels_out, shuffle),
        "bias": pack_bias(each["bias"], case.channels_out, shuffle),
    }
    if case.sft:
        arrays["sft_weight"] = pack_sft_weight(each["gain"], each["shift"])
        arrays["sft_bias"] = pack_sft_bias(each["gain_bias"], each["shift_bias"])
    if case.then:
        arrays["then"] = pack_second_weight(each["then"])
        arrays["then_bias"] = each["then_bias"]
    return arrays


_PACKED = ("then", "then_bias", "weight", "bias", "gain", "gain_bias", "shift", "shift_bias")


def output_shape(case: Case, size: tuple[int, int, int]) -> tuple[tuple[int, ...], torch.dtype]:
    """Return shape and type of a result in memory."""
    rows, columns = case.arguments(size).output_size
    channels = case.arguments(size).out_channels
    return {
        "features": ((size[0], rows, columns, channels), torch.float16),
        "product": ((size[0], rows, columns, 4), torch.float32),
        "planar": ((size[0], 3, rows, columns), torch.float16),
        "interleaved": ((size[0], rows, columns, 3), torch.float32),
    }[case.end]


def inputs(case: Case) -> list[str]:
    """Return which maps of a :class:`Problem` a case reads."""
    wanted = {"hidden": case.sft, "residual": case.residual, "image": case.end == "product", "tone": case.tone}
    return ["x", *(name for name, needed in wanted.items() if needed)]


def filled(given: Problem, pointers: dict[str, int]) -> ConvolutionArguments:
    """Return arguments; pointers by the names of :func:`inputs` and :func:`packed`, "out", "second" and "rings"."""
    case = given.case
    taken = ["weight", "bias", "out", *(name for name in inputs(case) if name != "hidden")]
    taken += ["second"] if case.second else []
    layer = None
    if case.sft:
        hidden, weight, bias = (pointers[name] for name in ("hidden", "sft_weight", "sft_bias"))
        layer = SftLayer(hidden, given.hidden.shape[1], given.first, weight, bias)
    then = None
    if case.then:
        then = SecondConvolution(*(pointers[name] for name in ("then", "then_bias", "rings")))
    return replace(case.arguments(given.size), sft=layer, then=then, **{name: pointers[name] for name in taken})


def rings(given: Problem, variant: Variant) -> int:
    """Return the bytes of scratch memory for a case with a kernel's measures; 0 where there is none."""
    sizes = (given.size[0], *given.case.arguments(given.size).output_size)
    return ring_bytes(*sizes, variant.shape.tile) if given.case.then else 0


def in_planes(case: Case, result: Any) -> Any:
    """A result in the reference's order, (N, C, H, W)."""
    if case.end == "planar":
        return result
    return result.permute(0, 3, 1, 2) if isinstance(result, Tensor) else np.moveaxis(result, 3, 1)


def relative_error(result: Tensor, wanted: Tensor) -> float:
    """RMS of the difference by the reference's; infinite where channels that the reference has not are not zero."""
    channels = wanted.shape[1]
    if bool(result[:, channels:].ne(0).any()):
        return float("inf")
    difference = result[:, :channels].to(wanted.dtype) - wanted
    return float((difference.square().mean() / wanted.square().mean()).sqrt())
