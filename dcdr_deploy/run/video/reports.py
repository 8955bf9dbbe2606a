"""What a run says of a video: plain data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dcdr_deploy.run.recovery import Recovery


@dataclass(frozen=True)
class VideoReport:
    """What became of one video.

    Attributes:
        source: the input.
        output: the file written, or the pattern of the pictures' names.
        width, height: pixels.
        frames: that were written in all.
        fresh: of these, those that this run wrote; the others an earlier one had.
        repeated: those that were the same as the one before and were not computed.
        lost: seconds from the first frame on of frames that could not be decoded; ``None`` where that is not known.
        codec: in words.
        encoder: FFmpeg's name; empty for pictures.
        transfer: ``"pq"``, ``"hlg"`` or ``"linear"``; empty where the pictures' format decides.
        max_cll, max_fall: of the brightest frame each, whole cd/m2; ``None`` where frames were written as pictures.
        model: file name of the model, or what it calls itself where it has no file.
        backend: registry name.
        device: in words.
        seconds: time of this run.
        stages: seconds by stage: ``"decode"``, ``"infer"``, ``"light"``, ``"encode"``; they overlap.
        scale: the working scale asked for.
        dials: those that were turned, by name.
        recovery: what was recovered of what had clipped.
        notes: sentences about what was taken for want of better, left out or missing.
        colour: what the input's samples were taken for.
    """

    source: Path
    output: Path
    width: int
    height: int
    frames: int
    fresh: int
    repeated: int
    lost: tuple[float | None, ...]
    codec: str
    encoder: str
    transfer: str
    max_cll: int | None
    max_fall: int | None
    model: str
    backend: str
    device: str
    seconds: float
    stages: dict[str, float]
    scale: str
    dials: dict[str, float]
    recovery: Recovery
    notes: tuple[str, ...] = ()
    colour: str = ""

    @property
    def fps(self) -> float:
        """Frames a second of this run."""
        return self.fresh / self.seconds if self.seconds else 0.0

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        names = ("width", "height", "frames", "fresh", "repeated", "codec", "encoder", "transfer")
        more = ("max_cll", "max_fall", "model", "backend", "device", "seconds", "scale", "colour")
        return {
            "input": str(self.source),
            "output": str(self.output),
            **{name: getattr(self, name) for name in (*names, *more)},
            "fps": round(self.fps, 3),
            "lost": list(self.lost),
            "stages": dict(self.stages),
            "dials": dict(self.dials),
            "notes": list(self.notes),
            **self.recovery.as_dict(),
        }
