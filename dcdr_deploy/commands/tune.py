"""``dcdr-deploy tune``: which of our own kernels are fastest on this GPU."""

from __future__ import annotations

from contextlib import closing

import click

from dcdr_deploy.commands.show.text import printable_lines
from dcdr_deploy.system.json_text import json_text

EPILOG = """\b
Examples:
  dcdr-deploy tune                    the first GPU
  dcdr-deploy tune --device cuda:1    another one
  dcdr-deploy tune --json > gpu.json  all measured times
  dcdr-deploy tune --forget           back to the package's kernels

\b
The result is valid for this GPU, its driver, the compiler and this version:
measure again if one of them changes. Variants differ in speed; their results
differ by rounding only.
"""


@click.command("tune", epilog=EPILOG)
@click.option("--device", default="cuda", show_default=True, help="cuda, or cuda:1 and so on.")
@click.option(
    "--seconds",
    type=click.IntRange(min=1),
    default=60,
    show_default=True,
    help="No kind of kernel is started after this time; the rest stay as they are.",
)
@click.option("--forget", is_flag=True, help="Measure nothing; remove what is stored for this GPU.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def command(device: str, seconds: int, forget: bool, as_json: bool) -> None:
    """Measure the kernels of backend `cuda` on this GPU, and keep the fastest.

    Each kernel has several variants. They are compiled, compared with the package's default, and timed on frames of
    768x512 and 1920x1080 pixels. Variants that are correct and clearly faster are stored in the user's cache, and `run`
    uses them from then on. Needs no model.
    """
    from dcdr_deploy.commands.show.tune import as_text, display
    from dcdr_deploy.engines.cuda.engine import gpu_of_device
    from dcdr_deploy.engines.cuda.memory import Device
    from dcdr_deploy.engines.cuda.tuning import kept
    from dcdr_deploy.engines.cuda.tuning.tune import tune
    from dcdr_deploy.run.selection import DEMO_MODEL

    index = gpu_of_device(device)
    if forget:
        with closing(Device(index)) as gpu:
            known = kept.gpu_of(gpu)
            there = kept.forget(known)
        found = f"removed {known.path}" if there else f"nothing is kept for {known.name}"
        click.echo(json_text({"removed": str(known.path) if there else None}) if as_json else printable_lines(found))
        return
    with display() as shown:
        report = tune(DEMO_MODEL, index, seconds, shown)
    click.echo(json_text(report.as_dict(), indent=2) if as_json else printable_lines(as_text(report)))
