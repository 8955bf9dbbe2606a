"""8-bit pictures by Pillow, which is strict about truncated data (OpenCV fills the rest with grey)."""

from __future__ import annotations

import io
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from dcdr_deploy.imaging import exif
from dcdr_deploy.imaging.declared import Declared
from dcdr_deploy.imaging.decoders.common import PILLOW_ERRORS, StoredSamples, UnreadableError, check_size, damaged
from dcdr_deploy.imaging.orientation import ORIENTATION_TAG, UPRIGHT, valid_orientation

if TYPE_CHECKING:
    from PIL import ImageFile

# Pillow mode -> mode of the colour samples that are kept. Alpha is split off before.
_COLOUR_MODE = {
    "1": "L",
    "L": "L",
    "LA": "L",
    "La": "L",
    "P": "RGB",
    "PA": "RGB",
    "RGB": "RGB",
    "RGBA": "RGB",
    "RGBa": "RGB",
    "RGBX": "RGB",
    "YCbCr": "RGB",
    "CMYK": "CMYK",
}
_ALPHA_MODES = frozenset({"LA", "La", "PA", "RGBA", "RGBa"})


def decode_webp(data: bytes) -> StoredSamples:
    """WebP, lossy and lossless; the first frame of an animation."""
    from PIL import WebPImagePlugin

    return decode_with(WebPImagePlugin.WebPImageFile, data)


def decode_with(plugin: type[ImageFile.ImageFile], data: bytes) -> StoredSamples:
    """Decode with one Pillow plugin, chosen by our own look at the content.

    The plugin class is called instead of ``Image.open`` because that compares sizes with a limit that is global to the
    process and lower than ours. Constructing it reads the header only.

    Raises:
        UnreadableError: damaged data, too many pixels, or samples that are no 8-bit picture.
    """
    try:
        image = plugin(io.BytesIO(data))
    except PILLOW_ERRORS as error:
        raise damaged(error) from error
    check_size(*image.size)
    if image.mode not in _COLOUR_MODE:
        raise UnreadableError(
            f"has samples of kind {image.mode}, not an 8- or 16-bit SDR picture; export it as 16-bit RGB"
        )
    mode, stated = image.mode, _orientation(image)
    declared = _declared(image)
    notes = _frame_notes(image)
    try:
        image.load()
        colour, alpha = _split(image)
    except PILLOW_ERRORS as error:
        raise damaged(error) from error
    # Pillow turns TIFFs upright while it loads them and drops the tag; what is left is for us.
    return StoredSamples(
        colour=colour,
        alpha=alpha,
        declared=declared,
        orientation=_orientation(image),
        stated_orientation=stated,
        mode=mode,
        notes=notes,
    )


def _split(image: ImageFile.ImageFile) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any] | None]:
    """Colour and alpha of a loaded picture; a transparent colour or palette entry counts as alpha."""
    target = _COLOUR_MODE[image.mode]
    if image.mode not in _ALPHA_MODES and "transparency" not in image.info:
        return np.array(image.convert(target)), None
    rgba = np.array(image.convert("RGBA"))
    colour = rgba[..., 0] if target == "L" else rgba[..., :3]
    return np.ascontiguousarray(colour), np.ascontiguousarray(rgba[..., 3])


def _declared(image: ImageFile.ImageFile) -> Declared:
    declared = Declared(icc=image.info.get("icc_profile") or None)
    with suppress(*PILLOW_ERRORS):  # a damaged Exif block says nothing about the pixels
        exif.declare(image.getexif(), declared)
    return declared


def _orientation(image: ImageFile.ImageFile) -> int:
    try:
        return valid_orientation(image.getexif().get(ORIENTATION_TAG))
    except PILLOW_ERRORS:  # a damaged Exif block says nothing about the pixels
        return UPRIGHT


def _frame_notes(image: ImageFile.ImageFile) -> list[str]:
    try:
        frames = getattr(image, "n_frames", 1)
    except PILLOW_ERRORS:  # a damaged chain of later pages; the first may be whole
        return ["later pages cannot be counted; only the first was read"]
    return [f"first of {frames} frames"] if frames > 1 else []
