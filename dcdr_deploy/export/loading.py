"""Loading an ONNX file with the onnx package, weights beside it included."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dcdr_deploy.errors import ModelError
from dcdr_deploy.modelfile.onnx_file import external_file, read_header
from dcdr_deploy.system.faults import one_line

if TYPE_CHECKING:
    import onnx


def load_onnx(path: Path) -> onnx.ModelProto:
    """Load an ONNX file whole, with the weights that it stores as FP16 and computes with in FP32 as FP32.

    The package's own loader refuses files that are links, as everything in a model hub's cache is; weights are read
    from where :func:`~dcdr_deploy.modelfile.onnx_file.external_file` allows.

    Raises:
        ModelError: no such file, no ONNX model, cut short, weights beside it that are missing or too short, or a tensor
            whose type or size cannot be.
    """
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    from dcdr_deploy.export.compact import unpacked

    read_header(path)
    try:
        model = onnx.load(str(path), load_external_data=False)
    except (DecodeError, OSError, ValueError) as error:
        raise ModelError(f"{path} is no ONNX model, or was cut short: {one_line(error)}; copy it again") from None
    for tensor in model.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            _take_in(tensor, path)
        _check_size(tensor, path)
    return unpacked(model)


def _check_size(tensor: onnx.TensorProto, path: Path) -> None:
    """Refuse a tensor that says of itself what its numbers contradict."""
    import onnx
    from onnx import numpy_helper

    wrong = ""
    if tensor.data_type not in onnx.TensorProto.DataType.values():
        wrong = f"has an element type that does not exist ({tensor.data_type})"
    elif min(tensor.dims, default=0) < 0:
        wrong = f"has a negative size in {list(tensor.dims)}"
    else:
        try:
            numpy_helper.to_array(tensor)
        except (TypeError, ValueError, OverflowError):
            wrong = f"does not hold the numbers for its shape {list(tensor.dims)}"
    if wrong:
        raise ModelError(f"{path} is damaged: its tensor {tensor.name!r} {wrong}; export it again")


def _take_in(tensor: onnx.TensorProto, path: Path) -> None:
    """Read a tensor's numbers into the model itself."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    source = external_file(path, entries.get("location", ""))
    try:
        size, offset = source.stat().st_size, int(entries.get("offset", 0))
        length = int(entries.get("length", size - offset))
        if not 0 <= offset <= offset + length <= size:
            raise ModelError(
                f"{source} was cut short: {tensor.name} of {path} should have {length} bytes there; copy it again"
            )
        with source.open("rb") as file:
            file.seek(offset)
            tensor.raw_data = file.read(length)
    except (OSError, ValueError) as error:
        raise ModelError(f"{source}: weights of {path} cannot be read: {one_line(error)}") from None
    tensor.ClearField("external_data")
    tensor.ClearField("data_location")
