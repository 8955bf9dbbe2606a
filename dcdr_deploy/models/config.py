"""Every width and switch of a network, as one frozen value; DCDR-UNet's here, other architectures' in their modules."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any, TypeVar

from dcdr_deploy.modelfile.names import SIZE_MULTIPLE

Config = TypeVar("Config", bound="NetworkConfig")

FIXED_RECEPTIVE_FIELD = 83
"""One-sided extent in pixels of one output pixel of DCDR-UNet's presets, with all offsets at zero (measured)."""


@dataclass(frozen=True)
class NetworkConfig:
    """Base of all architectures' configurations: frozen dataclasses whose default is a whole network.

    Attributes:
        output: encoding of what the layers give, see :mod:`dcdr_deploy.models.encodings`. No tensor shows it.
    """

    output: str = field(default="linear", kw_only=True)

    def to_json(self) -> str:
        """Return the configuration as one line of JSON, the form in which it travels in model files.

        The output's encoding is left out where it is the class's default, as it is from files that never had it.
        """
        values = asdict(self)
        usual = next(entry.default for entry in fields(self) if entry.name == "output")
        if self.output == usual:
            del values["output"]
        return json.dumps(values, sort_keys=True)

    @classmethod
    def from_json(cls: type[Config], text: str) -> Config:
        """Inverse of :meth:`to_json`."""
        values: dict[str, Any] = json.loads(text)
        fitting: dict[str, Any] = {
            name: tuple(each) if isinstance(each, list) else each for name, each in values.items()
        }
        return cls(**fitting)


@dataclass(frozen=True)
class DCDRUNetConfig(NetworkConfig):
    """Configuration of :class:`~dcdr_deploy.models.network.DCDRUNet`.

    The paper's Figure 3, which has the channel numbers, is an image; its text fixes the structure and the total of
    1.5 M parameters. What the text leaves open follows HDRUNet, the network that the paper modifies.

    Attributes:
        width: feature channels of the restoration net (ours, as HDRUNet: 64).
        condition_width: channels of the condition maps y_s (ours, as HDRUNet: 32).
        sft_hidden: channels between the two convolutions of cv^2 in eq. 2 (ours: 8, which gives the paper's 1.5 M).
        tone_width: channels of the tone net (ours: 64; 32 in the preset ``lite``).
        blocks: DCRBs in the encoder at x0.5, at x0.25, and in the decoder at x0.5. The paper says "multiple" at these
            two scales; the distribution 2, 4, 2 is ours.
        deformable: ``False`` gives Table 2's "no DCRB": normal residual blocks without offsets.
        tone_net: ``False`` gives Table 2's "no tone net": the output is the restoration net's alone.
        condition_net: ``False`` gives Table 2's "no condition net": each SFT becomes a 3x3 convolution.
    """

    width: int = 64
    condition_width: int = 32
    sft_hidden: int = 8
    tone_width: int = 64
    blocks: tuple[int, int, int] = (2, 4, 2)
    deformable: bool = True
    tone_net: bool = True
    condition_net: bool = True

    def __post_init__(self) -> None:
        widths = (self.width, self.condition_width, self.sft_hidden, self.tone_width)
        if min(widths) < 1 or len(self.blocks) != 3 or min(self.blocks) < 0:
            raise ValueError(f"widths must be positive and blocks three counts: {self}")


PRESETS: dict[str, DCDRUNetConfig] = {
    "paper": DCDRUNetConfig(),
    "lite": DCDRUNetConfig(tone_width=32),
}
"""Named configurations of DCDR-UNet: ``paper`` has 1,524,278 parameters, ``lite`` 1,467,158."""


def overlap_for_offsets(
    max_offsets: dict[str, float],
    scales: dict[str, int],
    receptive_field: int = FIXED_RECEPTIVE_FIELD,
    multiple: int = SIZE_MULTIPLE,
) -> int:
    """Pixels of context that make a tile's output equal to the whole frame's.

    Each pixel of |offset| at a block's own scale lets its two deformable convolutions reach ``2 * scale`` input pixels
    further: the overlap is ``receptive_field + sum(2 * scale * ceil(max |offset|))``, rounded up to the size multiple.

    Args:
        max_offsets: largest |offset| of each deformable block, in pixels of the block's own scale; none for a network
            without such blocks.
        scales: input pixels per pixel of each block's scale (2 or 4), same keys.
        receptive_field: one-sided extent in pixels with all offsets at zero.
        multiple: the architecture's size multiple.
    """
    reach = receptive_field + sum(2 * scales[name] * -int(-value // 1) for name, value in max_offsets.items())
    return -(-reach // multiple) * multiple
