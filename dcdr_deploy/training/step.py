"""One training step: forward pass, loss, gradients, optimiser, and what a recipe asks for beside them."""

from __future__ import annotations

from collections.abc import Callable, Hashable

import torch
from torch import Tensor

from dcdr_deploy.models import HdrNetwork
from dcdr_deploy.models.encodings import srgb_decode
from dcdr_deploy.training.compilation import Forward
from dcdr_deploy.training.distributed import SINGLE, ProcessGroup
from dcdr_deploy.training.forms import choose_forms
from dcdr_deploy.training.losses import WeightedLoss, known_only
from dcdr_deploy.training.mu_law import mu_law
from dcdr_deploy.training.recipe import Recipe
from dcdr_deploy.training.recording import Compute, Computed
from dcdr_deploy.training.state import TrainingState
from dcdr_deploy.training.subpixels import even_out

Run = Callable[[Hashable, Compute, Tensor, Tensor], Computed]
"""Carries out a computation of a phase for a batch, as :class:`~dcdr_deploy.training.recording.StepRecorder` does."""


def compute_type(recipe: Recipe, device: torch.device) -> torch.dtype:
    """Arithmetic type of the forward pass for a recipe on a device."""
    named = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    if recipe.precision != "auto":
        return named[recipe.precision]
    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def type_of_step(state: TrainingState, device: torch.device) -> torch.dtype:
    """Arithmetic type of the forward pass of the step to come."""
    return torch.float32 if state.recipe.full_precision(state.step) else compute_type(state.recipe, device)


def training_forward(network: HdrNetwork, recipe: Recipe, peak: float) -> Forward:
    """How a run computes a network's output, in the network's own encoding.

    A tone net that is held at inverse sRGB / ``peak`` throughout is replaced by that function, which it meets to 1e-4
    of white: a fifth of the arithmetic is saved, and bf16 does not round what unclipped pixels are to be met with.
    """
    restoration = network.restoration_part()
    output = None if restoration is None else restoration.output
    if not recipe.tone_kept() or network.tone_part() is None or output is None:
        return network.coded
    return lambda x: output(x).float() + srgb_decode(x.float()) / peak


def one_by_one(_phase: Hashable, compute: Compute, x: Tensor, truth: Tensor) -> Computed:
    """Compute a step as it comes."""
    return compute(x, truth)


def train_step(
    state: TrainingState,
    loss_function: WeightedLoss,
    x: Tensor,
    truth: Tensor,
    group: ProcessGroup = SINGLE,
    forward: Forward | None = None,
    run: Run = one_by_one,
) -> Tensor:
    """One optimiser step; on a GPU it is queued, not waited for.

    Args:
        state: changed in place; its step number goes up by one.
        loss_function: of float32 prediction, truth and SDR.
        x: SDR (N, 3, H, W) in [0, 1].
        truth: linear HDR (N, 3, H, W) in [0, 1].
        group: processes that take this step together, each with patches of its own.
        forward: computes what the network does, see :func:`training_forward`; the network's own way by default.
        run: carries out what comes before the optimiser.

    Returns:
        Loss and mean squared error after the mu-law, over all processes, (2,) on the device.
    """
    recipe, network = state.recipe, state.network
    _prepare(state, x.device)
    kind, active = type_of_step(state, x.device), recipe.active_losses(state.step)
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]

    def compute(x: Tensor, truth: Tensor) -> Computed:
        with torch.autocast(x.device.type, kind, enabled=kind != torch.float32):
            coded = (forward or network.coded)(x)
        coded = coded.float()
        prediction = network.encoding.decode(coded)
        loss = loss_function(prediction, truth, x, active, coded, group)
        scaled = loss if state.scaler is None else state.scaler.scale(loss)
        gradients = torch.autograd.grad(scaled, parameters, allow_unused=True)
        with torch.no_grad():
            known, shown, _ = known_only(truth, prediction, x)
            error = (mu_law(shown.clamp(0, 1)) - mu_law(known)).square().mean()
        laid_out = [None if g is None else _like(g, p) for g, p in zip(gradients, parameters, strict=True)]
        return Computed(torch.stack([loss.detach(), error]), laid_out)

    flags = recipe.offsets_frozen(state.step), recipe.tone_frozen(state.step)
    computed = run((kind, frozenset(active), *flags), compute, x, truth)
    figures = computed.figures.clone()
    for parameter, gradient in zip(parameters, computed.gradients, strict=True):
        parameter.grad = gradient
    group.average([*(gradient for gradient in computed.gradients if gradient is not None), figures])
    _apply(state)
    if recipe.even_shuffles:
        even_out(network)
    state.step += 1
    state.update_average()
    return figures


def _prepare(state: TrainingState, device: torch.device) -> None:
    """Set what depends on a step's number and not on its batch: rates, what is held, how things are computed."""
    recipe, network = state.recipe, state.network
    choose_forms(network, device, recipe.offsets_frozen(state.step))
    tone = network.tone_part()
    for layer in tone.layers if tone else ():
        layer.requires_grad_(not recipe.tone_frozen(state.step))
    for name, parameter in network.named_parameters() if recipe.held else ():
        if name.startswith(tuple(recipe.held)):
            parameter.requires_grad_(False)
    for settings in state.optimiser.param_groups:
        settings["lr"] = recipe.learning_rate_at(state.step) * settings["rate"]
    state.optimiser.zero_grad(set_to_none=True)
    network.train()


def _apply(state: TrainingState) -> None:
    """Let the optimiser take the step."""
    scaler, clip = state.scaler, state.recipe.gradient_clip
    if clip:
        if scaler is not None:
            scaler.unscale_(state.optimiser)
        torch.nn.utils.clip_grad_norm_(state.network.parameters(), clip)
    if scaler is None:
        state.optimiser.step()
    else:
        scaler.step(state.optimiser)
        scaler.update()


def _like(gradient: Tensor, parameter: Tensor) -> Tensor:
    """A gradient with its parameter's layout, which Adam's fused kernel asks for."""
    if gradient.stride() == parameter.stride() and gradient.dtype == parameter.dtype:
        return gradient
    return torch.empty_like(parameter).copy_(gradient)
