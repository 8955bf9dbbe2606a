"""The measurement of the working scale: its arithmetic is that of ``run``, its tables are what they say."""

from __future__ import annotations

import json
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import scale_candidates
import scale_methods
import torch
import working_scale
from candidates import Candidate
from held_out import panorama_places
from scale_candidates import candidates
from scale_cases import Case, depth_of, view_case
from scale_methods import View, linear_to_srgb, srgb_to_linear
from scale_tables import missed, rule_for, table
from working_scale import Score, by_runner, on_device, rate

from dcdr_deploy.engines import load_engine
from dcdr_deploy.modelfile.metadata import ModelMetadata
from dcdr_deploy.models import DCDRUNet, DCDRUNetConfig, initialise, load_checkpoint, save_safetensors
from dcdr_deploy.run import working_scale as rule
from dcdr_deploy.run.restore import restore
from dcdr_deploy.run.runner import Runner
from dcdr_deploy.training.subpixels import even_out

HDRI = Path(__file__).parents[2] / "data" / "hdri"
TINY = DCDRUNetConfig(width=8, condition_width=4, sft_hidden=2, tone_width=12, blocks=(1, 1, 1))
PEAK = 8.0
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network that brightens, with even pixel shuffles, as blends have them."""
    network = DCDRUNet(TINY)
    initialise(network, 1)
    with torch.no_grad():
        network.restoration.last.bias.fill_(0.3)
    even_out(network)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_safetensors(network, path, ModelMetadata(peak=PEAK, name="tiny"))
    return path


@pytest.fixture(scope="module")
def case() -> Case:
    places = tuple(tuple(paths) for paths in panorama_places([HDRI], "validation").values())
    return view_case(places, 96, 1)


def view_of(case: Case) -> View:
    codes = torch.from_numpy(case.sdr).permute(2, 0, 1)[None].float() / 255
    return View(codes, srgb_to_linear(codes), torch.zeros(1, 1, *case.sdr.shape[:2]))


def test_torch_computes_what_run_computes(weights: Path, case: Case) -> None:
    direct = on_device(load_checkpoint(weights).network, PEAK)
    view = view_of(case)
    with load_engine(weights, "torch") as engine, torch.inference_mode():
        np.testing.assert_allclose(by_runner(Runner(engine))(view.codes), direct(view.codes), rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize("scale", ["rule", "single", "native"])
def test_candidates_are_what_run_writes(scale: str, weights: Path, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rule, "EDGES", (64, 32))
    monkeypatch.setattr(scale_candidates, "DOUBTED", ((32, 64),))
    name = {"rule": "32 and 64, the lower x 0.67", "single": "64", "native": "native network"}[scale]
    asked = {"rule": "auto", "single": Fraction(2, 3), "native": "native"}[scale]
    view = view_of(case)
    with load_engine(weights, "torch") as engine, torch.inference_mode():
        runner = Runner(engine)
        network = by_runner(runner)
        small = {edge: scale_methods.average_down(view.light, (edge, edge)) for edge in (32, 64)} | {96: view.light}
        results = {edge: network(linear_to_srgb(light)) for edge, light in small.items()}
        found = dict(candidates(view, small, results, every_method=False))[name][0].permute(1, 2, 0).numpy()
        written = restore(case.sdr, runner, asked).linear * np.float32(PEAK)  # type: ignore[arg-type]
    assert np.abs(written - srgb_to_linear(view.codes)[0].permute(1, 2, 0).numpy()).max() > 0.3
    np.testing.assert_allclose(found, written, rtol=5e-3, atol=5e-3)


@pytest.mark.parametrize(
    ("size", "taken"),
    [
        ((256, 256), "native"),
        ((383, 200), "native"),
        ((512, 512), "256 and native, the lower x 0.67"),
        ((512, 768), "256 and native, the lower x 0.67"),
        ((1536, 1000), "256 and 768, the lower x 0.67"),
    ],
)
def test_each_picture_is_rated_at_what_run_does_by_itself_with_its_size(size: tuple[int, int], taken: str) -> None:
    assert rule_for(size) == taken


def test_what_run_does_by_itself_is_the_last_row(case: Case) -> None:
    score = rate(case, lambda codes: srgb_to_linear(codes), PEAK, CPU, [32])
    assert list(score.errors)[-1] == "auto"
    assert score.errors["auto"] == score.errors["native"]


def test_views_of_all_sizes_show_the_same_and_places_take_turns() -> None:
    places = tuple(tuple(paths) for _, paths in sorted(panorama_places([HDRI], "validation").items()))
    small, large = (view_case(places, size, 2).truth.astype(float) for size in (32, 64))
    shrunk = large.reshape(32, 2, 32, 2, 3).mean(axis=(1, 3))
    assert np.corrcoef(np.log(small + 50).ravel(), np.log(shrunk + 50).ravel())[0, 1] > 0.95
    assert not np.array_equal(view_case(places, 32, 0).sdr, view_case(places, 32, len(places)).sdr)


def test_what_is_unknown_counts_nowhere(case: Case) -> None:
    known = np.ones(case.sdr.shape[:2], bool)
    known[:40] = False
    spoilt = case.truth.copy()
    spoilt[:40] = 65535
    identity = lambda codes: srgb_to_linear(codes)  # noqa: E731
    scores = [
        rate(Case(case.sdr, truth, known, depth_of(case.sdr)), identity, PEAK, CPU, [32])
        for truth in (case.truth, spoilt)
    ]
    assert scores[0] == scores[1]
    assert sum(scores[0].counts[:2]) == known.sum()


def test_a_table_pools_errors_over_pixels_and_takes_the_median_over_pictures() -> None:
    def score(plain: float, own: float) -> Score:
        return Score({"conversion": [plain, 0.01, 1.0], "192": [own, 0.01, 0.5]}, (50, 50, 50))

    rows = table([score(10, 5), score(1, 0.01), score(1, 2)], "768 px")
    assert rows[0]["clipped"] == rows[0]["median"] == 0
    assert rows[1]["clipped"] == pytest.approx(10 * np.log10(12 / 7.01))
    assert rows[1]["median"] == pytest.approx(10 * np.log10(10.01 / 5.01))
    assert rows[1]["worst"] == pytest.approx(10 * np.log10(1.01 / 2.01))
    assert rows[1]["uv"] == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("size", "figures", "words"),
    [
        (768, {"median": 3.1, "clipped": 4.0, "worst": -6.9, "unclipped": 0.0}, []),
        (768, {"median": 2.9, "clipped": 4.0, "worst": -6.9, "unclipped": 0.0}, ["median +0.90"]),
        (1536, {"median": 3.1, "clipped": 3.5, "worst": -8.0, "unclipped": -0.2}, ["clipped", "worst", "unclipped"]),
        (256, {"median": 1.95, "clipped": 3.95, "worst": -10, "unclipped": 0.0}, []),
        (256, {"median": 1.8, "clipped": 4.0, "worst": -10, "unclipped": 0.0}, ["median"]),
    ],
)
def test_targets_are_those_of_each_size(size: int, figures: dict[str, float], words: list[str]) -> None:
    native = {"median": 2.0, "clipped": 4.0, "worst": -10.0, "unclipped": 0.0}
    found = missed(figures, native, size)
    assert len(found) == len(words)
    assert all(text.startswith(word) for text, word in zip(found, words, strict=True))


def test_a_run_keeps_what_its_second_command_prints(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "kept.json"
    arguments = ["--model", str(tiny_model), "--panoramas", str(HDRI), "--sizes", "64,32", "--views", "3"]
    script = ["working_scale.py", *arguments, "--working", "32", "--workers", "1", "--json", str(kept)]
    monkeypatch.setattr(sys, "argv", script)
    assert working_scale.main() == 0
    printed = capsys.readouterr().out
    assert list(json.loads(kept.read_text())) == ["64 px", "32 px"]
    monkeypatch.setattr(sys, "argv", ["working_scale.py", "--table", str(kept)])
    assert working_scale.main() == 0
    tables = capsys.readouterr().out
    assert all(line in printed.splitlines() for line in tables.splitlines())
    assert "| native network |" in tables


def test_a_run_that_is_out_of_time_leaves_sizes_of_few_views_out(
    tiny_model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = [
        "--model",
        str(tiny_model),
        "--panoramas",
        str(HDRI),
        "--sizes",
        "32",
        "--views",
        "3",
        "--workers",
        "1",
    ]
    monkeypatch.setattr(sys, "argv", ["working_scale.py", *arguments, "--seconds", "1e-6"])
    assert working_scale.main() == 1
    assert "time is over" in capsys.readouterr().out


def test_a_blend_is_measured_like_its_file(weights: Path, case: Case) -> None:
    view = view_of(case)
    whole, half, other = (
        working_scale.prepare_network(Candidate("", weights, base, part), CPU, "fp32")[0](view.codes)
        for base, part in ((None, 1.0), (weights, 0.5), (darker(weights), 0.5))
    )
    np.testing.assert_allclose(half, whole, rtol=1e-2, atol=1e-2)
    assert float(other.mean()) < 0.9 * float(whole.mean())


def darker(weights: Path) -> Path:
    """The same network without the light that it adds everywhere."""
    loaded = load_checkpoint(weights)
    with torch.no_grad():
        loaded.network.restoration.last.bias.fill_(0.0)
    path = weights.with_name("darker.safetensors")
    save_safetensors(loaded.network, path, loaded.metadata)
    return path
