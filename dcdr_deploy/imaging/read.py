"""Reading SDR pictures."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from dcdr_deploy.errors import InputError
from dcdr_deploy.imaging.colour import to_srgb
from dcdr_deploy.imaging.declared import resolve
from dcdr_deploy.imaging.decoders.common import StoredSamples, UnreadableError, quiet_decoders
from dcdr_deploy.imaging.formats import SIGNATURE_BYTES, PictureFormat, identify
from dcdr_deploy.imaging.frame import Frame
from dcdr_deploy.imaging.kept import kept_of
from dcdr_deploy.imaging.orientation import upright
from dcdr_deploy.imaging.read_gain_map import GAIN_MAP_FORMATS, note_of
from dcdr_deploy.system.files import refuse_no_path, refuse_pipe


def read_image(path: str | os.PathLike[str]) -> Frame:
    """Read a PNG, JPEG, WebP, TIFF, BMP, AVIF, HEIC or JPEG XL picture, whatever its suffix says.

    The orientation of Exif/TIFF is applied, palette, gray, 1-bit and CMYK become RGB, alpha is split off, samples are
    converted to sRGB from what the file declares them to be (``declared.py`` says in which order, ``colour.to_srgb``
    how), linear ones included, and samples of more than 8 bits keep their depth. Of animations and files
    with several pages the first is taken, of pictures with a gain map the SDR base, which is noted. The size in the
    header is checked before anything is decoded.

    Returns:
        A :class:`Frame`: (H, W, 3) uint8 or uint16, sRGB-encoded. Its metadata:

        - ``source_format``: the name of one of ``formats.FORMATS``, such as ``"PNG"``;
        - ``source_mode``: the file's sample layout, such as ``"RGB"``, ``"P"``, ``"CMYK"``, ``"I;16"``;
        - ``bit_depth``: 8 or 16, of ``pixels``;
        - ``orientation``: 1..8 as the file states it (already applied);
        - ``colour``: what the samples were, by which statement, and whether they were converted;
        - ``icc``: ``"none"``, ``"sRGB"``, ``"converted from <name>"`` or ``"ignored: <reason>"``;
        - ``notes``: sentences about what was left out or reduced.

    Raises:
        InputError: no file, a folder, an empty, truncated or corrupt file, an HDR, RAW, video or unknown format, what
            no decoder here knows, samples declared as PQ or HLG, an output of this tool, or more than ``MAX_PIXELS``
            pixels. One line that names the file and says what to do.
    """
    path = Path(path)
    refuse_no_path(path, InputError)
    try:
        picture, data = _load(path)
        with quiet_decoders():
            stored = picture.decode(data)
            if picture.name in GAIN_MAP_FORMATS:
                stored.notes += filter(None, [note_of(data)])
            kept = kept_of(data, picture.name)
            del data
            return replace(_to_frame(stored, picture.name), kept=kept)
    except UnreadableError as refusal:
        raise InputError(f"{path}: {refusal}") from refusal
    except MemoryError as error:
        raise InputError(f"{path}: does not fit into memory; scale it down or cut it into parts") from error


def probe(path: str | os.PathLike[str]) -> str:
    """The name of a file's format by its first bytes; nothing is decoded.

    Raises:
        InputError: as :func:`read_image` for what the first bytes can tell (missing, folder, empty, unknown, HDR, ...),
            and a pipe, which would lack them then.
    """
    path = Path(path)
    refuse_pipe(path)
    try:
        return _load(path, header_only=True)[0].name
    except UnreadableError as refusal:
        raise InputError(f"{path}: {refusal}") from refusal


def _load(path: Path, *, header_only: bool = False) -> tuple[PictureFormat, bytes]:
    """A file's format and bytes. The format is looked at first: a video of gigabytes is refused unread."""
    try:
        with path.open("rb") as stream:
            head = stream.read(SIGNATURE_BYTES)
            picture = identify(head)
            return picture, head if header_only else head + stream.read()
    except FileNotFoundError as error:
        raise UnreadableError("no such file; check the path") from error
    except IsADirectoryError as error:
        raise UnreadableError("is a folder where a picture is due; name a picture in it") from error
    except PermissionError as error:
        # Windows reports a folder this way. Path.is_dir raises below a folder without permission.
        folder = os.path.isdir(path)  # noqa: PTH112
        what = "is a folder where a picture is due; name a picture in it" if folder else "may not be read"
        raise UnreadableError(what if folder else f"{what}; check its permissions") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL character in the path
        raise UnreadableError(
            f"cannot be read ({getattr(error, 'strerror', None) or error}); check the path"
        ) from error


def _refuse_hdr(stored: StoredSamples, format_name: str) -> None:
    if stored.colour.dtype == np.float32:
        raise UnreadableError(f"holds floating-point samples ({format_name}), which is HDR; give an SDR picture")
    encoding = resolve(stored.declared, 1 if stored.colour.ndim == 2 else stored.colour.shape[2])
    # Programs that make an SDR picture of one of ours may keep its texts.
    still_linear = stored.colour.dtype == np.uint16 and (not encoding.by or encoding.is_linear)
    if stored.declared.own_peak is not None and still_linear:
        raise UnreadableError(
            f"is an HDR picture already (written by dcdr-deploy, full scale {stored.declared.own_peak} x SDR white); "
            "give the SDR picture that it was made from"
        )
    if encoding.hdr:
        raise UnreadableError(
            f"is an HDR picture already ({format_name} with {encoding.hdr} transfer by its {encoding.by}); "
            "give an 8- or 16-bit SDR picture"
        )


def _to_frame(stored: StoredSamples, format_name: str) -> Frame:
    _refuse_hdr(stored, format_name)
    converted = to_srgb(stored.colour, stored.declared)
    rgb = converted.pixels
    notes = [*stored.notes, *converted.encoding.notes]
    if rgb.dtype != stored.colour.dtype:
        notes.append("16-bit samples reduced to 8 bits by the colour conversion")
    alpha = None
    if stored.alpha is not None:
        top = np.float32(np.iinfo(stored.alpha.dtype).max)
        alpha = upright(stored.alpha.astype(np.float32) / top, stored.orientation)
    return Frame(
        pixels=upright(rgb, stored.orientation),
        alpha=alpha,
        metadata={
            "source_format": format_name,
            "source_mode": stored.mode,
            "bit_depth": 8 * rgb.dtype.itemsize,
            "orientation": stored.stated_orientation,
            "colour": converted.report,
            "icc": converted.encoding.icc,
            "notes": notes,
        },
    )
