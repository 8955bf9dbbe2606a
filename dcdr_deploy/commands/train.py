"""``dcdr-deploy train``: the training loop, in one run or in slices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from dcdr_deploy.training.recipe import RECIPES

EPILOG = """\b
Examples:
  dcdr-deploy train --data cityscapes/ -o runs/paper           the paper's recipe on pairs in the Cityscapes layout
  dcdr-deploy train --ldr sdr/ --hdr hdr16/ -o runs/mine       pairs of equal file names in two folders
  dcdr-deploy train --recipe demo --photos photos/ --panoramas hdri/ -o runs/demo    photographs, overexposed by itself
  dcdr-deploy train --recipe demo --photos photos/ --panoramas hdri/ -o runs/demo --resume --minutes 9
  dcdr-deploy train --weights model.pth --ldr sdr/ --hdr hdr16/ -o runs/tuned --learning-rate 5e-5     fine-tuning
  torchrun --nproc-per-node 4 -m dcdr_deploy train --data cityscapes/ -o runs/paper     on four GPUs
"""

OVERRIDES = ("preset", "steps", "batch", "patch", "learning_rate", "precision", "seed")
"""Options that replace a field of the recipe when they are given."""


@click.command("train", epilog=EPILOG)
@click.option("--recipe", default="paper", show_default=True, help=f"Named settings: {', '.join(RECIPES)}.")
@click.option("--data", type=click.Path(path_type=Path), help="Folder in the Cityscapes layout.")
@click.option("--split", default="train", show_default=True, help="Split of the Cityscapes layout.")
@click.option("--ldr", type=click.Path(path_type=Path), help="Folder of 8-bit SDR pictures, with --hdr.")
@click.option("--hdr", type=click.Path(path_type=Path), help="Folder of 16-bit linear HDR pictures, with --ldr.")
@click.option(
    "--panoramas",
    type=click.Path(path_type=Path),
    multiple=True,
    default=[Path("data/hdri")],
    show_default=True,
    help="Folder of panoramas of the synthetic source, which is used without --data and --ldr; may be repeated.",
)
@click.option(
    "--photos",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Folder of photographs of the synthetic source, to be overexposed; may be repeated.",
)
@click.option(
    "--split-list",
    "lists",
    type=click.Path(path_type=Path),
    multiple=True,
    default=[Path("data/splits/photographs.tsv"), Path("data/splits/panoramas.tsv")],
    show_default=True,
    help="Table that says which photographs and panoramas are held back; may be repeated.",
)
@click.option("--scenes", default=3000, show_default=True, help="Procedural scenes of the synthetic source.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder of the run.")
@click.option(
    "--weights",
    "start_weights",
    type=click.Path(path_type=Path),
    help="Checkpoint, or demo, whose weights a new run starts at; --resume goes on with its own.",
)
@click.option("--resume", is_flag=True, help="Go on with the run in the output folder.")
@click.option("--preset", type=str, help="Network: paper or lite (DCDR-UNet), hdrunet, or another of docs/networks.md.")
@click.option("--steps", type=int, help="Optimiser steps of the whole run. [recipe's: paper 200000]")
@click.option("--batch", type=int, help="Patches a step, over all GPUs. [recipe's: paper 16]")
@click.option("--patch", type=int, help="Patch size in pixels. [recipe's: paper 512]")
@click.option("--learning-rate", type=float, help="Learning rate of Adam. [recipe's: 2e-4]")
@click.option(
    "--perceptual",
    type=click.Choice(["vgg19", "squeezenet", "none"]),
    help="Perceptual loss: the paper's (eq. 7), one whose weights come by pip, or none. [recipe's]",
)
@click.option("--vgg19-weights", type=click.Path(path_type=Path), help="torchvision's VGG19 file. [torch's cache]")
@click.option("--squeezenet-weights", type=click.Path(path_type=Path), help="SqueezeNet's file. [package ndf]")
@click.option("--precision", type=click.Choice(["auto", "fp32", "bf16", "fp16"]), help="Arithmetic. [recipe's]")
@click.option("--seed", type=int, help="Seed of weights and data. [recipe's: 0]")
@click.option(
    "--peak",
    type=float,
    default=8.0,
    show_default="that of --weights, or 8",
    help="Full scale of targets in units of SDR white.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:1.")
@click.option("--threads", type=int, help="CPU threads. [torch's choice]")
@click.option("--workers", type=int, help="Processes that prepare data. [0 on a CPU, up to 16 for each GPU]")
@click.option("--compile", is_flag=True, help="Run the network through torch.compile; gains nothing on a CPU.")
@click.option("--checkpoint-every", default=500, show_default=True, help="Steps between checkpoints.")
@click.option("--validate-every", default=1000, show_default=True, help="Steps between validations (synthetic source).")
@click.option("--minutes", type=float, help="End this slice after so many minutes, to go on with --resume.")
def command(**options: Any) -> None:
    """Train a network; checkpoints and metrics go to the output folder.

    An interrupted run (Ctrl-C, --minutes) ends with a checkpoint; a killed one loses at most --checkpoint-every steps.
    --resume goes on as if it had never stopped, with the run's own settings: options need not be repeated, and one that
    says something else than the run is an error, but for --steps. Under torchrun every process takes a GPU and a share
    of each batch; a run may go on with another number of them.
    """
    from dcdr_deploy.export import require_export_packages

    require_export_packages()
    from dcdr_deploy.modelfile.names import SAFETENSORS_SUFFIX
    from dcdr_deploy.run.selection import by_name
    from dcdr_deploy.training.asked import TrainingRequest, check_request

    if options["start_weights"] is not None:
        options["start_weights"] = by_name(options["start_weights"], {SAFETENSORS_SUFFIX})
    fields = {name: options.pop(name) for name in OVERRIDES}
    overrides = {name: value for name, value in fields.items() if value is not None}
    context = click.get_current_context()
    given = frozenset(
        name for name in context.params if context.get_parameter_source(name) is not ParameterSource.DEFAULT
    )
    request = TrainingRequest(overrides=overrides, given=given, **options)
    check_request(request)
    # What is wrong is said by now: from here on torch is loaded, which takes seconds.
    from dcdr_deploy.commands.show.train import display
    from dcdr_deploy.training.distributed import process_from_environment
    from dcdr_deploy.training.request import run_request

    with display() as shown:
        done = run_request(request, shown)
    if not process_from_environment().is_first:
        return
    folder = options["output"]
    if done:
        click.echo(f"done: {folder / 'last.pth'}\nnext: dcdr-deploy export {folder / 'last.pth'}")
    else:
        click.echo(f"stopped with a checkpoint in {folder}; go on with --resume")
