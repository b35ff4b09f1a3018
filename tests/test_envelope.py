"""The head message against the official schema, and what that schema does not check."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from schemas.errors import WrongUse
from schemas.receivers import default_limit, nhn_ceiling, receiver
from transforms.shipping.envelope import HER_OID, NAMESPACE, Coded, HeadMessage, Party, head

REFERENCE = Path(__file__).parents[2] / "shared" / "reference"
needs_reference = pytest.mark.skipif(not REFERENCE.is_dir(), reason="official schemas are not beside this repository")
NS = {"m": NAMESPACE}

MESSAGE = HeadMessage(
    type_v="NPR_ORD",
    type_dn="NPR-melding, ordinær <aktivitet>",
    msg_id="2b0f7ab0-5a83-4d0e-9f9f-0d6f0b7c2c11",
    gen_date="2020-10-05T08:00:00+02:00",
    sender=Party('Sykehuset "Æ & Ø" HF', "1000", Party("Somatikk", "1001")),
    receiver=Party("REHEARSAL", "0", Party("REHEARSAL", "0")),
)


def _whole(message: HeadMessage, body: bytes = b"<Melding xmlns='urn:x'/>") -> bytes:
    prefix, suffix = head(message)
    return prefix + body + suffix


def _official_schema() -> etree.XMLSchema:
    def location(path: str) -> str:
        return (REFERENCE / "xsd" / path).as_uri()

    driver = (
        '<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema">'
        f'<xs:import namespace="{NAMESPACE}" schemaLocation="{location("MsgHead-v1_2.xsd")}"/>'
        '<xs:import namespace="http://www.npr.no/xmlstds/58_0_1_kpp"'
        f' schemaLocation="{location("npr-kpp/58.0.1/NPR(kpp).xsd")}"/></xs:schema>'
    )
    return etree.XMLSchema(etree.fromstring(driver, etree.XMLParser(no_network=True)))


def _official_body() -> bytes:
    text = (REFERENCE / "messages" / "npr_kpp" / "TestMelding.expected.xml").read_bytes()
    return re.sub(rb"^(\xef\xbb\xbf)?<\?xml[^>]*\?>\s*", b"", text)


@needs_reference
@pytest.mark.parametrize(
    "message",
    [
        MESSAGE,
        replace(MESSAGE, document_form="PatientReport", case_no="1"),
        replace(MESSAGE, processing_status=Coded("P", "Produksjon"), ack=Coded("J", "Ja")),
        replace(MESSAGE, sender=Party("Sykehus", "1000")),
    ],
)
def test_valid_by_the_official_schemas_with_a_real_melding_inside(message: HeadMessage) -> None:
    schema = _official_schema()
    schema.assertValid(etree.fromstring(_whole(message, _official_body())))


@needs_reference
def test_the_schema_used_above_does_look_into_content() -> None:
    schema = _official_schema()
    assert not schema.validate(etree.fromstring(_whole(MESSAGE, b'<Melding xmlns="http://www.npr.no/nothing"/>')))
    assert not schema.validate(
        etree.fromstring(_whole(MESSAGE).replace(b"<MsgId>", b"<MsgNr>").replace(b"</MsgId>", b"</MsgNr>"))
    )


def test_what_is_said_is_what_is_read_back() -> None:
    root = etree.fromstring(_whole(MESSAGE))
    kind = root.find("m:MsgInfo/m:Type", NS)
    assert kind is not None
    assert sorted(kind.items()) == [("DN", MESSAGE.type_dn), ("V", MESSAGE.type_v)]
    names = [element.text for element in root.iterfind("m:MsgInfo/m:Sender//m:OrganisationName", NS)]
    assert names == ['Sykehuset "Æ & Ø" HF', "Somatikk"]
    types = [dict(element.items()) for element in root.iterfind(".//m:Ident/m:TypeId", NS)]
    assert types == [{"V": "HER", "S": HER_OID, "DN": "HER-id"}] * 4
    ref_type = root.find("m:Document/m:RefDoc/m:MsgType", NS)
    assert ref_type is not None
    assert sorted(ref_type.items()) == [("DN", "XML-instans"), ("V", "XML")]
    assert root.findtext("m:Document/m:RefDoc/m:MimeType", namespaces=NS) == "text/xml"
    content = root.find("m:Document/m:RefDoc/m:Content", NS)
    assert content is not None
    assert [child.tag for child in content] == ["{urn:x}Melding"]
    assert root.getroottree().docinfo.encoding == "UTF-8"


@settings(deadline=None)
@given(
    st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1).filter(lambda t: bool(t.strip()))
)
def test_every_name_survives_escaping(name: str) -> None:
    message = replace(MESSAGE, type_dn=name, sender=Party(name, "1"))
    try:
        root = etree.fromstring(_whole(message))
    except WrongUse:
        assert re.search("[\ufffe\uffff]", name)  # the only ones left that XML 1.0 cannot carry
        return
    assert root.findtext("m:MsgInfo/m:Sender/m:Organisation/m:OrganisationName", namespaces=NS) == name
    assert root.find("m:MsgInfo/m:Type", NS).get("DN") == name  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"type_v": ""}, "Type/@V"),
        ({"type_dn": " "}, "Type/@DN"),
        ({"type_v": " NPR_ORD"}, "Type/@V"),
        ({"type_v": "NPR\x0bORD"}, "Type/@V"),
        ({"ack": Coded("J", "")}, "Ack/@DN"),
        ({"processing_status": Coded("", "Produksjon")}, "ProcessingStatus/@V"),
        ({"ref_type": Coded("XML", "")}, "MsgType/@DN"),
        ({"msg_id": ""}, "MsgInfo/MsgId"),
        ({"gen_date": "2020-10-05T08:00:00"}, "MsgInfo/GenDate"),
        ({"gen_date": "2020-10-05"}, "MsgInfo/GenDate"),
        ({"document_form": "PatientReport"}, "PatientReport/CaseNo"),
        ({"sender": Party("", "1")}, "Sender/OrganisationName"),
        ({"sender": Party("A", "ENH")}, "Sender"),
        ({"receiver": Party("A", "1", Party("B", ""))}, "Receiver/Organisation"),
        ({"sender": Party("A", "1", Party("B", "2", Party("C", "3")))}, "Sender"),
        ({"sender": Party("A\x00", "1")}, "Sender/OrganisationName"),
    ],
)
def test_what_the_schema_lets_through_is_refused_here(change: dict[str, object], where: str) -> None:
    with pytest.raises(WrongUse) as caught:
        head(replace(MESSAGE, **change))  # type: ignore[arg-type]
    assert caught.value.where == where


@pytest.mark.parametrize(
    ("profile", "on", "path"),
    [
        ("production", date(2023, 12, 31), ("2397", "94378")),
        ("production", date(2024, 1, 1), ("85217", "94378")),
        ("validation", date(2021, 11, 17), ("2397", "121017")),
        ("validation", date(2026, 1, 1), ("85217", "121017")),
        ("rehearsal", date(2020, 1, 1), ("0", "0")),
    ],
)
def test_receiver_by_profile_and_day(profile: str, on: date, path: tuple[str, str]) -> None:
    found = receiver(profile, on)
    assert (found.her_id, found.unit_her_id) == path
    assert found.source
    assert found.form.certainty == "C"


def test_unknown_profile_is_refused_with_the_known_ones() -> None:
    with pytest.raises(WrongUse, match="no receiver for profile 'prod'") as caught:
        receiver("prod", date(2024, 1, 1))
    assert "production, rehearsal, validation" in caught.value.fix


def test_routing_words() -> None:
    routing = receiver("rehearsal", date(2020, 1, 1)).form.routing("NPR_ORD", "1001", "0")
    assert routing.model_dump() == {
        "service": "S-NPR_ORD",
        "action": "NPR_ORD",
        "from_role": "NPR_ORDsender",
        "to_role": "NPR_ORDreceiver",
        "cpa_id": "1001_0",
    }


@pytest.mark.parametrize(
    ("year", "size", "certainty"),
    [(2018, 10_000_000, "C"), (2020, 10_000_000, "A"), (2021, 50_000_000, "A"), (2026, 50_000_000, "A")],
)
def test_limit_by_data_year(year: int, size: int, certainty: str) -> None:
    limit = default_limit(year)
    assert (limit.bytes, limit.certainty) == (size, certainty)
    assert limit.bytes <= nhn_ceiling().bytes == 51_200_000
