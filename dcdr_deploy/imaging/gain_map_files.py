"""Where pictures keep their gain map: behind a JPEG, packed in JPEG XL or not, or as an item of HEIF and AVIF.

===============================  ==========================================  ========================================
file                             the map                                     its description
===============================  ==========================================  ========================================
JPEG (Ultra HDR)                 a picture of the MP index                   its APP2 segment of ISO 21496-1, else its
                                                                             XMP ``hdrgm``
HEIC, AVIF                       second input of an item ``tmap``            that item's bytes (ISO 21496-1)
HEIC, JPEG of older iPhones      auxiliary picture of Apple's type, or a     XMP ``HDRGainMapHeadroom``, else the maker
                                 picture of the MP index                     note of the base
JPEG XL                          that of the JPEG packed in it; one of its own (box ``jhgm``) is not looked into
===============================  ==========================================  ========================================
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from dcdr_deploy.imaging import isobmff, jpeg_file, jxl_header, xmp
from dcdr_deploy.imaging.declared import Declared
from dcdr_deploy.imaging.decoders import items, jxl
from dcdr_deploy.imaging.decoders.common import UnreadableError
from dcdr_deploy.imaging.gain_map import (
    AppleRecipe,
    BrokenGainMapError,
    Recipe,
    apple_headroom,
    from_iso,
    from_xmp,
)
from dcdr_deploy.system import packages

_APPLE_AUXILIARY = b"urn:com:apple:photo:2020:aux:hdrgainmap"
_APPLE_XMP = "http://ns.apple.com/HDRGainMap/1.0/"
_APPLE_NOTE = b"Apple iOS\0"
_OWN_OF_JPEG_XL = b"jhgm"
_NOTE_HEADER = 14  # bytes before the note's directory
_EXIF_DIRECTORY, _MAKER_NOTE = 34665, 37500


@dataclass(frozen=True)
class GainMap:
    """A gain map that was found.

    Attributes:
        recipe: how it is applied.
        file: a picture file of its own.
        by: what describes it, as users know it.
        alternate: what is said of the alternate's colours; its curve does not count.
        turned_alone: whether its own file says how it stands; else it stands as the base does.
    """

    recipe: Recipe | AppleRecipe
    file: bytes
    by: str
    alternate: Declared
    turned_alone: bool


def find(data: bytes) -> GainMap | None:
    """The gain map of a JPEG, HEIC, AVIF or JPEG XL; ``None`` where it has none.

    Raises:
        BrokenGainMapError: there is one, and it cannot be read.
    """
    if data.startswith(b"\xff\xd8"):
        return _of_jpeg(data)
    try:
        if data.startswith((jxl_header.CODESTREAM, jxl_header.CONTAINER)):
            return _of_jpeg_xl(data)
        container = isobmff.read(data)
        return _by_tmap(container) or _by_apple(container)
    except (isobmff.BrokenContainerError, struct.error) as error:
        raise BrokenGainMapError(str(error)) from error


def _of_jpeg(data: bytes) -> GainMap | None:
    for picture in jpeg_file.pictures_behind(data):
        icc = jpeg_file.body_of(picture, jpeg_file.APP2, b"ICC_PROFILE\0") or b""
        alternate = Declared(icc=icc[2:] or None)
        iso = jpeg_file.body_of(picture, jpeg_file.APP2, jpeg_file.GAIN_MAP)
        if iso is not None:
            return GainMap(from_iso(iso), picture, "ISO 21496-1", alternate, turned_alone=False)
        packet = jpeg_file.body_of(picture, jpeg_file.APP1, jpeg_file.XMP)
        recipe = from_xmp(packet) if packet is not None else None
        if recipe is not None:
            return GainMap(recipe, picture, "hdrgm XMP", alternate, turned_alone=False)
        if packet is not None and _APPLE_AUXILIARY in packet:
            block = jpeg_file.body_of(data, jpeg_file.APP1, jpeg_file.EXIF)
            return GainMap(_apple_recipe(packet, block), picture, "Apple's gain map", Declared(), turned_alone=False)
    return None


def _of_jpeg_xl(data: bytes) -> GainMap | None:
    kinds = {kind for kind, _ in jxl.boxes_of(data)}
    if jxl.PACKED_JPEG in kinds and packages.installed("imagecodecs"):
        try:
            return _of_jpeg(jxl.packed_jpeg(data))
        except UnreadableError as error:
            raise BrokenGainMapError(str(error)) from error
    if _OWN_OF_JPEG_XL in kinds:
        raise BrokenGainMapError("it is of JPEG XL's own kind, which is not looked into")
    return None


def _by_tmap(container: isobmff.Container) -> GainMap | None:
    """A derived item ``tmap`` (ISO/IEC 23008-12:2025, 6.6.2.4) of the primary picture."""
    for number, item in container.items.items():
        inputs = container.targets(b"dimg", number) if item.kind == b"tmap" else ()
        if len(inputs) < 2 or container.primary not in (number, inputs[0]):
            continue
        body = container.payload(number)
        if body[:1] != b"\0":
            raise BrokenGainMapError(f"its description is of version {body[:1].hex()}")
        container.check_complete(inputs[1])
        alternate = items.declared_of(item)
        return GainMap(from_iso(body[1:]), container.with_primary(inputs[1]), "ISO 21496-1", alternate, True)
    return None


def _by_apple(container: isobmff.Container) -> GainMap | None:
    for number in container.sources(b"auxl", container.primary):
        kind = container.items[number].property(b"auxC") if number in container.items else None
        if kind is None or kind[4:].split(b"\0")[0] != _APPLE_AUXILIARY:
            continue
        container.check_complete(number)
        packet = items.described(container, number)[1]
        recipe = _apple_recipe(packet, items.described(container, container.primary)[0])
        return GainMap(recipe, container.with_primary(number), "Apple's gain map", Declared(), True)
    return None


def _apple_recipe(packet: bytes | None, exif_block: bytes | None) -> AppleRecipe:
    """The headroom by the map's XMP, else by the base's maker note."""
    if packet is not None:
        try:
            stated = xmp.values(xmp.parse(packet), _APPLE_XMP, "HDRGainMapHeadroom")
            if stated:
                return AppleRecipe(float(stated[0]))
        except ValueError as error:
            raise BrokenGainMapError(f"its headroom cannot be read: {error}") from error
    numbers = _maker_numbers(exif_block) if exif_block else {}
    if not {33, 48} <= numbers.keys():
        raise BrokenGainMapError("nothing says how bright it is")
    return AppleRecipe(apple_headroom(numbers[33], numbers[48]))


def _maker_numbers(exif_block: bytes) -> dict[int, float]:
    """The fractions in Apple's maker note by their tags; none where it is not Apple's, or damaged."""
    from dcdr_deploy.imaging.decoders.common import PILLOW_ERRORS
    from dcdr_deploy.imaging.orientation import exif_of_block

    try:
        note = exif_of_block(exif_block).get_ifd(_EXIF_DIRECTORY).get(_MAKER_NOTE, b"")
    except PILLOW_ERRORS:
        return {}
    if not isinstance(note, bytes) or not note.startswith(_APPLE_NOTE):
        return {}
    found = {}
    try:
        (count,) = struct.unpack_from(">H", note, _NOTE_HEADER)
        for entry in range(count):
            tag, kind, number, at = struct.unpack_from(">HHII", note, _NOTE_HEADER + 2 + 12 * entry)
            if kind == 10 and number == 1:  # SRATIONAL, counted from the note's begin
                above, below = struct.unpack_from(">ii", note, at)
                found[tag] = above / below
    except (struct.error, ZeroDivisionError):
        return {}
    return found
