"""What happens to an exported graph before a parser sees it.

Which of an ONNX function's body and a registered plugin of the same name wins has changed between versions of the
parsers, and is silent when it goes wrong. So nothing is left to choose: a graph for the plugin carries no functions,
and a graph without it carries no node of ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import onnx.inliner
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from dcdr_deploy.building.hidden_maps import HiddenBlock, merge_hidden_maps, remove_unused
from dcdr_deploy.building.settings import BuildSettings
from dcdr_deploy.engines.cuda.packing import pack_sft_bias, pack_sft_weight, pack_weight, plain_weight
from dcdr_deploy.engines.tensorrt.signature import FIRST, FROM_HIDDEN, FROM_MAPS, HIDDEN_INPUTS
from dcdr_deploy.engines.tensorrt.trt_api import get_package
from dcdr_deploy.errors import ExportError, ModelError
from dcdr_deploy.export.fp16 import is_fp16, to_fp16
from dcdr_deploy.export.operators import OPSET, function_bodies
from dcdr_deploy.modelfile.metadata import decode
from dcdr_deploy.modelfile.names import DCRB, DCRB_INPUTS, DOMAIN, DOMAIN_VERSION, WIDTH
from dcdr_deploy.system.words import number_of

_WEIGHTS = tuple(number for number, name in enumerate(DCRB_INPUTS) if name.startswith("w"))
_BIASES = tuple(number for number, name in enumerate(DCRB_INPUTS) if name.startswith("b"))
_VERSION = "plugin_version"
_NO_PLUGIN = "build with `plugin` none"


def prepare(model: onnx.ModelProto, settings: BuildSettings, source: str = "this model") -> onnx.ModelProto:
    """Return a copy of an exported model that a parser can take without a choice.

    The interface stays float32 (N, 3, H, W); sizes that the engine is to have fixed are fixed in the graph.

    - FP16, if asked for and not there yet; an FP16 model is taken as it is.
    - With the plugin: no functions; the DCRB nodes name the plugin; the convolutions' weights are constants in the
      kernel's order (:mod:`~dcdr_deploy.engines.cuda.packing`), their biases float32. In FP16 the nodes take hidden
      maps instead of gain and shift maps, where these come from convolutions that the kernels know.
    - Without it: standard operators only, deformable convolutions in the form that the package's parser knows.

    Args:
        model: as ``dcdr-deploy export`` writes it.
        settings: what is to be built.
        source: begins the messages, e.g. the file's path.

    Raises:
        ModelError: not a model of this project, of another opset, without blocks or of a width that the plugin does
            not know, with weights too large for FP16, or exported for another size than the settings'.
    """
    decode({entry.key: entry.value for entry in model.metadata_props}, source)
    _check_opsets(model, source)
    original = _constants(model)
    prepared = _converted(model, settings, source)
    _fix_sizes(prepared, settings, source)
    if settings.plugin:
        _use_plugin(prepared, original, source)
        return prepared
    return _without_plugin(prepared, get_package(settings.package).deform_form)


def block_names(model: onnx.ModelProto) -> list[str]:
    """Return the names of the nodes that the plugin has to take, in the graph's order."""
    return [node.name for node in _blocks(model)]


def plugin_version(model: onnx.ModelProto) -> str | None:
    """Return the version of the plugin that a prepared graph names, ``None`` without the plugin."""
    versions = {entry.s.decode() for node in _blocks(model) for entry in node.attribute if entry.name == _VERSION}
    return max(versions, default=None)


def _blocks(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    return (node for node in model.graph.node if (node.domain, node.op_type) == (DOMAIN, DCRB))


def _constants(model: onnx.ModelProto) -> dict[str, TensorProto]:
    return {tensor.name: tensor for tensor in model.graph.initializer}


def _check_opsets(model: onnx.ModelProto, source: str) -> None:
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    for domain, name, known in (("", "opset", OPSET), (DOMAIN, "version of its own operators", DOMAIN_VERSION)):
        found = opsets.get(domain, known if domain else 0)  # a network without deformable blocks has no own operators
        if found != known:
            raise ModelError(f"{source} has {name} {found}, not {known}; export it again with `dcdr-deploy export`")


def _converted(model: onnx.ModelProto, settings: BuildSettings, source: str) -> onnx.ModelProto:
    """A copy, in FP16 where that is asked for."""
    if settings.fp16 and not is_fp16(model):
        try:
            return to_fp16(model)
        except ExportError as error:
            what = str(error).partition(";")[0]
            raise ModelError(f"{source}: {what}; build without `fp16`") from None
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    del copied.graph.value_info[:]  # parsers infer shapes, and ours may change
    return copied


def _fix_sizes(model: onnx.ModelProto, settings: BuildSettings, source: str) -> None:
    """Write into input and output what the profile leaves no choice about: parsers fold shapes that are constants."""
    profile = settings.profile()
    for value in (*model.graph.input, *model.graph.output):
        dimensions = value.type.tensor_type.shape.dim
        if len(dimensions) != 4:
            raise ModelError(f"{source}: {value.name!r} is not (N, 3, H, W); export it again")
        for axis, place in ((0, 0), (2, 1), (3, 2)):
            low, high = profile.smallest[place], profile.largest[place]
            exported = dimensions[axis].dim_value
            if exported and (low, high) != (exported, exported):
                raise ModelError(f"{source} was exported for {_words(dimensions)} only; {_fitting(dimensions)}")
            if low == high:
                dimensions[axis].dim_value = low


def _words(dimensions: Any) -> str:
    return f"batches of {dimensions[0].dim_value or 'any size'} and {dimensions[2].dim_value}x{dimensions[3].dim_value}"


def _fitting(dimensions: Any) -> str:
    height, width = dimensions[2].dim_value, dimensions[3].dim_value
    return f"build with `tile` {height}x{width} `max_batch` 1, or export without --static"


def _use_plugin(model: onnx.ModelProto, original: dict[str, TensorProto], source: str) -> None:
    """Hand the DCRB nodes of a copied model to the plugin.

    Args:
        model: changed in place.
        original: initializers before any conversion: biases keep the precision they had.
        source: begins the messages.
    """
    nodes = list(_blocks(model))
    if not nodes:
        raise ModelError(f"{source} has no {DOMAIN}::{DCRB} nodes for the plugin to take; {_NO_PLUGIN}")
    strangers = {(n.domain, n.op_type) for n in model.graph.node if n.domain == DOMAIN and n.op_type != DCRB}
    if strangers:
        raise ModelError(f"{source} has nodes that the plugin cannot take ({sorted(strangers)[0][1]}); {_NO_PLUGIN}")
    del model.functions[:]
    order = pack_weight if is_fp16(model) else plain_weight
    present = _constants(model)
    made: dict[str, NDArray[Any]] = {}
    for number, node in enumerate(nodes):
        node.name = node.name or f"dcrb{number}"
        if len(node.input) != len(DCRB_INPUTS):
            raise ModelError(
                f"{source}: {node.name} has {number_of(len(node.input), 'input')}, not {len(DCRB_INPUTS)}; "
                "export it again"
            )
        for place in (*_WEIGHTS, *_BIASES):
            name = node.input[place]
            if name not in present:
                raise ModelError(f"{source}: {name} of {node.name} is no constant; {_NO_PLUGIN}")
            values = numpy_helper.to_array(original[name]).astype(np.float32)
            _check_width(values, node.name, source)
            node.input[place] = f"{name}.packed"
            made[node.input[place]] = order(values) if place in _WEIGHTS else values
    hidden = merge_hidden_maps(model, nodes) if is_fp16(model) else None
    for node, block in zip(nodes, hidden or (), strict=bool(hidden)):
        made.update(_take_hidden(node, block, original))
    for node in nodes:
        node.attribute.append(helper.make_attribute("plugin_namespace", DOMAIN))
        node.attribute.append(helper.make_attribute(_VERSION, FROM_MAPS if hidden is None else FROM_HIDDEN))
    remove_unused(model)
    _replace_initializers(model, made)


def _take_hidden(node: onnx.NodeProto, block: HiddenBlock, original: dict[str, TensorProto]) -> dict[str, NDArray[Any]]:
    """Give a node of version 1 the inputs of version 2; returns the constants that this takes."""
    made: dict[str, NDArray[Any]] = {}
    for number in (1, 2):
        pair = block.branches[2 * number - 2 : 2 * number]  # gain and shift
        weights, biases = (
            [numpy_helper.to_array(original[branch.second.input[at]]).astype(np.float32) for branch in pair]
            for at in (1, 2)
        )
        made[f"{node.name}.w_sft{number}"] = pack_sft_weight(*weights)
        made[f"{node.name}.b_sft{number}"] = pack_sft_bias(*biases)
    old = dict(zip(DCRB_INPUTS, node.input, strict=True))
    new = {**old, "hidden": block.hidden} | {name.rpartition(".")[2]: name for name in made}
    node.input[:] = [new[name] for name in HIDDEN_INPUTS]
    node.attribute.append(helper.make_attribute(FIRST, block.first))
    return made


def _check_width(values: NDArray[np.float32], node: str, source: str) -> None:
    expected = (WIDTH, WIDTH, 3, 3)[: values.ndim if values.ndim == 1 else 4]
    if values.shape != expected:
        width = values.shape[0] if values.ndim else 0
        raise ModelError(f"{source}: {node} has width {width}; the plugin's kernel knows {WIDTH} only, {_NO_PLUGIN}")


def _replace_initializers(model: onnx.ModelProto, made: dict[str, NDArray[Any]]) -> None:
    """Add constants, and remove those that no node reads any more."""
    graph = model.graph
    used = {name for node in graph.node for name in node.input}
    kept = [TensorProto.FromString(t.SerializeToString()) for t in graph.initializer if t.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    graph.initializer.extend(numpy_helper.from_array(np.ascontiguousarray(v), name) for name, v in made.items())


def _without_plugin(model: onnx.ModelProto, form: str) -> onnx.ModelProto:
    """Give our operators the bodies of a form, and put the bodies in place of the nodes."""
    foreign = [function for function in model.functions if function.domain != DOMAIN]
    del model.functions[:]
    model.functions.extend([*foreign, *function_bodies(form)])
    if any(node.domain == DOMAIN for node in model.graph.node) and all(e.domain != DOMAIN for e in model.opset_import):
        model.opset_import.append(helper.make_opsetid(DOMAIN, DOMAIN_VERSION))
    return onnx.inliner.inline_local_functions(model)
