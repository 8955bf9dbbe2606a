"""How much is told, and whether to people or to machines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from dcdr_deploy.commands.options.group import group
from dcdr_deploy.commands.show.run import NORMAL, QUIET, VERBOSE

options = group(
    click.option("--json", "as_json", is_flag=True, help="Print one line of JSON per file on stdout."),
    click.option(
        "-q",
        "--quiet",
        "verbosity",
        flag_value=QUIET,
        type=int,
        help="Print only results, errors, and the model if it was not named.",
    ),
    click.option(
        "-v", "--verbose", "verbosity", flag_value=VERBOSE, type=int, help="Also print times, tiles and log messages."
    ),
)


def verbosity(chosen: Mapping[str, Any]) -> int:
    """QUIET, NORMAL or VERBOSE."""
    return NORMAL if chosen["verbosity"] is None else int(chosen["verbosity"])
