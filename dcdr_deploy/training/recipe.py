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
        patches: patch sizes that the steps take in turn instead of ``patch`` (ours), each once in a round. The batch
            changes so that a step keeps its pixels, but for rounding.
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
        source_shares: shares of the synthetic source's samples that are drawn by the sources of
            :data:`dcdr_deploy.training.synthetic.SOURCES`, from photographs or from panoramas, by their names (ours).
        camera: fields of the camera model that differ from its defaults (ours).
        fov: fields of view of panorama views in degrees, least and most (ours).
        even_shuffles: even out the convolutions before pixel shuffles at the start and after every step (ours), so that
            they cannot learn a grid; see :mod:`dcdr_deploy.training.subpixels`.
        held: beginnings of the names of parameters that stay as they start (ours): fine-tuning on a processor is
            quicker when the layers that come first need no gradients.
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
    patches: list[int] = field(default_factory=list)
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
    camera: dict[str, Any] = field(default_factory=dict)
    fov: list[float] = field(default_factory=lambda: [45.0, 80.0])
    even_shuffles: bool = False
    held: list[str] = field(default_factory=list)
    average: float = 0.0
    gradient_clip: float = 0.0
    precision: str = "auto"
    fp32_from: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.steps, self.batch, self.patch) < 1 or self.patch % 4:
            raise InputError("steps and batch must be positive and the patch a positive multiple of 4")
        if any(patch < 4 or patch % 4 for patch in self.patches) or len(set(self.patches)) < len(self.patches):
            raise InputError(f"patches is {self.patches}: it holds different positive multiples of 4")
        if self.precision not in ("auto", "fp32", "bf16", "fp16"):
            raise InputError(f"unknown precision {self.precision!r}: use auto, fp32, bf16 or fp16")
        if not 0 <= self.flat_share <= 1:
            raise InputError(f"flat_share is {self.flat_share}, it must lie in 0..1")
        if self.tone_start not in ("kaiming", "inverse_srgb"):
            raise InputError(f"unknown start of the tone net {self.tone_start!r}: use kaiming or inverse_srgb")
        if not self.losses_from.keys() <= self.losses.keys():
            late = sorted(self.losses_from.keys() - self.losses.keys())
            raise InputError(f"losses_from names {late}, which losses has not")

    def patch_at(self, step: int) -> int:
        """Patch size of step ``step``."""
        return self.patches[step % len(self.patches)] if self.patches else self.patch

    def batch_at(self, step: int) -> int:
        """Patches of step ``step``: as many as keep the pixels of a step."""
        return self.batch_of(self.patch_at(step))

    def batch_of(self, patch: int) -> int:
        """Patches of a step with another patch size."""
        return max(1, round(self.batch * (self.patch / patch) ** 2))

    @property
    def batches(self) -> dict[int, int]:
        """Patches of a step, by their size."""
        return {patch: self.batch_of(patch) for patch in self.patches or [self.patch]}

    @property
    def largest_batch(self) -> int:
        """Most patches of a step; samples of step s are numbered from s times this on."""
        return max(self.batches.values())

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
        if values.get("patches_from") == []:  # a field that there was, in a run that did not use it
            del values["patches_from"]
        return cls(**values)


SQUEEZENET_WEIGHT = 0.1
"""Weight of ``perceptual_squeezenet`` (ours)."""

DEMO_CAMERA = {
    "clipped_share": [0.005, 0.45],
    "jpeg_probability": 0.6,
    "jpeg_quality": [70, 99],
    "full_chroma_probability": 0.4,
    "grade_probability": 0.35,
    "sharpen_probability": 0.2,
    "gray_probability": 0.1,
}
"""What pictures go through before anyone sees them: grading, sharpening, JPEG; a tenth have no colour."""

DEMO_SOURCES = {"photographs": 0.42, "panoramas": 0.33, "twilight": 0.05, "tabletop": 0.05}
"""Photographs, in which single channels clip, and panoramas, which hold the lights, in nearly equal parts."""

FIRST_LAYERS = ["restoration.first", "restoration.hr1", "restoration.sft1", "restoration.down1", "restoration.encoder"]

_DEMO = Recipe(
    steps=750,
    batch=3,
    patch=128,
    learning_rate=8e-5,
    warmup=10,
    tail_start=0.2,
    tail_end=0.003,
    losses={
        "tanh_l1": 1.0,
        "mu_mse": 7.0,
        "sdr_l1": 0.5,
        "mu_log_mse": 0.01,
        "clipped_log_mse": 0.03,
        "mu_regret": 0.015,
        "clipped_l1": 0.12,
        "clipped_uv": 0.4,
        "perceptual_squeezenet": SQUEEZENET_WEIGHT,
    },
    tone_start="inverse_srgb",
    tone_from=1.0,
    held=[*FIRST_LAYERS, "condition"],
    flat_share=0.3,
    source_shares=DEMO_SOURCES,
    camera=DEMO_CAMERA,
    fov=[20.0, 100.0],
    even_shuffles=True,
    average=0.99,
    gradient_clip=1.0,
    precision="bf16",
    seed=7,
)

_DEMO_GPU = replace(
    _DEMO,
    steps=14_333,
    batch=8,
    patch=256,
    learning_rate=1e-4,
    warmup=400,
    tail_start=0.25,
    losses=_DEMO.losses | {"mu_mse": 10.0, "mu_regret": 0.012, "clipped_l1": 0.1, "clipped_uv": 0.5},
    held=[],
    source_shares={"photographs": 0.45, "panoramas": 0.37, "twilight": 0.04, "tabletop": 0.04},
    average=0.9985,
)

REGRET_FROM = 0.6
"""Share of a run from scratch after which :func:`~dcdr_deploy.training.losses.mu_regret` joins. A net that restores
little yet loses decibels with every guess; their square outweighs all other losses until it guesses nothing. The first
demo weights (model card) had learnt for as large a share of their steps when it joined."""

_SCRATCH_GPU = replace(
    _DEMO_GPU,
    patches=[128, 256, 384],
    losses_from={"mu_regret": REGRET_FROM},
    source_shares={"photographs": 0.5, "panoramas": 0.34, "twilight": 0.03, "tabletop": 0.03},
    camera=DEMO_CAMERA | {"video_probability": 0.25},
)

RECIPES: dict[str, Recipe] = {
    "paper": Recipe(),
    "demo": _DEMO,
    "demo-gpu": _DEMO_GPU,
    "demo-gpu-scratch": _SCRATCH_GPU,
}
"""Recipes by name. ``demo`` fine-tunes weights that restore lights already (``--weights``), sized for a processor, and
``demo-gpu`` for six minutes of a large GPU, where ``demo-gpu-scratch`` needs no weights; the model card says which made
the shipped weights, and what rates close the restoration net's ReLUs."""


def named_recipe(name: str) -> Recipe:
    """A recipe by its name.

    Raises:
        InputError: there is none.
    """
    if name not in RECIPES:
        raise InputError(f"unknown recipe {name!r}; known: {', '.join(RECIPES)}")
    return RECIPES[name]
