"""AVIF: 8 bits by Pillow (from 11.3 on), 10 and 12 bits by imagecodecs, both through libavif."""

from __future__ import annotations

import numpy as np

from dcdr_deploy.imaging.decoders import items
from dcdr_deploy.imaging.decoders.common import PILLOW_ERRORS, StoredSamples, damaged
from dcdr_deploy.imaging.decoders.with_pillow import decode_with
from dcdr_deploy.system import packages


def decode_avif(data: bytes) -> StoredSamples:
    """Decode the primary picture, of a sequence the first.

    Pillow gives 8 bits of every picture; where there are more, or Pillow cannot, imagecodecs is taken if it is
    installed. Bits that are lost are noted.

    Raises:
        UnreadableError: damaged, too many pixels, or nothing that decodes AVIF is installed.
    """
    shown = items.shown(data)
    if shown.coded != b"av01":
        raise items.unknown_coding(shown.coded)
    from PIL import features

    by_pillow, by_imagecodecs = features.check("avif"), packages.installed("imagecodecs")
    if not (by_pillow or by_imagecodecs):
        raise items.missing("AVIF", "imagecodecs", packages.install_line("formats"))
    if by_imagecodecs and (shown.bits > 8 or not by_pillow):
        stored = _by_imagecodecs(data, shown.bits)
    else:
        stored = _by_pillow(data)
        if shown.bits > 8:
            line = packages.install_line("formats")
            stored.notes.append(f"{shown.bits}-bit samples reduced to 8 bits; with imagecodecs they are kept: {line}")
    if stored.colour.shape[:2] != (shown.size[1], shown.size[0]):
        raise damaged(f"decoded as {stored.colour.shape[1]} x {stored.colour.shape[0]} pixels")
    if shown.crop is not None:
        stored.colour = np.ascontiguousarray(stored.colour[shown.crop])
        stored.alpha = None if stored.alpha is None else np.ascontiguousarray(stored.alpha[shown.crop])
    stored.declared = shown.declared
    stored.orientation = stored.stated_orientation = shown.orientation
    stored.notes += shown.notes
    return stored


def _by_pillow(data: bytes) -> StoredSamples:
    from PIL import AvifImagePlugin

    return decode_with(AvifImagePlugin.AvifImageFile, data)


def _by_imagecodecs(data: bytes, bits: int) -> StoredSamples:
    import imagecodecs

    try:
        samples = imagecodecs.avif_decode(data, index=0)
    except (*PILLOW_ERRORS, imagecodecs.AvifError) as error:
        raise damaged(error) from error
    colour, alpha = items.split(items.expanded(samples, bits))
    mode = ("L" if colour.ndim == 2 else "RGB") + ("A" if alpha is not None else "")
    return StoredSamples(colour, alpha, mode=f"{mode};{bits}")
