"""A picture made ready for the network: all that comes before it and needs no engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from dcdr_deploy.imaging.frame import Frame
from dcdr_deploy.run import working_scale
from dcdr_deploy.run.dials import NEUTRAL, Dials
from dcdr_deploy.run.gain import BEGIN, Codes, Tables, WorkingPicture, code_tables, is_gray, working_codes
from dcdr_deploy.run.runner import no_memory, pixels_of
from dcdr_deploy.run.strips import average_down
from dcdr_deploy.run.working_scale import NATIVE, Scale, working_sizes


@dataclass(frozen=True)
class AtWorkingSize:
    """A picture at one of its working sizes.

    Attributes:
        picture: averaged down.
        given: (h, w, 3) to the network; ``None`` where that is not needed.
    """

    picture: WorkingPicture
    given: Codes | None


@dataclass(frozen=True)
class AtFullSize:
    """A picture at its own size, onto which the result is put.

    Attributes:
        codes: (H, W, 3) uint8 or uint16.
        seen: the same, black where the picture is fully transparent: what clips there was never light.
        tables: for its codes.
    """

    codes: Codes
    seen: Codes
    tables: Tables


@dataclass(frozen=True)
class NetworkInput:
    """A picture and all that is made of it before the network sees it.

    Attributes:
        size: (H, W) in pixels.
        scale: at which size the network works.
        gray: it has no colour; not looked at for scale ``"native"``.
        working: the sizes, the finest first; none for scale ``"native"``.
        full: the picture itself; ``None`` where the result is put on elsewhere
            (:meth:`~dcdr_deploy.run.restore.NetworkResult.field`).
    """

    size: tuple[int, int]
    scale: Scale
    gray: bool = False
    working: tuple[AtWorkingSize, ...] = ()
    full: AtFullSize | None = None


def prepare(frame: Frame | Codes, scale: Scale = working_scale.AUTO, dials: Dials = NEUTRAL) -> NetworkInput:
    """Do what comes before the network and needs no engine: on any thread, of several pictures at a time.

    Args:
        frame, scale, dials: as for :func:`dcdr_deploy.run.restore.restore`.

    Raises:
        InputError: a scale out of range, or no picture.
        EngineOutOfMemory: there is no memory for it.
    """
    working_scale.checked(scale)
    codes = pixels_of(frame)
    size = codes.shape[0], codes.shape[1]
    with naming_memory(size):
        seen = seen_codes(frame)
        full = AtFullSize(codes, seen, tables_for(codes.dtype.itemsize * 8, dials))
        if scale == NATIVE:
            return NetworkInput(size, scale, full=full)
        finest = average_down(seen, full.tables, working_sizes(*size, scale)[0])
        return network_input(finest, size, scale, gray=is_gray(seen), full=full)


def tables_for(bits: int, dials: Dials) -> Tables:
    """Return what codes of 8 or 16 bits stand for, with the dials' own code from which a pixel is clipped."""
    return code_tables(bits, BEGIN if dials.protect_below is None else dials.protect_below)


def network_input(
    finest: WorkingPicture, size: tuple[int, int], scale: Scale, *, gray: bool, full: AtFullSize | None = None
) -> NetworkInput:
    """Return a picture made ready that has been averaged down.

    Args:
        finest: it at its finest working size.
        size: (H, W) of the picture.
        scale: not ``"native"``.
        gray: it has no colour.
        full: the picture itself; needed where the network works at its own size.
    """
    needed = bool(finest.clipped.any())  # the network is not run where nothing clips
    working = []
    for wanted in working_sizes(*size, scale):
        small, given = finest.reduced(wanted), None
        if needed:
            given = full.seen if wanted == size and full is not None else working_codes(small.light)
        working.append(AtWorkingSize(small, given))
    return NetworkInput(size, scale, gray, tuple(working), full)


def seen_codes(frame: Frame | Codes) -> Codes:
    """Return the pixels of a frame, (H, W, 3), those that are fully transparent black; a copy if there are any.

    Raises:
        InputError: no picture.
    """
    codes = pixels_of(frame)
    if isinstance(frame, Frame) and frame.alpha is not None:
        hidden = frame.alpha == 0
        if hidden.any():
            codes = codes.copy()
            codes[hidden] = 0
    return codes


@contextmanager
def naming_memory(size: tuple[int, int]) -> Iterator[None]:
    """Turn a lack of memory into the error of a picture of (H, W) pixels."""
    try:
        yield
    except MemoryError:
        raise no_memory(size) from None
