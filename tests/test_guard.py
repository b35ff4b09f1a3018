"""Ways in which test data could get out: each is a row, and each is caught. ``test_guard_run`` goes the whole way.

Numbers are made here (``guarded``): of the synthetic series, or real in shape and nobody's. There stands why that is
sound.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import polars as pl
import pytest
from guarded import crowd, numbers
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import DataRefused, WrongUse
from schemas.guard import PATH, PROFILES, guard_facts, read_guard_facts, says_test
from schemas.identity_facts import identity_facts
from schemas.receivers import _book
from transforms import identity_numbers
from transforms.content.guard import (
    Addressed,
    Expected,
    addressed,
    inspect,
    is_test_system,
    numbers_in,
    of_mail,
    of_origin,
    of_part,
    synthetic,
)
from transforms.shipping.envelope import Coded, HeadMessage, Party, head

OWN = "900000022"  # the sample's own, invented
HERS = {"production": "94378", "validation": "121017", "rehearsal": "0"}


@dataclass(frozen=True)
class Way:
    """One way in. what: for the reader. rule: the one that must stop it. rules: runs the guard, gives what did."""

    what: str
    rule: str
    rules: Callable[[], set[str]]


def message(
    module: str,
    inner: str,
    *,
    profile: str = "production",
    to: str = "",
    status: str | None = None,
    institution: str = OWN,
    melding: str = "",
) -> tuple[bytes, bytes]:
    """Document and body of a message whose institution holds ``inner``."""
    receiver = Party("NPR", "1", Party("NPR", to or HERS[profile]))
    wanted = ("P" if profile == "production" else "") if status is None else status
    opening, closing = head(
        HeadMessage(
            f"NPR_{module.upper()}", module, "m", "2020-05-04T03:00:00+02:00", Party("A", "2"), receiver,
            Coded(wanted, "x") if wanted else None,
        )
    )  # fmt: skip
    body = (
        f'<Melding xmlns="http://www.npr.no/xmlstds/54_0_1_{module}" versjon="54.0.1" {melding}>'
        f'<Institusjon institusjonID="{institution}">{inner}</Institusjon></Melding>'
    ).encode()
    return opening + body + closing, body


def rules_of(
    module: str, inner: str, *, profile: str = "production", known: frozenset[str] = frozenset(), **how: str
) -> set[str]:
    """Rules that stop such a message."""
    document, body = message(module, inner, profile=profile, **how)
    return {breach.rule for breach in of_part(inspect(document, body, (module, 1), Expected(OWN, known)), profile)}


def person(fid: str, type_id: str = "1", pid: str = "P1") -> str:
    return f'<PasientIdent pid="{pid}" fid="{fid}" typeID="{type_id}"/>'


@cache
def real() -> list[str]:
    return numbers(40)


def among(text: str, type_id: str = "1", at: int = 7) -> str:
    """People with numbers real in shape, one of them with this."""
    people = [person(number, pid=f"P{n}") for n, number in enumerate(real()[:20])]
    return "".join([*people[:at], person(text, type_id), *people[at:]])


def in_ide(text: str, type_id: str) -> Callable[[], set[str]]:
    return lambda: rules_of("ide", among(text, type_id))


# --- the table of ways

SERIES = {  # name -> a number of it, ordinary and in the form of a D-number
    "Tenor (month + 80)": numbers(3, series="tenor")[2],
    "Tenor D-number": numbers(3, series="tenor", d_number=True)[2],
    "Norsk helsenett (month + 65)": numbers(3, series="nhn")[2],
    "Norsk helsenett D-number": numbers(3, series="nhn", d_number=True)[2],
    "Dolly (month + 40)": numbers(3, series="nav")[2],
    "Dolly D-number": numbers(3, series="nav", d_number=True)[2],
}
DRESS: dict[str, Callable[[str], str]] = {
    "blank in front": " {}".format,
    "blank behind": "{} ".format,
    "blank in the middle": lambda n: f"{n[:6]} {n[6:]}",
    "hyphen in the middle": lambda n: f"{n[:6]}-{n[6:]}",
    "blank after every digit": " ".join,
    "no-break space": lambda n: f"{n[:6]}\xa0{n[6:]}",
    "apostrophe of a spreadsheet": "&apos;{}".format,
    "point nought of a spreadsheet": "{}.0".format,
    "full-width digits": lambda n: "".join(chr(0xFF10 + int(d)) for d in n),
    "Arabic digits": lambda n: "".join(chr(0x0660 + int(d)) for d in n),
    "first digit as a reference": lambda n: f"&#{ord(n[0])};{n[1:]}",
    "two letters in front": "NO{}".format,
    "zero width space in front": "\u200b{}".format,
    "two noughts in front": "00{}".format,
}
PLAIN = numbers(60)[50]
ZERO = next(n for n in numbers(5000) if n.startswith("0"))
FIELDS = {
    "Objektholder": ("pasientNr",), "Episode": ("episodeID", "henvisningsperiodeID", "lokalident"),
    "Henvisningsperiode": ("henvisningsperiodeID",), "Enhet": ("enhetID", "enhetNavn", "enhetLokal", "reshID"),
    "Kontaktperson": ("kontPerson", "meldTelefon"), "Kode": ("kodeVerdi",), "Helseperson": ("helsepersonHPR",),
}  # fmt: skip
ORGANISATION_FIELDS = (
    "orgNr", "foretakID", "institusjonID", "fraInstitusjonID", "tilInstitusjonID", "henvFraInstitusjonID",
    "henvTilInstitusjonID", "utfInstitusjonID",
)  # fmt: skip
NOT_ORGANISATIONS = {
    "a person's number": (PLAIN, "SEC-01"), "a number without its nought": (ZERO[1:], "SEC-01"),
    "the number of suppliers": ("777777777", "MSG-18"), "the same with the digit of a feed": ("7777777770", "MSG-18"),
}  # fmt: skip
INSTITUTIONS = (
    ("777777777", "MSG-18"), ("777777777", "IDE-08"), ("900000014", "IDE-08"), ("", "IDE-08"), (PLAIN, "SEC-01"),
)  # fmt: skip
ENVIRONMENTS = (
    "test", "Test", "TEST ", "QA", "qa", "utvikling", "Utvikling", "dev", "", " ", "prod", "Production", "PRODUCTION",
    "production ", "produksjon", "production-copy", "validation", "staging", "opplæring", "ukjent",
)  # fmt: skip
FILES = (
    "test/episodes.csv", "episodes_test.csv", "EpisodesTest.csv", "qa-identities.csv", "utv.episodes.parquet",
    "TENOR_pasienter.csv", "demo1.csv", "syntetisk pasientliste.csv", "2020/TST/episodes.csv", "kurs.csv.gz",
    "patients.uat.csv", "preprod-uttrekk.csv",
)  # fmt: skip
SYSTEMS = (
    "DIPS Arena TEST", "EPJ (QA)", "EPJ-test", "epj_utv_04", "Opplæring", "EPJ Sandkasse", "Testdata", "DipsTest",
    "Sample generator, Dolly", "EPJ akseptansetest",
)  # fmt: skip
UNITS = (
    "TEST",
    "Test sengepost",
    "Kirurgisk avdeling (test)",
    "Testavdeling",
    "TESTSYKEHUS 2",
    "Demo",
    "MedisinskTest",
)


def origin(environment: str = "production", system: str = "EPJ", file: str = "episodes.csv") -> Callable[[], set[str]]:
    return lambda: {breach.rule for breach in of_origin(environment, system, [file], "production")}


def mail(parties: tuple[str, ...], address: str, profile: str) -> Callable[[], set[str]]:
    return lambda: {breach.rule for breach in of_mail("ord-001.eml", Addressed(address, parties), profile)}


def document(module: str, inner: str, **how: str) -> Callable[[], set[str]]:
    return lambda: rules_of(module, inner, **how)  # type: ignore[arg-type]


def ways() -> list[Way]:  # noqa: C901 - a table, row group after row group
    found: list[Way] = []
    for (series, number), type_id in itertools.product(SERIES.items(), ("1", "2", "5", "9", "10", "12")):
        found.append(Way(f"{series} under typeID {type_id}", "TEST-02", in_ide(number, type_id)))
    for (series, number), type_id in itertools.product(list(SERIES.items())[:4], ("3",)):
        found.append(Way(f"{series} under typeID {type_id}", "TEST-02", in_ide(number, type_id)))
    for (series, number), (dress, worn) in itertools.product(list(SERIES.items())[::2], DRESS.items()):
        found.append(Way(f"{series}, {dress}", "TEST-02", in_ide(worn(number), "1")))
    tenor = SERIES["Tenor (month + 80)"]
    wrong = tenor[:-1] + str((int(tenor[-1]) + 1) % 10)
    found.append(Way("a synthetic number with a wrong control digit", "TEST-02", in_ide(wrong, "1")))
    positions = {"the first": 0, "one in the middle": 10, "the last": 20}
    found += [
        Way(f"as {what} of 21", "TEST-02", partial(rules_of, "ide", among(tenor, at=at)))
        for what, at in positions.items()
    ]
    elsewhere = {
        "in a second institution": f'</Institusjon><Institusjon institusjonID="{OWN}">{person(tenor)}',
        "in an element of another name": f'<Pasient pid="P" fid="{tenor}" typeID="1"/>',
        "in single quotes": f"<PasientIdent pid='P' fid='{tenor}' typeID='1'/>",
        "deep inside": f"<A><B><C>{person(tenor)}</C></B></A>",
        "without typeID": f'<PasientIdent pid="P" fid="{tenor}"/>',
    }
    found += [Way(what, "TEST-02", document("ide", among(PLAIN) + inner)) for what, inner in elsewhere.items()]
    hiding = {"synthetic": tenor, "real in shape": PLAIN, "D-number": numbers(2, d_number=True)[1]}
    for (kind, number), dress in itertools.product(hiding.items(), ("", "hyphen in the middle", "full-width digits")):
        text = DRESS[dress](number) if dress else number
        found.append(Way(f"{kind} number as pid {dress}", "SEC-01", document("ide", person(real()[0], pid=text))))
        for element, attributes in FIELDS.items():
            for attribute in attributes:
                inner = f'<{element} {attribute}="{text}"/>'
                found.append(Way(f"{kind} number in {element}@{attribute} {dress}", "SEC-01", document("ord", inner)))
    texts = {
        "inside a name": f'<Enhet enhetNavn="Rom til {tenor} i dag"/>',
        "in a comment": f"<!-- {tenor} -->",
        "as text of an element": f"<Merknad>{tenor}</Merknad>",
        "in CDATA": f"<Merknad><![CDATA[{tenor}]]></Merknad>",
        "with a letter in front": f'<Objektholder pasientNr="P{tenor}"/>',
    }
    found += [Way(f"a number {what}", "SEC-01", document("ord", inner)) for what, inner in texts.items()]
    for attribute, (what, (value, rule)) in itertools.product(ORGANISATION_FIELDS, NOT_ORGANISATIONS.items()):
        found.append(Way(f"{what} in {attribute}", rule, document("ord", f'<Episode {attribute}="{value}"/>')))
    for own, rule in INSTITUTIONS:
        found.append(Way(f"institution {own}", rule, document("ord", "", institution=own)))
    found += [Way(f"environment {label!r}", "TEST-01", origin(environment=label)) for label in ENVIRONMENTS]
    found += [Way(f"file {name}", "TEST-01", origin(file=name)) for name in FILES]
    found += [Way(f"source system {name}", "TEST-01", origin(system=name)) for name in SYSTEMS]
    found += [Way(f"unit {name}", "TEST-03", document("ord", f'<Enhet enhetNavn="{name}"/>')) for name in UNITS]
    for profile, to in itertools.product(HERS, (*HERS.values(), "2397", "943780", "094378")):
        if to != HERS[profile]:
            found.append(Way(f"{profile} to {to}", "MSG-17", document("ord", "", profile=profile, to=to)))
            found.append(Way(f"{profile}, mail to {to}", "MSG-17", mail((to,), "a@edi.nhn.no", profile)))
    found += [
        Way("no HER-id in the ebXML header", "MSG-17", mail((), "a@edi.nhn.no", "production")),
        Way("both addresses in the ebXML header", "MSG-17", mail(("94378", "121017"), "a@edi.nhn.no", "production")),
        Way("mail to the test network", "TEST-05", mail(("94378",), "npr@testedi.nhn.no", "production")),
        Way("mail to the test network, in capitals", "TEST-05", mail(("94378",), "npr@SAMSVAR.nhn.no", "production")),
        Way("not said to be production", "MSG-17", document("ord", "", status="")),
        Way("a debugging message", "MSG-17", document("ord", "", status="D")),
        Way("a validation said to be production", "MSG-17", document("ord", "", profile="validation", status="P")),
        Way("a rehearsal said to be production", "MSG-17", document("ord", "", profile="rehearsal", status="P")),
    ]
    return found


WAYS = ways()


def test_there_are_more_than_two_hundred_ways_and_no_two_are_the_same() -> None:
    assert len(WAYS) > 300
    assert len({(way.what, way.rule) for way in WAYS}) == len(WAYS)


def test_every_way_is_caught_by_its_rule() -> None:
    missed = [(way.what, way.rule, found) for way in WAYS if way.rule not in (found := way.rules())]
    assert missed == []


def test_a_report_without_a_fault_is_let_through_in_each_profile() -> None:
    for profile in PROFILES:
        assert rules_of("ide", among(PLAIN), profile=profile) == set()
        inner = f'<Enhet enhetNavn="Allergitest og prikktest" orgNr="{OWN}"/><Objektholder pasientNr="P1"/>'
        assert rules_of("ord", inner, profile=profile) == set()
        assert list(of_mail("x", Addressed("a@edi.nhn.no", (HERS[profile],)), profile)) == []
        assert list(of_origin("production", "DIPS Arena", ["episodes.csv"], profile)) == []


def test_a_rehearsal_takes_test_data_and_nothing_but_its_own_address() -> None:
    assert rules_of("ide", among(SERIES["Dolly D-number"]), profile="rehearsal") == set()
    assert list(of_origin("test", "TEST", ["test.csv"], "rehearsal")) == []
    assert rules_of("ide", "", profile="rehearsal", to=HERS["production"]) == {"MSG-17"}


def test_the_number_of_suppliers_goes_to_the_validation_address_only() -> None:
    inner = '<Episode fraInstitusjonID="777777777"/>'
    assert {profile: "MSG-18" in rules_of("ord", inner, profile=profile) for profile in PROFILES} == {
        "rehearsal": False, "validation": False, "production": True,
    }  # fmt: skip


def test_synthetic_people_are_not_for_validation_either() -> None:
    assert rules_of("ide", among(SERIES["Tenor D-number"]), profile="validation") == {"TEST-02"}


# --- one among many


@pytest.mark.parametrize("series", ["nav", "nhn", "tenor"])
@pytest.mark.parametrize("d_number", [False, True])
@pytest.mark.parametrize("place", [0, 49_999, 99_999])
def test_one_synthetic_number_among_100_000_is_seen(series: str, d_number: bool, place: int) -> None:  # noqa: FBT001
    one = pl.DataFrame(
        {"fid": numbers(400, series=series, d_number=d_number)[-1:], "typeID": ["2" if d_number else "1"]}
    )
    people = pl.concat([crowd().head(place), one, crowd().tail(99_999 - place)])
    assert people.height == 100_000
    assert synthetic(people) == {series: 1}


def test_100_000_numbers_real_in_shape_hold_no_synthetic_one() -> None:
    assert crowd()["fid"].n_unique() == 100_000
    assert synthetic(crowd()) == {}


def test_a_published_test_person_among_100_000_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = identity_facts()
    people, number = facts.test_persons, crowd()["fid"][31_415]
    update = {
        "digests": people.digests | {people.digest(number)},
        "buckets": people.buckets | {int(number) % people.modulus},
    }
    listed = facts.model_copy(update={"test_persons": people.model_copy(update=update)})
    monkeypatch.setattr(identity_numbers, "identity_facts", lambda: listed)
    assert synthetic(crowd()) == {"test_person": 1}
    for dress in DRESS.values():
        assert "TEST-03" in rules_of("ide", among(dress(number)))
        assert "SEC-01" in rules_of("ord", f'<Episode episodeID="{dress(number)}"/>')


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 20), st.sampled_from(list(SERIES)), st.sampled_from(list(DRESS)), st.sampled_from(["1", "2", "12"])
)
def test_any_series_in_any_dress_at_any_place(place: int, series: str, dress: str, type_id: str) -> None:
    assert "TEST-02" in rules_of("ide", among(DRESS[dress](SERIES[series]), type_id, place))


# --- what is not somebody's number


@pytest.mark.parametrize(
    "text",
    [
        'episodeID="3f2504e0-4f89-41d3-9a0c-0305e82c3301"', 'episodeID="12345678-1234-1234-1234-123456789012"',
        'innDatoTid="2020-02-03T08:00:00"', 'meldTelefon="+47 90 00 00 01"', 'lopenr="20200504030000"',
        f'episodeID="9{PLAIN}"', f'episodeID="{PLAIN[:-1]}"', f'episodeID="A1{PLAIN}b"', 'kodeVerdi="E702"',
    ],
)  # fmt: skip
def test_what_only_looks_a_little_like_a_number_is_left_alone(text: str) -> None:
    assert sum(numbers_in(f"<Episode {text}/>").values()) == 0


def test_somebody_can_vouch_for_keys_of_eleven_digits_and_for_the_name_of_a_unit() -> None:
    inner = f'<Enhet enhetNavn="Test"/><Episode episodeID="{PLAIN}"/>'
    assert rules_of("ord", inner) == {"SEC-01", "TEST-03"}
    assert rules_of("ord", inner, known=frozenset({"episodeID", "Test"})) == set()
    assert rules_of("ord", f'<Episode pasientNr="{PLAIN}"/>', known=frozenset({"episodeID"})) == {"SEC-01"}


def test_a_number_is_seen_at_every_border_of_the_pieces_that_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transforms.content.guard.BLOCK", 64)
    # The digits of the number lie over each border of a piece in turn.
    for shift in range(0, 77, 7):
        inner = f'<A b="{"x" * shift}"/><Episode episodeID="{PLAIN}"/><A b="y"/>'
        assert rules_of("ord", inner) == {"SEC-01"}


# --- fail closed, and tell no number


def test_what_cannot_be_read_is_refused() -> None:
    document, body = message("ide", among(PLAIN))
    for broken in (document[:-20], document.replace(b"</PasientIdent>", b"").replace(b"/>", b">", 1), b"", b"\x00"):
        with pytest.raises(DataRefused, match="cannot read"):
            inspect(broken, body, ("ide", 1), Expected(OWN))
    with pytest.raises(DataRefused):
        addressed(b"To: a@edi.nhn.no\r\n\r\nno envelope", "x")


@pytest.mark.parametrize("without", ["environments", "[address.validation]", "[units]", "[test_domains]"])
def test_facts_that_are_not_whole_are_refused(without: str) -> None:
    text = PATH.read_text(encoding="utf-8")
    head_, _, tail = text.partition(without)
    rest = tail.partition("\n\n")[2]
    with pytest.raises(WrongUse, match="not whole"):
        read_guard_facts(head_ + rest)


def test_addresses_stand_in_two_places_that_agree() -> None:
    told = {(entry.profile, entry.unit_her_id) for entry in _book().receivers}
    assert told == {(profile, address.her_id) for profile, address in guard_facts().address.items()}


def test_an_inspection_and_its_breaches_hold_no_number() -> None:
    tenor = SERIES["Tenor (month + 80)"]
    inner = among(tenor) + f'<Episode episodeID="{PLAIN}" fraInstitusjonID="{ZERO[1:]}"/>'
    document, body = message("ide", inner, institution=PLAIN)
    seen = inspect(document, body, ("ide", 1), Expected(OWN))
    told = seen.model_dump_json() + "".join(breach.what for breach in of_part(seen, "production"))
    assert not any(number in told for number in (tenor, PLAIN, ZERO, ZERO[1:], *real()))
    assert [is_test_system(label) for label in ("production", "Production", "test", "")] == [False, True, True, True]


def test_words_are_found_as_words_only() -> None:
    words = guard_facts().units
    assert [name for name in ("Test", "a-TEST-b", "Test2", "MedTest") if not says_test(name, words)] == []
    assert [name for name in ("Allergitest", "Attest", "Testament", "Demografi") if says_test(name, words)] == []


def test_what_a_submission_is_made_of_does_not_hang_on_the_order_of_a_set() -> None:
    facts = guard_facts().model_dump(mode="json")
    for name in ("systems", "units"):
        assert facts[name]["words"] == sorted(facts[name]["words"])
