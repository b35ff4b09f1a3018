"""The period type: its keys, ends, order, and what it refuses."""

from __future__ import annotations

import pickle
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import WrongUse
from schemas.period import KindName, Period, kinds, period_keys

IN_2020 = ["M01", "M02", "M03", "T1", "M05", "M06", "M07", "T2", "M09", "M10", "M11", "A", "K"]


@pytest.mark.parametrize("key", period_keys())
def test_every_key_parses_to_itself(key: str) -> None:
    period = Period.parse(key)
    assert period.key == str(period) == key
    assert period == Period(period.year, period.kind, period.number)
    assert period.start == date(period.year, 1, 1)


def test_keys_are_in_order_of_their_ends_and_only_appended() -> None:
    keys = period_keys()
    periods = [Period.parse(key) for key in keys]
    assert periods == sorted(periods)
    assert len(keys) == len({(period.end, period.kind == "kpp") for period in periods}) == 130
    assert list(keys[39:52]) == [f"2020-{suffix}" for suffix in IN_2020]
    assert (keys[0], keys[-1]) == ("2017-M01", "2026-K")
    assert [period.year for period in periods] == sorted(period.year for period in periods)


@pytest.mark.parametrize(
    ("key", "end"),
    [
        ("2020-M01", date(2020, 1, 31)),
        ("2020-M02", date(2020, 2, 29)),
        ("2024-M02", date(2024, 2, 29)),
        ("2019-M02", date(2019, 2, 28)),
        ("2021-M02", date(2021, 2, 28)),
        ("2020-M06", date(2020, 6, 30)),
        ("2020-T1", date(2020, 4, 30)),
        ("2020-T2", date(2020, 8, 31)),
        ("2020-M11", date(2020, 11, 30)),
        ("2020-A", date(2020, 12, 31)),
        ("2020-K", date(2020, 12, 31)),
    ],
)
def test_end_is_the_real_end_of_the_month(key: str, end: date) -> None:
    assert Period.parse(key).end == end


@pytest.mark.parametrize(
    ("key", "modules"),
    [
        ("2020-M01", ("ord", "ide")),
        ("2020-T1", ("ord", "ide", "tsb")),
        ("2020-A", ("ord", "ide", "tsb")),
        ("2020-K", ("kpp",)),
    ],
)
def test_modules(key: str, modules: tuple[str, ...]) -> None:
    assert Period.parse(key).modules == modules


@pytest.mark.parametrize(
    ("text", "nearest"),
    [
        ("2020-M04", "2020-T1"),
        ("2020-M08", "2020-T2"),
        ("2020-M12", "2020-A"),
        ("2020-M13", "2020-A"),
        ("2020-M00", "2020-M01"),
        ("2020-T0", "2020-T1"),
        ("2020-T3", "2020-A"),
        ("2020-T9", "2020-A"),
        ("2020-A1", "2020-A"),
        ("2020-K1", "2020-K"),
        ("2020k", "2020-K"),
        ("20-M01", "2020-M01"),
        ("2020-m01", "2020-M01"),
        ("2020-M1", "2020-M01"),
        ("2020M01", "2020-M01"),
        ("2020-t2", "2020-T2"),
        (" 2020-T1", "2020-T1"),
        ("2020-T1\n", "2020-T1"),
        ("2020 T1", "2020-T1"),
        ("\uff12\uff10\uff12\uff10-\uff34\uff11", "2020-T1"),
        ("2020-M\uff101", "2020-M01"),
        ("2016-A", "2017-A"),
        ("2027-M04", "2026-T1"),
        ("9999-T2", "2026-T2"),
        ("2020-M" + "9" * 5000, "2020-M09"),
        ("2020-01", "2020-M01"),
    ],
)
def test_anything_else_is_refused_with_form_and_nearest_key(text: str, nearest: str) -> None:
    with pytest.raises(WrongUse) as refused:
        Period.parse(text)
    assert "2020-M03, 2020-T1, 2020-A or 2020-K" in refused.value.fix
    assert refused.value.fix.endswith(f"nearest: {nearest}")
    assert len(refused.value.what) < 80


@given(st.one_of(st.text(), st.from_regex(r"\A[0-9]{1,6}-?[MTAKmtak]?[0-9]{0,6}\Z"), st.text("0129-MTAK ０²Ⅳ")))
def test_random_text_is_a_key_or_refused(text: str) -> None:
    if text in period_keys():
        assert Period.parse(text).key == text
        return
    with pytest.raises(WrongUse) as refused:
        Period.parse(text)
    assert refused.value.fix.rpartition(" ")[2] in period_keys()


@given(
    st.integers() | st.integers(2016, 2027),
    st.sampled_from(["month", "tertial", "annual", "kpp"]),
    st.integers() | st.integers(-1, 13),
)
def test_parts_are_a_key_or_refused(year: int, kind: KindName, number: int) -> None:
    known = {(period.year, period.kind, period.number) for period in map(Period.parse, period_keys())}
    if (year, kind, number) in known:
        assert Period(year, kind, number).key in period_keys()
        return
    with pytest.raises(WrongUse) as refused:
        Period(year, kind, number)
    assert refused.value.fix.rpartition(" ")[2] in period_keys()


@pytest.mark.parametrize("number", [0, 2, 7])
def test_one_annual_report_a_year(number: int) -> None:
    with pytest.raises(WrongUse):
        Period(2020, "annual", number)
    with pytest.raises(WrongUse):
        Period(2020, "kpp", number)


def test_order_hash_and_pickle() -> None:
    first, second = Period.parse("2020-T1"), Period.parse("2020-M05")
    annual, costs = Period.parse("2020-A"), Period.parse("2020-K")
    assert annual.end == costs.end
    assert annual < costs < Period.parse("2021-M01")
    assert not costs < annual
    assert annual != costs
    assert first < second
    assert second >= first
    assert max(Period.parse("2019-A"), Period.parse("2020-M01")).key == "2020-M01"
    assert {first, Period.parse("2020-T1")} == {first}
    assert pickle.loads(pickle.dumps(first)) == first  # noqa: S301 - our own bytes
    with pytest.raises(TypeError):
        _ = first < "2020-M05"


def test_a_message_with_a_report_of_its_own_leads_to_that() -> None:
    annual, costs = Period.parse("2020-A"), Period.parse("2020-K")
    assert annual.carrying(("ord", "ide")) == annual.carrying(()) == annual
    assert annual.carrying(("kpp",)) == annual.carrying(("ide", "kpp")) == costs.carrying(("kpp",)) == costs
    with pytest.raises(WrongUse, match="ord and kpp are not one report"):
        annual.carrying(("kpp", "ord"))


def test_activity_is_reported_about_every_month_once() -> None:
    book = kinds()
    ends = [month for kind in (book.month, book.tertial, book.annual) for month in kind.ends.values()]
    assert sorted(ends) == list(range(1, 13))
    assert set(book.month.ends) | set(book.month.instead) == set(range(1, 13))
