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

from dcdr_deploy.engines.cuda.block import BlockArguments, DcrbKernels
from dcdr_deploy.engines.cuda.compiler import SOURCES, compile_text, source_text
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
    cubin = gpu_kernels.compile_with_nvcc(SOURCES["dcrb"], 86, REASON)
    assert cubin.startswith(b"\x7fELF")
    assert b"dcrb_first_half" in cubin


class FakeCuda:
    """The driver's library as ctypes would call it: answers by writing to the addresses it is given."""

    def __init__(self) -> None:
        self.launches: list[tuple[int, list[int], int, list[int]]] = []
        self.shared: dict[int, int] = {}
        self.images: list[bytes] = []
        self.kernels: dict[int, str] = {}
        self.result = 0

    @staticmethod
    def store(reference: object, value: int) -> int:
        reference._obj.value = value  # type: ignore[attr-defined] - what byref points to
        return 0

    def cuInit(self, flags: ctypes.c_uint) -> int:  # noqa: N802
        return 0

    def cuGetErrorString(self, code: ctypes.c_int, text: object) -> int:  # noqa: N802
        text._obj.value = b"it went wrong"  # type: ignore[attr-defined]
        return 0

    def cuCtxGetDevice(self, device: object) -> int:  # noqa: N802
        return self.store(device, 0)

    def cuDeviceGetAttribute(self, value: object, attribute: ctypes.c_int, device: ctypes.c_int) -> int:  # noqa: N802
        return self.store(value, {16: 10, 75: 8, 76: 6}[attribute.value])

    def cuLibraryLoadData(self, library: object, image: ctypes.Array, *options: object) -> int:  # noqa: N802
        self.images.append(image.raw)
        assert len(options) == 6
        return self.store(library, 1 << 40)

    def cuLibraryGetKernel(self, kernel: object, library: ctypes.c_void_p, name: bytes) -> int:  # noqa: N802
        assert library.value == 1 << 40
        handle = (1 << 41) + len(self.kernels)
        self.kernels[handle] = name.decode()
        return self.store(kernel, handle)

    def cuKernelSetAttribute(self, attribute, value, kernel, device) -> int:  # noqa: N802
        assert attribute.value == 8
        self.shared[kernel.value] = value.value
        return 0

    def cuOccupancyMaxActiveBlocksPerMultiprocessor(self, count, kernel, block, shared) -> int:  # noqa: N802
        return self.store(count, 1)

    def cuLaunchKernel(self, kernel, *rest) -> int:  # noqa: N802
        *sizes, stream, pointers, extra = rest
        assert extra is None
        first = [ctypes.c_uint64.from_address(pointers[number]).value for number in range(2)]
        self.launches.append((kernel.value, [size.value for size in sizes], stream.value or 0, first))
        return self.result


def arguments() -> BlockArguments:
    names = ("z", "offset", "s1", "t1", "s2", "t2", "w1", "b1", "w2", "b2", "out", "workspace")
    addresses = {name: (1 << 44) + 256 * number for number, name in enumerate(names)}
    return BlockArguments(batch=1, height=20, width=40, fp16=True, **addresses, offset_strides=(14400, 1, 18))


def test_a_block_is_launched_through_ctypes():
    cuda = FakeCuda()
    kernels = DcrbKernels({86: b"cubin"}, gpu_kernels.CtypesDriver(cuda))
    call = arguments()
    kernels.launch(call, stream=1 << 45)
    assert cuda.images == [b"cubin\0"]
    names = [cuda.kernels[kernel] for kernel, *_ in cuda.launches]
    assert names == ["dcrb_sft_half", "dcrb_first_half", "dcrb_second_half"]
    assert [stream for _, _, stream, _ in cuda.launches] == [1 << 45] * 3
    assert cuda.launches[0][3] == [call.z, call.s1]
    assert cuda.launches[1][3] == [call.out, call.offset]
    for kernel, (_, _, _, threads, *_, shared), _, _ in cuda.launches[1:]:
        assert (threads, shared) == (256, cuda.shared[kernel])


def test_an_error_of_the_driver_is_told_in_its_words():
    cuda = FakeCuda()
    kernels = DcrbKernels({86: b"cubin"}, gpu_kernels.CtypesDriver(cuda))
    cuda.result = 700
    with pytest.raises(EngineError, match=r"cuLaunchKernel failed: it went wrong \(700\)"):
        kernels.launch(arguments(), stream=0)
