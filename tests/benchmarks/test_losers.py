"""Why pictures lose: depth, areas, powers of the gain, and what tables say of many pictures."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import loser_tables
import losers
import numpy as np
import pytest
from held_out import PEAK, HeldOutPicture
from judgement import PLAIN, evaluate, gain
from loser_tables import (
    alike,
    alike_pairs,
    best_power,
    binned,
    groups_of,
    outcome,
    pairs,
    rank_correlation,
    read,
    without_repeats,
)
from losers import STRENGTHS, Area, Depth, Measured, area_of, figures_of, powered, stops_above_white, strength_for_depth

from dcdr_deploy.imaging.transfer import linear_to_srgb

HDRI = Path(__file__).parents[2] / "data" / "hdri"


def held_out(depth: float) -> HeldOutPicture:
    """A gray picture whose right half lies about so many stops above white, all of it known."""
    light = np.exp(np.random.default_rng(0).normal(-2, 0.3, (32, 48, 3))).astype(np.float32)
    light[:, 24:] = np.linspace(0.9, 1.1, 24)[:, None] * 2**depth
    ldr = np.rint(linear_to_srgb(np.clip(light, 0, 1)) * 255).astype(np.uint8)
    return HeldOutPicture("folder/x", "photograph", ldr, light / np.float32(PEAK), np.ones(ldr.shape[:2], bool))


def with_excess(picture: HeldOutPicture, power: float) -> np.ndarray:
    """The truth with its light above white raised to a power: right where nothing clips."""
    light = picture.truth * np.float32(PEAK)
    return np.where(light > 1, light**power, light).astype(np.float32) / np.float32(PEAK)


def row(name: str = "a/1", value: float = 2.0, true: float = 0.5, found: float = 0.6, **others: object) -> Measured:
    """A picture's figures."""
    depths = [Depth(stops, stops, stops) for stops in (true, found)]
    area = Area(0.2, 0.5, 0.1)
    made = Measured(
        *(name, "photograph", "validation", 256, value, 25.0, 100, 0.001, 1.0, area, *depths, 1.0, value),
        by_strength=tuple(value * strength for strength in STRENGTHS),
    )
    return replace(made, **others)  # type: ignore[arg-type]


def test_depth_is_that_of_the_brightest_channel_and_ends_at_white() -> None:
    light = np.array([[4, 1, 0], [0.5, 0.2, 0.1], [1, 2, 1]], np.float32)
    assert stops_above_white(light).tolist() == [2, 0, 1]


def test_an_area_is_flat_where_all_channels_clip_and_hangs_together() -> None:
    ldr = np.full((10, 10, 3), 100, np.uint8)
    ldr[:2, :5] = 255  # ten pixels, and apart from them
    ldr[5:9, 5:] = 254  # twenty
    ldr[4, :, 0] = 255  # ten, of one channel
    assert area_of(ldr) == Area(share=0.4, whole=0.75, flat=0.2)
    assert area_of(np.zeros((4, 4, 3), np.uint8)) == Area(0, 0, 0)


def test_a_power_of_the_gain_goes_from_the_conversion_to_the_result_and_beyond() -> None:
    plain = np.array([[1, 0.5, 0.2]], np.float32)
    restored = np.array([[4, 1, 0.2]], np.float32)
    assert powered(plain, restored, 0) == pytest.approx(plain)
    assert powered(plain, restored, 1) == pytest.approx(restored)
    assert powered(plain, restored, 0.5)[0, 0] == pytest.approx(2, rel=1e-3)
    assert strength_for_depth(plain, restored, 0.5) == pytest.approx(0.25, abs=1e-3)
    assert strength_for_depth(plain, plain, 0.5) == pytest.approx(STRENGTHS[-1])


def test_a_picture_put_too_high_loses_and_gains_at_its_true_depth() -> None:
    picture = held_out(depth=0.5)
    result = with_excess(picture, 3)
    found = figures_of(picture, result, "validation", 48)
    assert found is not None
    figures = evaluate([picture], {"net": lambda ldr: result})["folder/x"]
    assert found.gain == pytest.approx(gain(figures[PLAIN], figures["net"], "clipped"), abs=1e-3)
    assert found.gain < -1 < 15 < found.matched
    assert found.found.mean == pytest.approx(3 * found.true.mean, rel=1e-3)
    assert found.matched_strength == pytest.approx(1 / 3, abs=0.01)
    assert found.by_strength[0] == pytest.approx(0, abs=1e-3)
    assert found.by_strength[STRENGTHS.index(1.0)] == pytest.approx(found.gain, abs=1e-3)
    assert max(found.by_strength) == found.by_strength[STRENGTHS.index(0.3)]


def test_what_nobody_knows_has_no_figures() -> None:
    picture = replace(held_out(0.5), known=np.zeros((32, 48), bool))
    assert figures_of(picture, picture.truth, "validation", 48) is None


def test_pooled_gains_weigh_pixels() -> None:
    rows = [row(conversion=20.0, count=300), row("a/2", conversion=30.0, count=100)]
    found = outcome(rows, np.array([10.0, -2.0]))
    before, after = (3 * 10**-2 + 10**-3) / 4, (3 * 10**-3 + 10**-2.8) / 4
    assert found.pooled == pytest.approx(10 * np.log10(before / after))
    assert (found.median, found.worst, found.losers) == (4, -2, 1)


def test_the_best_power_is_that_of_all_pixels() -> None:
    falling = row(by_strength=tuple(-3 * strength for strength in STRENGTHS), count=100)
    assert [best_power([each]) for each in (falling, row())] == [0, STRENGTHS[-1]]
    assert best_power([falling, row("a/2", count=10)]) == 0
    assert best_power([falling, row("a/2", count=10_000)]) > 1


def test_bins_hold_their_lower_end() -> None:
    rows = [row(f"a/{number}", true=true) for number, true in enumerate((0, 0.09, 0.1, 9))]
    found = binned(rows, lambda each: each.true.median, (0, 0.1, 0.5, 1, np.inf))
    names = {title: [each.name for each in some] for title, some in found.items()}
    assert names == {"0 to 0.1": ["a/0", "a/1"], "0.1 to 0.5": ["a/2"], "1 and more": ["a/3"]}


def test_rank_correlation_says_nothing_of_constants() -> None:
    assert rank_correlation(np.array([1.0, 2, 3]), np.array([1.0, 5, 6])) == pytest.approx(1)
    assert np.isnan(rank_correlation(np.array([1.0, 2, 3]), np.ones(3)))


def test_photographs_for_validation_are_told_apart_by_the_folders_of_training() -> None:
    rows = [row("a/1"), row("b/1"), row("a/2", split="train"), row("c/1", kind="panorama")]
    groups = {name: [each.name for each in found] for name, found in groups_of(rows).items()}
    assert groups == {
        "photographs, validation": ["a/1", "b/1"],
        "of these, of folders in training": ["a/1"],
        "of these, of other folders": ["b/1"],
        "panoramas, validation": ["c/1"],
        "photographs, train": ["a/2"],
    }


def test_pairs_look_alike_and_differ_most_in_truth() -> None:
    rows = [
        row("a/1", true=0.2),
        row("a/2", true=0.9),
        row("a/3", true=0.6),
        row("a/4", true=3.0, found=0.9),  # another depth
        row("a/5", true=3.0, area=Area(0.2, 0.9, 0.1)),  # another area
    ]
    assert not alike(rows[0], rows[3])
    assert not alike(rows[0], rows[4])
    assert not alike(rows[0], replace(rows[0], stops=1.0))  # a picture, exposed in two ways
    found = alike_pairs(rows)
    assert [(a.name, b.name) for a, b in found] == [("a/1", "a/2"), ("a/1", "a/3"), ("a/3", "a/2")]
    assert without_repeats(found) == found[:1]
    assert "3 pairs are alike; true depths differ by 0.40 stops in the median" in pairs(rows)
    assert "by more than 0.25 in 3 of 3" in pairs(rows)


def test_what_is_measured_is_kept_and_shown(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "losers.jsonl"
    arguments = ["--panoramas", str(HDRI), "--size", "32", "--most", "3", "--model", str(tiny_model), "-o", str(kept)]
    monkeypatch.setattr(sys, "argv", ["losers.py", *arguments])
    assert losers.main() == 0
    rows = read(kept)
    assert [each.split for each in rows] == ["validation"] * 3 + ["train"] * 3
    monkeypatch.setattr(sys, "argv", ["loser_tables.py", str(kept)])
    assert loser_tables.main() == 0
    assert "| panoramas, train |" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["--panoramas", "x", "--stops", "1"], ["--photos", "x", "--splits", "test"]])
def test_a_bad_value_ends_with_a_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        losers.parsed([*arguments, "-o", "x"])
    assert "error:" in capsys.readouterr().err
