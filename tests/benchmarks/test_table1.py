"""benchmarks/table1.py trains the networks of the paper's Table 1 alike and lays its figures beside the paper's."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import table1
import table1_runs
from held_out import HeldOutPicture
from side_by_side import write_outcome
from table1_judging import CURVES, OWN, PAPERS, SETS, computed, figures_of, held_out, judge, means, save, trivial
from table1_tables import ROWS, macs_per_pixel, tables
from torch_processes import PythonProcess

import dcdr_deploy
from dcdr_deploy.models import architecture_of, build_network, count_parameters, find_preset

ROOT = Path(dcdr_deploy.__file__).parents[1]
NETWORKS = ROOT / "docs" / "networks.md"


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
    title, _, _, parameters, macs, reach, sizes, takes, gives, _ = documented[preset]
    assert title == architecture.title
    assert int(parameters.replace(",", "")) == count_parameters(network)
    assert int(macs.replace(",", "")) == round(macs_per_pixel(preset))
    assert reach.startswith("all") == network.sees_whole_picture
    assert str(network.receptive_field()) in reach
    assert sizes == {1: "any"}.get(architecture.size_multiple, str(architecture.size_multiple))
    assert takes == "{:g} to {:g}".format(*architecture.normalisation.input_range)
    assert gives.strip("`") == architecture.published_output


def ramp() -> tuple[np.ndarray, np.ndarray]:
    """Light (64, 64, 3) and the 8-bit picture of it, in which nothing clips."""
    rng = np.random.default_rng(0)
    light = np.sort(rng.uniform(0.05, 0.9, (64, 64, 3)), axis=0).astype(np.float32)
    return light, np.rint(light ** (1 / 2.2) * 200).astype(np.uint8)


def test_a_tone_curve_is_what_a_network_that_errs_in_the_curve_alone_is_judged_by():
    light, ldr = ramp()
    figures = figures_of(light**1.3, ldr, light, np.ones((64, 64), bool), ["psnr-l", "delta-itp", "hdrvdp2-q"])
    assert figures["psnr-l_curve"] > figures["psnr-l"] + 15
    assert figures["delta-itp_curve"] < figures["delta-itp"] / 3
    assert figures["hdrvdp2-q_curve"] > figures["hdrvdp2-q"]
    assert trivial(ldr).max() <= 1 / 8


def test_what_nobody_knows_counts_nowhere_and_what_is_no_number_counts_as_dark():
    light, ldr = ramp()
    known = np.ones((64, 64), bool)
    known[:, :20] = False
    wrong = np.where(known[..., None], light, 0.0).astype(np.float32)
    figures = figures_of(wrong, ldr, light, known, ["psnr-l", "delta-uv", "hdrvdp2-q"])
    assert figures["psnr-l"] == np.inf
    assert figures["delta-uv"] == 0
    assert figures["hdrvdp2-q"] == 100
    broken = figures_of(np.full_like(light, np.nan), ldr, light, known, ["psnr-l"])
    assert broken["psnr-l"] == pytest.approx(-10 * np.log10((light[known].astype(float) ** 2).mean()))


def test_means_are_over_all_pictures_and_over_the_overexposed_ones():
    rows = [(False, {"psnr-l": 10.0, "psnr-l_curve": 12.0}), (True, {"psnr-l": 20.0, "psnr-l_curve": float("nan")})]
    found = means(rows, ["psnr-l"])
    assert (found["all_psnr-l"], found["over_psnr-l"]) == (15, 20)
    assert found["all_psnr-l_curve"] == 12
    assert np.isnan(found["over_psnr-l_curve"])
    assert (found["all_pictures"], found["over_pictures"]) == (2, 1)


def test_held_out_pictures_are_those_of_the_split_in_sizes_that_every_network_takes():
    pictures = held_out([], [ROOT / "data" / "hdri"], "validation", 80, 3)
    assert [picture.ldr.shape for picture in pictures] == [(64, 64, 3)] * 3
    assert len({picture.name for picture in pictures}) == 3
    names = {path.stem for path in (ROOT / "data" / "hdri" / "validation").rglob("*.exr")}
    assert all(picture.name.split("/")[-1].split("#")[0] in names for picture in pictures)


def test_a_run_that_cannot_be_judged_does_not_spoil_the_others(tmp_path: Path):
    light, ldr = ramp()
    save([HeldOutPicture("ramp", "panorama", ldr, light, np.ones((64, 64), bool))], tmp_path / "pictures.npz")
    np.savez(tmp_path / "right.npz", **{"0": light * 0.9})
    np.savez(tmp_path / "empty.npz")
    runs = {"inverse sRGB": None, "right": tmp_path / "right.npz", "empty": tmp_path / "empty.npz"}
    told: list[str] = []
    found, count = judge(runs, tmp_path / "pictures.npz", 1, ["psnr-l"], 1, say=told.append)
    assert count == 1
    assert found.keys() == {"inverse sRGB", "right"}
    assert found["right"]["all_psnr-l"] > found["inverse sRGB"]["all_psnr-l"] > 0
    assert told == ["empty cannot be judged: KeyError: '0 is not a file in the archive'"]


def test_every_metric_of_the_papers_table_is_there_or_its_weights_are_missing():
    names = computed()
    assert set(names) | {"lpips-alex-l"} == {*PAPERS, *OWN}


def test_the_tables_have_ours_beside_the_papers():
    names = ["psnr-l", "hdrvdp2-q", "delta-itp"]

    def figures(value: float, step: int = 100, note: str = "") -> dict[str, float | str]:
        keys = (f"{part}_{name}{curve}" for part in SETS for name in names for curve in CURVES)
        return {**dict.fromkeys(keys, value), "parameters": 571_267, "step": step, "note": note}

    runs = {"fhdr": {0: figures(30), 1: figures(32, 98, "it fell silent")}}
    text = tables(runs, {"fhdr": {"milliseconds": 5.5, "memory": 2**30, "tiles": 1}}, figures(20), names)
    *quality, costs = (line for line in text.splitlines() if line.startswith("| FHDR |"))
    assert len(quality) == 4
    assert quality[0].startswith("| FHDR | 2 | 31.00 ± 1.41 | 31.00 ± 1.41 |")
    assert quality[1].endswith("| 46.54 | 46.84 | 0.9963 | 0.0046 | 66.58 |")
    assert quality[3].endswith("| 37.96 | 40.57 | 0.9905 | 0.0113 | 61.45 |")
    assert "| 571,267 | 0.6M | 2,051,456 | 100, 98 | 5.5 | 1.00 | 1 | it fell silent |" in costs
    assert text.count("| inverse sRGB |") == 4


def test_the_clock_can_be_the_budget_only_where_it_is_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        table1.parse(["--steps", "0"])
    assert "say how many those are" in capsys.readouterr().err
    words = ["--device", "cpu", "--output", str(tmp_path)]
    fixed = table1.parse([*words, "--seconds", "60"])
    assert fixed.folder == table1.parse(words).folder  # slices of any length belong together
    fixed.folder.mkdir(parents=True)
    with pytest.raises(SystemExit):
        table1.parse(words)
    assert "go on with --resume" in capsys.readouterr().err
    assert table1.parse([*words, "--steps", "0", "--seconds", "60"]).folder != fixed.folder


def test_a_call_with_resume_takes_up_what_is_left(tmp_path: Path):
    words = ["--device", "cpu", "--output", str(tmp_path), "--networks", "kunet,fhdr,paper", "--seeds", "0,1"]
    options = table1.parse([*words, "--jobs", "2", "--resume"])
    assert table1_runs.rounds(options) == [(seed, names) for seed in (0, 1) for names in (["kunet", "fhdr"], ["paper"])]
    write_outcome(options.folder / "kunet-0", step=8000, complete=True, note="")
    write_outcome(options.folder / "fhdr-0", step=20, complete=False, note="")
    write_outcome(options.folder / "paper-0", note="out of memory")
    (options.folder / "kunet-1").mkdir()
    (options.folder / "kunet-1" / table1_runs.RESULT).write_text("{}")
    assert table1_runs.rounds(options) == [(0, ["fhdr", "paper"]), (1, ["fhdr", "paper"])]
    assert table1_runs.failures(options) == {"paper-0": "out of memory"}
    assert table1_runs.planned_steps(options) == 8000
    by_clock = table1.parse([*words, "--steps", "0", "--seconds", "9"])
    assert table1_runs.planned_steps(by_clock) == 0
    by_clock.folder.mkdir(parents=True)
    (by_clock.folder / table1_runs.PLAN).write_text('{"steps": 321}')
    assert table1_runs.planned_steps(by_clock) == 321


@pytest.mark.slow
def test_a_network_is_trained_and_judged_beside_one_that_fails_and_is_named(tmp_path: Path):
    words = "--networks kunet,paper --jobs 2 --steps 6 --batch 1 --patch 32 --scenes 2 --crops 2 --size 64 --seeds 0"
    words += f" --frame 32x48 --frame-seconds 0.01 --perceptual vgg19 --device cpu --scratch {tmp_path}"
    words += f" --output {tmp_path / 'runs'} --figures {tmp_path / 'figures'}"
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    with PythonProcess(table1.__file__, *words.split(), environment=environment) as process:
        said, errors = process.communicate(timeout=300)
    assert process.poll() == 0, errors
    assert "1 of 2 runs are finished; go on with --resume" in said
    assert "Failed: paper-0: InputError: the perceptual loss needs torchvision's VGG19 weights" in said
    kept = json.loads((tmp_path / "figures" / "table.json").read_text())
    assert kept["runs"].keys() == {"kunet"}
    assert kept["runs"]["kunet"]["0"]["step"] == 6
    assert kept["runs"]["kunet"]["0"]["all_pictures"] == 2
    assert kept["speeds"]["kunet"]["milliseconds"] > 0
    assert (tmp_path / "figures" / "table.md").read_text(encoding="utf-8") in said
    assert not list(tmp_path.glob("samples-*"))
