"""From a prepared graph to the bytes of an engine, in this process.

Networks are strongly typed: the precision is the graph's. The parsers of these packages have been seen to end their
process; ``building/worker.py`` runs this module in a child.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from dcdr_deploy.building.prepare import block_names
from dcdr_deploy.building.settings import BuildSettings
from dcdr_deploy.engines.tensorrt.plugin import Registration, register
from dcdr_deploy.engines.tensorrt.trt_api import Package, builder_sms, get_package, load_api, shared_logger
from dcdr_deploy.errors import EngineError
from dcdr_deploy.system.files import atomic_path
from dcdr_deploy.system.progress import Event, Listener, silent
from dcdr_deploy.system.words import number_of

Log = Callable[[str], None]

GIB = 1 << 30
_SERIOUS = ("ERROR", "INTERNAL_ERROR")
_TOLD = (*_SERIOUS, "WARNING", "INFO")


@dataclass(frozen=True)
class BuiltEngine:
    """An engine and what the network behind it was made of.

    Attributes:
        engine: the serialised engine.
        plugin_layers: layers that our plugin computes.
        layer_types: number of layers by the API's name of their type, such as ``"CONVOLUTION"``.
        layer_precisions: number of layers by type and then by the data type of their first output, such as ``"HALF"``.
    """

    engine: bytes
    plugin_layers: int
    layer_types: dict[str, int]
    layer_precisions: dict[str, dict[str, int]]


def build_serialized(
    model_bytes: bytes,
    settings: BuildSettings,
    cubins: Mapping[int, bytes],
    listener: Listener = silent,
    log: Log = lambda line: None,
) -> BuiltEngine:
    """Build an engine.

    Args:
        model_bytes: what :func:`~dcdr_deploy.building.prepare.prepare` made, serialised.
        settings: the same as for the preparation.
        cubins: the plugin's kernels by SM; unused without the plugin.
        listener: told of phases and their steps, where the API can tell.
        log: given the package's messages, a line each.

    Raises:
        EngineError: the package refuses the graph or a setting, the build fails, or other layers than the DCRB nodes
            went to the plugin. One line.
        MissingDependency: the package is not installed.
        OutputError: the timing cache cannot be written.
        ValueError: no kernels for the plugin.
    """
    if settings.plugin and not cubins:
        raise ValueError("the plugin needs its compiled kernels")
    trt = load_api(settings.package)
    _check_targets(trt, settings)
    with _logging(trt, log) as (logger, errors):
        plugin = register(trt, cubins) if settings.plugin else None
        builder = trt.Builder(logger)
        network = builder.create_network(_network_flags(trt))
        _parse(trt, network, logger, model_bytes, plugin)
        names = block_names(onnx.load_model_from_string(model_bytes))
        plugin_layers = _check_plugin_layers(network, names, get_package(settings.package))
        config = builder.create_builder_config()
        cache = _configure(trt, builder, network, config, settings, listener, log)
        engine = builder.build_serialized_network(network, config)
        if engine is None:
            raise EngineError(f"{settings.package} could not build the engine: {_reason(plugin, errors)}")
        types, precisions = _layers(network)
        if settings.timing_cache is not None and cache is not None:
            _store_cache(settings.timing_cache, cache)
        return BuiltEngine(bytes(engine), plugin_layers, types, precisions)


@contextmanager
def _logging(trt: Any, log: Log) -> Iterator[tuple[Any, list[str]]]:
    """The package's logger, sent to ``log`` for the time of a build; the second value collects errors."""
    logger, errors = shared_logger(trt), []

    def sink(severity: str, message: str) -> None:
        if severity in _SERIOUS:
            errors.append(message)
        if severity in _TOLD:
            log(f"[{severity}] {' '.join(message.split())}")

    logger.sink = sink
    try:
        yield logger, errors
    finally:
        logger.sink = lambda severity, message: None


def _check_targets(trt: Any, settings: BuildSettings) -> None:
    if not get_package(settings.package).targets_sms:
        if len(settings.sms) > 1:
            raise EngineError(f"{settings.package} builds for one GPU architecture at a time; name one with `sms`")
        return
    known = builder_sms(trt)
    for sm in settings.sms:
        if sm not in known:
            names = ", ".join(map(str, known))
            raise EngineError(f"{settings.package} {trt.__version__} cannot build for SM {sm}; it knows {names}")


def _network_flags(trt: Any) -> int:
    """Strong typing has to be asked for in TensorRT 10; later versions know nothing else and may lack the flag."""
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


def _parse(trt: Any, network: Any, logger: Any, model_bytes: bytes, plugin: Registration | None) -> None:
    parser = trt.OnnxParser(network, logger)
    if parser.parse(model_bytes):
        return
    found = [str(parser.get_error(number).desc()) for number in range(parser.num_errors)]
    raise EngineError(f"the ONNX parser refuses the model: {_reason(plugin, found)}")


def _reason(plugin: Registration | None, errors: list[str]) -> str:
    """The sentence that says most: the plugin's own, else the last error of the package."""
    if plugin is not None and plugin.problems:
        return plugin.problems[0]
    return " ".join(errors[-1].split()) if errors else "it gave no reason"


def _check_plugin_layers(network: Any, blocks: list[str], package: Package) -> int:
    """Count the layers that our plugin took; they must be exactly the DCRB nodes.

    Raises:
        EngineError: a function's body or another plugin took a node, or a plugin sits where none was asked for. The
            message says what was found. Only full TensorRT has plugins of its own, for ``DeformConv``.
    """
    layers = [network.get_layer(number) for number in range(network.num_layers)]
    plugins = [(layer.name, layer.type.name) for layer in layers if layer.type.name.startswith("PLUGIN")]
    ours = [name for name, kind in plugins if kind == "PLUGIN_V3" and name in blocks]
    others = len(plugins) - len(ours)
    if sorted(ours) == sorted(blocks) and (not others or package.deform_form == "native"):
        return len(ours)
    raise EngineError(
        f"the parser of {package.name} gave {len(ours)} of {number_of(len(blocks), 'DCRB node')} to the plugin and "
        f"made {number_of(others, 'other plugin layer')} among {number_of(len(layers), 'layer')}, so the engine would "
        "not be what was asked for; "
        f"{'build with `plugin` none' if blocks else 'export the model again'}"
    )


def _configure(
    trt: Any, builder: Any, network: Any, config: Any, settings: BuildSettings, listener: Listener, log: Log
) -> Any:
    """Apply the settings; returns the timing cache, ``None`` where there is none."""
    package = get_package(settings.package)
    if package.targets_sms:
        _set_targets(trt, config, settings)
    tensor_float = getattr(trt.BuilderFlag, "TF32", None)
    if tensor_float is not None:
        config.clear_flag(tensor_float)  # ten bits of a product are too few for 16-bit pictures; --fp16 is the fast way
    user_allocation = getattr(trt.BuilderFlag, "REQUIRE_USER_ALLOCATION", None)
    if user_allocation is not None:
        config.set_flag(user_allocation)  # an engine that allocates by itself cannot be recorded as a CUDA graph
    if settings.workspace is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, int(settings.workspace * GIB))
    shapes = settings.profile()
    profile = builder.create_optimization_profile()
    corners = [(n, 3, h, w) for n, h, w in (shapes.smallest, shapes.best, shapes.largest)]
    profile.set_shape(network.get_input(0).name, *corners)
    config.add_optimization_profile(profile)
    if hasattr(trt, "IProgressMonitor") and hasattr(config, "progress_monitor"):
        config.progress_monitor = _monitor(trt, listener)
    # RTX measures nothing while it builds, so there is nothing to keep.
    return None if package.targets_sms else _load_cache(config, settings.timing_cache, log)


def _set_targets(trt: Any, config: Any, settings: BuildSettings) -> None:
    config.num_compute_capabilities = len(settings.sms)
    for place, sm in enumerate(settings.sms):
        # A refused target is no exception: the package would quietly build for another GPU.
        if not config.set_compute_capability(getattr(trt.ComputeCapability, f"SM{sm}"), place):
            raise EngineError(
                f"{settings.package} {trt.__version__} refuses to build for SM {sm}; leave it out of `sms`"
            )


def _monitor(trt: Any, listener: Listener) -> Any:
    class Monitor(trt.IProgressMonitor):
        """Tells of phases as they come; nested ones like the others."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._totals: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._totals[phase_name] = num_steps
            listener(Event(phase_name, 0, num_steps))

        def step_complete(self, phase_name: str, step: int) -> bool:
            listener(Event(phase_name, step + 1, self._totals.get(phase_name, step + 1)))
            return True

        def phase_finish(self, phase_name: str) -> None:
            total = self._totals.pop(phase_name, 1)
            listener(Event(phase_name, total, total))

    return Monitor()


def _load_cache(config: Any, path: Path | None, log: Log) -> Any:
    """Set the timing cache of a build; one that cannot be used is begun anew, it only saves time."""
    if path is None or not hasattr(config, "create_timing_cache"):
        return None
    try:
        stored = path.read_bytes()
    except FileNotFoundError:
        stored = b""
    except OSError as error:
        raise EngineError(f"timing cache {path} cannot be read: {error.strerror or error}; check the path") from None
    for content in (stored, b""):
        cache = config.create_timing_cache(content)
        if cache is not None and config.set_timing_cache(cache, False):
            return cache
        log(f"[WARNING] timing cache {path} does not fit this package and GPU; beginning a new one")
    return None


def _store_cache(path: Path, cache: Any) -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(bytes(cache.serialize()))


def _layers(network: Any) -> tuple[dict[str, int], dict[str, dict[str, int]]]:
    types: Counter[str] = Counter()
    precisions: dict[str, Counter[str]] = {}
    for number in range(network.num_layers):
        layer = network.get_layer(number)
        kind = layer.type.name
        types[kind] += 1
        if layer.num_outputs:
            precisions.setdefault(kind, Counter())[layer.get_output(0).dtype.name] += 1
    return dict(types), {kind: dict(counts) for kind, counts in precisions.items()}
