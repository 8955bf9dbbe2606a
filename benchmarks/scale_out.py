"""What a run over a Ray cluster costs beyond its engines: pictures a second, seconds a picture, memory.

    python benchmarks/scale_out.py [--wait 0.05] [--pictures 150]

The engine waits and computes nothing, so that what remains is reading, writing and the runner itself. First table: one
engine of this process (run/folder.py), then 1, 2 and 4 actors, each with as many pictures an actor, by the last two
thirds of them. Overhead is what a picture takes of its actor's time beyond the wait. Second table: the driver with
pictures that are neither read nor written, at two numbers of entries: its memory, what the object store holds,
milliseconds an entry. Needs the extra ray; takes two minutes on two cores that have nothing else to do.
"""

from __future__ import annotations

import os
import platform
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from command_line import Parser, above_zero, start, whole_number
from numpy.typing import NDArray
from PIL import Image

from dcdr_deploy.engines import Engine, EngineInfo, ModelMetadata
from dcdr_deploy.run.events import FileConverted
from dcdr_deploy.run.folder import convert_folder
from dcdr_deploy.run.jobs import FolderPlan, Job, plan_folder
from dcdr_deploy.run.ledger import run_settings
from dcdr_deploy.run.manifest import ManifestEntry
from dcdr_deploy.run.outputs import DEFAULT_OPTIONS
from dcdr_deploy.run.recovery import Recovery
from dcdr_deploy.run.reports import FileReport
from dcdr_deploy.run.runner import Runner, RunStatistics
from dcdr_deploy.run.selection import DEMO_MODEL, ModelChoice
from dcdr_deploy.serving.actor_setup import ActorSetup
from dcdr_deploy.serving.cluster import cluster
from dcdr_deploy.serving.cluster_folder import convert_over_cluster
from dcdr_deploy.serving.layout import ActorOptions
from dcdr_deploy.serving.shared_runner import SharedRunner
from dcdr_deploy.serving.worker import ActorReady, JobResult, Worker
from dcdr_deploy.system import hardware
from dcdr_deploy.system.progress import Event

ACTORS = (1, 2, 4)
ENTRIES = (1_000, 10_000)
EDGE = 64
WAIT_VARIABLE = "DCDR_SCALE_OUT_WAIT"
"""Environment variable by which actors hear how long to wait."""
CHOICE = ModelChoice(DEMO_MODEL, "not loaded", found=False)


class WaitingEngine(Engine):
    """Waits, and gives its input back."""

    def __init__(self, seconds: float) -> None:
        self.info = EngineInfo("waiting", "nothing", "fp32", None, ModelMetadata(peak=8.0, name="waiting"))
        self._seconds = seconds

    def _infer(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        time.sleep(self._seconds)
        return batch


class WaitingWorker(Worker):
    """An actor whose engine waits."""

    def _open(self) -> SharedRunner:
        with self._lock:
            if self._shared is None:
                runner = Runner(WaitingEngine(float(os.environ[WAIT_VARIABLE])))
                self._settings = run_settings(runner, self._options)
                self._shared = SharedRunner(runner)
            return self._shared


class SayingWorker(Worker):
    """An actor that says that it has done a picture, and has not."""

    def ready(self) -> ActorReady:
        """Say that there is an engine."""
        return ActorReady(WaitingEngine(0).info, "settings")

    def convert(self, job: Job) -> JobResult:
        """Say that a picture is done."""
        recovery = Recovery(EDGE * EDGE, 10, 5)
        report = FileReport(
            job.source, job.output, None, None, EDGE, EDGE, "none", "none", "none", 0.1,
            {"decode": 0.01, "infer": 0.08, "encode": 0.01}, {"min": 0.0, "median": 0.2, "p99": 1.0, "max": 8.0},
            RunStatistics(1, (EDGE, EDGE)), "auto", ((EDGE, EDGE),), {}, recovery,
        )  # fmt: skip
        return JobResult(report, ManifestEntry(job.name, str(job.source), "0" * 64, "settings", 1000, 0))


def make_pictures(folder: Path, count: int) -> Path:
    folder.mkdir()
    pixels = np.full((EDGE, EDGE, 3), 120, np.uint8)
    pixels[: EDGE // 2] = 255
    Image.fromarray(pixels).save(folder / "0.png")
    for number in range(1, count):
        (folder / f"{number}.png").write_bytes((folder / "0.png").read_bytes())
    return folder


def of_one_machine(source: Path, target: Path, wait: float) -> float:
    report = convert_folder(source, target, Runner(WaitingEngine(wait)))
    assert report.converted == len(list(source.iterdir()))
    return report.seconds


def over_actors(ray: Any, source: Path, target: Path, actors: int, worker: type[Worker]) -> float:
    plan = plan_folder(source, target, DEFAULT_OPTIONS, recursive=False)
    done: list[float] = []

    def heard(event: Event) -> None:
        if isinstance(event, FileConverted):
            done.append(time.perf_counter())

    setup = ActorSetup(ray, CHOICE, options=ActorOptions(actors, cpus=1), worker=worker)
    report = convert_over_cluster(setup, plan, target, listener=heard)
    assert report.converted == len(plan.jobs) == len(done)
    skipped = len(done) // 3  # until then actors may still be starting
    return (done[-1] - done[skipped - 1]) * len(done) / (len(done) - skipped)


def throughput(ray: Any, folder: Path, pictures: int, wait: float) -> Iterator[str]:
    os.environ[WAIT_VARIABLE] = str(wait)
    yield f"| engines | pictures | seconds | pictures/s | without overhead | overhead a picture |\n|{'---|' * 6}"
    source = make_pictures(folder / "in", pictures)
    yield row("1, this process", pictures, of_one_machine(source, folder / "near", wait), 1, wait)
    for actors in ACTORS:
        source = make_pictures(folder / f"in{actors}", pictures * actors)
        seconds = over_actors(ray, source, folder / f"out{actors}", actors, WaitingWorker)
        yield row(f"{actors} actors", pictures * actors, seconds, actors, wait)


def row(name: str, pictures: int, seconds: float, engines: int, wait: float) -> str:
    overhead = 1000 * (seconds * engines / pictures - wait)
    best = engines / wait
    return f"| {name} | {pictures} | {seconds:.1f} | {pictures / seconds:.1f} | {best:.1f} | {overhead:.1f} ms |"


def memory(ray: Any, folder: Path) -> Iterator[str]:
    yield f"| entries | ms an entry | driver at begin | driver at end | object store, most |\n|{'---|' * 5}"
    source = make_pictures(folder / "few", 1)
    total = ray.cluster_resources()["object_store_memory"]
    for entries in ENTRIES:
        target = folder / f"said{entries}"
        jobs = tuple(Job(source / f"{n}.png", target / f"{n}.exr", f"{n}.exr") for n in range(entries))
        before, held, heard_of = hardware.resident_memory() or 0, 0.0, 0

        def heard(event: Event) -> None:
            nonlocal held, heard_of
            if isinstance(event, FileConverted):
                heard_of += 1
                if heard_of % 500 == 0:
                    held = max(held, total - ray.available_resources().get("object_store_memory", total))

        started = time.perf_counter()
        setup = ActorSetup(ray, CHOICE, options=ActorOptions(2, cpus=1), worker=SayingWorker)
        convert_over_cluster(setup, FolderPlan(jobs, ()), target, listener=heard)
        each = 1000 * (time.perf_counter() - started) / entries
        after = hardware.resident_memory() or 0
        yield f"| {entries:,} | {each:.2f} | {before / 1e6:.0f} MB | {after / 1e6:.0f} MB | {held / 1e6:.2f} MB |"


@contextmanager
def calm_cluster() -> Iterator[Any]:
    with cluster("local", cpus=max(ACTORS)) as ray:
        yield ray


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("--wait", type=above_zero, default=0.05, help="seconds that the engine takes")
    parser.add_argument("--pictures", type=whole_number, default=150, help="for each engine")
    options = parser.parse_args()
    os.environ[WAIT_VARIABLE] = str(options.wait)
    cores, load = hardware.cpu_threads(), os.getloadavg()[0]
    print(f"{hardware.cpu_name()}, {cores} cores, {platform.platform()}; load {load:.1f} at the begin\n")
    with tempfile.TemporaryDirectory() as name, calm_cluster() as ray:
        for line in throughput(ray, Path(name), options.pictures, options.wait):
            print(line, flush=True)
        print()
        for line in memory(ray, Path(name)):
            print(line, flush=True)


if __name__ == "__main__":
    start(main)
