"""Stage 8: hand the prepared parts to the channel, each once, with the ledger around every step.

Belongs here: what must hold before a part may leave, the order of ledger and act, settling doubt by asking. Does not
belong here: how a channel works (``pipelines.channels``), which event may follow which
(``schemas.submission_states``).

The order for one part: ``begin`` is written and synced; the channel is called; what came of it is written. A process
that dies between leaves the part ``handing_over``; whoever comes next writes ``doubt`` and asks the channel. Only where
the channel is certain that the part is not there may it be handed over again. A deliberate resend that did not go
leaves the part as it stood before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from assets import baselines
from assets.checkpoints import checkpoint
from assets.guard import guard, label_content
from assets.manifests import insist_bytes, manifest_of
from assets.permits import (
    insist_allowed,
    insist_approved,
    insist_last_word,
    insist_overridden,
    insist_validated,
    overrides,
)
from assets.ports import Channel, InDoubt, Note, NotHandedOver, Rejected, Run
from schemas.errors import DataRefused
from schemas.records import Delivery, Manifest, ShipmentOut
from schemas.sending import Presence, SentPart, TransportState
from schemas.submission_states import BEGINS, OPEN, SENDABLE, Event, State, stands_without

MACHINE = "pipeline"


def dispatch(run: Run) -> Delivery:
    """Hand over the newest submission; repeating it changes nothing. Then make the analysts' views anew."""
    record = submit(run, run.store.load("manifest", run.key, Manifest).submission)
    run.store.publish_views()
    return record


def submit(run: Run, number: int) -> Delivery:
    """Hand over a submission. What left already is left alone; what is in doubt is asked about first."""
    manifest = manifest_of(run, number)
    if any(part.state in SENDABLE | OPEN for part in run.ledger.parts(run.key, number)):
        channels = channels_for(run, manifest)
        insist_ready(run, manifest)
        _claimed(run, manifest, channels)
    sent = run.ledger.parts(run.key, number)
    name = next((part.channel for part in sent if part.channel), "")
    record = Delivery(submission=number, channel=name, files={part.path: part.reference for part in sent})
    run.store.save("dispatch", run.key, record)
    return record


def channels_for(run: Run, manifest: Manifest) -> Mapping[bool, Channel]:
    """The channel of the unit and, under True, the one for parts that it cannot carry; each where there are parts."""
    wanted = sorted({part.large for part in manifest.shipments})
    return {large: run.large_channel() if large else run.channel() for large in wanted}


def insist_ready(run: Run, manifest: Manifest) -> None:
    """Everything that must hold before anything leaves; whatever raises here keeps the submission in the house."""
    # Before anything else, so that test content stays known as such whatever stops it now.
    (run.guard or partial(_guarded, run))(manifest)
    taken = overrides(run, manifest.dropped)
    if manifest.profile != "rehearsal":
        insist_overridden(manifest, taken)
        baselines.insist_confirmed(run, manifest)
        insist_last_word(run, manifest)
    insist_allowed(manifest, taken)
    insist_bytes(run, manifest)
    if manifest.profile == "production":
        insist_validated(run, manifest)
    if run.config.approved_first(manifest.profile):
        insist_approved(run, manifest)


def _guarded(run: Run, manifest: Manifest) -> None:
    label_content(run.store, run.key, manifest)
    guard(run.store, run.key, manifest, run.config.profile)


def _claimed(run: Run, manifest: Manifest, channels: Mapping[bool, Channel]) -> None:
    """Do the work under the claim of the submission: of two processes at once one sends."""
    owner, number = run.owner, manifest.submission
    if not run.ledger.claim(run.key, number, owner, run.now()):
        raise DataRefused(
            f"another process sends submission {number} of {run.key}",
            rule="one process sends a submission",
            fix="wait for it to end; npr resume shows what became of it",
        )
    try:
        folder = run.store.shipments(run.key, number)
        files = {part.msg_id: part for part in manifest.shipments}
        for part in run.ledger.parts(run.key, number):
            file = files[part.msg_id]
            _one(run, channels[file.large], manifest, part, file, folder)
    finally:
        run.ledger.release(run.key, number, owner)


def _one(run: Run, channel: Channel, manifest: Manifest, part: SentPart, file: ShipmentOut, folder: Path) -> None:
    state = part.state
    if state in OPEN:
        state = settle(run, part).state
        if state in OPEN:
            raise InDoubt(
                f"{part.path}: nobody knows whether it left; it is not sent again",
                where=f"{part.msg_id}, {part.channel}",
                rule="what is in doubt is settled by asking",
                fix="npr resume asks again; npr resend MSGID --because TEXT --by NAME is the deliberate exception",
            )
    if state in SENDABLE:
        run.ledger.claim(run.key, manifest.submission, run.owner, run.now())
        hand_over(run, channel, manifest, file, folder, Event.BEGIN, _note(run))


def hand_over(
    run: Run, channel: Channel, manifest: Manifest, file: ShipmentOut, folder: Path, begin: Event, note: Note
) -> SentPart:
    """Write that it begins, hand one part over, write what came of it."""
    path = folder / file.path
    insist_digest(run, file, path)
    known = Note(note.by, run.now(), run.owner, channel.name, detail=note.detail)
    run.ledger.record(file.msg_id, begin, known)
    checkpoint("hand_over.before")
    try:
        receipt = channel.hand_over(file, path, manifest)
    except Rejected as refused:
        run.ledger.record(file.msg_id, Event.REJECTED, _note(run, refused.what))
        raise
    except NotHandedOver as certain:
        run.ledger.record(file.msg_id, Event.NOT_HANDED_OVER, _note(run, certain.what))
        raise
    except InDoubt as doubt:
        run.ledger.record(file.msg_id, Event.DOUBT, _note(run, doubt.what))
        raise
    except Exception as error:
        # What nobody foresaw may have happened after the part was taken. Its text may quote anything.
        run.ledger.record(file.msg_id, Event.DOUBT, _note(run, type(error).__name__))
        raise
    checkpoint("hand_over.after")
    done = Note(MACHINE, receipt.at, channel=channel.name, reference=receipt.reference)
    return run.ledger.record(file.msg_id, Event.HANDED_OVER, done)


def insist_digest(run: Run, file: ShipmentOut, path: Path) -> None:
    """The ledger has the digest of what may leave under this MsgId, and the file has that digest."""
    known = run.ledger.part(file.msg_id)
    with path.open("rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
    if not known.packed_sha256 or known.packed_sha256 != found:
        raise DataRefused(
            f"{file.path} is not, byte for byte, what the ledger has under its MsgId; it was not handed over",
            where=str(path),
            rule="a MsgId names the same bytes for ever",
            fix="put the parts folder back from the backup",
        )


def settle(run: Run, part: SentPart) -> SentPart:
    """Ask the channel that took a part what became of it, and write what it says. Sends nothing."""
    return asked(run, part)[0]


def asked(run: Run, part: SentPart) -> tuple[SentPart, TransportState]:
    """The same, with what the channel said."""
    channel = run.channel(part.channel)
    if part.state is State.HANDING_OVER:
        part = run.ledger.record(part.msg_id, Event.DOUBT, _note(run, "the process ended during the hand-over"))
    checkpoint("ask.before")
    said = channel.ask(part)
    checkpoint("ask.after")
    events = list(said.events)
    if part.state is State.IN_DOUBT and said.presence is Presence.ABSENT:
        events = [] if _doubt_is_older(run, part) else [Event.NOT_HANDED_OVER]
    elif part.state is State.IN_DOUBT and said.presence is Presence.THERE:
        events = [Event.HANDED_OVER, *events]
    for event in events:
        note = Note(MACHINE, run.now(), channel=channel.name, reference=said.reference, detail=said.detail)
        part = run.ledger.record(part.msg_id, event, note)
    return part, said


def _doubt_is_older(run: Run, part: SentPart) -> bool:
    """Whether a part was in doubt before it was sent again: a channel may know of the newest try alone."""
    begins = [(one.event, one.before) for one in reversed(run.ledger.events(part.msg_id)) if one.event in BEGINS]
    return stands_without(begins) is State.IN_DOUBT


def _note(run: Run, detail: str = "") -> Note:
    return Note(MACHINE, run.now(), owner=run.owner, detail=detail)
