"""What can be said of the training step's measurement without a GPU: its checks find a wrong operator."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("torchvision")

import gpu_training_checks  # noqa: E402 - needs torch
import gpu_training_step  # noqa: E402
from torch import Tensor  # noqa: E402

from dcdr_deploy.models.deform import deform_conv2d_gather  # noqa: E402


@pytest.fixture
def on_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The checks' arithmetic on the CPU, of few and small cases."""
    monkeypatch.setattr(gpu_training_checks, "GPU", torch.device("cpu"))
    monkeypatch.setattr(gpu_training_checks, "CASES", (((1, 5, 7), 2.0, True), ((2, 3, 4), 0.0, False)))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)


def test_without_a_gpu_it_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu_training_step.py"])
    assert gpu_training_step.main() == 2
    assert capsys.readouterr().err == "no NVIDIA GPU that torch can use\n"


@pytest.mark.parametrize(
    ("spoil", "right"),
    [
        (lambda zeros: 0 * zeros.sum(), True),
        (lambda zeros: 0.02 * zeros.sum(), False),
        (lambda zeros: zeros.abs().sqrt().sum(), False),  # whose gradient is NaN
    ],
    ids=["right", "off", "nan"],
)
def test_the_checks_pass_a_right_operator_and_no_other(
    on_cpu: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    spoil: Callable[[Tensor], Tensor],
    right: bool,
):
    def operator(x: Tensor, offset: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        sane = offset.nan_to_num(nan=1e4).clamp(-1e4, 1e4)
        result = deform_conv2d_gather(x.float(), sane, weight, bias)
        # A right result, whose gradient by one input is not.
        return (result + spoil(weight - weight.detach())).to(x.dtype)

    monkeypatch.setattr(gpu_training_checks.deformable, "operator", operator)
    assert gpu_training_checks.check(SimpleNamespace(tiled=False)) is right
    assert ("weight) WRONG" in capsys.readouterr().out) is not right
