"""Known faults in clean load data: which records are changed, how, and which rules must speak of them.

Belongs here: one plan for each rule that a change of the extract can break, putting it into frames of
``transforms.sample.hospital``, and the reasons for rules that no change can break. Does not belong here: asking the
rules, files.

Each fault has a patient of its own, so that no fault hides or adds another. A fault may break several rules by its
nature (a date of death breaks EPI-21 and PAT-07); then all of them must speak, of the rows named, and no other rule.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, Final

import polars as pl

from schemas.codelists import code_list
from schemas.contract import Contract

Frames = dict[str, pl.DataFrame]
YEAR: Final = 2020
TWICE: Final = 2
# One line for each finding that must be found. fault: number of the planted fault. change: what was done, for people.
# _row: place in the extract, from 1.
PLANTED: Final[dict[str, pl.DataType]] = {
    "fault": pl.UInt32(), "rule": pl.String(), "table": pl.String(), "_row": pl.UInt32(), "change": pl.String(),
}  # fmt: skip
# Loaded lists hold what the clean data use and these, of which faults speak that are not about the lists.
CODES: Final = ("O680", "P599", "W010", "Z380")
ORGANISATIONS: Final = ("900000104",)
FEEDING: Final = {"D": "icd10", "K": "ncsp", "M": "ncmp", "R": "ncrp"}
_N = "_n"

# Rules that no change of an extract breaks, and why.
_MADE = "the pipeline makes it, out of settings and period; tests/test_message_stream and tests/rules"
_REFUSED = "the contract refuses such a row when the extract is read; it never comes to the rules"
_OUTSIDE = "outside the period: the row is left out when rows are chosen"
NOT_PLANTED: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        ("MSG-03", "MSG-04", "MSG-05", "MSG-06", "MSG-08", "MSG-10", "MSG-10-LIST", "MSG-11", "MSG-12", "MSG-21"), _MADE
    ),
    "KPP-01": _MADE,
    "UNIT-10": "the kind of unit is the column of the extract; no value of a row can spoil it",
    "UNIT-05": _REFUSED,
    "UNIT-07": "from version 55.0.1; data of 2020 are of 54.0.1",
    "EPI-09": _REFUSED,
    "EPI-02": _OUTSIDE,
    "WAIT-03": _OUTSIDE,
    "IDE-01": "stops the run before there are findings (tests/test_identity_rules.py)",
    "IDE-02": "identities of patients without activity are never sent",
    "IDE-03": _REFUSED,
    "IDE-04": _REFUSED,
    "IDE-08": _MADE,
    "IDE-09": "decided by the guard, before anything is packed (tests/test_guard.py)",
    "IDE-11": "needs a number that is real in form; invented data have none (tests/test_identity_rules.py)",
    "PAT-06": "a counter, and no finding",
}


@dataclass(frozen=True)
class Plant:
    """One way to break rules.

    rules: rule, or ``rule table.key`` where it speaks of rows of another table that share the key. where: rows it can
    be done to, over the columns of ``_seen``. change: column -> new value. also: (table, key, columns) set in all rows
    that share the key. without: (table, key) whose rows of the record go. copied: the record is added once more with
    the change, and its rows of these tables with it; the copy is wrong. most: at most so many of the kind.
    """

    rules: tuple[str, ...]
    table: str
    where: pl.Expr
    change: Mapping[str, Any] = field(default_factory=dict)
    also: tuple[tuple[str, str, Mapping[str, Any]], ...] = ()
    without: tuple[str, str] | None = None
    copied: tuple[str, ...] | None = None
    most: int | None = None

    def text(self) -> str:
        """What is done, in a few words."""
        told = [f"{name} changed" for name in self.change]
        told += [f"{table}: {', '.join(columns)}" for table, _, columns in self.also]
        if self.without:
            told.append(f"no {self.without[0]}")
        return "; ".join(["copy of the record", *told] if self.copied is not None else told)


def cleaned(frames: Mapping[str, pl.DataFrame]) -> Frames:
    """The frames without the codes of RARE: clean as before, and each list has a code that no row uses."""
    return dict(frames) | {
        table: frames[table].with_columns(
            pl.when(pl.col(column) == code).then(pl.lit(other)).otherwise(column).alias(column)
            for _, of, column, code, other in RARE
            if of == table
        )
        for table in {table for _, table, *_ in RARE}
    }


def spares(frames: Mapping[str, pl.DataFrame], contract: Contract) -> dict[str, str]:
    """List -> a code that is valid in YEAR and that no row uses, so that it can be taken out of the lists of a run.

    frames: of ``cleaned``. A row with such a code is a fault that nothing but the rule about the list speaks of.
    """
    found = {oid: code for oid, _, _, code, _ in RARE}
    columns = [(table.name, column) for table in contract.tables.values() for column in table.columns]
    for oid in sorted({column.code_list for _, column in columns if column.code_list}):
        used: set[object] = set()
        for table, column in columns:
            if column.code_list == oid and table in frames and column.name in frames[table].columns:
                used |= set(frames[table][column.name].unique())
        free = [value.code for value in code_list(oid).values if value.valid_in(YEAR) and value.code not in used]
        if free := [code for code in free if code not in _SPOKEN.get(oid, ())]:
            found.setdefault(oid, free[-1])
    return found


# Lists all of whose codes the sample uses, or rules speak of: list, table, column, the code that goes, and for what.
RARE: Final[tuple[tuple[str, str, str, str, str | None], ...]] = (
    ("1101", "units", "isfRefusjon", "2", None),
    ("1103", "health_personnel", "spesialist", "9", "1"),
    ("8406", "episodes", "omsorgsniva", "8", "3"),
    ("8427", "episodes", "inntilstand", "2", "1"),
    ("8428", "episodes", "innmateHast", "5", "4"),
    ("8431", "episodes", "utTilstand", "3", "2"),
    ("8455", "referrals", "henvType", "11", "10"),
    ("8456", "health_personnel", "rolle", "2", "1"),
)
# Codes of which rules speak by themselves, so that they cannot stand for "not in the list" alone.
_SPOKEN: Final = {
    "8408": ("3", "99"), "8426": ("11", "12", "13", "70"), "8432": ("5",), "8477": ("31", "32"),
    "8410": ("D", "K", "M", "R", "Q", "F", "S"),
}  # fmt: skip


def plants(spare: Mapping[str, str]) -> tuple[Plant, ...]:
    """All plans, those for rare records first. spare: of ``spares``; lists without one plant nothing."""
    return (
        *_of_units(spare),
        *_of_long_stays(),
        *_of_patients(spare),
        *_of_referrals(spare),
        *_of_codes(spare),
        *_of_episodes(spare),
    )


def plant(frames: Mapping[str, pl.DataFrame], plans: Sequence[Plant], count: int) -> tuple[Frames, pl.DataFrame]:
    """The frames with up to ``count`` faults of each plan, and what must be found (PLANTED)."""
    spoiled = {name: frame.with_row_index(_N) for name, frame in frames.items()}
    ends = {name: frame.height for name, frame in frames.items()}
    used = pl.Series([], dtype=pl.String)
    planted: list[tuple[str, pl.DataFrame]] = []  # table, frame of _n, rule, change, fault
    number = 0
    for plan in plans:
        chosen = _chosen(frames, plan, used, min(count, plan.most or count))
        if chosen.is_empty():
            continue
        chosen = chosen.with_columns(fault=pl.int_range(pl.len(), dtype=pl.UInt32) + number)
        number += chosen.height
        used = pl.concat([used, chosen["_who"]])
        at = _put(spoiled, ends, plan, chosen)
        planted += _told(spoiled, plan, chosen.with_columns(at))
    places = {name: frame.select(_N, _row=pl.int_range(1, pl.len() + 1)) for name, frame in spoiled.items()}
    lines = [
        told.join(places[table], on=_N).with_columns(table=pl.lit(table)).select(*PLANTED).cast(PLANTED)  # type: ignore[arg-type]
        for table, told in planted
    ]
    return {name: frame.drop(_N) for name, frame in spoiled.items()}, pl.concat(lines).sort("fault", "rule", "_row")


def _chosen(frames: Mapping[str, pl.DataFrame], plan: Plant, used: pl.Series, count: int) -> pl.DataFrame:
    """Rows a plan is put into, of patients that no fault has yet, from all over the table."""
    seen = _seen(frames, plan.table).filter(plan.where.fill_null(value=False))
    free = seen.filter(~pl.col("_who").is_in(used.implode())).unique("_who", keep="first", maintain_order=True)
    return free.gather_every(max(1, free.height // count)).head(count)


def _put(spoiled: Frames, ends: dict[str, int], plan: Plant, chosen: pl.DataFrame) -> pl.Series:
    """Do it; gives ``_n`` of the rows that are wrong."""
    if plan.copied is not None:
        return _copy(spoiled, ends, plan, chosen)
    places = chosen[_N]
    if plan.change:
        new = chosen.select(_N, **{f"{name} new": _value(value) for name, value in plan.change.items()})
        spoiled[plan.table] = _set(spoiled[plan.table], new, _N)
    for table, key, columns in plan.also:
        new = chosen.select(key, **{f"{name} new": _value(value) for name, value in columns.items()}).unique(key)
        spoiled[table] = _set(spoiled[table], new, key)
    if plan.without:
        table, key = plan.without
        spoiled[table] = spoiled[table].filter(~pl.col(key).is_in(chosen[key].implode()))
    return places


def _set(frame: pl.DataFrame, new: pl.DataFrame, key: str) -> pl.DataFrame:
    names = [name.removesuffix(" new") for name in new.columns if name != key]
    frame = frame.with_columns(pl.lit(None, new.schema[f"{n} new"]).alias(n) for n in names if n not in frame.columns)
    told = new.rename({key: "_key"}).with_columns(_there=pl.lit(value=True))
    joined = frame.join(told, left_on=key, right_on="_key", how="left", maintain_order="left")
    changed = [pl.when("_there").then(pl.col(f"{n} new").cast(frame.schema[n])).otherwise(n).alias(n) for n in names]
    return joined.with_columns(changed).select(frame.columns)


def _copy(spoiled: Frames, ends: dict[str, int], plan: Plant, chosen: pl.DataFrame) -> pl.Series:
    key = "episodeID" if plan.table == "episodes" else "henvisningsperiodeID"
    name = pl.lit("X") + pl.col(key)
    places = pl.int_range(ends[plan.table], ends[plan.table] + chosen.height, eager=True).cast(pl.UInt32).alias(_N)
    new = {column: _value(value) for column, value in plan.change.items()}
    frame = spoiled[plan.table]
    rows = chosen.with_columns(places).with_columns(**{key: name, **new}).select(frame.columns).cast(dict(frame.schema))  # type: ignore[arg-type]
    spoiled[plan.table] = pl.concat([frame, rows])
    ends[plan.table] += chosen.height
    for table in plan.copied or ():
        own = spoiled[table].filter(pl.col(key).is_in(chosen[key].implode()))
        own = own.with_columns(
            name.alias(key), pl.int_range(ends[table], ends[table] + pl.len(), dtype=pl.UInt32).alias(_N)
        )
        spoiled[table] = pl.concat([spoiled[table], own])
        ends[table] += own.height
    return places


def _told(spoiled: Frames, plan: Plant, chosen: pl.DataFrame) -> list[tuple[str, pl.DataFrame]]:
    """The lines of a plan, by table: of the changed rows, or of rows of another table of the same record."""
    found = []
    for named in plan.rules:
        rule, _, other = named.partition(" ")
        lines = chosen.select("fault", _N, rule=pl.lit(rule), change=pl.lit(plan.text()))
        if other:
            table, key, source = _place(other)
            keys = chosen.select("fault", pl.col(source).alias(key))
            lines = spoiled[table].select(_N, key).join(keys, on=key).select(
                "fault", _N, rule=pl.lit(rule), change=pl.lit(plan.text())
            )  # fmt: skip
        found.append((_place(other)[0] if other else plan.table, lines))
    return found


def _place(text: str) -> tuple[str, str, str]:
    """Table, key, and the column of the changed row with its value, out of ``table.key`` or ``table.key=column``."""
    table, _, key = text.partition(".")
    key, _, source = key.partition("=")
    return table, key, source or key


def _value(value: Any) -> pl.Expr:  # noqa: ANN401 - an expression, or a value of any column
    return value if isinstance(value, pl.Expr) else pl.lit(value)


# --- what a plan may ask ---


def _seen(frames: Mapping[str, pl.DataFrame], table: str) -> pl.DataFrame:
    """Rows of a table with ``_n``, ``_who`` (whose they are) and what is known of patient, episode and referral."""
    rows = frames[table].with_row_index(_N)
    if table == "units":
        return rows.join(_named(frames), on="enhetID", how="left").with_columns(_who=pl.col("enhetID"))
    if table in {"postponements", "referral_events"}:
        referrals = frames["referrals"].select(
            "henvisningsperiodeID", "pasientNr", "vurdDato", "mottaksDato", "ventetidSluttDato"
        )
        rows = rows.join(referrals, on="henvisningsperiodeID", how="left", maintain_order="left")
    elif table == "referrals":
        rows = _with_counts(rows, frames, "henvisningsperiodeID", ("referral_events", "postponements", "episodes"))
        breach = frames["referral_events"].filter(pl.col("typeTidspunkt").is_in(["31", "32"]))
        told = breach["henvisningsperiodeID"].implode()
        rows = rows.with_columns(told=pl.col("henvisningsperiodeID").is_in(told))
        direct = frames["contacts"].filter(pl.col("kontaktType") != "5")["episodeID"].implode()
        seen = frames["episodes"].filter(pl.col("episodeID").is_in(direct))
        last = seen.group_by("henvisningsperiodeID").agg(last=pl.col("innDatoTid").max())
        rows = rows.join(last, on="henvisningsperiodeID", how="left", maintain_order="left")
    elif table not in {"patients", "identities"}:
        own = table == "episodes"
        episodes = _with_counts(frames["episodes"], frames, "episodeID", ("procedures", "conditions"))
        kinds = frames["contacts"].select("episodeID", kind="kontaktType")
        episodes = episodes.join(kinds, on="episodeID", how="left", maintain_order="left")
        if own:
            rows = episodes.with_row_index(_N)
        else:
            rows = rows.join(episodes, on="episodeID", how="left", maintain_order="left")
    return rows.join(_people(frames), on="pasientNr", how="left", maintain_order="left").with_columns(
        _who=pl.col("pasientNr")
    )


def _with_counts(
    rows: pl.DataFrame, frames: Mapping[str, pl.DataFrame], key: str, tables: Sequence[str]
) -> pl.DataFrame:
    for table in tables:
        count = frames[table].group_by(key).len(name=f"n_{table}").drop_nulls(key)
        rows = rows.join(count, on=key, how="left", maintain_order="left")
    return rows.with_columns(pl.col("^n_.*$").fill_null(0))


def _people(frames: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """What is known of a patient: sex, birth year, kind of number, how many episodes and stays, codes of one sex."""
    episodes = frames["episodes"]
    stays = (pl.col("omsorgsniva") == "1").sum().alias("stays")
    by = episodes.group_by("pasientNr").agg(pl.len().alias("episodes"), stays, first=pl.col("innDatoTid").min(),
                                            later=pl.col("innDatoTid").max(),
                                            last_one=pl.col("episodeID").sort_by("innDatoTid").last())  # fmt: skip
    indirect = frames["contacts"].filter(pl.col("kontaktType") == "5")["episodeID"].implode()
    codes = frames["conditions"].join(episodes.select("episodeID", "pasientNr"), on="episodeID")
    own = codes.group_by("pasientNr").agg(told=pl.col("kodeVerdi").str.contains("^[CNOP]").any())
    events = frames["referral_events"].join(
        frames["referrals"].select("henvisningsperiodeID", "pasientNr", "ventetidSluttKode"), on="henvisningsperiodeID"
    )
    breached = events.filter(pl.col("typeTidspunkt") == "31")["pasientNr"].to_list()
    breached += frames["referrals"].filter(pl.col("ventetidSluttKode") == "5")["pasientNr"].to_list()
    rows = frames["patients"].select("pasientNr", sex="kjonn", born="fodselsar")
    rows = rows.join(by, on="pasientNr", how="left").join(own, on="pasientNr", how="left")
    rows = rows.join(frames["identities"].select("pasientNr", number="fid", type="typeID"), on="pasientNr", how="left")
    adult = pl.col("born").is_between(YEAR - 60, YEAR - 25)
    return rows.with_columns(
        pl.col("episodes", "stays").fill_null(0),
        adult=adult,
        plain=adult & ~pl.col("told").fill_null(value=False) & pl.col("type").is_in(["1", "2"]),
        breached=pl.col("pasientNr").is_in(breached),
        direct=~pl.col("last_one").is_in(indirect),
    ).drop("told")


def _named(frames: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """How many episodes name a unit."""
    names = ("behandlingsstedID", "fagenhetID", "avdelingID", "tjenesteenhetID")
    return pl.concat([frames["episodes"].select(enhetID=name) for name in names]).group_by("enhetID").len(name="refs")


# --- the plans ---

_LATE, _SUMMER = date(YEAR, 12, 1), date(YEAR, 7, 1)
_OSLO = {"komNrHjem": "0301", "bydel": "030105"}
_days = timedelta


def _of_list(rule: str, table: str, column: str, code: str | None, where: pl.Expr | None = None) -> list[Plant]:
    """A code that the list of the run does not hold."""
    return [Plant((rule,), table, pl.col(column).is_not_null() if where is None else where, {column: code})] * bool(
        code
    )


def _of_long_stays() -> list[Plant]:
    """Stays that began in an earlier year; all else that the day decides is made to fit it."""
    plain = pl.col("plain") & (pl.col("inntilstand") == "1") & (pl.col("utTilstand") == "1")
    alone = plain & (pl.col("omsorgsniva") == "1") & (pl.col("episodes") == 1)
    alone = alone & pl.col("henvisningsperiodeID").is_null() & (pl.col("debitor") != "30")
    ends = datetime(YEAR, 1, 2, 10)  # noqa: DTZ001 local time, as in the extract
    moved = {"startDatoTid": ends - _days(1), "sluttDatoTid": ends - _days(hours=23)}
    return [
        Plant(("PAT-03-EPI", "PAT-05 identities.pasientNr"), "episodes", alone,
              {"innDatoTid": ends - _days(3), "utDatoTid": ends, **_OSLO},
              (("procedures", "episodeID", moved), ("patients", "pasientNr", {"fodselsar": YEAR}))),
        Plant(("EPI-08",), "episodes", alone, {"innDatoTid": ends - _days(735), "utDatoTid": ends, **_OSLO},
              (("procedures", "episodeID", moved),)),
    ]  # fmt: skip


def _of_units(spare: Mapping[str, str]) -> list[Plant]:
    name, used = pl.col("enhetID"), pl.col("refs") > 0
    ward, place, special, department = (name.str.starts_with(letter) & used for letter in ("T-", "B", "F-", "A-"))
    return [
        Plant(("UNIT-04",), "units", department & (pl.col("isfRefusjon") == "1"), {"offAvdKode": None}, most=1),
        Plant(("UNIT-06",), "units", place, {"orgNr": None}, most=1),
        Plant(("UNIT-09",), "units", ward, {"reshID": None}, most=2),
        Plant(("UNIT-03",), "units", ward, {"reshID": "99999999"}, most=2),
        Plant(("UNIT-02",), "units", special, {"orgNr": ORGANISATIONS[0]}, most=2),
        Plant(("UNIT-06-LIST",), "units", special, {"orgNr": "900000308"}, most=2),
        *(replaced for plan in _of_list("UNIT-08", "units", "isfRefusjon", spare.get("1101"), special)
          for replaced in [Plant(plan.rules, plan.table, plan.where, plan.change, most=2)]),
    ]  # fmt: skip


def _of_patients(spare: Mapping[str, str]) -> list[Plant]:
    plain = pl.col("plain") & (pl.col("episodes") > 0)
    nobody = pl.format("AB{}", pl.col(_N))
    identity = pl.col("type").is_in(["1", "2"]) & (pl.col("episodes") > 0)
    return [
        Plant(("IDE-05", "IDE-06"), "identities", identity, {"fid": nobody, "typeID": "9"}),
        Plant(("IDE-05",), "identities", identity, {"fid": nobody, "typeID": "4"}),
        # One number for all of them, of another country: the more of them, the more share it.
        Plant(("IDE-05", "IDE-07"), "identities", identity, {"fid": "AB123X", "typeID": "4"}),
        Plant(("IDE-10",), "identities", identity,
              {"fid": None, "typeID": "9", "fodselsdato": pl.date(pl.col("born"), 2, 1)}),
        Plant(("PAT-04 identities.pasientNr",), "patients", plain,
              {"kjonn": pl.when(pl.col("kjonn") == "1").then(pl.lit("2")).otherwise(pl.lit("1"))}),
        Plant(("PAT-05 identities.pasientNr",), "patients", plain, {"fodselsar": pl.col("fodselsar") + 1}),
        Plant(("PAT-03", "PAT-05 identities.pasientNr"), "patients", plain, {"fodselsar": YEAR + 1}),
        Plant(("PAT-12",), "patients", plain, {"fodselsvekt": 3500}),
        *_of_list("PAT-02", "patients", "kjonn", spare.get("3101"), plain),
    ]  # fmt: skip


def _of_referrals(spare: Mapping[str, str]) -> list[Plant]:
    got, since, end = pl.col("mottaksDato"), pl.col("ansienDato"), pl.col("ventetidSluttDato")
    code, due, seen = pl.col("ventetidSluttKode"), pl.col("fristStartBehandling"), pl.col("vurdDato")
    quiet = (pl.col("n_referral_events") == 0) & (pl.col("n_postponements") == 0) & (pl.col("rettTilHelsehjelp") == "3")
    quiet = quiet & due.is_not_null() & ~pl.col("breached")
    quiet = quiet & (end.is_null() | (end >= date(YEAR, 1, 1)))
    over = (
        quiet
        & (got >= date(YEAR, 1, 1))
        & (since == got)
        & (got < _LATE)
        & (seen > got + _days(2))
        & (end > got + _days(30))
    )
    ends = {"ventetidSluttKode": "2"}
    suspended = seen.is_between(date(YEAR, 3, 27), date(YEAR, 9, 30))
    began = (code == "1") & (end >= date(YEAR, 1, 1)) & (pl.col("rettTilHelsehjelp") == "3")
    unlinked = {"henvisningsperiodeID": None}
    both = (since == got) & quiet
    return [
        Plant(("WAIT-06", "WAIT-04"), "referrals", over,
              {"ansienDato": got - _days(30), "ventetidSluttDato": got - _days(10), "vurdDato": None, **ends}),
        Plant(("WAIT-07",), "referrals", over, {"ventetidSluttDato": seen, **ends}),
        Plant(("WAIT-08",), "referrals", over, {"ventetidSluttDato": got + _days(1), **ends}),
        Plant(("WAIT-14",), "referrals", over, {"ventetidSluttDato": since - _days(1), **ends}),
        Plant(("WAIT-09",), "referrals", quiet & (code != "1"), copied=()),
        Plant(("WAIT-05",), "referrals", quiet & end.is_null(), {"ansienDato": date(YEAR - 11, 12, 1)}),
        Plant(("WAIT-20",), "postponements", seen.is_not_null(), {"utsettDato": seen - _days(1)}),
        *_of_list("WAIT-20-LIST", "postponements", "utsettKode", spare.get("8446")),
        *_of_list("EPI-28", "referral_events", "typeTidspunkt", spare.get("8477"), pl.col("typeTidspunkt") == "22"),
        *_of_list("WAIT-15", "referrals", "ventetidSluttKode", spare.get("8445"), both & end.is_not_null()),
        Plant(("WAIT-24",), "referrals", began & pl.col("told") & (pl.col("last").dt.date() >= got),
              {"ventetidSluttDato": None, "ventetidSluttKode": None}),
        Plant(("WAIT-18",), "referrals", began & quiet & (end > got + _days(20)) & ~suspended & (end < _LATE),
              {"fristStartBehandling": end - _days(1)}),
        Plant(("WAIT-19",), "referrals", began & (end < _LATE),
              also=(("episodes", "henvisningsperiodeID", unlinked),)),
        Plant(("WAIT-17",), "referrals", both & ~suspended, {"fristStartBehandling": None}),
        Plant(("WAIT-16",), "referrals", both, {"rettTilHelsehjelp": "4"}),
        Plant(("WAIT-13",), "referrals", quiet & (end > got + _days(30)), {"vurdDato": got + _days(20)}),
        Plant(("WAIT-12",), "referrals", both & (end > got + _days(10)), {"ansienDato": got + _days(1)}),
        Plant(("WAIT-02",), "referrals", both, {"ansienDato": None}),
        Plant(("WAIT-04",), "referrals", both & (got < _LATE) & (seen > got), {"vurdDato": None}),
        Plant(("UNIT-05-REF",), "referrals", seen.is_not_null(), {"avdelingID": None}),
        Plant(("PAT-09-REF",), "referrals", got >= date(YEAR, 1, 1), {"komNrHjem": "0101", "bydel": None}),
        *_of_list("EPI-27-REF", "referrals", "fagomrade", spare.get("8451")),
        *_of_list("WAIT-21", "referrals", "henvType", spare.get("8455")),
        *_of_list("WAIT-21-FRA", "referrals", "henvFraTjeneste", spare.get("8404")),
    ]  # fmt: skip


def _of_codes(spare: Mapping[str, str]) -> list[Plant]:
    main, adult, sex = (pl.col("tilstNr") == 1) & (pl.col("kodeNr") == 1), pl.col("adult"), pl.col("sex")
    single = pl.len().over("episodeID", "tjenesteNr") == 1
    surgery = pl.col("Kodeverk") == "K"
    first = (pl.col("tjenesteNr") == 1) & (pl.col("prosNr") == 1) & (pl.col("kodeNr") == 1)
    ended = pl.col("utDatoTid").dt.year() == YEAR
    other = pl.col("inntilstand") == "1"
    return [
        Plant(("DX-07",), "conditions", adult & (sex == "1") & other, {"kodeVerdi": "O680"}),
        Plant(("DX-08",), "conditions", (sex == "2") & (pl.col("born") < YEAR - 60) & other, {"kodeVerdi": "O680"}),
        Plant(("DX-08",), "conditions", adult & main & other, {"kodeVerdi": "P599"}),
        Plant(("DX-06",), "conditions", main & other, {"kodeVerdi": "W010"}),
        Plant(("DX-02", "DX-03"), "conditions", other, {"kodeVerdi": "E7"}),
        Plant(("DX-03",), "conditions", other, {"kodeVerdi": "R999"}),
        Plant(("DX-04",), "conditions", ended & other, {"kodeVersjon": str(YEAR - 1)}),
        Plant(("PRO-01", "PRO-03"), "procedures", surgery & first, {"kodeVerdi": "NGD1"}),
        Plant(("PRO-03",), "procedures", surgery & first, {"kodeVerdi": "ZZZ99"}),
        Plant(("PRO-02",), "procedures", single, {"Kodeverk": "F", "kodeVerdi": "1"}),
        *_of_list("PRO-04", "procedures", "Kodeverk", spare.get("8410"), single),
        Plant(("PRO-05",), "procedures", single, {"tilstNr": 9}),
        Plant(("EPI-29",), "procedures", single & ended, {"sluttDatoTid": pl.col("utDatoTid") + _days(hours=1)}),
        Plant(("DX-01",), "episodes", (pl.col("n_procedures") == 0) & ended & other & (pl.col("kind") != "5"),
              without=("conditions", "episodeID")),
    ]  # fmt: skip


def _of_episodes(spare: Mapping[str, str]) -> list[Plant]:
    level, kind = pl.col("omsorgsniva"), pl.col("kind")
    clinic, stay = level == "3", level == "1"
    left, plain = pl.col("utTilstand") == "1", pl.col("inntilstand") == "1"
    inn, out = pl.col("innDatoTid"), pl.col("utDatoTid")
    early = inn < datetime(YEAR, 11, 1)  # noqa: DTZ001 local time, as in the extract
    home = ~pl.col("komNrHjem").str.starts_with("9") & (pl.col("debitor") != "30")
    children = ("contacts", "health_personnel", "conditions")
    elsewhere = {"fraSted": "99", "fraInstitusjonID": None}
    return [
        Plant(("EPI-24",), "episodes", stay & early & (pl.col("stays") == 1) & left & (out > inn + _days(1, hours=2)),
              {"innDatoTid": inn + _days(hours=1)}, copied=children),
        Plant(("EPI-20",), "episodes", stay & left & plain, {"utTilstand": None}),
        Plant(("EPI-21 episodes.episodeID=last_one", "PAT-07 identities.pasientNr"), "episodes",
              (pl.col("episodes") == TWICE) & (inn == pl.col("first")) & left & plain
              & (pl.col("later").dt.date() > out.dt.date()) & pl.col("direct"),
              {"utTilstand": "2"}),
        *_of_list("EPI-11-LIST", "contacts", "polIndir", spare.get("8454"), pl.col("kontaktType") == "5"),
        *_of_list("EPI-23-TIL", "episodes", "tilSted", spare.get("8408"), pl.col("tilSted") == "1"),
        *_of_list("EPI-23-FRA", "episodes", "fraSted", spare.get("8408"), pl.col("fraSted") == "1"),
        Plant(("EPI-25",), "episodes", clinic & plain & left & early, copied=children),
        Plant(("EPI-04",), "episodes", clinic & early & left & plain, {"utDatoTid": None}),
        Plant(("EPI-07",), "episodes", clinic & early & left & plain, {"utDatoTid": out + _days(1)}),
        Plant(("EPI-10 contacts.episodeID",), "episodes", clinic, without=("health_personnel", "episodeID")),
        Plant(("EPI-11",), "contacts", pl.col("kontaktType") != "5", {"polIndir": "7"}),
        Plant(("EPI-13",), "episodes", home, {"debitor": "11", "innmateHast": "1"}),
        Plant(("EPI-14",), "episodes", home & (pl.col("fraSted").fill_null("") != "99"),
              {"debitor": "11", "komNrHjem": "9900", "bydel": None, "innmateHast": "4"}),
        Plant(("EPI-15",), "episodes", ~pl.col("breached") & home, {"debitor": "70"}),
        Plant(("EPI-18",), "episodes", pl.col("adult") & left & plain, {"inntilstand": "3"},
              (("conditions", "episodeID", {"kodeVerdi": "Z380"}),)),
        Plant(("EPI-18", "EPI-18-DX"), "episodes", pl.col("plain") & left & plain, {"inntilstand": "3"}),
        Plant(("EPI-19", "EPI-17"), "episodes", left & plain, {"inntilstand": "2"}),
        Plant(("EPI-22", "EPI-22-LIST"), "episodes", pl.col("fraSted").is_null(), {"innmateHast": "5"}),
        Plant(("EPI-23",), "episodes", pl.col("fraSted").is_null(), elsewhere),
        Plant(("EPI-27-AGE",), "episodes", pl.col("adult"), {"episodeFag": "020"}),
        Plant(("PAT-09",), "episodes", home, {"komNrHjem": "0101", "bydel": None}),
        Plant(("PAT-10",), "episodes", home, {"komNrHjem": "0301", "bydel": None}),
        Plant(("PAT-10-LIST",), "episodes", home, {"komNrHjem": "0301", "bydel": "030145"}),
        Plant(("PAT-11",), "episodes", pl.col("debitor") == "1", {"komNrHjem": "9999", "bydel": None}),
        *_of_list("EPI-06", "episodes", "omsorgsniva", spare.get("8406"), clinic),
        *_of_list("EPI-12", "episodes", "debitor", spare.get("8426"), home),
        *_of_list("EPI-17", "episodes", "inntilstand", spare.get("8427"), plain & (pl.col("utTilstand") == "2")),
        *_of_list("EPI-20-LIST", "episodes", "utTilstand", spare.get("8431"), left & plain & (inn == pl.col("later"))),
        *_of_list("EPI-22-LIST", "episodes", "innmateHast", spare.get("8428"), pl.col("fraSted") == "99"),
        *_of_list("EPI-27", "episodes", "episodeFag", spare.get("8451")),
        *_of_list("EPI-09-TYPE", "contacts", "kontaktType", spare.get("8432"), kind != "5"),
        *_of_list("EPI-09-STED", "contacts", "stedAktivitet", spare.get("8434"), kind != "5"),
        *_of_list("EPI-10-UTF", "health_personnel", "polUtforende", spare.get("8401")),
        *_of_list("EPI-10-SPES", "health_personnel", "spesialist", spare.get("1103")),
        *_of_list("EPI-10-ROLLE", "health_personnel", "rolle", spare.get("8456")),
    ]  # fmt: skip
