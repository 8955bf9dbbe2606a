"""Colours by tags, and by what players take where there are none."""

from __future__ import annotations

import numpy as np
import pytest

from dcdr_deploy.errors import InputError
from dcdr_deploy.run.video.colours import LUMA, Tags, resolve


def of(width, height, is_rgb=False, **tags):
    return resolve(Tags(**tags), width, height, is_rgb=is_rgb)


def test_tags_are_taken_at_their_word():
    found = of(720, 576, primaries=1, transfer=1, matrix=1, range=2)
    assert (found.luma, found.full_range, found.convert, found.note) == (LUMA[1], True, None, "")


@pytest.mark.parametrize(
    ("matrix", "luma"),
    [
        *((1, (0.2126, 0.0722)), (4, (0.30, 0.11)), (5, (0.299, 0.114))),
        *((6, (0.299, 0.114)), (7, (0.212, 0.087)), (9, (0.2627, 0.0593))),
    ],
)
def test_matrices_have_the_weights_of_h273_table_4(matrix, luma):
    assert of(1920, 1080, matrix=matrix).luma == luma


@pytest.mark.parametrize(
    ("size", "luma", "word"),
    [((1920, 1080), LUMA[1], "BT.709"), ((1280, 720), LUMA[1], "BT.709"), ((720, 480), LUMA[6], "BT.601")],
)
def test_without_tags_size_decides_and_a_note_says_so(size, luma, word):
    found = of(*size)
    assert (found.luma, found.full_range) == (luma, False)
    assert word in found.note


def test_primaries_other_than_bt709_are_converted():
    red = np.array([1.0, 0, 0])
    encoding = of(720, 576, primaries=5, transfer=6, matrix=5).convert
    assert encoding is not None
    assert encoding.matrix is not None
    # EBU's red and BT.709's are the same point; green is not.
    assert (encoding.matrix @ red)[1:] == pytest.approx([0, 0], abs=0.02)
    assert of(3840, 2160, primaries=9, transfer=14, matrix=9).convert is not None


@pytest.mark.parametrize("transfer", [1, 6, 13, 14, 2])
def test_screen_curves_leave_samples_as_they_are(transfer):
    assert of(1920, 1080, primaries=1, transfer=transfer, matrix=1).convert is None


def test_another_curve_is_converted():
    encoding = of(1920, 1080, primaries=1, transfer=8, matrix=1).convert
    assert encoding is not None
    assert encoding.is_linear


@pytest.mark.parametrize(("transfer", "name"), [(16, "PQ"), (18, "HLG")])
def test_hdr_is_refused(transfer, name):
    with pytest.raises(InputError, match=f"HDR already \\({name}\\)"):
        of(3840, 2160, primaries=9, transfer=transfer, matrix=9)


def test_constant_luminance_is_refused():
    with pytest.raises(InputError, match="matrix coefficients 10"):
        of(3840, 2160, primaries=9, transfer=14, matrix=10)


def test_rgb_needs_no_matrix_and_is_full_range_if_nothing_is_said():
    found = of(640, 480, is_rgb=True)
    assert (found.luma, found.full_range, found.note) == (None, True, "")
