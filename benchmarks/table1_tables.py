"""The paper's Table 1 as it was printed, and ours beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from table1_judging import CURVES, PAPERS, SETS, Figures, metric
from text_tables import markdown, spread


@dataclass(frozen=True)
class Row:
    """A network of the paper's Table 1.

    Attributes:
        title: as the paper names it.
        paper: figures by set, in the order of :data:`~table1_judging.PAPERS`: PSNR-L, PSNR-mu, SSIM, LPIPS, HDR-VDP-2.
        parameters: as the paper counts them.
    """

    title: str
    paper: Mapping[str, tuple[float, float, float, float, float]]
    parameters: str


def _row(title: str, parameters: str, *paper: float) -> Row:
    a, b, c, d, e, f, g, h, i, j = paper
    return Row(title, {"all": (a, b, c, d, e), "over": (f, g, h, i, j)}, parameters)


ROWS: Mapping[str, Row] = {
    "hdrcnn": _row("HDRCNN", "27.8M", 47.69, 48.15, 0.9973, 0.0057, 62.73, 40.64, 43.40, 0.9930, 0.0121, 59.40),
    "singlehdr": _row("SingleHDR", "61.0M", 39.97, 39.57, 0.9937, 0.0077, 64.80, 34.63, 37.36, 0.9890, 0.0146, 61.10),
    "fhdr": _row("FHDR", "0.6M", 46.54, 46.84, 0.9963, 0.0046, 66.58, 37.96, 40.57, 0.9905, 0.0113, 61.45),
    "hdrtvnet": _row("HDRTV", "37.2M", 49.36, 50.77, 0.9975, 0.0037, 67.75, 39.74, 43.16, 0.9935, 0.0097, 62.71),
    "kunet": _row("KUNet", "1.1M", 48.03, 49.43, 0.9975, 0.0043, 64.82, 38.87, 42.11, 0.9935, 0.0106, 59.98),
    "hdrunet": _row("HDRUNET", "1.7M", 50.41, 52.00, 0.9980, 0.0036, 65.47, 40.78, 44.29, 0.9945, 0.0095, 60.87),
    "paper": _row("DCDR-UNet", "1.5M", 52.47, 54.71, 0.9985, 0.0026, 68.68, 43.25, 47.09, 0.9959, 0.0072, 63.43),
}
"""Rows by preset, in the paper's order."""

HEADS = {
    "psnr-l": "PSNR-L",
    "psnr-mu10": "PSNR-mu",
    "ssim-l": "SSIM",
    "lpips-alex-l": "LPIPS",
    "hdrvdp2-q": "HDR-VDP-2",
    "pu21-psnr": "PU21-PSNR",
    "delta-itp": "delta ITP",
    "delta-uv": "delta u'v'",
}
"""Heads of columns by metric."""

Runs = Mapping[str, Mapping[int, Mapping[str, float | str]]]
"""What is known of finished runs, by preset and seed."""

Speeds = Mapping[str, Mapping[str, float | str]]


def macs_per_pixel(preset: str) -> float:
    """Multiplications of one forward pass for each pixel of the picture; offsets count, sampling does not."""
    import torch  # here, for who wants names and rows alone
    from torch.utils.flop_counter import FlopCounterMode

    from dcdr_deploy.models import build_network, find_preset

    with torch.device("meta"):
        network = build_network(find_preset(preset)).eval()
    network.set_deform_mode("gather")
    picture = torch.empty(1, 3, 256, 256, device="meta")
    with FlopCounterMode(display=False) as counter:
        network(picture)
    return float(counter.get_total_flops()) / 2 / (256 * 256)


def tables(runs: Runs, speeds: Speeds, baseline: Figures, names: Sequence[str]) -> str:
    """Markdown: each set, as it is and behind a fitted curve, with the paper's figures beside; then what each costs.

    Args:
        runs: figures of runs, with ``parameters``, ``step`` and ``note``.
        speeds: milliseconds, memory and tiles of a frame, by preset.
        baseline: figures of inverse sRGB.
        names: metrics that were computed.
    """
    parts = [_quality(name, curve, runs, baseline, names) for name in SETS for curve in CURVES]
    return "\n\n".join([*parts, _costs(runs, speeds)])


def _quality(name: str, curve: str, runs: Runs, baseline: Figures, names: Sequence[str]) -> str:
    """One set's figures, mean and standard deviation over seeds, with the paper's in the last columns."""
    keys = {f"{name}_{each}{curve}": metric(each).digits for each in names}
    head = [f"{SETS[name]}, {CURVES[curve]}", "seeds", *(HEADS[each] for each in names)]
    head += [f"paper {HEADS[each]}" for each in PAPERS]
    first = ["inverse sRGB", "", *(f"{baseline[key]:.{digits}f}" for key, digits in keys.items())]
    rows = [head, [*first, *([""] * len(PAPERS))]]
    for preset, found in runs.items():
        ours = [spread([float(run[key]) for run in found.values()], digits) for key, digits in keys.items()]
        theirs = [f"{v:.{metric(each).digits}f}" for v, each in zip(ROWS[preset].paper[name], PAPERS, strict=True)]
        rows.append([ROWS[preset].title, str(len(found)), *ours, *theirs])
    return markdown(rows)


def _costs(runs: Runs, speeds: Speeds) -> str:
    rows = [["network", "parameters", "paper's count", "MAC a pixel", "steps", "ms a frame", "GiB", "tiles", "note"]]
    for preset, found in runs.items():
        measured = speeds.get(preset, {})
        memory = measured.get("memory")
        cells = [ROWS[preset].title, f"{next(iter(found.values()))['parameters']:,.0f}", ROWS[preset].parameters]
        cells += [f"{macs_per_pixel(preset):,.0f}", ", ".join(sorted({f"{run['step']:,}" for run in found.values()}))]
        cells += [str(measured.get("milliseconds", "")), "" if memory is None else f"{float(memory) / 2**30:.2f}"]
        notes = [str(run["note"]) for run in found.values() if run["note"]] + [str(measured.get("note", ""))]
        rows.append([*cells, str(measured.get("tiles", "")), "; ".join(filter(None, notes))])
    return markdown(rows)
