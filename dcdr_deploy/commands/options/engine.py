"""Which model runs, on what, and in which tiles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from dcdr_deploy.commands.options.group import group
from dcdr_deploy.commands.options.types import NumberOr
from dcdr_deploy.engines.base import PRECISIONS
from dcdr_deploy.engines.registry import AUTO, backend_names
from dcdr_deploy.run.opening import RunnerSettings

options = group(
    click.option("-m", "--model", metavar="FILE", help="ONNX model, engine, checkpoint, or a name. [see below]"),
    click.option("--backend", default=AUTO, show_default=True, help=f"{AUTO}, {', '.join(backend_names())}."),
    click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:1."),
    click.option(
        "--precision",
        type=click.Choice(PRECISIONS),
        default="auto",
        show_default=True,
        help="auto is fp16 if the GPU supports it; ONNX files and engines keep their own, except that backend cuda "
        "always computes in fp16.",
    ),
    click.option("--threads", type=int, help="Processor threads. [the backend's choice]"),
)

tile_options = group(
    click.option(
        "--tile",
        type=NumberOr(auto="auto", none=None),
        metavar="auto|none|N",
        default="auto",
        show_default=True,
        help="Largest tile edge in pixels, at the size that --scale gives; none: no tiles; auto: whatever fits in "
        "memory.",
    ),
    click.option(
        "--overlap",
        type=NumberOr(auto="auto"),
        metavar="auto|N",
        default="auto",
        show_default=True,
        help="Context in pixels around each tile; auto: as stored in the model.",
    ),
    click.option(
        "--batch",
        type=NumberOr(auto="auto"),
        metavar="auto|N",
        default="auto",
        show_default=True,
        help="Tiles per call of the engine.",
    ),
)


def runner_settings(chosen: Mapping[str, Any]) -> RunnerSettings:
    """How the model runs; ``chosen`` may lack the tiles."""
    names = ("backend", "device", "threads", "tile", "overlap", "batch", "precision")
    return RunnerSettings(**{name: chosen[name] for name in names if name in chosen})
