"""Signals wait while a library runs that calls Python back."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading

import pytest

from dcdr_deploy.system.interrupts import held, name_of, unheard_by_children


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


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="Windows has no mask of signals")
def test_a_process_started_in_the_block_does_not_hear_ctrl_c_and_this_one_does_after_it():
    told = "import signal; print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ()))"

    def is_unheard():
        return subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True).stdout.strip()

    def block():
        with unheard_by_children():
            signal.raise_signal(signal.SIGINT)
            assert is_unheard() == "True"

    with pytest.raises(KeyboardInterrupt):
        block()
    assert is_unheard() == "False"


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="Windows has no mask of signals")
def test_the_first_worker_of_a_program_does_not_hear_ctrl_c():
    """Multiprocessing starts a process of its own before it, and then lets signals through."""
    program = (
        "import multiprocessing, signal\n"
        "from dcdr_deploy.system.interrupts import unheard_by_children\n"
        "spawn = multiprocessing.get_context('spawn')\n"
        "child = spawn.Process(target=signal.raise_signal, args=(signal.SIGINT,))\n"
        "with unheard_by_children():\n"
        "    child.start()\n"
        "child.join()\n"
        "print(child.exitcode)"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (told.stdout, told.stderr) == ("0\n", "")
