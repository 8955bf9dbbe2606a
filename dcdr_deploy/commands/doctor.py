"""``dcdr-deploy doctor``: what this machine has and which backends work on it."""

from __future__ import annotations

import click

from dcdr_deploy.system.json_text import json_text

EPILOG = """\b
Examples:
  dcdr-deploy doctor
  dcdr-deploy doctor --json > machine.json          to go with a bug report
"""


@click.command("doctor", epilog=EPILOG)
@click.option("--deep", is_flag=True, help="Load the packages that take seconds too (torch) and try them.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(deep: bool, as_json: bool) -> None:
    """Show versions, devices, and each backend's state with its reason."""
    from dcdr_deploy.commands.show.doctor import format_report
    from dcdr_deploy.inspection.machine import report

    data = report(deep=deep)
    click.echo(json_text(data, indent=2) if as_json else format_report(data))
