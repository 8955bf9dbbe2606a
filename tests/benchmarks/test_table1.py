"""benchmarks/table1.py trains the networks of the paper's Table 1 alike and lays its figures beside the paper's."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import table1
from table1 import ROWS, judged, macs_per_pixel, tables, trivial
from table1_networks import TINY

import dcdr_deploy
from dcdr_deploy.models import ARCHITECTURES, architecture_of, build_network, count_parameters, find_preset
from dcdr_deploy.scenes.camera import TARGET_MAX
from dcdr_deploy.training.heldout import HeldOutPair

NETWORKS = Path(dcdr_deploy.__file__).parents[1] / "docs" / "networks.md"


@pytest.fixture(scope="module")
def documented() -> dict[str, list[str]]:
    """Cells of the first table of docs/networks.md, by the preset that a row names first."""
    lines = [line for line in NETWORKS.read_text(encoding="utf-8").splitlines() if re.match(r"\| [\w-]+ \| `", line)]
    return {
        cells[1].split("`")[1]: cells for line in lines if (cells := [c.strip() for c in line.strip("| ").split("|")])
    }


@pytest.mark.parametrize("preset", ROWS)
def test_the_document_says_what_the_networks_are(preset: str, documented: dict[str, list[str]]) -> None:
    import torch

    config = find_preset(preset)
    architecture = architecture_of(config)
    with torch.device("meta"):
        network = build_network(config)
    title, _, _, parameters, macs, reach, sizes, takes, gives = documented[preset]
    assert title == architecture.title
    assert int(parameters.replace(",", "")) == count_parameters(network)
    assert int(macs.replace(",", "")) == round(macs_per_pixel(preset))
    assert reach.startswith("all") == network.sees_whole_picture
    assert str(network.receptive_field()) in reach
    assert sizes == {1: "any"}.get(architecture.size_multiple, str(architecture.size_multiple))
    assert takes == "{:g} to {:g}".format(*architecture.normalisation.input_range)
    assert gives.strip("`") == architecture.published_output


def test_a_tone_curve_is_what_a_network_that_errs_in_the_curve_alone_is_judged_by() -> None:
    rng = np.random.default_rng(0)
    light = np.sort(rng.uniform(0.05, 0.9, (64, 64, 3)), axis=0)
    ldr = np.rint(light ** (1 / 2.2) * 200).astype(np.uint8)
    pair = HeldOutPair("ramp", ldr, (light * TARGET_MAX).astype(np.uint16))
    figures = judged(lambda sdr: (light**1.3).astype(np.float32), [pair])
    assert figures["all_psnr_l_curve"] > figures["all_psnr_l"] + 15
    assert np.isnan(figures["over_psnr_l"])
    assert judged(trivial, [pair])["all_psnr_mu"] < 40


def test_the_tables_have_ours_beside_the_papers() -> None:
    def figures(value: float) -> dict[str, float]:
        keys = (
            f"{name}_{each}{curve}" for name in ("all", "over") for each in table1.FIGURES for curve in ("", "_curve")
        )
        return {**dict.fromkeys(keys, value), "parameters": 571_267, "seconds": 10.0}

    text = tables({"fhdr": {0: figures(30), 1: figures(32)}}, {"fhdr": {"milliseconds": 5.5}}, figures(20))
    first, second, costs = (line for line in text.splitlines() if line.startswith("| FHDR |"))
    assert "| 31.00 ± 1.41 |" in first
    assert first.endswith("| 46.54 | 46.84 | 0.9963 |")
    assert second.endswith("| 37.96 | 40.57 | 0.9905 |")
    assert "| 571,267 | 0.6M | 2,051,456 |" in costs
    assert text.count("| inverse sRGB |") == 2


def test_it_trains_one_network_after_another_in_slices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("fhdr", "kunet"):
        entry = ARCHITECTURES[name]
        monkeypatch.setitem(ARCHITECTURES, name, replace(entry, presets={name: TINY[name]}))
    words = "--networks fhdr,kunet --steps 3 --batch 1 --patch 32 --scenes 2 --crops 4 --seeds 0 --frame 32x48"
    words += f" --frame-seconds 0.01 --perceptual none --device cpu --output {tmp_path / 'runs'}"
    monkeypatch.setattr("sys.argv", ["table1.py", *words.split(), "--minutes", "0.00001"])
    table1.main()
    assert "of 2 runs are finished; go on with --resume" in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", ["table1.py", *words.split()])
    if list(tmp_path.glob("runs/*/*")):
        with pytest.raises(SystemExit):
            table1.main()
        assert "go on with --resume" in capsys.readouterr().err
    monkeypatch.setattr("sys.argv", ["table1.py", *words.split(), "--resume"])
    table1.main()
    shown = capsys.readouterr().out
    (table,) = tmp_path.glob("runs/*/table.md")
    assert table.read_text(encoding="utf-8") in shown
    results = sorted(tmp_path.glob("runs/*/*/result.json"))
    assert [path.parent.name for path in results] == ["fhdr-0", "kunet-0"]
    speed = json.loads((results[0].parent / "speed.json").read_text())
    assert speed["milliseconds"] > 0
    written = [path.stat().st_mtime_ns for path in results]
    table1.main()
    assert [path.stat().st_mtime_ns for path in results] == written
