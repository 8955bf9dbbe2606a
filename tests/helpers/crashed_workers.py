"""A process of the tests that ends by itself: its test has failed, how it ended is said, and the others go on."""

from __future__ import annotations

from typing import Any

import pytest

from dcdr_deploy.system.interrupts import name_of


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
def pytest_handlecrashitem(report: Any) -> None:
    """Say of a process how it ended, of which xdist only knows that nothing comes from it any more."""
    status = report.node.gateway._io.popen.wait(60)
    how = name_of(-status) if status < 0 else f"exit status {status}"
    report.longrepr += f": {how}"
