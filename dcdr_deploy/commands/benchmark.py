"""``dcdr-deploy benchmark``: how fast every backend is here."""

from __future__ import annotations

from typing import Any

import click

from dcdr_deploy.commands.options.types import SizeType
from dcdr_deploy.commands.show.progress import Display
from dcdr_deploy.commands.show.text import with_options
from dcdr_deploy.engines.base import PRECISIONS, EngineOptions
from dcdr_deploy.engines.registry import backend_names
from dcdr_deploy.run.benchmark import MOST_ROUNDS, BenchmarkOptions, benchmark
from dcdr_deploy.run.contenders import ALL, contenders
from dcdr_deploy.run.selection import choose_model
from dcdr_deploy.run.timings import as_dict
from dcdr_deploy.system.json_text import json_text
from dcdr_deploy.system.progress import silent

EPILOG = """\b
Examples:
  dcdr-deploy benchmark                                    all backends, demo weights
  dcdr-deploy benchmark --backend cuda,torch --size 2160x3840
  dcdr-deploy benchmark -m my.onnx -m my.pth -m my.engine  each backend takes its file
  dcdr-deploy benchmark --json > times.json                to go with a report

\b
Times are for whole frames, from 8-bit pictures in memory to floats in memory, as
`run` computes them; files are neither read nor written. All backends are loaded
first and then take turns, so that ratios are valid even if clocks change.
"""


@click.command("benchmark", epilog=EPILOG)
@click.option(
    "-m", "--model", "models", multiple=True, metavar="FILE", help="Model file; may be repeated. [demo weights]"
)
@click.option(
    "--backend",
    default=ALL,
    show_default=True,
    metavar="NAMES",
    help=f"{ALL}, or some of: {','.join(backend_names())}.",
)
@click.option(
    "--size",
    "sizes",
    multiple=True,
    type=SizeType(),
    metavar="HxW",
    help="Height and width of the pictures; may be repeated. [1080x1920 and 2160x3840 on a GPU, else 360x640]",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:1.")
@click.option("--precision", type=click.Choice(PRECISIONS), default="auto", show_default=True, help="As for `run`.")
@click.option("--threads", type=int, help="Processor threads. [the backend's choice]")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0),
    default=BenchmarkOptions.seconds,
    show_default=True,
    help="Time for the rounds of each size.",
)
@click.option(
    "--rounds",
    type=click.IntRange(0, MOST_ROUNDS),
    default=BenchmarkOptions.rounds,
    show_default=True,
    help="Minimum number of rounds, whatever time they take; 0: only the first frame counts.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
def command(models: tuple[str, ...], backend: str, sizes: tuple[tuple[int, int], ...], **chosen: Any) -> None:
    """Time every backend that loads: frames per second, time to the first frame, memory, agreement with FP32."""
    from dcdr_deploy.commands.show.benchmark import format_results
    from dcdr_deploy.inspection.machine import report

    paths = [choose_model(name).path for name in models]
    engine = EngineOptions(chosen["device"], chosen["threads"], chosen["precision"])
    options = BenchmarkOptions(tuple(sizes), chosen["seconds"], chosen["rounds"], engine)

    listener = silent if chosen["quiet"] else Display(lines=lambda event: event.stage)
    results = benchmark(contenders(backend, paths), options, listener)
    machine = report()
    if chosen["as_json"]:
        click.echo(with_options(json_text({"machine": machine, "results": as_dict(results)}, indent=2)))
    else:
        click.echo(format_results(results, machine))
