"""Compiled for SM90, the kernels keep their hands off the registers of products in flight; what does not is found."""

from __future__ import annotations

import pytest
from products_with_mistakes import TOO_LATE, with_mistake
from ptx_products import kernels, violations

from dcdr_deploy.engines.cuda import compiler
from dcdr_deploy.engines.cuda.measures import BlockMeasures
from dcdr_deploy.engines.cuda.tuning.candidates import BLOCK, candidates
from dcdr_deploy.errors import MissingDependency

A, B = "{%r1,%r2,%r3,%r4}", "{%r5,%r6,%r7,%r8}"
PRODUCT = "wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16 {{%f1,%f2,%f3,%f4}}, {left}, %rd1, p, 1, 1, 0;"
BEGIN, COMMIT = "wgmma.fence.sync.aligned;", "wgmma.commit_group.sync.aligned;"
LOAD_A, LOAD_B = (f"ld.global.v4.u32 {left}, [%rd2];" for left in (A, B))
STORE = "st.global.f32 [%rd3], %f1;"


def wait(pending: int) -> str:
    return f"wgmma.wait_group.sync.aligned {pending};"


def product(left: str = A) -> str:
    return PRODUCT.format(left=left)


def loop(*body: str) -> list[str]:
    return ["$L__BB0_1:", *body, "setp.ne.s32 %p1, %r9, 9;", "@%p1 bra $L__BB0_1;"]


@pytest.mark.parametrize(
    "lines",
    [
        [LOAD_A, BEGIN, product(), COMMIT, wait(0), STORE],
        [LOAD_A, BEGIN, product(), product(), COMMIT, wait(0), LOAD_A],
        [*loop(LOAD_A, BEGIN, product(), COMMIT, wait(0)), STORE],
        [*loop(LOAD_A, BEGIN, product(), COMMIT, wait(1), LOAD_B, BEGIN, product(B), COMMIT, wait(1)), wait(0), STORE],
        [LOAD_A, "{", ".reg .pred p;", "setp.ne.b32 p, 1, 0;", BEGIN, product(), "}", COMMIT, LOAD_B, wait(0), STORE],
    ],
    ids=["one", "two of one left side", "in a loop", "two in turns", "in a scope, with work in between"],
)
def test_code_that_waits_is_right(lines: list[str]):
    assert violations(lines) == []


@pytest.mark.parametrize(
    ("lines", "what"),
    [
        ([LOAD_A, BEGIN, product(), COMMIT, LOAD_A, wait(0)], "%r1 of a product in flight is written: ld.global"),
        ([LOAD_A, BEGIN, product(), COMMIT, STORE, wait(0)], "%f1 of a product in flight is read: st.global"),
        ([LOAD_A, BEGIN, product(), wait(0), STORE], "%f1 of a product in flight is read: st.global"),
        ([LOAD_A, BEGIN, product(), COMMIT, wait(1), STORE], "%f1 of a product in flight is read: st.global"),
        (loop(LOAD_A, wait(0), BEGIN, product(), COMMIT), "%r1 of a product in flight is written: ld.global"),
        (
            loop(LOAD_A, BEGIN, product(), COMMIT, LOAD_B, BEGIN, product(B), COMMIT, wait(1)),
            "%r5 of a product in flight is written: ld.global",
        ),
        (["@%p2 bra $L__BB0_2;", LOAD_A, BEGIN, product(), COMMIT, "$L__BB0_2:", STORE], "%f1 of a product in flight"),
        ([BEGIN, LOAD_A, product(), COMMIT, wait(0)], "%r1 of a product is written after the last fence"),
        ([LOAD_A, BEGIN, product(), product("{%f1,%r2,%r3,%r4}"), COMMIT, wait(0)], "%f1 of a product holds a sum"),
    ],
    ids=[
        "left side written",
        "sums read",
        "never committed",
        "a group too few waited for",
        "left side of the round before written",
        "left side of the round before last written",
        "on one way only",
        "no fence",
        "sums as left side",
    ],
)
def test_code_that_touches_products_in_flight_is_found(lines: list[str], what: str):
    assert any(each.startswith(what) for each in violations(lines)), violations(lines)


def compiled(text: str) -> dict[str, list[str]]:
    """The PTX of each kernel of a source that NVRTC makes for SM90."""
    try:
        nvrtc, include = compiler._load_nvrtc(), compiler._include_folder()
    except MissingDependency as missing:
        pytest.skip(str(missing))
    options = [*compiler.OPTIONS, "--gpu-architecture=compute_90a", f"--include-path={include}"]
    program = compiler._call(nvrtc, "nvrtcCreateProgram", text.encode(), b"products.cu", 0, [], [])
    compiler._call(nvrtc, "nvrtcCompileProgram", program, len(options), [each.encode() for each in options])
    ptx = bytes(compiler._call(nvrtc, "nvrtcGetPTXSize", program))
    compiler._call(nvrtc, "nvrtcGetPTX", program, ptx)
    return kernels(ptx.rstrip(b"\0").decode())


def products(lines: list[str]) -> int:
    return sum("wgmma.mma_async" in line for line in lines)


def test_the_convolutions_touch_nothing_in_flight():
    found = compiled(compiler.source_text("convolution", 90))
    assert sum(products(lines) > 0 for lines in found.values()) == 4
    assert {name: violations(lines) for name, lines in found.items()} == {name: [] for name in found}


BLOCKS = {
    label: each
    for label, each in candidates(90)[BLOCK].items()
    if isinstance(each, BlockMeasures) and each.wgmma and not each.early
}


@pytest.mark.parametrize("label", BLOCKS)
def test_the_blocks_by_products_of_four_warps_touch_nothing_in_flight(label: str):
    found = compiled(BLOCKS[label].text())
    assert [name for name, lines in found.items() if products(lines)] == ["dcrb2_first", "dcrb2_second"]
    assert {name: violations(lines) for name, lines in found.items()} == {name: [] for name in found}


def test_blocks_whose_products_are_waited_for_too_late_are_found():
    """The compiler takes it as it is, and ptxas gives the registers away: so it was wrong on a GPU."""
    found = compiled(f"#define DCRB_WGMMA 1\n{with_mistake(TOO_LATE)}")
    for name in ("dcrb2_first", "dcrb2_second"):
        assert any("of a product in flight is written" in each for each in violations(found[name]))
