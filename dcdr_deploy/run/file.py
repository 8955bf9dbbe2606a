"""One picture in, one HDR file out, with what can be known to fail found before a model is loaded."""

from __future__ import annotations

import os
from pathlib import Path

from dcdr_deploy.run.events import FileBegun, FileConverted, FilesFound
from dcdr_deploy.run.outputs import (
    DEFAULT_OPTIONS,
    ConvertOptions,
    check_target,
    output_path,
)
from dcdr_deploy.run.picture import Decoded, decode, encode, infer
from dcdr_deploy.run.reports import FileReport
from dcdr_deploy.run.runner import Runner
from dcdr_deploy.system.progress import Listener, silent


class PreparedFile:
    """A picture that was read, and whose output may be written; made before a model is loaded, converted once."""

    def __init__(
        self, source: str | os.PathLike[str], target: str | os.PathLike[str], options: ConvertOptions = DEFAULT_OPTIONS
    ) -> None:
        """Check source and target and read the picture; arguments as of :func:`convert_file`.

        Raises:
            InputError: the picture cannot be read, or would be overwritten by its own output.
            OutputError: the target cannot be written.
        """
        self._output = output_path(Path(source), target, options)
        check_target(Path(source), self._output, options)
        self._options = options
        self._decoded: Decoded | None = decode(Path(source))

    def convert(self, runner: Runner, listener: Listener = silent) -> FileReport:
        """Run the network and write the result; the picture is let go on the way.

        Raises:
            OutputError: the target cannot be written.
            EngineError: the model cannot be run.
        """
        decoded, self._decoded = self._decoded, None
        assert decoded is not None  # once
        listener(FileBegun(decoded.source.name, source=decoded.source))
        inferred = infer(decoded, runner, self._options, listener)
        del decoded
        report = encode(inferred, self._output, self._options, self._options.gain_map)
        listener(FileConverted(report=report))
        return report


def convert_file(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    runner: Runner,
    options: ConvertOptions = DEFAULT_OPTIONS,
    *,
    listener: Listener = silent,
) -> FileReport:
    """Convert one SDR picture into one HDR file.

    Input and target are checked first. An existing target is replaced once the new file is complete.

    Args:
        source: a picture in any format that :func:`~dcdr_deploy.imaging.read.read_image` reads.
        target: the file to write, whose suffix chooses the format; or a folder (an existing one, or a name that ends in
            a slash), in which ``<name of source>.<options.format>`` is written.
        runner: from :func:`~dcdr_deploy.run.opening.open_runner`; can be used for any number of calls.
        options: what is written, and how.
        listener: is told of progress, and of the events in run/events.py.

    Raises:
        InputError: the picture cannot be read, or its own output would overwrite it.
        OutputError: the target cannot be written.
        EngineError: the model cannot be run.
    """
    prepared = PreparedFile(source, target, options)
    listener(FilesFound(total=1))
    return prepared.convert(runner, listener)
