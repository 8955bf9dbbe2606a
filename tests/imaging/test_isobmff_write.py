"""What is added to AVIF and HEIC files: found by their own libraries, and nothing else has moved."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dcdr_deploy.imaging import av1_header, isobmff
from dcdr_deploy.imaging.isobmff_write import (
    UnknownLayoutError,
    content_light,
    exif_item,
    extended,
    with_colours,
    xmp_item,
)
from dcdr_deploy.imaging.stream_bits import UnknownStreamError


def avif(mode: str = "RGB", **options) -> bytes:
    stream = io.BytesIO()
    rng = np.random.default_rng(2)
    channels = len(mode)
    Image.fromarray(rng.integers(0, 256, (32, 48, channels), dtype=np.uint8)).save(stream, "AVIF", **options)
    return stream.getvalue()


def pixels(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.array(image)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("options", [{}, {"xmp": b"<x/>", "exif": b"Exif\0\0MM\0*\0\0\0\x08" + bytes(6)}])
def test_the_picture_stays_and_the_property_is_the_primary_pictures(mode, options):
    before = avif(mode, **options)
    after = extended(before, {b"clli": content_light(987.4, 123.5)})
    np.testing.assert_array_equal(pixels(after), pixels(before))
    old, new = isobmff.read(before), isobmff.read(after)
    assert new.items[new.primary].property(b"clli") == struct.pack(">HH", 987, 124)
    assert new.items.keys() == old.items.keys()
    for number, item in new.items.items():
        assert new.payload(number) == old.payload(number)
        assert [each for each in item.properties if each[0] != b"clli"] == old.items[number].properties
        assert item.kind == old.items[number].kind


def test_metadata_items_are_found_by_libavif():
    exif = Image.Exif()
    exif[271] = "Camera"
    block = exif.tobytes().removeprefix(b"Exif\0\0")
    data = extended(avif(), {}, [exif_item(block), xmp_item(b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>")])
    with Image.open(io.BytesIO(data)) as image:
        assert image.getexif()[271] == "Camera"
        assert image.info["xmp"].startswith(b"<x:xmpmeta")
        image.load()


def test_adding_twice_keeps_what_was_added_first():
    once = extended(avif(), {b"clli": content_light(1, 2)}, [xmp_item(b"<a/>")])
    twice = extended(once, {b"mdcv": bytes(24)}, [xmp_item(b"<b/>")])
    container = isobmff.read(twice)
    kinds = [kind for kind, _ in container.items[container.primary].properties]
    assert {b"clli", b"mdcv"} <= set(kinds)
    texts = [container.payload(number) for number, item in container.items.items() if item.kind == b"mime"]
    assert texts == [b"<a/>", b"<b/>"]
    np.testing.assert_array_equal(pixels(twice), pixels(once))


def test_more_properties_than_seven_bits_can_count_are_counted():
    data = avif()
    for number in range(130):
        data = extended(data, {b"free": bytes([number])})
    container = isobmff.read(data)
    bodies = [body for kind, body in container.items[container.primary].properties if kind == b"free"]
    assert bodies == [bytes([number]) for number in range(130)]
    pixels(data)


def test_brightness_ends_at_what_two_bytes_hold():
    assert content_light(1e9, -3) == b"\xff\xff\0\0"


@pytest.mark.parametrize("data", [b"", b"no boxes at all", avif()[:40], avif().replace(b"iprp", b"xxxx")])
def test_other_bytes_are_refused(data):
    with pytest.raises(UnknownLayoutError):
        extended(data, {b"clli": bytes(4)})


def untold() -> bytes:
    """An AVIF of 10 bits whose encoder was told no colours."""
    codecs = pytest.importorskip("imagecodecs")
    codes = np.random.default_rng(4).integers(0, 1024, (32, 48, 3), dtype=np.uint16)
    return bytes(codecs.avif_encode(codes, level=90, speed=10, bitspersample=10))


def test_colours_are_told_anew_and_the_samples_stay():
    before = untold()
    after = with_colours(before, 9, 16)
    container = isobmff.read(after)
    colours = container.items[container.primary].property(b"colr")
    old = isobmff.read(before).items[container.primary].property(b"colr")
    assert colours is not None
    assert old is not None
    assert colours == b"nclx" + struct.pack(">HH", 9, 16) + old[8:]
    assert len(after) == len(before)
    stream, old_stream = container.payload(container.primary), isobmff.read(before).payload(container.primary)
    changed = [a ^ b for a, b in zip(stream, old_stream, strict=True)]
    assert sum(each.bit_count() for each in changed) == (9 ^ 2).bit_count() + (16 ^ 2).bit_count()
    assert not any(changed[20:])


@given(st.binary(max_size=64))
def test_a_stream_without_a_header_is_refused(stream):
    with pytest.raises(UnknownStreamError):
        av1_header.with_colours(stream, 9, 16)


@pytest.mark.parametrize("data", [b"", b"no boxes at all", avif().replace(b"nclx", b"xxxx")])
def test_colours_cannot_be_told_where_there_is_no_place_for_them(data):
    with pytest.raises(UnknownLayoutError):
        with_colours(data, 9, 16)
