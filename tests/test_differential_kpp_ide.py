"""Our kpp and ide against the official ones: the same verdict on thousands of documents of every public version."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

import pytest
from differential import ALWAYS_WRONG, VALID, compare, unexplained

ROOT = Path(__file__).parents[1]
XSD = ROOT / "../shared/reference/xsd"
OURS = ROOT / "schemas/npr"
DOCUMENTS: Final = 1500
OFFICIAL: Final = {
    ("kpp", "53.1.3"): XSD / "npr-kpp/53.1.3/XPR(kpp).xsd",
    ("kpp", "54.0.1"): XSD / "npr-kpp/54.0.1/NPR(kpp).xsd",
    ("kpp", "55.0.1"): XSD / "npr-kpp/55.0.1/NPR(kpp).xsd",
    ("kpp", "56.0.1"): XSD / "npr-kpp/56.0.1/NPR(kpp).xsd",
    ("kpp", "57.0.1"): XSD / "npr-kpp/57.0.1/NPR(kpp).xsd",
    ("kpp", "58.0.1"): XSD / "npr-kpp/58.0.1/NPR(kpp).xsd",
    ("ide", "53.1.2"): XSD / "xpr-ide-53.1.2/XPR(ide).xsd",
}

shared = pytest.mark.skipif(not XSD.is_dir(), reason="the official schemas (../shared/reference) are not at hand")


@shared
@pytest.mark.parametrize("which", OFFICIAL, ids="-".join)
def test_same_verdict_on_every_document(which: tuple[str, str]) -> None:
    module, version = which
    outcome = compare(OFFICIAL[which], OURS / version / f"{module}.xsd", "Melding", DOCUMENTS)
    assert unexplained("-".join(which), outcome) == []
    assert outcome.judged.total() >= DOCUMENTS
    assert outcome.rejected[VALID] == 0
    assert 0.4 < outcome.rejected.total() / outcome.judged.total() < 0.9
    for kind in ALWAYS_WRONG & set(outcome.judged):
        assert outcome.rejected[kind] == outcome.judged[kind], kind
    # Not all: the texts are chosen by xmlschema, whose idea of a type is not quite libxml2's.
    assert outcome.rejected["wrong_type"] > 0.95 * outcome.judged["wrong_type"]
    assert {"drop_required_attribute", "duplicate_key", "wrong_type", "fixed_value"} <= set(outcome.judged)
    assert outcome.rejected["duplicate_key"] > outcome.judged["duplicate_key"] / 2


@shared
def test_documents_made_from_our_schema_get_the_same_verdict_too() -> None:
    """The other way round: what ours allows and the official one does not even know would be missed above."""
    for (module, version), official in OFFICIAL.items():
        outcome = compare(OURS / version / f"{module}.xsd", official, "Melding", 400)
        # Reference and ours are exchanged here, so no entry of the file can speak of it.
        assert [d.what for d in outcome.disagreements] == [], version


PLANTED: Final = {
    "required becomes optional": ('"kostnad" type = "decimal"  use = "required"', '"kostnad" type = "decimal"'),
    "optional becomes required": ('type = "string"  use = "optional"', 'type = "string" use = "required"'),
    "prohibited becomes optional": ('type = "nprx:guid"  use = "prohibited"', 'type = "string"'),
    "decimal becomes string": ('name = "total" type = "decimal"', 'name = "total" type = "string"'),
    "decimal becomes double": ('name = "total" type = "decimal"', 'name = "total" type = "double"'),
    "integer becomes positive": ('name = "lopenr" type = "integer"', 'name = "lopenr" type = "positiveInteger"'),
    "date becomes dateTime": ('name = "uttakDato" type = "date"', 'name = "uttakDato" type = "dateTime"'),
    "fixed value differs": ('fixed = "54.0.1"', 'fixed = "54.0.2"'),
    "fixed value is free": ('fixed = "54.0.1"', ""),
    "key has one field less": ('<field xpath = "@foretakID"/>', ""),
    "key of patients is gone": ('<selector xpath = "npr:Objektholder"/>', '<selector xpath = "npr:Enhet"/>'),
    "many becomes one": ('TjenesteKPP" minOccurs = "0" maxOccurs = "unbounded"', 'TjenesteKPP" minOccurs = "0"'),
    "none becomes one": ('"npr:EpisodeKPP" minOccurs = "0"', '"npr:EpisodeKPP" minOccurs = "1"'),
    "one becomes none": ('"npr:Objektholder" minOccurs = "1"', '"npr:Objektholder" minOccurs = "0"'),
}  # fmt: skip


@shared
@pytest.mark.parametrize("difference", PLANTED)
def test_a_planted_difference_is_found(difference: str, tmp_path: Path) -> None:
    """The comparison can fail: each of these changes to the official file is noticed."""
    official = OFFICIAL["kpp", "54.0.1"]
    for path in official.parent.iterdir():
        shutil.copyfile(path, tmp_path / path.name)
    changed = tmp_path / official.name
    text = changed.read_bytes().decode("iso-8859-1")
    old, new = PLANTED[difference]
    assert old in text
    changed.write_bytes(text.replace(old, new, 1).encode("iso-8859-1"))
    assert compare(official, changed, "Melding", DOCUMENTS).disagreements
