"""HDR10's metadata in bit streams and in containers: mastering display and content light level, as bytes.

HEVC: SEI messages 137 and 144 (ITU-T H.265, D.2.28, D.2.35). AV1: metadata OBUs (AV1 specification, 5.8.3, 5.8.4).
MP4 and MOV: the boxes ``mdcv`` and ``clli`` (ISO/IEC 14496-12, 12.1.5). They are put in when the segments of a run are
joined, as only then the brightest frame is known; no picture is encoded again for that.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dcdr_deploy.imaging.isobmff_write import content_light, mastering_display
from dcdr_deploy.imaging.light import BLACK_NITS
from dcdr_deploy.imaging.primaries import Chromaticities

_SEI_PREFIX, _SEI_MASTERING, _SEI_LIGHT = 39, 137, 144
_FIRST_NOT_VCL = 32  # nal_unit_type below it is a slice (H.265, table 7-1)
_OBU_SEQUENCE, _OBU_METADATA = 1, 5
_OBU_LIGHT, _OBU_MASTERING = 1, 2

_SAMPLE_ENTRY_HEADER = 8 + 78  # box header and VisualSampleEntry (ISO/IEC 14496-12, 12.1.3.2)
_STSD_HEADER = 8 + 8
_CONTAINERS = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd")


@dataclass(frozen=True)
class Hdr10:
    """What HDR10 says of a video beside its code points.

    Attributes:
        display: primaries and white of the mastering display.
        peak_nits: its white, cd/m2.
        max_cll: the brightest channel of any pixel of any frame, cd/m2.
        max_fall: the brightest frame's mean of its pixels' brightest channels, cd/m2.
    """

    display: Chromaticities
    peak_nits: float
    max_cll: float
    max_fall: float

    def mastering(self) -> bytes:
        """Return the 24 bytes of ``mdcv`` and of the SEI message: G, B, R, white in 1/50000, then 1/10000 cd/m2."""
        return mastering_display(self.display, self.peak_nits)

    def light(self) -> bytes:
        """Return the 4 bytes of ``clli`` and of the SEI message: MaxCLL and MaxFALL in whole cd/m2."""
        return content_light(self.max_cll, self.max_fall)

    def mastering_of_av1(self) -> bytes:
        """Return metadata_hdr_mdcv: R, G, B, white in 1/65536, then luminances in 1/256 and 1/16384 cd/m2."""
        points = [min(round(number * 65536), 65535) for number in self.display]
        return struct.pack(">8H2I", *points, round(self.peak_nits * 256), max(round(BLACK_NITS * 16384), 1))


def nal_units(annex_b: bytes) -> list[bytes]:
    """Return the units of a byte stream (H.265, annex B), without start codes."""
    starts, place = [], annex_b.find(b"\0\0\1")
    while place >= 0:
        starts.append(place)
        place = annex_b.find(b"\0\0\1", place + 3)
    ends = [*starts[1:], len(annex_b)]
    return [annex_b[start + 3 : end].rstrip(b"\0") for start, end in zip(starts, ends, strict=True)]


def hevc_sample(annex_b: bytes, hdr10: Hdr10 | None) -> bytes:
    """Return an access unit as MP4 and Matroska hold it, each unit after its length in 4 bytes.

    Args:
        annex_b: from an encoder.
        hdr10: to be put before the first slice; ``None`` where the unit is no key frame, or the video is no HDR10.
    """
    units = nal_units(annex_b)
    if hdr10 is not None:
        messages = [_sei(_SEI_MASTERING, hdr10.mastering()), _sei(_SEI_LIGHT, hdr10.light())]
        slices = [number for number, unit in enumerate(units) if (unit[0] >> 1) & 63 < _FIRST_NOT_VCL]
        units[slices[0] : slices[0]] = messages
    return b"".join(struct.pack(">I", len(unit)) + unit for unit in units)


def _sei(kind: int, payload: bytes) -> bytes:
    body = bytes([kind, len(payload)]) + payload + b"\x80"
    return bytes([_SEI_PREFIX << 1, 1]) + _with_emulation_prevention(body)


def _with_emulation_prevention(body: bytes) -> bytes:
    """H.265, 7.4.1: two zero bytes are followed by a 3 where the next one is below 4."""
    out, zeros = bytearray(), 0
    for byte in body:
        if zeros >= 2 and byte < 4:
            out.append(3)
            zeros = 0
        out.append(byte)
        zeros = zeros + 1 if byte == 0 else 0
    return bytes(out)


def av1_sample(temporal_unit: bytes, hdr10: Hdr10 | None) -> bytes:
    """Return a temporal unit with the metadata after its sequence header; as it is for ``None``."""
    if hdr10 is None:
        return temporal_unit
    parts = []
    for kind, obu in _obus(temporal_unit):
        parts.append(obu)
        if kind == _OBU_SEQUENCE:
            parts += [_metadata(_OBU_MASTERING, hdr10.mastering_of_av1()), _metadata(_OBU_LIGHT, hdr10.light())]
    return b"".join(parts)


def _metadata(kind: int, payload: bytes) -> bytes:
    body = bytes([kind]) + payload + b"\x80"
    return bytes([_OBU_METADATA << 3 | 2, len(body)]) + body


def _obus(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the type and the bytes of each OBU; the last one may go without its size (AV1 specification, 5.3)."""
    place = 0
    while place < len(data):
        header = data[place]
        after = place + (2 if header & 4 else 1)
        if not header & 2:
            yield header >> 3 & 15, data[place:]
            return
        size = shift = 0
        while True:
            byte = data[after]
            size |= (byte & 127) << shift
            after, shift = after + 1, shift + 7
            if not byte & 128:
                break
        yield header >> 3 & 15, data[place : after + size]
        place = after + size


def with_boxes(mp4: bytes, hdr10: Hdr10) -> bytes:
    """Return a small MP4 or MOV file, whose index comes last, with ``mdcv`` and ``clli`` in its only sample entry."""
    data = bytearray(mp4)
    trail, (start, size) = _sample_entry(data)
    entry = bytes(data[start : start + size])
    new = b""
    for name, payload in ((b"mdcv", hdr10.mastering()), (b"clli", hdr10.light())):
        if name not in [kind for _, _, kind in _boxes(entry, _SAMPLE_ENTRY_HEADER, len(entry))]:
            new += struct.pack(">I4s", 8 + len(payload), name) + payload
    data[start + size : start + size] = new
    for place in (*trail, start):
        (old,) = struct.unpack_from(">I", data, place)
        struct.pack_into(">I", data, place, old + len(new))
    return bytes(data)


def _sample_entry(data: Sequence[int] | bytearray) -> tuple[list[int], tuple[int, int]]:
    """Return where the boxes around the first sample entry begin, and the entry's own place and size."""
    trail: list[int] = []
    begin, end = 0, len(data)
    for name in _CONTAINERS:
        start, size = next((at, size) for at, size, kind in _boxes(data, begin, end) if kind == name)
        trail.append(start)
        begin, end = start + (_STSD_HEADER if name == b"stsd" else 8), start + size
    start, size, _ = next(_boxes(data, begin, end))
    return trail, (start, size)


def _boxes(data: Sequence[int] | bytearray, begin: int, end: int) -> Iterator[tuple[int, int, bytes]]:
    """Yield place, size and kind of the boxes of a range."""
    while begin + 8 <= end:
        size, kind = struct.unpack_from(">I4s", bytes(data[begin : begin + 8]))
        if size < 8:
            return  # to the end of the file, or of 64 bits: no box of an index
        yield begin, size, kind
        begin += size
