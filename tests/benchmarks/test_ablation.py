"""benchmarks/ablation.py trains each of the paper's variants and lays its figures beside the paper's."""

from __future__ import annotations

from pathlib import Path

import ablation
import pytest
from ablation import FULL, VARIANTS, Outcome, table

from dcdr_deploy.models import build_network, count_parameters


def test_at_full_width_the_variants_are_the_papers_networks() -> None:
    counts = {name: count_parameters(build_network(variant.config(64))) for name, variant in VARIANTS.items()}
    assert counts[FULL] == counts["no perceptual loss"] == 1_524_278
    assert counts["no DCRB"] == counts["no DCRB, no perceptual loss"] == 1_441_190
    assert counts["no tone net"] == 1_446_899
    assert counts["no condition net"] == 1_862_678
    assert counts["HDRUNet"] == 1_651_494


def test_the_table_compares_each_variant_with_the_full_network_seed_by_seed() -> None:
    def outcome(psnr_mu: float) -> Outcome:
        return Outcome(40, psnr_mu, 30, 31, 2, 1000, 60)

    text = table({FULL: {0: outcome(44), 1: outcome(46)}, "no DCRB": {1: outcome(45), 0: outcome(43)}})
    row = next(line for line in text.splitlines() if line.startswith("| no DCRB |"))
    assert "| -1.00 ± 0.00 |" in row
    assert "| 44.00 ± 1.41 |" in row
    assert "51.08, 52.66" in row


@pytest.mark.slow
def test_two_variants_train_beside_each_other_and_are_not_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def call(jobs: int) -> str:
        line = f"--width 8 --patch 32 --batch 1 --steps 2 --seeds 0 --scenes 2 --crops 4 --jobs {jobs}"
        line += f" --perceptual squeezenet --variants full;HDRUNet --output {tmp_path / 'runs'}"
        monkeypatch.setattr("sys.argv", ["ablation.py", *line.split()])
        ablation.main()
        return capsys.readouterr().out

    first = call(jobs=2)
    assert "| HDRUNet |" in first
    assert "perceptual squeezenet" in first
    results = sorted(tmp_path.glob("runs/*/*/result.json"))
    assert len(results) == 2
    written = [path.stat().st_mtime_ns for path in results]
    assert call(jobs=1).split("Budget")[1] == first.split("Budget")[1]
    assert [path.stat().st_mtime_ns for path in results] == written
