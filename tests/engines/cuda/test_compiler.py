"""The kernels compile by NVRTC without a GPU, without spills, and once."""

from __future__ import annotations

import hashlib
import logging
import os
import stat

import pytest
from cubin import Resources, most_local_bytes, resource_usage

from dcdr_deploy.engines.cuda import compiler
from dcdr_deploy.engines.cuda.dcrb_from_hidden import shape_of
from dcdr_deploy.errors import EngineError, MissingDependency

pytest.importorskip("cuda.bindings.nvrtc", reason="cuda-bindings is not installed")
try:
    KNOWN = [int(sm) for sm in compiler._call(compiler._load_nvrtc(), "nvrtcGetSupportedArchs")]
    compiler._include_folder()
except MissingDependency as missing:
    pytest.skip(str(missing), allow_module_level=True)

CONVOLUTIONS = {f"dcrb_{place}_{kind}" for place in ("first", "second") for kind in ("half", "float")}
KERNELS = CONVOLUTIONS | {"dcrb_sft_half", "dcrb_sft_float"}
MOST_REGISTERS = 255  # more than a thread can have; 256 threads of that many still fit into a multiprocessor
MOST_SHARED = {75: 64 * 1024, 80: 163 * 1024, 87: 163 * 1024} | dict.fromkeys((90, 100, 103, 110), 227 * 1024)
"""Bytes of shared memory that a block may have, by SM; 99 KiB on the others."""
TINY = 'extern "C" __global__ void tiny(float* x) { x[threadIdx.x] *= 2; }\n'


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """An empty cache folder, and a list that grows with every real compilation."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    source = tmp_path / "tiny.cu"
    source.write_text(TINY)
    monkeypatch.setitem(compiler.SOURCES, "tiny", source)
    compiled: list[int] = []
    real = compiler.compile_text

    def counting(text: str, sm: int, name: str) -> bytes:
        compiled.append(sm)
        return real(text, sm, name)

    monkeypatch.setattr(compiler, "compile_text", counting)
    return tmp_path / "cache" / "dcdr-deploy" / "kernels", compiled


@pytest.mark.parametrize("sm", compiler.SUPPORTED_SMS)
def test_the_block_compiles_without_spills(sm):
    if sm not in KNOWN:
        pytest.skip(f"this NVRTC does not know SM{sm}")
    usage = resource_usage(compiler.compile_text(compiler.source_text("dcrb_from_maps"), sm, "dcrb_from_maps.cu"))
    assert set(usage) == KERNELS
    assert {name: each.local_bytes for name, each in usage.items()} == dict.fromkeys(KERNELS, 0)
    assert all(8 <= each.registers < MOST_REGISTERS for each in usage.values())
    # SM90 and up keep 1 KiB of every block's shared memory for themselves.
    reserved = 1024 if sm >= 90 else 0
    plain = {name for name in CONVOLUTIONS if name.endswith("float")}
    assert {name: each.shared_bytes - reserved for name, each in usage.items()} == {
        name: 32768 if name in plain else 0 for name in KERNELS
    }


@pytest.mark.parametrize("sm", compiler.SUPPORTED_SMS)
def test_the_block_from_hidden_maps_compiles_without_spills_for_the_shape_that_is_launched(sm):
    if sm not in KNOWN:
        pytest.skip(f"this NVRTC does not know SM{sm}")
    shape = shape_of(sm)
    expected = {
        "THREADS": shape.threads,
        "SFT_RESIDENT": int(shape.sft_resident),
        "(KERNEL_SM < 80)": int(shape.streamed),
    }
    asserted = (f"static_assert({name} == {value});" for name, value in expected.items())
    text = "\n".join((compiler.source_text("dcrb_from_hidden"), *asserted))
    usage = resource_usage(compiler.compile_text(text, sm, "dcrb_from_hidden.cu"))
    assert set(usage) == {"dcrb2_sft", "dcrb2_first", "dcrb2_second"}
    spilled = {name: each.local_bytes for name, each in usage.items() if each.local_bytes > most_local_bytes()}
    assert spilled == {}
    # The register file of a multiprocessor, in quarters: a warp's registers lie in that of its scheduler.
    warps = -(-shape.threads // 32 // 4)
    assert all(each.registers * 32 * warps <= 65536 // 4 for each in usage.values())
    assert shape.shared_bytes <= MOST_SHARED.get(sm, 99 * 1024)


def test_resource_usage_sees_what_is_in_local_memory():
    source = """
    extern "C" __global__ void stacked(float* x, int n) {
      float kept[100];
      for (int i = 0; i < 100; ++i) kept[i] = x[i];
      x[0] = kept[n] + kept[n / 2];
    }
    extern "C" __global__ void shared(float* x) {
      __shared__ float row[64];
      row[threadIdx.x] = x[threadIdx.x];
      __syncthreads();
      x[threadIdx.x] = row[63 - threadIdx.x];
    }
    """
    usage = resource_usage(compiler.compile_text(source, 80, "control.cu"))
    assert usage["stacked"].local_bytes == 400
    assert usage["shared"] == Resources(usage["shared"].registers, local_bytes=0, shared_bytes=256)


@pytest.mark.parametrize("cut", [0, 3, 64, 2000])
def test_a_cubin_that_is_cut_off_is_refused(cut):
    cubin = compiler.compile_text(TINY, 80, "tiny.cu")
    with pytest.raises(EngineError, match="not a whole cubin"):
        resource_usage(cubin[:cut])


def test_a_compiled_kernel_is_taken_from_the_cache(cache):
    folder, compiled = cache
    first = compiler.compile_cubin("tiny", 80)
    assert compiler.compile_cubin("tiny", 80) == first
    assert compiled == [80]
    assert len(list(folder.iterdir())) == 1


def test_each_sm_and_each_source_has_its_own_file(cache):
    folder, compiled = cache
    cubins = {compiler.compile_cubin("tiny", sm) for sm in (80, 86)}
    compiler.SOURCES["tiny"].write_text(TINY.replace("2", "3"))
    cubins.add(compiler.compile_cubin("tiny", 80))
    assert len(cubins) == 3
    assert compiled == [80, 86, 80]
    assert len(list(folder.iterdir())) == 3


def test_what_is_generated_for_another_sm_compiles_nothing_anew(cache, monkeypatch):
    _, compiled = cache
    generated = {80: "// table of SM80", 86: "// table of SM86"}
    monkeypatch.setitem(compiler.GENERATED, "tiny", generated.__getitem__)
    compiler.compile_cubin("tiny", 80)
    generated[86] = "// another table"
    compiler.compile_cubin("tiny", 80)
    assert compiled == [80]
    generated[80] = "// another table"
    compiler.compile_cubin("tiny", 80)
    assert compiled == [80, 80]


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="has no owners")
@pytest.mark.parametrize("mode", [0o666, 0o620, 0o602])
def test_a_file_that_others_can_write_is_not_run(cache, caplog, mode):
    folder, _ = cache
    cubin = compiler.compile_cubin("tiny", 80)
    (path,) = folder.iterdir()
    planted = cubin + b"planted"
    path.write_bytes(hashlib.sha256(planted).digest() + planted)
    path.chmod(mode)
    with caplog.at_level(logging.WARNING):
        assert compiler.compile_cubin("tiny", 80) == cubin
    assert "can be written by others" in caplog.text


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="has no owners")
@pytest.mark.parametrize("inner", [False, True])
def test_a_folder_that_others_can_write_is_neither_read_nor_written(cache, caplog, inner):
    folder, compiled = cache
    compiler.compile_cubin("tiny", 80)
    (folder if inner else folder.parent).chmod(0o777)
    with caplog.at_level(logging.WARNING):
        compiler.compile_cubin("tiny", 80)
        compiler.compile_cubin("tiny", 86)
    assert compiled == [80, 80, 86]
    assert len(list(folder.iterdir())) == 1
    assert "can be written by others: nothing is kept; `chmod 700`" in caplog.text


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="has no owners")
def test_what_is_kept_belongs_to_its_user_alone_whatever_the_mask(cache):
    folder, compiled = cache
    before = os.umask(0)
    try:
        compiler.compile_cubin("tiny", 80)
    finally:
        os.umask(before)
    assert [stat.S_IMODE(path.stat().st_mode) for path in (folder.parent, folder, *folder.iterdir())] == [
        0o700,
        0o700,
        0o600,
    ]
    compiler.compile_cubin("tiny", 80)
    assert compiled == [80]


@pytest.mark.parametrize(
    "damage", [lambda kept: kept[:-1], lambda kept: kept[:40] + b"?" + kept[41:], lambda kept: b""]
)
def test_a_damaged_file_is_noticed_and_compiled_again(cache, caplog, damage):
    folder, compiled = cache
    cubin = compiler.compile_cubin("tiny", 80)
    (path,) = folder.iterdir()
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    with caplog.at_level(logging.WARNING):
        assert compiler.compile_cubin("tiny", 80) == cubin
    assert f"{path} is not as it was written" in caplog.text
    assert compiled == [80, 80]
    assert path.read_bytes() == whole


def test_without_a_place_to_keep_them_kernels_compile_all_the_same(cache, caplog):
    folder, compiled = cache
    folder.parent.parent.write_text("a file where the folder should be")
    cubins = {compiler.compile_cubin("tiny", 80) for _ in range(2)}
    assert len(cubins) == 1
    assert compiled == [80, 80]
    assert "is not kept" in caplog.text


def test_a_compile_error_is_shown_with_its_line():
    with pytest.raises(EngineError) as caught:
        compiler.compile_text('#include <cuda_fp16.h>\nextern "C" __global__ void f() { wrong(); }\n', 80, "broken.cu")
    message = str(caught.value)
    assert message.startswith("broken.cu does not compile for SM80: broken.cu(2): error: ")
    assert "wrong" in message
    assert "\n" not in message


def test_an_sm_that_nvrtc_does_not_know_is_named():
    with pytest.raises(EngineError, match=r"cannot compile for SM61, only for 75, "):
        compiler.compile_text(TINY, 61, "tiny.cu")


def test_the_hash_of_a_source_follows_text_and_options(cache, monkeypatch):
    before = compiler.source_hash("tiny")
    assert len(before) == 64
    monkeypatch.setattr(compiler, "OPTIONS", ("--std=c++17", "--use_fast_math"))
    optioned = compiler.source_hash("tiny")
    compiler.SOURCES["tiny"].write_text(TINY + "\n")
    assert len({before, optioned, compiler.source_hash("tiny")}) == 3


def test_missing_packages_are_named_with_the_line_that_installs_them(monkeypatch):
    monkeypatch.setattr(compiler, "_HEADER", "no_such_header.h")
    with pytest.raises(MissingDependency, match=r"no no_such_header\.h .*pip install .*nvidia-cuda-nvrtc"):
        compiler.compile_text(TINY, 80, "tiny.cu")
    monkeypatch.setitem(__import__("sys").modules, "cuda.bindings.nvrtc", None)
    with pytest.raises(MissingDependency, match=r"cannot be compiled: .*pip install .*nvidia-cuda-nvrtc"):
        compiler.compile_cubin("dcrb_from_maps", 80)
