"""What a ``dcdr::DCRB`` node may look like for the plugin: types, shapes and memory layouts, in the API's names.

There are two versions of the plugin. Version 1 takes maps of gain and shift, in FP16 (NHWC, ``HWC8``) and in FP32
(linear). Version 2 takes the hidden map from which the kernels compute them, in FP16 only. Weights and biases are
constants in the order of :mod:`dcdr_deploy.engines.cuda.packing`; names of biases begin with ``b``, those of weights
with ``w``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dcdr_deploy.engines.cuda.packing import PACKED_SHAPE, SFT_HIDDEN, SFT_SHAPE
from dcdr_deploy.modelfile.names import DCRB_INPUTS, OFFSET_CHANNELS, WIDTH
from dcdr_deploy.system.words import number_of

FROM_MAPS, FROM_HIDDEN = "1", "2"
"""Versions of the plugin: what it takes of its SFT layers."""

HIDDEN_INPUTS = ("z", "offset", "hidden", "w1", "b1", "w2", "b2", "w_sft1", "b_sft1", "w_sft2", "b_sft2")
"""Inputs of version 2: ``hidden`` has 8 channels each of gain 1, shift 1, gain 2, shift 2 from channel ``first`` on."""

INPUTS_OF = {FROM_MAPS: DCRB_INPUTS, FROM_HIDDEN: HIDDEN_INPUTS}
FIRST = "first"
"""Attribute of a node of version 2: the block's first channel of the hidden map."""

BLOCK_HIDDEN = 4 * SFT_HIDDEN
"""Channels of the hidden map that a block takes."""

_CHANNELS = {"z": WIDTH, "offset": OFFSET_CHANNELS, "s1": WIDTH, "t1": WIDTH, "s2": WIDTH, "t2": WIDTH, "hidden": None}
_SFT_SHAPES = {"w_sft1": SFT_SHAPE, "w_sft2": SFT_SHAPE, "b_sft1": (2, WIDTH), "b_sft2": (2, WIDTH)}

Dimensions = Sequence["int | None"]
"""Sizes of a tensor; ``None`` where not known before the run."""


@dataclass(frozen=True)
class Precision:
    """One of the kernel's two paths, in the API's names of types and formats.

    Attributes:
        type: of features, offsets and weights; biases are always ``"FLOAT"``.
        features: memory layout of features.
        offsets: memory layouts of offsets that are understood.
        weight_shape: of a packed weight.
    """

    type: str
    features: str
    offsets: tuple[str, ...]
    weight_shape: tuple[int, ...]


PRECISIONS = {
    precision.type: precision
    for precision in (
        Precision("HALF", "HWC8", ("LINEAR", "HWC8"), PACKED_SHAPE),
        Precision("FLOAT", "LINEAR", ("LINEAR",), (9, WIDTH, WIDTH)),
    )
}


class PluginError(ValueError):
    """A graph that the plugin cannot take; the message says what and where."""


def check_types(types: Sequence[str], version: str = FROM_MAPS) -> None:
    """Check the data types of the inputs, in the order of :data:`INPUTS_OF` the version, by the API's names.

    Raises:
        PluginError: another number of inputs, or types that no path of the kernel takes.
    """
    inputs = INPUTS_OF[version]
    if len(types) != len(inputs):
        raise PluginError(f"it has {number_of(len(inputs), 'input')} ({', '.join(inputs)}), not {len(types)}")
    if types[0] not in PRECISIONS:
        raise PluginError(f"its features are FP16 or FP32 (HALF or FLOAT), not {types[0]}")
    if version == FROM_HIDDEN and types[0] != "HALF":
        raise PluginError(f"its features are FP16 (HALF), not {types[0]}")
    for name, found in zip(inputs, types, strict=True):
        wanted = "FLOAT" if name.startswith("b") else types[0]
        if found != wanted:
            raise PluginError(f"input {name} has type {found}; with features of type {types[0]} it must be {wanted}")


def check_shapes(shapes: Sequence[Dimensions], feature_type: str, version: str = FROM_MAPS, first: int = 0) -> None:
    """Check the shapes of the inputs, in the order of :data:`INPUTS_OF` the version, as far as they are known.

    Raises:
        PluginError: a rank, a number of channels, a weight's shape or a size that does not fit.
    """
    features: Dimensions = shapes[0]
    for name, shape in zip(INPUTS_OF[version], shapes, strict=True):
        if name not in _CHANNELS:
            wanted = PRECISIONS[feature_type].weight_shape if name.startswith("w") else (WIDTH,)
            wanted = _SFT_SHAPES.get(name, wanted)
            if tuple(shape) != wanted:
                raise PluginError(f"input {name} has shape {_words(shape)} instead of {_words(wanted)}")
            continue
        if len(shape) != 4:
            raise PluginError(f"input {name} has rank {len(shape)} instead of 4: {_words(shape)}")
        _check_channels(name, shape[1], first)
        for axis in (0, 2, 3):
            if None not in (shape[axis], features[axis]) and shape[axis] != features[axis]:
                raise PluginError(f"input {name} is {_words(shape)}, but z is {_words(features)}")


def _check_channels(name: str, found: int | None, first: int) -> None:
    channels = _CHANNELS[name]
    if channels is not None and found not in (channels, None):
        raise PluginError(f"input {name} has {found} channels instead of {channels}; use `plugin` none")
    if channels is None and (found is None or found % 8 or first % 8 or not 0 <= first <= found - BLOCK_HIDDEN):
        raise PluginError(f"input {name} has {found} channels, of which {BLOCK_HIDDEN} cannot begin at {first}")


def _words(shape: Iterable[int | None]) -> str:
    return "x".join("?" if size is None else str(size) for size in shape)


def format_fits(
    position: int, types: Sequence[str], formats: Sequence[str], num_inputs: int, version: str = FROM_MAPS
) -> bool:
    """Tell whether the tensor at ``position`` (inputs, then the output) has a type and layout that the kernel takes.

    Args:
        position: which tensor is asked about.
        types: the API's names; those up to ``position`` hold.
        formats: likewise.
        num_inputs: how many of the tensors are inputs.
        version: of the plugin.
    """
    precision = PRECISIONS.get(types[0])
    if precision is None or (version == FROM_HIDDEN and precision.type != "HALF"):
        return False
    name = INPUTS_OF[version][position] if position < num_inputs else "out"
    layouts: tuple[str, ...] = (precision.features,)
    if name == "offset" and version == FROM_MAPS:
        layouts = precision.offsets
    elif name[0] in "wb":
        layouts = ("LINEAR",)
    wanted = "FLOAT" if name.startswith("b") else precision.type
    return types[position] == wanted and formats[position] in layouts


def offset_strides(height: int, width: int, layout: str) -> tuple[int, int, int]:
    """Distances in elements between images, channels and pixels of the offsets; ``HWC8`` pads 18 channels to 24."""
    pixels = height * width
    if layout == "LINEAR":
        return OFFSET_CHANNELS * pixels, pixels, 1
    padded = -(-OFFSET_CHANNELS // 8) * 8
    return padded * pixels, 1, padded
