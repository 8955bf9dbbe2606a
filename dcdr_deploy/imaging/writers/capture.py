"""Date, place and camera of a picture as headers of text or of typed attributes have them: OpenEXR and Radiance."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from dcdr_deploy.imaging import exif_block as e
from dcdr_deploy.imaging.exif_block import Entry, Exif

_DATE = re.compile(r"(\d{4}):(\d\d):(\d\d) (\d\d):(\d\d):(\d\d)")
_OFFSET = re.compile(r"([+-])(\d\d):(\d\d)")

_TEXTS_OF_PICTURE = {"cameraMake": e.MAKE, "cameraModel": e.MODEL, "comments": e.IMAGE_DESCRIPTION}
_TEXTS_OF_CAMERA = {
    "cameraSerialNumber": e.BODY_SERIAL,
    "lensMake": e.LENS_MAKE,
    "lensModel": e.LENS_MODEL,
    "lensSerialNumber": e.LENS_SERIAL,
}
_NUMBERS = {
    "expTime": e.EXPOSURE_TIME,
    "aperture": e.F_NUMBER,
    "isoSpeed": e.SENSITIVITY,
    "focus": e.SUBJECT_DISTANCE,
    "nominalFocalLength": e.FOCAL_LENGTH,
}


def exr_attributes(exif: Exif) -> dict[str, Any]:
    """Return OpenEXR's standard attributes (ImfStandardAttributes.h) for what Exif says.

    ``capDate`` (local time), ``utcOffset`` (seconds that make it UTC), ``owner``, ``comments``, ``longitude`` and
    ``latitude`` (degrees, east and north positive), ``altitude`` (m), ``expTime`` (s), ``aperture`` (f-number),
    ``isoSpeed``, ``focus`` (m), ``nominalFocalLength`` (mm), and makes, models and serial numbers of camera and lens.
    """
    found: dict[str, Any] = {}
    found |= _texts(exif.picture, _TEXTS_OF_PICTURE) | _texts(exif.camera, _TEXTS_OF_CAMERA)
    owner = _text(exif.picture, e.COPYRIGHT) or _text(exif.picture, e.ARTIST)
    found |= {"owner": owner} if owner else {}
    date = captured(exif)
    found |= {"capDate": date} if date else {}
    offset = _OFFSET.fullmatch(_text(exif.camera, e.ORIGINAL_OFFSET))
    if date and offset:
        seconds = (int(offset[2]) * 60 + int(offset[3])) * 60.0
        found["utcOffset"] = -seconds if offset[1] == "+" else seconds
    for name, tag in _NUMBERS.items():
        numbers = _numbers(exif.camera, tag)
        if numbers and 0 < numbers[0] < 1e9:  # infinity is written as a fraction of zero or as 2^32 - 1
            found[name] = float(numbers[0])
    place = position(exif)
    if place is not None:
        found["latitude"], found["longitude"] = place
    altitude = _numbers(exif.place, e.ALTITUDE)
    if altitude:
        below = _numbers(exif.place, e.ALTITUDE_REF)[:1] == (1,)
        found["altitude"] = float(-altitude[0] if below else altitude[0])
    return found


def radiance_lines(exif: Exif) -> dict[str, str]:
    """Return what Radiance's headers have for what Exif says: ``CAPDATE``, and ``LATLONG`` in degrees."""
    found = {}
    date = captured(exif)
    if date:
        found["CAPDATE"] = date
    place = position(exif)
    if place is not None:
        found["LATLONG"] = f"{place[0]:.6f} {place[1]:.6f}"
    return found


def captured(exif: Exif) -> str:
    """Return when a picture was taken, local time as ``YYYY:MM:DD hh:mm:ss``; empty where that is not known."""
    for directory, tag in ((exif.camera, e.ORIGINAL_DATE), (exif.picture, e.DATE_TIME)):
        text = _text(directory, tag)
        if _DATE.fullmatch(text) and not text.startswith("0000"):
            return text
    return ""


def position(exif: Exif) -> tuple[float, float] | None:
    """Return latitude and longitude in degrees, north and east positive; ``None`` where they are not known."""
    found = []
    for reference, tag, negative, most in (
        (e.LATITUDE_REF, e.LATITUDE, "S", 90.0),
        (e.LONGITUDE_REF, e.LONGITUDE, "W", 180.0),
    ):
        numbers = _numbers(exif.place, tag)
        if len(numbers) != 3:
            return None
        degrees = numbers[0] + numbers[1] / 60 + numbers[2] / 3600
        if not 0 <= degrees <= most:
            return None
        found.append(-degrees if _text(exif.place, reference).upper().startswith(negative) else degrees)
    return found[0], found[1]


def _texts(directory: Mapping[int, Entry], names: Mapping[str, int]) -> dict[str, str]:
    return {name: text for name, tag in names.items() if (text := _text(directory, tag))}


def _text(directory: Mapping[int, Entry], tag: int) -> str:
    """A text in one line of what can be printed; empty without."""
    entry = directory.get(tag)
    if entry is None or entry.kind not in (e.ASCII, 129):
        return ""
    return "".join(each if each.isprintable() else " " for each in entry.text()).strip()


def _numbers(directory: Mapping[int, Entry], tag: int) -> tuple[float, ...]:
    entry = directory.get(tag)
    return entry.numbers() if entry is not None else ()
