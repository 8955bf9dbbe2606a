"""What the scripts' command lines share: defaults in ``--help``, places and sizes that are checked, and the end.

A script makes its parser here and begins by :func:`start`: what a user can cause is one line, as of `dcdr-deploy`, and
known before any work where it can be.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from dcdr_deploy.errors import DcdrError, EngineError
from dcdr_deploy.system import hardware
from dcdr_deploy.system.files import check_folder, check_writable

ROOT = Path(__file__).resolve().parents[1]
ERROR, INTERRUPTED = 2, 130
"""Exit codes, as of `dcdr-deploy`."""

Value = TypeVar("Value")


class Parser(argparse.ArgumentParser):
    """Shows a script's docstring as it stands, and each option's default unless its help has something in brackets."""

    def __init__(self, description: str | None) -> None:
        self._added: list[argparse.Action] = []
        super().__init__(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)

    def add_argument(self, *names: Any, **settings: Any) -> argparse.Action:
        """As of the class above."""
        action = super().add_argument(*names, **settings)
        self._added.append(action)
        return action

    def format_help(self) -> str:
        """As of the class above, with defaults: those of ``set_defaults`` too."""
        for action in self._added:
            default, text = _words(action.default), action.help or ""
            if default and "[" not in text and text != argparse.SUPPRESS:
                action.help = f"{text} [{default}]".strip()
        return super().format_help()


def _words(default: Any) -> str:
    """A default as it would be typed; empty for none, a switch, and options that collect."""
    if default in (None, argparse.SUPPRESS) or isinstance(default, bool):
        return ""
    if isinstance(default, list | tuple):
        return " ".join(map(_words, default))
    if isinstance(default, Path) and default.is_relative_to(ROOT):
        default = default.relative_to(ROOT)
    return f"{default:g}" if isinstance(default, float) else str(default).replace("%", "%%")


def existing_folder(text: str) -> Path:
    """A folder that is there."""
    if not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"{text}: {'is a file' if Path(text).exists() else 'no such folder'}")
    return Path(text)


def existing_file(text: str) -> Path:
    """A file that is there."""
    if not Path(text).is_file():
        raise argparse.ArgumentTypeError(f"{text}: {'is a folder' if Path(text).exists() else 'no such file'}")
    return Path(text)


def new_file(text: str) -> Path:
    """A file that can be written; its folder need not be there, see :func:`make_way`."""
    return _checked(check_writable, text)


def new_folder(text: str) -> Path:
    """A folder that can be made or written to."""
    return _checked(check_folder, text)


def _checked(check: Callable[[Path], None], text: str) -> Path:
    try:
        check(Path(text))
    except DcdrError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return Path(text)


def whole_number(text: str) -> int:
    """A whole number from 1 on."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 on")
    return int(text)


def above_zero(text: str) -> float:
    """A time above 0; of milliseconds too."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return value


def height_and_width(text: str) -> tuple[int, int]:
    """Height and width, as 1080x1920."""
    height, between, width = text.partition("x")
    try:
        return whole_number(height), whole_number(width if between else "")
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; write HEIGHTxWIDTH, for example 1080x1920") from None


def several(kind: Callable[[str], Value]) -> Callable[[str], list[Value]]:
    """Values with commas between them."""
    return lambda text: [kind(each) for each in text.split(",")]


def add_frame_sizes(parser: argparse.ArgumentParser, default: str) -> None:
    """Add the option of the sizes of frames that are measured."""
    parser.add_argument(
        "--sizes", type=several(height_and_width), default=default, metavar="HxW,...", help="of the frames"
    )


def need_gpu() -> None:
    """Refuse to begin what has no sense without one.

    Raises:
        EngineError: there is no NVIDIA GPU.
    """
    if not hardware.compute_capabilities():
        raise EngineError("needs an NVIDIA GPU with its driver; `dcdr-deploy doctor` shows what is here")


def start(main: Callable[[], int | None]) -> NoReturn:
    """Call a script's main function and end with its status; a user's errors are lines, and so is Ctrl-C."""
    try:
        status = main() or 0
    except DcdrError as error:
        print(f"error: {' '.join(str(error).splitlines())}", file=sys.stderr)
        status = ERROR
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        status = INTERRUPTED
    sys.exit(status)
