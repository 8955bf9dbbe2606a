"""TensorRT without its arithmetic: what differs between packages and versions, without installing them.

Its builder takes any model for the layers it is told of; its runtime runs the engines of :mod:`fake_trt_engine`.
"""

# ruff: noqa: N802 - the names are the API's

from __future__ import annotations

import enum
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from fake_cuda import FakeDriver
from fake_trt_engine import DataType, FakeContext, FakeEngine, Mode, Strategy, settings_in

STRONGLY_TYPED = 3


class TensorFormat(enum.Enum):
    LINEAR = 0
    HWC8 = 1


class PluginField:
    def __init__(self, name: str, data: Any, type: Any) -> None:
        self.name, self.data, self.type = name, data, type


class Registry:
    def __init__(self) -> None:
        self.creators: list[Any] = []

    def register_creator(self, creator: Any, namespace: str) -> bool:
        known = {(each.name, each.plugin_version, each.plugin_namespace) for each in self.creators}
        if (creator.name, creator.plugin_version, namespace) in known:
            return False
        self.creators.append(creator)
        return True


class Cache:
    def __init__(self, content: bytes) -> None:
        self.content = content

    def serialize(self) -> bytes:
        return self.content + b"+timings"


class Config:
    """A builder configuration of full TensorRT: no compute capabilities to choose."""

    def __init__(self) -> None:
        self.progress_monitor: Any = None
        self.cleared: list[str] = []
        self.raised: list[str] = []
        self.limits: dict[str, int] = {}
        self.caches: list[bytes] = []
        self.shapes: dict[str, tuple[Any, ...]] = {}

    def clear_flag(self, flag: str) -> None:
        self.cleared.append(flag)

    def set_flag(self, flag: str) -> None:
        self.raised.append(flag)

    def set_memory_pool_limit(self, pool: str, size: int) -> None:
        self.limits[pool] = size

    def add_optimization_profile(self, profile: Any) -> int:
        self.shapes = profile.shapes
        return 0

    def create_timing_cache(self, content: bytes) -> Cache | None:
        return None if content == b"damaged" else Cache(content)

    def set_timing_cache(self, cache: Cache, ignore_mismatch: bool) -> bool:
        self.caches.append(cache.content)
        return not ignore_mismatch and cache.content != b"other GPU"


class RtxConfig(Config):
    """A builder configuration of TensorRT-RTX."""

    num_compute_capabilities = 0
    refused = ""

    def __init__(self) -> None:
        super().__init__()
        self.targets: dict[int, str] = {}

    def set_compute_capability(self, capability: str, place: int) -> bool:
        if capability == self.refused:
            return False
        self.targets[place] = capability
        return True


class Profile:
    def __init__(self) -> None:
        self.shapes: dict[str, tuple[Any, ...]] = {}

    def set_shape(self, name: str, *corners: Any) -> None:
        self.shapes[name] = corners


def layer(kind: str, name: str, data_type: DataType = DataType.FLOAT) -> Any:
    output = SimpleNamespace(dtype=data_type)
    return SimpleNamespace(type=SimpleNamespace(name=kind), name=name, num_outputs=1, get_output=lambda number: output)


class Network:
    def __init__(self, flags: int, layers: list[Any]) -> None:
        self.flags, self.layers = flags, layers
        self.num_layers = len(layers)

    def get_layer(self, number: int) -> Any:
        return self.layers[number]

    def get_input(self, number: int) -> Any:
        return SimpleNamespace(name="sdr")


class FakeTensorRT:
    """The module. ``built`` holds the networks and configurations that were used, ``contexts`` those that were made."""

    DataType, TensorFormat, TensorIOMode = DataType, TensorFormat, Mode
    ExecutionContextAllocationStrategy = Strategy
    PluginField, PluginFieldCollection, DimsExprs = PluginField, list, list
    PluginFieldType = SimpleNamespace(CHAR="char", INT32="int32")
    MemoryPoolType = SimpleNamespace(WORKSPACE="workspace")

    def __init__(
        self,
        layers: Sequence[Any] = (),
        *,
        driver: FakeDriver | None = None,
        rtx: bool = False,
        version: str = "10.8.0",
        strongly_typed: bool = True,
        monitor: bool = True,
        config: type[Config] | None = None,
        engine: bytes | None = b"engine",
        parses: bool = True,
        words: tuple[tuple[str, str], ...] = (),
        capturable: bool = True,
    ) -> None:
        """Make a package.

        Args:
            layers: what its parser finds in any model.
            driver: of the GPU that its engines run on.
            rtx: TensorRT-RTX, with what only that has.
            version: its version.
            strongly_typed: has the flag for strong typing, as TensorRT 10.
            monitor: has ``IProgressMonitor``.
            config: class of its configurations.
            engine: what its builder returns.
            parses: its parser takes the model.
            words: (severity, message) its builder logs.
            capturable: runs of its engines can be recorded.
        """
        self.__version__ = version
        self.built = SimpleNamespace(networks=[], configs=[])
        self.layers, self.engine, self.parses, self.words = list(layers), engine, parses, words
        self.config = config or (RtxConfig if rtx else Config)
        self.driver, self.rtx, self.capturable = driver, rtx, capturable
        self.contexts: list[FakeContext] = []
        self.most_contexts: int | None = None
        self.logger: Any = None
        bases = ("IPluginV3", "IPluginV3OneCore", "IPluginV3OneBuild", "IPluginV3OneRuntime", "IPluginCreatorV3One")
        for name in (*bases, "ILogger", *(["IProgressMonitor"] if monitor else [])):
            setattr(self, name, type(name, (), {}))
        flags = {"STRONGLY_TYPED": STRONGLY_TYPED} if strongly_typed else {}
        self.NetworkDefinitionCreationFlag = SimpleNamespace(**flags)
        self.BuilderFlag = SimpleNamespace(TF32="tf32")
        if rtx:
            names = ("SM86", "SM120", "NONE", "CURRENT")
            self.BuilderFlag.REQUIRE_USER_ALLOCATION = "user allocation"
            self.ComputeCapability = SimpleNamespace(__members__=dict.fromkeys(names), **{name: name for name in names})
            self.DynamicShapesKernelSpecializationStrategy = SimpleNamespace(EAGER="eager", LAZY="lazy")
        self._registry = Registry()

    def get_plugin_registry(self) -> Registry:
        return self._registry

    def say(self, message: str) -> None:
        """Log an error."""
        self.logger.log(SimpleNamespace(name="ERROR"), message)

    def Builder(self, logger: Any) -> Builder:
        return Builder(self, logger)

    def OnnxParser(self, network: Network, logger: Any) -> Any:
        error = SimpleNamespace(desc=lambda: "no importer\nfor X")
        return SimpleNamespace(num_errors=1, parse=lambda model: self.parses, get_error=lambda number: error)

    def Runtime(self, logger: Any) -> Any:
        self.logger = logger
        return SimpleNamespace(deserialize_cuda_engine=self._deserialise)

    def _deserialise(self, content: bytes) -> FakeEngine | None:
        settings = settings_in(content)
        if settings is None:
            self.say("magicTag does not match")
            return None
        return FakeEngine(self, settings)


class Builder:
    def __init__(self, trt: FakeTensorRT, logger: Any) -> None:
        self.trt, self.logger = trt, logger

    def create_network(self, flags: int) -> Network:
        self.trt.built.networks.append(Network(flags, self.trt.layers))
        return self.trt.built.networks[-1]

    def create_builder_config(self) -> Config:
        self.trt.built.configs.append(self.trt.config())
        return self.trt.built.configs[-1]

    def create_optimization_profile(self) -> Profile:
        return Profile()

    def build_serialized_network(self, network: Network, config: Config) -> bytes | None:
        for severity, message in self.trt.words:
            self.logger.log(SimpleNamespace(name=severity), message)
        if config.progress_monitor is not None:
            config.progress_monitor.phase_start("tactics", None, 2)
            assert config.progress_monitor.step_complete("tactics", 0)
            config.progress_monitor.phase_finish("tactics")
        return self.trt.engine
