"""What every output format has in common: the picture to write, what may be chosen about it, and what a format says.

What lies outside of the network's range is decided here alone. Below 0 becomes 0: there is no negative light. Above the
model's peak is kept where the format can hold it, since a network overshoots on the brightest lights and ``exposure``
raises all; integers end at the peak, delivered light at ``peak_nits``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.errors import InputError, MissingDependency, OutputError
from dcdr_deploy.imaging import primaries as p
from dcdr_deploy.imaging.carried import NOTHING, Carried
from dcdr_deploy.imaging.delivery import Delivery
from dcdr_deploy.imaging.half import to_half
from dcdr_deploy.imaging.hdr_transfer import HLG_PEAK_NITS
from dcdr_deploy.imaging.light import COLOUR_CODE, HLG, LINEAR, PQ, PRIMARIES, Light
from dcdr_deploy.imaging.limits import limit
from dcdr_deploy.system.defaults import changed
from dcdr_deploy.system.packages import install_line, installed
from dcdr_deploy.system.strips import Scratch, for_strips

EXR_COMPRESSIONS = ("zip", "zips", "piz", "dwaa", "none")
"""zip: lossless, 16 rows a block; zips: lossless, row by row; piz: lossless, wavelet, fast; dwaa: lossy, small (level
45); none."""

FAST, SLOW = "fast", "slow"
SPEEDS = (FAST, SLOW)
DEPTHS = (10, 12)

OF_DELIVERY = frozenset({"reference_white", "peak_nits"})
"""Fields of :class:`~dcdr_deploy.imaging.light.Light` that mean something in PQ and HLG, primaries and curve aside."""

_MUCH = 1e30  # times a matrix this is still finite

Rows = Callable[[int, int, NDArray[np.float32]], NDArray[np.float32]]
"""Writes rows ``start`` to ``stop`` of a picture into an array, (rows, W, 3) and C-contiguous, which it returns."""


@dataclass(frozen=True)
class WriteOptions:
    """What a user may choose about the output. A format refuses what it does not take (:attr:`Format.takes`).

    Attributes:
        exr_compression: one of :data:`EXR_COMPRESSIONS`.
        float32: 32-bit floats instead of halves in EXR, and instead of integers in TIFF.
        light: absolute light, primaries, curve.
        quality: 1 to 100, of what is compressed with loss; 100 is lossless in AVIF and JPEG XL. ``None`` is the
            format's own.
        bits: 10 or 12, of PQ and HLG samples; ``None`` is 10.
        speed: ``"fast"``, or ``"slow"`` for smaller or better files.

    Raises:
        InputError: an unknown compression, or a value out of range.
    """

    exr_compression: str = "zip"
    float32: bool = False
    light: Light = field(default_factory=Light)
    quality: int | None = None
    bits: int | None = None
    speed: str = FAST

    def __post_init__(self) -> None:
        if self.quality is not None and not 1 <= self.quality <= 100:
            raise InputError(f"quality must be 1 to 100, not {self.quality}")
        if self.bits is not None and self.bits not in DEPTHS:
            raise InputError(f"bits must be {' or '.join(map(str, DEPTHS))}, not {self.bits}")
        if self.speed not in SPEEDS:
            raise InputError(f"unknown speed {self.speed!r}; choose one of {', '.join(SPEEDS)}")
        if self.exr_compression not in EXR_COMPRESSIONS:
            raise InputError(
                f"unknown EXR compression {self.exr_compression!r}; choose one of {', '.join(EXR_COMPRESSIONS)}"
            )


@dataclass(frozen=True)
class Job:
    """One picture on its way into one file.

    Attributes:
        linear: (H, W, 3) linear Rec. 709 in network units, as it was given: NaN, negative and infinite values too.
        peak: linear value of 1.0 in units of SDR white.
        alpha: (H, W) float32 in [0, 1], not multiplied into the colours; ``None`` without.
        options: what the user chose.
        light: as the format writes it: primaries and transfer are those of the file, ``None`` only where the format has
            no such choice.
        metadata: strings for the file's header.
        source: the SDR picture's file, for formats that keep it; ``None`` where there is none.
        largest: where the light ends, in units of SDR white; single pixels may exceed it.
        carried: Exif, XMP and IPTC of the SDR picture, fit for the file.
    """

    linear: NDArray[np.floating[Any]]
    peak: float
    alpha: NDArray[np.float32] | None
    options: WriteOptions
    light: Light
    metadata: dict[str, str]
    source: Path | None
    largest: float
    carried: Carried = NOTHING

    def delivery(self) -> Delivery:
        """What turns the picture into PQ or HLG."""
        return Delivery(self.light, self.peak, self.largest)

    def relative(self, scale: float, most: float) -> Rows:
        """What writes rows of the light in the file's primaries into an array: in [0, ``most``], no NaN.

        A network value of 1 is ``scale``.
        """
        same = p.is_rec709(self.light.chromaticities)
        matrix = np.ascontiguousarray(p.from_rec709(self.light.chromaticities) * scale, np.float32)
        scratch = Scratch()

        def rows(start: int, stop: int, out: NDArray[np.float32]) -> NDArray[np.float32]:
            given = self.linear[start:stop]
            if same:
                with np.errstate(over="ignore", invalid="ignore"):
                    np.multiply(given, np.float32(scale), out=out, dtype=np.float32, casting="same_kind")
            else:
                import cv2

                block = scratch.array("rows", given.shape, np.float32)
                cv2.transform(limit(np.asarray(given, np.float32), _MUCH, block), matrix, out)
            return limit(out, most)

        return rows

    def scene(
        self, largest: float, kind: type[np.floating[Any]] = np.float32, scale: float | None = None
    ) -> NDArray[Any]:
        """(H, W, 3) in the file's primaries, at most ``largest``; no NaN, nothing negative.

        In units of SDR white, or with a network value of 1 as ``scale``.

        Made a few rows at a time: a large picture has no room for copies that only lead from one to the next.
        """
        scene = np.empty(self.linear.shape, kind)
        rows, scratch = self.relative(self.peak if scale is None else scale, largest), Scratch()

        def fill(start: int, stop: int) -> None:
            place = scene[start:stop]
            if kind is np.float16:
                to_half(rows(start, stop, scratch.array("light", place.shape, np.float32)), place)
            else:
                rows(start, stop, place)

        for _ in for_strips(len(scene), fill):
            pass
        return scene

    def part(self, start: int, stop: int) -> Job:
        """Rows ``start`` to ``stop`` of it."""
        alpha = None if self.alpha is None else self.alpha[start:stop]
        return replace(self, linear=self.linear[start:stop], alpha=alpha)


@dataclass(frozen=True)
class Format:
    """An output format.

    Attributes:
        suffixes: lower case, with the dot.
        media_type: of its files, as HTTP names it.
        write: writes a job into a file; not atomic by itself. Raises OSError.
        held: the light that the file of a job holds, (rows, W, 3) float32 in units of SDR white and in the file's
            primaries, its rounding included; what a lossy compression changes may be left out.
        end: where the light of a job's file ends without being rolled off, in units of SDR white; infinity where
            numbers go on, or where light is rolled off.
        transfers: curves that it can hold, its own first; empty where there is no such choice.
        primaries: likewise, in linear light; in PQ and HLG those of them that H.273 has a code for, Rec. 2020 by
            default.
        takes: fields of :class:`WriteOptions` beside ``light`` that mean something here.
        of_linear: fields of its light that mean something where it is linear, primaries and curve aside; in PQ and HLG
            :data:`OF_DELIVERY` do.
        needs: a module and the extra that brings it, where one is needed.
        carries: which of :data:`~dcdr_deploy.imaging.carried.KINDS` it has a place for; with what of them where it is a
            part, in words.
        alpha: whether it can hold one.
    """

    suffixes: tuple[str, ...]
    media_type: str
    write: Callable[[Path, Job], None]
    held: Callable[[Job], NDArray[np.float32]]
    end: Callable[[Job], float] = lambda _: math.inf
    transfers: tuple[str, ...] = (LINEAR,)
    primaries: tuple[str, ...] = tuple(PRIMARIES)
    takes: frozenset[str] = frozenset()
    of_linear: frozenset[str] = frozenset()
    needs: tuple[str, str] | None = None
    carries: Mapping[str, str] = field(default_factory=dict)
    alpha: bool = True

    def left_behind(self, carried: Carried) -> list[str]:
        """Sentences about metadata of a picture that the format has no place for."""
        name = self.suffixes[0]
        sentences = []
        for kind in carried.kinds:
            part = self.carries.get(kind)
            if part is None:
                sentences.append(f"{name} has no place for {kind}, which is left out")
            elif part:
                sentences.append(f"{name} holds of {kind} only {part}")
        return sentences

    def check(self, options: WriteOptions) -> Light:
        """Refuse what this format cannot do; return the light as it writes it.

        Raises:
            OutputError: choices that mean nothing here, or that contradict each other.
            MissingDependency: the package that writes it is not installed.
        """
        name = self.suffixes[0]
        if self.needs is not None and not installed(self.needs[0]):
            raise MissingDependency(f"{name} needs the package {self.needs[0]}; {install_line(self.needs[1])}")
        for unknown in sorted(changed(options).keys() - self.takes - {"light"}):
            raise _without(name, unknown)
        transfer = _choice("transfer", options.light.transfer, self.transfers, name)
        light = replace(options.light, transfer=transfer)
        known = tuple(each for each in self.primaries if not light.is_delivery or each in COLOUR_CODE)
        own = "rec2020" if light.is_delivery and "rec2020" in known else None
        light = replace(light, primaries=_choice("primaries", light.primaries or own, known, name))
        meant = OF_DELIVERY if light.is_delivery else self.of_linear
        for unknown in sorted(changed(options.light).keys() - meant - {"primaries", "transfer"}):
            if unknown in OF_DELIVERY and PQ in self.transfers:
                raise OutputError(f"{name} in linear light has no `{unknown}`; leave it out, or take the transfer pq")
            raise _without(name, unknown)
        if light.is_delivery and light.peak_nits < light.reference_white:
            raise OutputError(
                f"`peak_nits` {light.peak_nits:g} is below the reference white, {light.reference_white:g} cd/m2; "
                "raise it, or lower `reference_white`"
            )
        if light.transfer == HLG and light.peak_nits > HLG_PEAK_NITS:
            raise OutputError(f"HLG ends at {HLG_PEAK_NITS:g} cd/m2; lower `peak_nits`, or take the transfer pq")
        return light


def _without(format_name: str, what: str) -> OutputError:
    return OutputError(f"{format_name} has no `{what}`; leave it out, or write another format")


def _choice(what: str, asked: str | None, known: tuple[str, ...], format_name: str) -> str | None:
    if asked is None:
        return known[0] if known else None
    if asked not in known:
        choices = f"it has {', '.join(known)}" if known else "leave it out"
        raise OutputError(f"{format_name} cannot hold `{what}` {asked}; {choices}")
    return asked
