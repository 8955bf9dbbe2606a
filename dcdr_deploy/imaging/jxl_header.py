"""The header of a JPEG XL codestream (ISO/IEC 18181-1, annex D): size, depth, orientation and colours.

The library for the pixels tells neither before it has decoded them, nor the colours at all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from dcdr_deploy.imaging import h273
from dcdr_deploy.imaging.declared import Stated
from dcdr_deploy.imaging.jpegxl.bits import Bits, BrokenStreamError
from dcdr_deploy.imaging.jpegxl.icc import read_profile
from dcdr_deploy.imaging.primaries import Chromaticities

CODESTREAM = b"\xff\x0a"
CONTAINER = b"\0\0\0\x0cJXL \r\n\x87\n"

_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}
_GRAY, _XYB = 1, 2
_CUSTOM = 2
_D65, _EQUAL, _DCI_WHITE = 1, 10, 11
_WHITES = {_D65: (0.3127, 0.3290), _EQUAL: (1 / 3, 1 / 3), _DCI_WHITE: (0.314, 0.351)}
_SRGB, _REC2100, _P3 = 1, 9, 11
_PRIMARIES = {
    _SRGB: (0.64, 0.33, 0.30, 0.60, 0.15, 0.06),
    _REC2100: (0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    _P3: (0.68, 0.32, 0.265, 0.69, 0.15, 0.06),
}
_ALPHA, _SPOT, _CFA = 0, 2, 5
_MOST_EXTRA_CHANNELS = 256


class BrokenHeaderError(BrokenStreamError):
    """Bits that are no header of a codestream, or of one that has what is not looked into."""


@dataclass(frozen=True)
class Header:
    """What the header says.

    Attributes:
        width, height: as coded, before the picture is turned.
        bits: of a sample.
        floats: whether samples are floating point.
        orientation: 1..8, as Exif numbers them.
        alpha_premultiplied: whether there is an alpha channel that is multiplied into the colours.
        extra_channels: how many, alpha included.
        gray: whether there is one channel of colour.
        xyb: whether colours are coded as XYB; the decoder makes what ``colours`` says of them.
        has_icc: whether an ICC profile says what the colours are.
        icc: that profile.
        depth_at, colours_at, profile_at: bits from which to which depth, colour encoding and profile reach; of headers
            with a profile only.
        colours: primaries and curve otherwise; ``None`` where the header calls them unknown.
    """

    width: int
    height: int
    bits: int = 8
    floats: bool = False
    orientation: int = 1
    alpha_premultiplied: bool = False
    extra_channels: int = 0
    gray: bool = False
    xyb: bool = True
    has_icc: bool = False
    icc: bytes | None = None
    colours: Stated | None = None
    depth_at: tuple[int, int] = (0, 0)
    colours_at: tuple[int, int] = (0, 0)
    profile_at: tuple[int, int] = (0, 0)


def parse(codestream: bytes) -> Header:
    """Read the header.

    Raises:
        BrokenHeaderError: no codestream.
        BrokenStreamError: it ends too early, or its profile is damaged.
    """
    if not codestream.startswith(CODESTREAM):
        raise BrokenHeaderError("no codestream")
    bits = Bits(codestream, 16)
    width, height = read_size(bits)
    header = Header(width, height, colours=_colours(_D65, _SRGB, h273.SRGB))
    if bits.flag():
        return header
    return _metadata(bits, header)


def _metadata(bits: Bits, header: Header) -> Header:
    """ImageMetadata (D.3) up to the colours."""
    orientation = 1
    more = bits.flag()
    if more:
        orientation = 1 + bits.number(3)
        if bits.flag():
            read_size(bits)  # intrinsic
        if bits.flag():
            _preview(bits)
        if bits.flag():
            _animation(bits)
    begin = bits.at
    floats, depth = read_depth(bits)
    depth_at = begin, bits.at
    channels = read_channels(bits)
    header = replace(
        header,
        bits=depth,
        floats=floats,
        orientation=orientation,
        alpha_premultiplied=any(channels),
        extra_channels=len(channels),
        xyb=bits.flag(),
    )
    begin = bits.at
    header = read_colours(bits, header)
    colours_at = begin, bits.at
    if not header.has_icc:
        return header
    if more and not bits.flag():  # tone mapping (D.3.6)
        bits.number(33)
        bits.number(16)
    if bits.long():
        raise BrokenHeaderError("extensions before its profile")
    if not bits.flag():  # the usual transform
        raise BrokenHeaderError("a colour transform of its own before its profile")
    begin = bits.at
    profile = read_profile(bits)
    return replace(header, icc=profile, depth_at=depth_at, colours_at=colours_at, profile_at=(begin, bits.at))


def with_named_colours(codestream: bytes, header: Header) -> bytes:
    """A codestream of XYB, whose colours are absolute, that asks for Rec. 2020 with sRGB's curve in 16 bits.

    A decoder without colour management gives what has a profile as linear light in the file's depth, too coarse in 8
    bits. Which colours are asked for changes nothing about those that are there.

    Args:
        codestream: the whole of it.
        header: its header, with a profile.
    """
    every = int.from_bytes(codestream[: (header.profile_at[1] + 7) // 8], "little")
    value, size = 0, 0

    def add(number: int, count: int) -> None:
        nonlocal value, size
        value |= (number & ((1 << count) - 1)) << size
        size += count

    def copy(begin: int, end: int) -> None:
        add(every >> begin, end - begin)

    copy(0, header.depth_at[0])
    add(0b001111_11_0, 9)  # integers of 1 + 15 bits
    copy(header.depth_at[1], header.colours_at[0])
    add(0, 2)  # neither defaults nor a profile
    if header.gray:
        add(0b01_01, 4)  # gray, D65
    else:
        add(0b0111_10_01_00, 10)  # RGB, D65, 2 + 7: Rec. 2100's primaries, which are Rec. 2020's
    add(0b01_1011_10_0, 9)  # no gamma; 2 + 11: sRGB's curve; relative colorimetric
    copy(header.colours_at[1], header.profile_at[0])
    return value.to_bytes((size + 7) // 8, "little") + codestream[(header.profile_at[1] + 7) // 8 :]


NAMED_COLOURS = Stated("JPEG XL's own colours", 9, h273.SRGB)
"""What :func:`with_named_colours` asks for."""


def read_size(bits: Bits) -> tuple[int, int]:
    """SizeHeader (D.2): (width, height)."""
    small = bits.flag()

    def edge() -> int:
        return 8 * (1 + bits.number(5)) if small else bits.choice((1, 9), (1, 13), (1, 18), (1, 30))

    height = edge()
    ratio = bits.number(3)
    if not ratio:
        return edge(), height
    across, down = _RATIOS[ratio]
    return height * across // down, height


def _preview(bits: Bits) -> None:
    by_eight = bits.flag()
    sizes = ((16, 0), (32, 0), (1, 5), (33, 9)) if by_eight else ((1, 6), (65, 8), (321, 10), (1345, 12))
    bits.choice(*sizes)
    if not bits.number(3):
        bits.choice(*sizes)


def _animation(bits: Bits) -> None:
    bits.choice((100, 0), (1000, 0), (1, 10), (1, 30))
    bits.choice((1, 0), (1001, 0), (1, 8), (1, 10))
    bits.choice((0, 0), (0, 3), (0, 16), (0, 32))
    bits.flag()


def read_depth(bits: Bits) -> tuple[bool, int]:
    """BitDepth: whether floating point, and bits of a sample."""
    floats = bits.flag()
    if not floats:
        return False, bits.choice((8, 0), (10, 0), (12, 0), (1, 6))
    depth = bits.choice((32, 0), (16, 0), (24, 0), (1, 6))
    bits.number(4)  # bits of the exponent
    return True, depth


def read_channels(bits: Bits) -> list[bool]:
    """What comes between depth and colours: of each extra channel, whether it is multiplied into the colours."""
    bits.flag()  # modular 16-bit buffers
    extra = bits.choice((0, 0), (1, 0), (2, 4), (1, 12))
    if extra > _MOST_EXTRA_CHANNELS:
        raise BrokenHeaderError(f"{extra} extra channels")
    return [_extra_channel(bits) for _ in range(extra)]


def _extra_channel(bits: Bits) -> bool:
    """ExtraChannelInfo; whether it is an alpha channel that is multiplied into the colours."""
    if bits.flag():
        return False  # plain alpha of 8 bits
    kind = bits.enumerated()
    read_depth(bits)
    bits.choice((0, 0), (3, 0), (4, 0), (1, 3))
    bits.number(8 * bits.choice((0, 0), (0, 4), (16, 5), (48, 10)))
    if kind == _SPOT:
        bits.number(64)
    elif kind == _CFA:
        bits.choice((1, 0), (0, 2), (3, 4), (19, 8))
    return bits.flag() if kind == _ALPHA else False


def read_colours(bits: Bits, header: Header) -> Header:
    """ColourEncoding (D.3.5), put into a header."""
    if bits.flag():
        return header
    has_icc = bits.flag()
    space = bits.enumerated()
    header = replace(header, gray=space == _GRAY, has_icc=has_icc, colours=None)
    if has_icc or space == _XYB:
        return header
    white = bits.enumerated()
    custom_white = (_coordinate(bits), _coordinate(bits)) if white == _CUSTOM else None
    primaries, custom = _SRGB, None
    if space != _GRAY:
        primaries = bits.enumerated()
        custom = tuple(_coordinate(bits) for _ in range(6)) if primaries == _CUSTOM else None
    gamma = bits.number(24) / 1e7 if bits.flag() else None
    transfer = h273.UNSPECIFIED if gamma is not None else bits.enumerated()
    bits.enumerated()  # rendering intent
    known = custom is not None or primaries in _PRIMARIES
    if (
        not known
        or (custom_white is None and white not in _WHITES)
        or (gamma is None and transfer not in h273.TRANSFERS)
    ):
        return header  # "unknown", or numbers of a later edition
    return replace(header, colours=_colours(white, primaries, transfer, gamma, custom_white, custom))


def _colours(
    white: int,
    primaries: int,
    transfer: int,
    gamma: float | None = None,
    custom_white: tuple[float, float] | None = None,
    custom: tuple[float, ...] | None = None,
) -> Stated:
    xy: Chromaticities = (*(custom or _PRIMARIES[primaries]), *(custom_white or _WHITES[white]))  # type: ignore[assignment]
    return Stated("JPEG XL header", xy, transfer, gamma)


def _coordinate(bits: Bits) -> float:
    packed = bits.choice((0, 19), (524288, 19), (1048576, 20), (2097152, 21))
    return (packed >> 1 if packed % 2 == 0 else -(packed >> 1) - 1) / 1e6
