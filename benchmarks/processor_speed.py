"""Speed and memory of Table 1's networks on a processor: one 1920x1080 frame of each by `dcdr-deploy benchmark`.

    python benchmarks/processor_speed.py --folder runs/speed [--backend openvino,onnxruntime] [--threads 2]

Networks have random weights, which cost what others do, and are exported by `export_checkpoint`. Each measurement is a
process of its own: the system counts its processor seconds and peak memory. A frame is the first of its size in its
process; --rounds times so many others behind it. DCDR-UNet is measured before and after each of the others, and a ratio
is to the mean of those two neighbours: where other work runs on the machine, times depend on it, ratios much less.
``measured.json`` in the folder is written after each measurement; those in it are not repeated.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from command_line import Parser, height_and_width, new_folder, start, whole_number
from processes import Workers, dcdr_deploy
from table1_tables import ROWS
from text_files import write_text
from text_tables import markdown

REFERENCE = "paper"
MEASURED = "measured.json"

Measurement = Mapping[str, float]
"""``seconds`` of a frame, of the ``first`` one, of the processor for the whole process; ``peak`` bytes; ``tiles``."""


def model_of(preset: str, folder: Path) -> Path:
    """Return the ONNX file of a network, exported unless it is there."""
    path = folder / f"{preset}.onnx"
    if not path.is_file():
        with Workers(1) as another:  # its memory is not to count (processes.py)
            another.submit(export, preset, path).result()
    return path


def export(preset: str, path: Path) -> None:
    """Write the ONNX file of a network with random weights."""
    import torch

    from dcdr_deploy.export.checkpoint import ExportOptions, export_checkpoint
    from dcdr_deploy.modelfile.metadata import ModelMetadata
    from dcdr_deploy.models import build_network, find_preset, initialise, save_safetensors

    network = build_network(find_preset(preset))
    initialise(network)
    weights = path.with_suffix(".safetensors")
    save_safetensors(network, weights, ModelMetadata(), torch.float32)
    export_checkpoint(weights, path, ExportOptions(verify=False))
    weights.unlink()


def turns(presets: Sequence[str]) -> list[str]:
    """The order of measurements: DCDR-UNet before and after each of the others."""
    order = [REFERENCE]
    for preset in presets:
        if preset != REFERENCE:
            order += [preset, REFERENCE]
    return order


def measure(model: Path, backend: str, size: str, rounds: int, threads: int) -> Measurement:
    """Time a frame in a process of its own."""
    wishes = ("--seconds", "0", "--rounds", str(rounds), "--threads", str(threads), "--device", "cpu")
    usage = dcdr_deploy("benchmark", "-m", str(model), "--backend", backend, "--size", size, *wishes, "--json", "-q")
    (result,) = json.loads(usage.said)["results"]
    (timing,) = result["timings"]
    if "median" not in timing:
        raise SystemExit(f"{model.name} on {backend}: {timing['note']}")
    found = {"seconds": timing["median"], "first": timing["first"], "tiles": timing["tiles"]}
    return {**found, "processor": usage.processor_seconds, "peak": usage.peak_bytes}


def rows(order: Sequence[str], found: Sequence[Measurement]) -> Iterator[list[str]]:
    """Cells of each network: seconds, ratios to DCDR-UNet's neighbours in time and processor time, peak, tiles.

    DCDR-UNet's own are medians over its measurements, with the least and the most of its seconds.
    """
    own = [each for preset, each in zip(order, found, strict=True) if preset == REFERENCE]
    for number, (preset, each) in enumerate(zip(order, found, strict=True)):
        if preset != REFERENCE:
            # The last of a run that was cut short has a neighbour before it only.
            beside = [found[at] for at in (number - 1, number + 1) if at < len(found)]
            ratios = [each[key] / statistics.mean(one[key] for one in beside) for key in ("seconds", "processor")]
            yield [ROWS[preset].title, f"{each['seconds']:.1f}", *(f"{ratio:.2f}" for ratio in ratios), *_size(each)]
    seconds = [each["seconds"] for each in own]
    spread = f"{statistics.median(seconds):.1f} ({min(seconds):.1f} to {max(seconds):.1f})"
    yield [ROWS[REFERENCE].title, spread, "1", "1", *_size(max(own, key=lambda each: each["peak"]))]


def _size(measurement: Measurement) -> list[str]:
    return [f"{measurement['peak'] / 2**30:.2f}", f"{measurement['tiles']:.0f}"]


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument(
        "--folder", type=new_folder, required=True, help="for the exported networks and the measurements"
    )
    parser.add_argument("--networks", default=",".join(ROWS), help="presets with commas between them")
    parser.add_argument("--backend", default="openvino", help="one or several, with commas between them")
    parser.add_argument("--size", type=height_and_width, default="1080x1920", metavar="HxW", help="of the pictures")
    parser.add_argument("--rounds", type=int, default=0, help="frames behind the first that are timed instead")
    parser.add_argument("--threads", type=whole_number, default=2, help="of the processor")
    options = parser.parse_args()
    order = turns(options.networks.split(","))
    size = "x".join(map(str, options.size))
    options.folder.mkdir(parents=True, exist_ok=True)
    models = {preset: model_of(preset, options.folder) for preset in dict.fromkeys(order)}
    place = options.folder / MEASURED
    known: dict[str, list[Any]] = json.loads(place.read_text()) if place.is_file() else {}
    for backend in options.backend.split(","):
        key = f"{backend} {size} {options.rounds} {options.threads} {','.join(order)}"
        found = known.setdefault(key, [])
        for preset in order[len(found) :]:
            found.append(measure(models[preset], backend, size, options.rounds, options.threads))
            write_text(place, json.dumps(known, indent=1))
            print(f"{backend}, {preset}: {json.dumps(found[-1])}", flush=True)
        head = ["network", "seconds a frame", "x DCDR-UNet", "x in processor time", "peak GiB", "tiles"]
        print(f"\n{backend}, {size}, {options.threads} threads\n\n{markdown([head, *rows(order, found)])}\n")


if __name__ == "__main__":
    start(main)
