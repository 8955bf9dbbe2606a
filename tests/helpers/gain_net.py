"""A tiny model whose numbers are known: built without torch or the exporter."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from dcdr_deploy.modelfile import metadata
from dcdr_deploy.modelfile.metadata import ModelMetadata

GAIN = 0.5
PEAK = 8.0
METADATA = ModelMetadata(
    peak=PEAK, size_multiple=4, overlap=8, name="gain net", extra={"weights_sha256": "feed" * 16, "training": "{}"}
)
"""A network value is half the sRGB code of the input: an input of 51 (0.2) gives 0.1, which is 0.8 x SDR white."""


def write_gain_net(
    path: Path, *, gain: float = GAIN, stored: Mapping[str, str] | None = None, channels: int = 3
) -> Path:
    """Write an ONNX model of one 1x1 convolution that multiplies every sample by ``gain``.

    ``stored`` replaces this project's metadata; with other ``channels`` it is no picture network.
    """
    import onnx
    from onnx import helper, numpy_helper

    weights = numpy_helper.from_array((np.eye(channels, dtype=np.float32) * gain)[:, :, None, None], "w")
    ends = (helper.make_tensor_value_info(name, 1, ["n", channels, "h", "w"]) for name in ("sdr", "hdr"))
    graph = helper.make_graph(
        [helper.make_node("Conv", ["sdr", "w"], ["hdr"])], "net", *([end] for end in ends), [weights]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    helper.set_model_props(model, dict(metadata.encode(METADATA) if stored is None else stored))
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path
