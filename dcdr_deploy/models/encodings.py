"""What a network's layers take and give, as data: the normalisation of the picture, the encoding of the output.

An encoding has a name that travels in configurations and files: ``linear``, ``white:8``, ``gamma:2.24``, ``log``,
``pq-bt2020``, with a number behind a colon where the encoding has one. Decoding is part of every network's forward pass
and so of exported graphs: whatever runs a network gets linear Rec. 709 light, and knows nothing of encodings.

Relative light has 1.0 at the network's peak, a number of the weights. Absolute light (PQ) is in cd/m2; BT.2408 puts
SDR white at 203 of them, which makes it light in units of SDR white like any other.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from dcdr_deploy.errors import InputError
from dcdr_deploy.imaging.hdr_transfer import PQ_C1, PQ_C2, PQ_C3, PQ_M1, PQ_M2, PQ_PEAK_NITS
from dcdr_deploy.imaging.light import SDR_WHITE_NITS
from dcdr_deploy.imaging.primaries import REC2020, to_rec709

LOG_OFFSET = 1 / 255
"""Added to light before its logarithm by default (HDRCNN, section 4.1)."""


@dataclass(frozen=True)
class Normalisation:
    """How the sRGB-encoded picture becomes what the first layer takes: ``(picture - mean) / std``, per channel.

    Attributes:
        mean: of R, G, B in [0, 1].
        std: of R, G, B.
        bgr: blue comes first in what the layers take.
    """

    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    bgr: bool = False

    @property
    def input_range(self) -> tuple[float, float]:
        """Least and most that the layers see, for black and white."""
        pairs = list(zip(self.mean, self.std, strict=True))
        return min((0 - mean) / std for mean, std in pairs), max((1 - mean) / std for mean, std in pairs)

    def apply(self, picture: Tensor) -> Tensor:
        """Normalise (N, 3, H, W) in [0, 1]; where there is nothing to do, the picture itself."""
        if any(self.mean) or self.std != (1.0, 1.0, 1.0):
            mean, std = (picture.new_tensor(values).reshape(1, 3, 1, 1) for values in (self.mean, self.std))
            picture = (picture - mean) / std
        return picture.flip(1) if self.bgr else picture


@dataclass(frozen=True)
class Curve:
    """A family of encodings.

    Attributes:
        decode: what layers give, (N, 3, H, W), and the encoding's number to linear Rec. 709 light of the same shape.
        encode: its inverse for light that is not negative.
        default: the number where the name has none; ``None`` where the family has none at all.
        unit: the number is the value of 1.0 of the decoded light in units of SDR white.
        absolute: the light is absolute.
        words: what the output means, for people; ``{}`` stands for the number.
    """

    decode: Callable[[Tensor, float], Tensor]
    encode: Callable[[Tensor, float], Tensor]
    default: float | None
    words: str
    unit: bool = False
    absolute: bool = False


def srgb_decode(codes: Tensor) -> Tensor:
    """Inverse of the sRGB curve (IEC 61966-2-1) for [0, 1]."""
    return torch.where(codes <= 0.04045, codes / 12.92, ((codes + 0.055) / 1.055) ** 2.4)


def _gamma_decode(coded: Tensor, gamma: float) -> Tensor:
    return torch.pow(torch.relu(coded), gamma)


def _gamma_encode(light: Tensor, gamma: float) -> Tensor:
    return torch.pow(torch.relu(light), 1 / gamma)


def _log_decode(coded: Tensor, offset: float) -> Tensor:
    return torch.exp(coded) - offset


def _log_encode(light: Tensor, offset: float) -> Tensor:
    return torch.log(torch.relu(light) + offset)


def pq_decode(coded: Tensor) -> Tensor:
    """PQ signal to light, 1.0 = 10,000 cd/m2 (BT.2100-2, table 4); signals outside [0, 1] count as its ends."""
    power = coded.clamp(0, 1) ** (1 / PQ_M2)
    return (torch.relu(power - PQ_C1) / (PQ_C2 - PQ_C3 * power)) ** (1 / PQ_M1)


def pq_encode(light: Tensor) -> Tensor:
    """Inverse of :func:`pq_decode` for light in [0, 1]; what lies outside counts as its ends."""
    power = light.clamp(0, 1) ** PQ_M1
    return ((PQ_C1 + PQ_C2 * power) / (1 + PQ_C3 * power)) ** PQ_M2


@functools.cache
def _rec2020() -> tuple[tuple[tuple[float, ...], ...], tuple[tuple[float, ...], ...]]:
    """The matrices from Rec. 2020 to Rec. 709 and back."""
    forward = to_rec709(REC2020)
    there, back = (tuple(map(tuple, matrix.tolist())) for matrix in (forward, np.linalg.inv(forward)))
    return there, back


def _mixed(light: Tensor, matrix: tuple[tuple[float, ...], ...]) -> Tensor:
    """Channels of (N, 3, H, W) by a (3, 3)."""
    # No convolution: GPUs multiply in TF32 by default, which has ten bits.
    channels = [light[:, index : index + 1] for index in range(3)]
    rows = [r * channels[0] + g * channels[1] + b * channels[2] for r, g, b in matrix]
    return torch.cat(rows, 1)


def _pq_bt2020_decode(coded: Tensor, unit: float) -> Tensor:
    return _mixed(pq_decode(coded) * (PQ_PEAK_NITS / SDR_WHITE_NITS / unit), _rec2020()[0])


def _pq_bt2020_encode(light: Tensor, unit: float) -> Tensor:
    return pq_encode(_mixed(light, _rec2020()[1]) * (unit * SDR_WHITE_NITS / PQ_PEAK_NITS))


CURVES: Mapping[str, Curve] = {
    "linear": Curve(lambda x, _: x, lambda x, _: x, None, "linear light, relative to the picture's white"),
    "white": Curve(
        lambda x, unit: x / unit,
        lambda x, unit: x * unit,
        1.0,
        "linear light in units of the picture's white",
        unit=True,
    ),
    "gamma": Curve(_gamma_decode, _gamma_encode, 2.2, "light to the power 1/{}, relative to the picture's white"),
    "log": Curve(_log_decode, _log_encode, LOG_OFFSET, "log(light + {}), relative to the picture's white"),
    "pq-bt2020": Curve(
        _pq_bt2020_decode,
        _pq_bt2020_encode,
        PQ_PEAK_NITS / SDR_WHITE_NITS,
        "PQ, BT.2020: absolute light of a graded display picture, 203 cd/m2 taken as SDR white",
        unit=True,
        absolute=True,
    ),
}
"""All families of encodings by name. A further one is an entry here."""


@dataclass(frozen=True)
class Encoding:
    """One encoding: a family and its number.

    Attributes:
        name: of the family.
        number: see :class:`Curve`; 0 where the family has none.
    """

    name: str
    number: float

    @classmethod
    def parse(cls, text: str) -> Encoding:
        """The encoding of a name such as ``"linear"`` or ``"gamma:2.24"``.

        Raises:
            InputError: there is none of this name, or the number is none that it can have.
        """
        name, colon, number = text.partition(":")
        curve = CURVES.get(name)
        if curve is None:
            raise InputError(f"unknown output encoding {text!r}; known: {', '.join(CURVES)}")
        if curve.default is None:
            if colon:
                raise InputError(f"output encoding {text!r}: {name} has no number")
            return cls(name, 0.0)
        try:
            value = float(number) if colon else curve.default
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and value > 0):
            raise InputError(f"output encoding {text!r}: the number behind the colon must be positive")
        return cls(name, value)

    @property
    def curve(self) -> Curve:
        """The family."""
        return CURVES[self.name]

    @property
    def is_linear(self) -> bool:
        """Whether decoding does nothing."""
        return self.name == "linear"

    @property
    def peak(self) -> float | None:
        """Value of 1.0 of the decoded light in units of SDR white, where the encoding itself says it."""
        return self.number if self.curve.unit else None

    @property
    def words(self) -> str:
        """What the output means, for people."""
        return self.curve.words.format(f"{self.number:g}")

    def decode(self, coded: Tensor) -> Tensor:
        """What layers give, (N, 3, H, W), to linear Rec. 709 light of the same shape."""
        return self.curve.decode(coded, self.number)

    def encode(self, light: Tensor) -> Tensor:
        """Inverse of :meth:`decode` for light that is not negative."""
        return self.curve.encode(light, self.number)


DECODER = "decoder"
"""Name that every network gives its :class:`Decoder`."""

LINEAR = Encoding("linear", 0.0)


class Decoder(nn.Module):
    """Decoding as a module without weights, so that an exported graph shows which of its nodes are decoding."""

    def forward(self, coded: Tensor, encoding: Encoding) -> Tensor:
        """Decode (N, 3, H, W) in float32: half floats cannot hold the powers in between."""
        return encoding.decode(coded.float())
