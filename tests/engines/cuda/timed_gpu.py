"""A GPU for tests of measuring: its kernels take the time that a test says.

Kernels are stand-ins that write the same numbers whatever the inputs are, late, as streams do, and move the clock. What
the process that measures does is done in this one, with plain data between.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from fake_cuda import CUresult, FakeDriver

from dcdr_deploy.engines.cuda import engine as backend
from dcdr_deploy.engines.cuda import memory as cuda
from dcdr_deploy.engines.cuda import network as networks
from dcdr_deploy.engines.cuda.dcrb_from_hidden import FromHiddenArguments
from dcdr_deploy.engines.cuda.measures import Measures, by_table
from dcdr_deploy.engines.cuda.tuning import bench, kept, session, tune, worker
from dcdr_deploy.engines.cuda.tuning import candidates as choosing
from dcdr_deploy.engines.cuda.tuning.bench import Launch, kind_of, written
from dcdr_deploy.engines.cuda.tuning.candidates import BLOCK, JOINED, Candidate, candidates
from dcdr_deploy.engines.cuda.tuning.report import Report
from dcdr_deploy.engines.cuda.weights import read_onnx
from dcdr_deploy.errors import EngineError
from dcdr_deploy.system.progress import Event, Listener

DEMO = Path(backend.__file__).parents[2] / "weights" / "dcdr-unet-demo.onnx"
WEIGHTS = read_onnx(DEMO)
SM = 86
SMALL, LARGE = (1, 16, 24), (1, 32, 40)
KNOWN = {kind: dict(list(candidates(SM)[kind].items())[:2]) for kind in (BLOCK, "64_64", "64_24", JOINED)}
"""A few of the candidates are enough here."""
FIRST, SECOND = KNOWN["64_64"]


def plain(data: Any) -> Any:
    """What is left of data on the way between processes."""
    return json.loads(json.dumps(data))


def milliseconds(arguments) -> float:
    """What the table's kernel takes: by the channels that come out, so that all forms of a frame take the same."""
    a = arguments
    channels = 128 if isinstance(a, FromHiddenArguments) else a.channels_out + (8 if a.then else 0)
    return channels * (1e-4 + 1e-7 * a.batch * a.height * a.width)


class Gpu:
    """A GPU whose kernels are as fast, wrong or broken as is said, by (kind, label); the table's have no label.

    Attributes:
        share: of the time of the table's kernel.
        wrong: by how much a result is.
        refused: cannot be launched.
        fatal: breaks the context, where there are at least ``fatal_rows``.
        endless: never ends.
        deadly: ends the process.
        uncompilable: does not compile.
        asked: measures of the networks that were compiled.
        processes: how many have measured.
    """

    def __init__(self, patch: pytest.MonkeyPatch, memory: int = 1 << 30) -> None:
        self._memory = memory
        self.driver = FakeDriver(sms=[SM], memory=memory)
        self.share: dict[tuple[str, str], float] = {}
        self.wrong: dict[tuple[str, str], float] = {}
        self.refused: set[tuple[str, str]] = set()
        self.fatal: set[tuple[str, str]] = set()
        self.fatal_rows = 0
        self.endless: set[tuple[str, str]] = set()
        self.deadly: set[tuple[str, str]] = set()
        self.processes = 0
        self.uncompilable: set[tuple[str, str]] = set()
        self.asked: list[Measures] = []
        patch.setattr(cuda, "load_driver", lambda: self.driver)
        for module in (session, kept, choosing):
            patch.setattr(module, "candidates", lambda sm: KNOWN)
        patch.setattr(kept, "compiler_version", lambda: "13.0")
        patch.setattr(tune, "run_job", self._run_job)
        patch.setattr(worker, "read_onnx", lambda path: WEIGHTS)
        patch.setattr(session, "_compiled", self._compiled)
        patch.setattr(session, "_loaded", lambda kind, candidate, sm, cubin: self.launch(kind, cubin.decode()))
        for module in (session, networks):
            patch.setattr(module, "compile_kernels", self.compile_kernels)
        patch.setattr(bench, "LEAST_MILLISECONDS", 0.0)
        patch.setattr(bench, "WARM_UP", 0.0)
        patch.setattr(session, "ROUNDS", 2)
        patch.setattr(bench, "ROUNDS", 2)
        patch.setattr(session, "TIMED", (SMALL, LARGE))
        patch.setattr(session, "COMPARED", (1, 12, 20))

    def _run_job(
        self,
        program: object,
        job: str,
        request: Mapping[str, Any],
        listener: Listener,
        patience: Callable[[Event], float | None],
    ) -> dict[str, Any]:
        self.processes += 1
        if "cuStreamSynchronize" in vars(self.driver):  # its context is broken; that of another process is not
            self.driver = FakeDriver(sms=[SM], memory=self._memory)
        result = worker.tune(plain(request), lambda event: listener(type(event)(**plain(vars(event)))))
        return plain(result)

    def _compiled(self, kind: str, candidate: Candidate, sm: int, folder: Path) -> bytes:
        assert KNOWN[kind][candidate.label] == candidate
        if (kind, candidate.label) in self.uncompilable:
            raise EngineError("it does not compile")
        return candidate.label.encode()

    def launch(self, kind: str, label: str) -> Launch:
        """A kernel."""

        def launch(arguments, stream: int) -> None:
            assert kind_of(arguments) == kind
            if (kind, label) in self.refused:
                raise EngineError("too many resources")
            if (kind, label) in self.deadly:
                print("segmentation fault in a kernel's launch", file=sys.stderr, flush=True)
                os.abort()
            if (kind, label) in self.endless:
                self.driver.put(stream, lambda: time.sleep(600), "launch")
            self.driver.put(stream, lambda: self._run(arguments, label), "launch")
            if (kind, label) in self.fatal and arguments.height >= self.fatal_rows:
                self.driver.cuStreamSynchronize = self.driver.cuEventSynchronize = self._broken

        return launch

    def _broken(self, handle: int) -> tuple:
        for queue in self.driver._streams.values():
            queue.clear()
        return (CUresult.CUDA_ERROR_ILLEGAL_ADDRESS,)

    def _run(self, arguments, label: str) -> None:
        case = kind_of(arguments), label
        self.driver.clock += milliseconds(arguments) * self.share.get(case, 1.0)
        for region in written(arguments):
            self.driver.values(region.address, region.count, region.dtype)[:] = 0.7 * (1 + self.wrong.get(case, 0.0))

    def compile_kernels(self, device: cuda.Device, measures: Measures | None = None) -> Kernels:
        """Stand in for the function of that name."""
        self.asked.append(kept.kept_measures(device) if measures is None else measures)
        return Kernels(self, self.asked[-1])

    def tune(self, **options) -> Report:
        """Measure."""
        return tune.tune(DEMO, **options)


class Kernels:
    """A network's kernels: the table's, or candidates in their places."""

    def __init__(self, gpu: Gpu, measures: Measures) -> None:
        self.measures, self._gpu = measures, gpu
        table = by_table(SM)
        self._labels = {kind: each.label for kind, each in measures.convolutions.items()}
        self._labels = {
            kind: "" if label == table.convolutions[kind].label else label for kind, label in self._labels.items()
        }
        self._labels[BLOCK] = "" if measures.block == table.block else measures.block.label

    def launch(self, arguments, stream: int) -> None:
        kind = kind_of(arguments)
        self._gpu.launch(kind, self._labels[kind])(arguments, stream)

    def read(self, arguments, stream: int) -> None:
        self._gpu.driver.put(stream, lambda: None, "read")

    def check(self, values: int, count: int, found: int, stream: int) -> None:
        self._gpu.driver.put(stream, lambda: None, "check")
