"""Writing XMP packets (ISO 16684-1): ours, and those of a picture with ours put in."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from xml.dom import XMLNS_NAMESPACE, minidom
from xml.sax.saxutils import quoteattr

from dcdr_deploy.imaging import xmp
from dcdr_deploy.imaging.xmp import OWN, RDF, BrokenPacketError

_NOT_OF_NAMES = re.compile(r"^[^A-Za-z_]|[^A-Za-z0-9_.-]")
_NOT_OF_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters outside of production 2 of XML 1.0."""

_XMPMETA = "adobe:ns:meta/"
_BEGIN = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
_END = '<?xpacket end="w"?>'


def description(namespaces: Mapping[str, str], attributes: Mapping[str, str], inner: str = "") -> str:
    """Return one rdf:Description of plain properties.

    Args:
        namespaces: URIs by the prefixes used.
        attributes: values by qualified names.
        inner: XML of properties that are no plain text.
    """
    names = {f"xmlns:{prefix}": uri for prefix, uri in namespaces.items()} | dict(attributes)
    text = " ".join(f"{name}={quoteattr(value)}" for name, value in names.items())
    return f'<rdf:Description rdf:about="" {text}>{inner}</rdf:Description>'


def own_description(metadata: Mapping[str, str]) -> str:
    """Return what made a picture, by the names that a file's header has; empty where nothing is said.

    What XML has no place for becomes ``_`` in names and ``?`` in values.
    """
    stated = {f"dcdr:{_NOT_OF_NAMES.sub('_', key)}": _NOT_OF_XML.sub("?", value) for key, value in metadata.items()}
    return description({"dcdr": OWN}, stated) if stated else ""


def packet(*descriptions: str) -> bytes:
    """Return a packet of these descriptions."""
    return _wrapped(f'<x:xmpmeta xmlns:x="{_XMPMETA}">{_graph(descriptions)}</x:xmpmeta>')


def extended(existing: bytes, *descriptions: str, without: Collection[str] = ()) -> bytes:
    """Return a picture's packet with descriptions added; padding is left out.

    Args:
        existing: the packet.
        descriptions: from :func:`description`.
        without: namespaces whose properties the old descriptions lose.

    Raises:
        BrokenPacketError: the packet cannot be read.
    """
    xmp.parse(existing)  # refuses what expands
    try:
        root = _root(existing.strip(b"\0 \r\n\t"))
        graph = (
            root if (root.namespaceURI, root.localName) == (RDF, "RDF") else root.getElementsByTagNameNS(RDF, "RDF")[0]
        )
        added = _root(_graph(descriptions).encode())
    except IndexError as error:
        raise BrokenPacketError("XMP without descriptions") from error
    about = ""
    for old in [node for node in graph.childNodes if isinstance(node, minidom.Element)]:
        about = old.getAttributeNS(RDF, "about") or about
        if _removed(old, without) and _is_empty(old):
            graph.removeChild(old)
    for new in [node for node in added.childNodes if isinstance(node, minidom.Element)]:
        new.setAttributeNS(RDF, "rdf:about", about)  # all descriptions of a packet are of one thing (7.4)
        new.setAttribute("xmlns:rdf", RDF)
        graph.appendChild(new)
    return _wrapped(root.toxml())


def _root(xml: bytes) -> minidom.Element:
    root = minidom.parseString(xml).documentElement
    assert root is not None  # expat refuses documents without one
    return root


def _removed(element: minidom.Element, namespaces: Collection[str]) -> bool:
    """Remove properties of these namespaces; tell whether there were any."""
    attributes = [each for each in element.attributes.values() if each.namespaceURI in namespaces]
    children = [each for each in element.childNodes if each.namespaceURI in namespaces]
    for attribute in attributes:
        element.removeAttributeNode(attribute)
    for child in children:
        element.removeChild(child)
    return bool(attributes or children)


def _is_empty(element: minidom.Element) -> bool:
    stated = [each for each in element.attributes.values() if each.namespaceURI not in (XMLNS_NAMESPACE, RDF)]
    return not stated and not any(isinstance(child, minidom.Element) for child in element.childNodes)


def _graph(descriptions: Iterable[str]) -> str:
    return f'<rdf:RDF xmlns:rdf="{RDF}">{"".join(descriptions)}</rdf:RDF>'


def _wrapped(xml: str) -> bytes:
    return f"{_BEGIN}{xml}{_END}".encode()
