"""Small files whose tables name the same bytes again and again: what they take is bounded by what they hold."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Callable

import pytest
from container_files import assembled, box, full_box, jxl_bytes
from picture_files import gamma_curve, matrix_profile, smooth_rgb

from dcdr_deploy.imaging import av1_header, exif_block, hevc_header, icc, isobmff, jpeg_file, kept
from dcdr_deploy.imaging.decoders import jxl
from dcdr_deploy.imaging.stream_bits import UnknownStreamError

MEBI = 1 << 20


def memory_of(read: Callable[[], object]) -> int:
    """Most bytes that a call had at a time."""
    tracemalloc.start()
    try:
        read()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_entries_of_exif_with_the_same_value():
    entries = b"".join(struct.pack("<HHII", tag, exif_block.UNDEFINED, 2**19, 8) for tag in range(1, 200))
    block = b"II*\0" + struct.pack("<IH", 8, 199) + entries + bytes(2**19)
    with pytest.raises(exif_block.BrokenExifError, match="more bytes than there are"):
        exif_block.parse(block)


def test_two_entries_of_exif_may_share_a_value():
    entries = b"".join(struct.pack("<HHII", tag, exif_block.ASCII, 99, 38) for tag in (270, 315))
    found = exif_block.parse(b"II*\0" + struct.pack("<IH", 8, 2) + entries + bytes(4) + b"a" * 98 + b"\0")
    assert [entry.text() for entry in found.picture.values()] == ["a" * 98] * 2


def test_tags_of_a_profile_in_the_same_place():
    profile = matrix_profile("display-p3", gamma_curve(2.2))
    (count,) = struct.unpack_from(">I", profile, 128)
    more = 100
    tags = bytearray(profile[132 : 132 + 12 * count])
    for at in range(4, len(tags), 12):
        struct.pack_into(">I", tags, at, struct.unpack_from(">I", tags, at)[0] + 12 * more)
    large = b"".join(struct.pack(">4sII", b"x%03d" % number, 4, MEBI - 4) for number in range(more))
    grown = profile[:128] + struct.pack(">I", count + more) + bytes(tags) + large + profile[132 + 12 * count :]
    grown = grown.ljust(MEBI, b"\0")
    assert icc.parse(grown).matrix is not None
    assert memory_of(lambda: icc.parse(grown)) < MEBI


@pytest.mark.parametrize("kind", ["desc", "mluc"])
def test_the_name_of_a_profile_is_a_name(kind):
    profile = matrix_profile("display-p3", gamma_curve(2.2))
    text = b"\0n" * MEBI
    head = {"desc": struct.pack(">4sII", b"desc", 0, len(text))}
    head["mluc"] = struct.pack(">4sIII4sII", b"mluc", 0, 1, 12, b"enUS", len(text), 28)
    (count,) = struct.unpack_from(">I", profile, 128)
    place = next(132 + 12 * n for n in range(count) if profile[132 + 12 * n : 136 + 12 * n] == b"desc")
    changed = bytearray(profile + head[kind] + text)
    struct.pack_into(">II", changed, place + 4, len(profile), len(head[kind]) + len(text))
    assert 0 < len(icc.parse(bytes(changed)).description) <= 512


def with_locations(iloc: bytes) -> bytes:
    """A HEIF file of one item whose table of places is another."""
    file = assembled(b"heic", [(b"hvc1", bytes(1000), [])])
    meta = next(each for each in isobmff.boxes(file) if each.kind == b"meta")
    inner = [
        box(b"iloc", iloc) if each.kind == b"iloc" else file[each.header : each.end]
        for each in isobmff.boxes(file, meta.begin + 4, meta.end)
    ]
    return file[: meta.header] + full_box(b"meta", b"".join(inner)) + file[meta.end :]


def test_pieces_of_an_item_that_lie_in_the_same_place():
    pieces = struct.pack(">II", 0, 0) * 200  # each from the begin to the end of the file
    file = with_locations(b"\0\0\0\0\x44\0" + struct.pack(">HHHH", 1, 1, 0, 200) + pieces)
    with pytest.raises(isobmff.BrokenContainerError, match="larger than its file"):
        isobmff.read(file).payload(1)


def test_pieces_of_an_item_that_take_no_bytes_to_name():
    file = with_locations(b"\0\0\0\0\0\0" + struct.pack(">HHHH", 1, 1, 0, 65535))
    with pytest.raises(isobmff.BrokenContainerError, match="more pieces of pictures than bytes"):
        isobmff.read(file)


def test_an_item_whose_number_no_primary_picture_can_have():
    file = assembled(b"heic", [(b"hvc1", bytes(10), [])])
    container = isobmff.read(file)
    container.items[70000] = container.items[1]
    with pytest.raises(isobmff.BrokenContainerError, match="item 70000"):
        container.with_primary(70000)


def test_pictures_of_an_index_in_the_same_place():
    entries = struct.pack(">IIIHH", 0, 2 * MEBI, 0, 0, 0) + struct.pack(">IIIHH", 0, MEBI, 2**16, 0, 0) * 3000
    index = b"MM\0*" + struct.pack(">IH", 8, 1) + struct.pack(">HHIII", 0xB002, 7, len(entries), 26, 0) + entries
    body = jpeg_file.MULTI_PICTURE + index
    first = b"\xff\xd8\xff\xe2" + struct.pack(">H", len(body) + 2) + body
    start = first.index(b"MM\0*") + 2**16
    file = first.ljust(start, b"\0") + b"\xff\xd8" + bytes(MEBI)
    found = jpeg_file.pictures_behind(file)
    assert memory_of(lambda: sum(1 for _ in found)) < 4 * MEBI
    assert 0 < sum(1 for _ in jpeg_file.pictures_behind(file)) < 100


def test_packed_boxes_of_jpeg_xl():
    imagecodecs = pytest.importorskip("imagecodecs")
    text = box(b"brob", b"xml " + imagecodecs.brotli_encode(b"<x/>" + b" " * (5 * MEBI)))
    file = box(b"JXL ", b"\r\n\x87\n") + box(b"ftyp", b"jxl \0\0\0\0jxl ") + text * 20
    bodies = [body for kind, body in jxl.boxes_of(file + box(b"jxlc", jxl_bytes(smooth_rgb()))) if kind == b"xml "]
    assert len(bodies) == 3
    assert kept.kept_of(file, "JPEG XL").xmp == bodies[0]


def test_empty_units_of_hevc_that_are_not_there():
    configuration = bytes(22) + bytes([255]) + b"\x21\xff\xff" * 200
    assert len(list(hevc_header._units(configuration))) < len(configuration)


def test_a_size_in_av1_has_no_more_bytes_than_the_standard_says():
    header = b"\x18\x15\x7f"  # as behind a size that ends
    with pytest.raises(UnknownStreamError, match="size without an end"):
        av1_header.colours_of(b"\x0a" + b"\x80" * 9 + b"\x0a" + header * 4)
