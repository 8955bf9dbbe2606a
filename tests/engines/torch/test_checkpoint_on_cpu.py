"""A checkpoint without a GPU: the fastest form that torch has, told, and the same numbers."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from dcdr_deploy.engines.base import EngineOptions
from dcdr_deploy.engines.choice import load_engine
from dcdr_deploy.run.selection import DEMO_MODEL

CHECKPOINT = DEMO_MODEL.with_suffix(".safetensors")


def test_a_checkpoint_runs_on_a_cpu_by_gathers_and_the_log_says_what_is_faster(caplog):
    pytest.importorskip("safetensors")
    tile = np.random.default_rng(0).random((1, 3, 32, 48), np.float32)
    with caplog.at_level(logging.WARNING), load_engine(CHECKPOINT, "torch", EngineOptions("cpu")) as engine:
        assert {block.mode for block in engine._network.deformable_blocks().values()} == {"gather"}
        assert "dcdr-deploy export" in caplog.text
        got = engine.infer(tile)
    with load_engine(DEMO_MODEL, "onnxruntime", EngineOptions("cpu")) as reference:
        np.testing.assert_allclose(got, reference.infer(tile), atol=1e-4)
