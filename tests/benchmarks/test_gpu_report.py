"""The arithmetic of floors and the tables of gpu_check.py, on numbers made up for the purpose."""

from __future__ import annotations

import json
import math

import gpu_report
import pytest
from gpu_report import DEFORM, FRAME, Ceilings, Check, Report, Timing, Work

H200 = Ceilings(790e12, 4.3e12, 132 * 128 * 1.755e9)


def full_report() -> Report:
    report = Report({"name": "NVIDIA Test", "driver": "1.2"}, H200, seconds=61.0)
    deform, frame = gpu_report.deform_work(1080, 1920), gpu_report.frame_work(2160, 3840)
    report.timings = [
        Timing(DEFORM, "1920x1080", gpu_report.OURS_DEFORM, 0.5, (0.4, 0.6), 50, deform),
        Timing(DEFORM, "1920x1080", gpu_report.TORCHVISION, 2.0, (1.9, 2.1), 50, deform),
        Timing(DEFORM, "1920x1080", gpu_report.OWN_DEFORM, 0.2, (0.2, 0.2), 50, deform),
        Timing(FRAME, "3840x2160", gpu_report.OURS_FRAME, 20.0, (19.0, 21.0), 30, frame),
        Timing(FRAME, "3840x2160", gpu_report.COMPILED_FRAME, 16.0, (15.0, 17.0), 30, frame),
        Timing(FRAME, "3840x2160", gpu_report.OWN_FRAME, 10.0, (10.0, 10.0), 30, frame),
        Timing(FRAME, "1920x1080", gpu_report.OWN_FRAME, 3.0, (3.0, 3.0), 30, frame),
        Timing(FRAME, "3840x2160", gpu_report.HALF_FRAME, 9.5, (9.5, 9.5), 30),
        Timing(gpu_report.HOST, "3840x2160", gpu_report.OWN_HOST, 11.0, (11.0, 11.0), 7),
        Timing(FRAME, "3840x2160", gpu_report.EAGER, 90.0, (89.0, 91.0), 10, frame),
        Timing(FRAME, "3840x2160", gpu_report.EAGER + ", channels-last", 85.0, (84.0, 86.0), 10, frame),
        Timing(FRAME, "3840x2160", "torch.compile, torchvision", note="stopped after 120 s | by\nthe clock"),
    ]
    report.checks = [
        Check("block", "relative error", 1e-4, 2e-3),
        Check("network", "PSNR", None, 50, True, "no memory"),
    ]
    return report


# Floors


def test_the_floors_of_a_large_frame_are_those_of_the_notes():
    floors = gpu_report.frame_work(2160, 3840).floors(H200)
    assert floors == {"arithmetic": pytest.approx(8.5, abs=0.05), "traffic": pytest.approx(10.2, abs=0.05)}


def test_the_floors_of_all_deformable_convolutions_are_those_of_the_notes():
    pixels = round(gpu_report.FRAME_DEFORM_PIXELS * 2160 * 3840)
    floors = gpu_report.deform_work(1, pixels).floors(H200)
    assert floors["arithmetic"] == pytest.approx(1.9, abs=0.05)
    assert floors["traffic"] == pytest.approx(2.3, abs=0.05)
    assert floors["L1"] == pytest.approx(4.8, abs=0.05)


def test_a_quarter_of_the_pixels_is_a_quarter_of_the_work():
    small, large = (gpu_report.frame_work(*gpu_report.SIZES[name]) for name in ("1920x1080", "3840x2160"))
    assert (4 * small.flop, 4 * small.traffic) == (large.flop, large.traffic)


def test_without_a_clock_there_is_no_floor_of_the_caches():
    work = gpu_report.deform_work(8, 8)
    assert set(work.floors(Ceilings(1e12, 1e12))) == {"arithmetic", "traffic"}


def test_work_per_pixel_is_that_of_the_network():
    torch = pytest.importorskip("torch")
    from dcdr_deploy.models import PRESETS, DCDRUNet

    network = DCDRUNet(PRESETS["paper"]).eval().set_deform_mode("zero")
    size, macs, elements = 32, 0.0, 0.0

    def count(module, inputs, output):
        nonlocal macs, elements
        macs += output.numel() * module.weight[0].numel()
        elements += output.numel() + inputs[0].numel()

    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(count)
    with torch.no_grad():
        network(torch.rand(1, 3, size, size))
    for scale in network.block_scales().values():  # with zero offsets nobody asks for them
        pixels = size * size / scale**2
        macs += pixels * 18 * 64 * 9
        elements += pixels * (64 + 18) + 2 * pixels * 18
    assert macs / size**2 == gpu_report.MACS_PER_PIXEL
    assert elements / size**2 == gpu_report.ELEMENTS_PER_PIXEL
    blocks = sum(2 / scale**2 for scale in network.block_scales().values())
    assert blocks == gpu_report.FRAME_DEFORM_PIXELS


def test_a_share_is_the_floor_over_the_time():
    assert gpu_report.share(2.0, 8.0) == "25%"
    assert gpu_report.share(None, 8.0) == "-"
    assert Work(1e12, 0).floors(Ceilings(1e12, 1))["arithmetic"] == 1000


# Checks and targets


@pytest.mark.parametrize(
    ("value", "at_least", "passed"),
    [
        (1.0, False, True),
        (2.0, False, True),
        (2.1, False, False),
        (math.nan, False, False),
        (math.nan, True, False),
        (2.0, True, True),
        (1.9, True, False),
        (None, True, None),
    ],
)
def test_a_bound_is_kept_on_its_side_and_never_by_nan(value, at_least, passed):
    assert Check("x", "y", value, 2.0, at_least).passed is passed


def test_only_checks_that_ran_can_fail():
    report = full_report()
    assert report.failed() == []
    report.checks.append(Check("bad", "error", math.nan, 1.0))
    assert [check.name for check in report.failed()] == ["bad"]


def test_targets_compare_our_best_time_with_the_best_of_eager():
    found = [(target.value, target.passed) for target in gpu_report.targets(full_report())]
    assert found == [
        *[(10.0, True), (10.0, True), (10.0, True), (3.0, True)],  # deformable convolution; frames, the larger twice
        (9.5, False),  # of which the network sees half
        *[(8.5, True), (1.6, False), (1.1, True)],  # over eager, over compiled, from host to host
    ]


def test_a_target_that_is_missed_says_so():
    report = full_report()
    report.timings = [row for row in report.timings if row.name not in (gpu_report.OWN_DEFORM, gpu_report.OWN_FRAME)]
    targets = gpu_report.targets(report)
    assert (targets[0].value, targets[0].passed) == (4.0, False)
    assert (targets[1].value, targets[1].passed, targets[3].passed) == (16.0, True, None)


def test_targets_without_times_are_not_measured():
    assert [target.passed for target in gpu_report.targets(Report({"name": "GPU"}))] == [None] * 8


# Tables


def test_the_table_has_a_line_for_every_row_also_for_those_without_a_time():
    text = gpu_report.markdown(full_report())
    lines = text.splitlines()
    assert lines[0] == "# NVIDIA Test"
    assert "- measured: 790 TFLOP/s FP16, 4.30 TB/s; L1 by its clock: 29.7 TB/s" in lines
    ours = next(line for line in lines if line.startswith("| 1920x1080 | half a fused block"))
    assert ours == "| 1920x1080 | half a fused block | 0.50 | 0.40-0.60 | 39% | 47% | 97% |  |"
    assert (
        "| 3840x2160 | torch.compile, torchvision | - | - | - | - | - | stopped after 120 s / by the clock |" in lines
    )
    assert "| network | PSNR | - | >= 50 | not measured: no memory |" in lines
    assert "| frame, 3840x2160, next | milliseconds on the device | 10 | <= 16.7 | yes |" in lines


def test_every_line_of_a_table_has_as_many_cells():
    for block in gpu_report.markdown(full_report()).split("\n\n"):
        counts = {line.count("|") for line in block.splitlines() if line.startswith("|")}
        assert len(counts) <= 1


def test_an_empty_report_is_a_report():
    text = gpu_report.markdown(Report({"name": "GPU"}))
    assert text.count("not measured") == 8
    assert json.loads(gpu_report.to_json(Report({"name": "GPU"})))["timings"] == []


# JSON


def test_json_holds_times_floors_and_verdicts():
    data = json.loads(gpu_report.to_json(full_report()))
    assert data["device"]["name"] == "NVIDIA Test"
    assert data["ceilings"]["flops"] == 790e12
    row = next(row for row in data["timings"] if row["name"] == gpu_report.OURS_FRAME)
    assert (row["milliseconds"], row["spread"], row["repeats"]) == (20.0, [19.0, 21.0], 30)
    assert row["floors_ms"]["traffic"] == pytest.approx(10.16, abs=0.01)
    assert data["timings"][-1]["milliseconds"] is None
    assert [check["passed"] for check in data["checks"]] == [True, None]
    assert [target["passed"] for target in data["targets"]] == [True] * 4 + [False, True, False, True]


def test_json_has_words_for_what_is_no_number():
    report = Report({"name": "GPU"}, checks=[Check("block", "error", math.nan, 1.0), Check("b", "e", math.inf, 1.0)])
    data = json.loads(gpu_report.to_json(report))
    assert [check["value"] for check in data["checks"]] == ["nan", "inf"]
