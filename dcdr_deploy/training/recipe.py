"""What a training run does, as one frozen value, with the paper's and the demo weights' settings by name."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from dcdr_deploy.errors import InputError


@dataclass(frozen=True)
class Recipe:
    """Settings of one run. Defaults are the paper's (section 4.1.3); what it leaves open says so.

    Attributes:
        preset: name of a network, see :func:`dcdr_deploy.models.preset_names`.
        steps: optimiser steps of the whole run.
        batch: patches a step.
        patch: height and width of a patch in pixels; a multiple of 4.
        learning_rate: of Adam (open in the paper; HDRUNet's).
        warmup: steps over which the learning rate rises from zero (open in the paper).
        tail_start: share of ``steps`` after which the learning rate falls linearly (1: constant; open in the paper).
        tail_end: what it falls to, as a share of ``learning_rate``.
        losses: weight of each loss, names as in :mod:`dcdr_deploy.training.losses`.
        losses_from: share of ``steps`` after which a loss joins, by its name; the others count from the start (ours).
        offsets_from: share of ``steps`` with offsets held at zero before they are learnt (ours; 0 in the paper).
        offset_rate: learning rate of the offset convolutions as a multiple of the others' (open in the paper).
        tone_start: ``"kaiming"``, or ``"inverse_srgb"``: the tone net starts at inverse sRGB / peak and the restoration
            net almost silent, so that training cannot begin below that baseline (ours).
        tone_from: share of ``steps`` with the tone net held at its start (ours; 0 in the paper), so that what clipping
            took is left to the restoration net. A tone net that is held throughout (1) stays at ``tone_start`` whatever
            weights the run starts at. A tone net that learns from the start lifts clipped areas by itself,
            and the restoration net falls silent.
        flat_share: share of the synthetic source's samples whose contrast is lowered (ours): overcast skies and white
            ceilings, of which large parts only just clip.
        source_shares: shares of the synthetic source's samples that are drawn by generators of
            :data:`dcdr_deploy.training.synthetic.SOURCES`, by their names (ours).
        even_shuffles: even out the convolutions before pixel shuffles at the start and after every step (ours), so that
            they cannot learn a grid; see :mod:`dcdr_deploy.training.subpixels`.
        average: decay of the running average of the weights, kept beside them (0: none; open in the paper).
        gradient_clip: largest norm of a step's gradient (0: no limit; open in the paper).
        precision: ``"fp32"``, ``"bf16"`` or ``"fp16"`` arithmetic of the forward pass, or ``"auto"``: bf16 where the
            GPU has it, fp16 on older ones, fp32 on CPUs.
        fp32_from: share of ``steps`` after which arithmetic is fp32 in any case: rounding of bf16 limits how exactly
            unclipped pixels can be met.
        seed: of weights and data.
    """

    preset: str = "paper"
    steps: int = 200_000
    batch: int = 16
    patch: int = 512
    learning_rate: float = 2e-4
    warmup: int = 0
    tail_start: float = 1.0
    tail_end: float = 0.02
    losses: dict[str, float] = field(default_factory=lambda: {"tanh_l1": 1.0, "perceptual": 0.1})
    losses_from: dict[str, float] = field(default_factory=dict)
    offsets_from: float = 0.0
    offset_rate: float = 1.0
    tone_start: str = "kaiming"
    tone_from: float = 0.0
    flat_share: float = 0.0
    source_shares: dict[str, float] = field(default_factory=dict)
    even_shuffles: bool = False
    average: float = 0.0
    gradient_clip: float = 0.0
    precision: str = "auto"
    fp32_from: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.steps, self.batch, self.patch) < 1 or self.patch % 4:
            raise InputError("steps and batch must be positive and the patch a positive multiple of 4")
        if self.precision not in ("auto", "fp32", "bf16", "fp16"):
            raise InputError(f"unknown precision {self.precision!r}: use auto, fp32, bf16 or fp16")
        if not 0 <= self.flat_share <= 1:
            raise InputError(f"flat_share is {self.flat_share}, it must lie in 0..1")
        if self.tone_start not in ("kaiming", "inverse_srgb"):
            raise InputError(f"unknown start of the tone net {self.tone_start!r}: use kaiming or inverse_srgb")
        if not self.losses_from.keys() <= self.losses.keys():
            late = sorted(self.losses_from.keys() - self.losses.keys())
            raise InputError(f"losses_from names {late}, which losses has not")

    def learning_rate_at(self, step: int) -> float:
        """Learning rate of step ``step`` (counted from 0)."""
        done = step / self.steps
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        if done < self.tail_start:
            return self.learning_rate
        left = (1 - done) / max(1 - self.tail_start, 1e-9)
        return self.learning_rate * max(self.tail_end, left)

    def active_losses(self, step: int) -> set[str]:
        """Names of the losses that count in step ``step``."""
        return {name for name in self.losses if step >= self.losses_from.get(name, 0.0) * self.steps}

    def offsets_frozen(self, step: int) -> bool:
        """Whether offsets are held at zero in step ``step``."""
        return step < self.offsets_from * self.steps

    def tone_kept(self) -> bool:
        """Whether the tone net stays as it starts."""
        return self.tone_from >= 1 and self.tone_start == "inverse_srgb"

    def tone_frozen(self, step: int) -> bool:
        """Whether the tone net is held in step ``step``."""
        return step < self.tone_from * self.steps

    def full_precision(self, step: int) -> bool:
        """Whether step ``step`` computes in fp32 whatever ``precision`` says."""
        return step >= self.fp32_from * self.steps

    def to_json(self) -> str:
        """One line of JSON, as stored in checkpoints."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Recipe:
        """Inverse of :meth:`to_json`."""
        values: dict[str, Any] = json.loads(text)
        return cls(**values)


SQUEEZENET_WEIGHT = 0.1
"""Weight of ``perceptual_squeezenet`` (ours)."""

_DEMO = Recipe(
    steps=9_200,
    batch=4,
    patch=128,
    learning_rate=1.5e-4,
    warmup=100,
    tail_start=0.7,
    tail_end=0.02,
    losses={"tanh_l1": 1.0, "mu_mse": 4.0, "sdr_l1": 0.5, "mu_log_mse": 0.005},
    losses_from={"sdr_l1": 0.326, "mu_log_mse": 0.326},
    offsets_from=0.65,
    offset_rate=5.0,
    tone_start="inverse_srgb",
    tone_from=0.6,
    average=0.999,
    gradient_clip=1.0,
    precision="bf16",
    fp32_from=0.98,
)

_CAREFUL = replace(
    _DEMO,
    steps=2_000,
    learning_rate=5e-5,
    tail_start=0.2,
    losses={**_DEMO.losses, "mu_log_mse": 0.01, "mu_regret": 0.02, "perceptual_squeezenet": SQUEEZENET_WEIGHT},
    losses_from={},
    offsets_from=0.0,
    offset_rate=1.0,
    tone_start="kaiming",
    tone_from=0.0,
    average=0.998,
    seed=1,
)

_EXACT = replace(
    _CAREFUL,
    steps=700,
    warmup=50,
    tone_start="inverse_srgb",
    tone_from=1.0,
    flat_share=0.3,
    average=0.995,
    seed=2,
)

_TWILIGHT = replace(
    _EXACT,
    steps=1_500,
    learning_rate=1e-4,
    losses={**_EXACT.losses, "clipped_uv": 0.15},
    source_shares={"twilight": 0.25},
    even_shuffles=True,
    seed=3,
)

_TABLETOP = replace(
    _TWILIGHT,
    steps=1_700,
    losses={**_EXACT.losses, "clipped_uv": 0.25},
    source_shares={"twilight": 0.15, "tabletop": 0.2},
    seed=4,
)

RECIPES: dict[str, Recipe] = {
    "paper": Recipe(),
    "demo": _DEMO,
    "demo-finish": replace(_DEMO, steps=10_200, losses={**_DEMO.losses, "mu_log_mse": 0.02}),
    "demo-careful": _CAREFUL,
    "demo-exact": _EXACT,
    "demo-twilight": _TWILIGHT,
    "demo-tabletop": _TABLETOP,
    "demo-balance": replace(
        _TABLETOP,
        steps=900,
        learning_rate=7e-5,
        losses={**_EXACT.losses, "clipped_uv": 0.4},
        source_shares={"twilight": 0.35, "tabletop": 0.15},
        seed=5,
    ),
}
"""Recipes by name. ``demo`` is sized for two CPU cores; ``demo-finish`` goes on from it with ``--resume`` and weighs
patches in which little clips; ``demo-careful`` starts at their weights (``--weights``) and teaches caution where the
trivial conversion is nearly exact; ``demo-exact`` starts at those, puts the tone net back to its exact start and adds
flat light; ``demo-twilight``, ``demo-tabletop`` and ``demo-balance`` teach colours inside clipped areas. The model card
says how the shipped weights were made."""
