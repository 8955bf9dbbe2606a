"""Messages of the library name fields; a command shows its own options in their place."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import dcdr_deploy
from dcdr_deploy.cli import COMMANDS
from dcdr_deploy.commands.show.text import with_options

PACKAGE = Path(dcdr_deploy.__file__).parent


@pytest.mark.parametrize(
    ("command", "message", "shown"),
    [
        ("build-engine", "`max_batch` must be at least 1, not 0", "--max-batch must be at least 1, not 0"),
        ("build-engine", "name the GPUs with `sms`, such as `sms` 86", "name the GPUs with --sm, such as --sm 86"),
        ("run", "write .exr, or leave `float32` out", "write .exr, or leave --float out"),
        ("train", "choose another folder by `output`", "choose another folder by --output"),
        ("run", "`max_batch` is no option here", "`max_batch` is no option here"),
        ("run", "see `dcdr-deploy doctor`", "see `dcdr-deploy doctor`"),
    ],
)
def test_fields_become_the_options_of_the_command(command: str, message: str, shown: str) -> None:
    assert with_options(message, COMMANDS[command].load()) == shown


def test_without_a_command_a_message_stays_as_the_library_wrote_it() -> None:
    assert with_options("`tile` 30x40") == "`tile` 30x40"


def test_the_command_line_shows_options_and_python_sees_fields(dcdr, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from dcdr_deploy.errors import InputError
    from dcdr_deploy.export.checkpoint import ExportOptions

    with pytest.raises(InputError, match=r"^`peak` -1: it is a number above 0"):
        ExportOptions(peak=-1.0)
    (tmp_path / "model.pth").write_bytes(b"not looked into yet")
    result = dcdr("export", "model.pth", "--peak", "-1")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: --peak -1: it is a number above 0")


def test_every_field_that_a_message_names_is_an_option_of_some_command() -> None:
    """Or the message would reach people with the quotes of the library."""
    import re

    options = {each.name for command in COMMANDS.values() for each in command.load().params}
    named = {
        (field, str(file.relative_to(PACKAGE)))
        for file in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Raise)
        for text in ast.walk(node)
        if isinstance(text, ast.Constant) and isinstance(text.value, str)
        for field in re.findall(r"`(\w+)`", text.value)
    }
    assert len(named) > 20
    assert {each for each in named if each[0] not in options} == set()
