"""Launching: which cubin, which arguments, which grid, and nothing but launches once the kernels are loaded."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from emulated import build
from fake_cuda import DEVICE, FakeDriver, Launch
from hypothesis import given
from hypothesis import strategies as st
from test_dcrb_from_maps import TOLERANCE, block, relative_error

from dcdr_deploy.engines.cuda import compiler, driver
from dcdr_deploy.engines.cuda.compiler import target_sm
from dcdr_deploy.engines.cuda.dcrb_from_hidden import FromHiddenKernels
from dcdr_deploy.engines.cuda.dcrb_from_maps import FromMapsArguments, FromMapsKernels
from dcdr_deploy.engines.cuda.driver import Kernel, Library, choose_sm
from dcdr_deploy.engines.cuda.loaded import shared_kernels
from dcdr_deploy.engines.cuda.packing import pack_weight
from dcdr_deploy.errors import EngineError, EngineOutOfMemory, MissingDependency

CUBINS = {75: b"sm75", 80: b"sm80", 86: b"sm86", 120: b"sm120"}
POINTERS = {
    name: 0x10000 * (number + 1)
    for number, name in enumerate(("z", "offset", "s1", "t1", "s2", "t2", "w1", "b1", "w2", "b2", "out", "workspace"))
}
HEIGHT, WIDTH, BATCH = 37, 50, 2
STRIDES = (18 * HEIGHT * WIDTH, HEIGHT * WIDTH, 1)
STREAM = 0x77
SCRIPT = Path(__file__).with_name("launch_by_bindings.py")


def gpu_of(sm: int, run: Callable[[Launch], int] = lambda launch: 0, multiprocessors: int = 3) -> FakeDriver:
    """A machine with two GPUs that take a launch and do nothing."""
    return FakeDriver(sms=(sm, sm), run=run, multiprocessors=multiprocessors)


def call(fp16: bool = True, **changes) -> FromMapsArguments:
    sizes = {"batch": BATCH, "height": HEIGHT, "width": WIDTH, "fp16": fp16, "offset_strides": STRIDES}
    return FromMapsArguments(**{**POINTERS, **sizes, **changes})


def launches(gpu: FakeDriver, arguments: FromMapsArguments) -> list[Launch]:
    FromMapsKernels(CUBINS, driver=gpu).launch(arguments, STREAM)
    return gpu.launches


@pytest.mark.parametrize(("fp16", "kind"), [(True, "half"), (False, "float")])
def test_a_block_is_three_launches_with_out_and_workspace_in_turn(fp16, kind):
    sft, first, second = launches(gpu_of(86), call(fp16))
    p, size = POINTERS, (BATCH, HEIGHT, WIDTH, *STRIDES)
    assert [launch.kernel for launch in (sft, first, second)] == [
        f"dcrb_{part}_{kind}" for part in ("sft", "first", "second")
    ]
    assert sft.values == (p["z"], p["s1"], p["t1"], p["out"], BATCH * HEIGHT * WIDTH * 64)
    first_pointers = tuple(p[name] for name in ("out", "offset", "w1", "b1", "s2", "t2", "workspace"))
    second_pointers = tuple(p[name] for name in ("workspace", "offset", "w2", "b2", "z", "out"))
    assert first.values == (*first_pointers, *size)
    assert second.values == (*second_pointers, *size)
    assert first.types == (*[ctypes.c_void_p] * 7, *[ctypes.c_int32] * 3, *[ctypes.c_int64] * 3)
    assert {launch.stream for launch in (sft, first, second)} == {STREAM}
    assert {launch.block for launch in (sft, first, second)} == {(256, 1, 1)}


def test_in_fp16_a_convolution_has_as_many_blocks_as_the_gpu_holds_and_not_more_than_there_are_tiles():
    gpu = gpu_of(86, multiprocessors=4)
    gpu.resident = 2
    tiles = BATCH * 3 * 4  # of 16 x 16 pixels
    sft, first, second = launches(gpu, call())
    assert (first.grid, second.grid) == ((8, 1, 1), (8, 1, 1))
    assert sft.grid == (-(-BATCH * HEIGHT * WIDTH * 64 // (256 * 8)), 1, 1)
    _, first, second = launches(gpu_of(86, multiprocessors=100), call())
    assert first.grid == second.grid == (tiles, 1, 1)


def test_in_fp32_every_tile_has_its_block():
    sft, first, second = launches(gpu_of(86, multiprocessors=1), call(fp16=False))
    assert first.grid == second.grid == (BATCH * 19 * 2, 1, 1)  # of 2 x 32 pixels
    assert sft.grid == (BATCH * HEIGHT * WIDTH * 64 // 256, 1, 1)


@pytest.mark.parametrize(("sm", "weights"), [(75, 2 * 8192), (80, 9 * 8192), (120, 9 * 8192)])
def test_the_weights_of_nine_taps_are_in_shared_memory_where_it_is_large_enough(sm, weights):
    gpu = gpu_of(sm)
    _, first, second = launches(gpu, call())
    assert first.shared == second.shared == weights
    allowed = {(name, DEVICE): weights for name in ("dcrb_first_half", "dcrb_second_half")}
    assert gpu.shared_allowed == (allowed if weights > 48 * 1024 else {})


def test_the_sft_and_the_fp32_kernels_need_no_dynamic_shared_memory():
    assert {launch.shared for launch in launches(gpu_of(80), call(fp16=False))} == {0}
    assert launches(gpu_of(80), call())[0].shared == 0


def test_once_prepared_a_launch_does_nothing_but_launch():
    gpu = gpu_of(86)
    kernels = FromMapsKernels(CUBINS, driver=gpu)
    kernels.prepare()
    gpu.called.clear()
    for fp16 in (True, False, True):
        kernels.launch(call(fp16), STREAM)
    # Which device is current is a question to the thread, not to the device.
    assert gpu.called == ["cuCtxGetDevice", *["cuLaunchKernel"] * 3] * 3


def test_nothing_is_loaded_before_it_is_needed_and_once_for_each_device():
    gpu = gpu_of(86)
    kernels = FromMapsKernels(CUBINS, driver=gpu)
    assert gpu.called == []
    for device in (0, 1, 0, 1):
        gpu.device = DEVICE + device
        kernels.launch(call(), STREAM)
    assert gpu.images == [b"sm86", b"sm86"]
    assert set(gpu.shared_allowed) == {
        (f"dcrb_{part}_half", DEVICE + device) for part in ("first", "second") for device in (0, 1)
    }


@pytest.mark.parametrize(("sm", "image"), [(75, b"sm75"), (80, b"sm80"), (86, b"sm86"), (89, b"sm86"), (121, b"sm120")])
def test_the_cubin_is_the_gpus_own_or_the_next_lower_of_its_generation(sm, image):
    gpu = gpu_of(sm)
    FromMapsKernels(CUBINS, driver=gpu).prepare()
    assert gpu.images == [image]


def test_a_gpu_without_a_cubin_is_named_with_what_there_is():
    message = r"this GPU is SM90, the kernels were compiled for SM75, SM80, SM86, SM120; build again with --sm 90"
    with pytest.raises(EngineError, match=message):
        FromMapsKernels(CUBINS, driver=gpu_of(90)).prepare()


@pytest.mark.parametrize(("sm", "target"), [(75, 75), (86, 86), (90, 90), (101, 100), (121, 121)])
def test_a_gpu_gets_the_kernel_of_its_own_or_the_nearest_lower_capability(sm: int, target: int):
    assert target_sm(sm) == target


@pytest.mark.parametrize("sm", [61, 70, 140])
def test_a_gpu_without_a_kernel_is_refused(sm: int):
    with pytest.raises(EngineError, match=f"no kernel for a GPU of SM{sm}, only for SM75"):
        target_sm(sm)


@given(st.sets(st.sampled_from(compiler.SUPPORTED_SMS)), st.sampled_from(compiler.SUPPORTED_SMS))
def test_a_chosen_cubin_is_never_for_a_later_gpu_or_another_generation(available, sm):
    same = {each for each in available if each // 10 == sm // 10 and each <= sm}
    if not same:
        with pytest.raises(EngineError):
            choose_sm(list(available), sm)
    else:
        assert choose_sm(list(available), sm) == max(same)


@pytest.mark.parametrize(("fp16", "size"), [(True, 2), (False, 4)])
def test_the_workspace_is_one_feature_map(fp16, size):
    assert FromMapsKernels.workspace_bytes(2, 1080, 1920, fp16) == 2 * 1080 * 1920 * 64 * size
    assert FromMapsKernels.workspace_bytes(8, 2160, 3840, fp16) > 2**31


def test_errors_of_the_driver_become_one_line():
    with pytest.raises(EngineError, match=r"^CUDA: cuLibraryLoadData failed: no binary for gpu \(209\)$"):
        FromMapsKernels({86: b""}, driver=gpu_of(86)).prepare()
    with pytest.raises(EngineOutOfMemory, match=r"^CUDA: cuLaunchKernel failed: out of memory \(2\)$"):
        launches(gpu_of(86, run=lambda launch: 2), call())


@pytest.mark.parametrize("size", [{"batch": 0}, {"height": 0}, {"width": -1}, {"height": 70000, "width": 70000}])
def test_impossible_sizes_are_refused_before_anything_is_launched(size):
    with pytest.raises(ValueError, match="a block cannot be"):
        call(**size)


def test_crooked_pointers_are_refused_where_they_are_read_in_sixteens():
    with pytest.raises(ValueError, match="not aligned to 16 bytes: s2, out"):
        call(s2=0x1002, out=0x1004)
    assert call(fp16=False, s2=0x1004).s2 == 0x1004
    assert call(offset=0x1002).offset == 0x1002


def test_a_kernel_counts_its_arguments():
    kernel = Kernel(gpu_of(86), 1, "ppi", block=32)
    with pytest.raises(ValueError, match="takes 3 arguments, not 2"):
        kernel.launch(1, STREAM, (1, 2))


def test_other_kernels_are_loaded_and_launched_the_same_way():
    gpu = gpu_of(86)
    kernel = Library(gpu, b"frames").kernel("codes", "plf", block=128)
    kernel.launch((4, 5, 6), STREAM, (16, 2**40, 0.5))
    types = (ctypes.c_void_p, ctypes.c_int64, ctypes.c_float)
    assert gpu.launches == [Launch("codes", (4, 5, 6), (128, 1, 1), 0, STREAM, (16, 2**40, 0.5), types)]


def test_equal_cubins_share_their_kernels():
    shared = shared_kernels({80: b"a", 86: b"b"}, FromMapsKernels)
    assert shared_kernels({86: b"b", 80: b"a"}, FromMapsKernels) is shared
    assert shared_kernels({80: b"ab", 86: b""}, FromMapsKernels) is not shared
    assert isinstance(shared_kernels({80: b"a", 86: b"b"}, FromHiddenKernels), FromHiddenKernels)


def test_without_the_bindings_the_line_that_installs_them_is_shown(monkeypatch):
    monkeypatch.setitem(sys.modules, "cuda.bindings.driver", None)
    with pytest.raises(MissingDependency, match=r"pip install .*cuda-bindings"):
        FromMapsKernels(CUBINS).prepare()


def test_without_a_driver_its_absence_is_named(monkeypatch):
    class Bindings:
        def cuInit(self, flags):  # noqa: N802 - the name is CUDA's
            raise RuntimeError('"cuda" is an NVIDIA driver library')

    monkeypatch.setattr(driver.importlib, "import_module", lambda name: Bindings())
    with pytest.raises(EngineError, match="no NVIDIA driver was found"):
        FromMapsKernels(CUBINS).prepare()


@pytest.mark.parametrize("sm", [75, 80])
def test_the_real_bindings_hand_all_of_it_to_the_driver(emulator, by_onnxruntime, tmp_path, sm):
    """cuda.bindings with a libcuda that runs the emulated kernels on the memory of the process."""
    pytest.importorskip("cuda.bindings.driver", reason="cuda-bindings is not installed")
    if sys.platform != "linux":
        pytest.skip("the stand-in for libcuda is found by LD_LIBRARY_PATH")
    build(tmp_path / "libcuda.so.1", sm, "libcuda.cpp")
    inputs = block((2, 9, 11), fp16=True)
    features = {name: getattr(inputs, name).transpose(0, 2, 3, 1) for name in ("z", "s1", "t1", "s2", "t2")}
    weights = {name: pack_weight(getattr(inputs, name)) for name in ("w1", "w2")}
    others = {name: getattr(inputs, name) for name in ("offset", "b1", "b2")}
    np.savez(tmp_path / "inputs.npz", **features, **weights, **others)
    done = subprocess.run(
        [sys.executable, SCRIPT, str(sm), tmp_path / "inputs.npz", tmp_path / "out.npy"],
        env={**os.environ, "LD_LIBRARY_PATH": str(tmp_path), "PYTHONPATH": str(Path(driver.__file__).parents[3])},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "CUDA: cuLibraryLoadData failed: no kernel image is available (209)\n"
    result = np.load(tmp_path / "out.npy").transpose(0, 3, 1, 2).astype(np.float32)
    assert relative_error(result, by_onnxruntime("DCRB", *inputs.inputs())) < TOLERANCE[True]
