"""Weights that are compared: files as they are, and blends of new weights with others, made in memory.

Weights on one path of training can be averaged (Wortsman et al., "Model soups", 2022). A blend is what
``pack_demo.py --blend`` makes of the same files: mixed tensor by tensor, pixel shuffles evened out, rounded to FP16.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dcdr_deploy.engines import Engine, load_engine
from dcdr_deploy.engines.base import DEVICE_CPU, DEVICE_CUDA, EngineOptions
from dcdr_deploy.engines.registry import AUTO
from dcdr_deploy.modelfile.names import CHECKPOINT_SUFFIXES

if TYPE_CHECKING:
    from dcdr_deploy.models import HdrNetwork, LoadedModel


@dataclass(frozen=True)
class Candidate:
    """Weights to judge.

    Attributes:
        name: in tables.
        file: model or checkpoint.
        base: checkpoint that is mixed in; ``None`` takes the file as it is.
        part: of the file's weights in the mixture; the rest are those of ``base``.
    """

    name: str
    file: Path
    base: Path | None = None
    part: float = 1.0

    def engine(self, options: EngineOptions, backend: str = AUTO) -> Engine:
        """Load it; checkpoints run by torch where no backend is named, as blends do: one arithmetic for all."""
        if self.base is not None:
            return engine_of(self.loaded(), options)
        by_torch = backend == AUTO and self.file.suffix in CHECKPOINT_SUFFIXES
        return load_engine(self.file, "torch" if by_torch else backend, options)

    def loaded(self) -> LoadedModel:
        """Its network in memory; of checkpoints only."""
        from dcdr_deploy.models import load_checkpoint

        return load_checkpoint(self.file) if self.base is None else blended(self.file, self.base, self.part)


def candidates(
    models: Sequence[Path], blends: Sequence[Path] = (), base: Path | None = None, parts: Sequence[float] = ()
) -> list[Candidate]:
    """Files as they are, then every blend with every part; names are folder and stem."""
    found = [Candidate(_name(file), file) for file in models]
    found += [Candidate(f"{_name(file)} x {part:g}", file, base, part) for file in blends for part in parts]
    return list({each.name: each for each in found}.values())


def _name(file: Path) -> str:
    return f"{file.resolve().parent.name}/{file.stem}"


def blend(network: HdrNetwork, other: Path, part: float) -> None:
    """Move a network's weights towards another checkpoint's by a part of the way, in place."""
    import torch

    from dcdr_deploy.models import load_checkpoint

    weights = load_checkpoint(other).network.state_dict()
    with torch.no_grad():
        for name, value in network.state_dict().items():
            value.lerp_(weights[name], part)


def blended(file: Path, base: Path, part: float) -> LoadedModel:
    """A checkpoint with ``part`` of its own weights and the rest of the base's, evened out, with FP16's weights."""
    import torch

    from dcdr_deploy.models import load_checkpoint
    from dcdr_deploy.training.subpixels import even_out

    loaded = load_checkpoint(file)
    blend(loaded.network, base, 1 - part)
    even_out(loaded.network)
    with torch.no_grad():
        for value in loaded.network.state_dict().values():
            if value.is_floating_point():
                value.copy_(value.half())
    return loaded


def engine_of(loaded: LoadedModel, options: EngineOptions) -> Engine:
    """The torch engine of a network in memory, as its backend makes it of a file."""
    import torch

    from dcdr_deploy.engines.torch.engine import TorchEngine, choose_precision

    kind = options.kind or (DEVICE_CUDA if torch.cuda.is_available() else DEVICE_CPU)
    precision = choose_precision(loaded.network, loaded.source, kind, options)
    return TorchEngine(loaded.network, loaded.metadata, loaded.source, kind, options, precision)
