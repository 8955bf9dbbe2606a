"""Signals wait while a library runs that calls Python back."""

from __future__ import annotations

import signal
import threading

import pytest

from dcdr_deploy.system.interrupts import held, name_of


@pytest.fixture(autouse=True)
def ctrl_c_raises():
    """A background job of a shell inherits SIGINT ignored; the fixture of all tests sets it back."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_ctrl_c_waits_for_the_end_of_the_block():
    reached = []

    def block():
        with held():
            signal.raise_signal(signal.SIGINT)
            reached.append("the end")

    with pytest.raises(KeyboardInterrupt):
        block()
    assert reached == ["the end"]


def test_ctrl_c_counts_more_than_an_error_of_the_block():
    def block():
        with held():
            signal.raise_signal(signal.SIGINT)
            raise RuntimeError("as a library makes of it")

    with pytest.raises(KeyboardInterrupt) as interrupt:
        block()
    assert isinstance(interrupt.value.__context__, RuntimeError)


def test_handlers_are_as_before_and_what_is_ignored_stays_ignored():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with held():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_threads_that_no_signal_meets_need_nothing():
    ran = []

    def work():
        with held():
            ran.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert ran == [signal.default_int_handler]


@pytest.mark.parametrize(("number", "name"), [(int(signal.SIGTERM), "SIGTERM"), (40, "signal 40"), (999, "signal 999")])
def test_a_signal_is_called_by_its_name_where_it_has_one(number: int, name: str):
    assert name_of(number) == name
