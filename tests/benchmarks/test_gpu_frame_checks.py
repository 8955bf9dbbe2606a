"""A frame is right where it is near what torch computes and where all its calls are equal to the bit."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from gpu_frame_checks import LEAST_PSNR, Failures, check_results  # noqa: E402 - needs torch

EXPECTED = torch.linspace(0, 1, 3 * 8 * 8).reshape(1, 3, 8, 8)
ROUNDED = EXPECTED.half().float()
"""As far from it as FP16."""


def changed(value: float) -> torch.Tensor:
    result = ROUNDED.clone()
    result[0, 1, 4, 4] = value
    return result


def test_equal_calls_near_the_reference_are_right(capsys: pytest.CaptureFixture[str]) -> None:
    failures = Failures(1.0)
    check_results("network", [ROUNDED, ROUNDED.clone(), ROUNDED.clone()], EXPECTED, failures, note=", plan 1 GB")
    assert failures.count == 0
    said = capsys.readouterr().out
    assert said.startswith("ok network: ")
    assert said.endswith("calls equal, plan 1 GB\n")


@pytest.mark.parametrize("which", [1, 2], ids=["recorded", "replayed"])
@pytest.mark.parametrize("value", [0.75, torch.nan])
def test_a_call_that_differs_by_one_value_is_wrong(
    which: int, value: float, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = [ROUNDED, ROUNDED, ROUNDED]
    calls[which] = changed(value)
    failures = Failures(1.0)
    check_results("network", calls, EXPECTED, failures)
    assert failures.count == 1
    said = capsys.readouterr().out
    assert said.startswith("WRONG network")
    assert "calls DIFFER" in said


@pytest.mark.parametrize("result", [ROUNDED + 10 ** (1 - LEAST_PSNR / 20), changed(torch.nan)], ids=["far", "nan"])
def test_equal_calls_far_from_the_reference_are_wrong(result: torch.Tensor) -> None:
    failures = Failures(1.0)
    check_results("network", [result, result, result], EXPECTED, failures)
    assert failures.count == 1
