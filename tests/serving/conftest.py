"""A service over an engine that the test holds, a client for it, and a Ray cluster of this machine."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from waiting_engine import WaitingEngine

from dcdr_deploy.run.runner import Runner
from dcdr_deploy.serving.cluster import cluster
from dcdr_deploy.serving.service import Limits, Service

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    """A cluster with room for two actors, for the tests of a file.

    No longer: its threads have no place in a process that goes on with other tests, some of which fork.
    """
    import cluster_workers

    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        patch.setenv("PYTHONPATH", str(ROOT))  # of the actors: this checkout, whatever is installed
        started = stack.enter_context(cluster("local", cpus=2))
        started.cloudpickle.register_pickle_by_value(cluster_workers)  # which actors cannot import
        yield started


@pytest.fixture
def picture() -> bytes:
    """A PNG of 24 x 32 pixels with a clipped half."""
    pixels = np.full((24, 32, 3), 120, np.uint8)
    pixels[:, 16:] = 255
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def engine() -> Iterator[WaitingEngine]:
    made = WaitingEngine()
    made.go.set()
    yield made
    made.go.set()  # whatever a test has left waiting


@pytest.fixture
def open_service(engine: WaitingEngine) -> Iterator[Callable[..., Service]]:
    with ExitStack() as stack:

        def make(**limits: float) -> Service:
            service = Service(Runner(engine), Limits(**limits))
            stack.callback(service.close)
            stack.callback(engine.go.set)
            return service

        yield make
