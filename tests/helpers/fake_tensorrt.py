"""A package with the API's names and none of its arithmetic: what differs between versions, without installing them."""

from __future__ import annotations

import enum
from types import ModuleType, SimpleNamespace
from typing import Any

STRONGLY_TYPED = 3


class DataType(enum.Enum):
    FLOAT = 0
    HALF = 1


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


def fake_tensorrt(
    layers: list[Any] | None = None,
    *,
    version: str = "10.8.0",
    strongly_typed: bool = True,
    monitor: bool = True,
    config: type[Config] = Config,
    engine: bytes | None = b"engine",
    parses: bool = True,
    words: tuple[tuple[str, str], ...] = (),
) -> Any:
    """Make a package.

    Args:
        layers: what its parser finds in any model.
        version: its version.
        strongly_typed: has the flag for strong typing, as TensorRT 10.
        monitor: has ``IProgressMonitor``.
        config: class of its configurations.
        engine: what its builder returns.
        parses: its parser takes the model.
        words: (severity, message) its builder logs.

    Returns:
        A module; ``built`` holds the networks and configurations that were used.
    """
    trt: Any = ModuleType("fake_tensorrt")
    trt.__version__ = version
    trt.built = SimpleNamespace(networks=[], configs=[], phases=[])
    trt.DataType, trt.TensorFormat, trt.PluginField, trt.PluginFieldCollection = (
        DataType,
        TensorFormat,
        PluginField,
        list,
    )
    trt.PluginFieldType = SimpleNamespace(CHAR="char", INT32="int32")
    trt.DimsExprs = list
    for name in ("IPluginV3", "IPluginV3OneCore", "IPluginV3OneBuild", "IPluginV3OneRuntime", "IPluginCreatorV3One"):
        setattr(trt, name, type(name, (), {}))
    trt.ILogger = type("ILogger", (), {})
    flags = {"STRONGLY_TYPED": STRONGLY_TYPED} if strongly_typed else {}
    trt.NetworkDefinitionCreationFlag = SimpleNamespace(**flags)
    trt.BuilderFlag = SimpleNamespace(TF32="tf32")
    trt.MemoryPoolType = SimpleNamespace(WORKSPACE="workspace")
    if issubclass(config, RtxConfig):
        names = ("SM86", "SM120", "NONE", "CURRENT")
        trt.BuilderFlag.REQUIRE_USER_ALLOCATION = "user allocation"
        trt.ComputeCapability = SimpleNamespace(__members__=dict.fromkeys(names), **{name: name for name in names})
    if monitor:
        trt.IProgressMonitor = type("IProgressMonitor", (), {})
    registry = Registry()
    trt.get_plugin_registry = lambda: registry

    class Builder:
        def __init__(self, logger: Any) -> None:
            self.logger = logger

        def create_network(self, flags: int) -> Network:
            trt.built.networks.append(Network(flags, list(layers or [])))
            return trt.built.networks[-1]

        def create_builder_config(self) -> Config:
            trt.built.configs.append(config())
            return trt.built.configs[-1]

        def create_optimization_profile(self) -> Profile:
            return Profile()

        def build_serialized_network(self, network: Network, config: Config) -> bytes | None:
            for severity, message in words:
                self.logger.log(SimpleNamespace(name=severity), message)
            if config.progress_monitor is not None:
                config.progress_monitor.phase_start("tactics", None, 2)
                assert config.progress_monitor.step_complete("tactics", 0)
                config.progress_monitor.phase_finish("tactics")
            return engine

    class OnnxParser:
        num_errors = 1

        def __init__(self, network: Network, logger: Any) -> None: ...

        def parse(self, model: bytes) -> bool:
            return parses

        def get_error(self, number: int) -> Any:
            return SimpleNamespace(desc=lambda: "no importer\nfor X")

    trt.Builder, trt.OnnxParser = Builder, OnnxParser
    return trt
