"""A training run learns, writes what it says, and goes on bit by bit where it stopped."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset

from dcdr_deploy.errors import CheckpointError, InputError, OutputError
from dcdr_deploy.models import PRESETS, DCDRUNetConfig, load_checkpoint
from dcdr_deploy.system.progress import Event
from dcdr_deploy.training.assembly import open_run
from dcdr_deploy.training.liveness import RestorationSilent
from dcdr_deploy.training.loop import LoopOptions, create_state, evaluation_network, train
from dcdr_deploy.training.losses import WeightedLoss
from dcdr_deploy.training.metrics_file import MetricsFile
from dcdr_deploy.training.recipe import Recipe
from dcdr_deploy.training.state import RunDiverged, TrainingState
from dcdr_deploy.training.subpixels import SUBPIXELS

TINY = DCDRUNetConfig(width=8, condition_width=4, sft_hidden=2, tone_width=12, blocks=(1, 1, 1))
CPU = torch.device("cpu")


class Doubled(Dataset[tuple[Tensor, Tensor]]):
    """Targets that a network can learn: an eighth of the square of the input."""

    def __len__(self) -> int:
        return 10_000

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        x = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(index))
        return x, x**2 / 8


@pytest.fixture
def recipe(monkeypatch: pytest.MonkeyPatch) -> Recipe:
    monkeypatch.setitem(PRESETS, "tiny", TINY)
    return Recipe(
        preset="tiny",
        steps=12,
        batch=2,
        patch=16,
        losses={"tanh_l1": 1.0, "mu_mse": 0.5},
        offsets_from=0.25,
        average=0.9,
        gradient_clip=1.0,
        tail_start=0.5,
    )


def run(state: TrainingState, folder: Path, **arguments: object) -> bool:
    options = arguments.pop("options", LoopOptions(checkpoint_every=4, log_every=2, validate_every=6))
    return train(state, Doubled(), WeightedLoss(state.recipe.losses), folder, options, **arguments)  # type: ignore[arg-type]


def tensors(state: TrainingState) -> list[Tensor]:
    assert state.average is not None
    moments = [value for entry in state.optimiser.state_dict()["state"].values() for value in entry.values()]
    return [*state.network.state_dict().values(), *state.average.values(), *moments]


def test_a_resumed_run_equals_an_uninterrupted_one_bit_by_bit(recipe: Recipe, tmp_path: Path) -> None:
    whole = create_state(recipe, 8.0, CPU)
    assert run(whole, tmp_path / "whole")

    first = create_state(recipe, 8.0, CPU)
    assert not run(first, tmp_path / "cut", stop=lambda: first.step == 7)  # in the middle of the offsets' phase
    second = open_run(recipe, tmp_path / "cut", 8.0, "cpu", resume=True)
    assert second.step == 7
    assert run(second, tmp_path / "cut")

    assert all(torch.equal(a, b) for a, b in zip(tensors(whole), tensors(second), strict=True))


@pytest.mark.parametrize("cut", [3, 4, 7])
def test_printed_means_do_not_depend_on_where_a_run_was_interrupted(recipe: Recipe, tmp_path: Path, cut: int) -> None:
    options = LoopOptions(log_every=4)
    run(create_state(recipe, 8.0, CPU), tmp_path / "whole", options=options)
    first = create_state(recipe, 8.0, CPU)
    run(first, tmp_path / "cut", options=options, stop=lambda: first.step == cut)
    run(open_run(recipe, tmp_path / "cut", 8.0, "cpu", resume=True), tmp_path / "cut", options=options)

    def told(folder: str) -> list[tuple[int, float, float]]:
        lines = (tmp_path / folder / "metrics.jsonl").read_text().splitlines()
        return [(line["step"], line["loss"], line["psnr_mu"]) for line in map(json.loads, lines) if "loss" in line]

    assert told("cut") == told("whole")


def test_a_run_of_a_gpu_goes_on_as_this_device_computes(recipe: Recipe, tmp_path: Path) -> None:
    run(create_state(recipe, 8.0, CPU), tmp_path, stop=lambda: True)
    checkpoint = torch.load(tmp_path / "last.pth", weights_only=True)
    for group in checkpoint["optimizer"]["param_groups"]:
        group["fused"] = True  # as a GPU's Adam is
    torch.save(checkpoint, tmp_path / "last.pth")
    state = open_run(recipe, tmp_path, 8.0, "cpu", resume=True)
    assert [group["fused"] for group in state.optimiser.param_groups] == [None, None]


def test_the_loss_falls(recipe: Recipe, tmp_path: Path) -> None:
    state = create_state(replace(recipe, steps=60, learning_rate=2e-3), 8.0, CPU)
    run(state, tmp_path, options=LoopOptions(log_every=10))
    losses = [json.loads(line)["loss"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert losses[-1] < 0.5 * losses[0]


def test_metrics_are_json_lines_with_step_loss_and_psnr(recipe: Recipe, tmp_path: Path) -> None:
    run(create_state(recipe, 8.0, CPU), tmp_path, validate=lambda network: {"gain": 1.5})
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == [2, 4, 6, 8, 10, 12]
    assert [(line["step"], line["gain"]) for line in lines if "gain" in line] == [(6, 1.5), (12, 1.5)]
    assert {"step", "seconds", "loss", "psnr_mu", "lr"} <= lines[0].keys()


def test_a_killed_run_loses_at_most_the_steps_since_the_last_checkpoint(recipe: Recipe, tmp_path: Path) -> None:
    def die(event: Event) -> None:
        if event.done == 7:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        run(create_state(recipe, 8.0, CPU), tmp_path, listener=die)
    assert open_run(recipe, tmp_path, 8.0, "cpu", resume=True).step == 4
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["last.pth", "metrics.jsonl"]


def test_offsets_are_held_at_zero_first_and_learnt_later(recipe: Recipe, tmp_path: Path) -> None:
    state = create_state(recipe, 8.0, CPU)
    moved: dict[int, bool] = {}

    def watch(event: Event) -> None:
        blocks = state.network.deformable_blocks().values()
        moved[event.done] = any(bool(block.offset.weight.any()) for block in blocks)

    run(state, tmp_path, listener=watch)
    assert not moved[3]  # a quarter of twelve steps
    assert moved[4]


def test_the_tone_net_is_held_first_and_learnt_later(recipe: Recipe, tmp_path: Path) -> None:
    state = create_state(replace(recipe, tone_from=0.5, tone_start="inverse_srgb"), 8.0, CPU)
    before = state.network.tone.layers[0].weight.detach().clone()
    moved: dict[int, bool] = {}

    def watch(event: Event) -> None:
        moved[event.done] = not torch.equal(state.network.tone.layers[0].weight, before)

    run(state, tmp_path, listener=watch)
    assert not moved[6]  # half of twelve steps
    assert moved[7]


@pytest.mark.parametrize("kept", [False, True])
def test_shuffles_stay_even_through_training_where_the_recipe_asks_for_it(
    recipe: Recipe, kept: bool, tmp_path: Path
) -> None:
    state = create_state(replace(recipe, even_shuffles=kept), 8.0, CPU)
    run(state, tmp_path)
    with evaluation_network(state) as network:  # the averaged weights, which are what a user gets
        sums = [each.weight.unflatten(0, (-1, SUBPIXELS)).sum(dim=(-2, -1)) for each in network.upsamplers()]
    assert all(bool((each.std(dim=1) < 1e-5).all()) is kept for each in sums)


def test_offsets_learn_at_their_own_rate(recipe: Recipe) -> None:
    state = create_state(replace(recipe, offset_rate=5.0), 8.0, CPU)
    rates = {id(p): group["rate"] for group in state.optimiser.param_groups for p in group["params"]}
    for name, parameter in state.network.named_parameters():
        assert rates[id(parameter)] == (5.0 if ".offset." in name else 1.0)


def test_the_time_limit_ends_a_slice_with_a_checkpoint(recipe: Recipe, tmp_path: Path) -> None:
    assert not run(create_state(recipe, 8.0, CPU), tmp_path, options=LoopOptions(minutes=0.0))
    assert open_run(recipe, tmp_path, 8.0, "cpu", resume=True).step == 1


def test_the_averaged_network_is_judged_and_the_trained_one_kept(recipe: Recipe, tmp_path: Path) -> None:
    state = create_state(recipe, 8.0, CPU)
    run(state, tmp_path)
    before = {name: value.clone() for name, value in state.network.state_dict().items()}
    assert state.average is not None
    with evaluation_network(state) as network:
        name, value = next(iter(network.state_dict().items()))
        assert torch.equal(value, state.average[name])
        assert not torch.equal(value, before[name])
    assert all(torch.equal(value, before[name]) for name, value in state.network.state_dict().items())


def test_a_training_checkpoint_loads_as_a_model_with_its_peak(recipe: Recipe, tmp_path: Path) -> None:
    state = create_state(recipe, 8.0, CPU)
    run(state, tmp_path)
    loaded = load_checkpoint(tmp_path / "last.pth")
    assert loaded.metadata.peak == 8.0
    assert json.loads(loaded.metadata.extra["training"])["steps"] == 12
    assert state.average is not None
    assert torch.equal(loaded.network.restoration.last.weight, state.average["restoration.last.weight"])


def test_bfloat16_arithmetic_trains_float32_weights(recipe: Recipe, tmp_path: Path) -> None:
    state = create_state(replace(recipe, precision="bf16", steps=4), 8.0, CPU)
    assert run(state, tmp_path)
    assert state.network.restoration.first.weight.dtype == torch.float32
    assert all(torch.isfinite(tensor).all() for tensor in state.network.parameters())


def test_a_folder_with_a_run_needs_resume(recipe: Recipe, tmp_path: Path) -> None:
    run(create_state(recipe, 8.0, CPU), tmp_path)
    with pytest.raises(InputError, match="`resume`"):
        open_run(recipe, tmp_path, 8.0, "cpu", resume=False)


def test_resuming_nothing_is_an_error(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint"):
        open_run(recipe, tmp_path, 8.0, "cpu", resume=True)


@pytest.mark.parametrize("content", [b"", b"junk" * 100])
def test_a_damaged_checkpoint_is_an_error(recipe: Recipe, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "last.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"last\.pth"):
        open_run(recipe, tmp_path, 8.0, "cpu", resume=True)


def test_a_checkpoint_of_another_network_is_an_error(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(create_state(recipe, 8.0, CPU), tmp_path)
    monkeypatch.setitem(PRESETS, "tiny", replace(TINY, width=12))
    with pytest.raises(CheckpointError, match="another network configuration"):
        open_run(recipe, tmp_path, 8.0, "cpu", resume=True)


def test_a_run_whose_restoration_falls_silent_ends_and_keeps_the_checkpoint_before(
    recipe: Recipe, tmp_path: Path
) -> None:
    state = create_state(recipe, 8.0, CPU)

    def close(event: Event) -> None:
        if event.done == 4:
            with torch.no_grad():
                state.network.restoration_part().hidden.bias.fill_(-100)

    with pytest.raises(RestorationSilent, match=r"silent by step 8: 100%.*lower `learning_rate` than 0.0002"):
        run(state, tmp_path, listener=close, options=LoopOptions(log_every=4, checkpoint_every=2))
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["closed_channels"] < 1 for line in lines] == [True, False]
    assert open_run(recipe, tmp_path, 8.0, "cpu", resume=True).step == 6


def test_a_run_that_diverges_ends_and_keeps_the_checkpoint_before(recipe: Recipe, tmp_path: Path) -> None:
    state = create_state(recipe, 8.0, CPU)

    def spoil(event: Event) -> None:
        if event.done == 5:
            with torch.no_grad():
                state.network.restoration.first.weight[0] = torch.nan

    with pytest.raises(RunDiverged, match=r"diverged by step 6: .*lower `learning_rate` than 0.0002"):
        run(state, tmp_path, listener=spoil, options=LoopOptions(log_every=6, checkpoint_every=2))
    assert open_run(recipe, tmp_path, 8.0, "cpu", resume=True).step == 4
    load_checkpoint(tmp_path / "last.pth")


def test_weights_that_are_no_numbers_are_not_kept_when_a_run_is_interrupted(recipe: Recipe, tmp_path: Path) -> None:
    state = create_state(replace(recipe, learning_rate=float("inf")), 8.0, CPU)
    with pytest.raises(RunDiverged):
        run(state, tmp_path, stop=lambda: True)
    assert not (tmp_path / "last.pth").exists()


@pytest.mark.parametrize(
    ("part", "value", "words"),
    [
        ("optimizer", None, "lacks what a run goes on with: .*optimizer"),
        ("params", {}, "lacks what a run goes on with: .*Missing key"),
        ("torch_rng", "seed", "lacks what a run goes on with"),
        ("step", "many", "lacks what a run goes on with"),
        ("figures", [["many"]], "lacks what a run goes on with"),
        ("params_ema", {}, "lacks what a run goes on with"),
        ("nan", None, "cannot be resumed: .*NaN"),
    ],
)
def test_a_checkpoint_that_is_not_whole_is_an_error_of_one_line(
    recipe: Recipe, tmp_path: Path, part: str, value: object, words: str
) -> None:
    run(create_state(recipe, 8.0, CPU), tmp_path, stop=lambda: True)
    content = torch.load(tmp_path / "last.pth", weights_only=True)
    if part == "nan":
        content["params"]["restoration.first.weight"][0] = torch.nan
    elif value is None:
        del content[part]
    else:
        content[part] = value
    torch.save(content, tmp_path / "last.pth")
    with pytest.raises(CheckpointError, match=rf"last\.pth {words}") as caught:
        open_run(recipe, tmp_path, 8.0, "cpu", resume=True)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(sys.platform == "win32", reason="no limits of a process")
def test_a_full_disk_is_an_error_of_one_line_and_the_checkpoint_before_stays(recipe: Recipe, tmp_path: Path) -> None:
    import resource

    run(create_state(recipe, 8.0, CPU), tmp_path, stop=lambda: True)
    before = (tmp_path / "last.pth").read_bytes()
    state = open_run(recipe, tmp_path, 8.0, "cpu", resume=True)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limits[1]))
    try:
        with pytest.raises(OutputError, match=r"last\.pth: cannot be written"):
            run(state, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / "last.pth").read_bytes() == before
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["last.pth", "metrics.jsonl"]


@pytest.mark.parametrize("step", [3, 4])
def test_a_run_whose_folder_is_deleted_ends_with_an_error(recipe: Recipe, tmp_path: Path, step: int) -> None:
    """Before and after a checkpoint makes the folder anew."""

    def delete(event: Event) -> None:
        if event.done == step:
            shutil.rmtree(tmp_path / "run")

    with pytest.raises(OutputError, match="run: was deleted, moved or unmounted during the run"):
        run(create_state(recipe, 8.0, CPU), tmp_path / "run", listener=delete)


@pytest.mark.parametrize("torn", [b"", b'{"step": 8, "seco'])
def test_metrics_of_steps_that_were_lost_stand_once(recipe: Recipe, tmp_path: Path, torn: bytes) -> None:
    def die(event: Event) -> None:
        if event.done == 7:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        run(create_state(recipe, 8.0, CPU), tmp_path, listener=die)
    with (tmp_path / "metrics.jsonl").open("ab") as file:
        file.write(torn)
    run(open_run(recipe, tmp_path, 8.0, "cpu", resume=True), tmp_path)
    steps = [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert steps == [2, 4, 6, 8, 10, 12]


def test_a_run_that_begins_again_before_its_first_checkpoint_has_metrics_of_its_own(
    recipe: Recipe, tmp_path: Path
) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 2, "loss": 5.0}\n')
    run(create_state(recipe, 8.0, CPU), tmp_path, stop=lambda: True)
    assert not (tmp_path / "metrics.jsonl").exists()


def test_a_loss_that_is_no_number_is_null_in_the_metrics(tmp_path: Path) -> None:
    MetricsFile(tmp_path / "metrics.jsonl", 0).append({"step": 2, "loss": float("nan"), "psnr_mu": float("-inf")})
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 2, "loss": null, "psnr_mu": null}\n'


def test_held_parameters_stay_as_they_start(recipe: Recipe, tmp_path: Path) -> None:
    state = create_state(replace(recipe, held=["restoration.first", "condition"]), 8.0, CPU)
    before = {name: value.clone() for name, value in state.network.state_dict().items()}
    run(state, tmp_path)
    held = ("restoration.first", "condition")
    changed = {name for name, value in state.network.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert not any(name.startswith(held) for name in changed)
    assert {name for name in before if not name.startswith((*held, "tone"))} - changed == set()


def test_a_tone_net_held_at_its_start_is_computed_as_the_curve_that_it_stands_for(recipe: Recipe) -> None:
    from dcdr_deploy.training.step import training_forward

    held = replace(recipe, preset="lite", tone_start="inverse_srgb", tone_from=1.0)
    state = create_state(held, 8.0, CPU)
    x = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        forward = training_forward(state.network, held, 8.0)
        assert forward is not state.network
        assert (forward(x) - state.network(x)).abs().max() * 8 < 1e-3
    assert training_forward(state.network, replace(held, tone_from=0.6), 8.0) == state.network.coded
