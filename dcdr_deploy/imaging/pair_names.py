"""How data sets name the pictures of a pair, and which of their files are none."""

from __future__ import annotations

NAME_ENDINGS = ("_leftImg8bit", "_leftImg16bit", "_ldr", "_sdr", "_hdr", "_gt", "_medium")
"""Endings that tell the pictures of a pair apart (Cityscapes, NTIRE 2021, usual habits); what remains must be equal."""

_NO_PICTURES = ("_alignratio", "_exposures")  # NumPy files beside the pictures of NTIRE 2021


def bare_name(stem: str) -> str:
    """A name, or a path, without suffix and without its :data:`NAME_ENDINGS`."""
    for ending in NAME_ENDINGS:
        stem = stem.removesuffix(ending)
    return stem


def is_beside_pictures(name: str) -> bool:
    """Whether a file is data about pictures and none itself."""
    stem, _, suffix = name.rpartition(".")
    return suffix.lower() == "npy" and stem.endswith(_NO_PICTURES)
