"""``config.pbtxt`` of an NVIDIA Triton model repository: pure functions from facts to text; no protobuf needed.

Fields and their meaning: Triton's ``model_config.proto`` and its "Model Configuration" document.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dcdr_deploy.run import working_scale
from dcdr_deploy.run.working_scale import working_sizes

SMALLEST_KEY, LARGEST_KEY = "size.smallest", "size.largest"
"""Parameters of an engine's range, ``HEIGHTxWIDTH``; besides them stand the entries of the model's own metadata."""

_USUAL_PICTURES = ((4000, 6000), (6000, 4000))
"""(height, width) of pictures whose working sizes a model is warmed up for."""

Size = tuple[int, int]


class EnumValue(str):
    """A value of an enumeration, which stands without quotes."""

    __slots__ = ()


@dataclass(frozen=True)
class TritonModel:
    """A model as Triton is to serve it.

    Attributes:
        name: its folder's name.
        backend: ``"onnxruntime"`` or ``"tensorrt"``.
        file: name of the model file in the folder of a version.
        input_name, output_name: of the tensors, float32 (N, 3, H, W).
        metadata: strings for clients, see :func:`dcdr_deploy.modelfile.metadata.encode`.
        max_batch: most pictures that Triton may put together; 1 for a model that takes one at a time.
        best_batch: the batch it was tuned for; 0 if there is none.
        fixed_size: (height, width) of a model for one size.
        smallest, largest: (height, width) of a model with a range.
        device: ``"cpu"``, ``"cuda"`` or ``"auto"``, which is Triton's choice.
        instances: copies of the model on each device.
        delay: microseconds that a picture may wait for others of its size.
        waiting: pictures that may wait; Triton refuses further ones.
    """

    name: str
    backend: str
    file: str
    input_name: str
    output_name: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    max_batch: int = 1
    best_batch: int = 0
    fixed_size: Size | None = None
    smallest: Size | None = None
    largest: Size | None = None
    device: str = "auto"
    instances: int = 1
    delay: int = 2000
    waiting: int = 64

    @property
    def has_batches(self) -> bool:
        """Whether Triton adds the batch dimension; a model exported for one picture a call has it in its shape."""
        return self.max_batch > 1


_KINDS = {"auto": EnumValue("KIND_AUTO"), "cpu": EnumValue("KIND_CPU"), "cuda": EnumValue("KIND_GPU")}
_FP32 = EnumValue("TYPE_FP32")


def config_text(model: TritonModel) -> str:
    """Return the text of ``config.pbtxt``.

    Pictures of one shape are batched dynamically where the model takes batches; the model is run once at the sizes
    that come first, so that no client waits for what a backend does the first time.
    """
    size = model.fixed_size or (-1, -1)
    tensor = {"data_type": _FP32, "dims": _dims(model, size)}
    content: dict[str, Any] = {
        "name": model.name,
        "backend": model.backend,
        "default_model_filename": model.file,
        "max_batch_size": model.max_batch if model.has_batches else 0,
        "input": [{"name": model.input_name, **tensor}],
        "output": [{"name": model.output_name, **tensor}],
        "instance_group": [{"count": model.instances, "kind": _KINDS[model.device]}],
    }
    if model.has_batches:
        content["dynamic_batching"] = {
            **({"preferred_batch_size": [model.best_batch]} if model.best_batch > 1 else {}),
            "max_queue_delay_microseconds": model.delay,
            "default_queue_policy": {"max_queue_size": model.waiting},
        }
    content["model_warmup"] = [_warmup(model, each) for each in warmup_sizes(model)]
    parameters = dict(model.metadata)
    if model.smallest and model.largest and not model.fixed_size:
        parameters[SMALLEST_KEY] = "{}x{}".format(*model.smallest)
        parameters[LARGEST_KEY] = "{}x{}".format(*model.largest)
    content["parameters"] = [{"key": key, "value": {"string_value": text}} for key, text in sorted(parameters.items())]
    return as_text(content)


def warmup_sizes(model: TritonModel) -> list[Size]:
    """Return the sizes (height, width) at which a model is run before the first client comes.

    Those of the automatic working scale for pictures of 2:3 and 3:2; the fixed size of a model that has one. Sizes out
    of an engine's range are left out.
    """
    if model.fixed_size is not None:
        return [model.fixed_size]
    wanted = [size for picture in _USUAL_PICTURES for size in working_sizes(*picture, working_scale.AUTO)]
    low, high = model.smallest or (0, 0), model.largest or (1 << 30, 1 << 30)
    within = [s for s in wanted if all(a <= b <= c for a, b, c in zip(low, s, high, strict=True))]
    return within or [high]


def _warmup(model: TritonModel, size: Size) -> dict[str, Any]:
    value = {"data_type": _FP32, "dims": _dims(model, size), "zero_data": True}
    return {
        "name": "{1}x{0}".format(*size),
        "batch_size": 1,
        "inputs": [{"key": model.input_name, "value": value}],
    }


def _dims(model: TritonModel, size: Size) -> list[int]:
    return [3, *size] if model.has_batches else [1, 3, *size]


def as_text(content: Mapping[str, Any], indent: str = "") -> str:
    """Return a message as protobuf's text format: strings quoted, :class:`EnumValue` not, repeated fields once each."""
    return "".join(_field(name, value, indent) for name, value in content.items())


def _field(name: str, value: Any, indent: str) -> str:
    if isinstance(value, Mapping):
        return f"{indent}{name} {{\n{as_text(value, indent + '  ')}{indent}}}\n"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "".join(_field(name, each, indent) for each in value)
    return f"{indent}{name}: {_scalar(value)}\n"


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return _quoted(value) if isinstance(value, str) and not isinstance(value, EnumValue) else str(value)


def _quoted(text: str) -> str:
    """Return a string literal: printable ASCII as it is, all other bytes of its UTF-8 in octal."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').encode()
    return '"' + "".join(chr(byte) if 32 <= byte < 127 else f"\\{byte:03o}" for byte in escaped) + '"'
