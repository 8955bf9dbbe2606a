"""The weights in the package are what the model card says, and tiling does not show in their pictures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from dcdr_deploy.engines import Engine, load_engine
from dcdr_deploy.imaging import read_image, srgb_to_linear
from dcdr_deploy.metrics.psnr import psnr_l
from dcdr_deploy.run.runner import Runner
from dcdr_deploy.run.selection import DEMO_MODEL, NAMED_MODELS

ROOT = Path(__file__).parents[1]
SAMPLES = sorted(path for path in (ROOT / "samples").iterdir() if path.suffix in (".png", ".jpg"))
CARD = (DEMO_MODEL.parent / "MODEL_CARD.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def engine():
    with load_engine(DEMO_MODEL) as engine:
        yield engine


def test_checkpoint_and_onnx_hold_the_same_weights(engine: Engine) -> None:
    pytest.importorskip("torch")
    from dcdr_deploy.export.checkpoint import weights_sha256
    from dcdr_deploy.models import count_parameters, load_checkpoint

    loaded = load_checkpoint(DEMO_MODEL.with_suffix(".safetensors"))
    assert weights_sha256(loaded.network) == engine.info.metadata.extra["weights_sha256"]
    assert count_parameters(loaded.network) == 1_524_278
    assert loaded.metadata.peak == engine.info.metadata.peak == 8.0


def test_the_lite_weights_give_the_same_light(engine: Engine) -> None:
    """Their tone net computes the same curve with half the channels; all else is the same network."""
    frame = read_image(ROOT / "samples" / "venice-sunset.png").pixels[:256, :256]
    ramp = np.arange(256, dtype=np.uint8).repeat(32).reshape(-1, 64, 1).repeat(3, 2)
    with load_engine(NAMED_MODELS["demo-lite"]) as lite:
        assert lite.info.metadata.name != engine.info.metadata.name
        assert lite.info.metadata.peak == engine.info.metadata.peak
        for picture in (frame, ramp):
            expected, found = (Runner(each).run(picture) * 8 for each in (engine, lite))
            assert np.abs(found - expected).max() < 1.5e-3
    assert NAMED_MODELS["demo-lite"].stat().st_size < NAMED_MODELS["demo"].stat().st_size - 100_000


def test_the_model_card_names_these_weights(engine: Engine) -> None:
    extra = engine.info.metadata.extra
    assert extra["weights_sha256"][:16] in CARD
    assert f"{json.loads(extra['training'])['steps']:,} steps" in CARD


def test_the_offsets_of_every_block_are_at_work(engine: Engine) -> None:
    spread = json.loads(engine.info.metadata.extra["offsets"])
    assert len(spread) == 8
    assert all(block["std"] > 0.002 for block in spread.values())


def test_the_restoration_net_does_the_work_and_not_the_tone_net_alone() -> None:
    pytest.importorskip("torch")
    from dcdr_deploy.models import load_checkpoint
    from dcdr_deploy.scenes.camera import CameraModel
    from dcdr_deploy.scenes.panorama import PanoramaSet
    from dcdr_deploy.scenes.procedural import TEST_SEEDS
    from dcdr_deploy.training.heldout import held_out_pairs
    from dcdr_deploy.training.liveness import liveness

    network = load_checkpoint(DEMO_MODEL.with_suffix(".safetensors")).network.eval().set_deform_mode("gather")
    panoramas = PanoramaSet(sorted((ROOT / "data" / "hdri" / "validation").rglob("*.exr")))
    pairs = held_out_pairs(panoramas, 4, range(TEST_SEEDS.start, TEST_SEEDS.start + 4), CameraModel(), 128, 2024)
    figures = liveness(network, pairs)
    assert figures["dead_channels"] < 0.25
    assert figures["gain_over_tone"] > 2


def test_every_block_shows_in_the_picture() -> None:
    """Otherwise comparing an engine with ONNX Runtime on these weights would say nothing about its blocks."""
    torch = pytest.importorskip("torch")
    from dcdr_deploy.models import load_checkpoint

    network = load_checkpoint(DEMO_MODEL.with_suffix(".safetensors")).network.eval().set_deform_mode("gather")
    picture = read_image(ROOT / "samples" / "forest-tree.png").normalised()[128:256, 64:192]  # around the clipped light
    x = torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)[None]))
    with torch.no_grad():
        whole = network(x).numpy()
        for name, block in network.deformable_blocks().items():
            kept = block.dcv2.weight.clone()
            block.dcv2.weight.zero_()
            assert psnr_l(network(x).numpy(), whole) < 50, name
            block.dcv2.weight.copy_(kept)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_tiles_of_256_come_near_the_whole_frames_picture(engine: Engine, sample: Path) -> None:
    """Not equal: offsets look further than such a tile reaches (docs/tiles.md); a seam would cost far more."""
    pixels = read_image(sample).pixels
    y, x = pixels.shape[0] // 2, pixels.shape[1] // 2
    middle = pixels[y - 160 : y + 160, x - 160 : x + 160]  # a whole sample takes a minute
    whole = Runner(engine, tile=None).run(middle)
    runner = Runner(engine, tile=256)
    tiled = runner.run(middle)
    assert runner.statistics.tiles > 1
    assert psnr_l(tiled, whole) >= 40


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (1, 700)])
def test_any_size_gives_a_finite_picture(engine: Engine, size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)
    result = Runner(engine).run(pixels)
    assert result.shape == (*size, 3)
    assert np.isfinite(result).all()


@pytest.mark.parametrize("code", [40, 118, 180])
def test_mid_tones_keep_their_light(engine: Engine, code: int) -> None:
    """A plain grey is nothing to restore: its light is that of its sRGB code."""
    result = Runner(engine).run(np.full((128, 128, 3), code, np.uint8))[32:-32, 32:-32] * 8
    expected = float(srgb_to_linear(np.array(code / 255)))
    assert np.median(result) == pytest.approx(expected, rel=0.06)


@pytest.mark.slow
def test_held_out_panoramas_of_the_repository_come_closer_to_the_truth(engine: Engine) -> None:
    """A share of benchmarks/evaluate_demo.py: the validation panoramas that the repository holds."""
    import sys

    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        from held_out import panorama_views
        from judgement import NETWORK, evaluate, summary
    finally:
        sys.path.pop(0)
    pictures = panorama_views([ROOT / "data" / "hdri"], "validation", 192, most=16)
    figures = evaluate(pictures, {NETWORK: Runner(engine, tile=None).run})
    found = summary(figures, NETWORK)
    assert found["clipped gain"] > 4.5
    assert found["median"] > 4
    assert found["uv"] < found["uv plain"]


@pytest.mark.slow
def test_overexposed_photographs_come_closer_to_the_truth_in_light_and_colour(engine: Engine) -> None:
    import sys

    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        from held_out import CAMERAS, PEAK, HeldOutPicture
        from judgement import NETWORK, evaluate, summary
    finally:
        sys.path.pop(0)
    from dcdr_deploy.scenes.camera import TARGET_MAX, simulate
    from dcdr_deploy.scenes.photographs import linearise, read_photograph

    def overexposed(name: str, stops: float) -> HeldOutPicture:
        light, known = linearise(read_photograph(ROOT / "samples" / name)[::2, ::2])
        ldr, target = simulate(light, CAMERAS["plain"], np.random.default_rng(0), 2**stops)
        truth = (target / np.float32(TARGET_MAX)).astype(np.float32)
        return HeldOutPicture(f"{name} {stops}", "photograph", ldr, truth, known)

    assert PEAK == 8
    pictures = [overexposed(name, stops) for name in ("china.jpg", "rocket.jpg", "coffee.png") for stops in (1, 2)]
    found = summary(evaluate(pictures, {NETWORK: Runner(engine, tile=None).run}), NETWORK)
    assert found["clipped gain"] > 0.5
    assert found["uv"] < found["uv plain"]


@pytest.mark.parametrize("name", ["forest-tree", "forest-sky", "venice-sunset"])
def test_samples_with_known_truth_come_closer_to_it(engine: Engine, name: str) -> None:
    import OpenEXR

    from dcdr_deploy.metrics.psnr import psnr_mu

    with OpenEXR.File(str(ROOT / "samples" / "truth" / f"{name}.exr")) as file:
        truth = file.channels()["RGB"].pixels.astype(np.float32) / 8
    frame = read_image(ROOT / "samples" / f"{name}.png")
    trivial = srgb_to_linear(frame.normalised()) / 8
    assert psnr_mu(Runner(engine).run(frame), truth) > psnr_mu(trivial, truth) + 0.5
