"""Turn a training checkpoint into the demo weights of the package: FP16 safetensors, and ONNX made from those.

    python benchmarks/pack_demo.py runs/demo/last.pth

The ONNX file is exported from the safetensors file, so that both hold the same weights to the bit.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from dcdr_deploy.export.calibration import calibration_pictures
from dcdr_deploy.export.pipeline import ExportOptions, describe, export_checkpoint
from dcdr_deploy.models import load_checkpoint, measure_offsets, save_safetensors

WEIGHTS = Path(__file__).parents[1] / "dcdr_deploy" / "weights"
NAME = "DCDR-UNet demo"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--peak", type=float, help="for checkpoints that name none")
    options = parser.parse_args()
    loaded = load_checkpoint(options.checkpoint)
    export = ExportOptions(peak=options.peak)
    metadata = replace(describe(loaded, export), name=NAME)
    kept = {key: metadata.extra[key] for key in ("training",) if key in metadata.extra}
    target = WEIGHTS / "dcdr-unet-demo.safetensors"
    save_safetensors(loaded.network, target, replace(metadata, extra=kept))
    report = export_checkpoint(target, target.with_suffix(".onnx"), ExportOptions())
    print(f"{report.path.name}: overlap {report.metadata.overlap}, {report.comparisons}")
    network = load_checkpoint(target).network.set_deform_mode("gather")
    print("offsets in pixels of each block's scale:\n| block | mean abs | std | 99 % | max |\n|---|---|---|---|---|")
    for block, spread in measure_offsets(network, calibration_pictures()).items():
        cells = " | ".join(f"{spread[key]:.2f}" for key in ("mean_abs", "std", "p99", "max"))
        print(f"| {block} | {cells} |")


if __name__ == "__main__":
    main()
