"""Whole evaluations over real files: figures, selection, processes."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
from ear import Ear
from PIL import Image

from dcdr_deploy.errors import EngineError, InputError
from dcdr_deploy.evaluation import EvaluationSettings, comparison, evaluate, find_pairs
from dcdr_deploy.imaging import write_image
from dcdr_deploy.metrics.registry import METRICS
from dcdr_deploy.system import children

FAST = ("psnr-l", "psnr-mu10", "psnr-l-ntire21")


@pytest.fixture
def folders(tmp_path) -> tuple[Path, Path, Path]:
    """Four pairs with an error of 0.1, 0.05, 0.025, 0: EXR predictions, PNG truths; the first two are overexposed."""
    pred, truth, ldr = (tmp_path / name for name in ("pred", "gt", "ldr"))
    for i, name in enumerate(("a", "b", "sub/c", "sub/d")):
        picture = np.full((32, 40, 3), 0.5, np.float32)
        write_image(truth / f"{name}.png", picture, peak=8)
        error = 0.0 if name == "sub/d" else 0.1 / 2**i
        half = (np.rint(picture * 65535) / 65535).astype(np.float32) + np.float32(error)
        write_image(pred / f"{name}.exr", half, peak=8, metadata={"peak": "8"})
        sdr = np.full((32, 40, 3), 100, np.uint8)
        if i < 2:
            sdr[4:10, 4:12] = 255
        (ldr / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(sdr).save(ldr / f"{name}.png")
    return pred, truth, ldr


def figures(report, name="psnr-l", region="image"):
    return [pair.scores[region][name] for pair in report.pairs]


def test_figures_come_in_the_order_of_names_with_their_mean(folders):
    report = evaluate(find_pairs(*folders[:2]), EvaluationSettings(FAST, jobs=1))
    assert [pair.name for pair in report.pairs] == ["a", "b", "sub/c", "sub/d"]
    assert figures(report)[:3] == pytest.approx([20, 26.02, 32.04], abs=0.1)
    mean = report.mean(report.regions[0], METRICS["psnr-l"])
    assert mean == pytest.approx(np.mean(figures(report)))


def test_several_processes_find_what_one_finds(folders):
    pairs = find_pairs(*folders)
    one, two = (evaluate(pairs, EvaluationSettings(FAST, jobs=jobs)) for jobs in (1, 2))
    assert json.dumps(one.as_dict()) == json.dumps(two.as_dict())


def test_a_few_pairs_are_in_flight_however_many_there_are(folders, monkeypatch):
    class Pool:
        """Works in this process and counts what was handed in and not yet taken."""

        submitted = 0

        def __enter__(self):
            return self

        def __exit__(self, *args):
            return None

        def submit(self, work, files, task):
            Pool.submitted += 1
            future = comparison.Future()
            future.set_result(work(files, task))
            return future

        def shutdown(self, **kwargs):
            return None

    monkeypatch.setattr(comparison, "ProcessPoolExecutor", lambda *args, **settings: Pool())
    ahead = []
    evaluate(
        find_pairs(*folders[:2]) * 10,
        EvaluationSettings(("psnr-l",), jobs=2),
        lambda event: ahead.append(Pool.submitted - event.done + 1) if event.done else None,
    )
    assert (len(ahead), max(ahead)) == (40, 8)


def test_progress_is_told_for_every_pair(folders):
    ear = Ear()
    evaluate(find_pairs(*folders[:2]), EvaluationSettings(FAST, jobs=1), ear)
    said = [(0, 4, ""), (1, 4, "a"), (2, 4, "b"), (3, 4, "sub/c"), (4, 4, "sub/d")]
    assert [(event.done, event.total, event.stage) for event in ear.heard] == said


def test_without_a_number_of_processes_there_are_as_many_as_fit(folders, monkeypatch):
    monkeypatch.setattr(comparison.hardware, "cpu_threads", lambda: 8)
    for memory, jobs in ((None, 8), (10**12, 8), (3 * 32 * 40 * comparison.BYTES_PER_PIXEL, 3), (1, 1)):
        monkeypatch.setattr(comparison.hardware, "available_memory", lambda memory=memory: memory)
        assert comparison._fitting_jobs(find_pairs(*folders[:2])[0]) == jobs


# Regions and Test Set 2


def test_regions_have_figures_where_pictures_are_clipped(folders):
    report = evaluate(find_pairs(*folders), EvaluationSettings(("psnr-l", "hdrvdp2-q"), jobs=1))
    names = [region.name for region in report.regions]
    assert names == ["image", "clipped", "surround", "clipped+surround"]
    assert [math.isnan(value) for value in figures(report, region="clipped")] == [False, False, True, True]
    clipped = report.regions[1]
    assert report.count(clipped) == 2
    assert report.mean(clipped, METRICS["psnr-l"]) == pytest.approx(np.mean(figures(report, region="clipped")[:2]))
    assert [metric.name for metric in report.metrics_of(clipped)] == ["psnr-l"]  # a quality has no regions


def test_test_set_2_holds_the_overexposed_pairs_only(folders):
    report = evaluate(find_pairs(*folders), EvaluationSettings(FAST, overexposed=True, jobs=1))
    assert ([pair.name for pair in report.pairs], report.considered) == (["a", "b"], 4)


def test_test_set_2_needs_sdr_pictures_and_some_that_are_overexposed(folders):
    pairs = find_pairs(*folders)
    with pytest.raises(InputError, match="`ldr`"):
        evaluate(find_pairs(*folders[:2]), EvaluationSettings(FAST, overexposed=True))
    with pytest.raises(InputError, match="none of 2 pictures"):
        evaluate(pairs[2:], EvaluationSettings(FAST, overexposed=True, jobs=1))


# What goes wrong


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_bad_pair_ends_the_evaluation_with_its_name(folders, jobs):
    bad = folders[0] / "b.exr"
    bad.write_bytes(bad.read_bytes()[:200])
    with pytest.raises(InputError, match=r"b\.exr: is damaged"):
        evaluate(find_pairs(*folders[:2]), EvaluationSettings(FAST, jobs=jobs))


def test_no_pairs_are_told(folders):
    with pytest.raises(InputError, match="no pairs"):
        evaluate(())


@pytest.mark.parametrize("align", ["none", "percentile"])
def test_a_pair_without_a_pixel_that_is_finite_in_both_is_named(tmp_path, align):
    for name, rows in (("prediction", slice(8)), ("truth", slice(8, None))):
        light = np.full((16, 16, 3), 0.5, np.float32)
        light[rows] = np.nan
        np.save(tmp_path / f"{name}.npy", light)
    pairs = find_pairs(tmp_path / "prediction.npy", tmp_path / "truth.npy")
    with pytest.raises(InputError, match=r"prediction\.npy: has no pixel that is finite"):
        evaluate(pairs, EvaluationSettings(metrics=("psnr-l",), full_scale=8.0, align=align))


def test_sizes_must_agree(folders):
    write_image(folders[0] / "b.exr", np.zeros((32, 41, 3), np.float32), peak=8)
    with pytest.raises(InputError, match=r"b\.exr: 41 x 32 pixels, but .*b\.png is 40 x 32 pixels"):
        evaluate(find_pairs(*folders[:2]), EvaluationSettings(FAST, jobs=1))
    Image.new("RGB", (10, 10)).save(folders[2] / "a.png")
    with pytest.raises(InputError, match=r"ldr/a\.png: 10 x 10 pixels"):
        evaluate(find_pairs(*folders), EvaluationSettings(FAST, jobs=1))


def test_a_picture_too_small_for_a_metric_is_named(tmp_path):
    write_image(tmp_path / "a.png", np.zeros((16, 40, 3), np.float32), peak=8)
    with pytest.raises(InputError, match=r"a\.png: 40 x 16 pixels, but hdrvdp2-q needs 17 each way"):
        evaluate(find_pairs(tmp_path / "a.png", tmp_path / "a.png"), EvaluationSettings(("hdrvdp2-q",)))


@pytest.mark.parametrize("has_safe_path", sorted({False, children.HAS_SAFE_PATH}))
def test_workers_run_no_modules_from_the_working_directory(folders, tmp_path, monkeypatch, has_safe_path):
    (tmp_path / "here").mkdir()
    for name in ("pickle", "multiprocessing", "numpy", "cv2", "dcdr_deploy"):
        (tmp_path / "here" / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nraise SystemExit(9)")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(children, "HAS_SAFE_PATH", has_safe_path)
    before = dict(os.environ)
    report = evaluate(find_pairs(*folders[:2]), EvaluationSettings(FAST, jobs=2))
    assert report.pairs
    assert not (tmp_path / "ran").exists()
    assert dict(os.environ) == before


def die(files, task):
    import os

    os._exit(9)


def test_a_worker_that_dies_is_told(folders, monkeypatch):
    monkeypatch.setattr(comparison, "score_pair", die)
    with pytest.raises(EngineError, match="`jobs`"):
        evaluate(find_pairs(*folders[:2]), EvaluationSettings(FAST, jobs=2))


def test_metrics_that_cannot_be_computed_keep_their_reason(folders, monkeypatch):
    metric = METRICS["psnr-mu10"]
    monkeypatch.setitem(METRICS, "psnr-mu10", type(metric)(**{**vars(metric), "missing": lambda: "it rains"}))
    report = evaluate(find_pairs(*folders[:2]), EvaluationSettings(FAST, jobs=1))
    assert report.reasons == {"psnr-mu10": "it rains"}
    assert "psnr-mu10" not in report.pairs[0].scores["image"]
    assert report.as_table().endswith("PSNR-mu10: not computed: it rains")


def test_metrics_of_luminance_say_when_it_is_not_known(folders):
    pairs = find_pairs(folders[1], folders[1])
    report = evaluate(pairs, EvaluationSettings(("psnr-l", "pu21-psnr"), jobs=1))
    assert "give `full_scale` (4 of 4 pairs)" in report.reasons["pu21-psnr"]
    known = evaluate(pairs, EvaluationSettings(("pu21-psnr",), full_scale=8.0, jobs=1))
    assert known.reasons == {}


@pytest.mark.parametrize(
    "wrong",
    [{"metrics": ()}, {"metrics": ("psnr",)}, {"full_scale": 0.0}, {"white_nits": -1.0}, {"jobs": 0}],
)
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(InputError):
        EvaluationSettings(**wrong)


# Output


def test_the_table_has_a_row_a_pair_and_the_mean(folders):
    table = evaluate(find_pairs(*folders[:2]), EvaluationSettings(("psnr-l",), jobs=1)).as_table()
    title, heading, *rows = table.splitlines()
    assert title == "whole pictures: 4 of 4 pairs"
    assert heading.split() == ["PSNR-L↑"]
    assert [row.split()[0] for row in rows] == ["a", "b", "sub/c", "sub/d", "mean"]
    assert len({len(row) for row in rows}) == 1


def test_a_summary_has_the_mean_only(folders):
    table = evaluate(find_pairs(*folders[:2]), EvaluationSettings(("psnr-l",), jobs=1)).as_table(summary=True)
    assert [line.split()[0] for line in table.splitlines()[2:]] == ["mean"]


def test_csv_has_a_line_a_pair_and_region_and_empty_cells_where_a_figure_lacks(folders):
    report = evaluate(find_pairs(*folders), EvaluationSettings(("psnr-l", "hdrvdp2-q"), jobs=1))
    rows = list(csv.DictReader(io.StringIO(report.as_csv())))
    assert len(rows) == 5 * 4
    by_key = {(row["image"], row["region"]): row for row in rows}
    assert float(by_key["a", "clipped"]["PSNR-L"]) == report.pairs[0].scores["clipped"]["psnr-l"]
    assert by_key["sub/d", "clipped"]["PSNR-L"] == ""
    assert by_key["mean", "clipped"]["HDR-VDP-2.2.1-Q-unit"] == ""


def test_json_is_strict_and_says_what_the_figures_are(tmp_path):
    write_image(tmp_path / "a.png", np.full((32, 40, 3), 0.5, np.float32), peak=8)
    report = evaluate(find_pairs(tmp_path / "a.png", tmp_path / "a.png"), EvaluationSettings(FAST, jobs=1))
    data = json.loads(json.dumps(report.as_dict(), allow_nan=False))
    assert data["images"][0]["scores"]["image"]["psnr-l"] == "inf"
    assert data["regions"]["image"]["mean"]["psnr-l"] == "inf"
    assert data["metrics"]["psnr-mu10"]["title"] == "PSNR-mu10"


def test_truths_beyond_full_scale_are_counted(tmp_path):
    bright = np.full((32, 40, 3), 0.5, np.float32)
    bright[0, :8] = 2.0
    write_image(tmp_path / "a.exr", bright, peak=8)
    report = evaluate(
        find_pairs(tmp_path / "a.exr", tmp_path / "a.exr"), EvaluationSettings(FAST, full_scale=8.0, jobs=1)
    )
    assert (report.beyond, report.pairs[0].beyond) == (1, pytest.approx(8 / 1280))
