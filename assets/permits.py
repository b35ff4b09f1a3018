"""What named persons and the validation service must have said before a submission may leave.

Belongs here: holding a manifest against the decisions and submissions of the ledger. Does not belong here: what reads
bytes or tables (``assets.guard``, ``assets.guards``), handing over (``assets.dispatch``). Schedulers ask the same
beforehand for every report that is due, so nothing here needs a data frame.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from assets.ports import Run
from assets.rulings import with_overrides
from schemas.decisions import Decision, DecisionKind
from schemas.errors import DataRefused
from schemas.period import Period, period_keys
from schemas.records import Key, Manifest
from schemas.sending import SubmissionRow
from schemas.submission_states import STANDING, State, is_worse
from transforms.content.decided import Overridden, overridden


def overrides(run: Run, found: Mapping[str, int]) -> list[Overridden]:
    """Each rule that drops records, held against what named persons have taken on for this period."""
    return overridden(found, run.ledger.decisions(run.key, DecisionKind.OVERRIDE), run.now().date())


def insist_overridden(manifest: Manifest, taken: Sequence[Overridden]) -> None:
    """Records that NPR will leave out are sent only when a named person has taken on that many, rule by rule."""
    left = [one for one in taken if not one.holds]
    if manifest.findings.get("drop_record") and not manifest.dropped:
        raise DataRefused(
            f"submission {manifest.submission} does not say which rules drop its records; nothing was handed over",
            rule="a check that cannot run stops",
            fix=f"make it anew: npr run {manifest.key.period} --unit {manifest.key.unit}",
        )
    if left:
        given = f"npr override {manifest.key.period} {{}} --unit {manifest.key.unit} --count {{}} --by NAME --why TEXT"
        commands = [given.format(one.rule, one.found) for one in left]
        records = sum(one.found for one in left)
        raise DataRefused(
            f"NPR would leave out {records} records by {len(left)} rules; nothing was handed over",
            where="\n         ".join(one.text() for one in left),
            rule="records are lost only when a named person has taken it on",
            fix="correct the source; or, when they are to be lost:\n       " + "\n       ".join(commands),
        )


def insist_allowed(manifest: Manifest, taken: Sequence[Overridden] = ()) -> None:
    """Towards NPR a dated requirement stops from its date what it warned of before; a rehearsal only shows it."""
    stops = [ruling for ruling in with_overrides(manifest.rulings, taken) if ruling.verdict == "stop"]
    if stops and manifest.profile != "rehearsal":
        raise DataRefused(
            f"{len(stops)} dated requirements of the registry stop this submission; nothing was handed over",
            where="\n         ".join(f"{ruling.module}: {ruling.text}" for ruling in stops),
            rule=", ".join(sorted({ruling.requirement for ruling in stops})),
            fix="correct the source and extract again; finding.findings in npr.duckdb names the rows",
        )


def insist_last_word(run: Run, manifest: Manifest) -> None:
    """No later report of the year that holds this one has left: it would be replaced by less than it says."""
    own, keys = set(run.period.modules), period_keys()
    for period in keys[keys.index(run.period.key) + 1 :]:
        other = Period.parse(period)
        if other.year != run.period.year or not own <= set(other.modules):
            continue
        key = Key(period=period, unit=run.key.unit)
        for row in run.ledger.submissions(key):
            parts = run.ledger.parts(key, row.number) if row.profile == manifest.profile else []
            if any(part.state in STANDING for part in parts):
                raise DataRefused(
                    f"{period} holds {run.key.period} and has left as submission {row.number}; nothing was handed over",
                    rule="the last submission is what the registry keeps (MSG-22)",
                    fix=f"correct {period}: npr run {period} --unit {run.key.unit}",
                )


def insist_approved(run: Run, manifest: Manifest) -> None:
    """A named person has approved these very parts. An approval of other bytes, or one taken back, is none."""
    approval = holding(run, DecisionKind.APPROVE, manifest)
    if approval is None or approval.content != manifest.sealed():
        what = "waits for approval" if approval is None else "has changed since it was approved"
        raise DataRefused(
            f"submission {manifest.submission} of {run.key} {what}; nothing was handed over",
            rule="sending in production always waits for a named person",
            fix=f"npr approve {run.key.period} --unit {run.key.unit} --submission {manifest.submission} --by NAME",
        )


def insist_validated(run: Run, manifest: Manifest) -> None:
    """The same content came back clean from validation, or a named person has taken on what was found."""
    rows = run.ledger.submissions(run.key)
    same = [row for row in rows if row.profile == "validation" and row.content == manifest.content]
    if any(row.state is State.ACCEPTED for row in same):
        return
    accepted = holding(run, DecisionKind.ACCEPT, manifest)
    mine = accepted if accepted and accepted.content == manifest.content else None
    worse = _worse_since(run, mine, same) if mine else ""
    if mine and not worse:
        return
    found = worse or (f"it is {same[-1].state.value} there" if same else "it was never sent there")
    raise DataRefused(
        f"this content has not come back clean from the validation service: {found}; nothing was handed over",
        rule="validation first",
        fix=f"npr submit {run.key.period} --unit {run.key.unit} --to validation, or, when what was found is taken on, "
        f"npr accept {run.key.period} --unit {run.key.unit} --by NAME --because TEXT",
    )


def _worse_since(run: Run, accepted: Decision, same: Sequence[SubmissionRow]) -> str:
    """What the validation service said of the content after the acceptance, where it is worse than what was taken on.

    Compared part by part: one more part with errors leaves the state of the whole as it was. An acceptance that does
    not say what was found (of an older program) is held against nothing.
    """
    for row in same:
        for part in run.ledger.parts(run.key, row.number) if row.number >= (accepted.submission or 0) else ():
            known = accepted.found.get(part.place)
            if known and is_worse(part.state, known):
                return f"{part.place} became {part.state.value} there after a person took on {known.value}"
    return ""


def holding(run: Run, kind: DecisionKind, manifest: Manifest) -> Decision | None:
    """The newest decision of a kind about a profile, where it still holds. Approvals speak of one submission."""
    found = [one for one in run.ledger.decisions(run.key, kind) if one.subject == manifest.profile]
    if kind is DecisionKind.APPROVE:
        found = [one for one in found if one.submission == manifest.submission]
    newest = found[-1] if found else None
    return newest if newest and newest.holds(run.now().date()) else None
