"""Training losses: the paper's tanh L1 (eq. 8), mu-law terms for the demo weights, and their weighted sum."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor, nn

from dcdr_deploy.errors import InputError
from dcdr_deploy.imaging.frame import CLIPPED_CODE
from dcdr_deploy.metrics.chromaticity import DARKEST, uv_prime
from dcdr_deploy.models.encodings import LINEAR, Encoding, srgb_decode
from dcdr_deploy.training.distributed import SINGLE, ProcessGroup
from dcdr_deploy.training.log_losses import cosine, illumination_reflectance, mu5000_l1, mu_variation
from dcdr_deploy.training.mu_law import mu_law
from dcdr_deploy.training.perceptual import PERCEPTUAL

LossTerm = Callable[[Tensor, Tensor], Tensor]

CLIPPED_LOG_FLOOR = 1e-5
"""Mean squared error (50 dB) below which a patch's clipped pixels count as exact."""

LOG_FLOOR = 1e-6
"""Mean squared error (60 dB) below which a patch counts as exact."""


def tanh_l1(prediction: Tensor, truth: Tensor) -> Tensor:
    """Mean of |tanh(prediction) - tanh(truth)|, first term of eq. 8; both (N, 3, H, W) linear."""
    return (torch.tanh(prediction) - torch.tanh(truth)).abs().mean()


def mu_l1(prediction: Tensor, truth: Tensor) -> Tensor:
    """Mean absolute error after the mu-law (ours): weighs dark and bright more evenly than linear light does."""
    return (mu_law(prediction) - mu_law(truth)).abs().mean()


def mu_mse(prediction: Tensor, truth: Tensor) -> Tensor:
    """Mean squared error after the mu-law (ours): what PSNR-mu measures."""
    return (mu_law(prediction) - mu_law(truth)).square().mean()


def mu_log_mse(prediction: Tensor, truth: Tensor) -> Tensor:
    """Mean over patches of the logarithm of each patch's :func:`mu_mse` (ours): what PSNR-mu per picture measures.

    Patches in which little clips are nearly exact from the start. Pooled errors hardly see them; here a decibel lost
    there weighs as much as one lost in a patch full of lights.
    """
    return torch.log(_mu_errors(prediction, truth) + LOG_FLOOR).mean()


def mu_regret(prediction: Tensor, truth: Tensor, sdr: Tensor, peak: float) -> Tensor:
    """Mean over patches of the squared decibels that a patch lost against inverse sRGB / ``peak`` (ours).

    What a surface that only just clips looked like cannot be told from one far above white, and the likeliest guess
    ruins the former, which the trivial conversion meets almost exactly. This term costs nothing where the network is
    better than the conversion, and the more the further it falls behind: ten decibels a hundred times one.

    Args:
        prediction: linear, (N, 3, H, W), 1.0 = ``peak`` x SDR white.
        truth: likewise.
        sdr: what the prediction was made from, sRGB-encoded in [0, 1].
        peak: linear value of 1.0 in units of SDR white.
    """
    conversion = _mu_errors(srgb_decode(sdr) / peak, truth)
    lost = 10 * torch.log10((_mu_errors(prediction, truth) + LOG_FLOOR) / (conversion + LOG_FLOOR))
    return lost.clamp(min=0).square().mean()


def _mu_errors(prediction: Tensor, truth: Tensor) -> Tensor:
    """Each patch's mean squared error after the mu-law, (N,)."""
    return (mu_law(prediction) - mu_law(truth)).square().mean(dim=(1, 2, 3))


def uv_distance(prediction: Tensor, truth: Tensor) -> Tensor:
    """Each pixel's distance in CIE 1976 u'v' chromaticity, (N, H, W), of linear (N, 3, H, W) (ours).

    The other terms forgive a channel that is lifted in vain if the others are right, and where red alone clips, as
    around a low sun, that is a green cast. Distances do not change with brightness, which is the other terms' matter.
    """
    u, v = uv_prime(*prediction.clamp(min=DARKEST).unbind(1))
    true_u, true_v = uv_prime(*truth.clamp(min=DARKEST).unbind(1))
    # The root's gradient is infinite at 0; its floor is far below what can be seen.
    return ((u - true_u).square() + (v - true_v).square() + 1e-8).sqrt()


def mu_distance(prediction: Tensor, truth: Tensor) -> Tensor:
    """Each pixel's mean absolute error after the mu-law, (N, H, W), of linear (N, 3, H, W) (ours).

    An L1 error's best guess is the median of what may have been there, a squared one's the mean: where most surfaces
    only just clip and few are lamps, the median leaves them alone.
    """
    return (mu_law(prediction) - mu_law(truth)).abs().mean(dim=1)


def mean_over_clipped(distance: Tensor, sdr: Tensor, group: ProcessGroup = SINGLE) -> Tensor:
    """Mean over the pixels with a clipped channel, 0 if there are none.

    In several processes the mean of their results, and of these results' gradients, is the one over all their clipped
    pixels: each divides its sum by the mean of their counts, which no weight of the network has an influence on.

    Args:
        distance: of each pixel, (N, H, W).
        sdr: what the prediction was made from, sRGB-encoded in [0, 1], (N, 3, H, W).
        group: processes that share the batch; all come here.

    Raises:
        ProcessLost: another process is gone.
    """
    clipped = _clipped(sdr)
    count = clipped.sum().float()
    group.average([count])
    return (distance * clipped).sum() / count.clamp(min=1 / group.size)


def clipped_log_mse(prediction: Tensor, truth: Tensor, sdr: Tensor) -> Tensor:
    """Mean over patches of the logarithm of each patch's :func:`mu_mse` over its pixels with a clipped channel (ours).

    Decibels on clipped pixels, one picture like the other: a petal whose red channel lacks a quarter counts as much as
    a lamp, which pooled errors do not see beside it. Patches in which nothing clips count as 0.

    Args:
        prediction: linear, (N, 3, H, W).
        truth: likewise.
        sdr: what the prediction was made from, sRGB-encoded in [0, 1].
    """
    clipped = _clipped(sdr)
    error = (mu_law(prediction) - mu_law(truth)).square().mean(dim=1)
    count = clipped.sum(dim=(1, 2))
    mean = (error * clipped).sum(dim=(1, 2)) / count.clamp(min=1)
    return (torch.log(mean + CLIPPED_LOG_FLOOR) * (count > 0)).mean()


def _clipped(sdr: Tensor) -> Tensor:
    """Whether a channel of a pixel is clipped, (N, H, W) bool."""
    return sdr.amax(dim=1) > (CLIPPED_CODE - 0.5) / 255


def sdr_l1(prediction: Tensor, truth: Tensor, peak: float) -> Tensor:
    """Mean absolute error in sRGB code values of the part up to SDR white (ours).

    Errors in the dark, which neither tanh nor the mu-law weighs, are colour casts in what a viewer sees first. The
    curve is continued as a straight line below 0; above SDR white it says nothing, the other terms do.

    Args:
        prediction: linear, (N, 3, H, W), 1.0 = ``peak`` x SDR white.
        truth: likewise.
        peak: linear value of 1.0 in units of SDR white.
    """
    return (_srgb_encode(prediction * peak) - _srgb_encode(truth * peak)).abs().mean()


def _srgb_encode(linear: Tensor) -> Tensor:
    """sRGB curve (IEC 61966-2-1) with its straight toe continued below 0, constant above 1."""
    inside = linear.clamp(max=1)
    # The power's gradient is infinite at 0, so it must not even be computed there.
    power = 1.055 * inside.clamp(min=0.0031308) ** (1 / 2.4) - 0.055
    return torch.where(inside <= 0.0031308, 12.92 * inside, power)


TERMS: dict[str, Callable[[float], LossTerm]] = {
    "tanh_l1": lambda peak: tanh_l1,
    "mu_l1": lambda peak: mu_l1,
    "mu_mse": lambda peak: mu_mse,
    "mu_log_mse": lambda peak: mu_log_mse,
    "sdr_l1": lambda peak: partial(sdr_l1, peak=peak),
    "mu5000_l1": lambda peak: mu5000_l1,
    "mu_variation": lambda peak: mu_variation,
    "cosine": lambda peak: cosine,
}
"""Losses of prediction and truth without weights of their own, made for a peak, by the name used in a recipe."""

RELATIVE_TERMS: dict[str, Callable[[float], Callable[[Tensor, Tensor, Tensor], Tensor]]] = {
    "mu_regret": lambda peak: partial(mu_regret, peak=peak),
    "clipped_log_mse": lambda peak: clipped_log_mse,
    "illumination_reflectance": lambda peak: partial(illumination_reflectance, peak=peak),
}
"""Losses that look at the SDR input as well."""

CLIPPED_TERMS: dict[str, LossTerm] = {"clipped_uv": uv_distance, "clipped_l1": mu_distance}
"""Distances of pixels, of which :func:`mean_over_clipped` makes losses."""


def coded_l1(coded: Tensor, truth: Tensor) -> Tensor:
    """Mean absolute error in the network's own encoding of its output; both (N, 3, H, W) encoded."""
    return (coded - truth).abs().mean()


def coded_mse(coded: Tensor, truth: Tensor) -> Tensor:
    """Mean squared error in the network's own encoding of its output; both (N, 3, H, W) encoded."""
    return (coded - truth).square().mean()


CODED_TERMS: dict[str, LossTerm] = {"coded_l1": coded_l1, "coded_mse": coded_mse}
"""Losses in the network's own encoding of its output: of what its layers give, and of the truth encoded alike."""


def known_only(truth: Tensor, prediction: Tensor, sdr: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Truth, prediction and SDR without the pixels whose truth is unknown (NaN): black in all three.

    Black, and not left as it is, because some terms look at the SDR picture: it must be right there as well.
    """
    unknown = truth.isnan().any(dim=1, keepdim=True)
    return tuple(tensor.masked_fill(unknown, 0.0) for tensor in (truth, prediction, sdr))  # type: ignore[return-value]


class WeightedLoss(nn.Module):
    """Sum of named loss terms.

    Args:
        weights: weight of each name of :data:`TERMS`, :data:`RELATIVE_TERMS`, :data:`CLIPPED_TERMS`,
            :data:`CODED_TERMS` and :data:`~dcdr_deploy.training.perceptual.PERCEPTUAL`; zero weights are left out.
        files: weights files of perceptual losses, by the same names; those not given are looked for.
        peak: linear value of 1.0 in units of SDR white.
        encoding: of what the network's layers give.

    Raises:
        InputError: unknown name, or perceptual loss without weights.
    """

    def __init__(
        self,
        weights: Mapping[str, float],
        files: Mapping[str, Path] = MappingProxyType({}),
        peak: float = 1.0,
        encoding: Encoding = LINEAR,
    ) -> None:
        super().__init__()
        known = TERMS.keys() | RELATIVE_TERMS.keys() | CLIPPED_TERMS.keys() | CODED_TERMS.keys() | PERCEPTUAL.keys()
        if not weights.keys() <= known:
            raise InputError(f"unknown loss {sorted(weights.keys() - known)}; known: {sorted(known)}")
        self.weights = {name: weight for name, weight in weights.items() if weight}
        self.encoding = encoding
        names = self.weights.keys()
        self.terms = {name: TERMS[name](peak) for name in names & TERMS.keys()}
        self.relative = {name: RELATIVE_TERMS[name](peak) for name in names & RELATIVE_TERMS.keys()}
        self.perceptual = nn.ModuleDict(
            {name: PERCEPTUAL[name].load(files.get(name)) for name in sorted(names & PERCEPTUAL.keys())}
        )

    def forward(
        self,
        prediction: Tensor,
        truth: Tensor,
        sdr: Tensor,
        active: Collection[str] | None = None,
        coded: Tensor | None = None,
        group: ProcessGroup = SINGLE,
    ) -> Tensor:
        """Weighted sum for float32 pictures.

        Args:
            prediction: linear, (N, 3, H, W).
            truth: likewise; NaN where it is unknown: there the prediction counts as right in every term.
            sdr: the network's input, sRGB-encoded in [0, 1].
            active: names of the terms that count; all by default.
            coded: the prediction before decoding, for :data:`CODED_TERMS`; by default the prediction encoded again.
            group: processes that share the batch: the mean of their sums is that of the whole batch.

        Raises:
            ProcessLost: another process is gone.
        """
        unknown = truth.isnan().any(dim=1, keepdim=True)
        truth, prediction, sdr = known_only(truth, prediction, sdr)
        total = prediction.new_zeros(())
        for name, weight in self.weights.items():
            if active is not None and name not in active:
                continue
            if name in CODED_TERMS:
                coded_truth = self.encoding.encode(truth)
                given = self.encoding.encode(prediction) if coded is None else coded
                value = CODED_TERMS[name](torch.where(unknown, coded_truth, given), coded_truth)
            elif name in CLIPPED_TERMS:
                value = mean_over_clipped(CLIPPED_TERMS[name](prediction, truth), sdr, group)
            elif name in self.relative:
                value = self.relative[name](prediction, truth, sdr)
            else:
                value = (self.terms.get(name) or self.perceptual[name])(prediction, truth)
            total = total + weight * value
        return total
