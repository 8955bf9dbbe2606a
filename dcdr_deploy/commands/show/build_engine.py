"""What ``dcdr-deploy build-engine`` shows."""

from __future__ import annotations

from typing import Any

from dcdr_deploy.building.build import BuildReport
from dcdr_deploy.commands.show.meter import BAR, ELAPSED, NAME
from dcdr_deploy.commands.show.progress import Display, stage_line
from dcdr_deploy.modelfile.sidecar import Shape, sidecar_path
from dcdr_deploy.run.selection import ModelChoice
from dcdr_deploy.system.words import number_of


def as_data(report: BuildReport) -> dict[str, Any]:
    """The report as plain data."""
    return {
        "engine": str(report.engine),
        "source": str(report.source),
        "sidecar": str(sidecar_path(report.engine)),
        "bytes": report.engine.stat().st_size,
        "reused": report.reused,
        "seconds": report.seconds,
        "layer_types": report.layer_types,
        "layer_precisions": report.layer_precisions,
        "facts": report.sidecar.as_dict(),
    }


def as_text(report: BuildReport) -> str:
    """The report for people, ending with the next command."""
    sidecar = report.sidecar
    size = report.engine.stat().st_size / 1e6
    built = "reused, as model, settings and versions are the same:" if report.reused else "wrote"
    took = "" if report.reused else f" in {report.seconds:.1f} s"
    sms = ", ".join(f"SM{sm}" for sm in sidecar.sms)
    blocks = (
        f"{number_of(sidecar.plugin_layers, 'layer')} by the plugin {sidecar.plugin}" if sidecar.plugin else "no plugin"
    )
    lines = [
        f"{built} {report.engine} ({size:.1f} MB, {sidecar.precision}){took}",
        f"  for {sms}, {sidecar.package} {sidecar.package_version}, {blocks}",
        f"  takes {_shapes(sidecar.min_shape, sidecar.max_shape)}",
    ]
    if sidecar.verified:
        lines.append(f"  compared with ONNX Runtime: PSNR {sidecar.gate['psnr']:.1f} dB")
    else:
        lines.append("  not verified: no GPU of this kind here; the first run on one compares it with ONNX Runtime")
    lines.append(f"next: dcdr-deploy run in.png out.exr --model {report.engine}")
    return "\n".join(lines)


def _shapes(smallest: Shape, largest: Shape) -> str:
    images = f"1 to {largest[0]} images" if largest[0] > 1 else "one image"
    size = f"{largest[1]}x{largest[2]}"
    if smallest[1:] != largest[1:]:
        size = f"{smallest[1]}x{smallest[2]} to {size}"
    return f"{images} of {size} a call"


def display() -> Display:
    """Show stages, with the builder's phases and time where stderr is a terminal."""
    return Display(NAME, BAR, ELAPSED, lines=stage_line)


def show_choice(shown: Display, choice: ModelChoice) -> None:
    """Show the ONNX file and the reason."""
    for sentence in choice.notes:
        shown.note(sentence)
    shown.line(f"model: {choice}")
