"""HEIC and other HEIF (ISO/IEC 23008-12) by pillow-heif, which brings libheif; the extra ``heif``."""

from __future__ import annotations

import io

import numpy as np

from dcdr_deploy.imaging.decoders import items
from dcdr_deploy.imaging.decoders.avif import decode_avif
from dcdr_deploy.imaging.decoders.common import PILLOW_ERRORS, StoredSamples, damaged
from dcdr_deploy.system import packages


def decode_heif(data: bytes) -> StoredSamples:
    """Decode the primary picture at its full depth; libheif turns it upright and crops it.

    A picture coded as AV1 goes the way of AVIF.

    Raises:
        UnreadableError: damaged, too many pixels, a coding without a decoder, or pillow-heif is not installed.
    """
    shown = items.shown(data)
    if shown.coded == b"av01":
        return decode_avif(data)
    if not packages.installed("pillow_heif"):
        raise items.missing("HEIC", "pillow-heif", packages.install_line("heif"))
    import pillow_heif

    try:
        file = pillow_heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=False, hdr_to_16bit=False)
        picture = file[file.primary_index]
        samples = np.asarray(picture)
        bits = int(picture.info.get("bit_depth", 8)) if samples.dtype == np.uint16 else 8
    except PILLOW_ERRORS as error:
        raise damaged(error) from error
    colour, alpha = items.split(items.expanded(samples, bits))
    if alpha is not None and picture.premultiplied_alpha:
        colour = items.unmultiplied(colour, alpha)
    notes = [*shown.notes, *([f"first of {len(file)} pictures"] if len(file) > 1 else [])]
    return StoredSamples(
        colour=colour,
        alpha=alpha,
        declared=shown.declared,
        stated_orientation=shown.orientation,
        mode=picture.mode,
        notes=notes,
    )
