"""HDR10's metadata as bytes: what a decoder would read is what was put in."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcdr_deploy.imaging.primaries import REC709
from dcdr_deploy.run.video.bitstream import Hdr10, av1_sample, hevc_sample, nal_units, with_boxes

HDR10 = Hdr10(REC709, 1000.0, 812.4, 99.6)
SLICE, PARAMETERS = b"\x26\x01\xaa\xbb", b"\x42\x01\x01\x02"


def units_of(sample: bytes) -> list[bytes]:
    """Units after their lengths in four bytes."""
    units, place = [], 0
    while place < len(sample):
        (size,) = struct.unpack_from(">I", sample, place)
        units.append(sample[place + 4 : place + 4 + size])
        place += 4 + size
    return units


def without_emulation_prevention(unit: bytes) -> bytes:
    return unit.replace(b"\0\0\x03", b"\0\0")


def test_the_bytes_of_mdcv_and_clli_are_those_of_the_standard():
    """G, B, R, white in 1/50000; 1/10000 cd/m2; whole cd/m2."""
    assert struct.unpack(">8H2I", HDR10.mastering()) == (
        *(15000, 30000, 7500, 3000, 32000, 16500, 15635, 16450),
        *(10_000_000, 1),
    )
    assert struct.unpack(">2H", HDR10.light()) == (812, 100)
    red_x, red_y, *_, white, black = struct.unpack(">8H2I", HDR10.mastering_of_av1())
    assert (red_x / 65536, red_y / 65536) == (pytest.approx(0.64, abs=1e-5), pytest.approx(0.33, abs=1e-5))
    assert (white / 256, black) == (1000, 2)


def test_light_beyond_sixteen_bits_is_the_largest_number():
    assert struct.unpack(">2H", Hdr10(REC709, 1000, 1e6, 1e6).light()) == (65535, 65535)


def test_messages_stand_before_the_first_slice_of_a_key_frame():
    stream = b"\0\0\0\1" + PARAMETERS + b"\0\0\1" + SLICE + b"\0\0\1" + SLICE
    units = units_of(hevc_sample(stream, HDR10))
    assert [(unit[0] >> 1) & 63 for unit in units] == [33, 39, 39, 19, 19]
    mastering, light = (without_emulation_prevention(unit) for unit in units[1:3])
    assert mastering[2:] == bytes([137, 24]) + HDR10.mastering() + b"\x80"
    assert light[2:] == bytes([144, 4]) + HDR10.light() + b"\x80"
    assert units_of(hevc_sample(stream, None)) == [PARAMETERS, SLICE, SLICE]


@given(st.lists(st.binary(min_size=2, max_size=40).filter(lambda unit: b"\0\0" not in unit and unit[-1]), min_size=1))
def test_units_come_back_from_a_byte_stream(units):
    for start in (b"\0\0\1", b"\0\0\0\1"):
        assert nal_units(b"".join(start + unit for unit in units)) == units


@given(st.floats(1, 10000), st.floats(0, 65535), st.floats(0, 65535))
def test_no_message_looks_like_the_start_of_a_unit(peak, cll, fall):
    stream = b"\0\0\1" + SLICE
    for unit in units_of(hevc_sample(stream, Hdr10(REC709, peak, cll, fall))):
        assert not any(unit[place : place + 2] == b"\0\0" and unit[place + 2] < 3 for place in range(len(unit) - 2))


def test_metadata_of_av1_follows_the_sequence_header():
    delimiter, sequence, frame = b"\x12\x00", b"\x0a\x03abc", b"\x32\x02xy"
    sample = av1_sample(delimiter + sequence + frame, HDR10)
    assert sample.startswith(delimiter + sequence + b"\x2a\x1a\x02" + HDR10.mastering_of_av1() + b"\x80\x2a\x06\x01")
    assert sample.endswith(HDR10.light() + b"\x80" + frame)
    assert av1_sample(delimiter + frame, HDR10) == delimiter + frame
    assert av1_sample(delimiter + sequence, None) == delimiter + sequence


@pytest.mark.parametrize("size", [5, 127, 128, 20000])
def test_sizes_of_several_bytes_are_read(size):
    body = bytes(size)
    length = bytes([size]) if size < 128 else bytes([size & 127 | 128, size >> 7]) if size < 16384 else None
    length = length or bytes([size & 127 | 128, (size >> 7) & 127 | 128, size >> 14])
    frame = b"\x32" + length + body
    assert av1_sample(frame + b"\x0a\x01z", HDR10).startswith(frame + b"\x0a\x01z\x2a")


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


def test_boxes_go_into_the_sample_entry_and_those_around_it_grow():
    entry = box(b"hvc1", bytes(78) + box(b"hvcC", b"settings"))
    index = box(b"stbl", box(b"stsd", bytes(8) + entry) + box(b"stts", bytes(8)))
    for around in (b"minf", b"mdia", b"trak", b"moov"):
        index = box(around, index)
    data = box(b"ftyp", b"isom") + box(b"mdat", b"frame") + index
    found = with_boxes(data, HDR10)
    assert len(found) == len(data) + 8 + 24 + 8 + 4
    at = found.index(b"mdcv")
    assert found[at + 4 : at + 28] == HDR10.mastering()
    at = found.index(b"clli")
    assert found[at + 4 : at + 8] == HDR10.light()
    place, kinds = 0, []
    while place < len(found):  # the file is made of whole boxes to its end
        size, kind = struct.unpack_from(">I4s", found, place)
        kinds.append(kind)
        place += size
    assert (place, kinds) == (len(found), [b"ftyp", b"mdat", b"moov"])
    assert with_boxes(found, HDR10) == found
