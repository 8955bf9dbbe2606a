"""What is carried from a picture into what is made of it: Exif, XMP and IPTC, made true of the new file."""

from __future__ import annotations

from dataclasses import dataclass

from dcdr_deploy.imaging import exif_block, xmp_carry
from dcdr_deploy.imaging.exif_block import Exif
from dcdr_deploy.imaging.frame import Kept
from dcdr_deploy.imaging.xmp import BrokenPacketError

EXIF, XMP, IPTC = KINDS = ("Exif", "XMP", "IPTC")

WHOLE = {EXIF: "", XMP: "", IPTC: ""}
"""What a format carries that has a place for each of them."""


@dataclass(frozen=True)
class Carried:
    """Metadata on the way into a file.

    Attributes:
        exif: date, camera, lens, place and the like; upright, size and colours those of the new file.
        xmp: a packet without ``<?xpacket`` around it.
        iptc: records.
        strip: whether nothing of the input's own may be in the file, of which some formats keep the bytes.
    """

    exif: Exif | None = None
    xmp: bytes | None = None
    iptc: bytes | None = None
    strip: bool = False

    @property
    def exif_bytes(self) -> bytes | None:
        """The Exif block: TIFF header and directories."""
        return exif_block.assembled(self.exif) if self.exif is not None else None

    @property
    def kinds(self) -> tuple[str, ...]:
        """Names of what there is."""
        there = ((EXIF, self.exif), (XMP, self.xmp), (IPTC, self.iptc))
        return tuple(name for name, block in there if block is not None)


NOTHING = Carried()
STRIPPED = Carried(strip=True)


def carry(kept: Kept, size: tuple[int, int], software: str) -> tuple[Carried, list[str]]:
    """Make a picture's metadata fit for a file made of it. Nothing that is damaged costs the picture.

    Args:
        kept: as found.
        size: (width, height) of the new picture.
        software: what makes it.

    Returns:
        What is carried, and sentences about what is damaged.
    """
    notes = []
    exif = xmp = None
    if kept.exif is not None:
        try:
            exif = exif_block.carried(exif_block.parse(kept.exif), size, software)
        except exif_block.BrokenExifError as reason:
            notes.append(f"Exif cannot be read ({reason}) and is left out")
    if kept.xmp is not None:
        try:
            packet, missing = xmp_carry.whole(kept.xmp, kept.xmp_extensions)
            if missing:
                notes.append(f"the extension of XMP cannot be read ({missing}) and is left out")
            xmp = xmp_carry.carried(packet)
        except BrokenPacketError as reason:
            notes.append(f"XMP cannot be read ({reason}) and is left out")
    return Carried(exif, xmp, kept.iptc), notes
