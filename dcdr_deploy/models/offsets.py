"""How far the deformable convolutions of given weights reach on given pictures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dcdr_deploy.models.architecture import HdrNetwork


@contextmanager
def watched_offsets(network: HdrNetwork) -> Iterator[dict[str, list[Tensor]]]:
    """Collect the offsets of every deformable block, (N, 18, h, w) a call and block, while the block is open."""
    blocks = {name: block for name, block in network.deformable_blocks().items() if block.deformable}
    seen: dict[str, list[Tensor]] = {name: [] for name in blocks}
    handles = [
        block.offset.register_forward_hook(lambda _m, _i, out, name=name: seen[name].append(out.detach()))
        for name, block in blocks.items()
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def measure_offsets(network: HdrNetwork, images: list[Tensor]) -> dict[str, dict[str, float]]:
    """Spread of the offsets of every deformable block over pictures, in pixels of the block's own scale.

    Args:
        network: in evaluation mode.
        images: SDR pictures (N, 3, H, W) in [0, 1].

    Returns:
        For each block name ``{"mean_abs", "std", "p99", "max"}`` of |offset| (``std`` of the signed offset); nothing
        for a network without such blocks.
    """
    with watched_offsets(network) as seen:
        for image in images:
            network(image)
    return {name: spread(torch.cat([p.flatten() for p in parts]).numpy(force=True)) for name, parts in seen.items()}


def spread(values: NDArray[np.floating]) -> dict[str, float]:
    """``{"mean_abs", "std", "p99", "max"}`` of one block's offsets, any shape."""
    values = values.astype(np.float32).ravel()
    ordered = np.sort(np.abs(values))
    return {
        "mean_abs": float(ordered.mean()),
        "std": float(values.std(ddof=1)),
        "p99": float(ordered[int(0.99 * (len(ordered) - 1))]),
        "max": float(ordered[-1]),
    }
