"""Titles, languages and what else files say of themselves and of their tracks: which of it goes along."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dcdr_deploy.run.video.package import readable

_DROPPED_TAGS = frozenset({"encoder", "major_brand", "minor_version", "compatible_brands", "duration", "handler_name"})
_DROPPED_BEGINNINGS = ("bps", "number_of_", "_statistics")
"""Statistics that Matroska's writers leave about the tracks of the source."""

_QUICKTIME_LANGUAGES = {"deu": "ger", "nld": "dut", "ell": "gre", "isl": "ice", "zho": "chi", "fre": "fra"}
"""Where FFmpeg's table of QuickTime's languages knows another of a language's two codes (ISO 639-2)."""


def named(new: Any, stream: Any, muxer: str) -> Any:
    """Give a new track the tags and dispositions of a source's, and return it.

    Args:
        new, stream: PyAV's.
        muxer: FFmpeg's name of the output's format.
    """
    tags = kept(stream.metadata)
    if muxer == "mov" and "language" in tags:
        tags["language"] = _QUICKTIME_LANGUAGES.get(tags["language"], tags["language"])
    new.metadata.update(tags)
    new.disposition = stream.disposition
    return new


def kept(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return the tags that hold of a copy too."""
    return {
        key: value
        for key, value in readable(metadata).items()
        if key.lower() not in _DROPPED_TAGS and not key.lower().startswith(_DROPPED_BEGINNINGS)
    }
