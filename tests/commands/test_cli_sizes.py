"""What is given as two numbers has one order in all commands, and `--help` says so."""

from __future__ import annotations

import re

import click
import pytest
from click.testing import CliRunner

from dcdr_deploy.cli import COMMANDS, main
from dcdr_deploy.commands.options.types import SizeType


@pytest.mark.parametrize("name", COMMANDS)
def test_sizes_are_height_and_width(name: str) -> None:
    if name == "serve":
        pytest.importorskip("fastapi")
    for option in COMMANDS[name].load().params:
        if not isinstance(option, click.Option):
            continue
        if isinstance(option.type, SizeType):
            assert option.metavar == "HxW"
            assert re.search("[Hh]eight and width", option.help or "")
        else:
            assert not re.search("[A-Za-z]x[A-Z]$", option.metavar or "")


@pytest.mark.parametrize("text", ["1920", "big", "1080,1920", "0x1920x3"])
def test_anything_but_two_numbers_is_no_size(text: str) -> None:
    done = CliRunner().invoke(main, ["build-engine", "--tile", text])
    assert done.exit_code == 2
    assert "is no size; write HEIGHTxWIDTH, for example 1080x1920" in done.stderr
