"""Files that version 0.1.0 wrote before the package was ordered into rooms still mean the same.

``written_before/`` was made by that code: a network with two channels as safetensors, a training checkpoint of it seven
steps later, and the sidecar of an engine whose 256 bytes stand for what a package wrote.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from dcdr_deploy.modelfile.sidecar import check_fit, read_sidecar

FILES = Path(__file__).with_name("written_before")


def test_an_engines_sidecar_is_read_as_it_was_meant() -> None:
    engine = FILES / "model.fp16.sm86-120.engine"
    sidecar = read_sidecar(engine)
    assert (sidecar.package, sidecar.package_version, sidecar.sms) == ("tensorrt-rtx", "1.7.1.116", (86, 120))
    assert (sidecar.min_shape, sidecar.max_shape) == ((1, 64, 64), (2, 96, 96))
    assert (sidecar.plugin, sidecar.plugin_version, sidecar.verified) == ("dcdr::DCRB", "1", True)
    metadata = sidecar.model_metadata(str(engine))
    assert (metadata.peak, metadata.size_multiple, metadata.overlap) == (8.0, 4, 88)
    assert metadata.extra["weights_sha256"] == "ab" * 32
    check_fit(engine, sidecar, 86, "1.7.1.116")


@pytest.mark.parametrize(
    ("name", "peak", "first", "total"),
    [
        ("network.safetensors", 8.0, [-0.01036482397466898, 0.026208091527223587], 23.722495829919353),
        ("training.pth", 8.0, [-0.009858175180852413, 0.02629997953772545], 23.44300576869864),
    ],
)
def test_a_checkpoint_holds_the_network_that_was_saved(
    name: str, peak: float, first: list[float], total: float
) -> None:
    torch = pytest.importorskip("torch")
    from dcdr_deploy.models import load_checkpoint

    loaded = load_checkpoint(FILES / name)
    with torch.no_grad():
        result = loaded.network(torch.linspace(0, 1, 2 * 3 * 8 * 8).reshape(2, 3, 8, 8))
    assert loaded.has_metadata
    assert loaded.metadata.peak == peak
    assert result.flatten()[:2].tolist() == pytest.approx(first, abs=1e-6)
    assert float(result.double().sum()) == pytest.approx(total, rel=1e-5)


def test_a_training_run_goes_on_from_its_checkpoint() -> None:
    torch = pytest.importorskip("torch")
    from dcdr_deploy.models import load_checkpoint
    from dcdr_deploy.training.recipe import RECIPES
    from dcdr_deploy.training.state import TrainingState

    network = load_checkpoint(FILES / "training.pth").network
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-4)
    for group in optimiser.param_groups:
        group["rate"] = 1.0
    before = torch.get_rng_state()
    try:
        state = TrainingState(RECIPES["paper"], network, None, optimiser)
        state.restore(FILES / "training.pth", torch.device("cpu"))
    finally:
        torch.set_rng_state(before)
    assert (state.step, state.seconds) == (7, 12.5)
    assert len(optimiser.state) == len(list(network.parameters()))
