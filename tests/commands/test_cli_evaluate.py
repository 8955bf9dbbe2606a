"""`dcdr-deploy evaluate` as a user sees it: streams, formats, mistakes."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dcdr_deploy
from dcdr_deploy.imaging import write_image
from dcdr_deploy.imaging.read_hdr import read_hdr
from dcdr_deploy.metrics.registry import METRICS

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(dcdr_deploy.__file__).parent.parent)}
FAST = ("--metrics", "psnr-l,psnr-mu10", "--jobs", "1")


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        truth = np.full((32, 40, 3), 0.25, np.float32)
        write_image(f"gt/{name}.exr", truth, peak=8)
        write_image(f"pred/{name}.exr", truth + np.float32(0.1), peak=8, metadata={"peak": "8"})
        Path("ldr").mkdir(exist_ok=True)
        sdr = np.full((32, 40, 3), 255 if name == "a" else 90, np.uint8)
        Image.fromarray(sdr).save(f"ldr/{name}.png")
    return tmp_path


pytestmark = pytest.mark.usefixtures("here")


def test_the_table_is_on_stdout_and_progress_on_stderr(dcdr):
    done = dcdr("evaluate", "pred", "gt", *FAST)
    assert done.exit_code == 0, done.stderr
    assert done.stdout.splitlines()[0] == "whole pictures: 2 of 2 pairs"
    name, psnr, _ = done.stdout.splitlines()[-1].split()
    assert name == "mean"
    assert float(psnr) == pytest.approx(20, abs=0.02)  # the files hold halves
    assert done.stderr.splitlines() == ["1/2 a", "2/2 b"]


def test_quiet_leaves_the_table_only(dcdr):
    assert dcdr("evaluate", "pred", "gt", *FAST, "--quiet").stderr == ""


def test_the_papers_metrics_are_the_default(dcdr):
    done = dcdr("evaluate", "pred/a.exr", "gt/a.exr", "--json", "--quiet", "--metrics", "paper")
    assert done.exit_code in (0, 2)
    if done.exit_code == 2:  # LPIPS is installed with weights, which need larger pictures
        assert "lpips" in done.stderr
        return
    metrics = json.loads(done.stdout)["metrics"]
    assert list(metrics)[:2] == ["psnr-l", "psnr-mu10"]
    assert all(metrics[name]["not_computed"] is None or "pip install" in metrics[name]["not_computed"]
               or "on disk" in metrics[name]["not_computed"] for name in metrics)  # fmt: skip


def test_json_and_csv_are_alone_on_stdout(dcdr):
    data = json.loads(dcdr("evaluate", "pred", "gt", *FAST, "--json").stdout)
    assert data["regions"]["image"]["mean"]["psnr-l"] == pytest.approx(20, abs=0.01)
    rows = list(csv.DictReader(io.StringIO(dcdr("evaluate", "pred", "gt", *FAST, "--csv").stdout)))
    assert [row["image"] for row in rows] == ["a", "b", "mean"]


def test_regions_and_test_set_2(dcdr):
    done = dcdr("evaluate", "pred", "gt", "--ldr", "ldr", *FAST)
    assert "clipped pixels (a channel of the SDR picture >= 254): 1 of 2 pairs" in done.stdout
    done = dcdr("evaluate", "pred", "gt", "--ldr", "ldr", "--overexposed", *FAST)
    assert done.stdout.splitlines()[0] == "whole pictures: 1 of 2 pairs"


def test_several_processes(dcdr):
    done = dcdr("evaluate", "pred", "gt", "--metrics", "psnr-l", "--jobs", "2")
    assert done.exit_code == 0, done.stderr
    assert done.stdout == dcdr("evaluate", "pred", "gt", "--metrics", "psnr-l", "--jobs", "1").stdout


def test_truths_above_full_scale_are_noted(dcdr):
    done = dcdr("evaluate", "pred", "gt", *FAST, "--full-scale", "1")
    assert "note: 2 truths have values above full scale" in done.stderr


def test_predictions_beyond_the_truths_are_left_out_with_a_note(dcdr):
    write_image("pred/more.exr", np.zeros((32, 40, 3), np.float32), peak=8)
    done = dcdr("evaluate", "pred", "gt", *FAST)
    assert done.exit_code == 0
    assert "note: pred: 1 prediction (more) without a ground truth left out" in done.stderr
    Path("pred/b.exr").unlink()
    assert "--partial leaves it out" in dcdr("evaluate", "pred", "gt", *FAST).stderr
    done = dcdr("evaluate", "pred", "gt", "--partial", *FAST)
    assert (done.exit_code, done.stdout.splitlines()[0]) == (0, "whole pictures: 1 of 1 pair")


def test_the_results_of_the_demo_are_measured_against_the_samples_truths_as_they_lie(dcdr):
    samples = Path(dcdr_deploy.__file__).parent.parent / "samples"
    for path in sorted(samples.glob("*.*")):
        if path.suffix in (".png", ".jpg"):
            truth = samples / "truth" / f"{path.stem}.exr"
            light = read_hdr(truth).pixels / 8 if truth.is_file() else np.zeros((8, 8, 3), np.float32)
            write_image(f"out/{path.stem}.exr", light, peak=8, metadata={"peak": "8"})
    done = dcdr("evaluate", "out", samples / "truth", "--metrics", "psnr-l", "--jobs", "1")
    assert done.exit_code == 0, done.stderr
    assert done.stdout.splitlines()[0] == "whole pictures: 3 of 3 pairs"
    assert "note: out: 3 predictions (china, coffee, rocket) without a ground truth left out" in done.stderr


def test_a_scale_that_differs_is_noted_and_taken_out_by_alignment(dcdr):
    for name in ("a", "b"):
        write_image(f"pred/{name}.exr", np.full((32, 40, 3), 0.05, np.float32), peak=8, metadata={"peak": "8"})
    done = dcdr("evaluate", "pred", "gt", *FAST)
    assert "note: 2 of 2 predictions differ from their truths by more than half a stop in the median (a by -2.3)" in (
        done.stderr
    )
    done = dcdr("evaluate", "pred", "gt", "--align", "gain", *FAST, "--json")
    assert "half a stop" not in done.stderr
    data = json.loads(done.stdout)
    assert data["align"] == "gain"
    assert float(data["regions"]["image"]["mean"]["psnr-l"]) > 50  # "inf" is a word


def test_what_was_converted_is_noted_once_for_all_files_of_a_kind(dcdr):
    import OpenEXR

    rec2020 = (0.708, 0.292, 0.170, 0.797, 0.131, 0.046, 0.3127, 0.3290)
    for name in ("a", "b"):
        OpenEXR.File({"chromaticities": rec2020}, {"RGB": np.ones((32, 40, 3), np.float32)}).write(f"gt/{name}.exr")
    done = dcdr("evaluate", "pred", "gt", *FAST, "--json")
    note = "converted to linear Rec. 709 from Rec. 2020 by its chromaticities"
    assert f"note: gt/a.exr and 1 other: {note}" in done.stderr
    assert json.loads(done.stdout)["images"][1]["notes"] == [f"gt/b.exr: {note}"]


def test_all_metrics_are_listed_with_what_they_are(dcdr):
    done = dcdr("evaluate", "--list-metrics")
    assert done.exit_code == 0
    for name, metric in METRICS.items():
        assert f"{name}  (" in done.stdout
        assert metric.description in done.stdout
    assert "all = all of them" in done.stdout


def mistakes() -> list[tuple[list[str], str]]:
    return [
        (["pred", "nowhere"], "nowhere: no such file or folder"),
        (["pred", "gt/a.exr"], "must both be files or both be folders"),
        (["pred", "gt", "--ldr", "empty"], "empty: holds no pictures"),
        (["pred", "gt", "--overexposed"], "--ldr"),
        (["pred", "gt", "--metrics", "psnr"], "unknown metric 'psnr'"),
        (["pred", "gt", "--metrics", ","], "no metrics are asked for"),
        (["pred", "gt", "--jobs", "0"], "0 processes"),
        (["pred", "gt", "--white", "0"], "luminance of white"),
        (["pred", "gt", "--full-scale", "-2"], "full scale -2.0"),
        (["gt", "gt"], "gt/a.exr: does not say which value is full scale; give --full-scale"),
        (["nan.exr", "gt/a.exr", "--full-scale", "8"], "nan.exr: holds NaN and infinity in all its pixels"),
        (["small.exr", "gt/a.exr", "--full-scale", "8"], "small.exr: 4 x 4 pixels, but gt/a.exr is 40 x 32 pixels"),
        (["ldr/a.png", "gt/a.exr"], "ldr/a.png: has 8 bits"),
        (["lonely", "gt"], "gt/b.exr: has no prediction"),
    ]


@pytest.mark.parametrize(("arguments", "said"), mistakes())
def test_mistakes_are_one_line_that_names_the_file(dcdr, arguments, said):
    import OpenEXR

    Path("empty").mkdir()
    write_image("lonely/a.exr", np.zeros((32, 40, 3), np.float32), peak=8)
    write_image("small.exr", np.zeros((4, 4, 3), np.float32), peak=8)
    OpenEXR.File({}, {"RGB": np.full((32, 40, 3), np.nan, np.float32)}).write("nan.exr")
    metrics = () if "--metrics" in arguments else ("--metrics", "psnr-l")
    done = dcdr("evaluate", *arguments, *metrics)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert said in done.stderr


def test_wrong_usage_is_told_by_the_option(dcdr):
    done = dcdr("evaluate", "pred", "gt", "--json", "--csv")
    assert (done.exit_code, "exclude each other" in done.stderr) == (2, True)
    done = dcdr("evaluate", "pred", "gt", "--full-scale", "bright")
    assert (done.exit_code, "'bright' is neither a number nor gt-max" in done.stderr) == (2, True)


@pytest.mark.skipif(sys.platform == "win32", reason="process groups")
def test_ctrl_c_ends_parent_and_workers_at_once(tmp_path):
    """The signal reaches all of them, as from a terminal."""
    write_image(tmp_path / "gray.png", np.full((128, 128, 3), 0.5, np.float32), peak=8)
    for folder in ("many_pred", "many_gt"):
        (tmp_path / folder).mkdir()
        for i in range(400):
            (tmp_path / folder / f"{i:03d}.png").symlink_to(tmp_path / "gray.png")
    code = (
        "import signal\n"
        "from dcdr_deploy.cli import main\n"
        "if __name__ == '__main__':\n"
        "    signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "    main(prog_name='dcdr-deploy')\n"
    )
    (tmp_path / "call.py").write_text(code)
    command = [sys.executable, "call.py", "evaluate", "many_pred", "many_gt", "--metrics", "hdrvdp2-q", "--jobs", "2"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, env=ENVIRONMENT
    ) as process:
        assert process.stderr is not None
        process.stderr.readline()  # a tenth is done: the workers are at work
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert said.splitlines()[-1] == "interrupted; what was finished is kept"
    assert "Traceback" not in said, said


def test_help_needs_none_of_the_heavy_packages():
    blocked = ("torch", "cv2", "onnx", "onnxruntime", "skimage", "scipy", "lpips", "pycvvdp")
    code = (
        f"import sys\nsys.modules.update(dict.fromkeys({blocked!r}))\n"
        "from dcdr_deploy.cli import main\nmain(prog_name='dcdr-deploy')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "evaluate", "--help"],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "Test Set 2" in done.stdout


def test_pictures_with_a_gain_map_are_the_truth_where_that_is_asked_for(dcdr):
    """The folder of a telephone: its pictures are the SDR pictures and, with their maps, the truth."""
    import imagecodecs

    light = np.full((32, 40, 4), 0.5, np.float16)
    light[:, 20:] = 3
    Path("phone").mkdir()
    Path("phone/a.jpg").write_bytes(imagecodecs.ultrahdr_encode(light, 95))
    write_image("made/a.exr", light[..., :3].astype(np.float32) / 8, peak=8, metadata={"peak": "8"})
    done = dcdr("evaluate", "made", "phone", "--ldr", "phone", "--use-gain-map", "--json", *FAST)
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["regions"]["image"]["mean"]["psnr-l"] > 40
    assert "base x gain map (ISO 21496-1)" in done.stderr
    refused = dcdr("evaluate", "made/a.exr", "phone/a.jpg", *FAST)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "--use-gain-map takes it" in refused.stderr
