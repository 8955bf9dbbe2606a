"""HEIC, AVIF and JPEG XL files for the tests: made by their libraries, put together anew where those cannot."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
from PIL import Image

from dcdr_deploy.imaging import isobmff
from dcdr_deploy.imaging import jxl_header as read_header
from dcdr_deploy.imaging.jpegxl.bits import Bits as ReadBits

_CONTENT_TYPES = {b"mime": b"application/rdf+xml\0"}
APPLE_GAIN_MAP = b"urn:com:apple:photo:2020:aux:hdrgainmap"


def heic_bytes(samples: np.ndarray, **options: Any) -> bytes:
    """Lossless but for the colour matrix; uint16 becomes 10 bits."""
    import pillow_heif

    stream = io.BytesIO()
    if samples.dtype == np.uint16:
        mode = "RGBA;16" if samples.shape[2] == 4 else "RGB;16"
        size = samples.shape[1], samples.shape[0]
        picture = pillow_heif.from_bytes(mode, size, np.ascontiguousarray(samples).tobytes())
    else:
        picture = pillow_heif.from_pillow(Image.fromarray(samples))
    picture.save(stream, **{"quality": -1, "chroma": 444, **options})
    return stream.getvalue()


def avif_bytes(samples: np.ndarray, **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(samples).save(stream, "AVIF", **{"quality": 100, "subsampling": "4:4:4", "speed": 10, **options})
    return stream.getvalue()


def deep_avif_bytes(samples: np.ndarray, bits: int, primaries: int = 1, transfer: int = 13) -> bytes:
    """uint16 samples as AVIF of 10 or 12 bits."""
    import imagecodecs

    return imagecodecs.avif_encode(
        samples >> (16 - bits),
        level=100,
        speed=10,
        bitspersample=bits,
        pixelformat="444",
        primaries=primaries,
        transfer=transfer,
        matrix=6,
    )


def exif_bytes(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[274] = orientation
    return exif.tobytes()


def box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", 8 + len(body)) + kind + body


def full_box(kind: bytes, body: bytes, version: int = 0, flags: int = 0) -> bytes:
    return box(kind, bytes([version]) + flags.to_bytes(3, "big") + body)


def assembled(
    brand: bytes,
    items: list[tuple[bytes, bytes, list[tuple[bytes, bytes]]]],
    references: list[tuple[bytes, int, tuple[int, ...]]] = (),
    primary: int = 1,
) -> bytes:
    """A HEIF file of items (type, payload, properties), numbered from 1 on."""
    properties = list(dict.fromkeys(each for _, _, own in items for each in own))
    ipco = box(b"ipco", b"".join(box(kind, body) for kind, body in properties))
    associations = b"".join(
        struct.pack(">HB", number, len(own)) + bytes(0x80 | (properties.index(each) + 1) for each in own)
        for number, (_, _, own) in enumerate(items, 1)
    )
    ipma = full_box(b"ipma", struct.pack(">I", len(items)) + associations)
    infe = b"".join(
        full_box(b"infe", struct.pack(">HH", number, 0) + kind + b"\0" + _CONTENT_TYPES.get(kind, b""), version=2)
        for number, (kind, _, _) in enumerate(items, 1)
    )
    iref = b"".join(box(kind, struct.pack(f">HH{len(to)}H", source, len(to), *to)) for kind, source, to in references)

    def meta(offsets: list[int]) -> bytes:
        entries = b"".join(
            struct.pack(">HHHII", number, 0, 1, offset, len(payload))
            for number, (offset, (_, payload, _)) in enumerate(zip(offsets, items, strict=True), 1)
        )
        return full_box(
            b"meta",
            full_box(b"hdlr", b"\0\0\0\0pict" + bytes(13))
            + full_box(b"pitm", struct.pack(">H", primary))
            + full_box(b"iloc", b"\x44\0" + struct.pack(">H", len(items)) + entries)
            + full_box(b"iinf", struct.pack(">H", len(items)) + infe)
            + (full_box(b"iref", iref) if iref else b"")
            + box(b"iprp", ipco + ipma),
        )

    head = box(b"ftyp", brand + bytes(4) + b"mif1miaf" + brand)
    start = len(head) + len(meta([0] * len(items))) + 8
    offsets = []
    for _, payload, _ in items:
        offsets.append(start)
        start += len(payload)
    return head + meta(offsets) + box(b"mdat", b"".join(payload for _, payload, _ in items))


def picture_item(file: bytes) -> tuple[bytes, bytes, list[tuple[bytes, bytes]]]:
    """The primary picture of a HEIC or AVIF file as an item for :func:`assembled`."""
    container = isobmff.read(file)
    item = container.items[container.primary]
    return item.kind, container.payload(container.primary), item.properties


def iso_gain_map(
    low: float, high: float, stops: float, *, gamma: float = 1.0, offset: float = 1 / 64, base_colours: bool = True
) -> bytes:
    """GainMapMetadata of one channel (ISO 21496-1, C.2)."""
    below = 2**16

    def ratio(value: float) -> tuple[int, int]:
        return round(value * below), below

    numbers = [*ratio(low), *ratio(high), *ratio(gamma), *ratio(offset), *ratio(offset)]
    head = struct.pack(">HHBIIII", 0, 0, 0x40 if base_colours else 0, *ratio(0), *ratio(stops))
    return head + struct.pack(">iIiIIIiIiI", *numbers)


def with_tmap(brand: bytes, base: bytes, gain: bytes, description: bytes, alternate: bytes = b"") -> bytes:
    """A file whose base is shown, and whose item ``tmap`` takes it to HDR by ``gain``, which is hidden."""
    ispe = isobmff.read(base).items[isobmff.read(base).primary].property(b"ispe")
    properties = [(b"ispe", ispe)] + ([(b"colr", alternate)] if alternate else [])
    items = [picture_item(base), picture_item(gain), (b"tmap", b"\0" + description, properties)]
    file = assembled(brand, items, [(b"dimg", 3, (1, 2))])
    flags = file.index(b"infe\x02\0\0\0\0\x02") + 7
    return file[:flags] + b"\x01" + file[flags + 1 :]


class Bits:
    """Writes the header of a JPEG XL codestream, least significant bits first."""

    def __init__(self) -> None:
        self._value, self._size = 0, 0

    def number(self, value: int, size: int) -> Bits:
        self._value |= value << self._size
        self._size += size
        return self

    def size(self, width: int, height: int) -> Bits:
        self.number(0, 1)
        self.number(0, 2).number(height - 1, 9) if height <= 512 else self.number(3, 2).number(height - 1, 30)
        self.number(0, 3)
        return self.number(0, 2).number(width - 1, 9) if width <= 512 else self.number(3, 2).number(width - 1, 30)

    def enumerated(self, value: int) -> Bits:
        if value < 2:
            return self.number(value, 2)
        return self.number(2, 2).number(value - 2, 4) if value < 18 else self.number(3, 2).number(value - 18, 6)

    def bytes(self) -> bytes:
        return self._value.to_bytes((self._size + 7) // 8, "little")


def jxl_header(
    width: int,
    height: int,
    *,
    bits: int = 8,
    orientation: int = 1,
    primaries: int = 1,
    transfer: int = 13,
    gamma: float | None = None,
    white: int = 1,
    icc: bool = False,
) -> bytes:
    """The header of a lossless RGB codestream without alpha (ISO/IEC 18181-1, annex D)."""
    out = Bits().size(width, height).number(0, 1)
    out.number(orientation != 1, 1)
    if orientation != 1:
        out.number(orientation - 1, 3).number(0, 3)
    out.number(0, 1)  # integers
    if bits in (8, 10, 12):
        out.number((8, 10, 12).index(bits), 2)
    else:
        out.number(3, 2).number(bits - 1, 6)
    out.number(bits <= 12, 1)  # modular 16-bit buffers are enough
    out.number(0, 2)  # extra channels
    out.number(0, 1)  # no XYB
    out.number(0, 1).number(icc, 1).enumerated(0)
    if not icc:
        out.enumerated(white).enumerated(primaries)
        if gamma is not None:
            out.number(1, 1).number(round(gamma * 1e7), 24)
        else:
            out.number(0, 1).enumerated(transfer)
        out.enumerated(1)
    if orientation != 1:
        out.number(1, 1)  # tone mapping as usual
    return b"\xff\x0a" + out.number(0, 2).number(1, 1).bytes()  # no extensions; usual transform


def jxl_bytes(samples: np.ndarray, *, bits: int = 8, **colours: Any) -> bytes:
    """Lossless RGB whose header says what is asked for; frames are libjxl's, which begin at a byte."""
    import imagecodecs

    codes = samples if samples.dtype == np.uint8 else samples >> (16 - bits)
    file = imagecodecs.jpegxl_encode(codes, lossless=True, bitspersample=bits, usecontainer=False)
    if not file.startswith(b"\xff\x0a"):  # 16 bits come in a container
        file = b"".join(file[each.begin : each.end] for each in isobmff.boxes(file) if each.kind == b"jxlc")
    height, width = samples.shape[:2]
    header = jxl_header(width, height, bits=bits, **colours)
    return header + file[_header_bytes(file) :]


def _header_bytes(file: bytes) -> int:
    """Length of the header that libjxl wrote: its bundles, no extensions, the usual transform."""
    bits = ReadBits(file, 16)
    read_header.read_size(bits)
    if bits.flag():  # all defaults
        return (bits.at + 1 + 7) // 8
    read_header._metadata(bits, read_header.Header(0, 0))
    return (bits.at + 3 + 7) // 8


def jxl_with_profile(samples: np.ndarray, profile: bytes, *, lossy: bool) -> bytes:
    """RGB whose colours a profile describes: libjxl's frames, and the profile as libjxl packs that of a JPEG.

    Args:
        samples: (H, W, 3) uint8; of lossy files sRGB, whatever the profile says.
        profile: not one that has a name of its own in JPEG XL.
        lossy: XYB, else the samples as they are.
    """
    import imagecodecs

    stream = io.BytesIO()
    Image.fromarray(samples).save(stream, "JPEG", icc_profile=profile)
    packed = imagecodecs.jpegxl_encode_jpeg(stream.getvalue())
    codestream = b"".join(
        packed[each.begin + 4 * (each.kind == b"jxlp") : each.end]
        for each in isobmff.boxes(packed)
        if each.kind in (b"jxlc", b"jxlp")
    )
    begin, end = read_header.parse(codestream).profile_at
    frames = imagecodecs.jpegxl_encode(samples, **({"distance": 0.1} if lossy else {"lossless": True}))
    height, width = samples.shape[:2]
    out = Bits().size(width, height).number(0, 3)  # neither defaults nor extra fields nor floats
    out.number(0, 2).number(1, 1).number(0, 2).number(lossy, 1)  # 8 bits, 16-bit buffers, no extra channels
    out.number(0, 1).number(1, 1).enumerated(0).number(0, 2).number(1, 1)  # a profile, RGB
    out.number(int.from_bytes(codestream, "little") >> begin & ((1 << (end - begin)) - 1), end - begin)
    return b"\xff\x0a" + out.bytes() + frames[_header_bytes(frames) :]
