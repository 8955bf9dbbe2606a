"""What ``dcdr-deploy build-engine`` says at its end."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any

import click

from dcdr_deploy.building.build import BuildListener, BuildReport
from dcdr_deploy.commands.show.text import printable, with_options
from dcdr_deploy.modelfile.sidecar import Shape, sidecar_path
from dcdr_deploy.run.selection import ModelChoice


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
    blocks = f"{sidecar.plugin_layers} layers by the plugin {sidecar.plugin}" if sidecar.plugin else "no plugin"
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


class BuildConsole(BuildListener):
    """Shows a build; a context manager that takes the bar away at its end."""

    def __init__(self) -> None:
        self._progress: Any = _bar() if sys.stderr.isatty() else None
        self._task = None if self._progress is None else self._progress.add_task("", total=None)

    def __enter__(self) -> BuildConsole:
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def model_chosen(self, choice: ModelChoice) -> None:
        """Show the ONNX file and the reason."""
        for sentence in choice.notes:
            self.note(sentence)
        self._line(f"model: {choice}")

    def stage(self, name: str) -> None:
        """Name the stage; its length is not known."""
        if self._progress is None:
            self._line(f"{name} ...")
        else:
            self._progress.reset(self._task, description=name, total=None)

    def progress(self, phase: str, done: int, total: int) -> None:
        """Move the bar; without one phases go by in silence, as there are hundreds."""
        if self._progress is not None:
            self._progress.update(self._task, description=phase, completed=done, total=max(total, 1))

    def note(self, sentence: str) -> None:
        """Show a sentence."""
        self._line(f"note: {with_options(sentence)}")

    def _line(self, text: str) -> None:
        if self._progress is None:
            click.echo(printable(text), err=True)
        else:  # rich puts it above the bar
            self._progress.console.print(printable(text), markup=False, highlight=False, soft_wrap=True)


def _bar() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=False,  # would send results to stderr
        redirect_stderr=False,
    )
