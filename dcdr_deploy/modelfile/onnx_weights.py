"""Nodes and weights of an ONNX file, read without the onnx package.

Only what a network of this project needs: which tensors meet in which node, and the numbers of the float tensors. A
file is untrusted: every size is checked against the bytes that are there before anything is allocated.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.modelfile.onnx_file import _fields, _span, _text, _varint, opened
from dcdr_deploy.system.words import number_of

_TYPES: dict[int, np.dtype[Any]] = {1: np.dtype("<f4"), 10: np.dtype("<f2")}
"""Element types that are read, by ONNX's number."""


@dataclass(frozen=True)
class Node:
    """An operator of the graph; the domain of standard operators is empty, and so is the name of an input left out."""

    domain: str
    operator: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class OnnxGraph:
    """Nodes in the file's order, and FP32 and FP16 initializers by name, in the type in which they are stored.

    A Cast of an initializer, by which a file stores as FP16 what it computes with in FP32, is no node: the initializer
    has the name of the Cast's result too.
    """

    nodes: tuple[Node, ...]
    tensors: Mapping[str, NDArray[np.floating]]


def read_graph(path: Path) -> OnnxGraph:
    """Read nodes and float weights of an ONNX file.

    Raises:
        ModelError: the file is missing, cut short or no ONNX model, or a weight lies outside of it or has a size that
            does not fit its shape.
    """
    nodes: list[Node] = []
    tensors: dict[str, NDArray[np.floating]] = {}
    with opened(path) as data:
        for number, value in _fields(data, 0, len(data)):  # ModelProto
            if number != 7:
                continue
            for entry, place in _fields(data, *_span(value)):  # GraphProto
                if entry == 1:
                    nodes.append(_node(data, *_span(place)))
                elif entry == 5:
                    tensors |= _tensor(data, *_span(place))
    casts = {node.outputs[0]: node.inputs[0] for node in nodes if _casts(node) and node.inputs[0] in tensors}
    named = {result: tensors[name] for result, name in casts.items()}
    return OnnxGraph(tuple(node for node in nodes if casts.keys().isdisjoint(node.outputs)), tensors | named)


def _casts(node: Node) -> bool:
    return (node.domain, node.operator, len(node.inputs), len(node.outputs)) == ("", "Cast", 1, 1)


def _node(data: mmap.mmap, start: int, end: int) -> Node:
    texts: dict[int, list[str]] = {1: [], 2: [], 3: [], 4: [], 7: []}
    for number, value in _fields(data, start, end):
        if number in texts:
            texts[number].append(_text(data, value))
    name, operator, domain = ("".join(texts[number][-1:]) for number in (3, 4, 7))
    return Node(domain, operator, name, tuple(texts[1]), tuple(texts[2]))


def _tensor(data: mmap.mmap, start: int, end: int) -> dict[str, NDArray[np.floating]]:
    """Read a TensorProto: dims = 1, data_type = 2, float_data = 4, int32_data = 5, name = 8, raw_data = 9."""
    shape: list[int] = []
    name, kind, raw, plain = "", 0, None, False
    for number, value in _fields(data, start, end):
        if number == 1:
            shape.extend(_numbers(data, value))
        elif number == 2 and isinstance(value, int):
            kind = value
        elif number == 8:
            name = _text(data, value)
        elif number == 9:
            raw = _span(value)
        elif number in (4, 5, 13):
            plain = True
    dtype = _TYPES.get(kind)
    if dtype is None:
        return {}
    if raw is None or plain:
        raise ValueError(f"the weights of {name!r} are not stored as raw numbers in the file")
    # Negative sizes are read as numbers beyond 2^63.
    if max(shape, default=0) >= 2**63 or math.prod(shape) * dtype.itemsize != raw[1] - raw[0]:
        raise ValueError(f"{name!r} has {number_of(raw[1] - raw[0], 'byte')} for the shape {tuple(shape)}")
    return {name: np.frombuffer(data[raw[0] : raw[1]], dtype).reshape(shape)}


def _numbers(data: mmap.mmap, value: int | tuple[int, int]) -> list[int]:
    """Numbers of a repeated field, which writers pack into one field or leave apart."""
    if isinstance(value, int):
        return [value]
    (position, end), found = value, []
    while position < end:
        number, position = _varint(data, position, end)
        found.append(number)
    return found
