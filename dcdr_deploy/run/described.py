"""What an output says of how it was made: strings for its header, and sentences for who runs it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from dcdr_deploy.engines.base import EngineInfo
from dcdr_deploy.imaging.own import THIS_TOOL
from dcdr_deploy.modelfile.metadata import ABSOLUTE
from dcdr_deploy.run.dials import Dials, as_text
from dcdr_deploy.run.outputs import ConvertOptions
from dcdr_deploy.run.recovery import Recovery
from dcdr_deploy.run.restore import Restored
from dcdr_deploy.run.runner import RunStatistics

LEAST_CUT = 0.0005
"""Share of the pixels; less is not worth a word."""


def network_notes(info: EngineInfo, run: RunStatistics) -> tuple[str, ...]:
    """Sentences about what is unlike other networks' results in this one's."""
    notes = []
    if info.metadata.light == ABSOLUTE:
        notes.append("the network gives absolute light of a graded picture: 1.0 in the file is 203 cd/m2")
    if info.metadata.sees_whole_picture and run.tiles > 1:
        notes.append(f"the network looks at the whole picture, and saw it in {run.tiles} tiles")
    return tuple(notes)


def recovery_notes(info: EngineInfo, recovery: Recovery, dials: Dials) -> tuple[str, ...]:
    """Sentences about why nothing came back of what had clipped, where that is not the picture's doing."""
    if info.metadata.peak > 1 or not recovery.clipped or recovery.anything or not dials.strength:
        return ()
    return (
        "the network gave nothing brighter than white, at the peak of 1 x SDR white that its file says; where its "
        "weights have another, `dcdr-deploy export --peak` writes it",
    )


def cut_note(end: float, share: float, among: str = "{} of the pixels") -> tuple[str, ...]:
    """Sentence about light that a file has no numbers for: beyond ``end``, in ``share`` of what ``among`` names."""
    if share < LEAST_CUT:
        return ()
    where = f"{end:g} x SDR white, where the file ends; EXR of 32-bit floats does not"
    return (f"{among.format(f'{share:.1%}')} are brighter than {where}",)


def file_metadata(source: Path, info: EngineInfo, options: ConvertOptions, restored: Restored) -> dict[str, str]:
    """Return the strings for the header of a picture's output."""
    made = {
        "source": "" if options.strip else source.name,
        "scale": str(options.scale),
        "wrap": "yes" if options.wrap else "",
        "workingSize": " ".join("{1}x{0}".format(*size) for size in restored.working_sizes),
        **as_text(options.dials.turned()),
    }
    return header(info, made)


def header(info: EngineInfo, made: Mapping[str, str]) -> dict[str, str]:
    """Return the strings for an output's header: what made it, and its scale.

    ``peak`` is the linear value of a stored 1.0 (65535 in integer formats) of the network's range, in units of SDR
    white; EXR and HDR files are multiplied by it already.

    Args:
        info: of the engine.
        made: how, and from which file; what is empty is left out.
    """
    stored = {
        "software": THIS_TOOL,
        "model": info.metadata.name,
        "weightsSha256": info.metadata.extra.get("weights_sha256", ""),
        "peak": f"{info.metadata.peak:g}",
        "light": info.metadata.light,
        **made,
    }
    return {key: _header_text(value) for key, value in stored.items() if value}


def _header_text(text: str) -> str:
    """Make any file name fit for a header: valid UTF-8, one line."""
    valid = text.encode("utf-8", "replace").decode("utf-8")
    return "".join(character if character.isprintable() else "?" for character in valid)
