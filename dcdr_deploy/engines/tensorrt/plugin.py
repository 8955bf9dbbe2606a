"""``dcdr::DCRB`` as a TensorRT plugin (IPluginV3), for TensorRT and TensorRT-RTX alike.

The plugin owns no arithmetic: it says what it takes (:mod:`dcdr_deploy.engines.tensorrt.signature`) and hands pointers
to the kernels (:mod:`dcdr_deploy.engines.tensorrt.plugin_forms`).
The compiled kernels travel inside the engine as serialised fields, one an SM, so a fresh process needs this package and
the CUDA driver only.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from dcdr_deploy.engines.cuda.loaded import shared_kernels
from dcdr_deploy.engines.tensorrt.plugin_forms import FORMS, Call
from dcdr_deploy.engines.tensorrt.signature import (
    FIRST,
    FROM_HIDDEN,
    INPUTS_OF,
    PluginError,
    check_shapes,
    check_types,
    format_fits,
)
from dcdr_deploy.errors import EngineError
from dcdr_deploy.modelfile.names import DCRB, DOMAIN
from dcdr_deploy.system.faults import one_line

_FIELD_PREFIX = "sm"


def encode_kernels(cubins: Mapping[int, bytes]) -> dict[str, np.ndarray]:
    """Compiled kernels by SM as serialised fields: name and compressed bytes."""
    return {f"{_FIELD_PREFIX}{sm}": np.frombuffer(_compressed(cubin), np.int8) for sm, cubin in sorted(cubins.items())}


def decode_kernels(fields: Mapping[str, Any]) -> dict[int, bytes]:
    """Compiled kernels by SM from serialised fields; fields of other names are ignored.

    Raises:
        PluginError: a field is damaged.
    """
    kernels = {}
    for name, data in fields.items():
        number = name.removeprefix(_FIELD_PREFIX)
        if name.startswith(_FIELD_PREFIX) and number.isdigit():
            try:
                kernels[int(number)] = zlib.decompress(np.asarray(data).tobytes())
            except zlib.error as error:
                raise PluginError(f"the kernels for SM {number} inside the engine are damaged ({error})") from error
    return kernels


@functools.lru_cache(maxsize=64)
def _compressed(cubin: bytes) -> bytes:
    return zlib.compress(cubin, 9)


class Registration:
    """The plugin as known to one package.

    Attributes:
        cubins: kernels for engines that are built, by SM.
        problems: why callbacks of the plugin failed, a sentence each. The APIs log exceptions of a plugin, but pass on
            no more than that something failed.
    """

    def __init__(self) -> None:
        self.cubins: dict[int, bytes] = {}
        self.problems: list[str] = []

    @contextmanager
    def reporting(self, label: str) -> Iterator[None]:
        """Note what goes wrong in a callback of the block ``label``, before the API swallows it."""
        try:
            yield
        except Exception as error:  # whatever it is, the API sees it next, and the user would not
            problem = f"{DOMAIN}::{DCRB} {label!r}: {one_line(error)}"
            if problem not in self.problems:  # a run fails the same way with every frame
                self.problems.append(problem)
            raise


_registrations: dict[Any, tuple[Registration, list[Any]]] = {}


def register(trt: Any, cubins: Mapping[int, bytes] | None = None) -> Registration:
    """Make all versions of the plugin known to a package; to be done before an engine is built or loaded.

    Doing it again for the same package replaces the kernels and forgets the problems.

    Args:
        trt: the API's module, see :func:`dcdr_deploy.engines.tensorrt.trt_api.load_api`.
        cubins: compiled kernels by SM, for building, of the version that the graph names. A loaded engine brings its
            own.

    Raises:
        EngineError: something else in this process has taken the plugin's name.
    """
    if trt not in _registrations:
        registration = Registration()
        creators = [_creator_class(trt, version)(registration) for version in FORMS]
        for creator in creators:
            if not trt.get_plugin_registry().register_creator(creator, DOMAIN):
                raise EngineError(
                    f"another plugin {DOMAIN}::{DCRB} {creator.plugin_version} is registered in this process; "
                    "start a new one"
                )
        _registrations[trt] = registration, creators  # the registry does not keep the creators alive
    registration = _registrations[trt][0]
    registration.cubins = dict(cubins or {})
    registration.problems.clear()
    return registration


def _creator_class(trt: Any, version: str) -> type:
    plugin_class = _plugin_class(trt, version)

    class DcrbCreator(trt.IPluginCreatorV3One):
        """Makes the plugin from a node, or from the fields of an engine."""

        def __init__(self, registration: Registration) -> None:
            trt.IPluginCreatorV3One.__init__(self)
            self.name, self.plugin_namespace, self.plugin_version = DCRB, DOMAIN, version
            self.field_names = trt.PluginFieldCollection(
                [trt.PluginField(FIRST, np.zeros(0, np.int32), trt.PluginFieldType.INT32)]
                if version == FROM_HIDDEN
                else []
            )
            self._registration = registration

        def create_plugin(self, name: str, fields: Any, phase: Any) -> Any:
            with self._registration.reporting(name):
                given = {field.name: field.data for field in fields}
                cubins = decode_kernels(given)
                first = int(np.asarray(given.get(FIRST, 0)).reshape(-1)[0])
            return plugin_class(name, cubins or self._registration.cubins, self._registration, first)

    return DcrbCreator


def _plugin_class(trt: Any, version: str) -> type:
    """The plugin's class over one package's base classes; the callbacks translate, the module's functions decide."""
    form = FORMS[version]

    class DcrbPlugin(trt.IPluginV3, trt.IPluginV3OneCore, trt.IPluginV3OneBuild, trt.IPluginV3OneRuntime):
        """One block."""

        def __init__(self, label: str, cubins: Mapping[int, bytes], registration: Registration, first: int = 0) -> None:
            for base in (trt.IPluginV3, trt.IPluginV3OneCore, trt.IPluginV3OneBuild, trt.IPluginV3OneRuntime):
                base.__init__(self)
            self.plugin_name, self.plugin_namespace, self.plugin_version = DCRB, DOMAIN, version
            self.num_outputs = 1
            self._label, self._cubins, self._registration, self._first = label, cubins, registration, first
            self._kernels = shared_kernels(cubins, form.kernels)
            self._feature_type = ""

        def get_capability_interface(self, kind: Any) -> Any:
            return self

        def clone(self) -> Any:
            copied = DcrbPlugin(self._label, self._cubins, self._registration, self._first)
            copied._feature_type = self._feature_type
            return copied

        # Build.

        def get_output_data_types(self, input_types: Sequence[Any]) -> list[Any]:
            with self._registration.reporting(self._label):
                check_types([each.name for each in input_types], version)
            self._feature_type = input_types[0].name
            return [input_types[0]]

        def get_output_shapes(self, inputs: Sequence[Any], shape_inputs: Sequence[Any], builder: Any) -> list[Any]:
            with self._registration.reporting(self._label):
                check_shapes([_known_sizes(each) for each in inputs], self._feature_type, version, self._first)
            return [trt.DimsExprs(inputs[0])]

        def supports_format_combination(self, position: int, tensors: Sequence[Any], num_inputs: int) -> bool:
            types = [tensor.desc.type.name for tensor in tensors]
            formats = [tensor.desc.format.name for tensor in tensors]
            return format_fits(position, types, formats, num_inputs, version)

        def configure_plugin(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
            """Nothing depends on the shapes of a profile."""

        def get_workspace_size(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
            batch, _, height, width = inputs[0].max
            return form.workspace_bytes(batch, height, width, inputs[0].desc.type.name == "HALF")

        # Run.

        def attach_to_context(self, context: Any) -> Any:
            """Load the kernels: a capture of a CUDA graph, which may be the first run, must not."""
            with self._registration.reporting(self._label):
                self._kernels.prepare()
            return self.clone()

        def get_fields_to_serialize(self) -> Any:
            self._fields = encode_kernels(self._cubins)  # the fields point into these arrays
            kind = trt.PluginFieldType.CHAR
            fields = [trt.PluginField(name, data, kind) for name, data in self._fields.items()]
            if version == FROM_HIDDEN:
                self._fields[FIRST] = np.array([self._first], np.int32)
                fields.append(trt.PluginField(FIRST, self._fields[FIRST], trt.PluginFieldType.INT32))
            return trt.PluginFieldCollection(fields)

        def on_shape_change(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
            """Nothing is kept between shapes: enqueue reads them."""

        def set_tactic(self, tactic: int) -> None:
            """There is one way to compute a block."""

        def enqueue(
            self,
            input_desc: Sequence[Any],
            output_desc: Sequence[Any],
            inputs: Sequence[int],
            outputs: Sequence[int],
            workspace: int,
            stream: int,
        ) -> None:
            """Launch on the given stream; neither allocates nor synchronises, so graphs can capture it."""
            with self._registration.reporting(self._label):
                named = dict(zip(INPUTS_OF[version], inputs, strict=True))
                form.run(self._kernels, Call(self._first, input_desc, named, outputs[0], workspace, stream))

    return DcrbPlugin


def _known_sizes(expressions: Any) -> tuple[int | None, ...]:
    sizes = [expressions[axis] for axis in range(len(expressions))]
    return tuple(size.get_constant_value() if size.is_constant() else None for size in sizes)
