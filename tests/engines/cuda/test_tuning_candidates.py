"""What may be tried on a GPU computes what the table's kernels compute, and fits there."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cubin import resource_usage
from emulated import EmulatedGpu, build, build_convolution
from fake_cuda import FakeDriver
from made_once import made_once

from dcdr_deploy.engines.cuda import compiler, loaded
from dcdr_deploy.engines.cuda.convolution import ConvolutionArguments, ConvolutionKernels
from dcdr_deploy.engines.cuda.convolution_table import PREFIX, SHARED_MEMORY, Shape, Variant, instantiation
from dcdr_deploy.engines.cuda.dcrb_from_hidden import FromHiddenArguments, FromHiddenKernels
from dcdr_deploy.engines.cuda.measures import BlockMeasures, block_by_table, by_table
from dcdr_deploy.engines.cuda.sft import SftLayer
from dcdr_deploy.engines.cuda.tuning import session
from dcdr_deploy.engines.cuda.tuning.bench import difference
from dcdr_deploy.engines.cuda.tuning.candidates import BLOCK, BLOCKS, CONVOLUTIONS, SPILLS, candidates, with_candidates
from dcdr_deploy.errors import MissingDependency

SMS = compiler.SUPPORTED_SMS
REGISTERS = 64 * 1024
EMULATED = 86


def purpose(shape: Shape) -> tuple[int, ...]:
    """What a kernel computes, without how."""
    return shape.channels, shape.tiles, shape.stride, bool(shape.sft), shape.shuffle, shape.upsample, shape.three


@pytest.mark.parametrize("sm", SMS)
def test_candidates_have_the_purpose_of_the_tables_kernel_and_other_measures(sm: int):
    table = by_table(sm)
    for kind, found in candidates(sm).items():
        for label, each in found.items():
            assert each.label == label
            if isinstance(each, Variant):
                assert purpose(each.shape) == purpose(table.convolutions[kind].shape)
                assert each != table.convolutions[kind]
            else:
                assert (kind, each.sft_resident) == (BLOCK, table.block.sft_resident)
                assert each != table.block


@pytest.mark.parametrize("sm", SMS)
def test_candidates_fit_into_a_multiprocessor(sm: int):
    memory = SHARED_MEMORY[sm] * 1024
    for found in candidates(sm).values():
        for each in found.values():
            shape = each.shape(sm) if isinstance(each, BlockMeasures) else each.shape
            blocks = 1 if isinstance(each, BlockMeasures) else each.blocks
            assert shape.shared_bytes <= memory
            assert blocks * (shape.shared_bytes + 1024) <= memory + 1024
            assert blocks * shape.threads <= 2048


def test_only_sm90_is_asked_for_products_of_four_warps():
    for kind in ("64_64", BLOCK):
        together = {
            sm: any(
                getattr(each if kind == BLOCK else each.shape, "wgmma", 0) for each in candidates(sm)[kind].values()
            )
            for sm in SMS
        }
        assert together == {sm: sm == 90 for sm in SMS}


def test_every_generation_has_something_to_try_and_labels_are_names():
    for sm in SMS:
        assert sum(map(len, candidates(sm).values())) > 20, sm
    for tried in CONVOLUTIONS.values():
        assert len({each.label for each in tried}) == len(tried)


def test_what_is_said_to_spill_is_said_of_a_candidate():
    known = {(kind, each.label) for kind, tried in CONVOLUTIONS.items() for each in tried}
    assert set(SPILLS) <= known
    assert all(sms <= set(SMS) for sms in (*SPILLS.values(), *BLOCKS.values()))


def test_a_candidate_that_is_not_known_is_refused():
    with pytest.raises(KeyError):
        with_candidates(by_table(86), {"64_64": "rows=9 /1"})


@functools.cache
def compiler_is_missing() -> str:
    try:
        compiler.compiler_version()
        compiler._include_folder()
    except MissingDependency as missing:
        return str(missing)
    return ""


def usage(sm: int, kind: str, labels: list[str]) -> dict[str, tuple[int, int]]:
    """Registers of a thread and bytes in local memory of candidates, by label."""
    known = candidates(sm)[kind]
    if kind == BLOCK:
        found = {}
        for label in labels:
            each = known[label]
            assert isinstance(each, BlockMeasures)
            needs = resource_usage(compiler.compile_text(each.text(), sm, "block.cu")).values()
            found[label] = max(need.registers for need in needs), max(need.local_bytes for need in needs)
        return found
    # All in one source: most of a small one's time goes into the headers.
    names = {f"{PREFIX}{kind}_{number}": label for number, label in enumerate(labels)}
    lines = "".join(f"{instantiation(name, known[label])}\n" for name, label in names.items())  # type: ignore[arg-type]
    needs = resource_usage(compiler.compile_text(compiler.source_text("convolution") + lines, sm, "candidates.cu"))
    return {label: (needs[name].registers, needs[name].local_bytes) for name, label in names.items()}


def assert_no_spills(sm: int, kind: str, labels: list[str]) -> None:
    if problem := compiler_is_missing():
        pytest.skip(problem)
    known = candidates(sm)[kind]
    for label, (registers, local) in usage(sm, kind, labels).items():
        each = known[label]
        assert local == 0, f"{kind} {label} spills on SM{sm}"
        if isinstance(each, BlockMeasures):
            assert registers * 32 * -(-each.threads // 32 // 4) <= REGISTERS // 4
        else:
            assert registers * each.shape.threads * each.blocks <= REGISTERS


@pytest.mark.parametrize("kind", ["64_64", "64_24", BLOCK])
def test_a_few_candidates_compile_without_spills(kind: str):
    assert_no_spills(89, kind, list(candidates(89)[kind])[:2])


def test_blocks_by_products_of_four_warps_compile_without_spills():
    labels = [label for label, each in candidates(90)[BLOCK].items() if getattr(each, "wgmma", False)]
    assert_no_spills(90, BLOCK, labels[::5])


@pytest.mark.slow
@pytest.mark.parametrize("kind", [BLOCK, *CONVOLUTIONS])
@pytest.mark.parametrize("sm", [75, 80, 86, 90, 120])  # the other SMs are these ones' relatives
def test_candidates_compile_without_spills(sm: int, kind: str):
    """All of those for RTX 30 and 40, every fourth of the others."""
    assert_no_spills(sm, kind, list(candidates(sm)[kind])[:: 1 if sm == 86 else 4])


@pytest.mark.parametrize("sm", SMS)
def test_the_tables_measures_of_blocks_are_those_of_the_source(sm: int):
    if problem := compiler_is_missing():
        pytest.skip(problem)
    block = block_by_table(sm)
    head = compiler.SOURCES["dcrb_from_hidden"].read_text().partition("#include")[0]
    said = "".join(
        f"static_assert(DCRB_{name.upper()} == {int(value)});\n"
        for name, value in vars(block).items()
        if name != "gathering"
    )
    text = f"{head}enum Gathering {{ HALVES, PAIRS }};\n{said}static_assert(DCRB_GATHERING == {block.gathering});\n"
    assert compiler.compile_text(text, sm, "measures.cu")


@pytest.mark.parametrize(("kind", "kernels"), [("64_24", [f"{PREFIX}64_24"]), (BLOCK, ["dcrb2_first", "dcrb2_second"])])
def test_a_candidate_is_compiled_alone_and_launched_by_its_name(monkeypatch, tmp_path, kind: str, kernels: list[str]):
    if problem := compiler_is_missing():
        pytest.skip(problem)
    candidate = next(iter(candidates(86)[kind].values()))
    cubin = session._compiled(kind, candidate, 86, tmp_path)
    with monkeypatch.context() as patch:
        patch.delattr(session, "compile_text")
        assert session._compiled(kind, candidate, 86, tmp_path) == cubin  # as the process after one that was lost
    assert set(kernels) <= set(resource_usage(cubin))
    gpu = FakeDriver(sms=[86], run=lambda launch: 0)
    monkeypatch.setattr(loaded, "load_driver", lambda: gpu)
    launch = session._loaded(kind, candidate, 86, cubin)
    assert gpu.images == [cubin]
    if kind == BLOCK:
        pointers = dict.fromkeys(("u", "offset", "z", "w1", "b1", "w2", "b2", "out", "workspace"), 16)
        launch(FromHiddenArguments(1, 8, 8, sft2=SftLayer(0, 16, 0, 0, 0), **pointers), 5)
        threads = candidate.threads
    else:
        launch(ConvolutionArguments(1, 8, 8, 64, 24, x=16, weight=16, bias=16, out=16), 5)
        threads = candidate.shape.threads
    assert [(each.kernel, each.block[0], each.stream) for each in gpu.launches] == [(k, threads, 5) for k in kernels]


torch = pytest.importorskip("torch")
import test_convolution_emulated as convolutions  # noqa: E402 - needs torch
import test_dcrb_from_hidden as blocks  # noqa: E402

TRIED = {kind: list(found.values())[-1] for kind, found in candidates(EMULATED).items() if kind != BLOCK and found}
"""A candidate of each kind of convolution."""


@pytest.fixture(scope="module")
def others(emulator: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The emulated kernels with candidates in their places."""
    table = {**by_table(EMULATED).convolutions, **TRIED}
    return made_once(
        tmp_path_factory,
        "candidates.so",
        lambda target: build_convolution(target, EMULATED, table),  # type: ignore[arg-type]
    )


CASES = {convolutions.with_layer(case).key: case for case in convolutions.CASES.values()}
"""A launch for each kind."""


@pytest.mark.parametrize("kind", TRIED)
def test_a_candidate_computes_what_the_tables_kernel_does(convolution_emulator, others: Path, kind: str):
    case = CASES[kind]
    given = convolutions.problem(case, (1, 13, 21))
    found = []
    for library, table in ((convolution_emulator(EMULATED), by_table(EMULATED).convolutions), (others, TRIED)):
        gpu = EmulatedGpu(library, EMULATED)
        call, results = convolutions.prepared(gpu, given)
        if call.then:
            rings = convolutions.rings(given, table[kind])  # type: ignore[arg-type]
            call = replace(call, then=replace(call.then, rings=gpu.empty((rings,), np.uint8).ctypes.data))
        kernels = ConvolutionKernels({EMULATED: b"cubin"}, gpu.driver, lambda _, kind=kind, of=table: {kind: of[kind]})
        kernels.launch(call, stream=0)
        found.append(results)
    for usual, other in zip(*found, strict=True):
        assert difference(other, usual) <= session.BOUND
    convolutions.assert_right([convolutions.in_planes(case, each) for each in found[1]], given)


def test_other_measures_of_a_block_compute_what_the_tables_do(emulator: Callable[..., Path], tmp_path_factory):
    measures = next(each for each in candidates(EMULATED)[BLOCK].values() if each.threads == 384)  # type: ignore[union-attr]
    assert isinstance(measures, BlockMeasures)
    other = made_once(
        tmp_path_factory,
        "block-candidate.so",
        lambda target: build(target, EMULATED, kernel="dcrb_from_hidden", defines=measures.defines),
    )
    inputs = blocks.make_inputs((2, 17, 27))
    results = []
    for library, shape in ((emulator(EMULATED, "dcrb_from_hidden"), None), (other, measures.shape(EMULATED))):
        gpu = EmulatedGpu(library, EMULATED)
        block = blocks.place(gpu, inputs)
        FromHiddenKernels({EMULATED: b"emulated"}, gpu.driver, shape).launch(block.arguments, stream=0)
        results.append((block.out, block.next_out))
    for usual, found in zip(*results, strict=True):
        assert difference(found, usual) <= session.BOUND
