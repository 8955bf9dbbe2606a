"""One picture in, one HDR file out: the three stages decode, infer and encode, and the function that runs them."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy._version import __version__
from dcdr_deploy.engines.base import EngineInfo
from dcdr_deploy.errors import DcdrError, OutputError
from dcdr_deploy.imaging.frame import Frame
from dcdr_deploy.imaging.preview import write_preview
from dcdr_deploy.imaging.read import read_image
from dcdr_deploy.imaging.statistics import white_units_summary
from dcdr_deploy.imaging.write import write_image
from dcdr_deploy.run.events import SILENT, Listener
from dcdr_deploy.run.opening import DEFAULT_SETTINGS, RunnerSettings, runner_or_default
from dcdr_deploy.run.outputs import DEFAULT_OPTIONS, ConvertOptions, check_target, output_path, preview_path
from dcdr_deploy.run.reports import FileReport
from dcdr_deploy.run.runner import Progress, Runner, RunStatistics


@dataclass(frozen=True)
class Decoded:
    """A picture that was read, with the seconds it took."""

    source: Path
    frame: Frame
    seconds: float


@dataclass(frozen=True)
class Inferred:
    """A picture that went through the network; holds the result and what the writer needs, no longer the input.

    Attributes:
        source: the input file.
        linear: (H, W, 3) float32 in network units.
        alpha: (H, W) float32 in [0, 1], or ``None``.
        notes: of the reader.
        colour: what the reader took the samples for.
        info: the engine.
        run: what the runner took.
        stages: seconds so far.
    """

    source: Path
    linear: NDArray[np.float32]
    alpha: NDArray[np.float32] | None
    notes: tuple[str, ...]
    colour: str
    info: EngineInfo
    run: RunStatistics
    stages: dict[str, float]

    @property
    def pixels(self) -> int:
        """Height x width."""
        return self.linear.shape[0] * self.linear.shape[1]


def convert_file(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    runner: Runner | None = None,
    options: ConvertOptions = DEFAULT_OPTIONS,
    *,
    model: str | os.PathLike[str] | None = None,
    settings: RunnerSettings = DEFAULT_SETTINGS,
    listener: Listener = SILENT,
) -> FileReport:
    """Convert one SDR picture into one HDR file.

    Target and input are checked before a model is loaded. An older target is replaced once the new file is whole.

    Args:
        source: PNG, JPEG, WebP, TIFF or BMP.
        target: the file to write, whose suffix chooses the format; or a folder (one that exists, or a name that ends
            in a slash), which gets ``<name of source>.<options.format>``.
        runner: an open runner, for several calls with one model.
        options: what is written.
        model: without a runner: the model to load; ``None`` for the file name rule (selection.py).
        settings: without a runner: backend, device, tiles.
        listener: told of progress.

    Raises:
        InputError: the picture cannot be read, or would be overwritten by its own output.
        OutputError: the target cannot be written.
        ModelError, CheckpointError, MissingDependency, EngineError: the model cannot be loaded or run.
        TypeError: a runner and a model, or settings, were both given.
    """
    source = Path(source)
    output = output_path(source, target, options)
    check_target(source, output, options)
    decoded = decode(source)
    listener.files_found(1, ())
    with runner_or_default(runner, model, settings, listener) as opened:
        listener.file_begun(source)
        inferred = infer(decoded, opened, listener.tiles_done)
        del decoded
        report = encode(inferred, output, options)
    listener.file_converted(report)
    return report


def decode(source: Path) -> Decoded:
    """Read a picture.

    Raises:
        InputError: it cannot be read.
    """
    started = time.perf_counter()
    frame = read_image(source)
    return Decoded(source, frame, time.perf_counter() - started)


def infer(decoded: Decoded, runner: Runner, progress: Progress | None = None) -> Inferred:
    """Run the network over a picture.

    Raises:
        DcdrError: as :meth:`Runner.run`, with the picture's name in front.
    """
    started = time.perf_counter()
    try:
        linear = runner.run(decoded.frame, progress)
    except DcdrError as error:
        raise type(error)(f"{decoded.source}: {error}") from error
    return Inferred(
        source=decoded.source,
        linear=linear,
        alpha=decoded.frame.alpha,
        notes=tuple(decoded.frame.metadata.get("notes", ())),
        colour=str(decoded.frame.metadata.get("colour", "")),
        info=runner.engine.info,
        run=runner.statistics,
        stages={"decode": decoded.seconds, "infer": time.perf_counter() - started},
    )


def encode(inferred: Inferred, output: Path, options: ConvertOptions = DEFAULT_OPTIONS) -> FileReport:
    """Write the result, and its preview, and describe both.

    Raises:
        OutputError: a file cannot be written, or there is no memory to encode it.
    """
    started = time.perf_counter()
    info, linear, peak = inferred.info, inferred.linear, inferred.info.metadata.peak
    preview = preview_path(output) if options.preview else None
    try:
        write_image(
            output,
            linear,
            peak=peak,
            alpha=inferred.alpha,
            options=options.write,
            metadata=file_metadata(inferred.source, info),
        )
        if preview is not None:
            write_preview(preview, linear, peak)
        statistics = white_units_summary(linear, peak)
    except MemoryError as error:
        raise OutputError(f"{output}: there is no memory to encode it; close other programs") from error
    stages = {**inferred.stages, "encode": time.perf_counter() - started}
    return FileReport(
        source=inferred.source,
        output=output,
        preview=preview,
        width=linear.shape[1],
        height=linear.shape[0],
        model=info.metadata.name if info.model is None else info.model.name,
        backend=info.backend,
        device=info.device,
        seconds=sum(stages.values()),
        stages=stages,
        statistics=statistics,
        run=inferred.run,
        notes=inferred.notes,
        colour=inferred.colour,
    )


def file_metadata(source: Path, info: EngineInfo) -> dict[str, str]:
    """Return the strings for an output's header: what made it, from which file, and its scale.

    ``peak`` is the linear value of a stored 1.0 (65535 in integer formats) of the network's range, in units of SDR
    white; EXR and HDR files are multiplied by it already.
    """
    stored = {
        "software": f"dcdr-deploy {__version__}",
        "model": info.metadata.name,
        "weightsSha256": info.metadata.extra.get("weights_sha256", ""),
        "peak": f"{info.metadata.peak:g}",
        "source": source.name,
    }
    return {key: _header_text(value) for key, value in stored.items() if value}


def _header_text(text: str) -> str:
    """Make any file name fit for a header: valid UTF-8, one line."""
    valid = text.encode("utf-8", "replace").decode("utf-8")
    return "".join(character if character.isprintable() else "?" for character in valid)
