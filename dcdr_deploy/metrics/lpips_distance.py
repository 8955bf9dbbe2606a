"""LPIPS (R. Zhang and others, CVPR 2018) through the package ``lpips``, from weights on this machine only."""

from __future__ import annotations

import functools
import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.system.packages import install_line

WEIGHTS_VERSION = "0.1"
"""Version of the linear layers, which the package brings."""


@dataclass(frozen=True)
class Backbone:
    """A network whose layers are compared.

    Attributes:
        torchvision: torchvision's name of it.
        weights: file name of the ImageNet weights that LPIPS was fitted on.
    """

    torchvision: str
    weights: str


BACKBONES = {
    "alex": Backbone("alexnet", "alexnet-owt-7be5be79.pth"),
    "vgg": Backbone("vgg16", "vgg16-397923af.pth"),
}
"""Backbones by the package's names."""

MINIMUM_SIZE = 64
"""Least width and height: smaller pictures leave nothing of AlexNet's last layers."""


def missing(backbone: str) -> str:
    """Why LPIPS cannot be computed here; empty where it can."""
    for package in ("torch", "torchvision", "lpips"):
        if importlib.util.find_spec(package) is None:
            return f"the package {package} is not installed: {install_line('lpips')}"
    weights = weights_file(backbone)
    if weights.is_file():
        return ""
    network = BACKBONES[backbone].torchvision
    return (
        f"the weights {weights} are not on disk; get them with: "
        f"python -c \"import torchvision; torchvision.models.{network}(weights='IMAGENET1K_V1')\""
    )


def weights_file(backbone: str) -> Path:
    """Where PyTorch keeps the weights of a backbone; told without importing it, which takes seconds.

    By the rules of ``torch.hub.get_dir``, which takes a relative ``$XDG_CACHE_HOME`` as it is: another place than
    PyTorch's would be one where nothing is found.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "torch"
    home = Path(os.environ.get("TORCH_HOME", cache)).expanduser()
    return home / "hub" / "checkpoints" / BACKBONES[backbone].weights


def distance(backbone: str, a: NDArray[np.floating[Any]], b: NDArray[np.floating[Any]]) -> float:
    """LPIPS of two pictures, (H, W, 3) in [0, 1]; 0 for identical ones."""
    return float(_run(backbone, a, b, spatial=False))


def distance_map(
    backbone: str, a: NDArray[np.floating[Any]], b: NDArray[np.floating[Any]]
) -> NDArray[np.floating[Any]]:
    """LPIPS of every pixel, (H, W): the layers' maps enlarged to the picture and added."""
    return np.asarray(_run(backbone, a, b, spatial=True)[0, 0].numpy())


def _run(backbone: str, a: NDArray[np.floating[Any]], b: NDArray[np.floating[Any]], *, spatial: bool) -> Any:
    import torch

    network = _network(backbone)
    network.spatial = spatial
    with torch.inference_mode():
        return network(_tensor(a), _tensor(b), normalize=True)


@functools.lru_cache(maxsize=2)
def _network(backbone: str) -> Any:
    import warnings

    import lpips

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the package calls torchvision by parameters that are deprecated
        return lpips.LPIPS(net=backbone, version=WEIGHTS_VERSION, verbose=False)


def _tensor(picture: NDArray[np.floating[Any]]) -> Any:
    import torch

    limited = np.clip(picture, 0, 1).astype(np.float32)
    return torch.from_numpy(np.ascontiguousarray(limited.transpose(2, 0, 1)))[None]
