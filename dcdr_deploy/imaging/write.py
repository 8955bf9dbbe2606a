"""Writing HDR pictures: the format by the suffix, whole files or none."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.errors import MissingDependency, OutputError
from dcdr_deploy.imaging.carried import NOTHING, Carried
from dcdr_deploy.imaging.light import Light
from dcdr_deploy.imaging.limits import limited
from dcdr_deploy.imaging.writers import avif, exr, hdr, heic, jpeg, jxl, png, tiff
from dcdr_deploy.imaging.writers.base import Format, Job, WriteOptions
from dcdr_deploy.system.files import atomic_path, check_writable, refuse_no_path
from dcdr_deploy.system.strips import for_strips

_WRITERS: tuple[Format, ...] = (
    exr.FORMAT,
    hdr.FORMAT,
    png.FORMAT,
    tiff.FORMAT,
    avif.FORMAT,
    jxl.FORMAT,
    heic.FORMAT,
    jpeg.FORMAT,
)
_ROUNDING = 1e-3
"""Share by which light may lie beyond a file's end and not count as cut off."""

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
"""Among them all ends of lines: what stands behind one would be another statement in some headers."""

_FORMATS: dict[str, Format] = {suffix: form for form in _WRITERS for suffix in form.suffixes}

OUTPUT_SUFFIXES: tuple[str, ...] = tuple(_FORMATS)
"""Suffixes (lower case, with the dot) that :func:`write_image` knows."""


def write_image(
    path: str | os.PathLike[str],
    linear: NDArray[np.floating[Any]],
    *,
    peak: float,
    alpha: NDArray[np.floating[Any]] | None = None,
    options: WriteOptions | None = None,
    metadata: Mapping[str, str] | None = None,
    source: Path | None = None,
    largest: float | None = None,
    carried: Carried = NOTHING,
) -> None:
    """Write one HDR picture; the suffix chooses the format, ``options.light`` primaries and curve.

    ========  ============================================================================  =====================
    suffix    stored numbers                                                                alpha
    ========  ============================================================================  =====================
    ``.exr``  value x peak: linear, 1.0 = SDR white; half or float                           channel A, premultiplied
    ``.hdr``  value x peak, RGBE with rounded mantissas                                      left out
    ``.png``  value x 65535, 16 bits, linear, above 1 clipped; or PQ or HLG                  4th sample, straight
    ``.tif``  value x 65535, 16 bits, linear, above 1 clipped; float: value x peak           4th sample, straight
    ``.avif`` PQ or HLG, 10 or 12 bits                                                       4th sample, straight
    ``.jxl``  PQ, 10 or 12 bits; or value x peak, halves                                     4th sample, straight
    ``.heic`` PQ or HLG, 10 bits                                                             4th sample, straight
    ``.jpg``  Ultra HDR: the SDR picture of ``source``, and the gain of value x peak over it  left out
    ========  ============================================================================  =====================

    Args:
        path: target. Its folders are created; an older file is replaced only when the new one is whole.
        linear: (H, W, 3) linear light in network units, 1.0 = ``peak`` x SDR white. NaN and negative values become 0,
            infinity the largest number of the format; values above 1 are kept by EXR and HDR.
        peak: linear value of 1.0 in units of SDR white, > 0.
        alpha: (H, W) in [0, 1].
        options: compression, depth, light.
        metadata: strings for the file's header, such as ``software``.
        source: file of the SDR picture, for formats that keep it.
        largest: where the light ends, in units of SDR white, which PQ and HLG roll off; ``None`` is ``peak``.
        carried: Exif, XMP and IPTC of the SDR picture; :func:`left_behind` says what the format has no place for.

    Raises:
        OutputError: unknown suffix, choices that the format cannot hold, a place that cannot be written, a full disk.
        MissingDependency: the package that writes it is not installed.
        ValueError: wrong shapes or peak (a bug of the caller).
    """
    path = Path(path)
    form = _format(path)
    job = replace(_job(path, linear, peak, alpha, options, metadata, source, largest), carried=carried)
    with atomic_path(path) as temporary:
        form.write(temporary, job)


def left_behind(path: str | os.PathLike[str], carried: Carried) -> list[str]:
    """Return sentences about metadata of a picture that the format of an output has no place for."""
    return _format(Path(path)).left_behind(carried)


def media_type(path: str | os.PathLike[str]) -> str:
    """Return what HTTP calls the format of an output, such as ``image/png``."""
    return _format(Path(path)).media_type


def without_alpha(path: str | os.PathLike[str], alpha: NDArray[np.float32] | None) -> list[str]:
    """Return a sentence where an alpha, (H, W) in [0, 1], is lost: in a format without, unless it is opaque."""
    form = _format(Path(path))
    if alpha is None or form.alpha or alpha.min() >= 1:
        return []
    return [f"{form.suffixes[0]} cannot hold transparency, which is left out"]


@dataclass(frozen=True)
class StoredLight:
    """The light that a file holds; from :func:`stored_light`."""

    _format: Format
    _job: Job

    def __call__(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return rows ``start`` to ``stop``, (rows, W, 3) in units of SDR white and in the file's primaries."""
        return self._format.held(self._job.part(start, stop))

    def cut_off(self) -> tuple[float, float]:
        """Return where the light of the file ends, in units of SDR white, and what share of the pixels is brighter.

        Only in Rec. 709 is the share exact. (infinity, 0) where light does not end.
        """
        linear = self._job.linear
        end = self._format.end(self._job)
        most = np.float32(end / self._job.peak * (1 + _ROUNDING))

        def brighter(start: int, stop: int) -> int:
            part = linear[start:stop]
            return int(np.count_nonzero((part > most).any(axis=-1))) if part.max() > most else 0

        count = 0 if math.isinf(end) else sum(for_strips(len(linear), brighter))
        return end, count / (linear.shape[0] * linear.shape[1])


def stored_light(
    path: str | os.PathLike[str],
    linear: NDArray[np.floating[Any]],
    *,
    peak: float,
    alpha: NDArray[np.floating[Any]] | None = None,
    options: WriteOptions | None = None,
    source: Path | None = None,
    largest: float | None = None,
) -> StoredLight:
    """Return the light that the file of :func:`write_image` holds for the same arguments.

    Limits, roll-off, rounding and premultiplied alpha of the format are included, what a lossy compression changes is
    left out.

    Raises:
        OutputError: unknown suffix, or choices that the format cannot hold.
        ValueError: wrong shapes or peak (a bug of the caller).
    """
    return StoredLight(_format(Path(path)), _job(Path(path), linear, peak, alpha, options, {}, source, largest))


def _job(
    path: Path,
    linear: NDArray[np.floating[Any]],
    peak: float,
    alpha: NDArray[np.floating[Any]] | None,
    options: WriteOptions | None,
    metadata: Mapping[str, str] | None,
    source: Path | None,
    largest: float | None,
) -> Job:
    """Check and bring together the arguments of :func:`write_image`."""
    pixels = np.asarray(linear)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.size == 0:
        raise ValueError(f"linear has the shape {pixels.shape}, not (H, W, 3)")
    if alpha is not None and np.shape(alpha) != pixels.shape[:2]:
        raise ValueError(f"alpha has the shape {np.shape(alpha)}, the picture {pixels.shape[:2]}")
    if not (np.isfinite(peak) and peak > 0):
        raise ValueError(f"peak is {peak}, not a positive number")
    options = options or WriteOptions()
    light = _settled(path, options)
    texts = {key: _CONTROLS.sub(" ", value) for key, value in (metadata or {}).items()}
    if light.is_delivery:
        texts |= {"referenceWhite": f"{light.reference_white:g}", "peakNits": f"{light.peak_nits:g}"}
    return Job(
        linear=pixels,
        peak=float(peak),
        alpha=None if alpha is None else limited(np.asarray(alpha), 1),
        options=options,
        light=light,
        metadata=texts,
        source=source,
        largest=float(peak if largest is None else largest),
    )


def _settled(path: Path, options: WriteOptions) -> Light:
    """The light as the path's format writes it."""
    form = _format(path)
    try:
        return form.check(options)
    except (OutputError, MissingDependency) as error:
        raise type(error)(f"{path}: {error}") from error


def write_gain_map(
    path: str | os.PathLike[str], stops: NDArray[np.float16], metadata: Mapping[str, str] | None = None
) -> None:
    """Write the gain of a restored picture over the SDR picture's light as an EXR of halves.

    Args:
        path: target; its folders are created, an older file is replaced only when the new one is whole.
        stops: (H, W, 3) log2 of the gain of each channel: 0 where nothing changed.
        metadata: strings for the file's header.

    Raises:
        OutputError: the file cannot be written.
    """
    with atomic_path(Path(path)) as temporary:
        exr.write_data(temporary, stops, metadata={**dict(metadata or {}), "content": "log2 gain over SDR light"})


def check_output(path: str | os.PathLike[str], options: WriteOptions | None = None) -> None:
    """Refuse a target that cannot work, before minutes of inference. Nothing is created.

    Raises:
        OutputError: a URL, unknown suffix, choices that the format cannot hold, a folder in the target's place, a
            parent that is a file or not writable, or a name that the system refuses.
        MissingDependency: the package that writes the format is not installed.
    """
    path = Path(path)
    refuse_no_path(path, OutputError)
    _settled(path, options or WriteOptions())
    check_writable(path)


def same_format(suffix: str, other: str) -> bool:
    """Tell whether two suffixes, in lower case, are of one output format: ``.tif`` and ``.tiff``."""
    return suffix == other or (suffix in _FORMATS and _FORMATS[suffix] is _FORMATS.get(other))


def _format(path: Path) -> Format:
    try:
        return _FORMATS[path.suffix.lower()]
    except KeyError:
        known = ", ".join(OUTPUT_SUFFIXES)
        if path.suffix:
            told = f"unknown output format {path.suffix!r}; use one of {known}, or {path}/ for a folder"
            raise OutputError(f"{path}: {told}") from None
        raise OutputError(f"{path}: the output name has no suffix; use one of {known}, or a / for a folder") from None
