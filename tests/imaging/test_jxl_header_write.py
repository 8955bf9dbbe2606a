"""The header of a JPEG XL codestream says other colours, and nothing else has changed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcdr_deploy.imaging import jxl_header
from dcdr_deploy.imaging import primaries as p
from dcdr_deploy.imaging.jxl_header_write import LINEAR, P3, PQ, REC2100, SRGB, Colour, UnknownHeaderError, recoloured

codecs = pytest.importorskip("imagecodecs")

XY = {SRGB: p.REC709, REC2100: p.REC2020, P3: p.DISPLAY_P3}


def encoded(height: int, width: int, channels: int = 3, **options) -> bytes:
    rng = np.random.default_rng(1)
    samples = rng.integers(0, 1024, (height, width, channels), dtype=np.uint16)
    return bytes(codecs.jpegxl_encode(samples, bitspersample=10, effort=1, **options))


@settings(max_examples=25)
@given(
    st.integers(1, 300),
    st.integers(1, 300),
    st.sampled_from([3, 4]),
    st.sampled_from(list(XY)),
    st.sampled_from([PQ, LINEAR]),
)
def test_size_channels_and_samples_stay_whatever_the_size_is(height, width, channels, primaries, transfer):
    before = encoded(height, width, channels, lossless=True)
    after = recoloured(before, Colour(primaries, transfer, 1000), 10)
    np.testing.assert_array_equal(codecs.jpegxl_decode(after), codecs.jpegxl_decode(before))
    old, new = jxl_header.parse(before), jxl_header.parse(after)
    assert (new.width, new.height) == (width, height)
    assert (new.bits, new.floats, new.extra_channels, new.xyb) == (10, False, old.extra_channels, False)
    assert new.colours is not None
    assert new.colours.primaries == pytest.approx(XY[primaries])
    assert new.colours.transfer == transfer  # they are numbered as in ITU-T H.273


@pytest.mark.parametrize("bits", [10, 12])
def test_lossy_pictures_are_given_out_in_the_depth_asked_for(bits):
    data = recoloured(encoded(40, 30, distance=1.0), Colour(REC2100, PQ, 1000), bits)
    header = jxl_header.parse(data)
    assert (header.bits, header.floats, header.xyb) == (bits, False, True)
    assert codecs.jpegxl_decode(data).max() < 1 << bits


def test_the_light_of_a_lossy_picture_is_absolute():
    """1.0 of what the encoder gets counts as 255 cd/m2; a decoder's samples depend on what 1.0 is said to be."""
    samples = np.full((16, 16, 3), 2.0, np.float16)
    for nits in (203, 510, 1000):
        data = bytes(codecs.jpegxl_encode(samples, distance=0.1))
        found = codecs.jpegxl_decode(recoloured(data, Colour(SRGB, LINEAR, nits), 16))
        assert found.dtype == np.float16
        assert np.median(found.astype(np.float32)) == pytest.approx(510 / nits, rel=0.02)


@given(st.binary(max_size=40))
def test_other_bytes_are_refused(data):
    with pytest.raises(UnknownHeaderError):
        recoloured(data, Colour(SRGB, LINEAR, 203), 16)


@given(st.integers(0, 8))
def test_a_header_that_is_cut_off_is_refused(length):
    with pytest.raises(UnknownHeaderError):
        recoloured(encoded(40, 30)[:length], Colour(SRGB, LINEAR, 203), 16)
