"""The forward pass of training through ``torch.compile``."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dcdr_deploy.errors import InputError
from dcdr_deploy.system.faults import one_line

Forward = Callable[[Tensor], Tensor]
"""SDR (N, 3, H, W) in [0, 1] to HDR (N, 3, H, W) in the encoding of the network's output."""


def compiled(network: Forward) -> Forward:
    """A forward pass through ``torch.compile``; weights are shared, other uses of the network are not affected.

    Raises:
        InputError: (the result, when called) no compiler works here.
    """
    # Imported here: it takes seconds that a run without compilation should not pay.
    from torch._dynamo.exc import TorchDynamoException

    # The heuristic for networks of few channels would turn everything to NCHW, and back for each operator of ours.
    forward = torch.compile(network, options={"force_layout_optimization": True})

    def run(x: Tensor) -> Tensor:
        try:
            return forward(x)
        except TorchDynamoException as error:
            raise InputError(f"torch.compile fails here; train without `compile` ({one_line(error)})") from error

    return run
