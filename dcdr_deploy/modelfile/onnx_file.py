"""Model metadata in ONNX files, read without the onnx package.

An ONNX file is one protobuf message. What a runner needs of it (the metadata and the shapes of input and output) is a
few hundred bytes among megabytes of weights, so this module walks over the message's top level and steps across the
large fields without loading them. All backends read a model this way before their library sees it; a file that is no
ONNX model, or was cut short, is told apart here with one sentence.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from dcdr_deploy.errors import ModelError
from dcdr_deploy.modelfile.metadata import LARGEST_EDGE, ModelMetadata, decode

_FLOAT16 = 10
"""ONNX's number of the type."""
_EXTERNAL = 1
"""ONNX's number of a tensor's data_location outside of the file."""


@dataclass(frozen=True)
class TensorSpec:
    """An input or output of a graph.

    Attributes:
        name: name in the graph.
        element_type: ONNX's number of the type; 1 is float32.
        shape: sizes, ``None`` where dynamic; ``None`` as a whole if the rank is not given.
    """

    name: str
    element_type: int
    shape: tuple[int | None, ...] | None


@dataclass(frozen=True)
class OnnxHeader:
    """The parts of an ONNX file that are read without loading it.

    ``weight_types`` as ONNX numbers them, of weights that no Cast gives another type; ``operators`` are the domains and
    names of the graph's nodes; ``external`` are the files beside it that hold weights, as the file names them.
    """

    properties: dict[str, str]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    weight_types: frozenset[int] = frozenset()
    operators: frozenset[tuple[str, str]] = frozenset()
    external: frozenset[str] = frozenset()


@dataclass(frozen=True)
class OnnxModel:
    """An ONNX file that fits this project: what an engine needs to know before it loads it.

    Attributes:
        path: the file.
        metadata: what the file says of its network.
        input_name: name of the picture input, float32 (N, 3, H, W).
        fixed_size: (height, width) of a model exported for one size, else ``None``.
        max_batch: 1 for a model exported for one tile a call, else ``None``.
        precision: ``"fp16"`` for a file with FP16 weights, else ``"fp32"``.
        operators: (domain, name) of the graph's nodes; the domain of standard operators is empty.
    """

    path: Path
    metadata: ModelMetadata
    input_name: str
    fixed_size: tuple[int, int] | None
    max_batch: int | None
    precision: str = "fp32"
    operators: frozenset[tuple[str, str]] = frozenset()


def read_model(path: Path) -> OnnxModel:
    """Read what an engine needs to know of an ONNX file and check that it is a network of this project.

    Raises:
        ModelError: no such file, no ONNX file, cut short, without this project's metadata, or with inputs and outputs
            other than one float32 (N, 3, H, W) each.
    """
    header = read_header(path)
    metadata = decode(header.properties, str(path))
    for role, tensors in (("input", header.inputs), ("output", header.outputs)):
        if len(tensors) != 1:
            raise ModelError(f"{path} has {len(tensors)} {role}s, not one; export it again")
        if not _is_picture(tensors[0]):
            raise ModelError(f"{path}: {role} {tensors[0].name!r} is not float32 (N, 3, H, W); export it again")
    shape = header.inputs[0].shape
    assert shape is not None  # _is_picture has seen four sizes
    batch, _, height, width = shape
    if batch not in (None, 1):
        raise ModelError(f"{path} takes exactly {batch} tiles a call; export it with a dynamic batch or a batch of 1")
    if (height is None) != (width is None):
        raise ModelError(f"{path} fixes only one of height and width; export it with both fixed or both dynamic")
    fixed = None if height is None or width is None else (height, width)
    if fixed is not None and max(fixed) > LARGEST_EDGE:
        raise ModelError(f"{path} is fixed to {height} x {width} pixels, which no machine can run; export it again")
    if fixed is not None and any(size < 1 or size % metadata.size_multiple for size in fixed):
        raise ModelError(
            f"{path} is fixed to {height} x {width}, no multiples of {metadata.size_multiple}; export it again"
        )
    precision = "fp16" if _FLOAT16 in header.weight_types else "fp32"
    return OnnxModel(path, metadata, header.inputs[0].name, fixed, batch, precision, header.operators)


def _is_picture(tensor: TensorSpec) -> bool:
    if tensor.element_type != 1 or tensor.shape is None or len(tensor.shape) != 4:
        return False
    return tensor.shape[1] in (None, 3)


def read_header(path: Path) -> OnnxHeader:
    """Read metadata and signature of any ONNX file.

    Raises:
        ModelError: the file is missing, empty, cut short, or no ONNX model, or the files that hold its weights are not
            beside it.
    """
    with opened(path) as data:
        header = _header(data)
    for location in sorted(header.external):
        external_file(path, location)
    return header


def external_file(path: Path, location: str) -> Path:
    """The file beside a model that holds weights of it.

    Both may be links, as in the cache of a model hub: what counts is the folder in which the model is named.

    Raises:
        ModelError: it is not there, or the model asks for a file outside of its folder.
    """
    named = PurePosixPath(location.replace("\\", "/"))
    if not location or named.is_absolute() or ".." in named.parts or ":" in location:
        raise ModelError(f"{path} asks for weights outside of its own folder ({location!r}); export it again")
    target = path.parent / named
    if not os.path.isfile(target):  # noqa: PTH113 - Path raises for long names
        raise ModelError(f"{path} keeps its weights in {target.name}, which is not beside it; copy both files together")
    return target


@contextmanager
def opened(path: Path) -> Iterator[mmap.mmap]:
    """Give a file's bytes for the block, without loading them; what goes wrong in the block is the file's fault.

    Raises:
        ModelError: the file is missing or cannot be read, or the block raised a ValueError.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            yield data
    except FileNotFoundError:
        raise ModelError(f"model {path} does not exist") from None
    except OSError as error:
        raise ModelError(f"model {path} cannot be read: {error.strerror or error}") from None
    except ValueError as error:  # mmap of an empty file, and everything that _header finds wrong
        raise ModelError(f"{path} is no ONNX model, or was cut short ({error}); copy or export it again") from None


def _header(data: mmap.mmap) -> OnnxHeader:
    properties: dict[str, str] = {}
    inputs: list[TensorSpec] = []
    outputs: list[TensorSpec] = []
    weight_types: dict[str, int] = {}
    cast: set[str] = set()
    operators: set[tuple[str, str]] = set()
    external: set[str] = set()
    graphs = 0
    for number, value in _fields(data, 0, len(data)):  # ModelProto
        if number == 7:
            graphs += 1
            for entry, place in _fields(data, *_span(value)):  # GraphProto
                if entry == 1:  # NodeProto
                    node = dict(_fields(data, *_span(place)))
                    operator = _text(data, node.get(7)), _text(data, node.get(4))
                    operators.add(operator)
                    if operator == ("", "Cast"):
                        cast.add(_text(data, node.get(1)))
                elif entry in (11, 12):
                    (inputs if entry == 11 else outputs).append(_tensor(data, *_span(place)))
                elif entry == 5:  # initializer, a TensorProto with data_type = 2, data_location = 14
                    tensor = dict(_fields(data, *_span(place)))
                    weight_type = tensor.get(2)
                    if isinstance(weight_type, int):
                        weight_types[_text(data, tensor.get(8))] = weight_type
                    if tensor.get(14) == _EXTERNAL:
                        external.add(_location(data, *_span(place)))
        elif number == 14:
            pair = dict(_fields(data, *_span(value)))  # StringStringEntryProto
            properties[_text(data, pair.get(1))] = _text(data, pair.get(2))
    if graphs != 1:
        raise ValueError("it holds no graph")
    used = frozenset(kind for name, kind in weight_types.items() if name not in cast)
    return OnnxHeader(properties, tuple(inputs), tuple(outputs), used, frozenset(operators), frozenset(external))


def _location(data: mmap.mmap, start: int, end: int) -> str:
    """The file that a TensorProto names in its entries external_data = 13."""
    for number, value in _fields(data, start, end):
        if number == 13:
            pair = dict(_fields(data, *_span(value)))  # StringStringEntryProto
            if _text(data, pair.get(1)) == "location":
                return _text(data, pair.get(2))
    raise ValueError("weights outside of the file have no place")


def _tensor(data: mmap.mmap, start: int, end: int) -> TensorSpec:
    """Read a ValueInfoProto: name = 1, type = 2, whose tensor_type = 1 has elem_type = 1 and shape = 2."""
    info = dict(_fields(data, start, end))
    name, element_type, shape = _text(data, info.get(1)), 0, None
    tensor = dict(_fields(data, *_span(info[2]))).get(1) if 2 in info else None
    if tensor is not None:
        for number, value in _fields(data, *_span(tensor)):
            if number == 1 and isinstance(value, int):
                element_type = value
            elif number == 2:
                sizes = [dict(_fields(data, *_span(place))).get(1) for _, place in _fields(data, *_span(value))]
                shape = tuple(size if isinstance(size, int) else None for size in sizes)
    return TensorSpec(name, element_type, shape)


def _text(data: mmap.mmap, value: int | tuple[int, int] | None) -> str:
    if value is None:
        return ""
    start, end = _span(value)
    return data[start:end].decode("utf-8")  # UnicodeDecodeError is a ValueError


def _span(value: int | tuple[int, int]) -> tuple[int, int]:
    if isinstance(value, int):
        raise ValueError("a field has the wrong type")
    return value


def _fields(data: mmap.mmap, position: int, end: int) -> Iterator[tuple[int, int | tuple[int, int]]]:
    """Yield (field number, value) of a protobuf message in ``data[position:end]``.

    The value is the number of a varint or fixed field, or (start, end) of a field with a length, which is not loaded.
    """
    while position < end:
        tag, position = _varint(data, position, end)
        number, wire = tag >> 3, tag & 7
        value: int | tuple[int, int]
        if wire == 0:
            value, position = _varint(data, position, end)
        elif wire in (1, 2, 5):
            length, position = _varint(data, position, end) if wire == 2 else ({1: 8, 5: 4}[wire], position)
            start, position = position, position + length
            if position > end:
                raise ValueError("a field reaches beyond the end")
            value = (start, position) if wire == 2 else int.from_bytes(data[start:position], "little")
        else:
            raise ValueError("it is no protobuf message")
        if number == 0:
            raise ValueError("it is no protobuf message")
        yield number, value


def _varint(data: mmap.mmap, position: int, end: int) -> tuple[int, int]:
    """Read a protobuf varint of at most ten bytes; return it and the position behind it."""
    value = 0
    for shift in range(0, 70, 7):
        if position >= end:
            break
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError("a number is cut short")
