"""The emulator of products of four warps (wgmma) shows what a GPU does not forgive, whatever the order of the warps."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from emulated import SOURCES, EmulatedGpu, Race, build_file
from fake_cuda import OK, Launch
from made_once import made_once
from numpy.typing import NDArray

THREADS, STEPS = 256, 3
ORDERS: dict[str, dict[str, object]] = {
    "forwards": {},
    "backwards": {"backwards": True},
    "in turns": {"seed": 0},
    "in other turns": {"seed": 1},
}
NOT_SHOWN = "a product reads shared memory that was not shown to it"
STILL_READ = "shared memory is written while a product may still read it"
MISTAKES = {
    "not_shown": NOT_SHOWN,
    "copy_not_shown": NOT_SHOWN,
    "shown_by_somebody_else": NOT_SHOWN,
    # Without a barrier it depends on the order which of the two warps is the one that is too early.
    "no_barrier_before": f"{NOT_SHOWN}|{STILL_READ}",
    "no_barrier_after": f"{NOT_SHOWN}|{STILL_READ}",
    "written_in_flight": STILL_READ,
    "left_changed": "the left side of a product in flight is written",
    "sums_written": "the sums of a product in flight are written",
    "not_begun": "a product is not begun",
    "not_waited_for": STILL_READ,
    "apart": f"the warps of a group multiply by different matrices|{NOT_SHOWN}",
}
KERNELS = ("nothing", "sums_read", *MISTAKES)

by_order = pytest.mark.parametrize("order", ORDERS)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory, emulator: Callable[..., Path]) -> Path:
    return made_once(
        tmp_path_factory, "products.so", lambda target: build_file(target, 90, SOURCES / "products.cu", KERNELS)
    )


def multiply(library: Path, kernel: str, order: str, steps: int = STEPS) -> tuple[NDArray, NDArray]:
    """(products of the kernel, those of numpy), each (warps, 16, 64)."""
    rng = np.random.default_rng(0)
    gpu = EmulatedGpu(library, 90, **ORDERS[order])  # type: ignore[arg-type]
    left = gpu.put(rng.standard_normal((steps, THREADS // 32, 8, 4, 2, 2, 2)).astype(np.float16))
    right = gpu.put(rng.standard_normal((steps, 8, 2, 8, 8)).astype(np.float16))  # tiles, halves of k, columns, rows
    out = gpu.empty((THREADS // 32, 8, 4, 8, 2, 2), np.float32)  # warps, g, q, tiles, row g or g + 8, columns
    types = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int)
    values = (left.ctypes.data, right.ctypes.data, out.ctypes.data, steps)
    assert gpu.run(Launch(kernel, (1, 1, 1), (THREADS, 1, 1), 4096, 0, values, types)) == OK
    # Lanes 4 g + q hold rows g and g + 8 by columns 2 q and the next, of the lower and the upper half of k.
    rows = left.astype(np.float32).transpose(0, 1, 5, 2, 4, 3, 6).reshape(steps, -1, 16, 16)
    columns = right.astype(np.float32).transpose(0, 2, 4, 1, 3).reshape(steps, 16, 64)
    found = out.transpose(0, 4, 1, 3, 2, 5).reshape(-1, 16, 64)
    return found, np.einsum("swrk,skc->wrc", rows, columns)


@by_order
def test_products_that_keep_all_rules_are_right(library, order: str):
    found, wanted = multiply(library, "nothing", order)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


@by_order
@pytest.mark.parametrize("kernel", MISTAKES)
def test_what_a_gpu_need_not_forgive_is_told(library, kernel: str, order: str):
    with pytest.raises(Race, match=MISTAKES[kernel]):
        multiply(library, kernel, order)


@by_order
def test_sums_in_flight_are_no_numbers(library, order: str):
    assert np.isnan(multiply(library, "sums_read", order)[0][:, 0, 0]).all()


def test_a_product_that_nothing_waits_for_is_told_at_the_end(library):
    with pytest.raises(Race, match=r"a product is not waited for \(not_waited_for, block 0, warp 0\)"):
        multiply(library, "not_waited_for", "forwards", steps=1)
