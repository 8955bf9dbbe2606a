"""What of a picture's XMP is true of another picture made of it (XMP Specification, parts 1 and 2; Exif in XMP)."""

from __future__ import annotations

from xml.dom import minidom

from dcdr_deploy.imaging import xmp
from dcdr_deploy.imaging.gain_map import HDRGM

_TIFF, _EXIF = "http://ns.adobe.com/tiff/1.0/", "http://ns.adobe.com/exif/1.0/"
_PHOTOSHOP, _XMP = "http://ns.adobe.com/photoshop/1.0/", "http://ns.adobe.com/xap/1.0/"

_FOREIGN = frozenset(
    {
        HDRGM,
        "http://ns.apple.com/HDRGainMap/1.0/",
        "http://ns.google.com/photos/1.0/container/",
        "http://ns.google.com/photos/1.0/container/item/",
        "http://ns.google.com/photos/1.0/camera/",
        "http://ns.adobe.com/xmp/note/",
        "http://ns.adobe.com/camera-raw-settings/1.0/",
    }
)
"""Namespaces that speak of what lies beside the old picture in its file, or of how it was developed."""

_SAMPLES_OF_TIFF = (
    "ImageWidth ImageLength BitsPerSample Compression PhotometricInterpretation SamplesPerPixel PlanarConfiguration "
    "TransferFunction WhitePoint PrimaryChromaticities ReferenceBlackWhite YCbCrSubSampling NativeDigest"
)
_SAMPLES_OF_EXIF = "ColorSpace PixelXDimension PixelYDimension Gamma MakerNote NativeDigest CompressedBitsPerPixel"
_OF_THE_SAMPLES = frozenset(
    {(_TIFF, name) for name in _SAMPLES_OF_TIFF.split()}
    | {(_EXIF, name) for name in _SAMPLES_OF_EXIF.split()}
    | {(_PHOTOSHOP, "ICCProfile"), (_PHOTOSHOP, "ColorMode"), (_XMP, "Thumbnails")}
)


def carried(packet: bytes) -> bytes | None:
    """Return a packet without what is no longer true, its orientation upright; ``None`` where nothing is left.

    Raises:
        BrokenPacketError: it cannot be read.
    """
    xmp.parse(packet)  # refuses what expands
    root = minidom.parseString(packet.strip(b"\0 \t\r\n")).documentElement
    if root is None:
        return None
    left = 0
    for description in root.getElementsByTagNameNS(xmp.RDF, "Description"):
        left += _cleaned(description)
    return root.toxml().encode() if left else None


def _cleaned(description: minidom.Element) -> int:
    """Take out what does not hold; return how many properties are left."""
    left = 0
    for attribute in list(description.attributes.values()):
        name = attribute.namespaceURI or "", attribute.localName or ""
        if _is_gone(name):
            description.removeAttributeNode(attribute)
        elif name == (_TIFF, "Orientation"):
            attribute.value = "1"
        elif name[0] not in (xmp.RDF, "http://www.w3.org/2000/xmlns/", ""):
            left += 1
    for child in [each for each in description.childNodes if isinstance(each, minidom.Element)]:
        name = child.namespaceURI or "", child.localName or ""
        if _is_gone(name):
            description.removeChild(child)
        elif name == (_TIFF, "Orientation"):
            for text in list(child.childNodes):
                child.removeChild(text)
            child.appendChild(minidom.Document().createTextNode("1"))
        else:
            left += 1
    return left


def _is_gone(name: tuple[str, str]) -> bool:
    return name[0] in _FOREIGN or name in _OF_THE_SAMPLES
