"""The ways around missing packages: ctypes in the place of CUDA's bindings, nvcc in that of NVRTC."""

from __future__ import annotations

import ctypes
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("torch")

import gpu_kernels
import gpu_nvrtc
from fake_cuda import DEVICE, FakeDriver, Launch
from fake_libcuda import Libcuda

from dcdr_deploy.engines.cuda.compiler import SOURCES, compile_text, source_text
from dcdr_deploy.engines.cuda.dcrb_from_maps import FromMapsArguments, FromMapsKernels
from dcdr_deploy.errors import EngineError, MissingDependency

REASON = MissingDependency("cuda.bindings is not installed")


def program(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "nvcc"
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_nvcc_is_called_for_the_gpu_at_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    program(tmp_path, 'for last; do :; done\necho "$@" > "$5"\n', monkeypatch)
    monkeypatch.setattr(gpu_kernels, "COMPILE_SECONDS", 10)
    call = gpu_kernels.compile_with_nvcc(tmp_path / "source.cu", 86, REASON).decode()
    assert call.startswith("-cubin -arch=sm_86 -std=c++17 -o ")
    assert call.strip().endswith(str(tmp_path / "source.cu"))


def test_nvcc_is_found_in_the_folder_of_cuda_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "bin").mkdir()
    program(tmp_path / "bin", 'echo "$0" > "$5"\n', monkeypatch)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    called = gpu_kernels.compile_with_nvcc(tmp_path / "source.cu", 86, REASON).decode()
    assert called.strip() == str(tmp_path / "bin" / "nvcc")


def test_without_nvcc_the_reason_is_why_it_was_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(gpu_kernels, "toolkits", list)
    with pytest.raises(MissingDependency, match=r"cuda\.bindings is not installed; and there is no nvcc"):
        gpu_kernels.compile_with_nvcc(tmp_path / "source.cu", 86, REASON)


def test_what_nvcc_complains_of_is_shown_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    program(tmp_path, "echo 'source.cu(3): error:\nno such thing' >&2; exit 2", monkeypatch)
    with pytest.raises(MissingDependency, match=r"nvcc fails: source\.cu\(3\): error: no such thing"):
        gpu_kernels.compile_with_nvcc(tmp_path / "source.cu", 86, REASON)


def nvrtc_is_here() -> bool:
    try:
        gpu_nvrtc._load()
    except MissingDependency:
        return False
    return True


@pytest.mark.skipif(not nvrtc_is_here(), reason="no NVRTC")
class TestNvrtcWithoutItsBindings:
    def test_it_compiles_what_the_bindings_compile(self):
        pytest.importorskip("cuda.bindings.nvrtc")
        text = source_text("frames")
        assert gpu_nvrtc.compile_with_nvrtc(text, 86, "frames.cu") == compile_text(text, 86, "frames.cu")

    def test_a_compile_error_is_shown_with_its_line(self):
        with pytest.raises(EngineError, match=r"bad\.cu does not compile for SM86: bad\.cu\(2\): error: .*nothing"):
            gpu_nvrtc.compile_with_nvrtc("\n__device__ int x = nothing;", 86, "bad.cu")

    def test_it_takes_the_place_of_the_bindings(self, monkeypatch: pytest.MonkeyPatch):
        def missing(source: str, sm: int) -> bytes:
            raise REASON

        monkeypatch.setattr(gpu_kernels, "compile_cubin", missing)
        cubin, how = gpu_kernels._compiled("frames", 86)
        assert how == "NVRTC through ctypes"
        assert b"planes_to_half" in cubin


def test_without_nvrtc_nvcc_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def missing(*_: object) -> bytes:
        raise REASON

    monkeypatch.setattr(gpu_kernels, "compile_cubin", missing)
    monkeypatch.setattr(gpu_kernels, "compile_with_nvrtc", missing)
    program(tmp_path, 'echo made > "$5"\n', monkeypatch)
    assert gpu_kernels._compiled("frames", 86) == (b"made\n", "nvcc")


@pytest.mark.parametrize(
    ("library", "headers"),
    [("cu13/lib/libnvrtc.so.13", "cu13/include"), ("cuda_nvrtc/lib/libnvrtc.so.12", "cuda_runtime/include")],
)
def test_the_compiler_is_found_where_torch_s_packages_of_cuda_12_and_13_have_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str, headers: str
):
    for name in (library, f"{headers}/cuda_fp16.h"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    spec = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(gpu_nvrtc.importlib.util, "find_spec", lambda name: spec)
    monkeypatch.setattr(gpu_nvrtc.ctypes, "CDLL", lambda path: path)
    assert gpu_nvrtc._load() == (str(tmp_path / library), tmp_path / headers)


def test_without_compiler_or_headers_their_absence_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gpu_nvrtc.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(gpu_nvrtc, "toolkits", lambda: [tmp_path])
    with pytest.raises(MissingDependency, match=r"no NVRTC with cuda_fp16\.h"):
        gpu_nvrtc._load()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("nvcc") is None, reason="no nvcc")
def test_the_kernel_compiles_with_nvcc_too():
    cubin = gpu_kernels.compile_with_nvcc(SOURCES["dcrb_from_maps"], 86, REASON)
    assert cubin.startswith(b"\x7fELF")
    assert b"dcrb_first_half" in cubin


def arguments() -> FromMapsArguments:
    names = ("z", "offset", "s1", "t1", "s2", "t2", "w1", "b1", "w2", "b2", "out", "workspace")
    addresses = {name: (1 << 44) + 256 * number for number, name in enumerate(names)}
    return FromMapsArguments(batch=1, height=20, width=40, fp16=True, **addresses, offset_strides=(14400, 1, 18))


def test_a_block_is_launched_through_ctypes():
    pointers: list[list[int]] = []

    def run(launch: Launch) -> int:
        pointers.append([ctypes.c_uint64.from_address(address).value for address in launch.values[:2]])
        return 0

    cuda = FakeDriver(run=run)
    kernels = FromMapsKernels({86: b"cubin"}, gpu_kernels.CtypesDriver(Libcuda(cuda)))
    call = arguments()
    kernels.launch(call, stream=1 << 45)
    assert cuda.images == [b"cubin\0"]
    assert [each.kernel for each in cuda.launches] == ["dcrb_sft_half", "dcrb_first_half", "dcrb_second_half"]
    assert [each.stream for each in cuda.launches] == [1 << 45] * 3
    assert pointers[:2] == [[call.z, call.s1], [call.out, call.offset]]
    for each in cuda.launches[1:]:
        assert (each.block[0], each.shared) == (256, cuda.shared_allowed[each.kernel, DEVICE])


def test_an_error_of_the_driver_is_told_in_its_words():
    cuda = FakeDriver(run=lambda launch: 700)
    kernels = FromMapsKernels({86: b"cubin"}, gpu_kernels.CtypesDriver(Libcuda(cuda)))
    with pytest.raises(EngineError, match=r"cuLaunchKernel failed: illegal address \(700\)"):
        kernels.launch(arguments(), stream=0)
