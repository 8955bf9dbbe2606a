"""The kernels of ``picture.cu``: the real source on the CPU against numpy, and compiled for every GPU."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cubin import resource_usage
from emulated import EmulatedGpu
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dcdr_deploy.engines.base import normalise
from dcdr_deploy.engines.cuda import compiler
from dcdr_deploy.engines.cuda.driver import Library
from dcdr_deploy.engines.cuda.picture import PictureArguments, PictureKernels

Emulator = Callable[..., Path]


def image_of(picture: NDArray, gpu: EmulatedGpu, kernels: PictureKernels) -> tuple[NDArray, NDArray]:
    """Image and small image, (N, h, w, 4), of codes (N, H, W, 3) or floats (N, 3, H, W)."""
    images, height, width = (picture.shape[0], *picture.shape[2:]) if picture.dtype == np.float32 else picture.shape[:3]
    source = gpu.put(picture)
    image = gpu.empty((images, height, width, 4), np.float16)
    small = gpu.empty((images, height // 4, width // 4, 4), np.float16)
    addresses = (array.ctypes.data for array in (source, image, small))
    kernels.launch(PictureArguments(picture.dtype, *addresses, (images, height, width)), 0)
    return image, small


@pytest.fixture(scope="module")
def emulated(emulator: Emulator) -> Callable[[bool], tuple[EmulatedGpu, PictureKernels]]:
    """``emulated(at_end)``: a GPU whose buffers end, or begin, at a page that cannot be touched."""

    @functools.cache
    def make(at_end: bool) -> tuple[EmulatedGpu, PictureKernels]:
        gpu = EmulatedGpu(emulator(80, "picture"), 80, at_end)
        return gpu, PictureKernels(Library(gpu.driver, b"cubin"))

    return make


@given(
    st.integers(1, 3),
    st.integers(1, 9),
    st.integers(1, 13),
    st.sampled_from([np.uint8, np.uint16, np.float32]),
    st.booleans(),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_picture_becomes_the_image_and_its_average(
    emulated, images: int, rows: int, columns: int, dtype: type, at_end: bool
):
    shape = (images, 4 * rows, 4 * columns, 3)
    rng = np.random.default_rng(images)
    codes = rng.integers(
        0, 255 if dtype == np.uint8 else 65535, shape, np.uint8 if dtype == np.uint8 else np.uint16, True
    )
    planes = normalise(codes)
    image, small = image_of(planes if dtype == np.float32 else codes, *emulated(at_end))
    np.testing.assert_array_equal(image[..., :3], planes.transpose(0, 2, 3, 1).astype(np.float16))
    averages = planes.astype(np.float64).reshape(images, 3, rows, 4, columns, 4).mean((3, 5))
    np.testing.assert_allclose(small[..., :3], averages.transpose(0, 2, 3, 1), atol=3e-4)
    assert not image[..., 3].any()
    assert not small[..., 3].any()


def test_every_code_of_eight_bits_is_rounded_once(emulated):
    codes = np.repeat(np.arange(256, dtype=np.uint8), 3).reshape(1, 16, 16, 3)
    image, _ = image_of(codes, *emulated(True))
    np.testing.assert_array_equal(image[0, ..., 0].ravel(), (np.arange(256, dtype=np.float32) / 255).astype(np.float16))


BROKEN = st.tuples(st.floats(0, 1, exclude_max=True), st.sampled_from([np.nan, -np.inf, np.inf]))


@given(st.integers(1, 3000), st.lists(BROKEN, max_size=3))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_no_number_is_found(emulated, vectors: int, broken: list[tuple[float, float]]):
    gpu, kernels = emulated(True)
    values = np.random.default_rng(1).normal(0, 1e30, 4 * vectors).astype(np.float32)
    values[0] = np.finfo(np.float32).max
    for place, value in broken:
        values[int(place * len(values))] = value
    there, found = gpu.put(values), gpu.put(np.zeros(1, np.uint32))
    kernels.check(there.ctypes.data, len(values), found.ctypes.data, 0)
    assert found[0] == bool(broken)


@pytest.mark.parametrize("sm", [75, 80, 86, 89, 90, 100, 120])
def test_the_source_compiles_for_every_gpu_without_spills(sm: int):
    pytest.importorskip("cuda.bindings.nvrtc")
    usage = resource_usage(compiler.compile_cubin("picture", sm))
    assert {"codes8_to_image", "codes16_to_image", "planes_to_image", "find_unfinite"} <= set(usage)
    assert all(kernel.local_bytes == 0 for kernel in usage.values())
