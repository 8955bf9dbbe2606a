"""One walk over the markers of a JPEG; what is damaged ends it where the reader at hand says so."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcdr_deploy.imaging.decoders.jpeg import unusual_kind
from dcdr_deploy.imaging.jpeg_file import APP1, APP2, Segment, body_of, markers, segments

START = b"\xff\xd8"


def segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2, "big") + body


LOSSLESS = segment(0xC3, bytes([8, 0, 1, 0, 1, 0]))
APPS = segment(APP1, b"one") + segment(APP2, b"two")


@given(st.lists(st.sampled_from([b"\xff", b"\xd8", b"\xd9", b"\xda", b"\xe1", b"\xc3", b"\x00", b"\x04"]), max_size=40))
def test_any_bytes_are_walked_to_an_end_and_bodies_lie_in_them(parts):
    data = START + b"".join(parts)
    ends = [each.end for each in markers(data)]
    assert ends == sorted(ends)
    assert all(4 <= each.begin <= each.end <= len(data) for each in segments(data))
    assert unusual_kind(data) in ("", "lossless") or unusual_kind(data).endswith("-bit")


def test_segments_end_at_the_first_scan():
    data = START + b"\xff" + APPS + segment(0xDA, b"") + segment(APP1, b"of the scan")
    assert [data[each.begin : each.end] for each in segments(data)] == [b"one", b"two"]


@pytest.mark.parametrize("between", [b"\xff\x01", b"\xff\xd0", b"\xff\xff\xff", segment(0xD8, b"a table once")])
def test_what_stands_between_segments_hides_none(between):
    assert body_of(START + segment(APP1, b"one") + between + segment(APP2, b"two"), APP2, b"t") == b"wo"


@pytest.mark.parametrize("damage", [b"\xff\xe3\xff\xff", b"\xff\xe3\0\1", b"\0", b"\xff\xd9"])
def test_damage_ends_the_segments(damage):
    found = list(segments(START + segment(APP1, b"one") + damage + segment(APP2, b"two")))
    assert found == [Segment(APP1, 6, 9)]


@pytest.mark.parametrize("before", [b"", b"\xff\xd8", b"\xff\xd9", APPS])
@pytest.mark.parametrize("cut", [0, 3])
def test_a_frame_that_nobody_decodes_is_named_though_it_is_cut_short(before, cut):
    data = START + before + LOSSLESS
    assert unusual_kind(data[: len(data) - cut]) == "lossless"
    assert unusual_kind(data.replace(b"\x08\0\1", b"\x0c\0\1")) == "lossless 12-bit"
    assert unusual_kind(START + before + segment(0xDA, b"") + LOSSLESS) == ""
