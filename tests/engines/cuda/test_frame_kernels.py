"""The kernels of ``frames.cu``: the real source on the CPU against numpy, and compiled for every GPU."""

from __future__ import annotations

import ctypes
import shutil
import subprocess

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dcdr_deploy.engines.base import normalise
from dcdr_deploy.engines.cuda import compiler

BLOCK = 32
CANARY = 0x5A

HARNESS = r"""
#include <immintrin.h>
#define __device__ static
#define __global__
struct Index { unsigned x; };
static Index blockIdx, blockDim, gridDim, threadIdx;
static float __fdiv_rn(float a, float b) { return a / b; }
struct __half { unsigned short bits; };
static __half __float2half_rn(float value) { return {_cvtss_sh(value, _MM_FROUND_TO_NEAREST_INT)}; }
#include "frames.cu"

template <typename Kernel>
static void launch(unsigned grid, unsigned block, Kernel kernel) {
    gridDim.x = grid;
    blockDim.x = block;
    for (blockIdx.x = 0; blockIdx.x < grid; ++blockIdx.x)
        for (threadIdx.x = 0; threadIdx.x < block; ++threadIdx.x) kernel();
}

extern "C" void codes8(unsigned grid, unsigned block, void* a, void* b, long long images, long long pixels) {
    launch(grid, block, [=] { codes8_to_planes((unsigned char*)a, (float*)b, images, pixels); });
}
extern "C" void codes16(unsigned grid, unsigned block, void* a, void* b, long long images, long long pixels) {
    launch(grid, block, [=] { codes16_to_planes((unsigned short*)a, (float*)b, images, pixels); });
}
extern "C" void half(unsigned grid, unsigned block, void* a, void* b, long long count) {
    launch(grid, block, [=] { planes_to_half((float*)a, (__half*)b, count); });
}
"""


@pytest.fixture(scope="module")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The kernels as a library of the CPU's."""
    if shutil.which("g++") is None:
        pytest.skip("no g++")
    folder = tmp_path_factory.mktemp("frames")
    (folder / "cuda_fp16.h").write_text("")
    (folder / "harness.cpp").write_text(HARNESS)
    target = folder / "frames.so"
    command = ["g++", "-std=c++17", "-O1", "-w", "-mf16c", "-shared", "-fPIC", f"-I{folder}"]
    command += [f"-I{compiler.SOURCES['frames'].parent}", str(folder / "harness.cpp"), "-o", str(target)]
    subprocess.run(command, check=True)
    return ctypes.CDLL(str(target))


def guarded(count: int, dtype: type) -> np.ndarray:
    """Rubbish, with some bytes behind that must stay."""
    return np.full(count * np.dtype(dtype).itemsize + 64, CANARY, np.uint8)


def content(buffer: np.ndarray, dtype: type) -> np.ndarray:
    assert (buffer[-64:] == CANARY).all(), "the kernel wrote behind its result"
    return buffer[:-64].view(dtype)


def pointer(array: np.ndarray) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


@given(st.integers(1, 3), st.integers(1, 9), st.integers(1, 17), st.integers(1, 4), st.sampled_from([8, 16]))
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_codes_become_the_planes_that_the_host_would_make(
    emulated: ctypes.CDLL, images: int, height: int, width: int, grid: int, bits: int
):
    dtype = np.uint8 if bits == 8 else np.uint16
    shape = (images, height, width, 3)
    codes = np.random.default_rng(images).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)
    planes = guarded(codes.size, np.float32)
    kernel = emulated.codes8 if bits == 8 else emulated.codes16
    count = ctypes.c_longlong(images), ctypes.c_longlong(height * width)
    kernel(grid, BLOCK, pointer(codes), pointer(planes), *count)  # the grid is often too small for one pixel a thread
    np.testing.assert_array_equal(content(planes, np.float32).reshape(images, 3, height, width), normalise(codes))


def test_every_code_is_divided_to_the_last_bit(emulated: ctypes.CDLL):
    codes = np.repeat(np.arange(65536, dtype=np.uint16), 3).reshape(1, 256, 256, 3)
    planes = guarded(codes.size, np.float32)
    size = ctypes.c_longlong(1), ctypes.c_longlong(65536)
    emulated.codes16(64, BLOCK, pointer(codes), pointer(planes), *size)
    np.testing.assert_array_equal(content(planes, np.float32).reshape(1, 3, 256, 256), normalise(codes))


def test_halves_are_rounded_as_numpy_rounds_them(emulated: ctypes.CDLL):
    bits = np.random.default_rng(1).integers(0, 2**32, 50_001, np.uint32)
    special = np.array([0.0, -0.0, 65504, 65519.9, 65520, 6e-8, 3e-8, np.inf, -np.inf, np.nan], np.float32)
    values = np.concatenate([bits.view(np.float32), special])
    halves = guarded(len(values), np.float16)
    emulated.half(7, BLOCK, pointer(values), pointer(halves), ctypes.c_longlong(len(values)))
    with np.errstate(over="ignore", invalid="ignore"):
        np.testing.assert_array_equal(content(halves, np.float16), values.astype(np.float16))


@pytest.mark.parametrize("sm", [75, 80, 86, 89, 90, 100, 120])
def test_the_source_compiles_for_every_gpu_without_spills(sm: int):
    pytest.importorskip("cuda.bindings.nvrtc")
    from cubin import resource_usage

    usage = resource_usage(compiler.compile_cubin("frames", sm))
    assert set(usage) == {"codes8_to_planes", "codes16_to_planes", "planes_to_half"}
    assert all(kernel.local_bytes == 0 for kernel in usage.values())
