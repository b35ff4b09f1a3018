"""What is told of findings, and what named persons decide about them: the records behind ``npr findings`` and the rest.

Belongs here: reading the tables of layer ``finding``, checking what a decision speaks of, keeping it. Does not belong
here: text for people (``pipelines.commands.show_findings``), formulas (``transforms``).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict
from difflib import get_close_matches
from typing import Any

import polars as pl

from assets import baselines, guards, review
from assets.permits import overrides
from assets.ports import Options, Run
from pipelines.commands.plan import units_of
from pipelines.exchange.answered import errors, standing
from pipelines.home.store import DiskStore
from pipelines.settings import Settings
from pipelines.workbench import DiskWorkbench
from schemas.contract import Contract
from schemas.decisions import Decision, DecisionKind
from schemas.errors import DataRefused, WrongUse
from schemas.feedback_fields import feedback_fields
from schemas.identity_rules import IdentityRule
from schemas.known_rules import Rule, known_rules
from schemas.period import Period, period_keys
from schemas.records import Findings, Key, Snapshot
from schemas.words import person, reason
from transforms.answers import explained as answers
from transforms.answers.findings import RULE
from transforms.content import drift, figures, overlap, verdict
from transforms.content import finding_ledger as life

Record = dict[str, Any]
OWN, NPR = "own", "NPR"  # who found it
THEIRS = f"{RULE}:"
OPEN = (life.NEW, life.PERSISTING)
SHORT = 6  # digits of a fingerprint from which it may be cut
# Where a rule about identities is decided; what it compares is told of no record.
DECIDED = {
    "findings": "decided when identity and activity are held against each other (transforms/content/identity_rules.py)",
    "messages": "decided when the number becomes a row of the message (transforms/content/identity_rules.py)",
    "staging": "decided by the contract when the extract is read",
    "guard": "decided by the guard, before anything is packed (transforms/content/guard.py)",
}
HIDDEN = frozenset({"pasientNr", "pid", "fid"})  # identity, or a key to it; never told of a record


def runs(settings: Settings, period: str, unit: str | None) -> list[Run]:
    """The units of a period whose findings are known. DataRefused when there is none."""
    key = Period.parse(period).key
    bench = DiskWorkbench(settings, Options())
    names = units_of(settings, Period.parse(key), unit, None)
    found = [run for run in (bench.open(f"{key}|{name}") for name in names) if review.read(run, "ledger") is not None]
    if not found:
        where = f" --unit {unit}" if unit else ""
        raise DataRefused(f"the findings of {key} are not known yet", fix=f"run the period first: npr run {key}{where}")
    return found


def _one(settings: Settings, period: str, unit: str | None) -> Run:
    """The one unit a decision is about. WrongUse when it is not clear which."""
    found = runs(settings, period, unit)
    if len(found) > 1:
        names = ", ".join(run.key.unit for run in found)
        raise WrongUse("a decision is about one unit", where="--unit", fix=f"add --unit, one of {names}")
    return found[0]


def ledger(run: Run) -> pl.DataFrame:
    """The ledger of a run as it stands today, waivers applied."""
    table = review.read(run, "ledger")
    return life.waived(life.empty() if table is None else table, review.waivers(run), run.now().date())


# --- npr findings ---


def listed(run: Run, by: str | None, statuses: Iterable[str]) -> Record:
    """The work list of a partition: a line per finding, or counts by rule or department."""
    own = ledger(run).with_columns(origin=pl.lit(OWN), since=pl.lit(None, pl.String))
    theirs = standing(run).with_columns(origin=pl.lit(NPR))
    whole = pl.concat([own, theirs.select(own.columns)])
    counts = {status: whole.filter(pl.col("status") == status).height for status in life.STATUSES}
    rules = known_rules()
    if by is None:
        shown = whole.filter(pl.col("status").is_in(list(statuses)))
        rows = shown.drop("run").to_dicts()
    else:
        rows = life.counted(whole, "rule" if by == "rule" else "enhet").to_dicts()
    for row in rows:
        row["origin"] = NPR if is_theirs(row["rule"]) else OWN
        row["text"] = rules[row["rule"]].text_en if row["rule"] in rules else _their_text(row)
    return {"period": run.key.period, "unit": run.key.unit, "counts": counts, "findings": rows}


def is_theirs(rule: str) -> bool:
    """Whether a rule is a code of the register's answers and not of our catalogue."""
    return rule.startswith(THEIRS)


def _their_text(row: Mapping[str, Any]) -> str:
    field = "@".join(word for word in (row.get("class"), row.get("fields")) if word)
    return f"NPR's answer{f' about {field}' if field else ''}; npr explain {row['rule']}"


# --- npr verdict ---


def judged(run: Run) -> Record:
    """What NPR would keep of a report, by the counts of its last run and the decisions of today."""
    findings = run.store.load("findings", run.key, Findings)
    fate, lost = (_table(run, name) for name in ("verdict", "lost"))
    refused = findings.by_consequence.get("drop_message", 0)
    changes = _table(run, guards.OVERLAP)
    found = _guarded(run)
    left = {line.guard for line in drift.stopping(found, baselines.confirmed(run))}
    taken = overrides(run, review.dropped(run))
    waiting = review.read(run, "waiting_list")
    by_rule = lost.group_by("module", "rule", "class").agg(pl.col("rows").sum()).sort("module", "rule", "class")
    return {
        "period": run.key.period,
        "unit": run.key.unit,
        "sentence": verdict.sentence(fate, lost, refused),
        "more": verdict.more(fate, lost),
        "classes": fate.to_dicts(),
        "lost": {"by_rule": by_rule.to_dicts(), "by_department": lost.to_dicts()},
        "report_only": findings.by_consequence.get("report_only", 0),
        "not_checked": {"rows": dict(findings.unchecked), "rules": dict(findings.silent)},
        "overrides": [
            {"rule": one.rule, "records": one.found, "holds": one.holds, "text": one.text()} for one in taken
        ],
        "guards": [_guard(line, left) for line in found],
        "overlap": {"against": changes["against"].drop_nulls().first(), **overlap.counts(changes)},
        "waiting_list": [] if waiting is None else plain(waiting.to_dicts()),
    }


def _table(run: Run, name: str) -> pl.DataFrame:
    table = review.read(run, name)
    if table is None:
        raise DataRefused(f"{run.key}: {name} has not been made", fix=f"npr run {run.key.period} --unit {run.key.unit}")
    return table


def _guarded(run: Run) -> list[drift.Line]:
    """What the guards say today of the figures of the last run."""
    counted = figures.counts(_table(run, guards.FIGURES))
    return baselines.judge(run, counted, baselines.own_number(run))


def _guard(line: drift.Line, left: Collection[str]) -> Record:
    """A line of a guard; one that would stop and was confirmed says so."""
    confirmed = line.status == drift.STOP and line.guard not in left
    return asdict(line) | {"status": "confirmed" if confirmed else line.status}


def plain(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """The same with days and times as text, for ``--json``."""
    if isinstance(value, Mapping):
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, list):
        return [plain(one) for one in value]
    return value.isoformat() if isinstance(value, dt.date) else value


# --- npr explain ---


def rule_of(name: str) -> Rule:
    """A rule that findings can name. WrongUse with the nearest."""
    rules = known_rules()
    if is_theirs(name):
        raise WrongUse(
            f"{name[:40]} is a code of NPR's answers and no rule of ours",
            where="RULE",
            rule="an override takes on what our rules say NPR will leave out; NPR has judged this one already",
            fix="correct the source and send anew; npr waive takes it off the work list, npr accept takes it on",
        )
    if name not in rules:
        near = ", ".join(get_close_matches(name.upper(), rules, n=3, cutoff=0.3)) or ", ".join(list(rules)[:3])
        raise WrongUse(
            f"no rule {name[:40]!r} in the catalogue", where="RULE", fix=f"nearest: {near}; see docs/rules.md"
        )
    return rules[name]


def explained(settings: Settings, name: str, record: str | None, period: str | None, unit: str | None) -> Record:
    """Everything about a rule, and where a record is named, its findings of the rule with the fields it speaks of."""
    if is_theirs(name):
        return _their_code(settings, name, record, period, unit)
    rule = rule_of(name)
    told: Record = {
        "rule": rule.id,
        "origin": OWN,
        "text_no": rule.text_no,
        "text_en": rule.text_en,
        "consequence": rule.consequence,
        "basis": rule.basis,
        "source": rule.source,
        "modules": list(rule.modules),
        "class": rule.npr_class,
        "fields": list(rule.fields),
        "expression": _expression(rule),
        "where": rule.where,
        "fix": rule.fix,
    }
    if record is not None:
        told["records"] = list(_records(settings, rule, record.removeprefix("~"), period, unit))
        _insist_records(told)
    return told


def _expression(rule: Rule) -> str:
    if isinstance(rule, IdentityRule):
        return DECIDED[rule.decided]
    if rule.wrong is not None:
        return rule.wrong
    if rule.codes is not None:
        codes = rule.codes.list or f"the list that {rule.codes.kodeverk} names"
        return f"{rule.codes.value} stands in {codes} on {rule.codes.on}"
    return f"function {rule.function} over {', '.join(rule.uses)}"


def _their_code(settings: Settings, name: str, record: str | None, period: str | None, unit: str | None) -> Record:
    """What is known of a code of the register's answers: what its answers have in common, and nothing of ours."""
    store, bench = DiskStore(settings.home), DiskWorkbench(settings, Options())
    runs = [bench.open(f"{key.period}|{key.unit}") for key in _known(settings, period, unit)]
    lines = [(run, standing(run).filter(pl.col("rule") == name)) for run in runs]
    found = [(run, of_rule) for run, of_rule in lines if not of_rule.is_empty()]
    if not found:
        raise WrongUse(
            f"no answer of NPR that is kept here holds the code {name.removeprefix(THEIRS)[:40]!r}",
            where="RULE",
            fix="npr findings PERIOD lists the codes that came, as NPR:CODE",
        )
    told = pl.concat([answers.of_code(errors(run, store), name) for run, _ in found])
    fields = feedback_fields(settings.config.inbox.mapping)
    whole = pl.concat([of_rule for _, of_rule in found])
    record_of: Record = {
        "rule": name,
        "origin": NPR,
        "texts": answers.texts(told),
        "checks": {letter: fields.checks.get(letter, "") for letter in answers.counts(told, "check")},
        "consequences": answers.counts(whole, "consequence"),
        "fields": answers.fields(whole),
        "certainty": fields.fields["code"].certainty,
        "source": fields.source,
        "partitions": [
            {
                "period": run.key.period,
                "unit": run.key.unit,
                **{status: of_rule.filter(pl.col("status") == status).height for status in life.STATUSES},
            }
            for run, of_rule in found
        ],
    }
    if record is not None:
        record_of["records"] = [
            one for run, of_rule in found for one in _of_record(run, of_rule, record.removeprefix("~"), None)
        ]
        _insist_records(record_of)
    return record_of


def _insist_records(told: Record) -> None:
    if not told["records"]:
        raise DataRefused(
            f"no finding of {told['rule']} on that record",
            fix="give a finding or record as npr findings --json has it, or the episodeID",
        )


def _records(settings: Settings, rule: Rule, record: str, period: str | None, unit: str | None) -> Iterable[Record]:
    bench = DiskWorkbench(settings, Options())
    for key in _known(settings, period, unit):
        run = bench.open(f"{key.period}|{key.unit}")
        yield from _of_record(run, ledger(run).filter(pl.col("rule") == rule.id), record, rule)


def _of_record(run: Run, lines: pl.DataFrame, record: str, rule: Rule | None) -> Iterable[Record]:
    """Findings on one record, with the fields they speak of. rule: None for a code of the register."""
    hits = lines.filter((pl.col("record") == record) | (pl.col("fingerprint") == record))
    if hits.is_empty():
        hits = _of_episode(run, lines, record)
    snapshot = run.store.load("snapshot", run.key, Snapshot)
    contract = run.registry.contract(snapshot.contract)
    for line in hits.to_dicts():
        yield _told(run, contract, snapshot, rule, line)


def _known(settings: Settings, period: str | None, unit: str | None) -> list[Key]:
    """Partitions with a ledger, in the order of the calendar."""
    folder = DiskStore(settings.home).home / "lake" / review.LAYER / "ledger"
    wanted = Period.parse(period).key if period else None
    found = []
    for path in folder.glob("period=*/unit=*/data.parquet"):
        key = Key(period=path.parent.parent.name.removeprefix("period="), unit=path.parent.name.removeprefix("unit="))
        if wanted in (None, key.period) and unit in (None, key.unit) and key.unit in settings.config.units:
            found.append(key)
    return sorted(found, key=lambda key: (period_keys().index(key.period), key.unit))


def _of_episode(run: Run, lines: pl.DataFrame, episode: str) -> pl.DataFrame:
    """Open findings on rows of an episode, which the source knows by this id."""
    lines = lines.filter(pl.col("status") != life.RESOLVED)  # their rows are those of an earlier extract
    hits = [lines.clear()]
    for table in set(lines["table"]) - {""}:
        path = run.store.table("staging", table, run.key)
        if path.is_file() and "episodeID" in pl.read_parquet_schema(path):
            rows = pl.scan_parquet(path).filter(pl.col("episodeID") == episode).select("_row").collect()["_row"]
            hits.append(lines.filter(pl.col("table") == table, pl.col("_row").is_in(rows.implode())))
    return pl.concat(hits)


def _told(run: Run, contract: Contract, snapshot: Snapshot, rule: Rule | None, line: Mapping[str, Any]) -> Record:
    told = {
        "period": run.key.period,
        "unit": run.key.unit,
        "record": line["record"],
        "fingerprint": line["fingerprint"],
        "status": line["status"],
        "department": line["enhet"],
        "first_seen": line["first_seen"].isoformat(),
        "table": line["table"],
        "row": line["_row"],
    }
    files = {file.table: file.name for file in snapshot.files}
    if line["table"] in files:
        told["file"] = files[line["table"]]
    current = line["_row"] is not None if rule is None else line["last_snapshot"] == snapshot.id
    if not current or line["table"] not in contract.tables:
        return told | {"fields": {}}
    return told | {"fields": _fields(run, contract, rule, line)}


def _fields(run: Run, contract: Contract, rule: Rule | None, line: Mapping[str, Any]) -> Record:
    """The columns that feed the fields of the rule; nothing of the identity table, but of its patient instead."""
    table = contract.tables[line["table"]]
    npr_class = (rule.npr_class if rule else line["class"]).rpartition("_")[2]
    row = pl.col("_row") == line["_row"]
    asked = set(rule.fields) if rule else {line["fields"]}
    if table.identity:
        identities = pl.scan_parquet(run.store.table("staging", table.name, run.key, identity=True))
        row = pl.col("_patient").is_in(identities.filter(row).select("_patient").collect()["_patient"].implode())
        table, npr_class = contract.tables["patients"], "Pasient"
        asked = {name.removeprefix("Pasient@") for name in asked}
    elif rule is not None and not isinstance(rule, IdentityRule):
        asked |= {*rule.uses, *(pl.sql_expr(rule.wrong).meta.root_names() if rule.wrong else ())}
    feeding = table.feeding(npr_class)
    columns = [feeding[name] for name in sorted(asked) if name in feeding and feeding[name] not in HIDDEN]
    if not columns:
        return {}
    found = pl.scan_parquet(run.store.table("staging", table.name, run.key)).filter(row).select(columns).collect()
    return {} if found.is_empty() else {name: _value(value) for name, value in found.row(0, named=True).items()}


def _value(value: object) -> object:
    return value.isoformat() if isinstance(value, dt.date) else value if isinstance(value, int | None) else str(value)


# --- decisions ---


def waive(settings: Settings, period: str, unit: str | None, subject: str, said: Mapping[str, Any]) -> Record:
    """Keep a waiver of a rule or of one finding, ours or the register's. said: by, why, until, withdrawn.

    It says that a person knows of it. What the register said stays what it said: no state of a submission changes.
    """
    said = _vouched(said)
    run = _one(settings, period, unit)
    own, theirs = ledger(run), standing(run)
    lines = pl.concat([own, theirs.select(own.columns)])
    name, count = _subject(lines, subject)
    of_npr = is_theirs(name) or name in set(theirs["fingerprint"])
    decision = _decide(run, DecisionKind.WAIVE, name, said)
    review.keep_waivers(run)
    run.store.publish_views()
    return decision | {"findings": count, "origin": NPR if of_npr else OWN}


def _subject(lines: pl.DataFrame, subject: str) -> tuple[str, int]:
    """The rule or the whole fingerprint, and how many open findings it speaks of."""
    still = lines.filter(pl.col("status") != life.RESOLVED)
    if is_theirs(subject) and subject not in set(lines["rule"]):
        raise WrongUse(
            f"NPR's answers to this period hold no {subject[:40]}",
            where="SUBJECT",
            fix="npr findings lists the codes that came",
        )
    if subject in known_rules() or is_theirs(subject):
        return subject, still.filter(pl.col("rule") == subject).height
    prints = [one for one in still["fingerprint"] if one.startswith(subject.removeprefix("~"))]
    if len(subject) < SHORT or len(prints) != 1:
        raise WrongUse(
            f"{subject[:40]!r} is neither a rule nor the fingerprint of one finding",
            where="SUBJECT",
            fix="npr findings lists fingerprints; the first digits do when they fit one only",
        )
    return prints[0], 1


def override(settings: Settings, period: str, unit: str | None, name: str, said: Mapping[str, Any]) -> Record:
    """Keep an override of a rule that drops records. said: by, why, count, withdrawn."""
    said = _vouched(said)
    run = _one(settings, period, unit)
    rule = rule_of(name)
    found = review.dropped(run).get(rule.id, 0)
    if rule.consequence != life.DROPS:
        raise WrongUse(
            f"{rule.id} drops no records ({rule.consequence})",
            where="RULE",
            rule="an override takes on records that NPR leaves out",
            fix="npr waive takes a finding off the work list",
        )
    decision = _decide(run, DecisionKind.OVERRIDE, rule.id, said)
    return decision | {"found": found, "holds": not said.get("withdrawn") and (said.get("count") or 0) >= found}


def confirm(settings: Settings, period: str, unit: str | None, guard: str, said: Mapping[str, Any]) -> Record:
    """Keep the word of a named person that the figures of a guard are right, these and no others."""
    said = _vouched(said)
    run = _one(settings, period, unit)
    found = _guarded(run)
    stops = [line for line in found if line.status == drift.STOP]
    mine = [line.text for line in stops if line.guard == guard]
    if not mine:
        names = ", ".join(dict.fromkeys(line.guard for line in stops)) or "none"
        raise WrongUse(f"guard {guard[:40]!r} stops nothing", where="--guard", fix=f"guards that stop: {names}")
    decision = _decide(run, DecisionKind.CONFIRM, guard, {**said, "content": drift.content(found, guard)})
    return decision | {"confirmed": mine}


def _vouched(said: Mapping[str, Any]) -> Record:
    """The same with name and reason checked, which comes before all else."""
    return {**said, "by": person(said["by"]), "why": reason(said["why"], "--why")}


def _decide(run: Run, kind: DecisionKind, subject: str, said: Mapping[str, Any]) -> Record:
    place = {"period": run.key.period, "unit": run.key.unit}
    decision = Decision.model_validate({"kind": kind, **place, "subject": subject, "at": run.now(), **said})
    run.ledger.decide(decision)
    return decision.model_dump(mode="json", exclude_none=True)
