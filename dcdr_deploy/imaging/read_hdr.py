"""Reading linear HDR pictures, for `evaluate`, training targets and panoramas alike.

OpenEXR and Radiance files, floating-point TIFF and NumPy arrays hold light as it is. 16-bit PNG and TIFF without a word
about their light hold linear codes, by this project's convention the network's [0, 1] x 65535; where the file declares
an encoding (``declared.py``), that is undone. AVIF, HEIC and JPEG XL are taken where they say PQ or linear light, and
pictures with a gain map where that is asked for. Whatever is converted to linear Rec. 709 is told in the notes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dcdr_deploy.errors import InputError
from dcdr_deploy.imaging import primaries as p
from dcdr_deploy.imaging.colour import to_linear
from dcdr_deploy.imaging.declared import resolve
from dcdr_deploy.imaging.decoders import exr, png, radiance, tiff
from dcdr_deploy.imaging.decoders.common import StoredSamples, UnreadableError, quiet_decoders
from dcdr_deploy.imaging.decoders.linear import Linear
from dcdr_deploy.imaging.decoders.numpy_array import MAGIC as NUMPY_MAGIC
from dcdr_deploy.imaging.decoders.numpy_array import decode_numpy, ratio_beside
from dcdr_deploy.imaging.encoding import Encoding
from dcdr_deploy.imaging.formats import EMPTY, SIGNATURE_BYTES, VIDEO, identify, name_of
from dcdr_deploy.imaging.half import HALF_MAX
from dcdr_deploy.imaging.hdr_transfer import pq_decode
from dcdr_deploy.imaging.kept import kept_of
from dcdr_deploy.imaging.light import SDR_WHITE_NITS
from dcdr_deploy.imaging.orientation import upright
from dcdr_deploy.imaging.read_gain_map import GAIN_MAP_FORMATS, decode_with_gain_map, has_gain_map
from dcdr_deploy.imaging.transfer import srgb_to_linear
from dcdr_deploy.imaging.xmp import own_texts
from dcdr_deploy.system.files import refuse_no_path, refuse_pipe
from dcdr_deploy.system.words import number_of

HDR_SUFFIXES = (".exr", ".hdr", ".png", ".tif", ".tiff", ".npy", ".avif", ".jxl", ".heic", ".heif", ".hif")
"""Under which names folders are searched, in lower case."""

GAIN_MAP_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif")
"""Further ones where gain maps are asked for."""

_READABLE = "give an OpenEXR, a Radiance .hdr, a 16-bit PNG or TIFF, or a floating-point TIFF"
_CODE_MAXIMUM = np.float32(65535)


@dataclass(frozen=True)
class HdrOptions:
    """What a user may say about how HDR files are read.

    Attributes:
        part: name or number of the part of an OpenEXR file of several.
        layer: name of the layer, in OpenEXR files with layers.
        strict: refuse NaN and infinity, which are masked otherwise.
        use_gain_map: take JPEG, HEIC and AVIF, each as its base x its gain map.
    """

    part: str | None = None
    layer: str | None = None
    strict: bool = False
    use_gain_map: bool = False


DEFAULT_OPTIONS = HdrOptions()


@dataclass(frozen=True)
class Picture:
    """One linear HDR picture.

    Attributes:
        path: the file.
        pixels: (H, W, 3) float32, linear Rec. 709, finite. Of integer files in [0, 1] of their own full scale; of the
            others by this project's convention in units of SDR white. Where ``invalid`` is true, 0, or the largest
            number of the picture in the place of infinity.
        integer: whether the file holds integers without a scale.
        peak: full scale in units of SDR white where the file says so, as those of ``dcdr-deploy run`` do.
        invalid: (H, W) bool, pixels with NaN or infinity; ``None`` without any.
        notes: sentences about what was converted, chosen, masked or left out.
        texts: strings of the file's header by lower-case names.
    """

    path: Path
    pixels: NDArray[np.float32]
    integer: bool
    peak: float | None
    invalid: NDArray[np.bool_] | None = None
    notes: tuple[str, ...] = ()
    texts: Mapping[str, str] = field(default_factory=dict)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.pixels.shape[0], self.pixels.shape[1]


def read_hdr(path: str | os.PathLike[str], options: HdrOptions = DEFAULT_OPTIONS) -> Picture:
    """Read a picture, whatever its suffix says. Gray becomes RGB; alpha is left out.

    Raises:
        InputError: no file, damaged, not supported, another format, 8 bits, no picture or several in it, or, if that is
            asked for, NaN or infinity in the pixels. One line that names the file.
    """
    path = Path(path)
    refuse_no_path(path, InputError)
    refuse_pipe(path)
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL character in the path
        raise InputError(
            f"{path}: cannot be read ({getattr(error, 'strerror', None) or error}); check the path"
        ) from error
    try:
        for matches, read in _READERS:
            if matches(data):
                with quiet_decoders(), np.errstate(all="ignore"):
                    return _checked(path, read(path, data, options), options)
        what = VIDEO if name_of(data[:SIGNATURE_BYTES]) == VIDEO else "no HDR picture by its content"
        raise UnreadableError(f"is {what}; {_READABLE}" if data else EMPTY)
    except UnreadableError as refusal:
        raise InputError(f"{path}: {refusal}") from refusal
    except MemoryError as error:
        raise InputError(f"{path}: does not fit into memory; scale it down or cut it into parts") from error


def _exr(path: Path, data: bytes, options: HdrOptions) -> Linear:
    return exr.decode_exr(path, options.part, options.layer)


def _radiance(path: Path, data: bytes, options: HdrOptions) -> Linear:
    return radiance.decode_radiance(data)


def _png(path: Path, data: bytes, options: HdrOptions) -> Linear:
    return _with_ratio(path, _from_stored(png.decode_png(data)))


def _tiff(path: Path, data: bytes, options: HdrOptions) -> Linear:
    stored = tiff.decode_any(data)
    if stored.colour.dtype == np.float32:
        return _from_floats(stored)
    return _with_ratio(path, _from_stored(stored))


def _still(path: Path, data: bytes, options: HdrOptions) -> Linear:
    """AVIF, HEIC, JPEG XL and JPEG: HDR by what they declare, or by a gain map."""
    picture = identify(data[:SIGNATURE_BYTES])
    texts = own_texts(kept_of(data, picture.name).xmp)
    if options.use_gain_map and (picture.name == "JPEG" or has_gain_map(data)):
        return replace(decode_with_gain_map(data), texts=texts)
    if picture.name == "JPEG":
        raise UnreadableError(f"is a JPEG, which is SDR; `use_gain_map` takes it with its gain map, or {_READABLE}")
    stored = picture.decode(data)
    stored.texts = texts
    if stored.colour.dtype == np.float32:
        return _from_floats(stored)
    encoding = resolve(stored.declared, 1 if stored.colour.ndim == 2 else stored.colour.shape[2])
    if not encoding.hdr and not encoding.is_linear:
        without = " without a gain map" if options.use_gain_map else ""
        raise UnreadableError(f"is an SDR {picture.name}{without} ({encoding.name}); {_READABLE}")
    if stored.colour.dtype == np.uint8:
        stored.colour = stored.colour.astype(np.uint16) * np.uint16(257)
    return _from_stored(stored)


def _is_still(data: bytes) -> bool:
    try:
        return identify(data[:SIGNATURE_BYTES]).name in GAIN_MAP_FORMATS
    except UnreadableError:
        return False


def _numpy(path: Path, data: bytes, options: HdrOptions) -> Linear:
    return _with_ratio(path, decode_numpy(data))


def _with_ratio(path: Path, linear: Linear) -> Linear:
    """Divide by the ratio that lies beside a ground truth of NTIRE 2021: its scale in units of SDR white."""
    ratio = ratio_beside(path)
    if ratio is None:
        return linear
    scale = np.float32((_CODE_MAXIMUM if linear.integer else 1) / ratio)
    notes = [*linear.notes, f"divided by the alignment ratio {ratio:g} beside it"]
    return Linear(linear.pixels * scale, texts=linear.texts, notes=notes)


def _from_stored(stored: StoredSamples) -> Linear:
    """16-bit codes as linear light."""
    colour = stored.colour
    if colour.dtype != np.uint16:
        raise UnreadableError(f"has 8 bits a sample, which is SDR; {_READABLE}")
    if colour.ndim == 3 and colour.shape[2] != 3:
        raise UnreadableError("holds CMYK; export it as RGB")
    encoding, notes = _encoding(stored)
    colour = upright(colour, stored.orientation)
    if not encoding.by:
        rgb = np.repeat(colour[..., None], 3, axis=2) if colour.ndim == 2 else colour
        return Linear(rgb.astype(np.float32) / _CODE_MAXIMUM, True, stored.texts, notes)
    if not encoding.curves and encoding.hdr != "PQ":
        raise UnreadableError(_no_light(encoding))
    if encoding.hdr == "PQ":
        codes = np.repeat(colour[..., None], 3, axis=2) if colour.ndim == 2 else colour
        nits = pq_decode(encoding.signal(65535)).astype(np.float32)
        # Files of this tool say which luminance their SDR white has.
        light = nits[codes] / np.float32(_positive(stored.texts.get("referencewhite")) or SDR_WHITE_NITS)
        if encoding.matrix is not None:
            light = p.convert(light, encoding.matrix)
        return Linear(light, False, stored.texts, [*notes, _converted(encoding)])
    linear = np.asarray(to_linear(colour, encoding), np.float32)
    if not (encoding.is_linear and encoding.has_rec709_primaries):
        notes.append(_converted(encoding))
    return Linear(linear, True, stored.texts, notes)


def _from_floats(stored: StoredSamples) -> Linear:
    """Light as it is, but for the primaries that an ICC profile or TIFF's tags name."""
    colour = upright(stored.colour, stored.orientation)
    if colour.ndim == 2:
        colour = np.repeat(colour[..., None], 3, axis=2)
    if colour.shape[2] != 3:
        raise UnreadableError("holds CMYK; export it as RGB")
    encoding, notes = _encoding(stored)
    if encoding.by and not encoding.is_linear:
        if not encoding.is_srgb_curve:
            raise UnreadableError(_no_light(encoding))
        colour = np.asarray(srgb_to_linear(colour), np.float32)
    if encoding.by and not encoding.has_rec709_primaries and encoding.matrix is not None:
        colour = p.convert(colour, encoding.matrix)
    if encoding.by and not (encoding.is_linear and encoding.has_rec709_primaries):
        notes.append(_converted(encoding))
    return Linear(np.ascontiguousarray(colour, np.float32), texts=stored.texts, notes=notes)


def _encoding(stored: StoredSamples) -> tuple[Encoding, list[str]]:
    encoding = resolve(stored.declared, 1 if stored.colour.ndim == 2 else stored.colour.shape[2])
    if encoding.hdr == "HLG":
        raise UnreadableError(
            f"is encoded as HLG by its {encoding.by}, which has no light without a display; export it as linear light"
        )
    return encoding, [*stored.notes, *encoding.notes]


def _no_light(encoding: Encoding) -> str:
    return f"is encoded as {encoding.name} by its {encoding.by}, which cannot be undone here; export it as linear light"


def _converted(encoding: Encoding) -> str:
    return f"converted to linear Rec. 709 from {encoding.name} by its {encoding.by}"


_Read = Callable[[Path, bytes, HdrOptions], Linear]

_READERS: tuple[tuple[Callable[[bytes], bool], _Read], ...] = (
    (lambda data: data.startswith(exr.MAGIC), _exr),
    (lambda data: data.startswith(radiance.MAGIC), _radiance),
    (lambda data: data.startswith(png.SIGNATURE), _png),
    (lambda data: data.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")), _tiff),
    (lambda data: data.startswith(NUMPY_MAGIC), _numpy),
    (_is_still, _still),
)


def _checked(path: Path, linear: Linear, options: HdrOptions) -> Picture:
    pixels, notes = linear.pixels, list(linear.notes)
    invalid = np.asarray(~np.isfinite(pixels).all(axis=-1))
    count = int(invalid.sum())
    if count:
        row, column = np.argwhere(invalid)[0]
        what = f"NaN or infinity in {number_of(count, 'pixel', form=',')}, first at row {row}, column {column}"
        if options.strict:
            raise UnreadableError(f"holds {what}; write it again")
        if count == invalid.size:
            raise UnreadableError("holds NaN and infinity in all its pixels; write it again")
        largest = pixels[~invalid].max()
        pixels = np.where(invalid[..., None], np.where((pixels == np.inf).any(-1, keepdims=True), largest, 0), pixels)
        notes.append(f"{what}: masked")
    return Picture(
        path,
        np.ascontiguousarray(pixels, np.float32),
        linear.integer,
        _positive(linear.texts.get("peak")),
        invalid if count else None,
        tuple(notes),
        dict(linear.texts),
    )


def _positive(text: str | None) -> float | None:
    """A number above 0 that a header states and light can be multiplied by, else ``None``."""
    try:
        value = float(text) if text else 0.0
    except ValueError:
        return None
    return value if 0 < value <= HALF_MAX else None
