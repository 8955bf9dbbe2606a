"""A network on an NVIDIA Triton server as an engine: working scale, gain, tiles and files stay on this side.

    python -m dcdr_deploy.serving.triton_client photo.jpg photo.exr --url localhost:8001

What the server knows of the network (peak, overlap, sizes) comes from the model's configuration there, which
``dcdr-deploy triton`` wrote: the client needs no model file. Needs tritonclient[grpc].
"""

from __future__ import annotations

import re
from typing import IO

import click
import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.engines.base import Engine, EngineInfo
from dcdr_deploy.errors import DcdrError, EngineError, MissingDependency, ModelError
from dcdr_deploy.modelfile.metadata import decode
from dcdr_deploy.run.file import convert_file
from dcdr_deploy.run.outputs import ConvertOptions
from dcdr_deploy.run.runner import Runner
from dcdr_deploy.run.working_scale import parse_scale
from dcdr_deploy.serving.triton_config import LARGEST_KEY, SMALLEST_KEY
from dcdr_deploy.serving.triton_repository import DEFAULT_NAME
from dcdr_deploy.system.faults import engine_error, one_line
from dcdr_deploy.system.packages import install_line

TIMEOUT = 60.0
"""Seconds that a call may take, with its wait in the server's queue."""

Size = tuple[int, int]


class TritonEngine(Engine):
    """One model on a Triton server, by gRPC; to be given to a :class:`~dcdr_deploy.run.runner.Runner`.

    Raises:
        MissingDependency: tritonclient is not installed.
        EngineError: no server answers there, or it does not serve the model.
        ModelError: the model's configuration is not one of ``dcdr-deploy triton``.
    """

    def __init__(self, url: str = "localhost:8001", model: str = DEFAULT_NAME, timeout: float = TIMEOUT) -> None:
        """Ask the server for the model's configuration.

        Args:
            url: HOST:PORT of its gRPC service.
            model: the model's name there.
            timeout: seconds that a call may take.
        """
        try:
            from tritonclient import grpc, utils
        except ImportError as error:
            raise MissingDependency(f"a Triton server needs tritonclient: {install_line('triton')}") from error
        self._grpc, self._failure, self._timeout = grpc, utils.InferenceServerException, timeout
        self._model = model
        self._client = grpc.InferenceServerClient(url)
        try:
            config = self._client.get_model_config(model, client_timeout=timeout).config
        except self._failure as error:
            self._client.close()
            raise EngineError(f"{url} does not serve {model}: {one_line(error)}") from error
        self._input, self._output = config.input[0].name, config.output[0].name
        stated = {key: value.string_value for key, value in config.parameters.items()}
        self.info = EngineInfo(
            backend="triton",
            device=f"{url} ({config.backend})",
            precision=stated.get("dcdr.precision", "fp32"),
            model=None,
            metadata=decode(stated, f"{model} on {url}"),
            max_batch=max(config.max_batch_size, 1),
            fixed_size=_fixed(list(config.input[0].dims)),
            smallest_size=_size(stated, SMALLEST_KEY),
            largest_size=_size(stated, LARGEST_KEY),
        )

    def _infer(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        given = self._grpc.InferInput(self._input, list(batch.shape), "FP32")
        given.set_data_from_numpy(batch)
        wanted = [self._grpc.InferRequestedOutput(self._output)]
        try:
            result = self._client.infer(self._model, [given], outputs=wanted, client_timeout=self._timeout)
        except self._failure as error:
            raise engine_error("triton", error) from error
        return np.asarray(result.as_numpy(self._output))

    def available_memory(self) -> int | None:
        """Return ``None``: how much the server has left is not known here."""
        return None

    def _close(self) -> None:
        self._client.close()


def _fixed(dims: list[int]) -> Size | None:
    height, width = dims[-2:]
    return None if height < 0 or width < 0 else (height, width)


def _size(stated: dict[str, str], key: str) -> Size | None:
    if key not in stated:
        return None
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", stated[key])
    if match is None:
        raise ModelError(f"the model's parameter {key} is {stated[key]!r}, no size; write the repository again")
    return int(match[1]), int(match[2])


class _OneLineError(click.ClickException):
    """A user's error as ``dcdr-deploy`` shows it."""

    exit_code = 2

    def show(self, file: IO[str] | None = None) -> None:
        click.echo(f"error: {' '.join(self.message.split())}", err=True)


@click.command("triton_client")
@click.argument("source", metavar="INPUT")
@click.argument("target", metavar="OUTPUT")
@click.option("--url", default="localhost:8001", show_default=True, help="HOST:PORT of the server's gRPC service.")
@click.option("--model", default=DEFAULT_NAME, show_default=True, help="The model's name there.")
@click.option("--scale", default="auto", show_default=True, help="As of `dcdr-deploy run`.")
def main(source: str, target: str, url: str, model: str, scale: str) -> None:
    """Turn the picture INPUT into the HDR file OUTPUT by a network on a Triton server."""
    try:
        with TritonEngine(url, model) as engine:
            report = convert_file(source, target, Runner(engine), ConvertOptions(scale=parse_scale(scale)))
    except DcdrError as error:
        raise _OneLineError(str(error)) from error
    click.echo(f"{report.output}: {report.width}x{report.height}, {report.recovery.word}, {report.seconds:.1f} s")


if __name__ == "__main__":
    main()
