"""The colours in an AV1 sequence header (AV1 Bitstream Specification, 5.5), read, and told anew.

Encoders that are not told colours write "unspecified" beside the matrix that they used: there is a place for others.
"""

from __future__ import annotations

from dcdr_deploy.imaging.stream_bits import StreamBits, UnknownStreamError

_SEQUENCE_HEADER = 1
_PROFESSIONAL, _HIGH = 2, 1
_LEVELS_WITHOUT_TIER = 7
_LONGEST_SIZE = 8  # bytes of leb128 (4.10.5)
_FLAGS_BEFORE_COLOURS = 6
"""128x128 superblocks, filter intra, intra edge filter, superres, cdef, restoration."""


def with_colours(stream: bytes, primaries: int, transfer: int) -> bytes:
    """Return a still picture's stream with other code points of ITU-T H.273; its length stays.

    Raises:
        UnknownStreamError: no sequence header of a still picture that describes colours.
    """
    changed = bytearray(stream)
    bits = StreamBits(changed, 8 * _sequence_header(stream))
    profile = bits.number(3)
    if bits.number(2) != 0b11:  # still_picture, reduced_still_picture_header
        raise UnknownStreamError("no reduced header of a still picture")
    bits.number(5)  # seq_level_idx
    _skip_size(bits)
    bits.number(_FLAGS_BEFORE_COLOURS)
    if not _is_described(bits, profile):
        raise UnknownStreamError("no description of colours")
    bits.write(primaries, 8)
    bits.write(transfer, 8)
    return bytes(changed)


def colours_of(stream: bytes) -> tuple[int, int] | None:
    """Return primaries and transfer as code points of ITU-T H.273; ``None`` where the stream does not describe them.

    Raises:
        UnknownStreamError: no sequence header, or one that ends too early.
    """
    bits = StreamBits(bytearray(stream), 8 * _sequence_header(stream))
    profile = bits.number(3)
    bits.number(1)  # still_picture
    reduced = bits.number(1)
    if reduced:
        bits.number(5)  # seq_level_idx
    else:
        _skip_operating_points(bits)
    _skip_size(bits)
    if not reduced and bits.number(1):  # frame_id_numbers_present_flag
        bits.number(4 + 3)
    bits.number(3)  # 128x128 superblocks, filter intra, intra edge filter
    if not reduced:
        _skip_tools(bits)
    bits.number(3)  # superres, cdef, restoration
    return (bits.number(8), bits.number(8)) if _is_described(bits, profile) else None


def _skip_size(bits: StreamBits) -> None:
    width, height = bits.number(4) + 1, bits.number(4) + 1
    bits.number(width + height)


def _is_described(bits: StreamBits, profile: int) -> bool:
    """Read color_config (5.5.2) up to color_description_present_flag, and return that."""
    deep = bits.number(1)
    if profile == _PROFESSIONAL and deep:
        bits.number(1)  # twelve_bit
    if profile != _HIGH:
        bits.number(1)  # mono_chrome
    return bool(bits.number(1))


def _skip_operating_points(bits: StreamBits) -> None:
    """Skip timing and operating points of a sequence header that is not reduced (5.5.1)."""
    delay_bits = 0
    if bits.number(1):  # timing_info_present_flag
        bits.number(32 + 32)
        if bits.number(1):  # equal_picture_interval
            bits.golomb()
        if bits.number(1):  # decoder_model_info_present_flag
            delay_bits = bits.number(5) + 1
            bits.number(32 + 5 + 5)
    with_delays = bits.number(1)  # initial_display_delay_present_flag
    for _ in range(bits.number(5) + 1):
        bits.number(12)  # operating_point_idc
        if bits.number(5) > _LEVELS_WITHOUT_TIER:
            bits.number(1)  # seq_tier
        if delay_bits and bits.number(1):
            bits.number(2 * delay_bits + 1)
        if with_delays and bits.number(1):
            bits.number(4)


def _skip_tools(bits: StreamBits) -> None:
    """Skip the tools of pictures that refer to others, between intra edge filter and superres (5.5.1)."""
    bits.number(4)  # interintra, masked and warped motion, dual filter
    ordered = bits.number(1)  # enable_order_hint
    if ordered:
        bits.number(2)  # jnt_comp, ref_frame_mvs
    screen = 1 if bits.number(1) else bits.number(1)  # seq_choose_screen_content_tools, or forced
    if screen and not bits.number(1):  # seq_choose_integer_mv
        bits.number(1)
    if ordered:
        bits.number(3)  # order_hint_bits_minus_1


def _sequence_header(stream: bytes) -> int:
    """Return the byte at which the body of the first sequence header begins (5.3)."""
    at = 0
    while at + 2 <= len(stream):
        head = stream[at]
        at += 2 if head & 0b100 else 1  # an extension has a byte
        if not head & 0b10:
            raise UnknownStreamError("a unit without a size")
        size = 0
        for place, byte in enumerate(stream[at : at + _LONGEST_SIZE]):
            size |= (byte & 0x7F) << 7 * place
            at += 1
            if not byte & 0x80:
                break
        else:
            raise UnknownStreamError("a size without an end")
        if head >> 3 & 15 == _SEQUENCE_HEADER:
            return at
        at += size
    raise UnknownStreamError("no sequence header")
