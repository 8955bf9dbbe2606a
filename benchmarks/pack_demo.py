"""Turn a training checkpoint into the demo weights of the package: FP16 safetensors, and ONNX made from those.

    python benchmarks/pack_demo.py runs/balance/last.pth [--most-lost 3] [--spared 0.03] [--share 0.9]

Pixel shuffles are evened out, which changes nothing after recipes that keep them even. Then the restoration is
tempered: the largest share of it is kept with which no validation crop but a share --spared of them (views of the
validation panoramas, procedural scenes of the validation seeds) loses more than --most-lost dB against the trivial
conversion; --share names it instead. The ONNX file is exported from the safetensors file, so that both hold the same
weights to the bit.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

from tempering import choose_share, judge_shares, temper

from dcdr_deploy.export.calibration import calibration_pictures
from dcdr_deploy.export.checkpoint import ExportOptions, describe, export_checkpoint
from dcdr_deploy.modelfile.metadata import ModelMetadata
from dcdr_deploy.models import HdrNetwork, load_checkpoint, measure_offsets, save_safetensors
from dcdr_deploy.scenes.camera import CameraModel
from dcdr_deploy.scenes.panorama import PanoramaSet
from dcdr_deploy.scenes.procedural import VALIDATION_SEEDS
from dcdr_deploy.training.heldout import HeldOutPair, held_out_pairs
from dcdr_deploy.training.subpixels import even_out

ROOT = Path(__file__).parents[1]
WEIGHTS = ROOT / "dcdr_deploy" / "weights"
NAME = "DCDR-UNet demo"
SIZE, SEED, OF_EACH = 192, 4242, 96
"""Validation crops: pixels a side, seed of the cameras, number of views and of scenes."""


def validation_pairs() -> list[HeldOutPair]:
    """Crops of the size that the gate measures, of other panoramas and scenes."""
    panoramas = PanoramaSet(ROOT / "data" / "hdri" / "validation")
    first = VALIDATION_SEEDS.start + 1000  # beyond those that the training run watches
    return held_out_pairs(panoramas, OF_EACH, range(first, first + OF_EACH), CameraModel(), SIZE, SEED)


def judged_share(network: HdrNetwork, peak: float, most_lost: float, spared: float) -> float:
    judged = judge_shares(network, validation_pairs(), peak)
    chosen = choose_share(judged, most_lost, spared)
    print(
        f"{2 * OF_EACH} validation crops, dB:\n| share | worst | median | lose over {most_lost} dB |\n|---|---|---|---|"
    )
    for each in judged:
        figures = f"{each.worst:+.2f} | {each.median:+.2f} | {each.losers(most_lost):.1%}"
        print(f"| {each.share:.2f}{' *' if each == chosen else ''} | {figures} |")
    return chosen.share


def told(metadata: ModelMetadata, share: float) -> dict[str, str]:
    """What the files say of the training, with the tempering."""
    training = json.loads(metadata.extra.get("training", "{}"))
    return {"training": json.dumps(training | {"restoration_share": share})}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--peak", type=float, help="for checkpoints that name none")
    parser.add_argument("--most-lost", type=float, default=3.0, help="dB that a validation crop may lose at most")
    parser.add_argument("--spared", type=float, default=0.03, help="share of the crops that may lose more")
    parser.add_argument("--share", type=float, help="share of the restoration to keep, without judging any")
    options = parser.parse_args()
    loaded = load_checkpoint(options.checkpoint)
    network = loaded.network.set_deform_mode("gather")
    even_out(network)
    share = options.share
    if share is None:
        share = judged_share(network, options.peak or loaded.metadata.peak, options.most_lost, options.spared)
    temper(network, share)
    metadata = replace(describe(loaded, ExportOptions(peak=options.peak)), name=NAME)
    target = WEIGHTS / "dcdr-unet-demo.safetensors"
    save_safetensors(network, target, replace(metadata, extra=told(metadata, share)))
    report = export_checkpoint(target, target.with_suffix(".onnx"), ExportOptions())
    print(f"{report.path.name}: overlap {report.metadata.overlap}, {report.comparisons}")
    network = load_checkpoint(target).network.set_deform_mode("gather")
    print("offsets in pixels of each block's scale:\n| block | mean abs | std | 99 % | max |\n|---|---|---|---|---|")
    for block, spread in measure_offsets(network, calibration_pictures()).items():
        cells = " | ".join(f"{spread[key]:.2f}" for key in ("mean_abs", "std", "p99", "max"))
        print(f"| {block} | {cells} |")


if __name__ == "__main__":
    main()
