"""What a frame costs beyond its engine, at native scale: time and memory of the runner, whole and tiled.

    python benchmarks/runner_cost.py [--model MODEL] [--size 540x960]

Prints, for every way of tiling: seconds of the frame and in the engine, the share beyond the engine times the overhead
of tiles (pixels computed twice), and the runner's peak memory beyond the engine's own in copies of the output frame.
Time and memory of the runner alone are taken with an engine that returns its input.
"""

from __future__ import annotations

import tracemalloc

import numpy as np
from command_line import Parser, existing_file, height_and_width, start
from numpy.typing import NDArray

from dcdr_deploy.engines import Engine, EngineInfo, ModelMetadata, load_engine
from dcdr_deploy.run.runner import Runner
from dcdr_deploy.run.selection import DEMO_MODEL

TILES = (None, 512, 256)


class EchoEngine(Engine):
    """Returns a copy of its input: what remains is the runner's own cost."""

    def __init__(self, metadata: ModelMetadata) -> None:
        self.info = EngineInfo("echo", "CPU", "fp32", None, metadata, bytes_per_pixel=24)

    def _infer(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        return batch.copy()


def real_cost(engine: Engine, frame: NDArray[np.uint8]) -> None:
    height, width = frame.shape[:2]
    print(f"\n{engine.info.backend} on {engine.info.device}, {width}x{height}, {engine.info.metadata.name}")
    print("| tile | tiles | pixels computed | frame s | engine s | beyond the engine |\n|---|---|---|---|---|---|")
    for tile in TILES:
        runner = Runner(engine, tile=tile)
        runner.run(frame)
        stats = runner.statistics
        computed = stats.tiles * stats.tile_size[0] * stats.tile_size[1] / (height * width)
        beyond = stats.seconds / stats.engine_seconds - 1
        print(
            f"| {tile or 'whole'} | {stats.tiles} | {computed:.2f} x | {stats.seconds:.2f} | "
            f"{stats.engine_seconds:.2f} | {beyond:+.1%} |"
        )


def own_cost(metadata: ModelMetadata, frame: NDArray[np.uint8]) -> None:
    height, width = frame.shape[:2]
    output_bytes = height * width * 3 * 4
    print(f"\nthe runner alone, {width}x{height}, engine that returns its input")
    print("| tile | seconds beyond the engine | peak memory, copies of the output frame |\n|---|---|---|")
    for tile in TILES:
        runner = Runner(EchoEngine(metadata), tile=tile)
        runner.run(frame)
        seconds = runner.statistics.seconds - runner.statistics.engine_seconds
        tracemalloc.start()
        runner.run(frame)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        print(f"| {tile or 'whole'} | {seconds:.2f} | {peak / output_bytes:.2f} |")


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("--model", type=existing_file, default=DEMO_MODEL)
    parser.add_argument("--backend", default="auto")
    parser.add_argument(
        "--size", type=height_and_width, default="540x960", metavar="HxW", help="of the frame for the real engine"
    )
    options = parser.parse_args()
    height, width = options.size
    rng = np.random.default_rng(0)
    with load_engine(options.model, options.backend) as engine:
        real_cost(engine, rng.integers(0, 256, (height, width, 3)).astype(np.uint8))
        own_cost(engine.info.metadata, rng.integers(0, 256, (2160, 3840, 3)).astype(np.uint8))


if __name__ == "__main__":
    start(main)
