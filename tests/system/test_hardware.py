"""What the machine has, read from files and programs that these tests fake."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest
from fake_cuda import FakeDriver
from fake_libcuda import Libcuda

from dcdr_deploy.system import hardware


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


def test_memory_of_this_machine_is_plausible():
    available, total = hardware.available_memory(), hardware.total_memory()
    assert available is not None
    assert total is not None
    assert 0 < available <= total


HOLE = """
import ctypes
from dcdr_deploy.system import hardware

library = ctypes.CDLL(None)
library.mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD: all blocks come from one heap
blocks = [bytearray(1 << 20) for _ in range(200)]
last = blocks.pop()
del blocks
before = hardware.resident_memory()
hardware.return_freed_memory()
print(before - hardware.resident_memory() >> 20)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc has malloc_trim")
def test_what_was_freed_goes_back_to_the_system():
    done = subprocess.run([sys.executable, "-c", HOLE], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 150


def test_a_container_limit_counts_without_its_page_cache(tmp_path: Path):
    write(tmp_path, memory__max="1000\n", memory__current="700\n", memory__stat="anon 5\ninactive_file 300\n")
    assert hardware._cgroup_limits(tmp_path, tmp_path / "none") == [(1000, 400)]


def test_limits_of_the_group_and_of_its_parents_hold(tmp_path: Path):
    write(tmp_path / "a", memory__max="5000", memory__current="100")
    write(tmp_path / "a" / "b", memory__max="max", memory__current="90")
    write(tmp_path / "a" / "b" / "c", memory__max="800", memory__current="80")
    write(tmp_path, cgroup="0::/a/b/c\n")
    assert sorted(hardware._cgroup_limits(tmp_path, tmp_path / "cgroup")) == [(800, 80), (5000, 100)]


def test_version_one_groups_are_read_and_no_limit_is_none(tmp_path: Path):
    write(tmp_path / "memory" / "job", memory__limit_in_bytes="4096", memory__usage_in_bytes="96")
    write(tmp_path / "memory", memory__limit_in_bytes="9223372036854771712", memory__usage_in_bytes="96")
    write(tmp_path, cgroup="4:memory:/job\n1:cpu:/\n")
    assert hardware._cgroup_limits(tmp_path, tmp_path / "cgroup") == [(4096, 96)]


def test_a_containers_limit_is_the_memory_that_there_is(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hardware, "_cgroup_limits", lambda: [(1 << 20, 1 << 19)])
    assert (hardware.total_memory(), hardware.available_memory()) == (1 << 20, 1 << 19)


def test_gpus_are_read_from_the_table_of_nvidia_smi():
    table = "0, NVIDIA H200, 143771, 143000, 580.1, 9.0\n1, NVIDIA GB10, [N/A], [N/A], 580.1, 12.1\n"
    (gpu,) = hardware._parse_gpus(table)
    assert (gpu.index, gpu.name, gpu.memory_free, gpu.compute_capability) == (0, "NVIDIA H200", 143000 << 20, "9.0")


def test_compute_capabilities_come_from_the_driver(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hardware.sys, "platform", "linux")
    monkeypatch.setattr(hardware.ctypes, "CDLL", lambda name: Libcuda(FakeDriver(sms=(86, 120))))
    assert hardware.compute_capabilities() == [86, 120]
    assert hardware.cuda_device_count() == 2


def test_a_driver_without_a_gpu_or_no_driver_gives_none(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hardware.sys, "platform", "linux")
    monkeypatch.setattr(FakeDriver, "cuInit", lambda self, flags: (100,))
    monkeypatch.setattr(hardware.ctypes, "CDLL", lambda name: Libcuda(FakeDriver()))
    assert (hardware.compute_capabilities(), hardware.cuda_device_count()) == ([], 0)

    def absent(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(hardware.ctypes, "CDLL", absent)
    assert (hardware.compute_capabilities(), hardware.cuda_device_count()) == ([], 0)


def test_visible_devices_renumber_the_gpus(monkeypatch: pytest.MonkeyPatch):
    gpus = [hardware.Gpu(index, "x", 10, index * 100, "1", "9.0") for index in range(3)]
    monkeypatch.setattr(hardware, "nvidia_gpus", lambda: gpus)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,1")
    assert [hardware.gpu_free_memory(index) for index in (0, 1, 2)] == [200, 100, None]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert hardware.gpu_free_memory(1) == 100
