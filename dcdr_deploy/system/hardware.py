"""What this machine has: memory that may be used, NVIDIA GPUs, processor cores.

Every function answers from what the operating system itself offers and loads no package, so that it can be called
before a backend is chosen. A question that the system does not answer gives ``None`` or an empty list, never an error:
none of these answers is needed for a right result, only for a good choice.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_NVIDIA_SMI_TIMEOUT = 10.0
"""Seconds; nvidia-smi hangs when a driver is broken, and takes a few seconds on a machine with many GPUs."""

_NO_LIMIT = 1 << 60
"""Control groups (version 1) write an absurdly large number for "no limit"."""

_ATTRIBUTE_MAJOR, _ATTRIBUTE_MINOR = 75, 76
"""CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR of the CUDA driver API."""


@dataclass(frozen=True)
class Gpu:
    """One NVIDIA GPU as nvidia-smi lists it; memory in bytes."""

    index: int
    name: str
    memory_total: int
    memory_free: int
    driver: str
    compute_capability: str


def cpu_threads() -> int:
    """Return how many threads this process may run at once (its affinity, not the number of cores in the machine)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_name() -> str:
    """Return the processor's name in words."""
    with suppress(OSError):  # no /proc: Windows or macOS
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def total_memory() -> int | None:
    """Return the machine's memory in bytes, or the control group's limit where that is lower."""
    return _smallest(_system_memory()[0], *(limit for limit, _ in _cgroup_limits()))


def available_memory() -> int | None:
    """Return how many bytes can still be allocated without swapping, within the limits of the control group."""
    return _smallest(_system_memory()[1], *(max(limit - used, 0) for limit, used in _cgroup_limits()))


def _smallest(*values: int | None) -> int | None:
    return min((value for value in values if value is not None), default=None)


def _system_memory() -> tuple[int | None, int | None]:
    """Return (total, available) bytes of the whole system."""
    if sys.platform == "win32":
        return _windows_memory()
    meminfo = _read(Path("/proc/meminfo"))
    if meminfo is not None:
        fields = {line.partition(":")[0]: line.partition(":")[2].split() for line in meminfo.splitlines()}
        try:
            return int(fields["MemTotal"][0]) * 1024, int(fields["MemAvailable"][0]) * 1024
        except (KeyError, IndexError, ValueError):
            return None, None
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return None, None
    # macOS tells the free pages only to those who ask its kernel interface; it compresses idle memory, so half of the
    # machine is a fair guess of what can be had.
    return total, total // 2


def _windows_memory() -> tuple[int | None, int | None]:
    class MemoryStatusEx(ctypes.Structure):
        _fields_ = (
            ("length", ctypes.c_ulong),
            ("load", ctypes.c_ulong),
            *((name, ctypes.c_ulonglong) for name in ("total", "available", "page_total", "page_available")),
            *((name, ctypes.c_ulonglong) for name in ("virtual_total", "virtual_available", "extended")),
        )

    status = MemoryStatusEx(length=ctypes.sizeof(MemoryStatusEx))
    kernel32 = getattr(ctypes, "windll").kernel32  # noqa: B009 - the attribute exists on Windows only
    if not kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
        return None, None
    return int(status.total), int(status.available)


def _cgroup_limits(
    root: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")
) -> list[tuple[int, int]]:
    """Return (limit, used) bytes of every control group that bounds this process; page cache does not count as used.

    Containers see their own group at the root of the file system, other processes at the path in ``membership``: both
    are tried, and every parent, because a limit anywhere above holds as well.
    """
    paths = {"/"}
    for line in (_read(membership) or "").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers in ("", "memory") or "memory" in controllers.split(","):
            paths.update(str(parent) for parent in (Path(path), *Path(path).parents))
    limits = []
    for path in sorted(paths):
        for group, limit_file, used_file, cache_key in (
            (root, "memory.max", "memory.current", "inactive_file"),
            (root / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            folder = group / path.lstrip("/")
            limit, used = _number(folder / limit_file), _number(folder / used_file)
            if limit is None or used is None or limit >= _NO_LIMIT:
                continue
            limits.append((limit, max(used - _statistic(folder / "memory.stat", cache_key), 0)))
    return limits


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def _number(path: Path) -> int | None:
    text = (_read(path) or "").strip()
    return int(text) if text.isdigit() else None  # "max" means no limit


def _statistic(path: Path, key: str) -> int:
    for line in (_read(path) or "").splitlines():
        name, _, value = line.partition(" ")
        if name == key and value.strip().isdigit():
            return int(value)
    return 0


def resident_memory() -> int | None:
    """Return how many bytes of memory this process has in use, ``None`` where the system does not tell."""
    fields = (_read(Path("/proc/self/statm")) or "").split()
    return int(fields[1]) * mmap.PAGESIZE if len(fields) > 1 else None


def return_freed_memory() -> None:
    """Have the C library give back what was freed, where it can (glibc's malloc_trim(3)).

    It keeps much for what comes next, which then takes nothing more from the system and seems to need no memory.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim is not None:
        trim(ctypes.c_size_t(0))


def restart_peak_memory() -> bool:
    """Have :func:`peak_memory` begin anew; ``False`` where the system cannot: Linux can (proc(5), ``clear_refs``)."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def peak_memory() -> int | None:
    """Return the most bytes of memory that this process had in use at a time, ``None`` where the system does not tell.

    Counted from :func:`restart_peak_memory` on.
    """
    for line in (_read(Path("/proc/self/status")) or "").splitlines():
        name, _, value = line.partition(":")
        if name == "VmHWM":
            return int(value.removesuffix("kB")) << 10
    return None


def cuda_device_count() -> int:
    """Return how many NVIDIA GPUs the installed driver offers; 0 without driver or GPU.

    Asks the driver library itself, which takes milliseconds and writes nothing, before anything that needs CUDA is
    loaded: the backends' own attempts take long and complain loudly on machines without a GPU.
    """
    driver = _cuda_driver()
    count = ctypes.c_int(0)
    if driver is None or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value


def compute_capabilities() -> list[int]:
    """Return the compute capability of every GPU in CUDA's order, two or three digits each: 86 for 8.6, 120 for 12.0.

    Asks the driver library, as :func:`cuda_device_count`; empty without driver or GPU.
    """
    driver = _cuda_driver()
    if driver is None:
        return []
    found = []
    for index in range(cuda_device_count()):
        device, major, minor = ctypes.c_int(0), ctypes.c_int(0), ctypes.c_int(0)
        asked = (
            driver.cuDeviceGet(ctypes.byref(device), index),
            driver.cuDeviceGetAttribute(ctypes.byref(major), _ATTRIBUTE_MAJOR, device),
            driver.cuDeviceGetAttribute(ctypes.byref(minor), _ATTRIBUTE_MINOR, device),
        )
        if not any(asked):
            found.append(10 * major.value + minor.value)
    return found


def cuda_driver_version() -> tuple[int, int] | None:
    """Return the newest version of CUDA, (major, minor), that the installed driver knows; ``None`` without one."""
    driver, version = _cuda_driver(), ctypes.c_int(0)
    if driver is None or driver.cuDriverGetVersion(ctypes.byref(version)) != 0:
        return None
    return version.value // 1000, version.value % 1000 // 10


def _cuda_driver() -> ctypes.CDLL | None:
    """Return the CUDA driver library, initialised; ``None`` without driver or GPU."""
    try:
        if sys.platform == "win32":
            driver = getattr(ctypes, "WinDLL")("nvcuda.dll")  # noqa: B009 - the attribute exists on Windows only
        else:
            driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    return driver if driver.cuInit(0) == 0 else None


def nvidia_gpus() -> list[Gpu]:
    """Return the GPUs that nvidia-smi lists; empty where it is missing, fails or does not answer in time."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    query = "--query-gpu=index,name,memory.total,memory.free,driver_version,compute_cap"
    try:
        answer = subprocess.run(
            [program, query, "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=_NVIDIA_SMI_TIMEOUT,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return list(_parse_gpus(answer.stdout))


def _parse_gpus(table: str) -> Iterator[Gpu]:
    for line in table.splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        # Memory reads "[N/A]" on boards that share it with the processor; such a line cannot help to choose a tile.
        if len(cells) == 6 and cells[0].isdigit() and cells[2].isdigit() and cells[3].isdigit():
            yield Gpu(int(cells[0]), cells[1], int(cells[2]) << 20, int(cells[3]) << 20, cells[4], cells[5])


def gpu_free_memory(index: int) -> int | None:
    """Return the free bytes of GPU ``index`` (CUDA's numbering), ``None`` if unknown.

    nvidia-smi numbers all GPUs of the machine, CUDA those in ``CUDA_VISIBLE_DEVICES``; the variable is followed where
    it holds plain numbers.
    """
    visible = [entry.strip() for entry in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if entry.strip()]
    if visible:
        if index >= len(visible) or not visible[index].isdigit():
            return None
        index = int(visible[index])
    return next((gpu.memory_free for gpu in nvidia_gpus() if gpu.index == index), None)
