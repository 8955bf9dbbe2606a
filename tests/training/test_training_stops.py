"""A training run as a user asks for it: how it is stopped."""

from __future__ import annotations

import signal
import threading

import pytest

from dcdr_deploy.training.request import stop_on_interrupt


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="signals of POSIX")
def test_the_end_of_the_terminal_stops_a_run_unless_it_is_ignored_as_under_nohup() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    with stop_on_interrupt() as stop:
        signal.raise_signal(signal.SIGHUP)
        assert stop()
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_DFL
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with stop_on_interrupt() as stop:
        signal.raise_signal(signal.SIGHUP)
        assert not stop()
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


def test_a_run_on_another_thread_is_stopped_by_no_signal() -> None:
    asked: list[bool] = []

    def run() -> None:
        with stop_on_interrupt() as stop:
            asked.append(stop())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert asked == [False]
