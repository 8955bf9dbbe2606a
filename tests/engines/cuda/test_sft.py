"""An SFT layer of the kernels is one that its hidden map has."""

from __future__ import annotations

import pytest

from dcdr_deploy.engines.cuda.sft import SftLayer


def test_the_layers_channels_begin_behind_those_before_it():
    assert SftLayer(256, 32, 16, 512, 1024).channels == 256 + 2 * 16


@pytest.mark.parametrize(("stride", "first"), [(32, 24), (32, -8), (32, 4), (20, 0), (8, 0)])
def test_a_layer_that_the_hidden_map_does_not_have_is_refused(stride: int, first: int):
    with pytest.raises(ValueError, match=f"a hidden map of {stride} channels has no SFT layer's 16 from channel"):
        SftLayer(256, stride, first, 256, 256)


def test_a_layer_that_cannot_be_read_16_bytes_at_a_time_is_refused():
    with pytest.raises(ValueError, match=r"not aligned to 16 bytes: hidden, weight$"):
        SftLayer(8, 32, 0, 4, 2)
