"""XMP packets (ISO 16684-1): simple properties by namespace and name, whatever way they are written."""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree import ElementTree

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
OWN = "urn:dcdr-deploy:1.0"
"""Namespace of what this tool says of a picture: model, weights, scale, dials."""

_DESCRIPTION, _ITEM = f"{{{RDF}}}Description", f"{{{RDF}}}li"
LONGEST = 2**22
"""Bytes; packets of real pictures have some kilobytes."""

_DEEPEST = 100
"""Elements in each other; what works on them calls itself for each."""


class BrokenPacketError(ValueError):
    """Bytes that are no XMP packet, or one that is not looked into."""


def parse(packet: bytes) -> ElementTree.Element:
    """Read a packet, whose names are ``{namespace}name``.

    Raises:
        BrokenPacketError: no well-formed XML, longer or deeper than any real one, or with entities of its own, which
            expand.
    """
    if len(packet) > LONGEST:
        raise BrokenPacketError(f"{len(packet):,} bytes of XMP")
    if b"<!DOCTYPE" in packet.replace(b"\0", b""):  # UTF-16 has zeros between the letters
        raise BrokenPacketError("XMP with a document type")
    try:
        root = ElementTree.fromstring(packet.strip(b"\0 \t\r\n"))
    except (ElementTree.ParseError, ValueError, LookupError) as error:  # LookupError: an encoding that is not known
        raise BrokenPacketError(f"no XMP: {error}") from error
    level = [root]
    for _ in range(_DEEPEST):
        level = [child for element in level for child in element]
        if not level:
            return root
    raise BrokenPacketError(f"XMP of more than {_DEEPEST} elements in each other")


def descriptions(root: ElementTree.Element) -> Iterator[ElementTree.Element]:
    """The elements that hold the properties."""
    return root.iter(_DESCRIPTION)


def values(root: ElementTree.Element, namespace: str, name: str) -> list[str]:
    """The texts of a property: one, or those of its list; empty where it is not there."""
    full = f"{{{namespace}}}{name}"
    for description in descriptions(root):
        if full in description.attrib:
            return [description.attrib[full]]
        element = description.find(full)
        if element is not None:
            listed = [item.text or "" for item in element.iter(_ITEM)]
            return listed or [element.text or ""]
    return []


def own_texts(packet: bytes | None) -> dict[str, str]:
    """What this tool has said of a picture, by lower-case names; nothing where the packet cannot be read."""
    try:
        root = parse(packet or b"")
    except BrokenPacketError:
        return {}
    begin = f"{{{OWN}}}"
    return {
        name.removeprefix(begin).lower(): value
        for description in descriptions(root)
        for name, value in description.attrib.items()
        if name.startswith(begin)
    }
