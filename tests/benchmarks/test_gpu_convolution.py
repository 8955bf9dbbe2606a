"""What gpu_convolution.py tries is what the kernels are for, and what it finds gets into the table."""

from __future__ import annotations

import json
from dataclasses import astuple, replace

import pytest

pytest.importorskip("torch")
import gpu_convolution as script
from convolution_cases import CASES

from dcdr_deploy.engines.cuda.convolution_table import Shape, Variant, variants
from dcdr_deploy.engines.cuda.sft import SftLayer


def kernel_of(case: str) -> str:
    call = CASES[case].arguments((1, 8, 8))
    return (replace(call, sft=SftLayer(0, 32, 0, 0, 0)) if CASES[case].sft else call).key


def purpose(shape: Shape) -> tuple[int, ...]:
    """What a kernel computes, without how."""
    return shape.channels, shape.tiles, shape.stride, bool(shape.sft), shape.shuffle, shape.upsample, shape.three


def test_a_kind_is_timed_with_a_launch_that_takes_it():
    for group in script.TRIED:
        key = group.split()[0]
        assert kernel_of(script.FRAME[script.PROVED_AT[key]].case) == key


@pytest.mark.parametrize("group", script.TRIED)
def test_other_measures_compute_the_same(group):
    usual = variants(90)[group.split()[0]].shape
    assert {purpose(variant.shape) for variant in script.TRIED[group]} == {purpose(usual)}


def test_only_sm90_is_asked_for_products_of_four_warps():
    assert any(variant.shape.wgmma for _, variant in script.jobs_for(90, set()))
    for sm in (75, 80, 89, 100, 120):
        assert not any(variant.shape.wgmma for _, variant in script.jobs_for(sm, set()))


def test_measures_that_were_found_get_into_the_table(tmp_path, monkeypatch):
    table = dict(variants(90))
    monkeypatch.setattr(script, "variants", lambda sm: table)
    found = Variant(Shape(64, 1, rows=2), 3)
    file = tmp_path / "measures.json"
    file.write_text(json.dumps({"sm": 90, "fastest": {"64_3": (0.5, astuple(found.shape), found.blocks)}}))
    assert script.adopt(str(file)) == f"measures by {file}: 64_3"
    assert table == variants(90) | {"64_3": found}
