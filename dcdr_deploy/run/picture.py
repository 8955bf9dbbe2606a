"""What happens to one picture: it is decoded, goes through the network, and is encoded."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.engines.base import EngineInfo
from dcdr_deploy.errors import DcdrError, OutputError
from dcdr_deploy.imaging.carried import STRIPPED, Carried, carry
from dcdr_deploy.imaging.frame import Frame, Kept
from dcdr_deploy.imaging.preview import write_preview
from dcdr_deploy.imaging.read import read_image
from dcdr_deploy.imaging.statistics import light_summary
from dcdr_deploy.imaging.write import StoredLight, left_behind, stored_light, without_alpha, write_gain_map, write_image
from dcdr_deploy.run.described import cut_note, file_metadata, network_notes, recovery_notes
from dcdr_deploy.run.outputs import DEFAULT_OPTIONS, ConvertOptions, preview_path
from dcdr_deploy.run.preprocessing import NetworkInput
from dcdr_deploy.run.preprocessing import prepare as prepare_restoring
from dcdr_deploy.run.reports import FileReport
from dcdr_deploy.run.restore import NetworkResult, Restored
from dcdr_deploy.run.restore import begin as begin_restoring
from dcdr_deploy.run.runner import Runner
from dcdr_deploy.run.wrap import restore_panorama
from dcdr_deploy.system.files import refuse_pipe, vanished
from dcdr_deploy.system.progress import Listener, silent


@dataclass(frozen=True)
class Decoded:
    """A picture that was read.

    Attributes:
        source: the input file.
        frame: what it holds.
        seconds: that reading took.
        ready: what is made of it before the network sees it; ``None`` where :func:`begin` is to do that.
        preparing: seconds that this took.
    """

    source: Path
    frame: Frame
    seconds: float
    ready: NetworkInput | None = None
    preparing: float = 0.0


@dataclass(frozen=True)
class Inferred:
    """A picture that went through the network, with what the writer needs.

    Attributes:
        source: the input file.
        size: (height, width) in pixels.
        found: by the network; what is left is done where the picture is written.
        alpha: (H, W) float32 in [0, 1], or ``None``.
        notes: of the reader.
        colour: what the reader took the samples for.
        info: the engine.
        stages: seconds so far.
        kept: Exif, XMP and IPTC of the input.
    """

    source: Path
    size: tuple[int, int]
    found: NetworkResult
    alpha: NDArray[np.float32] | None
    notes: tuple[str, ...]
    colour: str
    info: EngineInfo
    stages: dict[str, float]
    kept: Kept = field(default_factory=Kept)

    @property
    def pixels(self) -> int:
        """Height x width."""
        return self.size[0] * self.size[1]


def decode(source: Path) -> Decoded:
    """Read a picture.

    Raises:
        InputError: it cannot be read, or is a pipe: a picture is read several times, to know it again and to keep it.
    """
    started = time.perf_counter()
    refuse_pipe(source)
    frame = read_image(source)
    return Decoded(source, frame, time.perf_counter() - started)


def prepare(decoded: Decoded, options: ConvertOptions = DEFAULT_OPTIONS) -> Decoded:
    """Do what :func:`begin` would do before it needs the engine: on any thread, of several pictures at a time.

    Raises:
        DcdrError: as :func:`infer`.
    """
    if options.wrap:  # the network sees two other pictures
        return decoded
    started = time.perf_counter()
    with _naming(decoded.source):
        ready = prepare_restoring(decoded.frame, options.scale, options.dials)
    return replace(decoded, ready=ready, preparing=time.perf_counter() - started)


def infer(
    decoded: Decoded,
    runner: Runner,
    options: ConvertOptions = DEFAULT_OPTIONS,
    listener: Listener = silent,
) -> Inferred:
    """Run the network over a picture.

    Raises:
        DcdrError: as :func:`dcdr_deploy.run.restore.restore`, with the picture's name in front.
    """
    return begin(decoded, runner, options, listener)()


def begin(
    decoded: Decoded,
    runner: Runner,
    options: ConvertOptions = DEFAULT_OPTIONS,
    listener: Listener = silent,
) -> Callable[[], Inferred]:
    """Begin what :func:`infer` does; what is returned waits for the rest.

    Raises:
        DcdrError: as :func:`infer`; so does what is returned.
    """
    started = time.perf_counter()
    frame, source = decoded.frame, decoded.source
    size = frame.pixels.shape[0], frame.pixels.shape[1]
    seconds, preparing = decoded.seconds, decoded.preparing
    wishes: dict[str, Any] = {
        "keep_gain": options.gain_map is not None,
        "listener": listener,
    }
    with _naming(source):
        finish: Callable[[], NetworkResult]
        if options.wrap:
            whole = restore_panorama(frame, runner, options.scale, options.dials, **wishes)
            finish = functools.partial(NetworkResult, size, whole.run, lambda steady: whole)
        else:
            finish = begin_restoring(decoded.ready or frame, runner, options.scale, options.dials, **wishes)

    def finished() -> Inferred:
        with _naming(source):
            found = finish()
        return Inferred(
            source=source,
            size=size,
            found=found,
            alpha=frame.alpha,
            notes=(*frame.metadata.get("notes", ()), *network_notes(runner.engine.info, found.run)),
            colour=str(frame.metadata.get("colour", "")),
            info=runner.engine.info,
            stages={"decode": seconds, "infer": preparing + time.perf_counter() - started},
            kept=frame.kept,
        )

    return finished


@contextmanager
def _naming(source: Path) -> Iterator[None]:
    """Put a picture's name in front of what goes wrong with it."""
    try:
        yield
    except DcdrError as error:
        raise type(error)(f"{source}: {error}") from error


def encode(
    inferred: Inferred, output: Path, options: ConvertOptions = DEFAULT_OPTIONS, gain_map: Path | None = None
) -> FileReport:
    """Put on what the network found, write the result, its preview and its gain map, and describe them.

    Args:
        inferred: the result.
        output: the file to write.
        options: what is written.
        gain_map: where the gain goes that was kept.

    Raises:
        OutputError: a file cannot be written, or there is no memory to encode it.
    """
    started = time.perf_counter()
    with _naming(inferred.source):
        restored = inferred.found.put_on()
    put_on = time.perf_counter() - started
    info, linear = inferred.info, restored.linear
    metadata = file_metadata(inferred.source, info, options, restored)
    preview = preview_path(output) if options.preview else None
    damaged: list[str] = []
    carried = STRIPPED
    if not options.strip:
        carried, damaged = carry(inferred.kept, (linear.shape[1], linear.shape[0]), metadata["software"])
    try:
        held = _write(inferred, restored, output, options, metadata, carried)
        if gain_map is not None and restored.gain_stops is not None:
            write_gain_map(gain_map, restored.gain_stops, metadata)
        if preview is not None:
            write_preview(preview, linear, info.metadata.peak)
        statistics = light_summary(len(linear), held)
        cut = cut_note(*held.cut_off())
    except MemoryError as error:
        raise OutputError(f"{output}: there is no memory to encode it; close other programs") from error
    for path in (output, gain_map, preview):
        if path is not None and not os.path.lexists(path):
            raise vanished(path.parent)
    stages = {
        **inferred.stages,
        "infer": inferred.stages["infer"] + put_on,
        "encode": time.perf_counter() - started - put_on,
    }
    return FileReport(
        source=inferred.source,
        output=output,
        preview=preview,
        gain_map=gain_map,
        width=linear.shape[1],
        height=linear.shape[0],
        model=info.metadata.name if info.model is None else info.model.name,
        backend=info.backend,
        device=info.device,
        seconds=sum(stages.values()),
        stages=stages,
        statistics=statistics,
        run=restored.run,
        scale=str(options.scale),
        working_sizes=restored.working_sizes,
        dials=options.dials.turned(),
        recovery=restored.recovery,
        notes=(
            *inferred.notes,
            *recovery_notes(info, restored.recovery, options.dials),
            *cut,
            *without_alpha(output, inferred.alpha),
            *damaged,
        ),
        colour=inferred.colour,
        carried=carried.kinds,
        left_behind=tuple(left_behind(output, carried)),
        light=info.metadata.light,
    )


def _write(
    inferred: Inferred,
    restored: Restored,
    output: Path,
    options: ConvertOptions,
    metadata: dict[str, str],
    carried: Carried,
) -> StoredLight:
    """Write a result; return the light that its file holds."""
    peak = inferred.info.metadata.peak
    given: dict[str, Any] = {
        "peak": peak,
        "alpha": inferred.alpha,
        "options": options.write,
        "source": inferred.source,
        "largest": peak * 2**options.dials.exposure,
    }
    write_image(output, restored.linear, metadata=metadata, carried=carried, **given)
    return stored_light(output, restored.linear, **given)
