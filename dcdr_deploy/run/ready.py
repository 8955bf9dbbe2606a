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
class Working:
    """A picture at one of its working sizes.

    Attributes:
        picture: averaged down.
        given: (h, w, 3) to the network; ``None`` where that is not needed.
    """

    picture: WorkingPicture
    given: Codes | None


@dataclass(frozen=True)
class Ready:
    """A picture and all that is made of it before the network sees it.

    Attributes:
        codes: (H, W, 3) uint8 or uint16.
        seen: the same, black where the picture is fully transparent: what clips there was never light.
        scale: at which size the network works.
        tables: for its codes.
        gray: it has no colour; not looked at for scale ``"native"``.
        working: the sizes, the finest first; none for scale ``"native"``.
    """

    codes: Codes
    seen: Codes
    scale: Scale
    tables: Tables
    gray: bool = False
    working: tuple[Working, ...] = ()


def prepare(frame: Frame | Codes, scale: Scale = working_scale.AUTO, dials: Dials = NEUTRAL) -> Ready:
    """Do what comes before the network and needs no engine: on any thread, of several pictures at a time.

    Args:
        frame, scale, dials: as for :func:`dcdr_deploy.run.restore.restore`.

    Raises:
        InputError: a scale out of range, or no picture.
        EngineOutOfMemory: there is no memory for it.
    """
    working_scale.checked(scale)
    codes = pixels_of(frame)
    protected = BEGIN if dials.protect_below is None else dials.protect_below
    with naming_memory(codes):
        tables = code_tables(codes.dtype.itemsize * 8, protected)
        seen = seen_codes(frame)
        if scale == NATIVE:
            return Ready(codes, seen, scale, tables)
        wanted = working_sizes(codes.shape[0], codes.shape[1], scale)
        finest = average_down(seen, tables, wanted[0])
        needed = bool(finest.clipped.any())  # the network is not run where nothing clips
        working = []
        for size in wanted:
            small, given = finest.reduced(size), None
            if needed:
                given = seen if size == codes.shape[:2] else working_codes(small.light)
            working.append(Working(small, given))
        return Ready(codes, seen, scale, tables, is_gray(seen), tuple(working))


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
def naming_memory(codes: Codes) -> Iterator[None]:
    """Turn a lack of memory into the error of a picture (H, W, 3)."""
    try:
        yield
    except MemoryError:
        raise no_memory(codes) from None
