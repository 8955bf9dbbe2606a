"""Versions of the plugin: what each hands to the kernels of :mod:`dcdr_deploy.engines.cuda`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dcdr_deploy.engines.cuda import dcrb_from_hidden, dcrb_from_maps
from dcdr_deploy.engines.cuda.dcrb_from_hidden import FromHiddenArguments, FromHiddenKernels, SftArguments
from dcdr_deploy.engines.cuda.dcrb_from_maps import FromMapsArguments, FromMapsKernels
from dcdr_deploy.engines.cuda.packing import SFT_HIDDEN
from dcdr_deploy.engines.cuda.sft import SftLayer
from dcdr_deploy.engines.tensorrt.signature import FROM_HIDDEN, FROM_MAPS, offset_strides


@dataclass(frozen=True)
class Call:
    """One call of ``enqueue``.

    Attributes:
        first: attribute of a node of version 2.
        descriptions: of the inputs, the API's.
        inputs: addresses by name.
        out: address of the result.
        workspace: address of as much memory as the kernels asked for.
        stream: CUDA stream.
    """

    first: int
    descriptions: Sequence[Any]
    inputs: Mapping[str, int]
    out: int
    workspace: int
    stream: int

    @property
    def size(self) -> dict[str, int]:
        """Batch, height and width by name."""
        batch, _, height, width = self.descriptions[0].dims
        return {"batch": batch, "height": height, "width": width}


def _run_from_maps(kernels: FromMapsKernels, call: Call) -> None:
    features, offset = call.descriptions[:2]
    strides = offset_strides(call.size["height"], call.size["width"], offset.format.name)
    arguments = FromMapsArguments(
        **call.size,
        fp16=features.type.name == "HALF",
        **call.inputs,
        out=call.out,
        workspace=call.workspace,
        offset_strides=strides,
    )
    kernels.launch(arguments, call.stream)


def _run_from_hidden(kernels: FromHiddenKernels, call: Call) -> None:
    given, stride = call.inputs, call.descriptions[2].dims[1]
    layers = [
        SftLayer(given["hidden"], stride, call.first + 2 * SFT_HIDDEN * number, given[f"w_{name}"], given[f"b_{name}"])
        for number, name in enumerate(("sft1", "sft2"))
    ]
    # The block's input behind its first SFT layer lies where the result will be: it is read up by then.
    kernels.launch_sft(SftArguments(**call.size, z=given["z"], sft=layers[0], out=call.out), call.stream)
    arguments = FromHiddenArguments(
        **call.size,
        u=call.out,
        offset=given["offset"],
        z=given["z"],
        sft2=layers[1],
        w1=given["w1"],
        b1=given["b1"],
        w2=given["w2"],
        b2=given["b2"],
        out=call.out,
        workspace=call.workspace,
        skip=0,
        next_sft=None,
        next_out=0,
    )
    kernels.launch(arguments, call.stream)


@dataclass(frozen=True)
class Form:
    """One version of the plugin.

    Attributes:
        source: name of the kernels' source.
        kernels: what loads and launches them.
        run: puts a block on a stream.
        workspace_bytes: memory that a block needs, by batch, height, width and whether it is FP16.
    """

    source: str
    kernels: Callable[[Mapping[int, bytes]], Any]
    run: Callable[[Any, Call], None]
    workspace_bytes: Callable[[int, int, int, bool], int]


FORMS = {
    FROM_MAPS: Form(dcrb_from_maps.SOURCE, FromMapsKernels, _run_from_maps, FromMapsKernels.workspace_bytes),
    FROM_HIDDEN: Form(
        dcrb_from_hidden.SOURCE,
        FromHiddenKernels,
        _run_from_hidden,
        lambda batch, height, width, fp16: FromHiddenKernels.workspace_bytes(batch, height, width),
    ),
}
"""Versions of the plugin: new engines get the last one that their graph can have, older engines keep theirs."""
