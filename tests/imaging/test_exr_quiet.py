"""What OpenEXR prints is heard by nobody, and what others print by everybody, however many threads read."""

import os
import sys
import threading

import pytest

from dcdr_deploy.imaging.decoders.exr_quiet import quiet_library


def library_prints(word):
    print(word)
    os.write(2, f"{word}\n".encode())


def test_the_librarys_words_are_dropped_and_both_streams_come_back(capfd):
    stdout = sys.stdout
    with quiet_library():
        library_prints("damaged")
    assert sys.stdout is stdout
    library_prints("after")
    assert capfd.readouterr() == ("after\n", "after\n")


def test_threads_that_read_at_the_same_time_leave_both_streams_as_they_were(capfd):
    """The first in is the first out, which would put back the second one's nothing at the end."""
    stdout, first_in, second_in, first_out = sys.stdout, *(threading.Event() for _ in range(3))

    def first():
        with quiet_library():
            first_in.set()
            second_in.wait(10)
            library_prints("first")
        first_out.set()

    def second():
        first_in.wait(10)
        with quiet_library():
            second_in.set()
            first_out.wait(10)
            library_prints("second")

    threads = [threading.Thread(target=each) for each in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sys.stdout is stdout
    library_prints("after")
    assert capfd.readouterr() == ("after\n", "after\n")


def test_results_that_are_printed_while_a_thread_reads_come_out(capsys):
    reading, told = threading.Event(), threading.Event()

    def read():
        with quiet_library():
            reading.set()
            told.wait(10)

    thread = threading.Thread(target=read)
    thread.start()
    reading.wait(10)
    print("a result")
    told.set()
    thread.join()
    assert capsys.readouterr().out == "a result\n"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_brings_both_streams_back(capfd, error):
    with pytest.raises(error), quiet_library():
        raise error
    library_prints("after")
    assert capfd.readouterr() == ("after\n", "after\n")
