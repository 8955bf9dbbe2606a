"""Large arrays are used again, and never by two at a time."""

from __future__ import annotations

import numpy as np
import pytest

from dcdr_deploy.system.buffers import Buffers

SHAPE = (4, 6, 3)


@pytest.fixture
def buffers():
    return Buffers()


def test_what_was_given_back_is_given_out_again(buffers):
    first = buffers.take(SHAPE, np.float32)
    buffers.give(first)
    assert np.shares_memory(buffers.take(SHAPE, np.float32), first)


def test_two_in_use_share_nothing(buffers):
    first = buffers.take(SHAPE, np.float32)
    assert not np.shares_memory(buffers.take(SHAPE, np.float32), first)
    buffers.give(first)
    buffers.give(first)  # of the second time nothing comes
    second = buffers.take(SHAPE, np.float32)
    assert not np.shares_memory(second, buffers.take(SHAPE, np.float32))


def test_an_array_is_of_the_shape_and_type_asked_for_whatever_it_was_before(buffers):
    first = buffers.take(SHAPE, np.float32)
    buffers.give(first)
    again = buffers.take((6, 4, 6), np.uint16)
    assert np.shares_memory(again, first)
    assert (again.shape, again.dtype, again.flags.c_contiguous) == ((6, 4, 6), np.uint16, True)


def test_of_another_size_it_is_let_go(buffers):
    buffers.give(buffers.take(SHAPE, np.float32))
    larger = buffers.take((5, 6, 3), np.float32)
    assert larger.shape == (5, 6, 3)
    buffers.give(larger)
    assert np.shares_memory(buffers.take((5, 6, 3), np.float32), larger)


def test_arrays_of_others_are_left_alone(buffers):
    other = np.zeros(SHAPE, np.float32)
    buffers.give(other)
    assert not np.shares_memory(buffers.take(SHAPE, np.float32), other)
