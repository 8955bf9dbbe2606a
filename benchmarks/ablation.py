"""The paper's ablations (Tables 2 and 3) and its baseline HDRUNet, trained with one budget on the synthetic data.

    python benchmarks/ablation.py [--width 64] [--patch 128] [--batch 4] [--steps 8000] [--seeds 0,1,2]

Each variant is trained once a seed, from Kaiming weights, by the paper's loss and nothing of the demo weights' recipe,
and judged on held-out views and scenes that training never saw. A finished run is kept in the output folder and not
repeated, an interrupted one goes on where it stopped. The perceptual loss needs torchvision's VGG19 weights
(--vgg19-weights); without them every variant is trained without it and the table says so.

The defaults are sized for a GPU. On a CPU a smaller width, patch and budget make a table that compares the variants at
that size and says nothing about the paper's figures.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from dcdr_deploy.atomic import atomic_path
from dcdr_deploy.metrics.psnr import psnr_l, psnr_mu
from dcdr_deploy.models import DCDRUNetConfig, HDRUNetConfig, NetworkConfig, count_parameters
from dcdr_deploy.training.camera import LDR_MAX, TARGET_MAX, CameraModel
from dcdr_deploy.training.heldout import HeldOutPair, held_out_pairs, judge
from dcdr_deploy.training.loop import CHECKPOINT_NAME, LoopOptions, create_state, evaluation_network
from dcdr_deploy.training.panorama import PanoramaSet
from dcdr_deploy.training.procedural import TEST_SEEDS
from dcdr_deploy.training.recipe import Recipe
from dcdr_deploy.training.run import SyntheticSource, predictor, run_training

ROOT = Path(__file__).parents[1]
PEAK = 8.0
TEST_CROPS, TEST_SIZE, TEST_SEED = 48, 128, 2024


@dataclass(frozen=True)
class Variant:
    """A row of the table: the change to the full network, and what the paper reports for it.

    Attributes:
        changes: fields of :class:`DCDRUNetConfig` that differ; ``None`` for HDRUNet.
        perceptual: trained with the perceptual term.
        paper: PSNR-L and PSNR-mu on the paper's test set 1.
    """

    changes: dict[str, bool] | None
    perceptual: bool
    paper: tuple[float, float]

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


VARIANTS: dict[str, Variant] = {
    "full": Variant({}, True, (52.47, 54.71)),
    "no DCRB": Variant({"deformable": False}, True, (51.08, 52.66)),
    "no tone net": Variant({"tone_net": False}, True, (52.01, 53.69)),
    "no condition net": Variant({"condition_net": False}, True, (52.29, 54.39)),
    "no perceptual loss": Variant({}, False, (51.24, 53.57)),
    "HDRUNet": Variant(None, False, (50.41, 52.00)),
}
"""Rows by name; the paper's figures are those of its Tables 1 to 3, test set 1."""


@dataclass(frozen=True)
class Outcome:
    """Figures of one trained network: means over pictures of PSNR-L and PSNR-mu (mu = 10), gain on clipped pixels."""

    psnr_l: float
    psnr_mu: float
    clipped_gain: float
    parameters: int
    seconds: float


def evaluate(network: torch.nn.Module, pairs: list[HeldOutPair]) -> tuple[float, float, float]:
    predict = predictor(network)
    linear, compressed = [], []
    for pair in pairs:
        picture = np.clip(predict(pair.ldr.astype(np.float32) / LDR_MAX), 0, 1)
        truth = pair.target / TARGET_MAX
        linear.append(psnr_l(picture, truth))
        compressed.append(psnr_mu(picture, truth))
    return float(np.mean(linear)), float(np.mean(compressed)), judge(pairs, predict, PEAK).clipped.gain


def train_variant(
    variant: Variant, seed: int, options: argparse.Namespace, vgg19: Path | None, pairs: list[HeldOutPair], folder: Path
) -> Outcome:
    losses = {"tanh_l1": 1.0}
    if variant.perceptual and vgg19 is not None:
        losses["perceptual"] = 0.1
    recipe = Recipe(
        steps=options.steps,
        batch=options.batch,
        patch=options.patch,
        learning_rate=options.learning_rate,
        tail_start=0.5,
        losses=losses,
        average=0.998,
        gradient_clip=1.0,
        seed=seed,
    )
    device = torch.device(options.device)
    state = create_state(recipe, PEAK, device, variant.config(options.width))
    if (folder / CHECKPOINT_NAME).exists():
        state.restore(folder / CHECKPOINT_NAME, device)
    data = SyntheticSource(ROOT / "data" / "hdri", options.scenes).training_set(recipe)
    run_training(state, data, folder, LoopOptions(device=options.device, workers=options.workers), vgg19)
    with evaluation_network(state) as network:
        return Outcome(*evaluate(network, pairs), count_parameters(network), round(state.seconds, 1))


def table(outcomes: dict[str, list[Outcome]]) -> str:
    lines = [
        "| variant | parameters | seeds | PSNR-L | PSNR-mu | clipped gain | seconds | paper PSNR-L | paper PSNR-mu |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, runs in outcomes.items():
        cells = [name, f"{runs[0].parameters:,}", str(len(runs))]
        for figure in ("psnr_l", "psnr_mu", "clipped_gain"):
            values = [getattr(run, figure) for run in runs]
            spread = f" ± {np.std(values, ddof=1):.2f}" if len(values) > 1 else ""
            cells.append(f"{np.mean(values):.2f}{spread}")
        cells.append(f"{np.mean([run.seconds for run in runs]):.0f}")
        cells += [f"{figure:.2f}" for figure in VARIANTS[name].paper]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--patch", type=int, default=128)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--learning-rate", type=float, default=2e-4)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--variants", default=",".join(VARIANTS))
    parser.add_argument("--scenes", type=int, default=3000)
    parser.add_argument("--vgg19-weights", type=Path)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--output", type=Path, default=ROOT / "runs" / "ablation")
    options = parser.parse_args()
    unknown = set(options.variants.split(",")) - VARIANTS.keys()
    if unknown:
        parser.error(f"unknown variants {sorted(unknown)}; known: {', '.join(VARIANTS)}")
    return options


def main() -> None:
    options = parse()
    panoramas = PanoramaSet(ROOT / "data" / "hdri" / "test")
    seeds = range(TEST_SEEDS.start, TEST_SEEDS.start + TEST_CROPS)
    pairs = held_out_pairs(panoramas, TEST_CROPS, seeds, CameraModel(), TEST_SIZE, TEST_SEED)
    vgg19 = options.vgg19_weights
    budget = {key: getattr(options, key) for key in ("width", "patch", "batch", "steps", "learning_rate", "scenes")}
    key = "-".join(str(value) for value in budget.values()) + ("-vgg" if vgg19 else "")
    outcomes: dict[str, list[Outcome]] = {}
    for seed in map(int, options.seeds.split(",")):
        for name in options.variants.split(","):
            if VARIANTS[name].changes == {} and not VARIANTS[name].perceptual and vgg19 is None:
                continue  # the same as the full network where no perceptual loss can be computed
            folder = options.output / key / f"{name.replace(' ', '-')}-{seed}"
            result = folder / "result.json"
            if result.is_file():
                outcome = Outcome(**json.loads(result.read_text()))
            else:
                outcome = train_variant(VARIANTS[name], seed, options, vgg19, pairs, folder)
                with atomic_path(result) as temporary:
                    temporary.write_text(json.dumps(asdict(outcome)))
            outcomes.setdefault(name, []).append(outcome)
            print(f"seed {seed} {name}: {outcome}", flush=True)
    print(f"\nBudget of every run: {budget}, on {options.device}; {len(pairs)} held-out crops of {TEST_SIZE} px.")
    if vgg19 is None:
        print("Trained without the perceptual loss: no VGG19 weights were given.")
    print(table(outcomes))


if __name__ == "__main__":
    main()
