"""What layers take and give: encodings decode what they encode, and PQ is the standard's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dcdr_deploy.errors import InputError
from dcdr_deploy.models.encodings import Encoding, Normalisation, pq_decode, pq_encode

NAMES = ["linear", "white", "white:8", "gamma", "gamma:2.24", "log", "log:0.001", "pq-bt2020", "pq-bt2020:8"]


@pytest.mark.parametrize("name", NAMES)
@given(light=st.lists(st.floats(1e-3, 1.0), min_size=3, max_size=3))
def test_decoding_undoes_encoding(name: str, light: list[float]) -> None:
    encoding = Encoding.parse(name)
    given_light = torch.tensor(light, dtype=torch.float64).reshape(1, 3, 1, 1)
    back = encoding.decode(encoding.encode(given_light))
    assert torch.allclose(back, given_light, atol=1e-9)


def test_pq_has_the_values_of_the_standard() -> None:
    # ITU-R BT.2408-7, table 1: SDR white of 203 cd/m2 is at 58 % PQ; BT.2100: 10,000 cd/m2 at 1, 0 at 0.
    assert float(pq_encode(torch.tensor(203 / 10_000, dtype=torch.float64))) == pytest.approx(0.5807, abs=1e-4)
    assert pq_decode(torch.tensor([0.0, 1.0])).tolist() == [0.0, 1.0]
    # SMPTE ST 2084: 100 cd/m2 at 0.508078.
    assert float(pq_decode(torch.tensor(0.508078, dtype=torch.float64))) == pytest.approx(0.01, rel=1e-5)


def test_pq_signals_outside_their_range_count_as_its_ends() -> None:
    assert pq_decode(torch.tensor([-0.5, 1.1, 2.0])).tolist() == [0.0, 1.0, 1.0]


def test_absolute_light_has_sdr_white_at_203_candelas_whatever_the_unit() -> None:
    white = pq_encode(torch.full((1, 3, 1, 1), 203 / 10_000, dtype=torch.float64))
    for name, peak in (("pq-bt2020", 10_000 / 203), ("pq-bt2020:8", 8.0)):
        encoding = Encoding.parse(name)
        assert encoding.peak == pytest.approx(peak)
        assert torch.allclose(encoding.decode(white) * peak, torch.ones_like(white))


def test_a_colour_outside_rec_709_is_negative_there_and_not_clipped() -> None:
    green = torch.tensor([0.0, 0.5, 0.0]).reshape(1, 3, 1, 1)
    red = float(Encoding.parse("pq-bt2020").decode(green)[0, 0])
    assert red < 0


def test_relative_encodings_say_no_peak() -> None:
    assert [Encoding.parse(name).peak for name in ("linear", "gamma", "log:0.1")] == [None] * 3
    assert [Encoding.parse(name).peak for name in ("white", "white:8")] == [1.0, 8.0]


@pytest.mark.parametrize("name", ["", "hlg", "gamma:", "gamma:-2", "gamma:inf", "linear:1", "pq-bt2020:0"])
def test_other_names_and_numbers_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="output encoding"):
        Encoding.parse(name)


def test_normalisation_gives_the_range_it_says() -> None:
    normalisation = Normalisation((0.5, 0.25, 0.0), (0.5, 1.0, 1.0), bgr=True)
    black, white = (normalisation.apply(torch.full((1, 3, 1, 1), value)) for value in (0.0, 1.0))
    assert normalisation.input_range == (float(black.min()), float(white.max())) == (-1.0, 1.0)
    np.testing.assert_allclose(white.flatten(), [1.0, 0.75, 1.0])
