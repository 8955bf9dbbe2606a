"""No test module is lost: whatever a folder is called, `make test` collects what the repository holds."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def test_every_test_module_of_the_repository_is_collected(request: pytest.FixtureRequest) -> None:
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    listed = subprocess.run(
        ["git", "ls-files", "tests/**/test_*.py", "tests/test_*.py"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    tracked = {name for name in listed if (ROOT / name).exists()}
    assert len(tracked) > 80
    assert collected(request) >= tracked


def collected(request: pytest.FixtureRequest) -> set[str]:
    """Modules that a run of the whole suite collects: this one, if it is one, else one that only collects."""
    config = request.config
    whole = {Path(config.invocation_params.dir, name).resolve() for name in config.args} <= {ROOT, ROOT / "tests"}
    if whole and not (config.option.keyword or config.option.markexpr):
        return {item.nodeid.partition("::")[0] for item in request.session.items}
    return collected_below(ROOT / "tests", config)


def collected_below(folder: Path, config: pytest.Config) -> set[str]:
    """Modules that a run of the whole suite collects, with this run's configuration file."""
    command = ["-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "-c", str(config.inipath), str(folder)]
    result = subprocess.run([sys.executable, *command], cwd=ROOT, check=True, capture_output=True, text=True)
    return {line.partition("::")[0] for line in result.stdout.splitlines() if "::" in line}
