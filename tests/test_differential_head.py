"""Our MsgHead v1.2 and AppRec 1.0 and 1.1 against the official ones: the same verdict on thousands of documents."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Final

import pytest
import xmlschema
from differential import ALWAYS_WRONG, VALID, Disagreement, Maker, compare, known, unexplained
from lxml import etree

from schemas.xsd import HEAD, compile_schema, safe_errors

ROOT = Path(__file__).parents[1]
XSD = ROOT / "../shared/reference/xsd"
DOCUMENTS: Final = 1500
# Name -> official file, ours, root. Made from the official file, so that all it allows is tried.
PAIRS: Final = {
    "msghead": (XSD / "MsgHead-v1_2.xsd", HEAD, "MsgHead"),
    "apprec-1.0": (XSD / "apprec-v1.0.xsd", ROOT / "schemas/apprec/apprec-1.0.xsd", "AppRec"),
    "apprec-1.1": (XSD / "apprec-v1.1.xsd", ROOT / "schemas/apprec/apprec-1.1.xsd", "AppRec"),
}
SIGNATURE: Final = (
    '<ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><ds:SignedInfo>'
    '<ds:CanonicalizationMethod Algorithm="urn:c"/><ds:SignatureMethod Algorithm="urn:s"/><ds:Reference>'
    '<ds:DigestMethod Algorithm="urn:d"/><ds:DigestValue>QUJD</ds:DigestValue></ds:Reference></ds:SignedInfo>'
    "<ds:SignatureValue>QUJD</ds:SignatureValue></ds:Signature>"
)
EMPTY: Final = '<ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#"/>'

shared = pytest.mark.skipif(not XSD.is_dir(), reason="the official schemas (../shared/reference) are not at hand")


@shared
@pytest.mark.parametrize("name", PAIRS)
def test_same_verdict_on_every_document(name: str) -> None:
    outcome = compare(*PAIRS[name], DOCUMENTS)
    assert unexplained(name, outcome) == []
    assert outcome.judged.total() >= DOCUMENTS
    assert outcome.rejected[VALID] == 0
    # Both verdicts are common, or the comparison would show little.
    assert 0.4 < outcome.rejected.total() / outcome.judged.total() < 0.9
    for kind in ALWAYS_WRONG & set(outcome.judged):
        assert outcome.rejected[kind] == outcome.judged[kind], kind
    # Not all: the texts are chosen by xmlschema, whose idea of a type is not quite libxml2's.
    assert outcome.rejected["wrong_type"] > 0.95 * outcome.judged["wrong_type"]
    assert len(outcome.judged) >= 12


@shared
@pytest.mark.parametrize(("signature", "differs"), [("", False), (SIGNATURE, False), (EMPTY, True)])
def test_of_signatures_ours_takes_more_as_the_file_of_known_differences_says(signature: str, differs: bool) -> None:  # noqa: FBT001
    official, ours, root = PAIRS["msghead"]
    schema = xmlschema.XMLSchema10(str(official.resolve()), allow="local", defuse="always")
    document = Maker(schema, root, random.Random(1)).document()
    if signature:
        document.append(etree.fromstring(signature))
    judge = compile_schema(official)
    assert compile_schema(ours).validate(document)
    assert judge.validate(document) is not differs
    if differs:
        found = Disagreement("", "", ours_rejects=False, faults=tuple(safe_errors(judge.error_log)), document=b"")
        assert [entry.id for entry in known() if entry.explains("msghead", found)] == ["signature-content"]


def test_every_known_difference_is_one_of_these_and_says_why() -> None:
    """An entry that nothing brings about any more must go; new ones need a test that brings them about."""
    assert [entry.id for entry in known()] == ["signature-content"]
    assert all(len(entry.reason) > 80 for entry in known())
