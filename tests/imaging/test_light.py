"""The settings of light: what is taken, and what is refused in one line."""

import numpy as np
import pytest

from dcdr_deploy.errors import InputError
from dcdr_deploy.imaging import primaries as p
from dcdr_deploy.imaging.light import COLOUR_CODE, COLOUR_VOLUME, PRIMARIES, Light


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"reference_white": 0.5}, "reference white must be 1 to 10000 cd/m2, not 0.5"),
        ({"peak_nits": 20000}, "peak must be 1 to 10000 cd/m2, not 20000"),
        ({"peak_nits": float("nan")}, "not nan"),
        ({"primaries": "srgb"}, "unknown primaries 'srgb'; choose one of rec709, p3, rec2020, acescg, aces2065-1"),
        ({"transfer": "log"}, "choose one of linear, pq, hlg"),
        ({"tag": "film"}, "choose one of display, scene"),
    ],
)
def test_wrong_values_are_refused(wrong, said):
    with pytest.raises(InputError) as caught:
        Light(**wrong)
    assert said in str(caught.value)


def test_rec709_becomes_acescg_and_aces_by_the_matrices_that_aces_publishes():
    """The matrices that Academy and colour programs give for it, Bradford to the ACES white."""
    ap1 = [
        [0.61309740, 0.33952315, 0.04737945],
        [0.07019372, 0.91635388, 0.01345240],
        [0.02061559, 0.10956977, 0.86981463],
    ]
    ap0 = [
        [0.43963298, 0.38298870, 0.17737832],
        [0.08977644, 0.81343943, 0.09678413],
        [0.01754117, 0.11154655, 0.87091228],
    ]
    assert p.from_rec709(PRIMARIES["acescg"]) == pytest.approx(np.array(ap1), abs=1e-6)
    assert p.from_rec709(PRIMARIES["aces2065-1"]) == pytest.approx(np.array(ap0), abs=1e-6)


def test_rec709_becomes_rec2020_by_the_matrix_of_bt2087():
    expected = [[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]]
    assert p.from_rec709(PRIMARIES["rec2020"]) == pytest.approx(np.array(expected), abs=5e-5)


@pytest.mark.parametrize("name", PRIMARIES)
def test_white_stays_white_and_nothing_gets_negative_in_wider_primaries(name):
    matrix = p.from_rec709(PRIMARIES[name])
    assert matrix.sum(axis=1) == pytest.approx([1, 1, 1], abs=1e-12)
    assert matrix.min() > -1e-9
    assert matrix @ p.to_rec709(PRIMARIES[name]) == pytest.approx(np.eye(3), abs=1e-9)


def test_code_points_are_those_of_the_reader():
    from dcdr_deploy.imaging import h273

    for name, code in COLOUR_CODE.items():
        assert h273.PRIMARIES[code] == PRIMARIES[name]
    assert COLOUR_VOLUME == p.REC709
