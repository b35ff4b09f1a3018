"""Identity and organisation numbers: known answers, our decisions, and a second implementation, one number at a time.

Numbers that stand here are of the Tenor form (month + 80), which nobody has. All others are made while a test runs.
"""

from __future__ import annotations

import datetime as dt
import itertools
import re
from collections.abc import Iterable
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stdnum.no import fodselsnummer, orgnr

from schemas.errors import WrongUse
from schemas.identity_facts import FOLDER, Facts, decisions, identity_facts, read_facts
from transforms.identity_numbers import FAULTS, KINDS, REASONS, SCHEMA, SYNTHETIC, accept, birth_date_fid, classify
from transforms.organisation_numbers import classify_organisations

ROOT = Path(__file__).parents[1]
KNOWN = ROOT / "../shared/reference/known-answers"
shared = pytest.mark.skipif(not KNOWN.is_dir(), reason="the known answers (../shared/reference) are not at hand")

TENOR, TENOR_D = "17912099997", "57912075186"  # navikt/fnrvalidator issue 116
NOW, FROM_2032 = dt.date(2026, 11, 1), dt.date(2040, 1, 1)
OFFSETS = {"": 0, "nav": 40, "nhn": 65, "tenor": 80}


def one(number: str | None, type_id: str | None = None, *, on: dt.date | None = None) -> dict[str, object]:
    """The verdict on one number."""
    return classify(pl.Series([number], dtype=pl.String), pl.Series([type_id], dtype=pl.String), on=on).row(
        0, named=True
    )


# --- a second implementation: strings, one number at a time, no table of the product


def remainders(number: str) -> tuple[int, int]:
    weighted = zip((3, 7, 6, 1, 8, 9, 4, 5, 2, 1), number[:10], strict=True)
    all_eleven = zip((5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1), number, strict=True)
    return sum(w * int(d) for w, d in weighted) % 11, sum(w * int(d) for w, d in all_eleven) % 11


def with_control(nine: str, remainder: int = 0) -> str | None:
    """Nine digits with the two control digits that fit, None where no digit does."""
    for k1, k2 in itertools.product("0123456789", repeat=2):
        if remainders(nine + k1 + k2) == (remainder, 0):
            return nine + k1 + k2
    return None


def century_of(person: int, year: int) -> int | None:
    if person <= 499:
        return 1900
    if year <= 39:
        return 2000
    if person <= 749:
        return 1800 if year >= 54 else None
    return 1900 if person >= 900 else None


def day_of(year: int, month: int, day: int) -> dt.date | None:
    try:
        return dt.date(year, month, day)
    except ValueError:
        return None


def series_of(month: int) -> str | None:
    return next((name for name, offset in OFFSETS.items() if 1 <= month - offset <= 12), None)


def scalar(number: str, type_id: str | None, on: dt.date | None) -> tuple[object, ...]:  # noqa: PLR0911 - the rules one after the other, as a person reads them
    """The columns of SCHEMA for eleven digits."""
    first, month, year, person = int(number[:2]), int(number[2:4]), int(number[4:6]), int(number[6:9])
    rest_1, rest_2 = remainders(number)
    strict, wide = (rest_1, rest_2) == (0, 0), rest_1 <= 3 and rest_2 == 0
    series, day = series_of(month), first - 40 if 41 <= first <= 71 else first
    century = century_of(person, year)
    foreign, fine_day = type_id in {"4", "5", "6", "7", "8"}, 1 <= day <= 31
    readable = fine_day and series is not None
    born = day_of((century or 2000) + year, month - OFFSETS[series], day) if readable and series is not None else None
    mark = ""
    if readable and series and ((not foreign and type_id != "9") or (strict and born)):
        mark = "" if series == "nav" and type_id == "3" and first < 41 else series
    if foreign and not (readable and strict and born and century):
        return "foreign", True, mark, None, None, None, "unchecked"
    if first >= 80:
        return "fh", strict, "", None, None, None, "" if strict else "control_digits"
    if not readable:
        return "none", False, "", None, None, None, "date"
    kind = "dnr" if first > 40 else "hnr" if series == "nav" else "fnr"
    other = kind == "hnr" and type_id == "3" and not strict and remainders(f"{int(number) - 40 * 10**7:011d}") == (0, 0)
    relaxed = kind != "hnr" and wide and not strict
    known = None if relaxed else century is not None
    if born is None:
        return kind, False, mark, None, None, known, "date"
    if relaxed:
        return kind, on is not None and on >= dt.date(2032, 1, 1), mark, None, None, None, "k1_2032"
    right = strict or other
    if century is None or not right:
        return kind, False, mark, None, None, known, "century" if century is None else "control_digits"
    sex = "1" if person % 2 else "2"
    late = on is not None and born > on
    reason = "future" if late else "hnr_other_rule" if other else ""
    return kind, not late, mark, sex, born, True, reason


@st.composite
def numbers_near_right(draw: st.DrawFn) -> str:
    """Nine digits shaped as a number of some kind, mostly with control digits that fit."""
    day = draw(st.integers(0, 32)) + draw(st.sampled_from([0, 0, 40, 80]))
    month = draw(st.integers(0, 13)) + draw(st.sampled_from(list(OFFSETS.values())))
    nine = f"{min(day, 99):02d}{month:02d}{draw(st.integers(0, 99)):02d}{draw(st.integers(0, 999)):03d}"
    wanted = draw(st.sampled_from([0, 0, 0, 1, 2, 3, 4, None]))
    made = None if wanted is None else with_control(nine, wanted)
    return made or nine + draw(st.text("0123456789", min_size=2, max_size=2))


ELEVEN = st.one_of(numbers_near_right(), st.text("0123456789", min_size=11, max_size=11))
TYPES = st.sampled_from([None, "1", "2", "3", "5", "9", "10", "12"])


@settings(max_examples=120, deadline=None)
@given(st.lists(st.tuples(ELEVEN, TYPES), min_size=1, max_size=25), st.sampled_from([None, NOW, FROM_2032]))
def test_every_column_is_that_of_the_second_implementation(
    rows: list[tuple[str, str | None]], on: dt.date | None
) -> None:
    numbers, types = zip(*rows, strict=True)
    found = classify(pl.Series(numbers), pl.Series(types, dtype=pl.String), on=on)
    assert found.rows() == [scalar(number, type_id, on) for number, type_id in rows]


@settings(max_examples=60, deadline=None)
@given(st.lists(numbers_near_right(), min_size=1, max_size=25))
def test_python_stdnum_agrees_on_all_that_it_knows(numbers: list[str]) -> None:
    found = classify(pl.Series(numbers), on=dt.datetime.now(tz=dt.UTC).date())
    for number, row in zip(numbers, found.iter_rows(named=True), strict=True):
        known = row["synthetic"] in {"", "nav"} and row["kind"] != "fh"
        assert not known or row["valid"] == fodselsnummer.is_valid(number)


# --- the known answers

HOW = {"fnr-2032": FROM_2032}
# Rows where we hold against the suite, by docs/identity-numbers.md: number of rows, our reason.
AGAINST = {"fnr-formatted": (5, "blank")}


def known_answers() -> list[dict[str, str]]:
    return pl.read_csv(KNOWN / "identity_numbers.csv", infer_schema=False).fill_null("").to_dicts()


def judged(row: dict[str, str]) -> dict[str, object]:
    # Suites do not know list 9032: only its type 3 makes an H-number of month + 40.
    type_id = "3" if row["kind"] in {"hnr", "dnr+hnr"} else None
    return one(row["number"], type_id, on=HOW.get(row["kind"], FROM_2032 if row["kind"] == "dnr-2032" else NOW))


@shared
def test_verdict_of_every_known_number() -> None:
    against = []
    for place, row in enumerate(known_answers()):
        found = judged(row)
        if row["kind"] in AGAINST and found["reason"] == AGAINST[row["kind"]][1]:
            against.append(row["kind"])
            found["valid"] = True
        assert row["valid"] == "" or found["valid"] == (row["valid"] == "1"), (place, row["kind"], found["reason"])
    assert {kind: against.count(kind) for kind in AGAINST} == {kind: count for kind, (count, _) in AGAINST.items()}


@shared
def test_series_of_every_known_number() -> None:
    marks = {"1": {"tenor", "nav"}, "0": {""}}
    odd = [row["kind"] for row in known_answers() if judged(row)["synthetic"] not in marks[row["synthetic"]]]
    assert odd == ["dnr+hnr"]  # the one decision: nobody issues an H-number in the form of a D-number


@shared
def test_birth_date_and_sex_of_every_known_number_that_is_valid() -> None:
    seen, told = 0, 0
    for place, row in enumerate(known_answers()):
        found = judged(row)
        told += bool(row["computed_birth_date"]) and row["valid"] == "1"
        if row["computed_birth_date"] and found["valid"] and found["reason"] != "k1_2032":
            seen += 1
            sex = {"1": "M", "2": "K"}[str(found["sex"])]
            assert (str(found["birth_date"]), sex) == (row["computed_birth_date"], row["computed_sex"]), place
    assert (seen, told) == (54, 55)  # one is right by the rule of 2032 alone: no sex, no century


@shared
def test_tenor_people_are_synthetic_and_read_right() -> None:
    people = pl.read_csv(KNOWN / "tenor_people.csv", infer_schema=False)
    found = classify(people["fnr"], on=NOW)
    assert set(found["synthetic"]) == {"tenor"}
    assert found["valid"].all()
    assert found["birth_date"].cast(pl.String).to_list() == people["birth_date"].to_list()
    assert found["sex"].replace_strict({"1": "M", "2": "K"}).to_list() == people["sex"].to_list()


@shared
def test_verdict_of_every_known_organisation_number() -> None:
    known = pl.read_csv(KNOWN / "organisation_numbers.csv", infer_schema=False)
    found = known.hstack(classify_organisations(known["number"]).rename({"valid": "ours"}))
    nine = found.filter(kind="orgnr")
    assert (nine["ours"] == (nine["computed_mod11"] == "1")).all()
    assert (nine["ours"] == pl.Series([orgnr.is_valid(number) for number in nine["number"]])).all()
    decided = found.filter(pl.col("valid").is_not_null())
    assert (decided["ours"] == (decided["valid"] == "1")).all()
    assert (decided.height, found.filter(pl.col("valid").is_null(), reason="control_digit").height) == (296, 3)


# --- synthetic series, however they are dressed

DRESSES = {
    "blank in front": " {}", "blank behind": "{} ", "line break behind": "{}\n",
    "tab": "\t{}", "no-break space": "\xa0{}",
    "zero width space": "\u200b{}", "byte order mark": "\ufeff{}", "apostrophe": "'{}", "letters": "NO{}",
    "zeros in front": "00{}", "spreadsheet": "{}.0", "quotes": '"{}"',
}  # fmt: skip


def people_of(series: str, day: int) -> Iterable[str]:
    """A number of each month of a series, control digits right."""
    for month in range(1, 13):
        made = (with_control(f"{day:02d}{month + OFFSETS[series]:02d}80{person}") for person in range(100, 499))
        yield next(number for number in made if number)


@pytest.mark.parametrize("series", ["nav", "nhn", "tenor"])
@pytest.mark.parametrize("day", [5, 28, 45, 68])
@pytest.mark.parametrize("type_id", [None, "1", "2", "9", "12", "4", "5"])
def test_each_month_of_each_series_is_caught(series: str, day: int, type_id: str | None) -> None:
    numbers = list(people_of(series, day))
    found = classify(pl.Series(numbers), pl.Series([type_id] * len(numbers), dtype=pl.String))
    assert found["synthetic"].to_list() == [series] * 12
    assert found["birth_date"].to_list() == [scalar(number, None, None)[4] for number in numbers]


@pytest.mark.parametrize("series", ["nav", "nhn", "tenor"])
@pytest.mark.parametrize("form", DRESSES.values(), ids=list(DRESSES))
def test_a_dressed_number_is_caught_and_never_valid(series: str, form: str) -> None:
    texts = pl.Series([form.format(number) for number in people_of(series, 7)])
    for type_id in (None, "1", "2", "9"):
        found = classify(texts, pl.Series([type_id] * len(texts), dtype=pl.String))
        assert set(found["synthetic"]) == {series}
        assert not found["valid"].any()


def test_other_ways_to_write_a_synthetic_number() -> None:
    leading = next(iter(people_of("tenor", 7)))
    wide = "".join(chr(0xFF10 + int(digit)) for digit in TENOR)
    arabic = "".join(chr(0x0660 + int(digit)) for digit in TENOR)
    spaced, hyphens = f"{TENOR[:6]} {TENOR[6:]}", "-".join(TENOR)
    for text in (wide, arabic, spaced, hyphens, f"{TENOR[:6]}\u2013{TENOR[6:]}", leading.removeprefix("0")):
        assert one(text)["synthetic"] == "tenor"
    assert [one(text)["reason"] for text in (wide, spaced, hyphens)] == ["blank"] * 3
    assert one(leading.removeprefix("0"))["reason"] == "length"


def test_a_wrong_control_digit_hides_no_synthetic_number_but_is_asked_of_foreign_ones() -> None:
    wrong = TENOR[:-1] + "0"
    assert {type_id: one(wrong, type_id)["synthetic"] for type_id in (None, "1", "2", "3", "9", "5")} == {
        None: "tenor", "1": "tenor", "2": "tenor", "3": "tenor", "9": "", "5": "",
    }  # fmt: skip


def test_a_dressed_synthetic_number_of_2032_is_caught_but_where_foreign_numbers_stand() -> None:
    number = next(n for person in range(100, 300) if (n := with_control(f"018180{person}", remainder=2)))
    types = [None, "1", "3", "12", "5", "9"]
    for text in (f"{number[:6]} {number[6:]}", number.removeprefix("0"), f"NO{number}"):
        found = classify(pl.Series([text] * len(types)), pl.Series(types))
        assert found["synthetic"].to_list() == ["tenor"] * 4 + ["", ""]


@pytest.mark.parametrize("month", [0, 13, 40, 53, 65, 78, 79, 80, 93, 99])
def test_months_beside_a_series_are_of_none(month: int) -> None:
    for day in (12, 52, 85):
        assert one(f"12{month:02d}80123{day}")["synthetic"] == ""
        assert one(f"{day}{month:02d}8012345")["synthetic"] == ""


def test_fh_numbers_may_have_any_digits_where_a_month_would_stand() -> None:
    numbers = [with_control(f"8{digit}{month}80123") for digit in range(10) for month in range(66, 93)]
    found = classify(
        pl.Series([number for number in numbers if number]), pl.Series(["12"] * len([*filter(None, numbers)]))
    )
    assert set(found["kind"]) == {"fh"}
    assert set(found["synthetic"]) == {""}
    assert found["valid"].all()
    assert found["sex"].null_count() == found["birth_date"].null_count() == found.height > 100


def with_test_person(number: str) -> Facts:
    facts = identity_facts()
    people = facts.test_persons
    update = {
        "digests": people.digests | {people.digest(number)},
        "buckets": people.buckets | {int(number) % people.modulus},
    }
    return facts.model_copy(update={"test_persons": people.model_copy(update=update)})


def test_a_published_test_person_is_named_as_such_in_any_dress() -> None:
    others = list(people_of("nhn", 12))[:3]
    texts = [TENOR, f" {TENOR}", f"{TENOR[:6]}-{TENOR[6:]}", TENOR_D, *others]
    found = classify(pl.Series(texts), facts=with_test_person(TENOR))
    assert found["synthetic"].to_list() == ["test_person"] * 3 + ["tenor"] + ["nhn"] * 3


def test_the_packaged_list_of_test_persons_is_whole() -> None:
    people = identity_facts().test_persons
    assert len(people.digests) == 49
    assert all(0 <= bucket < people.modulus for bucket in people.buckets)
    # Salt and form of the digests must stay as they were when the list was made, or nobody in it is found again.
    assert people.digest(TENOR) == "f3963bfe325044c9e82e0a8046b2e66ac2a5737dd50920e0162b5ede75b074e5"


# --- kinds, typeIDs, dates


def made(day: int, month: int, person: int = 100) -> str:
    return next(
        number
        for step in range(300)
        if (number := with_control(f"{day:02d}{month:02d}80{person + step:03d}")) is not None
    )


CASES = """
fnr        | ok     reject reject | warn   | reject reject | reject
dnr        | reject ok     reject | warn   | reject reject | reject
hnr        | reject reject ok     | warn   | reject reject | reject
tenor      | stop   stop   stop   | stop   | stop   stop   | stop
tenor d    | stop   stop   stop   | stop   | stop   stop   | stop
nhn        | stop   stop   stop   | stop   | stop   stop   | stop
nav d      | stop   stop   stop   | stop   | stop   stop   | stop
fh         | reject reject reject | warn   | reject reject | reject
ddmmyy     | reject reject reject | ok     | reject reject | reject
twelve     | reject reject reject | reject | reject reject | reject
wrong      | reject reject reject | reject | reject reject | reject
""".strip().splitlines()
TYPE_ORDER = ("1", "2", "3", "9", "10", "12", "11")


def example(name: str) -> str:
    forms = {
        "fnr": made(12, 3), "dnr": made(52, 3), "hnr": made(12, 43), "tenor": TENOR, "tenor d": TENOR_D,
        "nhn": made(12, 68), "nav d": made(52, 43), "fh": made(85, 3), "ddmmyy": "120380", "twelve": "201012345678",
        "wrong": made(12, 3)[:-1] + str((int(made(12, 3)[-1]) + 1) % 10),
    }  # fmt: skip
    return forms[name]


@pytest.mark.parametrize("line", CASES)
def test_acceptance_matrix(line: str) -> None:
    name, *verdicts = line.replace("|", " | ").split(" | ")
    number, types = example(name.strip()), pl.Series(TYPE_ORDER)
    found = classify(pl.Series([number] * len(types)), types)
    assert accept(found, types).to_list() == " ".join(verdicts).split()


def test_what_npr_takes_later_is_a_setting() -> None:
    numbers, types = pl.Series([example("fh"), example("twelve"), "AB123456"]), pl.Series(["12", "10", "4"])
    found = classify(numbers, types)
    assert accept(found, types).to_list() == ["reject"] * 3
    assert accept(found, types, frozenset({"4", "10", "12"})).to_list() == ["ok"] * 3


def test_a_number_without_typeid_is_accepted_under_none() -> None:
    types = pl.Series([None], dtype=pl.String)
    assert accept(classify(pl.Series([example("fnr")]), types), types).to_list() == ["reject"]


def test_type_3_alone_makes_an_h_number_and_only_of_a_plain_day() -> None:
    assert {type_id: one(made(12, 43), type_id)["synthetic"] for type_id in (None, "1", "2", "3", "9", "x")} == {
        None: "nav", "1": "nav", "2": "nav", "3": "", "9": "nav", "x": "nav",
    }  # fmt: skip
    assert one(made(52, 43), "3")["synthetic"] == "nav"
    assert one(made(12, 43), "3")["kind"] == "hnr"


def test_h_number_with_control_digits_of_the_real_month() -> None:
    real = made(12, 3)
    number = f"{int(real) + 40 * 10**7:011d}"
    found = {type_id: one(number, type_id) for type_id in ("3", "1")}
    assert [(found[t]["valid"], found[t]["reason"]) for t in ("3", "1")] == [
        (True, "hnr_other_rule"), (False, "control_digits"),
    ]  # fmt: skip


def test_rule_of_2032_by_the_day_given() -> None:
    number = next(n for person in range(100, 300) if (n := with_control(f"010180{person}", remainder=2)))
    days = (None, dt.date(2031, 12, 31), dt.date(2032, 1, 1))
    found = [one(number, "1", on=on) for on in days]
    assert [(row["valid"], row["reason"], row["sex"], row["birth_date"]) for row in found] == [
        (False, "k1_2032", None, None), (False, "k1_2032", None, None), (True, "k1_2032", None, None),
    ]  # fmt: skip
    verdicts = [
        accept(classify(pl.Series([number]), pl.Series([type_id]), on=on), pl.Series([type_id])).item()
        for on, type_id in ((None, "1"), (dt.date(2032, 1, 1), "1"), (None, "2"))
    ]
    assert verdicts == ["warn", "ok", "reject"]


@pytest.mark.parametrize(
    ("text", "type_id", "kind", "valid", "reason"),
    [
        (None, "1", "none", False, "missing"),
        ("", None, "none", False, "missing"),
        (" - ", "4", "foreign", False, "missing"),
        ("010203", "9", "birth_date", True, ""),
        ("290200", "9", "birth_date", True, ""),
        ("290203", "9", "birth_date", False, "date"),
        ("320103", "9", "birth_date", False, "date"),
        ("011303", "9", "birth_date", False, "date"),
        ("010003", "9", "birth_date", False, "date"),
        ("01 02 03", "9", "birth_date", False, "blank"),
        ("01.02.03", "9", "birth_date", False, "blank"),
        ("010203", "4", "foreign", True, "unchecked"),
        ("AB123456", "4", "foreign", True, "unchecked"),
        ("19800101-1234", "5", "foreign", True, "unchecked"),
        ("800101+1234", "5", "foreign", True, "unchecked"),
        ("AB 123", "4", "foreign", False, "form"),
        ("AB123\n", "4", "foreign", False, "form"),
        ("A" * 21, "8", "foreign", False, "form"),
        ("AB123456", "9", "none", False, "letters"),
        ("1234567", "1", "none", False, "length"),
        ("1" * 40, "1", "none", False, "length"),
        ("201012345678", "10", "duf", True, ""),
        ("185312345678", "10", "duf", False, "duf_year"),
        ("210012345678", "10", "duf", False, "duf_year"),
        ("201012345678", "6", "foreign", True, "unchecked"),
    ],
)
def test_other_forms(text: str | None, type_id: str | None, kind: str, valid: bool, reason: str) -> None:  # noqa: FBT001
    found = one(text, type_id)
    assert (found["kind"], found["valid"], found["reason"], found["synthetic"]) == (kind, valid, reason, "")


def test_the_day_given_is_the_last_that_is_not_too_late() -> None:
    born, before = dt.date(2020, 11, 17), dt.date(2020, 11, 16)
    assert [one(TENOR, on=on)["reason"] for on in (None, born, before)] == ["", "", "future"]
    assert [one("202012345678", "10", on=on)["reason"] for on in (born, dt.date(2019, 12, 31))] == ["", "duf_year"]


def test_known_birth_dates_complete_and_contradict() -> None:
    six, plain, d_number = "120380", made(12, 3), made(52, 3)
    rows = [
        (six, dt.date(1980, 3, 12), dt.date(1980, 3, 12), ""),
        (six, dt.date(1880, 3, 12), dt.date(1880, 3, 12), ""),
        (six, dt.date(1980, 3, 13), None, "birth_date_differs"),
        (six, None, None, ""),
        (plain, dt.date(1980, 3, 12), dt.date(1980, 3, 12), ""),
        (plain, dt.date(1880, 3, 12), dt.date(1980, 3, 12), "birth_date_differs"),
        (d_number, dt.date(1980, 9, 30), dt.date(1980, 3, 12), ""),
        (d_number, dt.date(1981, 3, 12), dt.date(1980, 3, 12), "birth_date_differs"),
        ("AB", dt.date(1980, 3, 12), None, "letters"),
    ]
    numbers, known, dates, reasons = (list(column) for column in zip(*rows, strict=True))
    found = classify(pl.Series(numbers), None, pl.Series(known))
    assert (found["birth_date"].to_list(), found["reason"].to_list()) == (dates, reasons)


def test_number_of_2032_takes_its_century_from_the_known_birth_date() -> None:
    number = next(n for person in range(100, 300) if (n := with_control(f"010180{person}", remainder=1)))
    known = pl.Series([dt.date(2080, 1, 1), dt.date(2080, 1, 2)])
    found = classify(pl.Series([number] * 2), None, known, on=dt.date(2090, 1, 1))
    assert found["birth_date"].to_list() == [dt.date(2080, 1, 1), None]
    assert found["valid"].all()


def test_fid_of_a_birth_date_is_a_valid_birth_date() -> None:
    dates = pl.DataFrame({"born": [dt.date(2003, 2, 1), dt.date(1899, 12, 31), None]})
    fids = dates.select(birth_date_fid(pl.col("born"))).to_series()
    assert fids.to_list() == ["010203", "311299", None]
    assert classify(fids, pl.Series(["9"] * 3))["kind"].to_list() == ["birth_date", "birth_date", "none"]


def test_integer_columns_and_empty_columns() -> None:
    assert classify(pl.Series([int(TENOR)]), pl.Series([1]))["synthetic"].to_list() == ["tenor"]
    empty = classify(pl.Series([], dtype=pl.String))
    assert empty.is_empty()
    assert empty.schema == pl.Schema(SCHEMA)


def test_columns_hold_nothing_but_codes_and_exceptions_no_number() -> None:
    texts = [TENOR, f"x{TENOR}", "AB1234567", None, *people_of("nav", 12)]
    found = classify(pl.Series(texts))
    assert found.schema == pl.Schema(SCHEMA)
    assert set(found["kind"]) <= set(KINDS)
    assert set(found["synthetic"]) <= set(SYNTHETIC)
    assert set(found["reason"]) <= set(REASONS)
    faults = ((pl.Series(["1", "2"]), None), (None, pl.Series([f"{TENOR}"])))
    for types, dates in faults:
        with pytest.raises(ValueError, match="birth_dates") as caught:
            classify(pl.Series([TENOR]), types, dates)
        assert TENOR not in str(caught.value)


def test_every_reason_can_be_met() -> None:
    born_1980 = made(12, 3)
    real_month = f"{int(born_1980) + 40 * 10**7:011d}"
    of_2032 = next(n for person in range(100, 300) if (n := with_control(f"010180{person}", remainder=2)))
    no_century = next(n for person in range(750, 899) if (n := with_control(f"010150{person}")))
    unborn = next(n for person in range(500, 999) if (n := with_control(f"010139{person}")))
    rows = [
        (born_1980, "1"), ("AB", "4"), (real_month, "3"), (of_2032, "1"), ("130380", "9"), (f"{TENOR} ", "1"),
        (unborn, "1"), (TENOR[:-1] + "0", "1"), (no_century, "1"), ("32018012345", "1"), ("185012345678", "10"),
        ("A B", "4"), ("1", "1"), ("x", "1"), ("", "1"),
    ]  # fmt: skip
    numbers, types = (pl.Series(column) for column in zip(*rows, strict=True))
    known = pl.Series([dt.date(1980, 3, 12)] * 5 + [None] * (len(rows) - 5))
    assert tuple(classify(numbers, types, known, on=NOW)["reason"]) == (
        "", "unchecked", "hnr_other_rule", "k1_2032", "birth_date_differs", *FAULTS,
    )  # fmt: skip


# --- organisation numbers


@pytest.mark.parametrize(
    ("number", "towards", "verdict"),
    [
        ("999999998", "", ("orgnr", False, False, "control_digit")),
        ("777777777", "", ("orgnr", False, True, "sentinel")),
        ("777777777", "validation", ("orgnr", True, True, "")),
        ("7777777770", "", ("feed", False, True, "sentinel")),
        ("7777777774", "validation", ("feed", False, True, "feed_digit")),
        ("777 777 777", "", ("orgnr", False, True, "blank")),
        ("777 777 777", "validation", ("orgnr", False, True, "blank")),
        ("12345678", "", ("none", False, False, "length")),
        ("NO123456785", "", ("none", False, False, "letters")),
        ("", "", ("none", False, False, "missing")),
        (None, "", ("none", False, False, "missing")),
    ],
)
def test_organisation_numbers(number: str | None, towards: str, verdict: tuple[str, bool, bool, str]) -> None:
    found = classify_organisations(pl.Series([number], dtype=pl.String), validation=towards == "validation")
    assert found.row(0) == verdict


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text("0123456789", min_size=8, max_size=10), min_size=1, max_size=40))
def test_organisation_numbers_are_those_of_python_stdnum(numbers: list[str]) -> None:
    made_right = [f"8{n[1:8]}{check}" for n in numbers for check in range(10) if orgnr.is_valid(f"8{n[1:8]}{check}")]
    tested = [n for n in [*numbers, *made_right] if not n.startswith("777777777")]
    found = classify_organisations(pl.Series(tested))
    for number, row in zip(tested, found.iter_rows(named=True), strict=True):
        feed = len(number) == 10 and number[9] in "01239" and orgnr.is_valid(number[:9])
        assert row["valid"] == (orgnr.is_valid(number) or feed)
        assert row["reason"] != "first_digit" or number[0] not in "89"


# --- the facts


def texts() -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in FOLDER.iterdir()}


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("series.csv", "tenor,80", "tenor,eighty", "series"),
        ("series.csv", "tenor,", "tenors,", "series"),
        ("series.csv", "tenor,80", ",80", "name is empty"),
        ("facts.toml", "weights = [3, ", "weights = [", "organisation.weights"),
        ("facts.toml", "largest_remainder", "largest", "largest"),
        ("acceptance.csv", "fnr,1,ok", "fnr,1,okay", "verdict"),
        ("acceptance.csv", "fnr,2,", "fnr,1,", "twice"),
        ("test_persons.csv", "nhn-testaktoerer", "somebody", "source"),
    ],
)
def test_a_wrong_fact_stops_with_its_place(name: str, old: str, new: str, said: str) -> None:
    changed = texts()
    assert old in changed[name]
    changed[name] = changed[name].replace(old, new, 1)
    with pytest.raises(WrongUse) as caught:
        read_facts(changed)
    assert said in str(caught.value)


def test_an_empty_list_of_test_persons_stops() -> None:
    with pytest.raises(WrongUse, match="empty"):
        read_facts(texts() | {"test_persons.csv": texts()["test_persons.csv"].splitlines()[0] + "\n"})


def test_no_number_of_a_person_stands_in_the_facts() -> None:
    for name, text in texts().items():
        assert not re.search(r"(?<![0-9a-f])[0-9]{11}(?![0-9a-f])", text), name


def test_the_page_tells_every_decision_as_it_is_kept() -> None:
    page = (ROOT / "docs" / "identity-numbers.md").read_text(encoding="utf-8")
    for row in decisions():
        assert f"| {row['question']} | {row['sources']} | {row['decision']} |" in page, row["id"]
