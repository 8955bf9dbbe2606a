"""Writing HDR pictures: the format by the suffix, whole files or none.

What lies outside of the network's range is decided here alone. Below 0 becomes 0: there is no negative light. Above the
peak is kept where the format can hold it (EXR, HDR), since a network overshoots on the brightest lights and
``--exposure`` raises all; 16-bit integers end at the peak. :func:`stored_light` gives what a file holds.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.errors import InputError, OutputError
from dcdr_deploy.imaging import exr, integer16, radiance
from dcdr_deploy.system.files import atomic_path, refuse_url


@dataclass(frozen=True)
class WriteOptions:
    """What a user may choose about the output.

    Attributes:
        exr_compression: ``"zip"``, ``"piz"``, ``"dwaa"`` (lossy) or ``"none"``.
        float32: 32-bit floats instead of halves in EXR.

    Raises:
        InputError: an unknown compression.
    """

    exr_compression: str = "zip"
    float32: bool = False

    def __post_init__(self) -> None:
        if self.exr_compression not in exr.COMPRESSIONS:
            raise InputError(
                f"unknown EXR compression {self.exr_compression!r}; choose one of {', '.join(exr.COMPRESSIONS)}"
            )


_ROWS_AT_ONCE = 64  # keeps the float copies of a large picture small


@dataclass(frozen=True)
class _Job:
    """One picture on its way into one file; ``linear`` in network units, as it was given."""

    linear: NDArray[np.floating[Any]]
    peak: float
    alpha: NDArray[np.float32] | None
    options: WriteOptions
    metadata: dict[str, str]

    def scene(self, largest: float, kind: type[np.floating[Any]] = np.float32) -> NDArray[Any]:
        """(H, W, 3) in units of SDR white, at most ``largest``; no NaN, nothing negative.

        Made a few rows at a time: a large picture has no room for copies that only lead from one to the next.
        """
        scene = np.empty(self.linear.shape, kind)
        for row in range(0, len(scene), _ROWS_AT_ONCE):
            block = slice(row, row + _ROWS_AT_ONCE)
            scene[block] = np.minimum(_not_negative(self.linear[block]) * np.float32(self.peak), np.float32(largest))
        return scene

    def pieces(self) -> Iterator[_Job]:
        """A few rows at a time."""
        for row in range(0, len(self.linear), _ROWS_AT_ONCE):
            block = slice(row, row + _ROWS_AT_ONCE)
            alpha = None if self.alpha is None else self.alpha[block]
            yield replace(self, linear=self.linear[block], alpha=alpha)


def _exr_scene(job: _Job) -> NDArray[Any]:
    if job.options.float32:
        return job.scene(float(np.finfo(np.float32).max))
    return job.scene(exr.HALF_MAX, np.float16)


def _exr(path: Path, job: _Job) -> None:
    exr.write_exr(
        path,
        _exr_scene(job),
        alpha=job.alpha,
        compression=job.options.exr_compression,
        float32=job.options.float32,
        metadata=job.metadata,
    )


def _exr_light(job: _Job) -> NDArray[np.float32]:
    samples = exr.stored_samples(_exr_scene(job), job.alpha, float32=job.options.float32)
    return samples[..., :3].astype(np.float32)


def _hdr(path: Path, job: _Job) -> None:
    radiance.write_radiance(path, job.scene(radiance.RGBE_MAX), metadata=job.metadata)


def _hdr_light(job: _Job) -> NDArray[np.float32]:
    return radiance.decode_rgbe(radiance.encode_rgbe(job.scene(radiance.RGBE_MAX)))


def _png(path: Path, job: _Job) -> None:
    integer16.write_png16(path, job.linear, alpha=job.alpha, metadata=job.metadata)


def _tiff(path: Path, job: _Job) -> None:
    integer16.write_tiff16(path, job.linear, alpha=job.alpha, metadata=job.metadata)


def _integer_light(job: _Job) -> NDArray[np.float32]:
    return integer16.to_codes(job.linear, None) * np.float32(job.peak / 65535)


@dataclass(frozen=True)
class _Format:
    """``write`` makes the file; ``light`` gives, in units of SDR white, what that file holds."""

    write: Callable[[Path, _Job], None]
    light: Callable[[_Job], NDArray[np.float32]]


_FORMATS: dict[str, _Format] = {
    ".exr": _Format(_exr, _exr_light),
    ".hdr": _Format(_hdr, _hdr_light),
    ".png": _Format(_png, _integer_light),
    ".tif": _Format(_tiff, _integer_light),
    ".tiff": _Format(_tiff, _integer_light),
}

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
) -> None:
    """Write one HDR picture; the suffix chooses the format.

    ========  ============================================================================  =====================
    suffix    stored numbers                                                                alpha
    ========  ============================================================================  =====================
    ``.exr``  value x peak: scene-linear Rec. 709/D65, 1.0 = SDR white; half or float        channel A, premultiplied
    ``.hdr``  value x peak, RGBE with rounded mantissas                                      left out
    ``.png``  value x 65535, 16 bits, linear; above 1 clipped                                4th sample, straight
    ``.tif``  as ``.png``                                                                    4th sample, straight
    ========  ============================================================================  =====================

    Args:
        path: target. Its folders are created; an older file is replaced only when the new one is whole.
        linear: (H, W, 3) linear light in network units, 1.0 = ``peak`` x SDR white. NaN and negative values become 0,
            infinity the largest number of the format; values above 1 are kept by EXR and HDR.
        peak: linear value of 1.0 in units of SDR white, > 0.
        alpha: (H, W) in [0, 1].
        options: compression and depth of EXR.
        metadata: strings for the file's header, such as ``software``.

    Raises:
        OutputError: unknown suffix, a place that cannot be written, a full disk.
        ValueError: wrong shapes or peak (a bug of the caller).
    """
    path = Path(path)
    job = _job(linear, peak, alpha, options, metadata)
    form = _format(path)
    with atomic_path(path) as temporary:
        form.write(temporary, job)


def stored_light(
    path: str | os.PathLike[str],
    linear: NDArray[np.floating[Any]],
    *,
    peak: float,
    alpha: NDArray[np.floating[Any]] | None = None,
    options: WriteOptions | None = None,
) -> Iterator[NDArray[np.float32]]:
    """Give the light that the file of :func:`write_image` holds for the same arguments, a few rows at a time.

    Yields:
        (rows, W, 3) in units of SDR white: limits, rounding and premultiplied alpha of the format included, what the
        lossy compression ``dwaa`` changes left out.

    Raises:
        OutputError: unknown suffix.
        ValueError: wrong shapes or peak (a bug of the caller).
    """
    light = _format(Path(path)).light
    for piece in _job(linear, peak, alpha, options).pieces():
        yield light(piece)


def _job(
    linear: NDArray[np.floating[Any]],
    peak: float,
    alpha: NDArray[np.floating[Any]] | None,
    options: WriteOptions | None,
    metadata: Mapping[str, str] | None = None,
) -> _Job:
    """Check and bring together the arguments of :func:`write_image`."""
    pixels = np.asarray(linear)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.size == 0:
        raise ValueError(f"linear has the shape {pixels.shape}, not (H, W, 3)")
    if alpha is not None and np.shape(alpha) != pixels.shape[:2]:
        raise ValueError(f"alpha has the shape {np.shape(alpha)}, the picture {pixels.shape[:2]}")
    if not (np.isfinite(peak) and peak > 0):
        raise ValueError(f"peak is {peak}, not a positive number")
    return _Job(
        linear=pixels,
        peak=float(peak),
        alpha=None if alpha is None else np.minimum(_not_negative(np.asarray(alpha)), np.float32(1)),
        options=options or WriteOptions(),
        metadata=dict(metadata or {}),
    )


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


def check_output(path: str | os.PathLike[str]) -> None:
    """Refuse a target that cannot work, before minutes of inference. Nothing is created.

    Raises:
        OutputError: a URL, unknown suffix, a folder in the target's place, a parent that is a file or not writable, or
            a name that the system refuses.
    """
    path = Path(path)
    refuse_url(path, OutputError)
    _format(path)
    try:
        taken = path.is_dir()
        existing = next((parent for parent in path.absolute().parents if parent.exists()), None)
    except OSError as error:  # the system refuses the name itself, such as one that is too long
        raise OutputError(f"{path}: cannot be written ({error.strerror or error}); choose another name") from error
    if taken:
        raise OutputError(f"{path}: is a folder; name a file in it")
    if existing is None or not existing.is_dir():
        raise OutputError(f"{path}: {existing} is not a folder; choose another place")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise OutputError(f"{path}: the folder {existing} may not be written; choose another place")


def _format(path: Path) -> _Format:
    try:
        return _FORMATS[path.suffix.lower()]
    except KeyError:
        known = ", ".join(OUTPUT_SUFFIXES)
        what = f"unknown output format {path.suffix!r}" if path.suffix else "the output name has no suffix"
        raise OutputError(f"{path}: {what}; use one of {known}") from None


def _not_negative(values: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """float32, C-contiguous, NaN and negative values 0 (fmax takes the number where one side is NaN)."""
    return np.ascontiguousarray(np.fmax(values.astype(np.float32, copy=False), np.float32(0)))
