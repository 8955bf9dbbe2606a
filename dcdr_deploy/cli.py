"""The command line: a list of commands, and the one place where an error becomes a line.

No command's module is imported before the command is called: ``--help`` answers at once and works with any package
missing.
"""

from __future__ import annotations

import errno
import importlib
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import click

from dcdr_deploy._version import __version__
from dcdr_deploy.errors import DcdrError, MissingDependency
from dcdr_deploy.system.file_faults import DEVICE_FAILURES
from dcdr_deploy.system.packages import install_line

EXIT_ERROR = 2
EXIT_INTERRUPTED = 130


@dataclass(frozen=True)
class LazyCommand:
    """A command that is not imported yet.

    Attributes:
        target: ``"module:attribute"`` of the click command.
        help: its line in the list of commands.
        extra: the extra of this package that installs what it needs; empty if the base installation does.
    """

    target: str
    help: str
    extra: str = ""

    def load(self) -> click.Command:
        """Import the command."""
        module, _, attribute = self.target.partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command


COMMANDS: dict[str, LazyCommand] = {
    "run": LazyCommand("dcdr_deploy.commands.run:command", "Turn SDR pictures into linear HDR files."),
    "export": LazyCommand(
        "dcdr_deploy.commands.export:command", "Turn a checkpoint into a verified ONNX file.", "export"
    ),
    "build-engine": LazyCommand(
        "dcdr_deploy.commands.build_engine:command", "Compile an ONNX file to a TensorRT engine.", "rtx"
    ),
    "tune": LazyCommand(
        "dcdr_deploy.commands.tune:command", "Measure the kernels of backend cuda on this GPU.", "cuda-kernels"
    ),
    "inspect": LazyCommand("dcdr_deploy.commands.inspect:command", "Show what a model file holds.", "export"),
    "train": LazyCommand("dcdr_deploy.commands.train:command", "Train a network.", "train"),
    "evaluate": LazyCommand("dcdr_deploy.commands.evaluate:command", "Compare HDR pictures with their ground truth."),
    "preview": LazyCommand("dcdr_deploy.commands.preview:command", "Draw a sheet of exposures of an HDR picture."),
    "view": LazyCommand("dcdr_deploy.commands.view:command", "Make a page that shows HDR pictures in the browser."),
    "benchmark": LazyCommand(
        "dcdr_deploy.commands.benchmark:command", "Time every backend that works on this machine."
    ),
    "serve": LazyCommand("dcdr_deploy.commands.serve:command", "Serve one engine by HTTP: POST a picture.", "serve"),
    "triton": LazyCommand("dcdr_deploy.commands.triton:command", "Write a model repository for NVIDIA Triton."),
    "vapoursynth": LazyCommand(
        "dcdr_deploy.commands.vapoursynth:command", "Write a script for VapourSynth and vs-mlrt."
    ),
    "doctor": LazyCommand("dcdr_deploy.commands.doctor:command", "Show which backends work on this machine."),
}


class _OneLineError(click.ClickException):
    """Shows a user's error as one line."""

    exit_code = EXIT_ERROR

    def show(self, file: Any = None) -> None:
        from dcdr_deploy.commands.show.text import printable

        click.secho("error: ", fg="red", nl=False, err=True)
        click.echo(printable(" ".join(self.message.splitlines())), err=True)


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called, and whose errors are lines."""

    def __init__(self, *args: Any, lazy: Mapping[str, LazyCommand] | None = None, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._lazy = dict(lazy or {})

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the list."""
        return list(self._lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in self._lazy:
            return None
        with self._packages_for(cmd_name):
            return self._lazy[cmd_name].load()

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.help) for name, command in self._lazy.items()])

    def make_context(self, *args: Any, **settings: Any) -> click.Context:
        """Take the options; the help and the version are printed here already."""
        try:
            return super().make_context(*args, **settings)
        except OSError as error:
            _refuse_failing_stdout(error)
            raise

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; errors that a user can cause end here."""
        arguments = list(ctx.args)
        if "" in arguments:  # as a path it would be the working directory
            raise _OneLineError("an argument is empty, as a variable without a value is; name a file, or leave it out")
        try:
            return super().invoke(ctx)
        except click.NoSuchOption as error:
            for name in arguments:
                if name.startswith("-") and os.path.lexists(name):
                    raise _OneLineError(f"{name}: begins like an option; name this file ./{name}") from error
            raise
        except DcdrError as error:
            raise _OneLineError(self._in_words_of_the_command(ctx, str(error))) from error
        except KeyboardInterrupt:
            from dcdr_deploy.commands.show.terminal import ignore_signals

            ignore_signals()
            click.echo("interrupted; what was finished is kept", err=True)
            ctx.exit(EXIT_INTERRUPTED)
        except PermissionError as error:
            if not error.filename:
                raise  # of no file
            raise _OneLineError(f"{error.filename}: {error.strerror}; mend its permissions") from error
        except OSError as error:
            _refuse_failing_stdout(error)
            if error.errno not in DEVICE_FAILURES:
                raise
            place = f"{error.filename}: " if error.filename else ""
            raise _OneLineError(
                f"{place}{error.strerror}; a disk or a network fails: mend it and run again; what was finished is kept"
            ) from error

    def _in_words_of_the_command(self, ctx: click.Context, message: str) -> str:
        """Name options where a message names the fields behind them."""
        from dcdr_deploy.commands.show.text import with_options

        try:
            command = self._lazy[ctx.invoked_subcommand or ""].load()
        except (KeyError, ImportError):  # the group's own error, or that of a command which cannot be imported
            return message
        return with_options(message, command)

    @contextmanager
    def _packages_for(self, name: str) -> Iterator[None]:
        """Say what to install where a command cannot be imported for want of another package."""
        try:
            yield
        except ModuleNotFoundError as error:
            missing = (error.name or "").partition(".")[0]
            if missing in ("", __package__):
                raise  # a bug of this package
            raise MissingDependency(
                f"`dcdr-deploy {name}` needs the package {missing}, which is not installed: "
                f"{install_line(self._lazy[name].extra)}"
            ) from error


def _refuse_failing_stdout(error: OSError) -> None:
    if _stdout_fails():
        reason = "its reader is gone" if error.errno == errno.EPIPE else error.strerror
        raise _OneLineError(f"standard output cannot be written ({reason}); what was finished is kept") from error


def _stdout_fails() -> bool:
    """Whether it is standard output that an error comes from: then it fails again."""
    try:
        sys.stdout.write(" ")
        sys.stdout.flush()
    except OSError:
        # Python flushes it once more at its end, and would tell that in lines of its own.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False


EPILOG = """\b
First steps:
  dcdr-deploy run photo.jpg photo.exr       one picture, with the demo weights
  dcdr-deploy run photos/ hdr/ --preview    a folder
  dcdr-deploy view photo.jpg photo.exr      before and after, in the browser
  dcdr-deploy export model.pth              your own checkpoint -> model.onnx
  dcdr-deploy build-engine --fp16           model.onnx -> TensorRT engine
  dcdr-deploy doctor                        what works on this machine
"""


@click.group(
    "dcdr-deploy",
    cls=LazyGroup,
    lazy=COMMANDS,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)
@click.version_option(__version__, prog_name="dcdr-deploy", message="%(prog)s %(version)s")
def main() -> None:
    """Turn 8-bit SDR pictures into linear HDR with DCDR-UNet.

    Results go to stdout, all else to stderr. Exit codes: 0 done, 2 a mistake in what was asked for, 3 a folder of which
    some files failed, 130 interrupted.
    """
    from dcdr_deploy.commands.show.terminal import prepare_process

    prepare_process()
