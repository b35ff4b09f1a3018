"""Application receipts: both versions, tolerant of what occurs, strict about what a receipt is for."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
from lxml import etree

from schemas import coded
from schemas.errors import DataRefused
from schemas.receipts import VERSIONS, Status, read_receipt
from transforms.shipping.envelope import HeadMessage, Party, head

MESSAGES = Path(__file__).parents[1] / "../shared/reference/messages"
shared = pytest.mark.skipif(not MESSAGES.is_dir(), reason="the examples (../shared/reference) are not at hand")
V10, V11 = VERSIONS
HCP = '<HCP><Inst><Name>x</Name><Id>1</Id><TypeId V="HER" DN="HER-id"/></Inst></HCP>'


def receipt(
    namespace: str = V10,
    *,
    status: str = '<Status V="1" DN="OK"/>',
    errors: str = "",
    original: str = "<Id>m-1</Id>",
    issued: str = "2020-05-04T08:00:00+02:00",
    kind: str = '<MsgType V="APPREC" DN="Kvittering"/>',
) -> bytes:
    return (
        f'<AppRec xmlns="{namespace}">{kind}<MIGversion>1.0 2004-11-21</MIGversion>'
        f"<GenDate>2020-05-04T09:30:00</GenDate><Id>a-1</Id><Sender>{HCP}</Sender><Receiver>{HCP}</Receiver>"
        f'{status}{errors}<OriginalMsgId><MsgType V="NPR_ORD" DN="NPR"/><IssueDate>{issued}</IssueDate>'
        f"{original}</OriginalMsgId></AppRec>"
    ).encode()


@pytest.mark.parametrize("encoding", ["UTF-6", "shift_jis", "utf-7", "hex", "x" * 99])
def test_an_encoding_that_is_not_known_is_refused(encoding: str) -> None:
    """Found by fuzzing: Python raised its own LookupError through expat."""
    with pytest.raises(DataRefused):
        read_receipt(f'<?xml version="1.0" encoding="{encoding}"?>'.encode() + receipt(), "a.xml")


@pytest.mark.parametrize(("namespace", "version"), VERSIONS.items())
def test_both_versions_are_read(namespace: str, version: str) -> None:
    found = read_receipt(receipt(namespace), "r.xml")
    assert (found.version, found.id, found.status, found.original_id) == (version, "a-1", Status.RECEIVED, "m-1")
    assert (found.original_type, found.errors, found.faults) == ("NPR_ORD", (), ())


@pytest.mark.parametrize(
    ("code", "status"),
    [("1", Status.RECEIVED), ("2", Status.REJECTED), ("3", Status.IN_PART), ("7", Status.UNKNOWN), (" 2 ", "rejected")],
)
def test_every_status_has_a_meaning_and_an_unknown_one_is_not_received(code: str, status: Status) -> None:
    found = read_receipt(receipt(status=f'<Status V="{code}" DN="x"/>'), "r.xml")
    assert (found.status, found.status_code) == (status, code.strip())


def test_errors_come_in_their_order_with_what_to_do() -> None:
    errors = (
        '<Error V="T02" S="2.16.578.1.12.4.1.1.8221" DN="XML validerer ikke" OT="del 1"/>'
        '<Error V="S02" DN="Ugyldig sertifikat"/><Error V="B720007F" DN="Avvist"/>'
    )
    found = read_receipt(receipt(status='<Status V="2" DN="Avvist"/>', errors=errors), "r.xml")
    assert [(e.code, e.resend) for e in found.errors] == [
        ("T02", "never"),
        ("S02", "after_fix"),
        ("B720007F", "person"),
    ]
    assert (found.errors[0].s, found.errors[0].note) == ("2.16.578.1.12.4.1.1.8221", "del 1")
    assert found.errors[0].means == "does not validate against its schema"
    assert found.errors[2].means == ""


def test_a_time_without_zone_is_norwegian_time() -> None:
    found = read_receipt(receipt(issued="2020-01-04T08:00:00"), "r.xml")
    assert found.generated == dt.datetime(2020, 5, 4, 7, 30, tzinfo=dt.UTC)
    assert found.original_issued == dt.datetime(2020, 1, 4, 7, tzinfo=dt.UTC)


def test_a_time_that_is_none_is_a_fault_and_no_refusal() -> None:
    found = read_receipt(receipt(issued="yesterday"), "r.xml")
    assert found.original_issued is None
    assert [(fault.element, fault.rule) for fault in found.faults] == [
        ("IssueDate", "SCHEMAV_CVC_DATATYPE_VALID_1_2_1")
    ]


@pytest.mark.parametrize(
    ("spoilt", "lacking"),
    [
        (receipt(status="<Status/>"), "Status/@V"),
        (receipt(status='<Status V=" " DN="OK"/>'), "Status/@V"),
        (receipt(status=""), "Status/@V"),
        (receipt(original=""), "OriginalMsgId/Id"),
        (receipt(original="<Id> </Id>", status=""), "Status/@V and OriginalMsgId/Id"),
    ],
)
def test_a_receipt_that_says_nothing_is_refused(spoilt: bytes, lacking: str) -> None:
    with pytest.raises(DataRefused) as refused:
        read_receipt(spoilt, "r.xml")
    assert refused.value.what == f"r.xml lacks {lacking}"


@pytest.mark.parametrize(
    "document",
    [b"<AppRec/>", b'<AppRec xmlns="urn:other"/>', f'<Status xmlns="{V10}" V="1"/>'.encode(), b"", b"<AppRec", b"\x00"],
)
def test_what_is_no_receipt_is_refused(document: bytes) -> None:
    with pytest.raises(DataRefused, match=r"r\.xml"):
        read_receipt(document, "r.xml")


def test_a_doctype_is_refused() -> None:
    with pytest.raises(DataRefused, match="DOCTYPE"):
        read_receipt(b"<!DOCTYPE AppRec>" + receipt(), "r.xml")


@pytest.mark.parametrize(
    ("kind", "rules"),
    [
        ("<MsgType/>", [("MsgType", "V"), ("MsgType", "DN")]),
        ('<MsgType V="APPREC"/>', [("MsgType", "DN")]),
        ('<MsgType V="" DN="x"/>', [("MsgType", "V")]),
    ],
)
def test_code_and_text_are_checked_though_the_schema_asks_for_neither(kind: str, rules: list[tuple[str, str]]) -> None:
    found = read_receipt(receipt(kind=kind), "r.xml")
    assert [(fault.element, fault.attribute) for fault in found.faults] == rules
    assert {fault.rule for fault in found.faults} <= {coded.NO_CODE, coded.NO_TEXT}


def test_faults_never_hold_a_value() -> None:
    found = read_receipt(receipt(issued="01010112345", errors='<Error S="01010112345"/>'), "r.xml")
    assert len(found.faults) >= 3
    assert "01010112345" not in repr(found.faults)


def test_our_own_head_has_code_and_text_everywhere() -> None:
    party = Party("Sykehus", "900001", Party("Avdeling", "900002"))
    message = HeadMessage("NPR_ORD", "NPR", "m-1", "2020-05-04T08:00:00+02:00", party, party)
    root = etree.fromstring(b"".join(head(message)))
    assert coded.coded_faults(root) == []
    names = [etree.QName(element).localname for element in root.iter(etree.Element)]
    assert sum(name in coded.coded_names(etree.QName(root).namespace or "") for name in names) == 6
    for element in root.iter("{*}Type", "{*}TypeId", "{*}MsgType"):
        text = element.attrib.pop("DN")
        assert [fault.rule for fault in coded.coded_faults(root)] == [coded.NO_TEXT]
        element.set("DN", text)


def test_no_name_is_coded_in_one_place_and_plain_in_another() -> None:
    """So the name of an element is enough to know whether it is a coded value."""
    for namespace, paths in coded.DECLARED.items():
        plain = set()
        for path in paths:
            for element in etree.parse(path).iter("{*}element"):
                if element.get("name") and element.get("type", "").rpartition(":")[2] not in ("CS", "CV"):
                    plain.add(element.get("name"))
        assert len(coded.coded_names(namespace)) > 8
        assert not coded.coded_names(namespace) & plain


def test_other_elements_are_not_coded() -> None:
    assert coded.missing("urn:other", "Type", {}) == ()
    assert coded.missing(V10, "Id", {}) == ()
    assert coded.missing(V10, "Type", {"V": "x"}) == ("DN",)


@shared
def test_an_official_example_is_read() -> None:
    found = read_receipt((MESSAGES / "npr_bkm/apprec-eksempel.xml").read_bytes().lstrip(), "apprec-eksempel.xml")
    assert (found.version, found.status, len(found.errors)) == ("1.0", Status.IN_PART, 5)
    assert found.original_id == "1b08b3f5-76c1-4560-ae4e-90e04cb0bc70"
    # The example gives codes without text in two places, as the schema lets it.
    assert [(fault.element, fault.rule) for fault in found.faults] == [
        ("MsgType", coded.NO_TEXT), ("TypeId", coded.NO_TEXT), ("MsgType", coded.NO_TEXT),
    ]  # fmt: skip


@shared
def test_a_fragment_without_the_message_it_answers_is_refused() -> None:
    with pytest.raises(DataRefused, match="OriginalMsgId/Id"):
        read_receipt((MESSAGES / "navikt_apprec_fragment.xml").read_bytes(), "fragment.xml")
