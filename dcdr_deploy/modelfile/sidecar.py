"""The facts that travel beside an engine: ``model.fp16.sm86.engine`` has ``model.fp16.sm86.engine.json``.

The engine file stays what the package wrote, so that other programs can load it; what it lacks (which GPUs and which
version it is for, what the network's numbers mean, whether its results were compared) stands in the sidecar. Reading
checks both: a sidecar that was changed by hand or belongs to another engine is refused. Loads no package.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from dcdr_deploy.errors import ModelError, OutputError
from dcdr_deploy.modelfile.metadata import KEY_FORMAT, ModelMetadata, decode
from dcdr_deploy.modelfile.sidecar_rules import first_nonsense
from dcdr_deploy.system.files import atomic_path, file_sha256

FORMAT = 1
SUFFIX = ".json"
REBUILD = "build it again with `dcdr-deploy build-engine`"

Shape = tuple[int, int, int]

_CHECKSUM = "checksum"


@dataclass(frozen=True)
class Sidecar:
    """What is known of an engine.

    Attributes:
        package: ``"tensorrt"`` or ``"tensorrt-rtx"``: what built it and alone can run it.
        package_version: that package's version.
        sms: compute capabilities it was built for, such as ``(86, 120)``.
        precision: ``"fp16"`` or ``"fp32"``.
        min_shape: smallest input, (images, height, width).
        opt_shape: the input it was tuned for.
        max_shape: largest input.
        onnx_sha256: of the ONNX file it was built from.
        engine_sha256: of the engine file.
        metadata: the network's metadata, as :func:`dcdr_deploy.modelfile.metadata.encode` stores it.
        plugin: name of the plugin in it, ``None`` without one.
        plugin_version: version of that plugin.
        plugin_layers: layers that the plugin took.
        kernel_hash: of the source and options of the plugin's kernel.
        workspace: limit of the scratch memory in GiB it was built with.
        tool_version: the dcdr-deploy that built it.
        verified: its results were compared with ONNX Runtime's and passed.
        gate: the figures of that comparison, e.g. ``{"psnr": 61.2}``.
        format: version of this layout.
    """

    package: str
    package_version: str
    sms: tuple[int, ...]
    precision: str
    min_shape: Shape
    opt_shape: Shape
    max_shape: Shape
    onnx_sha256: str
    engine_sha256: str
    metadata: dict[str, str]
    plugin: str | None = None
    plugin_version: str | None = None
    plugin_layers: int = 0
    kernel_hash: str | None = None
    workspace: float | None = None
    tool_version: str = ""
    verified: bool = False
    gate: dict[str, float] = field(default_factory=dict)
    format: int = FORMAT

    @property
    def fixed_size(self) -> tuple[int, int] | None:
        """(height, width) of an engine for one size, ``None`` for one with dynamic shapes."""
        return self.max_shape[1:] if self.min_shape[1:] == self.max_shape[1:] else None

    @property
    def max_batch(self) -> int:
        """Most images in a call."""
        return self.max_shape[0]

    def model_metadata(self, source: str) -> ModelMetadata:
        """Return what a runner has to know of the network.

        Raises:
            ModelError: the stored strings are not this project's; the message begins with ``source``.
        """
        if KEY_FORMAT not in self.metadata:
            raise ModelError(f"{source} carries no DCDR-UNet metadata; {REBUILD}")
        return decode(self.metadata, source)

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {"format": self.format, **asdict(self)}


def sidecar_path(engine: Path) -> Path:
    """Return where an engine's sidecar lies."""
    return engine.with_name(engine.name + SUFFIX)


def encode(sidecar: Sidecar) -> str:
    """Return a sidecar as the text of its file."""
    data = sidecar.as_dict()
    return json.dumps({**data, _CHECKSUM: _checksum(data)}, indent=2, ensure_ascii=False) + "\n"


def write(engine: Path, sidecar: Sidecar) -> None:
    """Write or replace the sidecar of an engine.

    Raises:
        OutputError: it cannot be written; an older one is kept.
    """
    with atomic_path(sidecar_path(engine)) as temporary:
        temporary.write_text(encode(sidecar), encoding="utf-8")


@contextmanager
def atomic_pair(engine: Path) -> Iterator[Path]:
    """Give a temporary path for an engine; when the block ends well, that file and its sidecar get their names.

    The block writes the file and, with :func:`write`, its sidecar. The temporary file exists from the start, so that a
    folder that cannot be written is found before minutes of building. Whatever ends the block early leaves an older
    pair as it was. The sidecar is renamed first: an engine never stands there without one, and what a power cut
    between the two renames leaves is a pair that :func:`read_sidecar` refuses and a build replaces.

    Raises:
        OutputError: as :func:`dcdr_deploy.system.files.atomic_path`.
    """
    final = sidecar_path(engine)
    with suppress(OSError):  # names too long and the like: atomic_path says it better
        if engine.is_dir() or final.is_dir():
            taken = engine if engine.is_dir() else final
            raise OutputError(f"{taken}: cannot be written: a folder has this name; choose another with -o")
    before: bytes | None = None
    renamed = False
    temporary_sidecar: Path | None = None
    try:
        with atomic_path(engine) as temporary:
            temporary_sidecar = sidecar_path(temporary)
            temporary.touch()
            yield temporary
            with suppress(FileNotFoundError):
                before = final.read_bytes()
            renamed = True
            temporary_sidecar.replace(final)
        renamed = False
    finally:
        if temporary_sidecar is not None:
            with suppress(OSError):
                temporary_sidecar.unlink(missing_ok=True)
        if renamed:  # the engine did not get its name
            with suppress(OSError):
                if before is None:
                    final.unlink(missing_ok=True)
                else:
                    final.write_bytes(before)


def mark_verified(engine: Path, sidecar: Sidecar, gate: Mapping[str, float]) -> Sidecar:
    """Note in the sidecar of an engine that its results were compared and passed; return the new sidecar.

    Raises:
        OutputError: it cannot be written.
    """
    passed = replace(sidecar, verified=True, gate=dict(gate))
    write(engine, passed)
    return passed


def read_sidecar(engine: Path) -> Sidecar:
    """Read the sidecar of an engine, and check that it is whole and belongs to the engine file as it is.

    Raises:
        ModelError: engine or sidecar missing or unreadable; the sidecar damaged, edited, or of a newer version; the
            engine file not the one that it describes. One line that says what to do.
    """
    try:
        present = file_sha256(engine)
    except OSError as error:
        reason = "does not exist" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror}"
        raise ModelError(f"engine {engine} {reason}") from None
    sidecar = _read(engine)
    if sidecar.engine_sha256 != present:
        raise ModelError(f"{engine} is not the file that {sidecar_path(engine).name} describes: damaged; {REBUILD}")
    return sidecar


def _read(engine: Path) -> Sidecar:
    path = sidecar_path(engine)
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        checksum = _checksum(data) if isinstance(data, dict) else ""
    except FileNotFoundError:
        raise ModelError(
            f"{engine} has no sidecar {path.name} beside it, which says what it is for; {REBUILD}"
        ) from None
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError):  # no UTF-8, no JSON, or lists in lists without end
        raise ModelError(f"{path} is damaged; {REBUILD}") from None
    if not isinstance(data, dict) or not isinstance(data.get("format"), int):
        raise ModelError(f"{path} is no sidecar of an engine of dcdr-deploy; {REBUILD}")
    if data["format"] > FORMAT:
        raise ModelError(f"{path} was written by a newer dcdr-deploy (layout {data['format']}); upgrade, or {REBUILD}")
    if data.pop(_CHECKSUM, None) != checksum or data.keys() != {each.name for each in fields(Sidecar)}:
        raise ModelError(f"{path} was edited or damaged after it was written; {REBUILD}")
    if nonsense := first_nonsense(data):
        raise ModelError(f"{path} has {nonsense}, which makes no sense; {REBUILD}")
    for name in ("sms", "min_shape", "opt_shape", "max_shape"):
        data[name] = tuple(data[name])
    return Sidecar(**data)


def _checksum(data: Mapping[str, Any]) -> str:
    """Return the checksum of all entries besides the checksum itself; spaces and order do not count."""
    text = json.dumps({key: value for key, value in data.items() if key != _CHECKSUM}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def check_fit(engine: Path, sidecar: Sidecar, sm: int | None, installed_version: str | None) -> None:
    """Check that an engine can run here.

    Args:
        engine: its file, for the message.
        sidecar: what :func:`read_sidecar` gave.
        sm: compute capability of the GPU it is to run on, such as 86; ``None`` without a GPU.
        installed_version: version of the package that built it, as installed here; ``None`` if it is not.

    Raises:
        ModelError: no GPU, another GPU, package missing, or another version; the message says how to rebuild.
    """
    built = ", ".join(f"SM{each}" for each in sidecar.sms)
    if installed_version is None:
        raise ModelError(f"{engine} needs {sidecar.package} {sidecar.package_version}, which is not installed")
    if installed_version != sidecar.package_version:
        raise ModelError(
            f"{engine} was built with {sidecar.package} {sidecar.package_version}, but {installed_version} is "
            f"installed; {REBUILD}"
        )
    if sm is None:
        raise ModelError(
            f"{engine} needs an NVIDIA GPU ({built}), and this machine has none that works; use the ONNX file that it "
            "was built from"
        )
    if sm not in sidecar.sms:
        raise ModelError(f"{engine} is for {built}, but this GPU is SM{sm}; {REBUILD} --sm {sm}")
