"""What of a picture's XMP is true of another picture made of it (XMP Specification, parts 1 and 2; Exif in XMP)."""

from __future__ import annotations

from collections.abc import Mapping
from xml.dom import XMLNS_NAMESPACE, minidom

from dcdr_deploy.imaging import xmp, xmp_write
from dcdr_deploy.imaging.gain_map import HDRGM

_PADDING = b"\0 \t\r\n"
_TIFF, _EXIF = "http://ns.adobe.com/tiff/1.0/", "http://ns.adobe.com/exif/1.0/"
_NOTE = "http://ns.adobe.com/xmp/note/"
_PHOTOSHOP, _XMP = "http://ns.adobe.com/photoshop/1.0/", "http://ns.adobe.com/xap/1.0/"

_FOREIGN = frozenset(
    {
        HDRGM,
        "http://ns.apple.com/HDRGainMap/1.0/",
        "http://ns.google.com/photos/1.0/container/",
        "http://ns.google.com/photos/1.0/container/item/",
        "http://ns.google.com/photos/1.0/camera/",
        "http://ns.google.com/photos/1.0/audio/",
        "http://ns.google.com/photos/1.0/depthmap/",
        "http://ns.google.com/photos/1.0/image/",
        _NOTE,
        "http://ns.adobe.com/camera-raw-settings/1.0/",
    }
)
"""Namespaces that speak of what lies beside the old picture in its file, hold it, or tell how it was developed."""

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


def whole(packet: bytes, extensions: Mapping[str, bytes]) -> tuple[bytes, str]:
    """Return a packet with the properties of the extension that it names (XMP part 3, 1.1.3.1), if it names one.

    Args:
        packet: the XMP that stands for all of a picture's.
        extensions: what is there of others, by name.

    Returns:
        The packet, and why it lacks its extension; empty where it does not.

    Raises:
        BrokenPacketError: the packet cannot be read.
    """
    names = xmp.values(xmp.parse(packet), _NOTE, "HasExtendedXMP")
    if not names:
        return packet, ""
    extension = extensions.get(names[0])
    if extension is None:
        return packet, "it is not whole"
    try:
        xmp.parse(extension)  # refuses what expands
        root = minidom.parseString(extension.strip(_PADDING)).documentElement
        assert root is not None  # expat refuses documents without one
        graphs = root.getElementsByTagNameNS(xmp.RDF, "RDF") or [root]
        added = [each for each in graphs[0].childNodes if isinstance(each, minidom.Element)]
        joined = xmp_write.extended(packet, *map(_on_its_own, added))
    except xmp.BrokenPacketError as reason:
        return packet, str(reason)
    return (joined, "") if len(joined) <= xmp.LONGEST else (packet, f"{len(joined):,} bytes of XMP")


def _on_its_own(element: minidom.Element) -> str:
    """The text of an element with the names of namespaces that are declared around it."""
    above = element.parentNode
    while isinstance(above, minidom.Element):
        for each in above.attributes.values():
            if each.namespaceURI == XMLNS_NAMESPACE and not element.hasAttribute(each.name):
                element.setAttributeNS(XMLNS_NAMESPACE, each.name, each.value)
        above = above.parentNode
    return element.toxml()


def carried(packet: bytes) -> bytes | None:
    """Return a packet without what is no longer true, its orientation upright; ``None`` where nothing is left.

    Raises:
        BrokenPacketError: it cannot be read.
    """
    xmp.parse(packet)  # refuses what expands
    root = minidom.parseString(packet.strip(_PADDING)).documentElement
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
