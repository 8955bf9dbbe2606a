"""The training loop: steps, validation, checkpoints and metrics as JSON lines."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from dcdr_deploy.models import HdrNetwork, NetworkConfig, build_network, find_preset, initialise
from dcdr_deploy.system.progress import Event, Listener, silent
from dcdr_deploy.training.batches import load_batches
from dcdr_deploy.training.compilation import Forward, compiled
from dcdr_deploy.training.distributed import SINGLE, ProcessGroup
from dcdr_deploy.training.events import TRAINING, StepDone
from dcdr_deploy.training.figures import StepFigures
from dcdr_deploy.training.forms import choose_forms
from dcdr_deploy.training.liveness import SILENT_SHARE, OpenChannels, RestorationSilent
from dcdr_deploy.training.losses import WeightedLoss, known_only, srgb_decode
from dcdr_deploy.training.mu_law import mu_law
from dcdr_deploy.training.recipe import Recipe
from dcdr_deploy.training.start import start_from_inverse_srgb
from dcdr_deploy.training.state import TrainingState
from dcdr_deploy.training.subpixels import even_out

CHECKPOINT_NAME = "last.pth"
METRICS_NAME = "metrics.jsonl"


@dataclass(frozen=True)
class LoopOptions:
    """How a run is carried out, which changes nothing about its result.

    Attributes:
        checkpoint_every: steps between checkpoints; a killed run loses at most that many.
        validate_every: steps between validations.
        log_every: steps between lines in the metrics file.
        minutes: stop with a checkpoint after this time, to go on later with ``resume``; ``None`` for no limit.
        workers: processes that prepare data; 0 prepares it between steps.
        device: torch device name.
        compile: run the network through ``torch.compile``; rounding differs slightly.
    """

    checkpoint_every: int = 500
    validate_every: int = 1000
    log_every: int = 50
    minutes: float | None = None
    workers: int = 0
    device: str = "cpu"
    compile: bool = False


def create_state(
    recipe: Recipe, peak: float, device: torch.device, config: NetworkConfig | None = None
) -> TrainingState:
    """A run at step 0, deterministic by the recipe's seed; ``config`` replaces the recipe's preset."""
    torch.manual_seed(recipe.seed)
    network = build_network(config or find_preset(recipe.preset))
    initialise(network, recipe.seed)
    if recipe.tone_start == "inverse_srgb":
        start_from_inverse_srgb(network, peak)
    if recipe.even_shuffles:
        even_out(network)
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    # One kernel for all weights where there is a GPU; None leaves CPUs as they are.
    fused = True if device.type == "cuda" else None
    optimiser = torch.optim.Adam(parameter_groups(network, recipe), recipe.learning_rate, fused=fused)
    average = None
    if recipe.average:
        average = {name: value.detach().clone() for name, value in network.state_dict().items()}
    state = TrainingState(recipe, network, average, optimiser, peak=peak)
    if compute_type(recipe, device) == torch.float16:
        state.scaler = torch.amp.GradScaler(device.type)
    return state


def parameter_groups(network: HdrNetwork, recipe: Recipe) -> list[dict[str, Any]]:
    """Adam's parameter groups: the offset convolutions, which have a learning rate of their own, and all others.

    The split does not depend on the recipe's rate, so that a checkpoint of one recipe can go on with another.
    """
    blocks = [block for block in network.deformable_blocks().values() if block.deformable]
    offsets = {id(p) for block in blocks for p in block.offset.parameters()}
    groups: list[dict[str, Any]] = []
    for rate, chosen in ((1.0, False), (recipe.offset_rate, True)):
        members = [p for p in network.parameters() if (id(p) in offsets) == chosen]
        if members:
            groups.append({"params": members, "rate": rate})
    return groups


def compute_type(recipe: Recipe, device: torch.device) -> torch.dtype:
    """Arithmetic type of the forward pass for a recipe on a device."""
    named = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    if recipe.precision != "auto":
        return named[recipe.precision]
    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


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


def train_step(
    state: TrainingState,
    loss_function: WeightedLoss,
    x: Tensor,
    truth: Tensor,
    group: ProcessGroup = SINGLE,
    forward: Forward | None = None,
) -> Tensor:
    """One optimiser step; on a GPU it is queued, not waited for.

    Args:
        state: changed in place; its step number goes up by one.
        loss_function: of float32 prediction, truth and SDR.
        x: SDR (N, 3, H, W) in [0, 1].
        truth: linear HDR (N, 3, H, W) in [0, 1].
        group: processes that take this step together, each with patches of its own.
        forward: computes what the network does, see :func:`training_forward`; the network's own way by default.

    Returns:
        Loss and mean squared error after the mu-law, over all processes, (2,) on the device.
    """
    recipe, network = state.recipe, state.network
    choose_forms(network, x.device, recipe.offsets_frozen(state.step))
    tone = network.tone_part()
    for layer in tone.layers if tone else ():
        layer.requires_grad_(not recipe.tone_frozen(state.step))
    for name, parameter in network.named_parameters() if recipe.held else ():
        if name.startswith(tuple(recipe.held)):
            parameter.requires_grad_(False)
    kind = torch.float32 if recipe.full_precision(state.step) else compute_type(recipe, x.device)
    for settings in state.optimiser.param_groups:
        settings["lr"] = recipe.learning_rate_at(state.step) * settings["rate"]
    network.train()
    with torch.autocast(x.device.type, kind, enabled=kind != torch.float32):
        coded = (forward or network.coded)(x)
    coded = coded.float()
    prediction = network.encoding.decode(coded)
    loss = loss_function(prediction, truth, x, recipe.active_losses(state.step), coded)
    state.optimiser.zero_grad(set_to_none=True)
    scaler = state.scaler
    (loss if scaler is None else scaler.scale(loss)).backward()
    with torch.no_grad():
        known, shown, _ = known_only(truth, prediction, x)
        mse = (mu_law(shown.clamp(0, 1)) - mu_law(known)).square().mean()
    figures = torch.stack([loss.detach(), mse])
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    group.average([*gradients, figures])
    if recipe.gradient_clip:
        if scaler is not None:
            scaler.unscale_(state.optimiser)
        torch.nn.utils.clip_grad_norm_(network.parameters(), recipe.gradient_clip)
    if scaler is None:
        state.optimiser.step()
    else:
        scaler.step(state.optimiser)
        scaler.update()
    if recipe.even_shuffles:
        even_out(network)
    state.step += 1
    state.update_average()
    return figures


def train(
    state: TrainingState,
    data: Dataset[tuple[Tensor, Tensor]],
    loss_function: WeightedLoss,
    folder: Path,
    options: LoopOptions,
    validate: Callable[[HdrNetwork], dict[str, float]] | None = None,
    listener: Listener = silent,
    stop: Callable[[], bool] = lambda: False,
    group: ProcessGroup = SINGLE,
) -> bool:
    """Run until the recipe's last step, the time limit or ``stop``; a checkpoint is written in each case.

    Args:
        state: new or restored, the same in all processes.
        data: pairs by index; step s takes the indices s x batch and following.
        loss_function: on the run's device.
        folder: receives ``last.pth`` and ``metrics.jsonl``.
        options: see :class:`LoopOptions`.
        validate: called now and then with the averaged network in evaluation mode; its figures go to the metrics.
        listener: told where the run stands, then of every step by a :class:`~dcdr_deploy.training.events.StepDone`.
        stop: asked after every step; ``True`` ends the slice with a checkpoint (how an interrupt is answered). One
            process that wants to stop stops all of them after the same step.
        group: processes that train together; only the first writes, listens and validates.

    Returns:
        Whether the recipe is complete.

    Raises:
        RestorationSilent: the restoration net's last ReLUs have closed; the checkpoint before that is kept.
        InputError: the batch cannot be split over the processes.
        ProcessLost: another process is gone.
    """
    recipe, device = state.recipe, torch.device(options.device)
    for _, patch in [(0.0, recipe.patch), *recipe.patches_from]:
        group.share_of(recipe.batch_of(int(patch)))
    group.copy_from_first(list(state.network.state_dict().values()))
    forward = training_forward(state.network, recipe, state.peak)
    if options.compile:
        forward = compiled(forward)
    channels = None if options.compile else OpenChannels(state.network)
    journal = _Journal(state, folder, options, validate, listener, channels) if group.is_first else None
    started, earlier = time.monotonic(), state.seconds
    try:
        for x, truth in load_batches(data, recipe, state.step, options.workers, device, group):
            figures = train_step(state, loss_function, x, truth, group, forward)
            state.seconds = earlier + time.monotonic() - started
            if journal is not None:
                journal.step_done(figures)
            out_of_time = options.minutes is not None and time.monotonic() - started > options.minutes * 60
            if group.any(out_of_time or stop()):
                break
    finally:
        if channels is not None:
            channels.end()
    if journal is not None:
        journal.save()
    return state.step >= recipe.steps


class _Journal:
    """What a run leaves behind and tells: checkpoints, metrics, validations, progress."""

    def __init__(
        self,
        state: TrainingState,
        folder: Path,
        options: LoopOptions,
        validate: Callable[[HdrNetwork], dict[str, float]] | None,
        listener: Listener,
        channels: OpenChannels | None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.channels = channels
        self.state, self.folder, self.options, self.validate = state, folder, options, validate
        self.listener = listener
        self.figures = StepFigures()
        self.figures.take_over(state.figures)
        listener(Event(TRAINING, state.step, state.recipe.steps))

    def step_done(self, figures: Tensor) -> None:
        """Take in a step's figures, and do what is due after it."""
        state, options, recipe = self.state, self.options, self.state.recipe
        log = state.step % options.log_every == 0
        self.figures.add(figures)
        if log:
            self.figures.wait()
        mean_loss, mse = self.figures.means()
        psnr = -10 * torch.tensor(mse).clamp(min=1e-12).log10().item()
        told = StepDone(TRAINING, state.step, recipe.steps, loss=mean_loss, psnr_mu=psnr, seconds=state.seconds)
        self.listener(told)
        if log:
            line = {"loss": mean_loss, "psnr_mu": psnr, "lr": recipe.learning_rate_at(state.step - 1)}
            closed = None if self.channels is None else self.channels.closed_share()
            self._append(line if closed is None else {**line, "closed_channels": round(closed, 3)})
            self.figures.clear()
            if closed is not None and closed >= SILENT_SHARE:
                raise RestorationSilent(
                    f"the restoration net has fallen silent by step {state.step}: {closed:.0%} of its last hidden "
                    f"channels stayed closed for {options.log_every} steps, and closed ones do not learn; start again "
                    f"at the weights before with a lower `learning_rate` than {recipe.learning_rate:g}"
                )
        if self.validate is not None and state.step % options.validate_every == 0:
            with evaluation_network(state) as network:
                self._append(self.validate(network))
        if state.step % options.checkpoint_every == 0:
            self.save()

    def save(self) -> None:
        """Write the checkpoint."""
        self.figures.wait()
        self.state.figures = self.figures.known()
        self.state.save(self.folder / CHECKPOINT_NAME)

    def _append(self, values: dict[str, Any]) -> None:
        line = {"step": self.state.step, "seconds": round(self.state.seconds, 1), **values}
        with (self.folder / METRICS_NAME).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


@contextlib.contextmanager
def evaluation_network(state: TrainingState) -> Iterator[HdrNetwork]:
    """The network to judge: averaged weights where the recipe keeps them, evaluation mode; restored afterwards."""
    network = state.network
    trained = None
    if state.average is not None:
        trained = {name: value.clone() for name, value in network.state_dict().items()}
        network.load_state_dict(state.average)
    on_cpu = next(network.parameters()).device.type == "cpu"
    frozen = state.recipe.offsets_frozen(state.step - 1)
    network.eval().set_deform_mode("zero" if frozen else "gather" if on_cpu else "torchvision")
    try:
        yield network
    finally:
        if trained is not None:
            network.load_state_dict(trained)
        network.train()
