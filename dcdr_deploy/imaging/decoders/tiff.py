"""TIFF 6.0 and BigTIFF: up to 8 bits a sample by Pillow, more by our own layout (``tiff_samples.py``)."""

from __future__ import annotations

import functools
import io
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.imaging import exif
from dcdr_deploy.imaging import tiff_file as t
from dcdr_deploy.imaging.declared import Declared
from dcdr_deploy.imaging.decoders.common import PILLOW_ERRORS, StoredSamples, UnreadableError, own_peak, unsupported
from dcdr_deploy.imaging.decoders.tiff_directory import (
    BIG_ENDIAN_BIG_TIFF,
    FLOAT,
    UNSIGNED,
    VOID,
    Directory,
    first_directory,
)
from dcdr_deploy.imaging.decoders.tiff_samples import PICTURE_COMPRESSIONS, stored_samples
from dcdr_deploy.imaging.decoders.tiff_ycbcr import YCBCR, rgb_of_ycbcr
from dcdr_deploy.imaging.decoders.with_pillow import decode_with
from dcdr_deploy.imaging.orientation import ORIENTATION_TAG, valid_orientation

if TYPE_CHECKING:
    from PIL import ImageFile

_COLOUR_MAP = 320
_MOST_SAMPLES_OF_PILLOW = 6
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _CMYK = 0, 1, 2, 5  # PhotometricInterpretation
_COLOUR_SAMPLES = {_WHITE_IS_ZERO: 1, _BLACK_IS_ZERO: 1, _RGB: 3, _CMYK: 4}
_EXPORT_ADVICE = "export it as 16-bit RGB TIFF or PNG"


def decode_tiff(data: bytes) -> StoredSamples:
    """Decode the first page of an SDR picture at its full depth.

    Raises:
        UnreadableError: as :func:`decode_any`, or floating-point samples.
    """
    directory = first_directory(data)
    if FLOAT in directory.formats:
        raise UnreadableError("holds floating-point samples, so it is HDR already; give an 8- or 16-bit SDR picture")
    return _decode(directory)


def decode_any(data: bytes) -> StoredSamples:
    """Decode the first page; floats become float32 in ``colour`` and have no alpha.

    Raises:
        UnreadableError: truncated or corrupt data, too many pixels, a camera RAW file, or a compression or layout that
            is not known here.
    """
    return _decode(first_directory(data))


def _decode(directory: Directory) -> StoredSamples:
    bits, floating = directory.bits, FLOAT in directory.formats
    if not floating and (
        not directory.formats <= {UNSIGNED, VOID} or max(bits) > 16 or (max(bits) > 8 and len(bits) > 1)
    ):
        raise UnreadableError(
            f"has samples of {'/'.join(map(str, sorted(bits)))} bits in an unusual format; {_EXPORT_ADVICE}"
        )
    if not floating and 8 < max(bits) < 16:
        raise UnreadableError(f"has samples of {max(bits)} bits, which are not supported; {_EXPORT_ADVICE}")
    plain = directory.compression not in PICTURE_COMPRESSIONS
    if plain and bits == {8} and directory.number(t.PHOTOMETRIC, -1) == YCBCR:
        stored = _decode_ycbcr(directory)
    elif floating or bits == {16} or (bits == {8} and (_is_big_endian_big(directory) or (plain and _extra(directory)))):
        stored = _decode_deep(directory)
    else:
        if directory.samples > _MOST_SAMPLES_OF_PILLOW:  # it would write a line of its own about them
            raise unsupported(f"{directory.samples} samples a pixel are not supported")
        stored = decode_with(_pillow_plugin(), directory.data)
        stored.notes.clear()  # its count of pages walks the whole file; the directory has said it already
    if directory.left_out:
        stored.notes.append("reduced pictures or masks before the first picture left out")
    if directory.following:
        stored.notes.append("first of several pages")
    stored.texts = _texts(directory)
    stored.declared = _declared(directory)
    stored.declared.own_peak = own_peak(stored.texts)
    return stored


def _is_big_endian_big(directory: Directory) -> bool:
    return directory.data.startswith(BIG_ENDIAN_BIG_TIFF)


def _extra(directory: Directory) -> bool:
    """Whether there are samples beyond the colours, most kinds of which Pillow refuses."""
    return directory.samples > _COLOUR_SAMPLES.get(directory.number(t.PHOTOMETRIC, -1), directory.samples)


@functools.cache
def _pillow_plugin() -> type[ImageFile.ImageFile]:
    from PIL import ImagePalette, TiffImagePlugin

    class WithNarrowColourMaps(TiffImagePlugin.TiffImageFile):
        """Old writers put codes of 8 bits into the 16 of a ColorMap, which libtiff and others tell by their size."""

        def _setup(self) -> None:
            super()._setup()
            codes = self.tag_v2.get(_COLOUR_MAP)
            if self.mode in ("P", "PA") and codes and max(codes) < 256:
                self.palette = ImagePalette.raw("RGB;L", bytes(codes))

    return WithNarrowColourMaps


def _decode_ycbcr(directory: Directory) -> StoredSamples:
    orientation = valid_orientation(directory.tags.get(ORIENTATION_TAG))
    return StoredSamples(rgb_of_ycbcr(directory), orientation=orientation, stated_orientation=orientation, mode="YCbCr")


def _texts(directory: Directory) -> dict[str, str]:
    """Software, and the ``key=value`` lines of ImageDescription by lower-case keys."""
    lines = re.findall(r"^(\w+)=(.*)$", directory.text(t.DESCRIPTION), re.MULTILINE)
    return {"software": directory.text(t.SOFTWARE), **{key.lower(): value for key, value in lines}}


def _declared(directory: Directory) -> Declared:
    from PIL import Image

    profile = directory.tags.get(t.ICC_PROFILE)
    declared = Declared(icc=profile if isinstance(profile, bytes) and profile else None)
    block = Image.Exif()
    with suppress(*PILLOW_ERRORS):  # what Exif's directories say can be missing; the first one has been read
        block.load_from_fp(io.BytesIO(directory.data))
        exif.declare(block, declared)
    declared.notes.clear()
    exif.declare_colorimetry(directory.tags, declared)
    return declared


def _decode_deep(directory: Directory) -> StoredSamples:
    photometric, samples = directory.number(t.PHOTOMETRIC, -1), directory.samples
    wanted = _COLOUR_SAMPLES.get(photometric)
    if wanted is None or samples < wanted:
        depth = max(directory.bits)
        raise UnreadableError(
            f"is a {depth}-bit TIFF of photometric kind {photometric} with {samples} samples; {_EXPORT_ADVICE}"
        )
    pixels = stored_samples(directory)
    floating = pixels.dtype.kind == "f"
    colour = np.ascontiguousarray(pixels[..., 0] if wanted == 1 else pixels[..., :wanted])
    notes: list[str] = []
    if floating:
        with np.errstate(over="ignore"):  # doubles beyond float32 become infinite, which the reader masks
            colour = colour.astype(np.float32)
        alpha = None
    else:
        if photometric == _WHITE_IS_ZERO:
            colour = np.iinfo(colour.dtype).max - colour
        colour, alpha = _split(colour, pixels, directory, wanted, notes)
    orientation = valid_orientation(directory.tags.get(ORIENTATION_TAG))
    kind = {1: "I", 3: "RGB", 4: "CMYK"}[wanted]
    return StoredSamples(
        colour=colour,
        alpha=alpha,
        orientation=orientation,
        stated_orientation=orientation,
        mode=f"{kind};{max(directory.bits)}" + ("F" if floating else "") + ("+A" if alpha is not None else ""),
        notes=notes,
    )


def _split(
    colour: NDArray[Any], pixels: NDArray[Any], directory: Directory, wanted: int, notes: list[str]
) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Colour without, and with alpha apart from, what ExtraSamples say."""
    samples = directory.samples
    extras = directory.numbers(t.EXTRA_SAMPLES)
    kinds = [(i, kind) for i, kind in enumerate(extras) if kind in (t.ASSOCIATED_ALPHA, t.UNASSOCIATED_ALPHA)]
    if kinds and wanted + kinds[0][0] < samples:
        index, kind = kinds[0]
        alpha = np.ascontiguousarray(pixels[..., wanted + index])
        if kind == t.ASSOCIATED_ALPHA:
            notes.append("associated alpha: colours divided by it")
            return _unassociate(colour, alpha), alpha
        return colour, alpha
    if samples > wanted:
        notes.append(f"{samples - wanted} extra samples of unknown meaning left out")
    return colour, None


def _unassociate(colour: NDArray[Any], alpha: NDArray[Any]) -> NDArray[Any]:
    """Divide by alpha; where alpha is 0 the colour stays as stored."""
    top = np.iinfo(colour.dtype).max
    divisor = alpha if colour.ndim == 2 else alpha[..., None]
    scaled = colour.astype(np.float32) * (np.float32(top) / np.maximum(divisor, 1).astype(np.float32))
    return np.where(divisor > 0, np.minimum(np.rint(scaled), top), colour).astype(colour.dtype)
