"""The guard: what may never reach the register, found in the bytes that are about to leave and in what they came from.

Belongs here: reading a finished document and its mail, and the verdict, as pure functions. Does not belong here: where
things lie and stopping a run (``assets.guard``), series of synthetic numbers (``schemas.identity_facts``), words and
addresses (``schemas.guard``).

Nothing here trusts the stages before: the bytes are read by the project's XML gate or, where a message is too large
for that, as text. Results hold counts, attribute names and codes of rules, never a number.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.utils import getaddresses
from typing import Final

import polars as pl

from schemas.errors import DataRefused
from schemas.guard import PRODUCTION, REHEARSAL, VALIDATION, GuardFacts, Inspected, guard_facts, says_test
from schemas.xsd import parse, walk
from transforms.identity_numbers import classify
from transforms.organisation_numbers import classify_organisations

BLOCK: Final = 4 << 20
MAIL_HEAD: Final = 1 << 18  # SOAP envelope and headers come first in a mail; a signed one has some 10 kB
NUMBER_KINDS: Final = ("fnr", "dnr", "hnr")
IDENTITY: Final = "ide"
FID, TYPE_ID = "fid", "typeID"
TEXT: Final = "text"
PERSON: Final = {FID: pl.String, TYPE_ID: pl.String}
_REFERENCE: Final = re.compile(r"&#([xX][0-9A-Fa-f]{1,6}|[0-9]{1,7});")
_SHORT: Final = 10
_LONG: Final = 11

# Digits are those of any script. Marks may stand between them; a few letters or a quote may stand in front in a field.
_MARKS: Final = r"[\s\x{A0}.,'\x{2010}-\x{2015}/_\-]"
_ELEVEN: Final = rf"\d(?:{_MARKS}?\d){{10}}"
_FIELD: Final = r"""[A-Za-z]+\s*=\s*["'][A-Za-zÆØÅæøå]{0,5}[^0-9A-Za-z"'<>]{0,6}"""
NUMBERS: Final = rf"(?:{_FIELD}|^|[^\dA-Za-z])0{{0,2}}{_ELEVEN}(?:[^\dA-Za-z]|$)"
DECIMALS: Final = r"(\d{11})[.,]0+([^\d]|$)"
ORGANISATIONS: Final = r"""(?:orgNr|foretakID|[A-Za-z]*[iI]nstitusjonID)\s*=\s*["'][^"'<>]*["']"""
OWN_INSTITUTION: Final = "institusjonID"
UNIT_NAMES: Final = r"""(?:enhetNavn|enhetLokal)\s*=\s*["'][^"'<>]*["']"""
_VALUE: Final = r"""(?s)^[^=]*=\s*["'](.*)["']$"""


@dataclass(frozen=True, slots=True)
class Breach:
    """One reason why a submission may not leave. rule: id. what: a sentence with counts, without any value."""

    rule: str
    what: str


@dataclass(frozen=True, slots=True)
class Expected:
    """What a document must say, and what goes with it.

    known: attributes with eleven digits, and names of units, that somebody vouches for. units: names of the units that
    report, since not every version has them in the message.
    """

    institution: str
    known: frozenset[str] = frozenset()
    units: frozenset[str] = frozenset()


# --- the bytes of one document


def inspect(
    document: bytes, body: bytes, place: tuple[str, int], expected: Expected, facts: GuardFacts | None = None
) -> Inspected:
    """Read a whole MsgHead document as it is about to be encrypted. DataRefused when it cannot be read.

    body: the Melding in it. place: module and number of the part. Of ``ide`` every element is parsed; of larger
    messages the head is, and the rest is read as text.
    """
    facts = facts or guard_facts()
    module, part = place
    head = _Head(whole=module == IDENTITY)
    if walk(_blocks(document), head.visit, head.read).fault is not None:
        raise unreadable(f"{module} part {part}")
    known = expected.known | ({FID} if module == IDENTITY else frozenset())
    hidden, organisations, names = Counter[str](), _Organisations(expected.institution), set(expected.units)
    for text in _texts(document):
        hidden.update(numbers_in(text, known))
        organisations.add(text)
        names |= set(_values(text, UNIT_NAMES)["value"])
    hidden.update(organisations.hidden)
    return Inspected(
        module=module,
        part=part,
        document_sha256=hashlib.sha256(document).hexdigest(),
        body_sha256=hashlib.sha256(body).hexdigest(),
        persons=len(head.persons),
        synthetic=synthetic(pl.DataFrame(head.persons, schema=PERSON, orient="row")),
        hidden={name: hidden[name] for name in sorted(hidden) if hidden[name]},
        sentinels=organisations.sentinels,
        strangers=organisations.strangers,
        test_units=sum(says_test(name, facts.units) for name in names - expected.known),
        to=tuple(head.to),
        status=head.status,
    )


class _Head:
    """What the parser shows: receiver and status of the head message, and every element that carries ``fid``."""

    def __init__(self, *, whole: bool) -> None:
        self.persons: list[tuple[str, str | None]] = []
        self.to: list[str] = []
        self.status = ""
        self._whole = whole

    def visit(self, path: tuple[str, ...], attributes: dict[str, str]) -> bool:
        name = _local(path[-1])
        own = {_local(key): value for key, value in attributes.items()}
        if name == "ProcessingStatus":
            self.status = own.get("V", "")
        if FID in own:
            self.persons.append((own[FID], own.get(TYPE_ID)))
        return name == "Melding" and not self._whole

    def read(self, path: tuple[str, ...], text: str) -> None:
        names = [_local(name) for name in path]
        if names[-2:] == ["Ident", "Id"] and "Receiver" in names and text.strip():
            self.to.append(text.strip())


def synthetic(persons: pl.DataFrame) -> dict[str, int]:
    """Series -> how many of the numbers (columns of PERSON) are synthetic or of a published test person."""
    # No day is given: what a number will be in 2032 makes no synthetic person real today.
    found = classify(persons[FID], persons[TYPE_ID])
    marked = found.filter(pl.col("synthetic") != "")
    return dict(marked.group_by("synthetic").len().sort("synthetic").iter_rows())


def numbers_in(text: str, known: frozenset[str] = frozenset()) -> Counter[str]:
    """Attribute, or ``text``, -> values that are somebody's number by every rule: real, synthetic, or a test person.

    known: attributes that are left out. Eleven digits that are nobody's by date or control digits do not count.
    """
    # A spreadsheet's decimals go first: a number that begins with zero could else lend its own to the front.
    plain = pl.col("match").str.replace_all(DECIMALS, "$1$2")
    found = pl.DataFrame({"match": [text]}).select(plain.str.extract_all(NUMBERS)).explode("match")
    found = found.drop_nulls().with_columns(name=pl.col("match").str.extract(r"^([A-Za-z]+)\s*=").fill_null(TEXT))
    found = found.filter(~pl.col("name").is_in(list(known))).with_columns(
        number=pl.col("match").str.replace_all(r"[^\d]", "").str.strip_chars_start("0").str.zfill(_LONG)
    )
    judged = found.hstack(classify(found["number"]))
    # Digits of another script are no fault here: a person reads them all the same.
    right = pl.col("valid") | (pl.col("reason") == "blank")
    somebody = (pl.col("kind").is_in(NUMBER_KINDS) & right) | (pl.col("synthetic") == "test_person")
    counted = judged.filter(somebody).group_by("name").len()
    return Counter(dict(counted.iter_rows()))


class _Organisations:
    """Organisation numbers of a document: that of suppliers, institutions not ours, persons' numbers in them."""

    def __init__(self, institution: str) -> None:
        self.sentinels = self.strangers = 0
        self.hidden: Counter[str] = Counter()
        self._institution = institution

    def add(self, text: str) -> None:
        """Count in a piece of the document."""
        values = _values(text, ORGANISATIONS)
        found = values.hstack(classify_organisations(values["value"], validation=False))
        self.sentinels += found.filter("sentinel").height
        self.strangers += values.filter(name=OWN_INSTITUTION).filter(pl.col("value") != self._institution).height
        # A number that begins with zero loses it easily, and has then the ten digits of a feed.
        short = found.filter(~pl.col("valid") & ~pl.col("sentinel")).with_columns(
            pl.col("value").str.replace_all(r"\D", "")
        )
        short = short.filter(pl.col("value").str.len_chars() == _SHORT)
        judged = short.select("name").hstack(classify("0" + short["value"]))
        hits = judged.filter(pl.col("kind").is_in(NUMBER_KINDS) & pl.col("valid"))
        self.hidden.update(Counter(dict(hits.group_by("name").len().iter_rows())))


def _values(text: str, pattern: str) -> pl.DataFrame:
    """``name`` and ``value`` of the attributes that a pattern finds."""
    found = (
        pl.DataFrame({"match": [text]}).select(pl.col("match").str.extract_all(pattern)).explode("match").drop_nulls()
    )
    return found.select(
        name=pl.col("match").str.extract(r"^([A-Za-z]+)"), value=pl.col("match").str.extract(_VALUE).fill_null("")
    )


def _local(name: str) -> str:
    return name.rpartition("}")[2].rpartition(" ")[2]


def _blocks(document: bytes) -> Iterator[bytes]:
    view = memoryview(document)
    return (bytes(view[start : start + BLOCK]) for start in range(0, len(view), BLOCK))


def _texts(document: bytes) -> Iterator[str]:
    """The document in pieces that end after a tag, so that no value is cut."""
    start = 0
    while start < len(document):
        end = min(start + BLOCK, len(document))
        if end < len(document):
            end = max(document.rfind(b">", start, end) + 1, 0) or document.find(b">", end) + 1 or len(document)
        text = document[start:end].decode("utf-8", errors="replace")
        yield _REFERENCE.sub(_sign, text) if "&#" in text else text
        start = end


def _sign(found: re.Match[str]) -> str:
    """The sign that a numeric reference stands for: a digit can be written so."""
    code = int(found[1][1:], 16) if found[1][0] in "xX" else int(found[1])
    return chr(code) if code <= sys.maxunicode else " "


def unreadable(what: str) -> DataRefused:
    """The refusal where the guard cannot read what it must judge."""
    return DataRefused(
        f"the guard cannot read {what}; nothing leaves",
        rule="GUARD-00: what cannot be judged does not leave",
        fix="this is a fault of the pipeline; make the report again, and tell of it if it stays",
    )


# --- the mail around it


@dataclass(frozen=True, slots=True)
class Addressed:
    """Who a finished mail is for: mail address and, by the ebXML header, HER-ids."""

    mail: str
    parties: tuple[str, ...]


def addressed(start: bytes, what: str) -> Addressed:
    """Who a mail is for, out of its first MAIL_HEAD bytes. DataRefused when it does not say so in both places."""
    mail = message_from_bytes(start[:MAIL_HEAD], policy=policy.SMTP)
    to = [address for _, address in getaddresses([str(value) for value in mail.get_all("To", [])])]
    envelope = next((part for part in mail.walk() if part.get_content_type() in {"text/xml", "application/xml"}), None)
    content = envelope.get_payload(decode=True) if envelope is not None else None
    if len(to) != 1 or not isinstance(content, bytes):
        raise unreadable(f"the mail of {what}")
    header = parse(content, what).iter("{*}To")
    parties = [(party.text or "").strip() for element in header for party in element.iter("{*}PartyId")]
    if not parties:
        raise unreadable(f"the ebXML header of {what}")
    return Addressed(to[0], tuple(parties))


# --- the verdict


def of_part(seen: Inspected, profile: str, facts: GuardFacts | None = None) -> Iterator[Breach]:
    """Breaches of one part by what was read in its bytes."""
    facts = facts or guard_facts()
    part = f"{seen.module} part {seen.part}"
    yield from of_address(part, seen.to[-1:], profile, facts)
    if (seen.status == "P") != (profile == PRODUCTION):
        yield Breach("MSG-17", f"{part}: ProcessingStatus does not belong to profile {profile}")
    if seen.strangers:
        yield Breach("IDE-08", f"{part}: {seen.strangers} institutions in it are not the reporting unit's own")
    if profile != VALIDATION and seen.sentinels and profile != REHEARSAL:
        yield Breach(
            "MSG-18", f"{part}: {seen.sentinels} times 777777777, the number of suppliers without an agreement"
        )
    if profile == REHEARSAL:
        return
    yield from of_identities(part, seen.synthetic)
    if seen.hidden:
        told = ", ".join(f"{count} in {name}" for name, count in seen.hidden.items())
        yield Breach("SEC-01", f"{part}: identity numbers where none belongs: {told}")
    if seen.test_units:
        yield Breach("TEST-03", f"{part}: {seen.test_units} names of units say test")


def of_identities(where: str, counts: dict[str, int]) -> Iterator[Breach]:
    """Breach for synthetic numbers, by series."""
    people = counts.get("test_person", 0)
    made = {series: count for series, count in counts.items() if series != "test_person"}
    if made:
        told = ", ".join(f"{count} {series}" for series, count in sorted(made.items()))
        yield Breach("TEST-02", f"{where}: synthetic identities: {told}")
    if people:
        yield Breach("TEST-03", f"{where}: {people} published test persons")


def of_address(what: str, parties: Iterable[str], profile: str, facts: GuardFacts) -> Iterator[Breach]:
    """Breach when the receiver is not the one of the profile, or there is none."""
    address = facts.address.get(profile)
    told = list(parties)
    if address is None or not told or any(party != address.her_id for party in told):
        yield Breach("MSG-17", f"{what}: the receiver is not the one of profile {profile}")


def of_mail(what: str, found: Addressed, profile: str, facts: GuardFacts | None = None) -> Iterator[Breach]:
    """Breaches of the addresses of a finished mail."""
    facts = facts or guard_facts()
    yield from of_address(f"{what}, ebXML header", found.parties, profile, facts)
    domain = found.mail.rpartition("@")[2].casefold()
    if any(domain == one or domain.endswith(f".{one}") for one in facts.test_domains.domains) and profile != REHEARSAL:
        yield Breach("TEST-05", f"{what}: addressed to a test network")


def of_origin(
    environment: str, source_system: str, files: Iterable[str], profile: str, facts: GuardFacts | None = None
) -> Iterator[Breach]:
    """Breaches of where the extract comes from."""
    facts = facts or guard_facts()
    if profile == REHEARSAL:
        return
    if environment not in facts.environments:
        yield Breach("TEST-01", "the extract is not labelled as one of the production system")
    if says_test(source_system, facts.systems):
        yield Breach("TEST-01", "the name of the source system says test")
    if count := sum(says_test(name, facts.systems) for name in files):
        yield Breach("TEST-01", f"names of {count} delivered files say test")


def is_test_system(environment: str, facts: GuardFacts | None = None) -> bool:
    """Whether an extract comes from any other system than that of production; what it tells is then test for good."""
    return environment not in (facts or guard_facts()).environments
