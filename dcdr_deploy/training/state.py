"""The training checkpoint: everything a run needs to go on bit by bit where it stopped."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from dcdr_deploy.errors import CheckpointError, DcdrError, InputError, ModelError
from dcdr_deploy.modelfile.metadata import ModelMetadata, decode, encode
from dcdr_deploy.modelfile.names import DOMAIN
from dcdr_deploy.models import HdrNetwork, LoadedModel, architecture_of
from dcdr_deploy.models.untrusted import read_untrusted
from dcdr_deploy.system.faults import one_line
from dcdr_deploy.system.files import atomic_path
from dcdr_deploy.training.asked import require_run
from dcdr_deploy.training.recipe import Recipe
from dcdr_deploy.training.resuming import RunSettings, data_from_json
from dcdr_deploy.training.subpixels import even_out

FORMAT = "dcdr-training-1"


class RunDiverged(DcdrError):
    """Training has made weights that are no numbers."""


@dataclass
class TrainingState:
    """A run between two steps.

    Attributes:
        recipe: what is being run.
        network: the weights that are trained.
        average: running average of the weights, ``None`` when the recipe keeps none.
        optimiser: Adam with its moments.
        step: steps done so far.
        seconds: time spent in steps so far, over all slices.
        peak: linear value of a target of 1.0, in units of SDR white.
        scaler: loss scaler, for fp16 arithmetic on GPUs only.
        start: how the weights were trained that the run started at, as their file says; ``None`` for a fresh start.
        figures: loss and mean squared error of the steps since the last line of the metrics.
        data: what the samples are drawn from, see :class:`~dcdr_deploy.training.resuming.RunSettings`.
    """

    recipe: Recipe
    network: HdrNetwork
    average: dict[str, torch.Tensor] | None
    optimiser: torch.optim.Adam
    step: int = 0
    seconds: float = 0.0
    peak: float = 1.0
    scaler: torch.amp.GradScaler | None = None
    start: dict[str, Any] | None = None
    figures: list[tuple[float, float]] = field(default_factory=list)
    data: Mapping[str, Any] = field(default_factory=dict)

    def start_at(self, model: LoadedModel) -> None:
        """Take over a model's weights before the first step, into the running average too.

        A tone net that the recipe holds throughout keeps its own start.
        """
        own = {name: self.network.state_dict()[name] for name in self._kept_names()}
        self.network.load_state_dict(model.network.state_dict() | own)
        if self.recipe.even_shuffles:
            even_out(self.network)
        self.start = {"file": model.source.name, **_told(model.metadata.extra.get("training"))}
        if self.average is not None:
            self.average = {name: value.clone() for name, value in self.network.state_dict().items()}

    def can_start_at(self, network: HdrNetwork) -> bool:
        """Tell whether a network's weights fit: all of them, but those of a tone net that keeps its own start."""
        kept = self._kept_names()

        def layout(of: HdrNetwork) -> dict[str, torch.Size]:
            return {name: value.shape for name, value in of.state_dict().items() if name not in kept}

        ours, theirs = self.network.config, network.config
        alike = type(ours) is type(theirs) and ours.output == theirs.output and layout(self.network) == layout(network)
        return ours == theirs or (bool(kept) and alike)

    def _kept_names(self) -> frozenset[str]:
        """Names of the tone net's weights, where the recipe holds it throughout."""
        tone = self.network.tone_part()
        if tone is None or not self.recipe.tone_kept():
            return frozenset()
        kept = {id(parameter) for layer in tone.layers for parameter in layer.parameters()}
        return frozenset(name for name, value in self.network.named_parameters() if id(value) in kept)

    def update_average(self) -> None:
        """Move the running average towards the weights; quicker at first, so that it forgets the start."""
        if self.average is None:
            return
        decay = min(self.recipe.average, (1 + self.step) / (10 + self.step))
        values = self.network.state_dict()
        weights = {name: value for name, value in values.items() if value.is_floating_point()}
        torch._foreach_lerp_([self.average[name] for name in weights], list(weights.values()), 1 - decay)
        self.average |= {name: value.clone() for name, value in values.items() if name not in weights}

    def check_finite(self) -> None:
        """Refuse weights that are NaN or infinite: all that is made of them is NaN too, for ever.

        Raises:
            RunDiverged: there are some.
        """
        weights = [value for value in self.network.state_dict().values() if value.is_floating_point()]
        if not bool(torch.stack([value.isfinite().all() for value in weights]).all()):  # a GPU is waited for once
            raise RunDiverged(
                f"the run has diverged by step {self.step}: its weights hold NaN or infinity, and are not kept; start "
                f"again, or at the checkpoint before by `start_weights`, with a lower `learning_rate` than "
                f"{self.recipe.learning_rate:g}"
            )

    def metadata(self) -> ModelMetadata:
        """What an exported model will say of these weights."""
        training = {**json.loads(self.recipe.to_json()), "steps": self.step, "minutes": round(self.seconds / 60, 1)}
        if self.start is not None:
            training["start"] = self.start
        name = f"{architecture_of(self.network.config).title} {self.recipe.preset}"
        return ModelMetadata(peak=self.peak, name=name, extra={"training": json.dumps(training)})

    def save(self, path: Path) -> None:
        """Write the checkpoint, whole or not at all. ``params`` and ``params_ema`` are plain state dicts.

        Raises:
            RunDiverged: the weights are no numbers; an earlier checkpoint stays as it is.
            OutputError: it cannot be written.
        """
        self.check_finite()
        content: dict[str, Any] = {
            "format": FORMAT,
            "config": self.network.config.to_json(),
            "recipe": self.recipe.to_json(),
            "step": self.step,
            "seconds": self.seconds,
            "params": self.network.state_dict(),
            "optimizer": self.optimiser.state_dict(),
            "torch_rng": torch.get_rng_state(),
            DOMAIN: encode(self.metadata()),
            "figures": [list(each) for each in self.figures],
            "data": RunSettings(self.recipe, self.peak, self.data).data_as_json(),
        }
        if torch.cuda.is_available():
            content["cuda_rng"] = torch.cuda.get_rng_state_all()
        if self.start is not None:
            content["start"] = json.dumps(self.start)
        if self.average is not None:
            content["params_ema"] = self.average
        if self.scaler is not None:
            content["scaler"] = self.scaler.state_dict()
        write_checkpoint(content, path)

    def restore(self, path: Path, device: torch.device) -> None:
        """Load what :meth:`save` wrote for the same network.

        Raises:
            CheckpointError: not a training checkpoint, of another configuration, not whole, or with weights that are no
                numbers.
        """
        content = read_training_checkpoint(path, device)
        if content.get("config") != self.network.config.to_json():
            raise CheckpointError(f"{path} belongs to another network configuration: {content.get('config')}")
        try:
            self._take_over(content)
            self.check_finite()
        except RunDiverged as error:
            raise CheckpointError(f"{path} cannot be resumed: {error}") from error
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise CheckpointError(f"{path} lacks what a run goes on with: {one_line(error)}") from error

    def _take_over(self, content: Mapping[str, Any]) -> None:
        """Load a checkpoint's content; raises whatever a part that is missing or of another shape leads to."""
        self.network.load_state_dict(content["params"])
        # Rates are those of the recipe given now, and how Adam computes is this device's matter, not the saved run's.
        kept = [{name: group[name] for name in ("rate", "fused")} for group in self.optimiser.param_groups]
        adam = content["optimizer"]
        groups = [group | own for group, own in zip(adam["param_groups"], kept, strict=True)]
        self.optimiser.load_state_dict({**adam, "param_groups": groups})
        if self.average is not None:
            saved = content.get("params_ema", content["params"])
            for name, value in self.average.items():
                value.copy_(saved[name])
        if self.scaler is not None and "scaler" in content:
            self.scaler.load_state_dict(content["scaler"])
        self.step, self.seconds = int(content["step"]), float(content["seconds"])
        self.start = json.loads(content["start"]) if "start" in content else None
        self.figures = [(float(loss), float(error)) for loss, error in content.get("figures", ())]
        torch.set_rng_state(content["torch_rng"].cpu())
        if torch.cuda.is_available() and len(content.get("cuda_rng", ())) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all([state.cpu() for state in content["cuda_rng"]])


def write_checkpoint(content: Mapping[str, Any], path: Path) -> None:
    """Write a checkpoint's dictionary, whole or not at all.

    Raises:
        OutputError: it cannot be written.
    """
    buffer = io.BytesIO()
    torch.save(content, buffer)
    with atomic_path(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())  # torch itself meets a full disk with a RuntimeError


def read_run_settings(path: Path) -> RunSettings:
    """The settings of the run that a training checkpoint belongs to.

    Raises:
        CheckpointError: as :func:`read_training_checkpoint`, or its settings cannot be read.
    """
    content = read_training_checkpoint(path)
    try:
        peak = decode({str(key): str(value) for key, value in content[DOMAIN].items()}).peak
        data = data_from_json(content.get("data", "{}"))
        return RunSettings(Recipe.from_json(content["recipe"]), peak, data)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError, ModelError, InputError) as error:
        raise CheckpointError(f"{path} does not say how its run was set up: {one_line(error)}") from error


def _told(training: str | None) -> dict[str, Any]:
    """What a file says of its training; nothing where it is silent or not JSON, as other tools' may be."""
    try:
        told = json.loads(training or "{}")
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def read_training_checkpoint(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Load a training checkpoint's dictionary without running any code it may carry.

    Raises:
        CheckpointError: missing, unreadable, or not written by :meth:`TrainingState.save`.
    """
    require_run(path)
    content, _ = read_untrusted(path, device)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(f"{path} is no training checkpoint of this tool (format {FORMAT!r} expected)")
    return dict(content)
