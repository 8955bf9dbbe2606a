"""``dcdr-deploy triton``: a model repository for NVIDIA's inference server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dcdr_deploy.commands.show.told import tell_model
from dcdr_deploy.commands.show.written import show_written
from dcdr_deploy.run.selection import choose_onnx
from dcdr_deploy.serving.triton_repository import LARGEST_BATCH, TritonOptions, write_repository

EPILOG = """\b
Examples:
  dcdr-deploy triton models/                        demo weights, or the .onnx here
  dcdr-deploy triton models/ -m net.fp16.onnx --name dcdr_fp16 --device cuda
  tritonserver --model-repository=models
  python -m dcdr_deploy.serving.triton_client photo.jpg photo.exr --url localhost:8001

\b
Only the network runs on the server, on pictures of the working size. The client,
dcdr_deploy.serving.triton_client, reads, downscales, applies the gain and writes.
The tests check the configuration with Triton's own protobuf; no Triton server has
loaded it.
"""


@click.command("triton", epilog=EPILOG)
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option("-m", "--model", metavar="FILE", help="ONNX model or TensorRT engine. [the .onnx here, or demo weights]")
@click.option("--name", default=TritonOptions.name, show_default=True, help="The model's name on the server.")
@click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True, help="Where it runs."
)
@click.option("--instances", type=int, default=1, show_default=True, help="Copies on each device.")
@click.option(
    "--max-batch", type=int, metavar="N", help=f"Most pictures in a batch. [the model's own, at most {LARGEST_BATCH}]"
)
@click.option(
    "--delay",
    type=float,
    default=TritonOptions.delay,
    show_default=True,
    help="Milliseconds to wait for a batch to fill.",
)
@click.option(
    "--waiting",
    type=int,
    default=TritonOptions.waiting,
    show_default=True,
    help="Pictures that may wait on the server.",
)
@click.option("--json", "as_json", is_flag=True, help="Print what was written as JSON.")
def command(folder: Path, model: str | None, as_json: bool, **chosen: Any) -> None:
    """Write a model repository for NVIDIA Triton into DIR: a folder for the model, with config.pbtxt and the file.

    ONNX models use Triton's onnxruntime backend; TensorRT engines without our plugin use its tensorrt backend. A
    repository may hold several models; one of the same name is replaced.
    """
    options = TritonOptions(**chosen)
    choice = choose_onnx(model)
    tell_model(choice)
    written = write_repository(folder, choice.path, options)
    show_written({"config": written.config, "model": written.model}, written.notes, as_json=as_json)
