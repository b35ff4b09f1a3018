"""Every form a receiver may ask for: valid by the head schema, opened again by our reader, split to the byte."""

from __future__ import annotations

import base64
import gzip
import itertools
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree
from test_envelope import MESSAGE, REFERENCE, needs_reference
from test_packing import HOLDER, PACKING

from pipelines.settings import load_settings
from schemas.errors import DataRefused, WrongUse
from schemas.receivers import ContentForm, DocumentForm, Form, domain_of, receiver
from transforms.shipping.addressing import insist_agreement
from transforms.shipping.envelope import Coded, content_pieces, content_size, head, read_melding
from transforms.shipping.packing import mail_pieces, pack, packed_size_of_payload, unpack, verify_mail
from transforms.shipping.split import Around, Bound, Limits, PatientTooLarge, plan_parts, plan_parts_gzip

FORMS = list(itertools.product(("Document", "PatientReport"), ("inline", "base64"), (False, True)))
PATIENTS = [b'<Objektholder pasientNr="%d"><Episode navn="\xc3\xa6&amp;"/></Objektholder>' % n for n in range(50)]
MELDING = [b'<Melding xmlns="urn:x">', *PATIENTS, b"</Melding>"]


def _dressed(form: DocumentForm, content: ContentForm, melding: list[bytes]) -> bytes:
    message = replace(MESSAGE, document_form=form, case_no="1", content=content, ack=Coded("J", "Ja"))
    before, after = head(message)
    return before + b"".join(content_pieces(melding, content)) + after


@pytest.mark.parametrize(("form", "content", "compress"), FORMS)
def test_what_goes_in_comes_out(form: DocumentForm, content: ContentForm, compress: bool) -> None:  # noqa: FBT001
    document = _dressed(form, content, MELDING)
    mail = pack(document, replace(PACKING, gzip=compress))
    verify_mail(mail)
    opened = unpack(mail, [HOLDER])
    assert opened == document
    assert read_melding(opened) == etree.tostring(etree.fromstring(b"".join(MELDING)), method="c14n", exclusive=True)
    path = ["MsgHead", *(["PatientReport"] if form == "PatientReport" else []), "Document", "RefDoc", "Content"]
    content_element = next(e for e in etree.fromstring(document).iter("{*}Content"))
    assert [
        etree.QName(e).localname for e in [*reversed(list(content_element.iterancestors())), content_element]
    ] == path
    if content == "base64":
        inside = base64.b64decode(content_element[0].text or "")
        assert inside == b'<?xml version="1.0" encoding="UTF-8"?>\n' + b"".join(MELDING)


def _official() -> etree.XMLSchema:
    """MsgHead with the Base64Container and one real module, as published."""
    xsd = REFERENCE / "xsd"
    imports = {
        "http://www.kith.no/xmlstds/msghead/2006-05-24": xsd / "MsgHead-v1_2.xsd",
        "http://www.npr.no/xmlstds/58_0_1_kpp": xsd / "npr-kpp" / "58.0.1" / "NPR(kpp).xsd",
    }
    lines = "".join(f'<xs:import namespace="{ns}" schemaLocation="{path.as_uri()}"/>' for ns, path in imports.items())
    driver = f'<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema">{lines}</xs:schema>'
    return etree.XMLSchema(etree.fromstring(driver, etree.XMLParser(no_network=True)))


@needs_reference
@pytest.mark.parametrize(("form", "content"), sorted({form[:2] for form in FORMS}))
def test_every_form_is_valid_by_the_official_schema(form: DocumentForm, content: ContentForm) -> None:
    body = (REFERENCE / "messages" / "npr_kpp" / "TestMelding.expected.xml").read_bytes()
    melding = [etree.tostring(etree.fromstring(body))]
    schema = _official()
    document = _dressed(form, content, melding)
    schema.assertValid(etree.fromstring(document))
    assert read_melding(document) == etree.tostring(etree.fromstring(body), method="c14n", exclusive=True)
    assert not schema.validate(etree.fromstring(document.replace(b"<RefDoc>", b"<RefDoc><Id/>")))


@pytest.mark.parametrize(
    "document",
    [
        b"<MsgHead>",
        b"<MsgHead/>",
        _dressed("Document", "base64", [b"<a>"]),
        _dressed("Document", "inline", [b"<a/><b/>"]),
    ],
    ids=["not closed", "empty", "broken inside", "two"],
)
def test_documents_that_hold_no_melding(document: bytes) -> None:
    with pytest.raises(DataRefused):
        read_melding(document)


@settings(deadline=None, max_examples=60)
@given(sizes=st.lists(st.integers(0, 40), max_size=12))
def test_the_size_of_a_container_is_exact(sizes: list[int]) -> None:
    pieces = [bytes(size) for size in sizes]
    text = b"".join(content_pieces(pieces, "base64"))
    assert len(text) == content_size(sum(sizes), "base64")
    assert base64.b64decode(text, validate=True).endswith(b"".join(pieces))
    assert content_size(sum(sizes), "inline") == sum(sizes)


# --- the finished mail at the limit -----------------------------------------------------------------------------------


def _plan(content: ContentForm, compress: bool, limit: int) -> Iterator[tuple[int, bytes]]:  # noqa: FBT001
    """Patients and finished mail of each part."""
    before, after = head(replace(MESSAGE, content=content))
    around = Around(MELDING[0], MELDING[-1], before, after, content)
    packing = replace(PACKING, gzip=compress)
    ends = np.cumsum([len(one) for one in PATIENTS])
    shell = len(around.prefix) + len(around.suffix)

    def melding(first: int, last: int) -> list[bytes]:
        return [around.prefix, *PATIENTS[first:last], around.suffix]

    def size_of(length: int) -> int:
        whole = len(before) + content_size(length, content) + len(after)
        return packed_size_of_payload(whole, packing)

    if compress:
        made = plan_parts_gzip(
            lambda first, last: b"".join(PATIENTS[first:last]),
            ends,
            lambda _number: around,
            Limits(Bound("mail", lambda size: packed_size_of_payload(size, packing), limit)),
        )
        for part, payload in made:
            mail = b"".join(mail_pieces([payload], len(payload), packing))
            assert len(mail) == part.packed_bytes
            assert gzip.decompress(payload).startswith(before)
            yield part.last_exclusive - part.first, mail
        return
    for part in plan_parts(ends, shell, Limits(Bound("mail", size_of, limit))):
        pieces = [before, *content_pieces(melding(part.first, part.last_exclusive), content), after]
        length = around.document_bytes(sum(map(len, PATIENTS[part.first : part.last_exclusive])))
        mail = b"".join(mail_pieces(pieces, length, packing))
        assert len(mail) == part.packed_bytes
        yield part.last_exclusive - part.first, mail


@pytest.mark.parametrize(("content", "compress"), sorted({form[1:] for form in FORMS}))
def test_at_the_limit_and_one_byte_around_it_on_the_signed_mail(
    content: ContentForm,
    compress: bool,  # noqa: FBT001
) -> None:
    ((patients, mail),) = _plan(content, compress, 10_000_000)
    assert patients == len(PATIENTS)
    size = len(mail)
    for limit, parts in ((size + 1, 1), (size, 1), (size - 1, 2)):
        made = list(_plan(content, compress, limit))
        assert len(made) == parts
        assert sum(patients for patients, _ in made) == len(PATIENTS)
        assert all(len(mail) <= limit for _, mail in made)
        for _, mail in made:
            verify_mail(mail)
    with pytest.raises((PatientTooLarge, WrongUse)):
        list(_plan(content, compress, 9_000))


# --- the profile file -------------------------------------------------------------------------------------------------


def test_every_field_of_the_form_says_who_says_so() -> None:
    for profile in ("rehearsal", "validation", "production"):
        form = receiver(profile, date(2026, 1, 1)).form
        for name in Form.model_fields:
            field = getattr(form, name)
            assert field.certainty in "ABC"
            assert len(field.source) > 10
        assert form.certainty == "C"


def test_what_npr_confirms_goes_into_npr_toml(tmp_path: Path) -> None:
    text = (ROOT / "npr.toml").read_text(encoding="utf-8")
    told = 'reference = "NPR, e-mail 2026-02-03"\ndocument = "PatientReport"\nack = { v = "J", dn = "Ja" }\n'
    (tmp_path / "npr.toml").write_text(f"{text}\n[shipping.form]\n{told}", encoding="utf-8")
    agreed = load_settings(config=tmp_path / "npr.toml").config.shipping.form
    assert agreed is not None
    before = receiver("production", date(2026, 1, 1)).form
    form = before.agreed(agreed.model_dump(exclude={"reference"}, exclude_none=True), agreed.reference)
    assert (form.document.value, form.document.certainty) == ("PatientReport", "A")
    assert form.document.source == "NPR, e-mail 2026-02-03"
    assert form.ack.value.v == "J"
    assert form.content == before.content
    assert form.values() == before.values() | {"document": "PatientReport", "ack": {"v": "J", "dn": "Ja"}}


# --- who may be addressed by whom -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("profile", "her_id", "environment", "mails", "reason"),
    [
        ("production", "94378", "production", ["npr@edi.nhn.no", "us@edi.nhn.no"], None),
        ("production", "94378", "production", ["us@hospital.example"], None),
        ("validation", "121017", "production", ["nprvalidering@edi.nhn.no"], None),
        ("rehearsal", "0", "test", ["rehearsal@rehearsal.invalid"], None),
        ("rehearsal", "0", "production", [], None),
        ("production", "121017", "production", [], "121017 is the receiver of profile validation"),
        ("validation", "94378", "production", [], "94378 is the receiver of profile production"),
        ("rehearsal", "94378", "test", [], "94378 is the receiver of profile production"),
        ("production", "0", "production", [], "0 is the receiver of profile rehearsal"),
        ("production", "8093", "production", [], "8093 is no receiver of this report"),
        ("production", "94378", "test", [], "the data come from a test environment"),
        ("validation", "121017", "test", [], "the data come from a test environment"),
        ("production", "94378", "production", ["us@testedi.nhn.no"], "testedi.nhn.no is of the test side"),
        ("production", "94378", "production", ["npr@edi.nhn.no", "us@SAMSVAR.nhn.no"], "of the test side"),
        ("validation", "121017", "production", ["us@sender.invalid"], "sender.invalid is of no network"),
        ("rehearsal", "0", "test", ["npr@edi.nhn.no"], "edi.nhn.no is of the production side"),
        ("rehearsal", "0", "test", ["us@hospital.example"], "of another network"),
    ],
)
def test_profile_receiver_data_and_addresses_agree(
    profile: str, her_id: str, environment: str, mails: list[str], reason: str | None
) -> None:
    if reason is None:
        insist_agreement(profile, her_id, environment, mails)
        return
    with pytest.raises(WrongUse, match=reason) as caught:
        insist_agreement(profile, her_id, environment, mails)
    assert caught.value.exit_code == 2
    assert "us@" not in str(caught.value)


@pytest.mark.parametrize(
    ("mail", "environment"),
    [
        ("a@edi.nhn.no", "production"),
        ("a@sub.edi.nhn.no", "production"),
        ("a@testedi.nhn.no", "test"),
        ("a@samsvar.nhn.no", "test"),
        ("a@x.invalid", "nowhere"),
        ("a@edi.nhn.no.evil.example", None),
        ("a@myedi.nhn.no", None),
        ("edi.nhn.no@hospital.example", None),
    ],
)
def test_domains(mail: str, environment: str | None) -> None:
    found = domain_of(mail)
    assert (found.environment if found else None) == environment
