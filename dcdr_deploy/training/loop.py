"""The training loop: steps, validation, checkpoints and metrics as JSON lines."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from dcdr_deploy.errors import InputError
from dcdr_deploy.models import HdrNetwork, NetworkConfig, architecture_of, build_network, find_preset, initialise
from dcdr_deploy.system.files import make_folder
from dcdr_deploy.system.progress import Event, Listener, silent
from dcdr_deploy.training.asked import CHECKPOINT_NAME
from dcdr_deploy.training.batches import killed_loaders_told, load_batches
from dcdr_deploy.training.compilation import compiled
from dcdr_deploy.training.distributed import SINGLE, ProcessGroup
from dcdr_deploy.training.events import TRAINING, StepDone
from dcdr_deploy.training.figures import StepFigures
from dcdr_deploy.training.liveness import SILENT_SHARE, OpenChannels, RestorationSilent
from dcdr_deploy.training.losses import WeightedLoss
from dcdr_deploy.training.metrics_file import METRICS_NAME, MetricsFile
from dcdr_deploy.training.recipe import Recipe
from dcdr_deploy.training.recording import StepRecorder, own_stream
from dcdr_deploy.training.start import start_from_inverse_srgb
from dcdr_deploy.training.state import TrainingState
from dcdr_deploy.training.step import compute_type, one_by_one, train_step, training_forward, type_of_step
from dcdr_deploy.training.subpixels import even_out


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
        record: replay steps as CUDA graphs on a single GPU, where that works.
    """

    checkpoint_every: int = 500
    validate_every: int = 1000
    log_every: int = 50
    minutes: float | None = None
    workers: int = 0
    device: str = "cpu"
    compile: bool = False
    record: bool = True


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


def check_batches(network: HdrNetwork, recipe: Recipe, group: ProcessGroup) -> None:
    """Refuse batches that cannot be trained on.

    A network with batch normalisation halves a patch of its size multiple to one pixel, and of one value there is no
    deviation.

    Raises:
        InputError: the processes cannot share one evenly, or a share would be normalised by a single value.
    """
    normalises = any(isinstance(module, torch.nn.BatchNorm2d) for module in network.modules())
    smallest = architecture_of(network.config).size_multiple
    for patch, batch in recipe.batches.items():
        if group.share_of(batch) == 1 and patch == smallest and normalises:
            raise InputError(
                f"`batch` {batch} of `patch` {patch}: the network normalises every batch, and one patch of that size a "
                "process is too little for it; give more or larger patches"
            )


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
        RunDiverged: the weights are no numbers any more; likewise.
        InputError: the batch cannot be split over the processes, or what is left is too small for the network.
        OutputError: the folder or a file in it cannot be written.
        ProcessLost: another process is gone.
        EngineError: a process that prepares data was killed.
    """
    recipe, device = state.recipe, torch.device(options.device)
    check_batches(state.network, recipe, group)
    group.copy_from_first(list(state.network.state_dict().values()))
    forward = training_forward(state.network, recipe, state.peak)
    if options.compile:
        forward = compiled(forward)
    channels = OpenChannels(state.network)
    journal = _Journal(state, folder, options, validate, listener, channels) if group.is_first else None
    # A loss scaler asks the processor, and other processes are waited for: neither can be recorded.
    recorded = options.record and device.type == "cuda" and group.size == 1 and state.scaler is None
    run = StepRecorder() if recorded else one_by_one
    started, earlier = time.monotonic(), state.seconds
    try:
        with own_stream(device), killed_loaders_told():
            for x, truth in load_batches(data, recipe, state.step, options.workers, device, group):
                figures = train_step(state, loss_function, x, truth, group, forward, run)
                state.seconds = earlier + time.monotonic() - started
                if journal is not None:
                    journal.step_done(figures, x)
                out_of_time = options.minutes is not None and time.monotonic() - started > options.minutes * 60
                if group.any(out_of_time or stop()):
                    break
    finally:
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
        channels: OpenChannels,
    ) -> None:
        make_folder(folder)
        self.metrics = MetricsFile(folder / METRICS_NAME, state.step)
        self.channels = channels
        self.state, self.folder, self.options, self.validate = state, folder, options, validate
        self.listener = listener
        self.figures = StepFigures()
        self.figures.take_over(state.figures)
        listener(Event(TRAINING, state.step, state.recipe.steps))

    def step_done(self, figures: Tensor, x: Tensor) -> None:
        """Take in a step's figures and SDR batch, and do what is due after it."""
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
            if options.compile:
                self.channels.look(x, type_of_step(state, x.device))
            closed = self.channels.closed_share()
            self._append(line if closed is None else {**line, "closed_channels": round(closed, 3)})
            self.figures.clear()
            state.check_finite()
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
        self.metrics.append({"step": self.state.step, "seconds": round(self.state.seconds, 1), **values})


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
