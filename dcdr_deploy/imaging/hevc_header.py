"""The colours in HEVC's sequence parameter set (ITU-T H.265, 7.3.2.2 and annex E), as HEIF keeps it."""

from __future__ import annotations

from collections.abc import Iterator

from dcdr_deploy.imaging.stream_bits import StreamBits, UnknownStreamError

_ARRAYS_AT = 22  # byte of the configuration record (ISO/IEC 14496-15, 8.3.3.1.2)
_PARAMETER_SET = 33  # nal_unit_type
_PROFILE_BITS, _LEVEL_BITS = 88, 8
_MOST_SUB_LAYERS, _SUB_LAYER_FLAGS = 8, 2
_444 = 3
_EXTENDED_ASPECT = 255
_MOST_SETS = 64


def colours_of(configuration: bytes) -> tuple[int, int] | None:
    """Return primaries and transfer as code points of ITU-T H.273; ``None`` where the stream does not describe them.

    Args:
        configuration: the body of the property ``hvcC``.

    Raises:
        UnknownStreamError: no parameter set, one that ends too early, or one with what no still picture has.
    """
    for unit in _units(configuration):
        if len(unit) > 2 and unit[0] >> 1 & 63 == _PARAMETER_SET:
            return _colours(StreamBits(bytearray(unit[2:].replace(b"\0\0\3", b"\0\0"))))
    raise UnknownStreamError("no sequence parameter set")


def _units(configuration: bytes) -> Iterator[bytes]:
    at = _ARRAYS_AT + 1
    for _ in range(configuration[_ARRAYS_AT] if len(configuration) > _ARRAYS_AT else 0):
        count = int.from_bytes(configuration[at + 1 : at + 3], "big")
        at += 3
        for _ in range(count):
            if at >= len(configuration):
                return
            size = int.from_bytes(configuration[at : at + 2], "big")
            yield configuration[at + 2 : at + 2 + size]
            at += 2 + size


def _colours(bits: StreamBits) -> tuple[int, int] | None:
    bits.number(4)  # sps_video_parameter_set_id
    sub_layers = bits.number(3)
    bits.number(1)  # sps_temporal_id_nesting_flag
    _skip_profile(bits, sub_layers)
    bits.golomb()  # sps_seq_parameter_set_id
    if bits.golomb() == _444:
        bits.number(1)  # separate_colour_plane_flag
    _skip(bits, 2)  # width, height
    if bits.number(1):  # conformance_window_flag
        _skip(bits, 4)
    _skip(bits, 2)  # bit depths
    order_bits = bits.golomb() + 4
    _skip(bits, 3 * (sub_layers + 1 if bits.number(1) else 1))  # sps_sub_layer_ordering_info_present_flag
    _skip(bits, 6)  # sizes of blocks, depths of transforms
    if bits.number(1) and bits.number(1):  # scaling_list_enabled_flag, sps_scaling_list_data_present_flag
        _skip_scaling_lists(bits)
    bits.number(2)  # amp, sample_adaptive_offset
    if bits.number(1):  # pcm_enabled_flag
        bits.number(4 + 4)
        _skip(bits, 2)
        bits.number(1)
    _skip_reference_sets(bits)
    if bits.number(1):  # long_term_ref_pics_present_flag
        for _ in range(min(bits.golomb(), _MOST_SETS)):
            bits.number(order_bits + 1)
    bits.number(2)  # sps_temporal_mvp_enabled_flag, strong_intra_smoothing_enabled_flag
    return _usability(bits) if bits.number(1) else None


def _usability(bits: StreamBits) -> tuple[int, int] | None:
    """vui_parameters (E.2.1) up to transfer_characteristics."""
    if bits.number(1) and bits.number(8) == _EXTENDED_ASPECT:
        bits.number(16 + 16)
    if bits.number(1):  # overscan_info_present_flag
        bits.number(1)
    if not bits.number(1):  # video_signal_type_present_flag
        return None
    bits.number(3 + 1)  # video_format, video_full_range_flag
    return (bits.number(8), bits.number(8)) if bits.number(1) else None


def _skip(bits: StreamBits, count: int) -> None:
    for _ in range(count):
        bits.golomb()


def _skip_profile(bits: StreamBits, sub_layers: int) -> None:
    """profile_tier_level (7.3.3)."""
    bits.number(_PROFILE_BITS + _LEVEL_BITS)
    present = [(bits.number(1), bits.number(1)) for _ in range(sub_layers)]
    if sub_layers:
        bits.number(_SUB_LAYER_FLAGS * (_MOST_SUB_LAYERS - sub_layers))
    for profile, level in present:
        bits.number(_PROFILE_BITS * profile + _LEVEL_BITS * level)


def _skip_scaling_lists(bits: StreamBits) -> None:
    """scaling_list_data (7.3.4)."""
    for size in range(4):
        for _ in range(0, 6, 3 if size == 3 else 1):
            if not bits.number(1):  # scaling_list_pred_mode_flag
                bits.golomb()
            else:
                _skip(bits, min(64, 1 << (4 + 2 * size)) + (size > 1))


def _skip_reference_sets(bits: StreamBits) -> None:
    """st_ref_pic_set (7.3.7) of those that are not predicted from others; still pictures have none."""
    for number in range(min(bits.golomb(), _MOST_SETS)):
        if number and bits.number(1):
            raise UnknownStreamError("predicted sets of reference pictures")
        for _ in range(min(bits.golomb() + bits.golomb(), 2 * _MOST_SETS)):
            bits.golomb()
            bits.number(1)
