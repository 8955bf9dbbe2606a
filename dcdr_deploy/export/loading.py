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
    """Load an ONNX file whole.

    The package's own loader refuses files that are links, as everything in a model hub's cache is; weights are read
    from where :func:`~dcdr_deploy.modelfile.onnx_file.external_file` allows.

    Raises:
        ModelError: no such file, no ONNX model, cut short, or weights beside it that are missing or too short.
    """
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    read_header(path)
    try:
        model = onnx.load(str(path), load_external_data=False)
    except (DecodeError, OSError, ValueError) as error:
        raise ModelError(f"{path} is no ONNX model, or was cut short: {one_line(error)}") from None
    for tensor in model.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            _take_in(tensor, path)
    return model


def _take_in(tensor: onnx.TensorProto, path: Path) -> None:
    """Read a tensor's numbers into the model itself."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    source = external_file(path, entries.get("location", ""))
    try:
        offset, length = int(entries.get("offset", "0")), int(entries.get("length", "-1"))
        with source.open("rb") as file:
            file.seek(offset)
            raw = file.read(length)
    except (OSError, ValueError) as error:
        raise ModelError(f"{source}: weights of {path} cannot be read: {one_line(error)}") from None
    if length >= 0 and len(raw) != length:
        raise ModelError(f"{source} was cut short: {tensor.name} of {path} should have {length} bytes there")
    tensor.raw_data = raw
    tensor.ClearField("external_data")
    tensor.ClearField("data_location")
