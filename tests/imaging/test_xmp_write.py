"""XMP packets that are written are read by the standard library's XML, and by this project's own reader."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcdr_deploy.imaging.xmp import OWN, RDF, BrokenPacketError, descriptions, parse, values
from dcdr_deploy.imaging.xmp_write import description, extended, own_description, packet

RATING = "http://ns.adobe.com/xap/1.0/"
OTHER = f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><{{p}}RDF xmlns{{d}}="{RDF}">{{body}}</{{p}}RDF></x:xmpmeta>'


@given(st.dictionaries(st.text(min_size=1, max_size=8), st.text(max_size=30), min_size=1, max_size=4))
def test_whatever_is_said_makes_a_packet_that_can_be_read(metadata):
    (found,) = descriptions(parse(packet(own_description(metadata))))
    assert len(found.attrib) >= 2  # about, and what is said


@given(st.text(st.characters(min_codepoint=32, exclude_categories=["Cs", "Cn"]), min_size=1))
def test_text_comes_back_as_it_was(text):
    assert values(parse(packet(own_description({"model": text}))), OWN, "model") == [text]


def test_names_and_characters_that_xml_has_no_place_for_are_replaced():
    root = parse(packet(own_description({"2 keys": "a\0b\ud800"})))
    assert values(root, OWN, "__keys") == ["a?b?"]


@pytest.mark.parametrize(("p", "d"), [("rdf:", ":rdf"), ("", ""), ("r:", ":r")])
def test_a_packet_keeps_its_properties_whatever_its_prefixes_are(p, d):
    body = f'<{p}Description {p or "q:"}about="" xmlns:q="{RDF}" xmlns:x="{RATING}" x:Rating="5"/>'
    old = OTHER.format(p=p, d=d, body=body).encode()
    root = parse(extended(old, own_description({"model": "m"})))
    assert values(root, RATING, "Rating") == ["5"]
    assert values(root, OWN, "model") == ["m"]


def test_properties_of_a_namespace_are_taken_out_as_attributes_and_as_elements():
    body = f'<rdf:Description rdf:about="" xmlns:x="{RATING}" x:Rating="5"><x:Label>red</x:Label></rdf:Description>'
    old = OTHER.format(p="rdf:", d=":rdf", body=body).encode()
    root = parse(extended(old, description({"x": RATING}, {"x:Rating": "3"}), without=[RATING]))
    assert values(root, RATING, "Rating") == ["3"]
    assert values(root, RATING, "Label") == []
    assert len(list(descriptions(root))) == 1  # the one that was left empty is gone


def test_a_bare_graph_is_a_packet_too():
    old = f'<rdf:RDF xmlns:rdf="{RDF}"/>'.encode()
    assert values(parse(extended(old, own_description({"model": "m"}))), OWN, "model") == ["m"]


@pytest.mark.parametrize("old", [
    b"", b"no xml", b"<x/>", b'<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>', b"<x>never closed",
])  # fmt: skip
def test_what_cannot_be_read_is_refused(old):
    with pytest.raises(BrokenPacketError):
        extended(old, own_description({"model": "m"}))


def test_a_document_type_is_seen_in_utf_16_too():
    old = '\ufeff<?xml version="1.0" encoding="UTF-16"?><!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>'
    with pytest.raises(BrokenPacketError, match="document type"):
        parse(old.encode("utf-16-be"))


def test_elements_deep_in_each_other_are_refused_where_they_are_read():
    with pytest.raises(BrokenPacketError, match="in each other"):
        extended(f'<rdf:RDF xmlns:rdf="{RDF}">{"<x>" * 3000}{"</x>" * 3000}</rdf:RDF>'.encode())
