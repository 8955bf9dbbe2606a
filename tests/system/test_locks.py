"""A lock is held by one at a time, and ends with its holder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import dcdr_deploy
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


def test_a_link_is_not_followed(tmp_path):
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError), locked(tmp_path / "lock"):  # noqa: PT011 - the system's own words
        pytest.fail("followed")
