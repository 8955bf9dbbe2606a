"""A process of the tests that ends by itself: how it ended is told, and the test that it was in runs again.

Native libraries, started programs and signals share the processes in which files of tests run one after the other. A
test whose process ends twice has failed; what happens once is told in the summary, and nothing else is lost by it.
"""

from __future__ import annotations

import signal
from contextlib import suppress
from typing import Any

import pytest

ENDED = pytest.StashKey[dict[str, list[str]]]()
"""How processes ended, by the test that they were in."""


def pytest_configure(config: pytest.Config) -> None:
    config.stash[ENDED] = {}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Files in their order, without those of a crashed worker that are done.

    xdist's own gives these to the worker in its place, which then waits for tests that do not come.
    """
    if config.getoption("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class UndoneFiles(LoadFileScheduling):
        def remove_node(self, node: Any) -> str | None:
            files = self.assigned_work[node]
            for name in [name for name, tests in files.items() if all(tests.values())]:
                del files[name]
            return super().remove_node(node)

    return UndoneFiles(config, log)


@pytest.hookimpl(optionalhook=True)
def pytest_handlecrashitem(crashitem: str, report: Any) -> None:
    """The first time, the test counts as skipped: its file, which goes on in another process, begins with it."""
    ends = report.node.config.stash[ENDED].setdefault(crashitem, [])
    ends.append(_how(report.node.gateway))
    if len(ends) == 1:
        report.outcome = "skipped"
        report.longrepr = (crashitem.partition("::")[0], None, f"its process ended ({ends[0]}); run again")


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    for test, ends in config.stash[ENDED].items():
        terminalreporter.write_line(f"process ended in {test}: {', then '.join(ends)}", yellow=True)


def _how(gateway: Any) -> str:
    """How the process of a worker ended, of which xdist knows that nothing comes from it any more."""
    status = gateway._io.popen.wait(60)
    if status >= 0:
        return f"exit status {status}"
    with suppress(ValueError):
        return signal.Signals(-status).name
    return f"signal {-status}"
