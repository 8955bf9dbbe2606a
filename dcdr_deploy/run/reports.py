"""What a run says of a file, of a failure, of a folder: plain data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dcdr_deploy.errors import DcdrError, kind_of
from dcdr_deploy.modelfile.metadata import RELATIVE
from dcdr_deploy.run.recovery import Recovery
from dcdr_deploy.run.runner import RunStatistics
from dcdr_deploy.run.video.reports import VideoReport


@dataclass(frozen=True)
class Failure:
    """A file that could not be converted.

    Attributes:
        source: the input.
        error: one sentence: what was wrong and what to do.
        kind: class of the error, such as ``"InputError"``.
    """

    source: Path
    error: str
    kind: str

    @classmethod
    def of(cls, source: Path, error: DcdrError) -> Failure:
        """Return the failure that an error is to a file."""
        return cls(source, str(error), kind_of(error))

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {"input": str(self.source), "error": self.error, "kind": self.kind}


@dataclass(frozen=True)
class FileReport:
    """What became of one file.

    Attributes:
        source: the input.
        output: the HDR file written.
        preview: the preview written, ``None`` if none was asked for.
        gain_map: the gain map written, ``None`` if none was asked for.
        width, height: pixels.
        model: file name of the model, or what it calls itself where it has no file.
        backend: registry name.
        device: in words.
        seconds: time of all stages together. In a folder run the stages of neighbouring files overlap.
        stages: seconds by stage: ``"decode"``, ``"infer"``, ``"encode"``.
        statistics: ``"min"``, ``"median"``, ``"p99"``, ``"max"`` of all samples that the file holds, in
            units of SDR white.
        run: tiles, overlap, retries.
        scale: the working scale asked for.
        working_sizes: (height, width) in pixels at which the network worked, the finest first.
        dials: those that were turned, by name.
        recovery: what was recovered of what had clipped.
        notes: sentences about what the reader left out or reduced, and what is special about the network.
        colour: what the input's samples were taken for, by which statement of the file, and whether they were
            converted, such as ``"Display P3 by ICC profile, converted to sRGB"``.
        carried: which of Exif, XMP and IPTC came along.
        left_behind: sentences about what of them the output's format has no place for; the same for all such files.
        light: ``"relative"``, or ``"absolute"`` where 1.0 is 203 cd/m2.
    """

    source: Path
    output: Path
    preview: Path | None
    gain_map: Path | None
    width: int
    height: int
    model: str
    backend: str
    device: str
    seconds: float
    stages: dict[str, float]
    statistics: dict[str, float]
    run: RunStatistics
    scale: str
    working_sizes: tuple[tuple[int, int], ...]
    dials: dict[str, float]
    recovery: Recovery
    notes: tuple[str, ...] = ()
    colour: str = ""
    carried: tuple[str, ...] = ()
    left_behind: tuple[str, ...] = ()
    light: str = RELATIVE

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            "input": str(self.source),
            "output": str(self.output),
            "preview": None if self.preview is None else str(self.preview),
            "gain_map": None if self.gain_map is None else str(self.gain_map),
            "width": self.width,
            "height": self.height,
            "model": self.model,
            "backend": self.backend,
            "device": self.device,
            "seconds": self.seconds,
            "stages": dict(self.stages),
            "statistics": dict(self.statistics),
            **self.recovery.as_dict(),
            "scale": self.scale,
            "working_sizes": [list(size) for size in self.working_sizes],
            "dials": dict(self.dials),
            "tiles": self.run.tiles,
            "tile_size": list(self.run.tile_size),
            "overlap": self.run.overlap,
            "batch": self.run.batch,
            "retries": self.run.retries,
            "notes": list(self.notes),
            "colour": self.colour,
            "metadata": list(self.carried),
            "metadata_left_out": list(self.left_behind),
            "light": self.light,
        }


@dataclass(frozen=True)
class FolderReport:
    """What a folder run did.

    Attributes:
        files: what was converted, in the order in which it was finished; kept where they were asked for.
        unchanged: outputs that an earlier run had finished from the same input with the same settings.
        failures: what could not be converted.
        failures_file: where the failures are listed; ``None`` without failures.
        seconds: time of the whole run, without loading the model.
        converted: how many were converted.
    """

    files: tuple[FileReport | VideoReport, ...]
    unchanged: tuple[Path, ...]
    failures: tuple[Failure, ...]
    failures_file: Path | None
    seconds: float
    converted: int
