"""16 bits become 8 by rounding, in one way wherever that is done."""

import numpy as np

from dcdr_deploy.imaging.eight_bits import eight_bits


def test_each_code_of_16_bits_becomes_the_nearest_of_8():
    codes = np.arange(65536, dtype=np.uint16)
    found = eight_bits(codes)
    assert found.dtype == np.uint8
    assert np.abs(found * 257.0 - codes).max() == 128  # half of 257: no other code of 8 bits is nearer


def test_codes_of_8_bits_stay():
    codes = np.arange(256, dtype=np.uint8)
    assert eight_bits(codes) is codes
