"""What a ``dcdr::DCRB`` node may look like for the plugin: types, shapes and memory layouts, in the API's names.

FP16 features are NHWC (``HWC8``), offsets linear or ``HWC8``; in FP32 everything is linear. Weights and biases are
constants in the order of :mod:`dcdr_deploy.engines.cuda.packing`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dcdr_deploy.engines.cuda.packing import PACKED_SHAPE
from dcdr_deploy.modelfile.names import DCRB_INPUTS, OFFSET_CHANNELS, WIDTH

PLUGIN_VERSION = "1"

_CHANNELS = {"z": WIDTH, "offset": OFFSET_CHANNELS, "s1": WIDTH, "t1": WIDTH, "s2": WIDTH, "t2": WIDTH}

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


def check_types(types: Sequence[str]) -> None:
    """Check the data types of the inputs, in the order of ``DCRB_INPUTS``, by the API's names.

    Raises:
        PluginError: a number of inputs other than ten, or types that no path of the kernel takes.
    """
    if len(types) != len(DCRB_INPUTS):
        raise PluginError(f"it has {len(DCRB_INPUTS)} inputs ({', '.join(DCRB_INPUTS)}), not {len(types)}")
    if types[0] not in PRECISIONS:
        raise PluginError(f"its features are FP16 or FP32 (HALF or FLOAT), not {types[0]}")
    for name, found in zip(DCRB_INPUTS, types, strict=True):
        wanted = "FLOAT" if name.startswith("b") else types[0]
        if found != wanted:
            raise PluginError(f"input {name} has type {found}; with features of type {types[0]} it must be {wanted}")


def check_shapes(shapes: Sequence[Dimensions], feature_type: str) -> None:
    """Check the shapes of the inputs, in the order of ``DCRB_INPUTS``, as far as they are known.

    Raises:
        PluginError: a rank, a number of channels, a weight's shape or a size that does not fit.
    """
    first: Dimensions = shapes[0]
    for name, shape in zip(DCRB_INPUTS, shapes, strict=True):
        if name not in _CHANNELS:
            wanted = PRECISIONS[feature_type].weight_shape if name.startswith("w") else (WIDTH,)
            if tuple(shape) != wanted:
                raise PluginError(f"input {name} has shape {_words(shape)} instead of {_words(wanted)}")
            continue
        channels = _CHANNELS[name]
        if len(shape) != 4:
            raise PluginError(f"input {name} has rank {len(shape)} instead of 4: {_words(shape)}")
        if shape[1] not in (channels, None):
            raise PluginError(f"input {name} has {shape[1]} channels instead of {channels}; use `plugin` none")
        for axis in (0, 2, 3):
            if None not in (shape[axis], first[axis]) and shape[axis] != first[axis]:
                raise PluginError(f"input {name} is {_words(shape)}, but z is {_words(first)}")


def _words(shape: Iterable[int | None]) -> str:
    return "x".join("?" if size is None else str(size) for size in shape)


def format_fits(position: int, types: Sequence[str], formats: Sequence[str], num_inputs: int) -> bool:
    """Tell whether the tensor at ``position`` (inputs, then the output) has a type and layout that the kernel takes.

    Args:
        position: which tensor is asked about.
        types: the API's names; those up to ``position`` hold.
        formats: likewise.
        num_inputs: how many of the tensors are inputs.
    """
    precision = PRECISIONS.get(types[0])
    if precision is None:
        return False
    name = DCRB_INPUTS[position] if position < num_inputs else "out"
    layouts: tuple[str, ...] = (precision.features,)
    if name == "offset":
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
