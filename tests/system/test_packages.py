"""Tests of which packages are installed, and of the lines that install the others."""

import importlib.metadata
import platform
import sys

import pytest

from dcdr_deploy.system.packages import install_line

STATED = [
    "click>=8.1",
    'onnxruntime>=1.25; platform_machine not in "x86_64 AMD64"',
    'openvino>=2025.0; extra == "openvino"',
    'cuda-bindings>=13.0; extra == "cuda-kernels"',
    'dcdr-deploy[cuda-kernels]; extra == "tensorrt"',
    'tensorrt>=10.13.2; extra == "tensorrt"',
    'dcdr-deploy[openvino,tensorrt]; extra == "all"',
    'openvino>=2025.0; extra == "all"',
    'tensorrt-rtx-cu13>=1.7; (platform_machine == "x86_64" or sys_platform == "win32") and extra == "rtx"',
    'onnxruntime-gpu>=1.25; (platform_machine in "x86_64 AMD64" and python_version >= "3.9") and extra == "gpu"',
    'onnxruntime>=1.25; (platform_machine not in "x86_64 AMD64" or python_version < "3.9") and extra == "gpu"',
    'av>=17; (platform_release > "5" or sys_platform == "win32") and extra == "video"',
]


@pytest.fixture(autouse=True)
def _stated(monkeypatch):
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: STATED)
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(sys, "platform", "linux")


def test_an_extra_is_installed_by_the_packages_that_it_names():
    assert install_line("openvino") == 'pip install "openvino>=2025.0"'


def test_extras_within_an_extra_are_installed_too_and_nothing_twice():
    assert install_line("tensorrt") == 'pip install "cuda-bindings>=13.0" "tensorrt>=10.13.2"'
    assert install_line("all") == 'pip install "openvino>=2025.0" "cuda-bindings>=13.0" "tensorrt>=10.13.2"'


def test_packages_for_other_machines_are_left_out(monkeypatch):
    assert install_line("rtx") == 'pip install "tensorrt-rtx-cu13>=1.7"'
    assert install_line("gpu") == 'pip install "onnxruntime-gpu>=1.25"'
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    assert install_line("gpu") == 'pip install "onnxruntime>=1.25"'


def test_python_versions_are_compared_as_numbers(monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 10, 2, "final", 0))
    assert install_line("gpu") == 'pip install "onnxruntime-gpu>=1.25"'
    monkeypatch.setattr(sys, "version_info", (3, 8, 2, "final", 0))
    assert install_line("gpu") == 'pip install "onnxruntime>=1.25"'


def test_conditions_of_other_names_are_left_for_pip_in_quotes_that_a_shell_keeps():
    condition = "(platform_release > '5' or sys_platform == 'win32')"
    assert install_line("video") == f'pip install "av>=17; {condition}"'


def test_without_an_extra_the_line_installs_what_the_package_needs():
    assert install_line() == 'pip install "click>=8.1"'


def test_an_extra_that_this_installation_does_not_know_is_one_of_the_checkout():
    assert install_line("evaluate") == 'pip install ".[evaluate]"'


def test_a_package_that_runs_without_being_installed_is_run_from_a_checkout(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", missing)
    assert install_line("rtx") == 'pip install ".[rtx]"'
    assert install_line() == "pip install ."
