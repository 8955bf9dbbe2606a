"""What a runner has to know of a network, and how it is stored as strings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from dcdr_deploy.errors import InputError, ModelError
from dcdr_deploy.modelfile.names import DOMAIN, SIZE_MULTIPLE


@dataclass(frozen=True)
class ModelMetadata:
    """What a runner has to know of a network; travels inside the ONNX file and in an engine's sidecar.

    Attributes:
        peak: linear value of a network output of 1.0, in units of SDR diffuse white (> 0). A network gives linear light
            whatever its layers' encoding: decoding is part of it.
        size_multiple: height and width of an input must be multiples of this.
        overlap: context in pixels that an output pixel needs on each side, from the receptive field and the offsets
            measured on real pictures with these weights. Neighbouring tiles share at least twice as much
            (run/tiling.py).
        name: what the model calls itself, for logs.
        extra: everything else that was stored, by short name: ``"architecture"`` and ``"training"`` (JSON),
            ``"weights_sha256"``, ``"tool_version"``, and the ones named below.
    """

    peak: float = 1.0
    size_multiple: int = SIZE_MULTIPLE
    overlap: int = 84
    name: str = "DCDR-UNet"
    extra: dict[str, str] = field(default_factory=dict)

    @property
    def output(self) -> str:
        """Encoding of what the network's layers give, before decoding; for people."""
        return self.extra.get(KEY_OUTPUT, "linear")

    @property
    def light(self) -> str:
        """:data:`RELATIVE` or :data:`ABSOLUTE`; files that do not say it hold relative light."""
        return self.extra.get(KEY_LIGHT, RELATIVE)

    @property
    def sees_whole_picture(self) -> bool:
        """Whether an output pixel depends on all of the picture, so that tiles give another result than the whole."""
        return self.extra.get(KEY_WHOLE) == "yes"


KEY_OUTPUT, KEY_LIGHT, KEY_WHOLE = "output", "light", "sees_whole_picture"
"""Of ``extra``: what the properties of :class:`ModelMetadata` read."""

RELATIVE, ABSOLUTE = "relative", "absolute"
"""Light relative to the picture's white, as a camera saw it; and of a graded picture, where SDR white is 203 cd/m2."""

FORMAT_VERSION = "1"
PREFIX = f"{DOMAIN}."
KEY_FORMAT = PREFIX + "format"
KEY_NAME = PREFIX + "name"
KEY_PEAK = PREFIX + "peak"
KEY_SIZE_MULTIPLE = PREFIX + "size_multiple"
KEY_OVERLAP = PREFIX + "overlap"
_OWN_KEYS = frozenset({KEY_FORMAT, KEY_NAME, KEY_PEAK, KEY_SIZE_MULTIPLE, KEY_OVERLAP})


LARGEST_PEAK = 65504.0
"""Largest number of half floats, in which light is written."""

LARGEST_EDGE = 1 << 14
"""Pixels. No network works on more in one piece; larger sizes and overlaps in a file are nonsense."""

LARGEST_MULTIPLE = 1 << 10
"""Pixels. A picture is padded to the size multiple, and no tile is smaller."""


def is_peak(value: float) -> bool:
    """Whether a number can be the linear value of full scale, in units of SDR white."""
    return math.isfinite(value) and 0 < value <= LARGEST_PEAK


def check_peak(value: float) -> None:
    """Refuse what cannot be the linear value of full scale.

    Raises:
        InputError: it is not finite, not positive, or more than half floats hold.
    """
    if not is_peak(value):
        raise InputError(f"`peak` {value:g}: it is a number above 0 and at most {LARGEST_PEAK:g} times SDR white")


def encode(metadata: ModelMetadata) -> dict[str, str]:
    """Return the strings to store in ``metadata_props``; :func:`decode` gives the same metadata back.

    Raises:
        ValueError: ``extra`` uses the name of a field of its own, e.g. ``"peak"``.
    """
    stored = {
        KEY_FORMAT: FORMAT_VERSION,
        KEY_NAME: metadata.name,
        KEY_PEAK: repr(float(metadata.peak)),
        KEY_SIZE_MULTIPLE: str(metadata.size_multiple),
        KEY_OVERLAP: str(metadata.overlap),
    }
    for name, value in metadata.extra.items():
        key = PREFIX + name
        if key in _OWN_KEYS:
            raise ValueError(f"extra metadata must not use the name {name!r}")
        stored[key] = value
    return stored


def decode(stored: Mapping[str, str], source: str = "this model") -> ModelMetadata:
    """Return the metadata held by an ONNX file's ``metadata_props``; keys of other tools are ignored.

    Raises:
        ModelError: no metadata of this project, of a newer version, or with values out of range. The message begins
            with ``source``.
    """
    version = stored.get(KEY_FORMAT)
    if version is None:
        raise ModelError(
            f"{source} is an ONNX model that carries no DCDR-UNet metadata; make one from the checkpoint "
            "with `dcdr-deploy export CHECKPOINT`"
        )
    if version != FORMAT_VERSION:
        raise ModelError(f"{source} has metadata of version {version}, newer than this dcdr-deploy knows; upgrade it")
    try:
        metadata = ModelMetadata(
            peak=float(stored[KEY_PEAK]),
            size_multiple=int(stored[KEY_SIZE_MULTIPLE]),
            overlap=int(stored[KEY_OVERLAP]),
            name=stored[KEY_NAME],
            extra={
                key[len(PREFIX) :]: v for key, v in stored.items() if key.startswith(PREFIX) and key not in _OWN_KEYS
            },
        )
    except KeyError as error:
        raise ModelError(f"{source} lacks the metadata entry {error.args[0]}; export it again") from None
    except ValueError as error:
        raise ModelError(f"{source} has a metadata entry that is no number ({error}); export it again") from None
    for key, fits in (
        (KEY_PEAK, is_peak(metadata.peak)),
        (KEY_SIZE_MULTIPLE, 1 <= metadata.size_multiple <= LARGEST_MULTIPLE),
        (KEY_OVERLAP, 0 <= metadata.overlap <= LARGEST_EDGE),
    ):
        if not fits:
            raise ModelError(f"{source} has {key} = {stored[key]}, which is out of range; export it again")
    return metadata
