"""From a checkpoint file to a verified ONNX file."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import onnx

from dcdr_deploy._version import __version__
from dcdr_deploy.errors import InputError
from dcdr_deploy.export.calibration import calibration_pictures, measure_overlap, offsets_json
from dcdr_deploy.export.compact import packed
from dcdr_deploy.export.fp16 import to_fp16
from dcdr_deploy.export.onnx_export import to_onnx
from dcdr_deploy.export.places import checked_output
from dcdr_deploy.export.verify import Comparison, verify
from dcdr_deploy.modelfile.metadata import ModelMetadata, check_peak, encode
from dcdr_deploy.models import HdrNetwork, LoadedModel, architecture_of, load_checkpoint
from dcdr_deploy.models.checkpoint import described
from dcdr_deploy.models.encodings import Encoding
from dcdr_deploy.system.files import atomic_path
from dcdr_deploy.system.progress import Event, Listener, silent


@dataclass(frozen=True)
class ExportOptions:
    """What kind of file to make.

    Attributes:
        fp16: weights and arithmetic in FP16, coordinates in FP32; the interface stays float32.
        static: (height, width) of a model for one size; ``None`` for dynamic batch, height and width.
        verify: compare with torch before the file gets its name.
        peak: linear value of 1.0 in units of SDR white; ``None`` takes the checkpoint's, or 1.0 if it says nothing.
        calibration: folder of SDR pictures to measure offsets on; ``None`` for built-in scenes.
        form: body of ``dcdr::DeformConv2d``.
        output_encoding: encoding of what the layers give (:mod:`dcdr_deploy.models.encodings`), for architectures of
            which there are weights of several; ``None`` takes the checkpoint's, or that of the published weights.
        architecture: what the checkpoint is, where its tensors do not tell.
        part: files of the other parts, for networks that are published in parts.
        compact: store weights that FP16 holds exactly as FP16; the file computes the same.
    """

    fp16: bool = False
    static: tuple[int, int] | None = None
    verify: bool = True
    peak: float | None = None
    calibration: Path | None = None
    form: str = "native"
    output_encoding: str | None = None
    architecture: str | None = None
    part: tuple[Path, ...] = ()
    compact: bool = False

    def __post_init__(self) -> None:
        if self.peak is not None:
            check_peak(self.peak)
        if self.output_encoding is not None:
            try:
                Encoding.parse(self.output_encoding)
            except InputError as error:
                raise InputError(f"`output_encoding`: {error}") from None


@dataclass(frozen=True)
class ExportReport:
    """What was written.

    Attributes:
        path: the ONNX file.
        metadata: as stored in it.
        comparisons: figures of the verification; empty when it was not asked for.
        peak_assumed: neither the checkpoint nor the user named a peak.
        encoding_assumed: what the output was taken for where neither checkpoint nor user said it, else ``None``.
    """

    path: Path
    metadata: ModelMetadata
    comparisons: list[Comparison]
    peak_assumed: bool
    encoding_assumed: str | None = None


def export_checkpoint(
    checkpoint: Path,
    output: Path | None = None,
    options: ExportOptions | None = None,
    listener: Listener = silent,
) -> ExportReport:
    """Export a checkpoint to a verified ONNX file.

    Args:
        checkpoint: any file that :func:`dcdr_deploy.models.load_checkpoint` takes.
        output: ONNX file to write; by default beside the checkpoint.
        options: kind of file.
        listener: told of each stage.

    Raises:
        CheckpointError: the checkpoint cannot be used.
        InputError: options that do not fit the architecture, or pictures that cannot be measured.
        ExportError: the file did not pass its verification; nothing was written.
        OutputError: the file cannot be written.
    """
    options = options or ExportOptions()
    output = checked_output(checkpoint, output, options.fp16, options.part, options.calibration)
    listener(Event("loading the checkpoint"))
    loaded = load_checkpoint(checkpoint, architecture=options.architecture, part=options.part)
    fit_options(loaded, options)
    listener(Event("measuring offsets"))
    metadata = describe(loaded, options)
    listener(Event("exporting"))
    model = to_onnx(loaded.network, options.static, options.form)
    if options.fp16:
        model = to_fp16(model)
    if options.compact:
        model = packed(model)
    store_metadata(model, metadata)
    comparisons: list[Comparison] = []
    with atomic_path(output) as temporary:
        onnx.save(model, str(temporary))
        if options.verify:
            listener(Event("verifying in ONNX Runtime"))
            comparisons = verify(temporary, loaded.network, options.fp16, options.static)
    return ExportReport(output, metadata, comparisons, *_assumptions(loaded, options))


def fit_options(loaded: LoadedModel, options: ExportOptions) -> None:
    """Check options against the architecture, and give the network the output encoding that they name.

    Raises:
        InputError: the static size is no multiple of the architecture's, its output has one encoding only, or that
            encoding says the peak itself.
    """
    architecture, config = architecture_of(loaded.network.config), loaded.network.config
    multiple = architecture.size_multiple
    if options.static and (min(options.static) < multiple or any(side % multiple for side in options.static)):
        height, width = options.static
        raise InputError(f"`static` {height}x{width}: height and width must be multiples of {multiple}")
    if options.output_encoding is not None:
        if "output" not in architecture.unseen:
            words = Encoding.parse(config.output).words
            raise InputError(f"{loaded.source} ({architecture.title}) gives {words}: leave `output_encoding` out")
        loaded.network.config = replace(config, output=options.output_encoding)
    encoding = loaded.network.encoding
    if options.peak is not None and encoding.peak is not None:
        raise InputError(f"{loaded.source} ({architecture.title}) says its peak itself: leave `peak` out")


def _assumptions(loaded: LoadedModel, options: ExportOptions) -> tuple[bool, str | None]:
    """What a report says was assumed: that the peak is 1, and the encoding, ``None`` where nothing was."""
    if loaded.has_metadata:
        return False, None
    network = loaded.network
    ambiguous = "output" in loaded.assumed and options.output_encoding is None
    return options.peak is None and network.encoding.peak is None, network.config.output if ambiguous else None


def describe(loaded: LoadedModel, options: ExportOptions) -> ModelMetadata:
    """Metadata of a checkpoint: what it stored, brought up to date with what is measured here."""
    network, architecture = loaded.network, architecture_of(loaded.network.config)
    measured = network.deforms() or options.calibration is not None
    pictures = calibration_pictures(options.calibration, architecture.size_multiple) if measured else []
    overlap, spread = measure_overlap(network, pictures)
    extra = loaded.metadata.extra | {
        "network": architecture.name,
        "architecture": network.config.to_json(),
        "weights_sha256": weights_sha256(network),
        "tool_version": __version__,
        "offsets": offsets_json(spread),
        "precision": "fp16" if options.fp16 else "fp32",
    }
    peak = loaded.metadata.peak if options.peak is None else options.peak
    return described(network, replace(loaded.metadata, peak=peak, overlap=overlap, extra=extra))


def weights_sha256(network: HdrNetwork) -> str:
    """SHA-256 over names and float32 values of all weights, the same for every file format."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()


def store_metadata(model: onnx.ModelProto, metadata: ModelMetadata) -> None:
    """Put metadata into a model, and take the exporter's notes (with paths of this machine) out of it."""
    del model.metadata_props[:]
    for key, value in sorted(encode(metadata).items()):
        model.metadata_props.add(key=key, value=value)
    model.producer_name, model.producer_version = "dcdr-deploy", __version__
    model.doc_string = f"{metadata.name}: sRGB-encoded SDR in [0, 1] to linear HDR in [0, 1]"
    graph = model.graph
    graph.doc_string = ""
    for part in (*graph.node, *graph.initializer, *graph.input, *graph.output, *graph.value_info):
        part.doc_string = ""
        del part.metadata_props[:]
    del graph.metadata_props[:]
