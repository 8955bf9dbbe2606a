"""Variants of the block's kernel are checked in processes of which one may break; here none of them needs a GPU."""

from __future__ import annotations

import sys
from pathlib import Path

import gpu_dcrb_variants as variants
import pytest

from dcdr_deploy.errors import EngineError
from dcdr_deploy.system.child import Worker

NAMES = list(variants.variants(86))
CODE = """
import os, sys, time
sys.path.insert(0, {folder!r})
import gpu_dcrb_variants as variants
from dcdr_deploy.errors import EngineError

def results_of(name):
    if name == {crashes!r}:
        os.abort()
    if name == {hangs!r}:
        time.sleep(600)
    if name == {fails!r}:
        raise EngineError("illegal address")
    large = {{{wrong!r}: 0.5, {nan!r}: float("nan")}}
    return [("small", 1e-4, 1e-3), ("large", large.get(name, 0.0), 1e-3)]

variants.compiled = lambda sm, names: {{name: name for name in names}}
variants.results_of = results_of
variants.main()
"""


def process(**broken: str) -> Worker:
    """The process that checks; the variants named there do not work."""
    names = dict.fromkeys(("crashes", "hangs", "fails", "wrong", "nan"), "")
    code = CODE.format(folder=str(Path(variants.__file__).parent), **{**names, **broken})
    return Worker((sys.executable, "-c", code), variants.WORKER.name, variants.WORKER.events)


def test_a_variant_that_breaks_the_process_costs_itself_alone(monkeypatch: pytest.MonkeyPatch):
    crashes, hangs, fails, wrong, nan, *fine = NAMES
    made = process(crashes=crashes, hangs=hangs, fails=fails, wrong=wrong, nan=nan)
    monkeypatch.setattr(variants, "WORKER", made)
    monkeypatch.setattr(variants, "TRIAL_SECONDS", 2.0)
    lines: list[str] = []
    assert variants.right_ones(86, lines.append) == fine
    assert lines[0].startswith(f"WRONG {crashes}: the process that checks crashed (SIGABRT)")
    assert lines[1:] == [
        f"WRONG {hangs}: nothing came of it in 2 seconds",
        f"WRONG {fails}: illegal address",
        f"WRONG {wrong}: 5.0e-01",
        "      large: 5.0e-01",
        f"WRONG {nan}: nan",
        "      large: nan",
        *(f"ok    {name}: 1.0e-04" for name in fine),
    ]


def test_a_process_that_ends_before_its_first_variant_is_an_error(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(variants, "WORKER", Worker((sys.executable, "-c", "raise SystemExit(3)"), "process", ()))
    with pytest.raises(EngineError, match="ended early"):
        variants.right_ones(86, print)
