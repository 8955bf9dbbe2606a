"""One engine and several threads: pictures are read and written while the network works on another one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from dcdr_deploy.run.outputs import ConvertOptions
from dcdr_deploy.run.picture import decode, encode, infer
from dcdr_deploy.run.reports import FileReport
from dcdr_deploy.run.runner import Runner


def _go_on() -> None:
    """Let a picture go on in any case."""


class SharedRunner:
    """Converts pictures for any number of threads; the engine takes one at a time.

    Attributes:
        runner: with the engine; the caller closes it.
    """

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        self._engine = threading.Lock()

    @contextmanager
    def exclusive(self) -> Iterator[Runner]:
        """Give the engine for the block; pictures and others wait."""
        with self._engine:
            yield self.runner

    def convert(
        self,
        source: Path,
        output: Path,
        options: ConvertOptions,
        gain_map: Path | None = None,
        check: Callable[[], None] = _go_on,
    ) -> FileReport:
        """Convert one picture, as :func:`dcdr_deploy.run.file.convert_file` does, but without checks of the target.

        Args:
            source: the picture.
            output: the file to write; its suffix chooses the format.
            options: what is made of it.
            gain_map: where the gain goes, where ``options`` ask for one.
            check: called between the stages and after every tile; what it raises ends the picture.

        Raises:
            InputError, EngineError, OutputError: as :func:`~dcdr_deploy.run.file.convert_file`.
        """
        decoded = decode(source)
        check()
        with self._engine:
            check()
            inferred = infer(decoded, self.runner, options, lambda event: check())
        del decoded  # the pixels, before the output's copies are made
        check()
        return encode(inferred, output, options, gain_map)
