"""What is written, and where: options, names, and the checks that come before any work. Writes nothing."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from dcdr_deploy.errors import InputError, OutputError
from dcdr_deploy.imaging.own import check_replaced
from dcdr_deploy.imaging.pair_names import PREVIEW_SUFFIX
from dcdr_deploy.imaging.read import probe
from dcdr_deploy.imaging.write import OUTPUT_SUFFIXES, WriteOptions, check_output, same_format
from dcdr_deploy.run import working_scale
from dcdr_deploy.run.dials import NEUTRAL, Dials
from dcdr_deploy.run.working_scale import Scale
from dcdr_deploy.system.files import refuse_no_path, refuse_overwriting

DEFAULT_FORMAT = "exr"

GAIN_MAP_SUFFIX = ".exr"


@dataclass(frozen=True)
class ConvertOptions:
    """What is made of a picture, and what is written.

    Attributes:
        write: compression, depth, light.
        preview: also write a tone-mapped 8-bit PNG beside each output.
        format: output format if the output is a folder: one of
            :data:`~dcdr_deploy.imaging.write.OUTPUT_SUFFIXES` without the dot; ``None`` is EXR.
        scale: size at which the network works: ``"auto"``, ``"native"``, a fraction or pixels (working_scale.py).
        dials: how much of the restored light is used.
        gain_map: .exr file for the gain over the SDR picture's light; in folder runs a folder for such files, which are
            named after the outputs.
        strip: do not copy Exif, XMP, IPTC and the input's name.
        wrap: pictures are panoramas whose left and right edges meet (wrap.py).

    Raises:
        OutputError: an unknown format.
        InputError: a scale out of range.
    """

    write: WriteOptions = field(default_factory=WriteOptions)
    preview: bool = False
    format: str | None = None
    scale: Scale = working_scale.AUTO
    dials: Dials = NEUTRAL
    gain_map: Path | None = None
    wrap: bool = False
    strip: bool = False

    def __post_init__(self) -> None:
        working_scale.checked(self.scale)
        if self.suffix not in OUTPUT_SUFFIXES:
            known = ", ".join(suffix.lstrip(".") for suffix in OUTPUT_SUFFIXES)
            raise OutputError(f"unknown output format {self.format!r}; use one of {known}")

    @property
    def suffix(self) -> str:
        """Suffix of the format, lower case, with the dot."""
        return "." + (self.format or DEFAULT_FORMAT).lower().lstrip(".")


DEFAULT_OPTIONS = ConvertOptions()


def is_folder(target: str) -> bool:
    """Tell whether a target is a folder, or is to be one."""
    return os.path.isdir(target) or target.endswith((os.sep, "/"))  # noqa: PTH112 - Path.is_dir raises for overlong names


def output_path(source: Path, target: str | os.PathLike[str], options: ConvertOptions) -> Path:
    """Return the file to write: the target, or the source's name in it where it is a folder.

    Raises:
        OutputError: the target is no folder and has not the suffix of the format asked for.
    """
    text = os.fspath(target)
    if is_folder(text):
        return Path(text) / f"{source.stem}{options.suffix}"
    path = Path(text)
    if options.format is not None and not same_format(path.suffix.lower(), options.suffix):
        raise contradiction(path, options.format)
    return path


def contradiction(path: Path, form: str) -> OutputError:
    """Return the error for an output that is no folder and has not the suffix of the format asked for."""
    if path.suffix:
        return OutputError(f"{path}: its suffix contradicts the format {form}; leave one of them out")
    return OutputError(f"{path}: is no folder yet; write {path}/ to make one, or {path}.{form} for a file")


def preview_path(output: Path) -> Path:
    """Return where the preview of an output lies."""
    return output.with_suffix(PREVIEW_SUFFIX)


def written_for(output: Path, *, previews: bool) -> tuple[Path, ...]:
    """Return what is written for an output: itself, and its preview if there are any."""
    return (output, preview_path(output)) if previews else (output,)


def written_of(output: Path, options: ConvertOptions, name: str) -> tuple[Path, ...]:
    """Return all files that a folder run writes for an output; ``name`` as of :func:`gain_map_path`."""
    gain_map = gain_map_path(options, name)
    return (*written_for(output, previews=options.preview), *(() if gain_map is None else (gain_map,)))


def gain_map_path(options: ConvertOptions, name: str) -> Path | None:
    """Return where the gain map of an output of a folder run lies, ``None`` if none was asked for.

    Args:
        options: with the folder.
        name: of the output, relative to the output folder.
    """
    return None if options.gain_map is None else (options.gain_map / name).with_suffix(GAIN_MAP_SUFFIX)


def check_gain_map(path: Path, *others: Path) -> None:
    """Refuse a file for the gain map that cannot work.

    Args:
        path: the file.
        others: the input and what else is written.

    Raises:
        InputError: a picture of others would be replaced.
        OutputError: it is no .exr, is one of the other files, or its place cannot be written.
    """
    refuse_no_path(path, OutputError)
    if path.suffix.lower() != GAIN_MAP_SUFFIX:
        raise OutputError(f"{path}: a gain map is written as {GAIN_MAP_SUFFIX}; give it such a name")
    check_output(path)
    check_replaced(path)
    if os.path.realpath(path) in map(os.path.realpath, others):
        raise OutputError(f"{path}: input and outputs cannot be the gain map too; choose another name for it")


def check_target(source: Path, output: Path, options: ConvertOptions) -> None:
    """Refuse a target that cannot work, before anything is loaded.

    Raises:
        OutputError: as :func:`check_place`.
        InputError: the source is an address, is not there or by its first bytes no picture; or output or preview would
            replace it.
    """
    refuse_no_path(source, InputError)
    probe(source)  # a slip in the first name is told before what follows from it
    check_place(output, options)
    for written in written_for(output, previews=options.preview):
        refuse_overwriting(written, source)
        check_replaced(written)
    if options.gain_map is not None:
        check_gain_map(options.gain_map, source, *written_for(output, previews=options.preview))


def check_place(output: Path, options: ConvertOptions) -> None:
    """Refuse an output whose suffix is unknown or cannot hold what was asked for, or whose place cannot be written.

    Raises:
        OutputError, MissingDependency: as :func:`check_output`.
    """
    refuse_no_path(output, OutputError)
    check_output(output, options.write)
