"""Both packages are one API: found, checked, and made fit for use; the RTX wheel's missing library name included."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

import dcdr_deploy
from dcdr_deploy.engines.tensorrt import trt_api
from dcdr_deploy.engines.tensorrt.library_alias import alias_image
from dcdr_deploy.engines.tensorrt.trt_api import (
    PACKAGES,
    builder_sms,
    get_package,
    load_api,
    shared_logger,
    version,
    versions,
)
from dcdr_deploy.errors import EngineError, MissingDependency
from dcdr_deploy.system.packages import install_line

HELPERS = Path(__file__).parents[2] / "helpers"
ROOT = Path(dcdr_deploy.__file__).parent.parent
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="the ELF loader of Linux")


@pytest.fixture(autouse=True)
def _forget_packages() -> Iterator[None]:
    load_api.cache_clear()
    yield
    load_api.cache_clear()


def python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(HELPERS), str(ROOT)]), "TMPDIR": str(folder)},
        timeout=300,
        check=False,
    )


def test_the_two_packages_are_known_and_no_other() -> None:
    assert list(PACKAGES) == ["tensorrt", "tensorrt-rtx"]
    assert get_package("tensorrt-rtx").targets_sms
    with pytest.raises(EngineError, match="choose one of: tensorrt, tensorrt-rtx"):
        get_package("tensort")


def test_versions_are_found_without_an_import(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = {"tensorrt-cu12": "10.8.0"}
    monkeypatch.setattr(trt_api.packages, "version", installed.get)
    assert versions() == {"tensorrt": "10.8.0"}
    assert version("tensorrt-rtx") is None


@pytest.mark.parametrize("error", [ImportError("No module named 'tensorrt'"), OSError("libnvinfer.so.10:\nnot found")])
def test_a_package_that_cannot_be_imported_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(name: str) -> ModuleType:
        raise error

    monkeypatch.setattr(trt_api.importlib, "import_module", fail)
    with pytest.raises(
        MissingDependency, match=rf"^tensorrt cannot be imported .*{re.escape(install_line('tensorrt'))}$"
    ):
        load_api("tensorrt")


@pytest.mark.parametrize(
    ("found", "fits"), [("8.6.1", False), ("10.2.0", False), ("10.3.0.post1", True), ("11.4", True)]
)
def test_an_old_version_is_refused(monkeypatch: pytest.MonkeyPatch, found: str, fits: bool) -> None:
    module = SimpleNamespace(__version__=found)
    monkeypatch.setattr(trt_api.importlib, "import_module", lambda name: module)
    if fits:
        assert load_api("tensorrt") is module
    else:
        with pytest.raises(EngineError, match=rf"tensorrt {found} is too old, 10\.3 is the oldest"):
            load_api("tensorrt")


def test_only_rtx_builds_for_gpus_that_are_not_there() -> None:
    rtx = pytest.importorskip("tensorrt_rtx")
    assert {75, 86, 89, 120} <= set(builder_sms(rtx))
    assert builder_sms(SimpleNamespace()) == ()


def test_a_process_has_one_logger_a_package_and_its_sink_can_be_changed() -> None:
    trt = ModuleType("package")
    trt.ILogger = type("ILogger", (), {})  # type: ignore[attr-defined]
    heard: list[tuple[str, str]] = []
    logger = shared_logger(trt)
    logger.log(SimpleNamespace(name="ERROR"), "nobody listens")
    logger.sink = lambda severity, message: heard.append((severity, message))
    shared_logger(trt).log(SimpleNamespace(name="WARNING"), "careful")
    assert heard == [("WARNING", "careful")]


@linux_only
def test_a_library_can_be_opened_by_its_second_name_and_no_file_stays(tmp_path: Path) -> None:
    code = """
import ctypes, zlib
from dcdr_deploy.engines.tensorrt.library_alias import load_alias, loaded_library
try:
    ctypes.CDLL("libdcdr_second_name.so")
except OSError:
    print("unknown")
library = loaded_library("libc.so")
for _ in range(2):
    load_alias("libdcdr_second_name.so", library)
print(ctypes.CDLL("libdcdr_second_name.so").abs(-3))
print(loaded_library("libdcdr_second"))
"""
    done = python(code, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "unknown\n3\nNone\n", "")
    assert list(tmp_path.iterdir()) == []


def test_the_image_is_made_for_the_machine_it_runs_on() -> None:
    numbers = {name: alias_image("a.so", "/b.so", name)[18:20] for name in ("x86_64", "aarch64")}
    assert numbers == {"x86_64": b"\x3e\0", "aarch64": b"\xb7\0"}
    with pytest.raises(ValueError, match="riscv64"):
        alias_image("a.so", "/b.so", "riscv64")


@linux_only
def test_where_the_name_cannot_be_given_the_message_says_what_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorrt_rtx")

    def fail(name: str, library: Path) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(trt_api, "load_alias", fail)
    with pytest.raises(EngineError, match=r"libtensorrt_rtx\.so cannot be provided \(no space left.*LD_LIBRARY_PATH"):
        load_api("tensorrt-rtx")


@linux_only
def test_the_rtx_parser_finds_plugins_in_a_fresh_process_instead_of_aborting(tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    code = """
from models_for_engines import CUBINS, one_block, settings
from dcdr_deploy.building.network import build_serialized
built = build_serialized(one_block().SerializeToString(), settings(fp16=True, tile=(16, 16)), CUBINS)
print(built.plugin_layers, len(built.engine) > 0)
"""
    done = python(code, tmp_path)
    assert (done.returncode, done.stdout) == (0, "1 True\n"), done.stderr
