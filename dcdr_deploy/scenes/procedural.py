"""Procedural HDR scenes for training: what photographs clip, in unlimited supply.

Streets by day and night with thin wires and leaves before a blown-out sky, lamps, windows and glints, and rooms with a
bright window and lamp shades. Values are linear light with mid grey near 0.18, skies from 0.5 to 10 and lights up to
some thousands; the camera model exposes by quantiles, so only ratios matter.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import cv2
import numpy as np
import numpy.typing as npt

from dcdr_deploy.scenes.paint import buildings, foliage, lens, sky, street
from dcdr_deploy.scenes.paint.room import paint_room
from dcdr_deploy.scenes.paint.scene import Scene, indoor_scene, outdoor_scene
from dcdr_deploy.system.children import killed_workers_told, safe_path
from dcdr_deploy.system.hardware import cpu_threads
from dcdr_deploy.system.progress import Event, Listener, silent

TRAIN_SEEDS = range(1_000, 500_000_000)
VALIDATION_SEEDS = range(500_000_000, 700_000_000)
TEST_SEEDS = range(700_000_000, 900_000_000)
"""Disjoint seeds: a scene belongs to the split whose range holds its seed."""

LARGEST_STORED = 6e4  # half precision ends at 65504
INDOOR_PROBABILITY = 0.2

STREET_LAYERS: tuple[Callable[[Scene], None], ...] = (
    sky.paint_sky,
    sky.paint_sun,
    sky.paint_clouds,
    sky.paint_hills,
    sky.paint_ground,
    buildings.paint_buildings,
    foliage.paint_foliage,
    street.paint_poles,
    street.paint_wires,
    street.paint_lamps,
    street.paint_signs,
    sky.paint_wet_reflection,
    street.paint_cars,
    street.paint_glitter,
)
"""Painted in this order, far to near."""

ROOM_LAYERS: tuple[Callable[[Scene], None], ...] = (paint_room,)


def street_scene(seed: int, size: int, supersample: int = 1) -> npt.NDArray[np.float32]:
    """One random scene: mostly a street, in one of five cases a room.

    Args:
        seed: the same seed, size and supersampling give the same pixels.
        size: edge of the picture in pixels.
        supersample: canvas pixels per pixel along an edge; shapes are antialiased already, so 1 is enough to train.

    Returns:
        Linear RGB, float32 (size, size, 3), finite and not negative.
    """
    rng = np.random.default_rng(seed)
    indoors = rng.random() < INDOOR_PROBABILITY
    scene = (indoor_scene if indoors else outdoor_scene)(rng, size, supersample)
    for paint in ROOM_LAYERS if indoors else STREET_LAYERS:
        paint(scene)
    return lens.photograph(scene, size)


def render_pool(
    seeds: Sequence[int], size: int, workers: int | None = None, listener: Listener = silent
) -> npt.NDArray[np.float16]:
    """Render many scenes in parallel processes.

    Args:
        seeds: one per scene.
        size: edge of each scene in pixels.
        workers: processes; by default one for each core that this process may use.
        listener: told of each scene that is done.

    Returns:
        float16 (len(seeds), size, size, 3), clipped to :data:`LARGEST_STORED`.

    Raises:
        EngineError: a process was killed.
    """
    pool = np.empty((len(seeds), size, size, 3), np.float16)
    workers = min(workers or cpu_threads(), max(len(seeds), 1))
    # Forked children of a process that has run OpenCV or PyTorch threads can wait for ever, so start fresh ones.
    fresh = multiprocessing.get_context("spawn")
    with (
        killed_workers_told("free some, or give this process fewer cores, as `taskset` does, and run it again"),
        safe_path(),
        ProcessPoolExecutor(workers, mp_context=fresh, initializer=_use_one_thread) as executor,
    ):
        for index, scene in enumerate(executor.map(partial(_render_half, size=size), seeds, chunksize=4)):
            pool[index] = scene
            listener(Event("scenes", index + 1, len(seeds)))
    return pool


def _use_one_thread() -> None:
    """Keep OpenCV from starting threads in every worker process."""
    cv2.setNumThreads(1)


def _render_half(seed: int, size: int) -> npt.NDArray[np.float16]:
    return np.minimum(street_scene(seed, size), LARGEST_STORED).astype(np.float16)
