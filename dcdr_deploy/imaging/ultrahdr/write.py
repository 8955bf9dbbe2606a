"""Ultra HDR files: the SDR picture as it was, a gain map after it, and the words that tie them together."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.errors import OutputError
from dcdr_deploy.imaging.carried import NOTHING, Carried
from dcdr_deploy.imaging.exif_block import COLOR_SPACE, ORIENTATION, Exif, number_entry
from dcdr_deploy.imaging.exif_block import assembled as assembled_exif
from dcdr_deploy.imaging.gain_map import HDRGM
from dcdr_deploy.imaging.jpeg_file import APP13, EXIF, GAIN_MAP, MULTI_PICTURE, PHOTOSHOP, XMP, iptc_resource
from dcdr_deploy.imaging.limits import limit
from dcdr_deploy.imaging.orientation import UPRIGHT, stored_layout
from dcdr_deploy.imaging.ultrahdr.base import Base, base_of, encode_jpeg
from dcdr_deploy.imaging.ultrahdr.gain import LARGEST, encoded, measured
from dcdr_deploy.imaging.ultrahdr.metadata import (
    CONTAINER,
    ITEM,
    iso_of_base,
    iso_of_map,
    mpf,
    xmp_of_base,
    xmp_of_map,
)
from dcdr_deploy.imaging.ultrahdr.segments import (
    APP0,
    APP1,
    APP2,
    LARGEST_PAYLOAD,
    START,
    Segment,
    join,
    segment,
    split,
)
from dcdr_deploy.imaging.xmp import OWN, BrokenPacketError
from dcdr_deploy.imaging.xmp_write import extended, own_description, packet

_logger = logging.getLogger(__name__)

_MPF_HEADER_AT = 8
"""Bytes from the begin of an MPF segment to its TIFF header, from which its offsets count."""

_REPLACED = ((APP2, GAIN_MAP), (APP2, MULTI_PICTURE))
"""Segments of a source that speak of pictures which are not there any more."""

_CAMERA = "http://ns.google.com/photos/1.0/camera/"
"""Namespace in which phones say that a film follows the picture."""

_COMMENT = 0xFE

_OUTDATED = (HDRGM, CONTAINER, ITEM, _CAMERA, OWN)


def write_ultrahdr(
    path: Path,
    linear: NDArray[np.floating[Any]],
    peak: float,
    *,
    source: Path,
    quality: int,
    metadata: Mapping[str, str],
    carried: Carried = NOTHING,
) -> None:
    """Write a picture that is the source in an SDR viewer and the restored light in an HDR one.

    Args:
        path: where to write; not atomic by itself.
        linear: (H, W, 3) linear Rec. 709 in network units, upright. NaN and negative values count as 0, what is above
            49 x SDR white (PQ's peak) as that.
        peak: linear value of 1.0 in units of SDR white.
        source: the SDR picture. The scans, tables, Exif and profile of a JPEG in colour stay, byte for byte; other gain
            maps, previews and films behind it are left out.
        quality: 1 to 100, of the gain map, and of the base where the source is no JPEG.
        metadata: what made the picture; goes into its XMP.
        carried: Exif, XMP and IPTC for a base that is made; or that a base which is kept is to be stripped of its own.

    Raises:
        InputError: the source cannot be read.
        OutputError: the source has another size than ``linear`` now.
        OSError: the file cannot be written.
    """
    base = base_of(source, quality)
    light = stored_layout(linear, base.orientation)
    if light.shape[:2] != base.size:
        raise OutputError(f"{source}: has become another picture since it was read; run it again")
    gain_map = _gain_map_jpeg(base, light, peak, quality)
    path.write_bytes(assembled(described(base, carried), base.jpeg.scans, gain_map, metadata))


def described(base: Base, carried: Carried) -> list[Segment]:
    """Return the segments of a base with the metadata that it is to have.

    A base that is kept has its own already. Stripped, it has none, but for an orientation that it needs.
    """
    segments = list(base.jpeg.segments)
    if carried.strip:
        segments = [each for each in segments if not _describes(each)]
        if base.orientation != UPRIGHT:
            needed = assembled_exif(Exif({ORIENTATION: number_entry(base.orientation)}))
            segments.insert(0, segment(APP1, EXIF + needed))
        return segments
    if any(_describes(each) for each in segments):
        return segments
    block = None
    if carried.exif is not None:  # what is made as a base is sRGB
        camera = {**carried.exif.camera, COLOR_SPACE: number_entry(1)}
        block = assembled_exif(replace(carried.exif, camera=camera))
    resource = iptc_resource(carried.iptc) if carried.iptc is not None else None
    wanted = ((APP1, EXIF, block), (APP1, XMP, carried.xmp), (APP13, PHOTOSHOP, resource))
    added = []
    for marker, name, body in wanted:
        if body is not None and len(name) + len(body) <= LARGEST_PAYLOAD:
            added.append(segment(marker, name + body))
        elif body is not None:
            _logger.warning("a JPEG has no room for %d bytes of metadata; they are left out", len(body))
    first, others = _after_jfif(segments)
    return [*first, *added, *others]


def _describes(each: Segment) -> bool:
    """Tell whether a segment says something of the picture, and not how to decode it."""
    return each.marker in (APP1, APP13, _COMMENT)


def _gain_map_jpeg(base: Base, light: NDArray[np.floating[Any]], peak: float, quality: int) -> bytes:
    """Return the gain map with its metadata."""

    def lights(start: int, stop: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        with np.errstate(over="ignore", invalid="ignore"):  # what is no light, or too much
            restored = np.asarray(light[start:stop], np.float32) * np.float32(peak)
        return base.lights(start, stop, limit(restored, LARGEST))

    codes, meaning = encoded(measured(*base.size, lights))
    jpeg = split(encode_jpeg(codes, quality))
    added = (segment(APP1, XMP + packet(xmp_of_map(meaning))), iso_of_map(meaning))
    first, others = _after_jfif(jpeg.segments)
    return join((*first, *added, *others), jpeg.scans)


def assembled(segments: Sequence[Segment], scans: bytes, gain_map: bytes, metadata: Mapping[str, str]) -> bytes:
    """Return the whole file.

    Args:
        segments: of the SDR picture.
        scans: of the SDR picture.
        gain_map: a JPEG.
        metadata: what made the picture.
    """
    first, others = _after_jfif([each for each in segments if not any(each.begins(*old) for old in _REPLACED)])
    xmp, others = _xmp(others, len(gain_map), metadata)
    head = [*first, *xmp, iso_of_base()]
    begin = len(START) + sum(len(each.raw) for each in head)
    index = mpf(0, 0, 0)
    rest = sum(len(each.raw) for each in others) + len(scans)
    primary = begin + len(index.raw) + rest
    index = mpf(primary, len(gain_map), primary - begin - _MPF_HEADER_AT)
    return join((*head, index, *others), scans) + gain_map


def _after_jfif(segments: Sequence[Segment]) -> tuple[list[Segment], list[Segment]]:
    """Part segments where ours come in: JFIF's and Exif's are to be the first ones."""
    count = 0
    while count < len(segments) and (segments[count].marker == APP0 or segments[count].begins(APP1, EXIF)):
        count += 1
    return list(segments[:count]), list(segments[count:])


def _xmp(others: list[Segment], length: int, metadata: Mapping[str, str]) -> tuple[list[Segment], list[Segment]]:
    """Return the XMP of the SDR picture with ours in it, and the segments that are left."""
    ours = (xmp_of_base(length), own_description(metadata))
    old = next((each for each in others if each.begins(APP1, XMP)), None)
    if old is None:
        return [segment(APP1, XMP + packet(*ours))], others
    rest = [each for each in others if each is not old]
    try:
        new = extended(old.payload[len(XMP) :], *ours, without=_OUTDATED)
    except BrokenPacketError:  # what no reader understands cannot be kept beside what all have to
        return [segment(APP1, XMP + packet(*ours))], rest
    if len(XMP) + len(new) > LARGEST_PAYLOAD:
        _logger.warning("no room for the gain map beside the picture's own XMP; only readers of ISO 21496-1 find it")
        return [old], rest
    return [segment(APP1, XMP + new)], rest
