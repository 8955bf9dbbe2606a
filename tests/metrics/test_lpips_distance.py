"""LPIPS: only with weights that are on disk; with made-up ones here, since the figures are the package's own."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from dcdr_deploy.metrics import lpips_distance
from dcdr_deploy.metrics.registry import METRICS
from dcdr_deploy.system.packages import install_line


def test_without_the_package_the_reason_is_how_to_get_it(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "lpips" else found(name))
    assert install_line("lpips") in METRICS["lpips-alex-l"].missing()


@pytest.fixture(scope="module")
def random_weights(tmp_path_factory):
    """As large as the real ones: 233 MB."""
    torch = pytest.importorskip("torch")
    torchvision = pytest.importorskip("torchvision")
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("alexnet") / "alexnet.pth"
    torch.save(torchvision.models.alexnet(weights=None).state_dict(), path)
    return path


class TestWithThePackage:
    @pytest.fixture(autouse=True)
    def hub(self, tmp_path, monkeypatch):
        pytest.importorskip("lpips")
        pytest.importorskip("torchvision")
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        lpips_distance._network.cache_clear()
        yield tmp_path
        lpips_distance._network.cache_clear()

    @pytest.fixture
    def weights(self, hub, random_weights):
        path = lpips_distance.weights_file("alex")
        path.parent.mkdir(parents=True)
        path.symlink_to(random_weights)

    def test_without_weights_the_reason_names_the_file_and_the_command(self):
        reason = lpips_distance.missing("alex")
        assert "alexnet-owt-7be5be79.pth" in reason
        assert "torchvision.models.alexnet" in reason

    @pytest.mark.parametrize("backbone", lpips_distance.BACKBONES)
    def test_weights_are_looked_for_where_pytorch_keeps_them(self, backbone):
        import torch
        from torchvision.models import get_model_weights

        url = get_model_weights(lpips_distance.BACKBONES[backbone].torchvision)["IMAGENET1K_V1"].url
        expected = Path(torch.hub.get_dir()) / "checkpoints" / Path(url).name
        assert lpips_distance.weights_file(backbone) == expected

    @pytest.mark.usefixtures("weights")
    def test_with_weights_nothing_is_missing(self):
        assert lpips_distance.missing("alex") == ""

    @pytest.mark.usefixtures("weights")
    def test_identical_pictures_have_no_distance_and_others_have_some(self):
        rng = np.random.default_rng(0)
        picture = rng.random((64, 80, 3))
        other = np.clip(picture + 0.2 * rng.standard_normal(picture.shape), 0, 1)
        assert lpips_distance.distance("alex", picture, picture) == 0
        assert lpips_distance.distance("alex", other, picture) > 0
        assert lpips_distance.distance("alex", other, picture) == pytest.approx(
            lpips_distance.distance("alex", picture, other), rel=1e-5
        )

    @pytest.mark.usefixtures("weights")
    def test_the_map_shows_where_they_differ(self):
        picture = np.random.default_rng(0).random((128, 256, 3))
        other = picture.copy()
        other[40:90, :60] = 0
        distances = lpips_distance.distance_map("alex", other, picture)
        assert distances.shape == (128, 256)
        assert distances[:, :60].mean() > 2 * distances[:, 196:].mean()
