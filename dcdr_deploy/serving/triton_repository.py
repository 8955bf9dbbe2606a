"""A model repository for NVIDIA Triton from a model file: what is known of it, checked, copied, and described."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from dcdr_deploy.errors import InputError, ModelError
from dcdr_deploy.modelfile.metadata import PREFIX, ModelMetadata, encode
from dcdr_deploy.modelfile.names import ENGINE_SUFFIX, INPUT_NAME, ONNX_SUFFIX, OUTPUT_NAME
from dcdr_deploy.modelfile.onnx_file import external_file, read_header, read_model
from dcdr_deploy.modelfile.sidecar import REBUILD, Sidecar, read_sidecar
from dcdr_deploy.serving.triton_config import TritonModel, config_text
from dcdr_deploy.system.files import atomic_path

CONFIG_NAME = "config.pbtxt"
DEFAULT_NAME = "dcdr_unet"

LARGEST_BATCH = 8
"""Pictures in a batch of a model that takes any number: more do not make a GPU faster."""

LEAST_ONNXRUNTIME = "1.25"
"""The first with the operator DeformConv."""

ENGINE_PACKAGE = "tensorrt"
"""What Triton's tensorrt backend runs engines of."""

_NOT_FOR_CLIENTS = {PREFIX + "training", PREFIX + "offsets"}
"""Entries of kilobytes that no runner asks for."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True)
class TritonOptions:
    """How a model is to be served.

    Attributes:
        name: what clients call it: letters, digits, ``_ . -``.
        device: ``"cpu"``, ``"cuda"`` or ``"auto"``.
        instances: copies on each device.
        max_batch: most pictures in a batch; ``None`` for what the model takes, at most LARGEST_BATCH.
        delay: milliseconds that a picture may wait for others of its size.
        waiting: pictures that may wait.

    Raises:
        InputError: a value out of range.
    """

    name: str = DEFAULT_NAME
    device: str = "auto"
    instances: int = 1
    max_batch: int | None = None
    delay: float = 2.0
    waiting: int = 64

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise InputError(f"`name` {self.name!r}: a model's name is letters, digits, _ . and -, at most 64")
        ranges = {"instances": (1, 64), "max_batch": (1, 1024), "delay": (0, 1000), "waiting": (1, 1 << 20)}
        for field, (least, most) in ranges.items():
            value = getattr(self, field)
            if value is not None and not least <= value <= most:
                raise InputError(f"`{field}` must be {least} to {most}, not {value:g}")


@dataclass(frozen=True)
class WrittenRepository:
    """What was written.

    Attributes:
        config: the configuration file.
        model: the model file beside it, in the folder of its version.
        notes: what the server must have.
    """

    config: Path
    model: Path
    notes: tuple[str, ...]


def write_repository(folder: Path, model: Path, options: TritonOptions) -> WrittenRepository:
    """Write ``folder/NAME/config.pbtxt`` and ``folder/NAME/1/model.onnx`` (or ``model.plan``).

    Raises:
        ModelError: the file is no model of ours, or Triton cannot run it.
        InputError: an option does not fit the model.
        OutputError: the folder cannot be written.
    """
    suffix = model.suffix.lower()
    if suffix == ONNX_SUFFIX:
        served, beside, note = _of_onnx(model, options)
    elif suffix == ENGINE_SUFFIX:
        served, beside, note = _of_engine(model, options)
    else:
        raise ModelError(f"{model}: Triton serves {ONNX_SUFFIX} and {ENGINE_SUFFIX} files; export the checkpoint first")
    place = folder / options.name
    target = place / "1" / served.file
    for source, copy in ((model, target), *((each, target.with_name(each.name)) for each in beside)):
        with atomic_path(copy) as temporary:
            shutil.copyfile(source, temporary)
    with atomic_path(place / CONFIG_NAME) as temporary:  # last: a server that polls takes a model by it
        temporary.write_text(config_text(served), encoding="ascii")
    return WrittenRepository(place / CONFIG_NAME, target, (note,))


def _of_onnx(path: Path, options: TritonOptions) -> tuple[TritonModel, list[Path], str]:
    model, header = read_model(path), read_header(path)
    if model.max_batch == 1 and (options.max_batch or 1) > 1:
        raise InputError(f"{path} takes one picture a call, `max_batch` cannot be {options.max_batch}")
    served = TritonModel(
        name=options.name,
        backend="onnxruntime",
        file="model.onnx",
        input_name=model.input_name,
        output_name=header.outputs[0].name,
        metadata=_for_clients(model.metadata),
        max_batch=model.max_batch or options.max_batch or LARGEST_BATCH,
        fixed_size=model.fixed_size,
        device=options.device,
        instances=options.instances,
        delay=round(options.delay * 1000),
        waiting=options.waiting,
    )
    note = f"the server's onnxruntime backend must be built with ONNX Runtime {LEAST_ONNXRUNTIME} or newer (DeformConv)"
    return served, [external_file(path, each) for each in sorted(header.external)], note


def _of_engine(path: Path, options: TritonOptions) -> tuple[TritonModel, list[Path], str]:
    sidecar = read_sidecar(path)
    _check_engine(path, sidecar, options)
    served = TritonModel(
        name=options.name,
        backend="tensorrt",
        file="model.plan",
        input_name=INPUT_NAME,
        output_name=OUTPUT_NAME,
        metadata=_for_clients(sidecar.model_metadata(str(path))),
        max_batch=min(sidecar.max_batch, options.max_batch or sidecar.max_batch),
        best_batch=min(sidecar.opt_shape[0], options.max_batch or sidecar.max_batch),
        fixed_size=sidecar.fixed_size,
        smallest=sidecar.min_shape[1:],
        largest=sidecar.max_shape[1:],
        device="cuda",
        instances=options.instances,
        delay=round(options.delay * 1000),
        waiting=options.waiting,
    )
    gpus = ", ".join(f"SM{sm}" for sm in sidecar.sms)
    note = f"the server must have TensorRT {sidecar.package_version} and a GPU of {gpus}; for another, {REBUILD}"
    return served, [], note


def _for_clients(metadata: ModelMetadata) -> dict[str, str]:
    return {key: text for key, text in encode(metadata).items() if key not in _NOT_FOR_CLIENTS}


def _check_engine(path: Path, sidecar: Sidecar, options: TritonOptions) -> None:
    if sidecar.package != ENGINE_PACKAGE:
        raise ModelError(
            f"{path} was built with {sidecar.package}, and Triton's tensorrt backend runs engines of TensorRT alone; "
            "build one with --backend tensorrt --plugin none, or serve the .onnx file"
        )
    if sidecar.plugin is not None:
        raise ModelError(
            f"{path} holds the plugin {sidecar.plugin}, which is Python code of dcdr-deploy: there is no library of it "
            "that Triton could be given by LD_PRELOAD; build one with --backend tensorrt --plugin none, or serve the "
            ".onnx file"
        )
    if options.device == "cpu":
        raise InputError(f"{path} runs on GPUs alone, `device` cannot be cpu")
    if (options.max_batch or 1) > sidecar.max_batch:
        raise InputError(f"{path} takes {sidecar.max_batch} pictures a call, `max_batch` cannot be {options.max_batch}")
