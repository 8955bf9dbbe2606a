"""The size of a picture without decoding it, where its header tells it."""

from __future__ import annotations

import os
from pathlib import Path

from dcdr_deploy.errors import InputError
from dcdr_deploy.imaging.decoders.common import PILLOW_ERRORS, UnreadableError, quiet_decoders
from dcdr_deploy.imaging.decoders.tiff_directory import first_directory
from dcdr_deploy.imaging.orientation import ORIENTATION_TAG, swaps_axes
from dcdr_deploy.imaging.read import probe, read_image

_BY_PILLOW = ("PNG", "JPEG", "WebP", "BMP")
"""Formats whose header Pillow reads as stored; of others it may have turned the size already, or know nothing."""


def size_of_picture(path: str | os.PathLike[str]) -> tuple[int, int]:
    """(height, width) of what :func:`~dcdr_deploy.imaging.read.read_image` gives for a file.

    Of AVIF, HEIC and JPEG XL files, which may be cropped and turned by more than one of their parts, the picture itself
    is decoded.

    Raises:
        InputError: as there, for what the header can tell.
    """
    path = Path(path)
    kind = probe(path)
    try:
        with quiet_decoders():
            if kind == "TIFF":
                directory = first_directory(path.read_bytes())
                height, width = directory.size
                return (width, height) if swaps_axes(directory.tags.get(ORIENTATION_TAG)) else (height, width)
            if kind in _BY_PILLOW:
                from PIL import Image

                with Image.open(path) as picture:
                    turned = swaps_axes(picture.getexif().get(ORIENTATION_TAG))
                    return (picture.width, picture.height) if turned else (picture.height, picture.width)
    except UnreadableError as refusal:
        raise InputError(f"{path}: {refusal}") from refusal
    except PILLOW_ERRORS as error:
        raise InputError(f"{path}: cannot be read as an SDR picture; copy or export it again") from error
    return read_image(path).size
