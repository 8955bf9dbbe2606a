"""What ``dcdr-deploy export`` says at its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dcdr_deploy.export.checkpoint import ExportReport


def as_data(report: ExportReport) -> dict[str, Any]:
    """The report as plain data."""
    return {
        "path": str(report.path),
        "bytes": report.path.stat().st_size,
        "peak": report.metadata.peak,
        "light": report.metadata.light,
        "output": report.metadata.output,
        "overlap": report.metadata.overlap,
        "network": report.metadata.extra["network"],
        "precision": report.metadata.extra["precision"],
        "verified": [
            {"size": list(each.size), "max_abs_error": each.max_abs_error, "psnr": each.psnr}
            for each in report.comparisons
        ],
    }


def as_text(report: ExportReport) -> str:
    """The report for people, ending with the next command."""
    metadata = report.metadata
    size = report.path.stat().st_size / 1e6
    lines = [f"wrote {report.path} ({size:.1f} MB, {metadata.extra['precision']})"]
    for each in report.comparisons:
        height, width = each.size
        lines.append(
            f"  {width}x{height} against torch: max abs error {each.max_abs_error:.1e}, PSNR {each.psnr:.1f} dB"
        )
    if not report.comparisons:
        lines.append("  not verified (--no-verify)")
    if report.comparisons and metadata.extra["precision"] == "fp16":
        lines.append("  note: the CPU computes FP16 files in FP32; this checks weights and types, not rounding")
    lines.append(f"  peak {metadata.peak:g} x SDR white, {metadata.light} light, overlap {metadata.overlap} px")
    if metadata.sees_whole_picture:
        lines.append("  note: the network looks at the whole picture; in tiles its result is another one")
    if report.encoding_assumed is not None:
        lines.append(
            f"  note: the checkpoint does not say how its output is encoded; it is taken as {report.encoding_assumed}, "
            "as the published weights need; --output-encoding sets it (linear for weights trained on linear light)"
        )
    if report.peak_assumed:
        lines.append("  note: the checkpoint names no peak, so 1.0 of the output is taken as SDR white; --peak sets it")
    lines.append(f"next: dcdr-deploy run in.png out.exr --model {report.path}")
    return "\n".join(lines)
