"""Base and gain map of one file put together: its HDR rendition as linear light."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.imaging import gain_map_files
from dcdr_deploy.imaging import primaries as p
from dcdr_deploy.imaging.colour import to_linear
from dcdr_deploy.imaging.declared import resolve
from dcdr_deploy.imaging.decoders.common import StoredSamples, UnreadableError, damaged
from dcdr_deploy.imaging.decoders.linear import Linear
from dcdr_deploy.imaging.encoding import Encoding
from dcdr_deploy.imaging.formats import SIGNATURE_BYTES, identify
from dcdr_deploy.imaging.gain_map import BrokenGainMapError, enlarged
from dcdr_deploy.imaging.gain_map_files import GainMap
from dcdr_deploy.imaging.orientation import upright

GAIN_MAP_FORMATS = ("JPEG", "AVIF", "HEIC", "JPEG XL")
"""Names of the formats in which gain maps are looked for."""

_LEAST_SHARE = 1e-3
"""Parts of the base's edges that a map must have; less is none of this picture."""


def has_gain_map(data: bytes) -> bool:
    """Whether a picture has a gain map, readable or not."""
    try:
        return gain_map_files.find(data) is not None
    except BrokenGainMapError:
        return True


def note_of(data: bytes) -> str:
    """A sentence about the gain map of a picture whose base alone is taken; empty without one."""
    try:
        found = gain_map_files.find(data)
    except BrokenGainMapError as reason:
        return f"has a gain map that cannot be read ({reason}); its SDR base was taken"
    if found is None:
        return ""
    return f"has a gain map ({found.by}, up to {found.recipe.stops:.2g} stops above white); its SDR base was taken"


def decode_with_gain_map(data: bytes) -> Linear:
    """The HDR rendition of a picture, upright, in units of SDR white.

    Raises:
        UnreadableError: no gain map, or one of the two that cannot be read, or a base that is HDR itself.
    """
    try:
        found = gain_map_files.find(data)
    except BrokenGainMapError as reason:
        raise UnreadableError(f"has a gain map that cannot be read ({reason}); export it again") from reason
    if found is None:
        raise UnreadableError("is SDR and has no gain map; give the HDR picture that was made of it, or leave it out")
    picture = identify(data[:SIGNATURE_BYTES])
    base, samples = picture.decode(data), identify(found.file[:SIGNATURE_BYTES]).decode(found.file)
    encoding = resolve(base.declared, 1 if base.colour.ndim == 2 else base.colour.shape[2])
    if encoding.hdr or not encoding.curves:
        raise UnreadableError(f"has a base of {encoding.name}, to which its gain map cannot be applied; export it anew")
    light = np.asarray(to_linear(base.colour, replace(encoding, matrix=None)), np.float32)
    colour = _samples(samples)
    if found.turned_alone:
        light, colour = upright(light, base.orientation), upright(colour, samples.orientation)
    if min(np.divide(colour.shape[:2], light.shape[:2])) < _LEAST_SHARE:
        raise damaged(f"a gain map of {colour.shape[1]} x {colour.shape[0]} pixels")
    lit = _lit(light, enlarged(colour, light.shape[:2]), encoding, found)
    if not found.turned_alone:
        lit = upright(lit, base.orientation)
    notes = [*base.notes, f"base x gain map ({found.by}), up to {found.recipe.stops:.2g} stops above white"]
    return Linear(lit, notes=notes)


def _samples(stored: StoredSamples) -> NDArray[np.float32]:
    """(h, w, 1) or (h, w, 3) of a map, in [0, 1]."""
    colour = stored.colour.astype(np.float32) / np.float32(np.iinfo(stored.colour.dtype).max)
    if colour.ndim == 3 and colour.shape[2] == 4:
        raise damaged("a gain map of four channels")
    return colour if colour.ndim == 3 else colour[..., None]


def _lit(
    light: NDArray[np.float32], samples: NDArray[np.float32], encoding: Encoding, found: GainMap
) -> NDArray[np.float32]:
    """The alternate in linear Rec. 709 of linear light in the base's primaries."""
    to_rec709 = np.eye(3) if encoding.matrix is None else encoding.matrix
    if found.recipe.in_base_colours:
        return _through(found.recipe.apply(light, samples), to_rec709)
    stated = resolve(found.alternate, 3)
    matrix = stated.matrix if stated.by and stated.matrix is not None else np.eye(3) if stated.by else to_rec709
    of_alternate = _through(light, np.linalg.inv(matrix) @ to_rec709)
    return _through(found.recipe.apply(of_alternate, samples), matrix)


def _through(light: NDArray[np.float32], matrix: NDArray[np.float64]) -> NDArray[np.float32]:
    return light if np.array_equal(matrix, np.eye(3)) else p.convert(light, matrix)
