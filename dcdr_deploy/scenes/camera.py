"""The camera that makes training pairs: linear HDR radiance in, 8-bit SDR frame and 16-bit linear target out.

Radiance is exposed so that 1.0 is the level at which an SDR channel saturates. The target holds the same exposure with
``peak`` times that level as full scale, so ``target / 65535 * peak`` is linear light in units of SDR white. The target
never sees the noise, the response curve or the compression: those are what the network has to undo.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from dcdr_deploy.errors import InputError
from dcdr_deploy.imaging.transfer import linear_to_srgb, luminance, srgb_to_linear
from dcdr_deploy.scenes.draws import log_uniform, whole_number
from dcdr_deploy.scenes.video_blocks import HIGHEST_QP, video_round_trip

TARGET_MAX = 65535
LDR_MAX = 255
CURVE_SAMPLES = 1025
DARKEST_WHITE_POINT = 1e-6  # radiance; keeps the exposure of a black crop finite

PROBABILITIES = (
    "noise_probability",
    "srgb_probability",
    "jpeg_probability",
    "full_chroma_probability",
    "grade_probability",
    "sharpen_probability",
    "gray_probability",
    "video_probability",
)

FloatArray = npt.NDArray[np.float32]
Number = TypeVar("Number", bound=np.number[Any])


@dataclass(frozen=True)
class CameraModel:
    """Ranges from which one camera is drawn per image.

    Pairs are ``(low, high)``. Ranges that span decades are drawn log-uniformly, the others uniformly.

    Raises:
        InputError: a probability outside 0..1, a range in the wrong order or a peak below 1.
    """

    peak: float = 8.0
    """Full scale of the target in units of SDR white."""
    clipped_share: tuple[float, float] = (0.01, 0.35)
    """Share of pixels with at least one clipped channel, log-uniform."""
    white_balance_sigma: float = 0.06
    """Standard deviation of the natural logarithm of each channel's gain."""
    noise_probability: float = 0.5
    shot_noise: tuple[float, float] = (10**-4.5, 10**-3.0)
    """Variance per unit of exposed signal, log-uniform."""
    read_noise: tuple[float, float] = (10**-4.0, 10**-2.7)
    """Standard deviation in units of SDR white, log-uniform."""
    srgb_probability: float = 1.0
    """Probability of the exact sRGB curve; otherwise :func:`sample_response_curve`."""
    jpeg_probability: float = 0.5
    jpeg_quality: tuple[int, int] = (75, 99)
    """Lowest and highest JPEG quality, both included."""
    full_chroma_probability: float = 0.0
    """Share of the JPEG files whose chroma has the full resolution (4:4:4); the others have half of it (4:2:0)."""
    grade_probability: float = 0.0
    """Probability of a contrast curve in the light itself, see :func:`sample_grade`."""
    sharpen_probability: float = 0.0
    """Probability of sharpening with its halos, which clip beside edges."""
    gray_probability: float = 0.0
    """Probability of a picture without colour: three equal channels, in the SDR frame and in the target."""
    video_probability: float = 0.0
    """Probability of a frame of a compressed video, see :func:`~dcdr_deploy.scenes.video_blocks.video_round_trip`; such
    a frame is no JPEG file."""
    video_qp: tuple[int, int] = (18, 37)
    """Lowest and highest quantisation parameter, both included."""

    def __post_init__(self) -> None:
        for name in PROBABILITIES:
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"camera model: {name} is {getattr(self, name)}, it must lie in 0..1")
        for name in ("clipped_share", "shot_noise", "read_noise", "jpeg_quality", "video_qp"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise InputError(f"camera model: {name} is ({low}, {high}), it must be positive and in ascending order")
        if self.clipped_share[1] >= 1:
            raise InputError(f"camera model: clipped_share reaches {self.clipped_share[1]}, it must stay below 1")
        if self.video_qp[1] > HIGHEST_QP:
            raise InputError(f"camera model: video_qp reaches {self.video_qp[1]}, the highest is {HIGHEST_QP}")
        if self.peak < 1:
            raise InputError(f"camera model: peak is {self.peak}, it must be at least 1 (SDR white)")


def simulate(
    hdr: npt.NDArray[np.floating],
    camera: CameraModel,
    rng: np.random.Generator,
    exposure: float | None = None,
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint16]]:
    """Photograph a linear HDR crop with one randomly drawn camera.

    Args:
        hdr: linear RGB radiance, (H, W, 3), any positive scale; negative values count as black.
        camera: the ranges to draw from.
        rng: source of every random choice.
        exposure: factor after which 1.0 saturates a channel; by default one that clips a share of the pixels drawn from
            ``camera.clipped_share``.

    Returns:
        The SDR frame, uint8 (H, W, 3) RGB, and the target, uint16 (H, W, 3), full scale = ``camera.peak`` x SDR white.
    """
    radiance = np.maximum(hdr, 0, dtype=np.float32)
    # Nothing is drawn for what never happens, so that cameras without it keep their samples.
    gray = camera.gray_probability > 0 and rng.random() < camera.gray_probability
    if gray:
        radiance = np.repeat(luminance(radiance)[..., None], 3, axis=-1)
    elif camera.white_balance_sigma > 0:
        radiance = radiance * _white_balance_gains(camera, rng)
    if exposure is None:
        # A float, because NumPy's numbers would make the quantile of float32 radiance float64.
        exposure = _exposure(radiance, float(log_uniform(rng, *camera.clipped_share)))
    exposed = radiance * np.float32(exposure)
    if camera.grade_probability > 0 and rng.random() < camera.grade_probability:
        exposed = sample_grade(rng)(exposed)
    target = _quantise(exposed / np.float32(camera.peak), TARGET_MAX).astype(np.uint16)

    signal = exposed
    if rng.random() < camera.noise_probability:
        signal = _add_sensor_noise(exposed, camera, rng, gray)
    signal = np.clip(signal, 0, 1)
    encoded = linear_to_srgb(signal) if rng.random() < camera.srgb_probability else sample_response_curve(rng)(signal)
    if camera.sharpen_probability > 0 and rng.random() < camera.sharpen_probability:
        encoded = _sharpen(np.asarray(encoded, np.float32), rng)
    ldr = _quantise(encoded, LDR_MAX).astype(np.uint8)
    if camera.video_probability > 0 and rng.random() < camera.video_probability:
        ldr = video_round_trip(ldr, whole_number(rng, *camera.video_qp))
    elif rng.random() < camera.jpeg_probability:
        quality = whole_number(rng, *camera.jpeg_quality)
        full_chroma = camera.full_chroma_probability > 0 and rng.random() < camera.full_chroma_probability
        ldr = jpeg_round_trip(ldr, quality, full_chroma, gray)
    return ldr, target


@dataclass(frozen=True)
class ResponseCurve:
    """A monotone camera response from exposure 0..1 to code value 0..1, as samples with linear interpolation."""

    exposure: npt.NDArray[np.float64]
    code: npt.NDArray[np.float64]

    def __call__(self, signal: npt.NDArray[np.floating]) -> FloatArray:
        """Encode linear signal in 0..1."""
        return np.interp(signal, self.exposure, self.code).astype(np.float32)

    def decode(self, code: npt.NDArray[np.floating]) -> FloatArray:
        """Linear signal in 0..1 of a code value in 0..1 (inverse of the call)."""
        return np.interp(code, self.code, self.exposure).astype(np.float32)


def sample_response_curve(rng: np.random.Generator) -> ResponseCurve:
    """Draw a plausible camera curve: a random mix of sRGB, a power law and a filmic shoulder, with some S-shape.

    The family imitates the spread of measured responses (Grossberg and Nayar, "What is the Space of Camera Response
    Functions?"): gamma 1.8 to 2.6, Hill shoulders that compress highlights, and contrast curves of either sign.
    """
    exposure = np.linspace(0, 1, CURVE_SAMPLES) ** 2  # dense near black, where the curves are steep
    weights = rng.dirichlet((1, 1, 1))
    gamma = rng.uniform(1.8, 2.6)
    steepness, midpoint = rng.uniform(0.75, 1.1), rng.uniform(0.25, 0.8)
    contrast = rng.uniform(-0.25, 0.25)

    shoulder = exposure**steepness / (exposure**steepness + midpoint**steepness) * (1 + midpoint**steepness)
    code = weights @ np.stack([linear_to_srgb(exposure), exposure ** (1 / gamma), shoulder])
    code = code + contrast * code * (1 - code) * (2 * code - 1)
    code = np.maximum.accumulate(np.clip(code, 0, 1))
    return ResponseCurve(exposure, code / code[-1])


@dataclass(frozen=True)
class Grade:
    """A contrast curve of linear light that leaves white (1.0) where it is.

    Attributes:
        below: graded light at the squares of equally spaced numbers from 0 to 1, dense in the dark.
        slope: of the straight line above 1.
    """

    below: FloatArray
    slope: float

    def __call__(self, light: FloatArray) -> FloatArray:
        """Graded light, float32 of any shape, for light that is not negative."""
        place = np.sqrt(np.minimum(light, 1)) * np.float32(len(self.below) - 1)
        index = np.minimum(place.astype(np.int32), len(self.below) - 2)
        place -= index
        low, high = self.below[index], self.below[index + 1]
        graded = low + place * (high - low)
        return np.asarray(graded + np.float32(self.slope) * np.maximum(light - 1, 0), np.float32)


def sample_grade(rng: np.random.Generator) -> Grade:
    """Draw what a raw converter or a stock agency does to the light: an S-curve, or less contrast, or a soft shoulder.

    It changes the scene and not the camera: what the SDR file shows is then graded light, and so is the truth, because
    nobody can tell from one picture which curve it went through. What clips is graded light above white. Below white
    the curve acts on sRGB codes, above it goes on with the slope that it has there, at least a third.
    """
    contrast, pivot = rng.uniform(-0.5, 1.1), rng.uniform(0.35, 0.65)
    light = np.linspace(0, 1, CURVE_SAMPLES) ** 2
    code = linear_to_srgb(light)
    # x + c x (1 - x) (x - p): fixed at 0, p and 1, rising everywhere for these c and p.
    below = srgb_to_linear(code + contrast * code * (1 - code) * (code - pivot))
    slope = max(float((below[-1] - below[-2]) / (light[-1] - light[-2])), 1 / 3)
    return Grade(below.astype(np.float32), slope)


def _sharpen(encoded: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Unsharp mask on code values in 0..1, clipped again."""
    radius, amount = float(rng.uniform(0.5, 1.6)), np.float32(rng.uniform(0.15, 0.9))
    blurred = cv2.GaussianBlur(encoded, (0, 0), radius)
    return np.clip(encoded + amount * (encoded - blurred), 0, 1)


def _white_balance_gains(camera: CameraModel, rng: np.random.Generator) -> FloatArray:
    """One gain per channel, log-normal around 1."""
    return np.exp(rng.normal(0, camera.white_balance_sigma, 3)).astype(np.float32)


def brightest_channel(picture: npt.NDArray[Number]) -> npt.NDArray[Number]:
    """The largest channel of each pixel, (H, W) for (H, W, 3).

    Channel by channel: numpy's maximum over a last axis of 3 takes as long as the rest of the camera.
    """
    red, green, blue = np.moveaxis(picture, -1, 0)
    return np.maximum(np.maximum(red, green), blue)


def _exposure(radiance: FloatArray, clipped_share: float) -> float:
    """The factor after which ``clipped_share`` of the pixels have a channel at or above 1."""
    white_point = np.quantile(brightest_channel(radiance), 1 - clipped_share)
    return 1 / max(float(white_point), DARKEST_WHITE_POINT)


def _add_sensor_noise(
    exposed: FloatArray, camera: CameraModel, rng: np.random.Generator, gray: bool = False
) -> FloatArray:
    """Add shot noise (variance grows with the signal up to full well) and read noise (constant)."""
    shot = np.float32(log_uniform(rng, *camera.shot_noise))
    read = np.float32(log_uniform(rng, *camera.read_noise))
    sigma = np.minimum(exposed, 1)
    sigma *= shot
    sigma += read * read
    noise = rng.standard_normal((*exposed.shape[:2], 1) if gray else exposed.shape, dtype=np.float32)
    if gray:
        noise = np.repeat(noise, 3, axis=-1)
    noise *= np.sqrt(sigma, out=sigma)
    noise += exposed
    return noise


def _quantise(values: npt.NDArray[np.floating], full_scale: int) -> npt.NDArray[np.floating]:
    """Round values in 0..1 (clipped) to whole steps of ``full_scale``."""
    steps = np.clip(values, 0, 1)
    steps *= full_scale
    return np.rint(steps, out=steps)


def jpeg_round_trip(
    ldr: npt.NDArray[np.uint8], quality: int, full_chroma: bool = False, gray: bool = False
) -> npt.NDArray[np.uint8]:
    """Compress and decompress an RGB frame (H, W, 3), with 4:2:0 chroma, 4:4:4 or none."""
    options = [cv2.IMWRITE_JPEG_QUALITY, quality]
    if full_chroma:
        options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    picture = ldr[..., 0] if gray else cv2.cvtColor(ldr, cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(".jpg", picture, options)
    decoded = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8)
    return np.ascontiguousarray(decoded[..., ::-1])
