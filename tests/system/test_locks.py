"""A lock is held by one at a time, and ends with its holder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import dcdr_deploy
from dcdr_deploy.system import locks
from dcdr_deploy.system.locks import IsLocked, locked

HOLD = """
import sys, time
from pathlib import Path
from dcdr_deploy.system.locks import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_holder_is_turned_away_and_the_next_is_not(tmp_path):
    with locked(tmp_path / "lock"), pytest.raises(IsLocked), locked(tmp_path / "lock"):
        pytest.fail("held twice")
    with locked(tmp_path / "lock"):
        pass


def test_it_ends_with_a_process_that_is_killed(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(Path(dcdr_deploy.__file__).parent.parent)}
    command = [sys.executable, "-c", HOLD, str(tmp_path / "lock")]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(IsLocked), locked(tmp_path / "lock"):
            pytest.fail("held twice")
        holder.send_signal(signal.SIGKILL)
    with locked(tmp_path / "lock"):
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="there, a file that is open stays")
def test_a_file_that_its_holder_removes_while_another_opens_it_is_no_lock(tmp_path, monkeypatch):
    """The second of three: it has opened the first one's file; the third makes a new one."""
    path, lock = tmp_path / "lock", locks._lock

    def late(descriptor):
        path.unlink()
        monkeypatch.setattr(locks, "_lock", lock)
        lock(descriptor)

    monkeypatch.setattr(locks, "_lock", late)
    with locked(path), pytest.raises(IsLocked), locked(path):
        pytest.fail("held twice")


def test_a_link_is_not_followed(tmp_path):
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError), locked(tmp_path / "lock"):  # noqa: PT011 - the system's own words
        pytest.fail("followed")
