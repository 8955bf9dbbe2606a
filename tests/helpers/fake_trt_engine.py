"""Engines of :mod:`fake_tensorrt`: they multiply by a gain, on the memory of :mod:`fake_cuda`."""

from __future__ import annotations

import enum
import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from fake_tensorrt import FakeTensorRT

RUBBISH_FLOAT = np.float32(-1e30)
_MAGIC = b"FAKE"


def engine_bytes(
    gain: float = 0.5,
    smallest: tuple[int, int, int] = (1, 4, 4),
    largest: tuple[int, int, int] = (2, 64, 64),
    *,
    half: bool = False,
    ends: tuple[str, ...] = ("sdr", "hdr"),
) -> bytes:
    """The content of an engine file that the fake loads."""
    settings = {"gain": gain, "smallest": smallest, "largest": largest, "half": half, "ends": ends}
    return _MAGIC + json.dumps(settings).encode()


def settings_in(content: bytes) -> dict[str, Any] | None:
    """What :func:`engine_bytes` was given; ``None`` for other files."""
    return json.loads(content[len(_MAGIC) :]) if content.startswith(_MAGIC) else None


class DataType(enum.Enum):
    FLOAT = 0
    HALF = 1


class Mode(enum.Enum):
    INPUT = 1
    OUTPUT = 2


class Strategy(enum.Enum):
    STATIC = 0
    USER_MANAGED = 2


class FakeEngine:
    def __init__(self, trt: FakeTensorRT, settings: dict[str, Any]) -> None:
        self.trt = trt
        self.gain, self.half = np.float32(settings["gain"]), settings["half"]
        self.smallest, self.largest = settings["smallest"], settings["largest"]
        self.ends = settings["ends"]
        self.num_io_tensors = len(self.ends)
        self.device_memory_size_v2 = 8 * int(np.prod(self.largest))

    def get_tensor_name(self, number: int) -> str:
        return self.ends[number]

    def get_tensor_mode(self, name: str) -> Mode:
        return Mode.INPUT if name == self.ends[0] else Mode.OUTPUT

    def get_tensor_dtype(self, name: str) -> DataType:
        return DataType.FLOAT

    def create_runtime_config(self) -> Any:
        config = SimpleNamespace(strategy=None, dynamic_shapes_kernel_specialization_strategy="lazy")
        config.set_execution_context_allocation_strategy = lambda strategy: setattr(config, "strategy", strategy)
        return config

    def create_execution_context(self, creation: Any) -> FakeContext | None:
        if self.trt.rtx:
            assert creation.dynamic_shapes_kernel_specialization_strategy == "eager"
            creation = creation.strategy
        assert creation is Strategy.USER_MANAGED
        if self.trt.most_contexts is not None and len(self.trt.contexts) >= self.trt.most_contexts:
            self.trt.say("[defaultAllocator.cpp::allocate] Error Code 1: Cuda Runtime (out of memory)")
            return None
        context = FakeContext(self)
        self.trt.contexts.append(context)
        return context


class FakeContext:
    """Multiplies by the engine's gain; ``runs`` counts ordinary runs, not those of graphs."""

    def __init__(self, engine: FakeEngine) -> None:
        self.engine, self.driver = engine, engine.trt.driver
        self.shape: tuple[int, ...] | None = None
        self.addresses: dict[str, int] = {}
        self.scratch: tuple[int, int] | None = None
        self.fresh = True
        self.runs = 0
        if engine.trt.rtx:
            self.is_stream_capturable = lambda stream: engine.trt.capturable

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        assert name == self.engine.ends[0]
        found = (shape[0], *shape[2:])
        bounds = zip(self.engine.smallest, found, self.engine.largest, strict=True)
        if shape[1] != 3 or not all(low <= size <= high for low, size, high in bounds):
            self.engine.trt.say(f"{found} is out of the profile's range")
            return False
        self.shape, self.fresh = shape, True
        return True

    def update_device_memory_size_for_shapes(self) -> int:
        assert self.shape is not None
        return 8 * int(np.prod(self.shape)) // 3

    def set_device_memory(self, memory: int, size: int) -> None:
        assert size >= self.update_device_memory_size_for_shapes()
        assert memory % 256 == 0
        self.scratch = memory, size

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self.addresses[name] = memory
        return True

    def execute_async_v3(self, stream: int) -> bool:
        recorded = self.driver.capturing(stream)
        if recorded and (self.fresh or not self.engine.trt.capturable):
            self.engine.trt.say("cannot be recorded")
            return False
        assert self.shape is not None
        assert self.scratch is not None
        count, source, result = int(np.prod(self.shape)), *(self.addresses[name] for name in self.engine.ends)
        scratch, need, half = self.scratch[0], self.update_device_memory_size_for_shapes(), self.engine.half

        def run() -> None:
            self.driver.values(scratch, need // 4, np.float32)[:] = RUBBISH_FLOAT
            values = self.driver.values(source, count, np.float32) * self.engine.gain
            self.driver.values(result, count, np.float32)[:] = values.astype(np.float16) if half else values

        self.fresh = False
        self.runs += not recorded
        return self.driver.put(stream, run, "network")
