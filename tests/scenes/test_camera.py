"""The camera model keeps its promises about exposure, range and invertibility."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcdr_deploy.errors import InputError
from dcdr_deploy.scenes.camera import LDR_MAX, TARGET_MAX, CameraModel, sample_response_curve, simulate
from dcdr_deploy.scenes.video_blocks import video_round_trip

IDEAL = CameraModel(white_balance_sigma=0, noise_probability=0, jpeg_probability=0)
seeds = st.integers(0, 2**32 - 1)


def radiance(seed: int, size: int = 48) -> np.ndarray:
    return np.exp(np.random.default_rng(seed).normal(0, 1.5, (size, size, 3))).astype(np.float32)


def srgb_decode(code: np.ndarray) -> np.ndarray:
    return np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4)


def shoot(seed: int, camera: CameraModel, hdr: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    return simulate(radiance(seed) if hdr is None else hdr, camera, np.random.default_rng(seed))


def linear_target(target: np.ndarray, peak: float) -> np.ndarray:
    """Light in units of SDR white."""
    return target.astype(np.float64) / TARGET_MAX * peak


@pytest.mark.parametrize("camera", [CameraModel(), CameraModel(srgb_probability=0, jpeg_probability=1), IDEAL])
def test_a_pair_is_8_bit_and_16_bit_of_the_same_shape(camera):
    hdr = np.ones((20, 30, 3), np.float16)
    hdr[3:6] = 7
    ldr, target = shoot(0, camera, hdr)
    assert (ldr.dtype, ldr.shape) == (np.uint8, hdr.shape)
    assert (target.dtype, target.shape) == (np.uint16, hdr.shape)
    assert ldr.flags.c_contiguous
    assert target.flags.c_contiguous


@settings(max_examples=10, deadline=None)
@given(seeds)
def test_the_same_seed_gives_the_same_bytes(seed):
    camera = CameraModel(srgb_probability=0.5)
    first, second = shoot(seed, camera), shoot(seed, camera)
    assert first[0].tobytes() == second[0].tobytes()
    assert first[1].tobytes() == second[1].tobytes()


def test_the_argument_is_left_alone():
    hdr = radiance(3)
    before = hdr.copy()
    simulate(hdr, CameraModel(), np.random.default_rng(0))
    np.testing.assert_array_equal(hdr, before)


@settings(max_examples=20, deadline=None)
@given(seed=seeds, share=st.floats(0.01, 0.35))
def test_the_requested_share_of_pixels_clips(seed, share):
    _, target = shoot(seed, CameraModel(clipped_share=(share, share), noise_probability=0, jpeg_probability=0))
    clipped = (linear_target(target, 8.0) >= 1 - 1e-4).any(axis=-1).mean()
    assert clipped == pytest.approx(share, abs=2 / 48**2)


def test_shares_are_log_uniform_over_the_range():
    shares = []
    for seed in range(200):
        _, target = shoot(seed, IDEAL, radiance(seed, 24))
        shares.append((linear_target(target, 8.0) >= 1 - 1e-4).any(axis=-1).mean())
    assert min(shares) >= 0.01 - 1 / 24**2
    assert max(shares) <= 0.35 + 2 / 24**2
    assert np.median(shares) == pytest.approx(np.sqrt(0.01 * 0.35), rel=0.35)


@settings(max_examples=20, deadline=None)
@given(seed=seeds, peak=st.floats(1, 64))
def test_an_unclipped_target_is_the_inverse_curve_of_the_ldr_within_quantisation(seed, peak):
    camera = CameraModel(peak=peak, white_balance_sigma=0, noise_probability=0, jpeg_probability=0)
    ldr, target = shoot(seed, camera)
    linear = linear_target(target, peak)
    code, half_step = ldr / LDR_MAX, 0.5 / LDR_MAX + 1e-5
    rounding = peak / TARGET_MAX
    unclipped = ldr < LDR_MAX
    assert (linear >= srgb_decode(np.maximum(code - half_step, 0)) - rounding)[unclipped].all()
    assert (linear <= srgb_decode(code + half_step) + rounding)[unclipped].all()
    assert (linear[~unclipped] >= srgb_decode(np.array(1 - half_step)) - rounding).all()


def test_noise_curve_and_compression_do_not_reach_the_target():
    hdr = radiance(1)
    clean = shoot(5, CameraModel(noise_probability=0, jpeg_probability=0), hdr)
    dirty = shoot(5, CameraModel(noise_probability=1, jpeg_probability=1, srgb_probability=0), hdr)
    np.testing.assert_array_equal(clean[1], dirty[1])
    assert (clean[0] != dirty[0]).any()


@pytest.mark.parametrize("level", [0.1, 0.5, 0.8])
def test_noise_has_the_variance_of_shots_and_of_reading(level):
    shot, read = 4e-4, 0.01
    camera = replace(IDEAL, noise_probability=1, shot_noise=(shot, shot), read_noise=(read, read))
    ldr, _ = simulate(np.full((200, 200, 3), level, np.float32), camera, np.random.default_rng(0), exposure=1)
    light = srgb_decode(ldr / LDR_MAX)
    assert light.mean() == pytest.approx(level, rel=2e-3)
    assert light.std() == pytest.approx(np.sqrt(shot * level + read**2), rel=0.02)


def test_a_frame_of_a_video_has_its_blocks_and_no_jpegs():
    noiseless = CameraModel(noise_probability=0, jpeg_probability=1)
    video = replace(noiseless, video_probability=1, video_qp=(30, 30))
    clean, truth = shoot(5, replace(noiseless, jpeg_probability=0))
    frame, target = shoot(5, video)
    np.testing.assert_array_equal(frame, video_round_trip(clean, 30))
    np.testing.assert_array_equal(target, truth)


def test_sharpening_makes_edges_steeper_and_leaves_flat_areas():
    hdr = np.full((40, 40, 3), 0.2, np.float32)
    hdr[:, 20:] = 0.5
    plain, sharp = (
        simulate(hdr, replace(IDEAL, sharpen_probability=probability), np.random.default_rng(0), exposure=1)[0]
        for probability in (0, 1)
    )
    assert sharp.min() < plain.min()
    assert sharp.max() > plain.max()
    np.testing.assert_array_equal(sharp[:, [0, 39]], plain[:, [0, 39]])


def test_light_above_the_peak_saturates_the_target():
    hdr = np.full((10, 10, 3), 0.5, np.float32)
    hdr[0, 0] = 1e6
    _, target = shoot(0, CameraModel(clipped_share=(0.05, 0.05), white_balance_sigma=0), hdr)
    assert (target[0, 0] == TARGET_MAX).all()


@pytest.mark.parametrize("value", [0.0, -3.0])
def test_a_black_crop_stays_finite_and_black(value):
    ldr, target = shoot(0, IDEAL, np.full((8, 8, 3), value, np.float32))
    assert not ldr.any()
    assert not target.any()


@settings(max_examples=30, deadline=None)
@given(seeds)
def test_a_sampled_curve_is_a_monotone_map_of_0_1_onto_itself(seed):
    curve = sample_response_curve(np.random.default_rng(seed))
    exposure = np.linspace(0, 1, 3000)
    code = curve(exposure)
    assert code[0] == pytest.approx(0, abs=1e-6)
    assert code[-1] == pytest.approx(1)
    assert (np.diff(code) >= 0).all()
    rising = code < 0.999
    np.testing.assert_allclose(curve.decode(code)[rising], exposure[rising], atol=2e-3)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"jpeg_probability": 1.5}, "jpeg_probability"),
        ({"video_probability": -0.1}, "video_probability"),
        ({"video_qp": (30, 52)}, "the highest is 51"),
        ({"video_qp": (30, 20)}, "video_qp"),
        ({"clipped_share": (0.5, 0.1)}, "clipped_share"),
        ({"clipped_share": (0.5, 1.0)}, "clipped_share"),
        ({"clipped_share": (0.0, 0.1)}, "clipped_share"),
        ({"peak": 0.5}, "peak"),
    ],
)
def test_impossible_cameras_are_refused_by_name(options, named):
    with pytest.raises(InputError, match=named):
        CameraModel(**options)
