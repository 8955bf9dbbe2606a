"""Turn training checkpoints into the demo weights of the package: FP16 safetensors, and ONNX made from those.

    python benchmarks/pack_demo.py runs/demo/weights.pth [--blend other.pth 0.3] [--share 0.9]
    python benchmarks/pack_demo.py runs/demo/weights.pth --photos photos/ --panoramas data/hdri --panoramas hdri2/
    python benchmarks/pack_demo.py dcdr_deploy/weights/dcdr-unet-demo.safetensors --lite

--blend mixes another checkpoint's weights in, that part of them: weights on one path of training can be averaged
(Wortsman et al., "Model soups", 2022). Pixel shuffles are evened out, which changes nothing after recipes that keep
them even. With --photos and --panoramas the restoration is tempered: the largest share of it is kept with which no
picture of the validation split but a share --spared of them loses more than --most-lost dB against the trivial
conversion; --share names it instead. The ONNX file is exported from the safetensors file, so that both hold the same
weights to the bit; it stores them as FP16 too and computes in FP32.

--lite writes the ONNX file of preset lite and nothing else. The recipes hold the tone net at inverse sRGB / peak, which
half the channels can do nearly as well: it is the state in which training of that preset begins at these weights.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from candidates import blend
from command_line import Parser, existing_file, existing_folder, start
from held_out import panorama_views, photographs
from tempering import choose_share, judge_shares, temper
from text_tables import markdown

from dcdr_deploy.export.calibration import calibration_pictures
from dcdr_deploy.export.checkpoint import ExportOptions, describe, export_checkpoint
from dcdr_deploy.modelfile.metadata import ModelMetadata
from dcdr_deploy.models import HdrNetwork, load_checkpoint, measure_offsets, save_safetensors
from dcdr_deploy.scenes.camera import TARGET_MAX
from dcdr_deploy.training.heldout import HeldOutPair
from dcdr_deploy.training.loop import create_state
from dcdr_deploy.training.recipe import RECIPES
from dcdr_deploy.training.subpixels import even_out

ROOT = Path(__file__).parents[1]
WEIGHTS = ROOT / "dcdr_deploy" / "weights"
DEMO, NAME = "dcdr-unet-demo", "DCDR-UNet demo"
SIZE = 256
"""Long side of the validation pictures in pixels."""
MOST_DIFFERENCE = 2e-3
"""By how much of SDR white the light of preset lite may differ: less than one code of eight bits."""


def validation_pairs(photos: list[Path], panoramas: list[Path]) -> list[HeldOutPair]:
    """Photographs and panorama views of the validation split."""
    pictures = [
        *(photographs(photos, "validation", SIZE) if photos else ()),
        *(panorama_views(panoramas, "validation", SIZE) if panoramas else ()),
    ]
    return [
        HeldOutPair(each.name, each.ldr, np.rint(each.truth * TARGET_MAX).astype(np.uint16), each.known)
        for each in pictures
    ]


def judged_share(network: HdrNetwork, pairs: list[HeldOutPair], peak: float, most_lost: float, spared: float) -> float:
    """The share of the restoration to keep, by validation pictures; prints what every share does."""
    judged = judge_shares(network, pairs, peak)
    chosen = choose_share(judged, most_lost, spared)
    rows = [["share", "worst", "median", f"lose over {most_lost} dB"]]
    for each in judged:
        share = f"{each.share:.2f}{' *' if each == chosen else ''}"
        rows.append([share, f"{each.worst:+.2f}", f"{each.median:+.2f}", f"{each.losers(most_lost):.1%}"])
    print(f"{len(pairs)} validation pictures, dB:\n{markdown(rows)}")
    return chosen.share


def told(metadata: ModelMetadata, **done: object) -> dict[str, str]:
    """What the files say of the training, with what was done to the weights afterwards."""
    training = json.loads(metadata.extra.get("training", "{}"))
    return {"training": json.dumps(training | done)}


def pack_lite(checkpoint: Path) -> None:
    """Write the ONNX file of preset ``lite`` with the restoration net of a checkpoint.

    Raises:
        ValueError: the checkpoint's own tone net is no inverse sRGB.
    """
    loaded = load_checkpoint(checkpoint)
    state = create_state(replace(RECIPES["demo-gpu"], preset="lite"), loaded.metadata.peak, torch.device("cpu"))
    state.start_at(loaded)
    pictures = torch.rand(2, 3, 64, 64) * torch.tensor([1.0, 0.2]).view(2, 1, 1, 1)
    with torch.no_grad():
        light = [each.eval().set_deform_mode("gather")(pictures) for each in (loaded.network, state.network)]
    difference = float((light[0] - light[1]).abs().max()) * loaded.metadata.peak
    print(f"preset lite differs from {checkpoint.name} by {difference:.1e} of SDR white at most")
    if difference > MOST_DIFFERENCE:
        raise ValueError(f"{checkpoint} has a tone net that was trained: a narrow one has to be trained too")
    metadata = replace(loaded.metadata, name=f"{NAME} lite")
    with TemporaryDirectory() as folder:
        weights = Path(folder) / f"{DEMO}-lite.safetensors"
        save_safetensors(state.network, weights, metadata)
        report = export_checkpoint(weights, WEIGHTS / f"{DEMO}-lite.onnx", ExportOptions(compact=True))
    print(f"{report.path.name}: overlap {report.metadata.overlap}, {report.comparisons}")


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("checkpoint", type=existing_file)
    parser.add_argument("--peak", type=float, help="for checkpoints that name none")
    parser.add_argument("--most-lost", type=float, default=3.0, help="dB that a validation crop may lose at most")
    parser.add_argument("--spared", type=float, default=0.03, help="share of the crops that may lose more")
    parser.add_argument("--share", type=float, help="share of the restoration to keep, without judging any")
    parser.add_argument("--photos", type=existing_folder, action="append", default=[], help="repeatable")
    parser.add_argument("--panoramas", type=existing_folder, action="append", default=[], help="repeatable")
    parser.add_argument("--lite", action="store_true", help="write the ONNX file of preset lite")
    parser.add_argument("--blend", nargs=2, metavar=("CHECKPOINT", "PART"), help="mix another checkpoint's weights in")
    options = parser.parse_args()
    if options.lite:
        return pack_lite(options.checkpoint)
    loaded = load_checkpoint(options.checkpoint)
    network = loaded.network.set_deform_mode("gather")
    done: dict[str, object] = {}
    if options.blend:
        other, part = Path(options.blend[0]), float(options.blend[1])
        blend(network, other, part)
        done["blend"] = {"file": other.name, "part": part}
    even_out(network)
    share = 1.0 if options.share is None else options.share
    pairs = validation_pairs(options.photos, options.panoramas) if options.share is None else []
    if pairs:
        share = judged_share(network, pairs, options.peak or loaded.metadata.peak, options.most_lost, options.spared)
    temper(network, share)
    metadata = replace(describe(loaded, ExportOptions(peak=options.peak)), name=NAME)
    target = WEIGHTS / f"{DEMO}.safetensors"
    save_safetensors(network, target, replace(metadata, extra=told(metadata, restoration_share=share, **done)))
    report = export_checkpoint(target, target.with_suffix(".onnx"), ExportOptions(compact=True))
    print(f"{report.path.name}: overlap {report.metadata.overlap}, {report.comparisons}")
    network = load_checkpoint(target).network.set_deform_mode("gather")
    rows = [["block", "mean abs", "std", "99 %", "max"]]
    for block, spread in measure_offsets(network, calibration_pictures()).items():
        rows.append([block, *(f"{spread[key]:.2f}" for key in ("mean_abs", "std", "p99", "max"))])
    print(f"offsets in pixels of each block's scale:\n{markdown(rows)}")


if __name__ == "__main__":
    start(main)
