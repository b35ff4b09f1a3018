"""Splitting: whole patients, in order, as full as possible, never above the limit."""

from __future__ import annotations

import gzip
import random
from collections.abc import Callable
from datetime import date
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.config import SplitAgreement
from schemas.errors import DataRefused, WrongUse
from transforms.shipping.envelope import content_pieces
from transforms.shipping.packing import base64_size, gzip_payload
from transforms.shipping.split import (
    STEP_BYTES,
    Around,
    Bound,
    Ends,
    Limits,
    Part,
    PatientTooLarge,
    plan_parts,
    plan_parts_gzip,
    split_policy,
)


def _ends(sizes: list[int]) -> Ends:
    return np.cumsum(np.array(sizes, dtype=np.int64))


def _within(size_of: Callable[[int], int], limit: int, *others: Bound, large: int = 0) -> Limits:
    return Limits(Bound("mail", size_of, limit), others, large)


def _mail(length: int) -> int:
    return 900 + base64_size(length // 16 * 16 + 16)


def _greedy(sizes: list[int], fixed: Callable[[int], int], limit: int) -> list[tuple[int, int]]:
    """The same answer, one patient at a time."""
    parts: list[tuple[int, int]] = []
    first = 0
    for last in range(1, len(sizes) + 1):
        if _mail(fixed(len(parts)) + sum(sizes[first:last])) > limit:
            parts.append((first, last - 1))
            first = last - 1
    return [*parts, (first, len(sizes))]


@settings(deadline=None)
@given(
    sizes=st.lists(st.integers(0, 3_000), min_size=1, max_size=60),
    fixed=st.integers(0, 500),
    grows=st.booleans(),
    slack=st.integers(0, 8_000),
)
def test_parts_cover_everything_and_are_as_full_as_possible(
    sizes: list[int],
    fixed: int,
    grows: bool,  # noqa: FBT001
    slack: int,
) -> None:
    def shell(part: int) -> int:
        return fixed + (len(str(part)) * 40 if grows else 0)

    limit = _mail(fixed + 80 + max(sizes)) + slack
    ends = _ends(sizes)
    parts = plan_parts(ends, shell, _within(_mail, limit))
    assert [patient for part in parts for patient in range(part.first, part.last_exclusive)] == list(range(len(sizes)))
    assert [(part.first, part.last_exclusive) for part in parts] == _greedy(sizes, shell, limit)
    for number, part in enumerate(parts):
        assert part.document_bytes == shell(number) + sum(sizes[part.first : part.last_exclusive])
        assert part.packed_bytes == _mail(part.document_bytes) <= limit
        if part.last_exclusive < len(sizes):
            assert _mail(part.document_bytes + sizes[part.last_exclusive]) > limit


def test_one_byte_around_the_limit() -> None:
    ends = _ends([1_000, 1_000, 1_000])
    exact = _mail(100 + 3_000)
    assert plan_parts(ends, 100, _within(_mail, exact)) == [Part(0, 3, 3_100, exact)]
    assert len(plan_parts(ends, 100, _within(_mail, exact + 1))) == 1
    short = plan_parts(ends, 100, _within(_mail, exact - 1))
    assert [(part.first, part.last_exclusive) for part in short] == [(0, 2), (2, 3)]


def test_a_size_that_equals_the_limit_to_the_byte_fits() -> None:
    def bare(length: int) -> int:
        return length

    ends = _ends([10, 20, 25])
    for limit, first_part in [(34, 1), (35, 2), (36, 2), (59, 2), (60, 3), (61, 3)]:
        assert plan_parts(ends, 5, _within(bare, limit))[0].last_exclusive == first_part

    source = _Source([random.Random(4).randbytes(500)])
    ((_, payload),) = plan_parts_gzip(source, source.ends, _around, _within(bare, 1_000))
    ((part, _),) = plan_parts_gzip(source, source.ends, _around, _within(bare, len(payload)))
    assert part.packed_bytes == len(payload)
    with pytest.raises(PatientTooLarge):
        next(plan_parts_gzip(source, source.ends, _around, _within(bare, len(payload) - 1)))


def test_a_million_patients_take_one_search_per_part() -> None:
    calls = 0

    def counted(length: int) -> int:
        nonlocal calls
        calls += 1
        return _mail(length)

    ends = np.arange(1, 1_000_001, dtype=np.int64) * 500
    parts = plan_parts(ends, 800, _within(counted, 10_000_000))
    assert parts[-1].last_exclusive == 1_000_000
    assert calls <= len(parts) + 30


@pytest.mark.parametrize("index", [0, 2, 4])
def test_a_patient_that_exceeds_the_limit_alone(index: int) -> None:
    sizes = [100] * 5
    sizes[index] = 50_000
    with pytest.raises(PatientTooLarge) as caught:
        plan_parts(_ends(sizes), 100, _within(_mail, _mail(100 + 49_999 - 16)))
    assert caught.value.index == index
    assert isinstance(caught.value, DataRefused)
    assert str(_mail(50_100)) in caught.value.what
    assert all(way in caught.value.fix for way in ("gzip", "larger limit", "NHN-EDI-STOR"))


def test_the_edges() -> None:
    assert plan_parts(_ends([]), 100, _within(_mail, 10_000)) == []
    assert list(plan_parts_gzip(lambda _a, _b: b"", _ends([]), _around, _within(_mail, 10_000))) == []
    assert plan_parts(_ends([0, 0]), 100, _within(_mail, _mail(100))) == [Part(0, 2, 100, _mail(100))]
    with pytest.raises(WrongUse, match="without patients"):
        plan_parts(_ends([1]), 100, _within(_mail, _mail(100) - 200))
    with pytest.raises(WrongUse, match="without patients"):
        plan_parts(_ends([1]), 100, _within(_mail, 5))
    with pytest.raises(ValueError, match="cumulative"):
        plan_parts(np.array([5, 3], dtype=np.int64), 0, _within(_mail, 10_000))


# --- gzip -------------------------------------------------------------------------------------------------------------


def _patients(seed: int, count: int, largest: int) -> list[bytes]:
    """Fragments that compress like XML: a few tags around random digits, of very different lengths."""
    dice = random.Random(seed)
    return [
        b"<Episode>%s</Episode>"
        % b"".join(b'<Kode v="%d"/>' % dice.randrange(10**9) for _ in range(dice.randrange(largest)))
        for _ in range(count)
    ]


class _Source:
    """Hands out fragments and counts what was asked for."""

    def __init__(self, patients: list[bytes]) -> None:
        self.patients = patients
        self.ends = _ends([len(patient) for patient in patients])
        self.asked = 0

    def __call__(self, first: int, last: int) -> bytes:
        data = b"".join(self.patients[first:last])
        self.asked += len(data)
        return data


def _prefix(part: int) -> bytes:
    return b'<Melding lopenr="%d">' % (part * 1_000)


SUFFIX = b"</Melding>"


def _around(part: int) -> Around:
    return Around(_prefix(part), SUFFIX)


@settings(deadline=None, max_examples=80)
@given(
    seed=st.integers(0, 10**6),
    count=st.integers(1, 120),
    largest=st.integers(1, 60),
    slack=st.integers(0, 6_000),
)
def test_gzip_parts(seed: int, count: int, largest: int, slack: int) -> None:
    source = _Source(_patients(seed, count, largest))
    biggest = max(len(gzip_payload(_prefix(count) + patient + SUFFIX)) for patient in source.patients)
    limit = _mail(biggest + 40) + slack
    made = list(plan_parts_gzip(source, source.ends, _around, _within(_mail, limit)))
    covered = [patient for part, _ in made for patient in range(part.first, part.last_exclusive)]
    assert covered == list(range(count))
    for number, (part, payload) in enumerate(made):
        patients = source.patients[part.first : part.last_exclusive]
        document = _prefix(number) + b"".join(patients) + SUFFIX
        assert gzip.decompress(payload) == document
        assert part.document_bytes == len(document)
        assert part.packed_bytes == _mail(len(payload)) <= limit
        if part.last_exclusive < count:
            more = _prefix(number) + b"".join([*patients, source.patients[part.last_exclusive]]) + SUFFIX
            # Feeding in steps or at once may differ by a few bytes in other builds of zlib.
            assert _mail(len(gzip_payload(more)) + 32) > limit


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10**6), count=st.integers(1, 60), slack=st.integers(0, 3_000))
def test_gzip_parts_of_base64(seed: int, count: int, slack: int) -> None:
    """A Base64Container is written on the way, three bytes at a time, whatever the borders of steps and patients."""
    source = _Source(_patients(seed, count, 12))

    def around(part: int) -> Around:
        return Around(_prefix(part), SUFFIX, b"<Head n='%d'>" % part, b"</Head>\n", "base64")

    def document(first: int, last: int, part: int) -> bytes:
        melding = [_prefix(part), *source.patients[first:last], SUFFIX]
        return around(part).head + b"".join(content_pieces(melding, "base64")) + around(part).tail

    biggest = max(len(gzip_payload(document(place, place + 1, count))) for place in range(count))
    limit = _mail(biggest + 40) + slack
    made = list(plan_parts_gzip(source, source.ends, around, _within(_mail, limit)))
    assert [made[0][0].first, made[-1][0].last_exclusive] == [0, count]
    assert all(before[0].last_exclusive == after[0].first for before, after in pairwise(made))
    for number, (part, payload) in enumerate(made):
        whole = document(part.first, part.last_exclusive, number)
        assert gzip.decompress(payload) == whole
        assert part.document_bytes == len(whole)
        assert part.packed_bytes == _mail(len(payload)) <= limit


def test_gzip_compresses_little_more_than_once() -> None:
    source = _Source(_patients(1, 30_000, 40))
    total = int(source.ends[-1])
    limit = 1_200_000
    made = list(plan_parts_gzip(source, source.ends, _around, _within(_mail, limit)))
    assert len(made) > 3
    assert all(part.packed_bytes > 0.99 * limit for part, _ in made[:-1])
    assert source.asked < 1.05 * total


def test_gzip_takes_back_a_step_that_overflows() -> None:
    easy = [b"<Episode/>" * 200] * 400
    dice = random.Random(2)
    hard = [dice.randbytes(2_000) for _ in range(100)]
    source = _Source(easy + hard)
    limit = 40_000
    made = list(plan_parts_gzip(source, source.ends, _around, _within(_mail, limit)))
    assert source.asked > int(source.ends[-1])  # something was taken back
    assert b"".join(gzip.decompress(payload) for _, payload in made).count(b"<Episode/>") == 80_000
    assert all(part.packed_bytes <= limit for part, _ in made)
    assert all(part.packed_bytes > limit - 3_000 for part, _ in made[:-1])


def test_gzip_holds_a_bounded_step_in_memory() -> None:
    largest = 0
    patient = bytes(1_000_000)

    def chunks(first: int, last: int) -> bytes:
        nonlocal largest
        largest = max(largest, last - first)
        return patient * (last - first)

    (made,) = plan_parts_gzip(chunks, _ends([1_000_000] * 40), _around, _within(_mail, 10_000_000))
    assert made[0].last_exclusive == 40
    assert largest <= STEP_BYTES // 1_000_000


def test_gzip_refuses_a_patient_that_exceeds_the_limit_alone() -> None:
    dice = random.Random(3)
    source = _Source([b"<Episode/>", dice.randbytes(50_000), b"<Episode/>"])
    made = plan_parts_gzip(source, source.ends, _around, _within(_mail, 30_000))
    assert next(made)[0].last_exclusive == 1
    with pytest.raises(PatientTooLarge) as caught:
        next(made)
    assert caught.value.index == 1
    with pytest.raises(WrongUse, match="without patients"):
        next(plan_parts_gzip(source, source.ends, _around, _within(_mail, 910)))


# --- several limits ---------------------------------------------------------------------------------------------------


def _doubled(length: int) -> int:
    return 2 * length + 7


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("more", [-1, 0, 1])
def test_a_limit_on_the_document_holds_beside_that_on_the_mail(*, compress: bool, more: int) -> None:
    """Also where the mail is compressed: a request carries the document as it is."""
    source = _Source([b"<E>%03d</E>" % number for number in range(40)])
    shell = len(_prefix(0)) + len(SUFFIX)
    limits = _within(_mail, 1_000_000, Bound("request", _doubled, _doubled(shell + int(source.ends[19])) + more))
    if compress:
        made = list(plan_parts_gzip(source, source.ends, lambda _n: _around(0), limits))
        assert all(gzip.decompress(payload).endswith(SUFFIX) for _part, payload in made)
        parts = [part for part, _payload in made]
    else:
        parts = plan_parts(source.ends, shell, limits)
    assert [part.last_exclusive for part in parts] == ([19, 38, 40] if more < 0 else [20, 40])
    assert all(_doubled(part.document_bytes) <= limits.others[0].most for part in parts)


@pytest.mark.parametrize("compress", [False, True])
def test_one_patient_above_every_limit(*, compress: bool) -> None:
    """Goes alone by the channel for such, up to that one's limit; without one, the limit that stops it is named."""
    dice = random.Random(5)
    source = _Source([b"<E/>", b"<E/>", dice.randbytes(9_000), b"<E/>"])
    shell = len(_prefix(0)) + len(SUFFIX)

    def planned(limits: Limits) -> list[Part]:
        if compress:
            return [part for part, _ in plan_parts_gzip(source, source.ends, lambda _n: _around(0), limits)]
        return plan_parts(source.ends, shell, limits)

    size = planned(_within(_mail, 5_000, large=1_000_000))[1].packed_bytes
    for limits in (
        _within(_mail, 5_000, large=size),
        _within(_mail, 1_000_000, Bound("request", _doubled, 5_000), large=size),
    ):
        parts = planned(limits)
        assert [(part.last_exclusive, part.large) for part in parts] == [(2, False), (3, True), (4, False)]
        assert parts[1].packed_bytes == size
    for limits, message in (
        (_within(_mail, 5_000), f"makes a mail of {size} bytes, the limit is 5000"),
        (_within(_mail, 5_000, large=size - 1), f"makes a file of {size} bytes, the limit is {size - 1}"),
        (_within(_mail, 1_000_000, Bound("request", _doubled, 5_000)), "makes a request of 18"),
    ):
        with pytest.raises(PatientTooLarge, match=message) as caught:
            planned(limits)
        assert caught.value.index == 2
        assert "only_large" in caught.value.fix


# --- may a split be sent ----------------------------------------------------------------------------------------------

AGREED = SplitAgreement(who="NPR, seksjon for datamottak", when=date(2020, 9, 1), reference="20/12345-6")


@pytest.mark.parametrize(
    ("profile", "parts", "agreement", "setting", "allowed"),
    [
        ("production", 1, None, False, True),
        ("production", 0, None, False, True),
        ("production", 2, None, True, False),
        ("production", 2, AGREED, True, True),
        ("production", 2, AGREED, False, False),
        ("production", 2, SplitAgreement(who=" ", when=date(2020, 9, 1), reference="20/1"), True, False),
        ("production", 2, SplitAgreement(who="NPR", when=date(2020, 9, 1), reference=" "), True, False),
        ("validation", 2, None, True, True),
        ("rehearsal", 9, None, True, True),
        ("rehearsal", 9, AGREED, False, False),
    ],
)
def test_who_may_split(
    profile: str,
    parts: int,
    agreement: SplitAgreement | None,
    setting: bool,  # noqa: FBT001
    allowed: bool,  # noqa: FBT001
) -> None:
    if allowed:
        split_policy(profile, parts, agreement, setting)
        return
    with pytest.raises(DataRefused, match=f"^{parts} parts are needed") as caught:
        split_policy(profile, parts, agreement, setting)
    assert all(way in caught.value.fix for way in ("gzip", "NHN-EDI-STOR", "written agreement"))
