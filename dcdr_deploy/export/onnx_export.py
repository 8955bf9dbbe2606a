"""From a network to an ONNX model, with one ``dcdr::DCRB`` node for each deformable block it has."""

from __future__ import annotations

import ast
import logging
import warnings
from collections.abc import Callable
from typing import Any

import onnx
import torch
from onnxscript import values

from dcdr_deploy.export.operators import OPSET, function_bodies, register_schemas
from dcdr_deploy.modelfile.names import DCRB, DECODING, DOMAIN, DOMAIN_VERSION, INPUT_NAME, OUTPUT_NAME
from dcdr_deploy.models import HdrNetwork, architecture_of
from dcdr_deploy.models.encodings import DECODER
from dcdr_deploy.models.opaque import opaque_blocks

IR_VERSION = 10
"""Newest format version that all runtimes of opset 20 read."""

_SCOPES = "pkg.torch.onnx.name_scopes"
"""Key under which torch's exporter notes the modules that a node comes from, as a list written in Python."""

LARGEST_SIDE = 1 << 16
EXAMPLE_SIZE = (64, 96)


def to_onnx(network: HdrNetwork, static: tuple[int, int] | None = None, form: str = "native") -> onnx.ModelProto:
    """Export a network as an FP32 ONNX model.

    Args:
        network: any architecture and configuration; its mode of evaluation is restored afterwards.
        static: (height, width) for a model of one size and batch 1; otherwise batch, height and width are dynamic.
        form: body of ``dcdr::DeformConv2d``, see :func:`~dcdr_deploy.export.operators.function_bodies`.

    Returns:
        Model with input ``sdr`` and output ``hdr``, (N, 3, H, W) float32; H and W must be multiples of the
        architecture's size multiple.
    """
    register_schemas()
    with opaque_blocks(network.eval()) as opaque:
        model = _trace(opaque, static)
    del model.functions[:]
    if any(node.domain == DOMAIN for node in model.graph.node):
        model.functions.extend(function_bodies(form))
    _name_blocks(model, network)
    _name_decoding(model)
    model.ir_version = IR_VERSION
    return model


def _trace(network: HdrNetwork, static: tuple[int, int] | None) -> onnx.ModelProto:
    dcdr = values.Opset(DOMAIN, DOMAIN_VERSION)
    table: dict[Callable[..., Any], Callable[..., Any]] = {
        torch.ops.dcdr.dcrb.default: lambda *inputs: dcdr.DCRB(*inputs),
        torch.ops.dcdr.deform_conv2d.default: lambda *inputs: dcdr.DeformConv2d(*inputs),
    }
    batch, size = (1, static) if static else (2, EXAMPLE_SIZE)
    shapes = None
    if static is None:
        multiple = architecture_of(network.config).size_multiple
        height, width = (torch.export.Dim(name, min=2, max=LARGEST_SIDE // multiple) for name in ("h", "w"))
        shapes = ({0: torch.export.Dim("n"), 2: multiple * height, 3: multiple * width},)
    with _quiet():
        program = torch.onnx.export(
            network,
            (torch.rand(batch, 3, *size),),
            dynamo=True,
            opset_version=OPSET,
            input_names=[INPUT_NAME],
            output_names=[OUTPUT_NAME],
            dynamic_shapes=shapes,
            custom_translation_table=table,
            verbose=False,
        )
    assert program is not None
    return program.model_proto


class _quiet:  # noqa: N801 - used like a function
    """Keeps the exporter's notes about itself away from the user; errors are exceptions anyway."""

    def __enter__(self) -> None:
        self._filters = warnings.catch_warnings()
        self._filters.__enter__()
        warnings.simplefilter("ignore")
        self._loggers = {
            name: logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir", "torch.export")
        }
        self._levels = {name: logger.level for name, logger in self._loggers.items()}
        for logger in self._loggers.values():
            logger.setLevel(logging.ERROR)

    def __exit__(self, *_: object) -> None:
        for name, logger in self._loggers.items():
            logger.setLevel(self._levels[name])
        self._filters.__exit__(None, None, None)


def _name_decoding(model: onnx.ModelProto) -> None:
    """Name the nodes that come from the network's decoder so that they are known in the file."""
    for number, node in enumerate(model.graph.node):
        scopes = next((entry.value for entry in node.metadata_props if entry.key == _SCOPES), "[]")
        if DECODER in ast.literal_eval(scopes):
            node.name = f"{DECODING}{number}"


def _name_blocks(model: onnx.ModelProto, network: HdrNetwork) -> None:
    """Give the DCRB nodes the names of their modules, which is how logs and engines refer to them."""
    nodes = [node for node in model.graph.node if node.domain == DOMAIN and node.op_type == DCRB]
    if nodes:
        for node, name in zip(nodes, network.deformable_blocks(), strict=True):
            node.name = name
