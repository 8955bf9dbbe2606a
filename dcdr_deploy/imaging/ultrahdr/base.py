"""The SDR picture of an Ultra HDR file: the source's own JPEG where it is one, else one made of its pixels."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.errors import InputError
from dcdr_deploy.imaging.colour import to_srgb
from dcdr_deploy.imaging.decoders.common import UnreadableError, quiet_decoders
from dcdr_deploy.imaging.decoders.jpeg import decode_jpeg
from dcdr_deploy.imaging.eight_bits import eight_bits
from dcdr_deploy.imaging.encoding import Encoding
from dcdr_deploy.imaging.orientation import UPRIGHT
from dcdr_deploy.imaging.read import probe, read_image
from dcdr_deploy.imaging.transfer import srgb_to_linear
from dcdr_deploy.imaging.ultrahdr.segments import Jpeg, NoJpegError, split

_SRGB_LIGHT = np.asarray(srgb_to_linear(np.arange(256) / 255), np.float32)


@dataclass(frozen=True)
class Base:
    """A JPEG, its samples, and what those are as light.

    Attributes:
        jpeg: taken apart.
        codes: (H, W, 3) uint8 as stored.
        srgb: (H, W, 3) uint8, the same picture in sRGB: what was restored.
        tables: linear light of each code, one for all channels or one each.
        from_rec709: (3, 3), linear Rec. 709 -> linear RGB of the JPEG; ``None`` where they are the same.
        orientation: 1..8, how viewers turn it.
    """

    jpeg: Jpeg
    codes: NDArray[np.uint8]
    srgb: NDArray[np.uint8]
    tables: tuple[NDArray[np.float32], ...]
    from_rec709: NDArray[np.float32] | None
    orientation: int

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) as stored."""
        return self.codes.shape[0], self.codes.shape[1]

    def lights(
        self, start: int, stop: int, restored: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return SDR and HDR light of rows in the JPEG's own colours, each (n, W, 3), not negative.

        What was added to the sRGB picture is added to the JPEG's light. So colours beyond sRGB, which the network never
        saw, stay where nothing was added.

        Args:
            start: first row.
            stop: row after the last.
            restored: (n, W, 3) linear Rec. 709 of these rows in units of SDR white, finite.
        """
        part = self.codes[start:stop]
        sdr = np.stack([self.tables[c % len(self.tables)][part[..., c]] for c in range(3)], axis=-1)
        added = restored - _SRGB_LIGHT[self.srgb[start:stop]]
        if self.from_rec709 is not None:
            added = added @ self.from_rec709.T
        return sdr, np.maximum(sdr + added, 0)


def base_of(source: Path, quality: int) -> Base:
    """Return the base for the picture in a file.

    Args:
        source: any picture that can be read. The bytes of a JPEG in colour are kept, whatever its colour space. All
            others become an upright sRGB JPEG, alpha left out: CMYK, which has no light to put a gain on, and gray ones
            too, which libultrahdr refuses as base.
        quality: 1 to 100, of a JPEG that is made.

    Raises:
        InputError: it cannot be read.
    """
    if probe(source) == "JPEG":
        try:
            found = _kept(source.read_bytes())
        except (UnreadableError, NoJpegError) as refusal:
            raise InputError(f"{source}: {refusal}") from refusal
        if found is not None:
            return found
    codes = eight_bits(read_image(source).pixels)
    return Base(split(encode_jpeg(codes, quality)), codes, codes, (_SRGB_LIGHT,), None, UPRIGHT)


def _kept(data: bytes) -> Base | None:
    """Return the base that keeps a JPEG's bytes; ``None`` for gray and CMYK."""
    with quiet_decoders():
        stored = decode_jpeg(data)
        colour = stored.colour
        if colour.shape[2:] != (3,):
            return None
        converted = to_srgb(colour, stored.declared)
    tables, from_rec709 = _light_of(converted.encoding)
    codes, srgb = (np.asarray(samples, np.uint8) for samples in (colour, converted.pixels))
    return Base(split(data), codes, srgb, tables, from_rec709, stored.orientation)


def _light_of(encoding: Encoding) -> tuple[tuple[NDArray[np.float32], ...], NDArray[np.float32] | None]:
    """Return tables and matrix of a colour space; of one that only LittleCMS knows, sRGB's, which are near enough.

    A gain is a quotient: what both of its lights are wrong by, it is not.
    """
    if not encoding.curves or encoding.profile is not None:
        return (_SRGB_LIGHT,), None
    tables = tuple(encoding.tables(255))
    if encoding.matrix is None or encoding.has_rec709_primaries:
        return tables, None
    return tables, np.linalg.inv(encoding.matrix).astype(np.float32)


def encode_jpeg(codes: NDArray[Any], quality: int) -> bytes:
    """Encode (H, W) or (H, W, 3) uint8 as JPEG, colour at full resolution."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(codes).save(stream, "JPEG", quality=quality, subsampling=0)
    return stream.getvalue()
