"""The kernels on the CPU: the real source, compiled by g++ with the emulator in ``emulator/``."""

from __future__ import annotations

import atexit
import ctypes
import shutil
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from fake_cuda import DEVICE_BASE, OK, FakeDriver, Launch
from numpy.typing import DTypeLike, NDArray

from dcdr_deploy.engines.cuda import compiler, convolution_table

SOURCES = Path(__file__).with_name("emulator")
FLAGS = ("-std=c++17", "-O2", "-U_FORTIFY_SOURCE", "-fno-strict-aliasing", "-w", "-fPIC")
ILLEGAL_ADDRESS = 700
OUTCOMES = {0: 0, 2: ILLEGAL_ADDRESS}
FAULTY = 4


KERNELS = {
    "dcrb_from_maps": [f"dcrb_{part}_{kind}" for part in ("sft", "first", "second") for kind in ("half", "float")],
    "dcrb_from_hidden": ["dcrb2_sft", "dcrb2_first", "dcrb2_second"],
    "columns": [
        f"{part}_{kind}" for kind in ("half", "bfloat", "float") for part in ("columns", "spread", "scatter", "turn")
    ],
    "video": [f"{part}_{kind}" for part in ("average", "finish") for kind in ("planes8", "planes16", "pixels")],
    "picture": ["codes8_to_image", "codes16_to_image", "planes_to_image", "find_unfinite"],
}
"""Kernels by source."""


def build(target: Path, sm: int, *sources: str, kernel: str = "dcrb_from_maps", defines: tuple[str, ...] = ()) -> Path:
    """Compile the emulator as a shared library with the kernels of a source, which believe to run on ``sm``."""
    return build_file(target, sm, compiler.SOURCES[kernel], KERNELS[kernel], sources, defines)


def build_convolution(target: Path, sm: int, table: Mapping[str, convolution_table.Variant] | None = None) -> Path:
    """Compile an emulator of the convolutions' kernels, with the measures of the SM or those given."""
    made = convolution_table.variants(sm) if table is None else table
    named = {f"{convolution_table.PREFIX}{key}": variant for key, variant in made.items()}
    lines = "".join(f"{convolution_table.instantiation(name, variant)}\n" for name, variant in named.items())
    source = target.with_suffix(".cu")
    source.write_text(compiler.source_text("convolution") + lines)
    names = [*named, convolution_table.RINGS]
    return build_file(target, sm, source, names)


def build_file(
    target: Path,
    sm: int,
    kernels: Path,
    names: Sequence[str],
    sources: tuple[str, ...] = (),
    defines: tuple[str, ...] = (),
) -> Path:
    """Compile the emulator as a shared library with the kernels ``names`` of a source in a file."""
    folders = [f"-I{kernels.parent}", f"-I{compiler.SOURCES['convolution'].parent}"]
    told = (
        f'EMULATED="{kernels}"',
        f"ENTRIES={','.join(f'ENTRY({name})' for name in names)}",
        f"KERNEL_SM={sm}",
        *defines,
    )
    files = [str(SOURCES / name) for name in ("kernels.cpp", *sources)]
    _compile("-shared", *(f"-D{each}" for each in told), *folders, *files, str(_emulator()), "-o", str(target))
    return target


@cache
def _emulator() -> Path:
    """What all libraries have in common, compiled once: half of a library's time otherwise."""
    folder = TemporaryDirectory(prefix="emulator-")
    atexit.register(folder.cleanup)
    target = Path(folder.name) / "emulator.o"
    _compile("-c", str(SOURCES / "emulator.cpp"), "-o", str(target))
    return target


def _compile(*words: str) -> None:
    gcc = shutil.which("g++")
    assert gcc is not None
    subprocess.run([gcc, *FLAGS, f"-I{SOURCES}", *words], check=True, capture_output=True, text=True)


class Race(AssertionError):
    """A kernel did what happens to be right here and need not be on a GPU."""


class EmulatedGpu:
    """Device memory between guard pages, and a driver whose launches run in the emulator.

    Args:
        library: from :func:`build`.
        sm: compute capability it was built for.
        at_end: buffers end at an untouchable page; else they begin after one.
        backwards: threads and blocks run in the opposite order.
        seed: warps take turns at random, also between barriers; by their numbers without one.
    """

    def __init__(
        self, library: Path, sm: int, at_end: bool = True, backwards: bool = False, seed: int | None = None
    ) -> None:
        self._code = ctypes.CDLL(str(library))
        self._code.guarded_alloc.restype = ctypes.c_void_p
        self._code.emulated_fault.restype = ctypes.c_char_p
        self._at_end, self._order = at_end, int(backwards) if seed is None else 2 + seed
        self.driver = FakeDriver(sms=[sm], run=self.run)

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray:
        """Return an array in guarded memory, filled with NaN of whatever type."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        address = self._code.guarded_alloc(ctypes.c_size_t(size), int(self._at_end))
        memory = np.frombuffer((ctypes.c_char * size).from_address(address), np.uint8)
        memory.fill(0xFF)  # NaN in every floating-point type
        return memory.view(dtype).reshape(shape)

    def put(self, values: NDArray) -> NDArray:
        """Return a copy in guarded memory."""
        array = self.empty(values.shape, values.dtype)
        array[...] = values
        return array

    def run(self, launch: Launch) -> int:
        """Run a launch; the result is a CUresult.

        Raises:
            Race: see there; the emulator's ``async_proxy.h`` says of what.
        """
        index = self._code.kernel_index(launch.kernel.encode())
        sizes = [self._code.parameter_size(index, place) for place in range(len(launch.types) + 1)]
        assert sizes == [*map(ctypes.sizeof, launch.types), 0], "the launch's types are not the kernel's"
        values = [kind(value) for kind, value in zip(launch.types, launch.values, strict=True)]
        pointers = (ctypes.c_void_p * len(values))(*(ctypes.addressof(value) for value in values))
        assert launch.grid[1:] == launch.block[1:] == (1, 1)
        outcome = self._code.emulated_launch(
            index, launch.grid[0], launch.block[0], ctypes.c_size_t(launch.shared), self._order, pointers
        )
        if outcome == FAULTY:
            raise Race(self._code.emulated_fault().decode())
        assert outcome in OUTCOMES, "no such kernel, or its threads do not meet at the same points"
        return OUTCOMES[outcome]


class EmulatedDriver(FakeDriver):
    """A driver whose launches wait in their streams, as all else does, and then run in the emulator; for many threads.

    Args:
        library: from :func:`build`.
        sm: compute capability it was built for.
        memory: bytes of the device.
    """

    def __init__(self, library: Path, sm: int, memory: int = 1 << 30) -> None:
        self._turns = threading.RLock()
        super().__init__(memory=memory, sms=[sm])
        self._gpu = EmulatedGpu(library, sm)

    def __getattribute__(self, name: str) -> Any:
        value = object.__getattribute__(self, name)
        if not name.startswith("cu") or not callable(value):
            return value

        def in_turn(*arguments: Any) -> tuple:
            with self._turns:
                return value(*arguments)

        return in_turn

    def cuMemAlloc(self, size: int) -> tuple:  # noqa: N802 - the driver's name
        status, address = super().cuMemAlloc(size)
        if status is OK:
            self._blocks[address] = self._gpu.empty((size,), np.uint8)
        return status, address

    def cuMemFree(self, address: int) -> tuple:  # noqa: N802 - the driver's name
        self._settle()
        return super().cuMemFree(address)

    def cuMemFreeHost(self, address: int) -> tuple:  # noqa: N802 - the driver's name
        self._settle()
        return super().cuMemFreeHost(address)

    def _settle(self) -> None:
        """Do all that is under way, as the driver does before memory goes."""
        for stream in self._streams:
            self.cuStreamSynchronize(stream)

    def cuLaunchKernel(self, kernel: int, *arguments: Any) -> tuple:  # noqa: N802 - the driver's name
        gx, gy, gz, bx, by, bz, shared, stream, (values, types), _ = arguments
        launch = Launch(self._kernels[kernel], (gx, gy, gz), (bx, by, bz), shared, stream, values, types)

        def action() -> None:
            there = tuple(self._place(value) if value >= DEVICE_BASE else value for value in values)
            assert self._gpu.run(replace(launch, values=there)) == 0, "the kernel left its memory"

        self.put(stream, action, launch.kernel)
        return (OK,)

    def _place(self, address: int) -> int:
        return self.array(address, 1).ctypes.data
