"""Tables of working_scale.py's figures, and which of its targets each candidate keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from scale_candidates import NATIVE, doubted_name
from text_tables import markdown

from dcdr_deploy.metrics.psnr import psnr_from_mse
from dcdr_deploy.run.gain import LOWER_SHARE
from dcdr_deploy.run.working_scale import AUTO, working_sizes

NATIVE_NETWORK = "native network"
"""The network at every pixel, its result as it is: what the others are measured against."""

SAME = 0.005
"""Decibels that count as none."""

Row = dict[str, Any]


class Score(Protocol):
    """Sums over one picture, see working_scale.py."""

    errors: dict[str, list[float]]
    counts: tuple[int, int, int]


def rule_for(size: tuple[int, int]) -> str:
    """The candidate that the automatic working scale takes for a picture (height, width)."""
    own = max(size)
    fine, *coarse = (NATIVE if max(each) == own else max(each) for each in working_sizes(*size, AUTO))
    return doubted_name(coarse[0], fine, LOWER_SHARE) if coarse else "native"


def table(scores: Sequence[Score], size: str) -> list[Row]:
    """One row a candidate that every picture has, in their order: gains over the conversion, which is the first."""
    names = [name for name in scores[0].errors if all(name in score.errors for score in scores)]
    sums = np.array([[score.errors[name] for name in names] for score in scores])  # pictures, candidates, parts
    counts = np.array([score.counts for score in scores], np.float64)
    whole = (sums[..., 0] + sums[..., 1]) / np.maximum(counts[:, :2].sum(1, keepdims=True), 1)
    gains = 10 * np.log10(np.maximum(whole[:, :1], 1e-12) / np.maximum(whole, 1e-12))
    pooled = [
        [psnr_from_mse(float(value)) for value in sums[..., part].sum(0) / max(counts[:, part].sum(), 1)]
        for part in (0, 1)
    ]
    casts = sums[..., 2].sum(0) / max(counts[:, 2].sum(), 1)
    return [
        {
            "size": size,
            "name": name,
            "clipped": pooled[0][index] - pooled[0][0],
            "unclipped": pooled[1][index] - pooled[1][0],
            "median": float(np.median(gains[:, index])),
            "tenth": float(np.percentile(gains[:, index], 10)),
            "worst": float(gains[:, index].min()),
            "uv": float(casts[index]),
        }
        for index, name in enumerate(names)
    ]


def show(rows: Sequence[Row], count: int) -> None:
    """Print a table; what ``run`` does by itself in bold."""
    size = rows[0]["size"]
    gains = ("clipped", "unclipped", "median", "tenth", "worst")
    cells = [["candidate", *gains, "u'v'"]]
    for row in rows:
        name = f"**{row['name']}**" if row["name"] == AUTO else row["name"]
        cells.append([name, *(f"{row[key]:+.2f}" for key in gains), f"{row['uv']:.4f}"])
    print(f"\n{size}: {count} pictures\n\n{markdown(cells)}", flush=True)


def missed(row: Row, native: Row, size: int) -> list[str]:
    """What a candidate misses of the targets at a size, in words, against the native network.

    At 768 and 1536 px: median 1.0 dB above, pooled on clipped pixels not below, worst 3 dB milder; at 256 px nothing
    lost, by 0.1 dB; unclipped pixels nowhere less exact.
    """
    least = {256: {"clipped": -0.1, "median": -0.1}}.get(size, {"median": 1.0, "clipped": 0.0, "worst": 3.0})
    found = {key: row[key] - native[key] for key in ("clipped", "median", "worst", "unclipped")}
    return [
        f"{key} {found[key]:+.2f}" for key, bound in {**least, "unclipped": 0.0}.items() if found[key] < bound - SAME
    ]


TARGET_SIZES = (256, 768, 1536)


def show_targets(tables: Mapping[str, Sequence[Row]]) -> None:
    """Print what each candidate misses at the sizes that have targets, as differences from the native network."""
    for size in TARGET_SIZES:
        rows = {row["name"]: row for row in tables.get(f"{size} px", ())}
        if NATIVE_NETWORK not in rows:
            continue
        native = rows.pop(NATIVE_NETWORK)
        rows.pop("conversion", None)
        gains = ("median", "clipped", "worst")
        cells = [["candidate", *gains, "missed"]]
        for name, row in rows.items():
            against = (f"{row[key] - native[key]:+.2f}" for key in gains)
            cells.append([name, *against, ", ".join(missed(row, native, size)) or "nothing"])
        print(f"\n{size} px: against the native network\n\n{markdown(cells)}", flush=True)
