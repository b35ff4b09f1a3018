"""Stage 7: whole patients into parts, each a valid message of its own, packed below the limit.

Belongs here: reading fragments, validating every part against the XSD, packing, writing parts and manifest. Does not
belong here: where a part ends (``transforms.split``), how it is packed (``transforms.packing``), handing it over.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from assets import classes, guards
from assets.accounts import accounts
from assets.guard import expected_of, fingerprint_of_facts, inspect_part
from assets.lake import IDENTITY_MODULES, current, message_path
from assets.permits import overrides
from assets.ports import LopenrTaken, Run
from assets.rendered import Rendered
from assets.review import dropped
from assets.rulings import rulings, schema_rule, sending_day, with_overrides
from schemas.codelists import codes_digest
from schemas.errors import DataRefused, WrongUse
from schemas.guard import Inspected
from schemas.receivers import Receiver, default_limit, nhn_ceiling
from schemas.records import (
    Findings,
    FragmentSet,
    Manifest,
    MessageOut,
    MessageRows,
    MessageSet,
    PartIds,
    ShipmentOut,
    Snapshot,
    Submission,
    digest,
)
from schemas.versions import message_type
from schemas.xsd import compile_with_head, validate_stream
from transforms import packing, split
from transforms.addressing import insist_agreement
from transforms.class_tables import nodes_of_patients
from transforms.ebms import Signer
from transforms.envelope import Coded, HeadMessage, Party, content_pieces, content_size, head
from transforms.packing import Packing
from transforms.render import render_shell

if TYPE_CHECKING:
    from cryptography import x509
    from lxml.etree import XMLSchema

    from schemas.layout import Layout

MANIFEST = "manifest.json"
SHOWN_FAULTS = 5
RACES = 5  # how often other units of an institution may be faster before a person is told


@dataclass(frozen=True, slots=True)
class Limit:
    """Largest finished file, in bytes, and how sure we are of it."""

    bytes: int
    certainty: str


def shipments(run: Run) -> Manifest:
    """Make all parts of the period's messages. The same inputs again give the parts that are already there."""
    for _ in range(RACES):
        try:
            manifest = _made(run)
            break
        except LopenrTaken:
            continue
    else:
        raise LopenrTaken(
            f"other submissions of {run.unit.institusjonID} took lopenr {RACES} times in a row", fix="run again"
        )
    insist_bytes(run, manifest)
    run.ledger.seal(manifest, run.now())
    run.store.save("manifest", run.key, manifest)
    return manifest


def _made(run: Run) -> Manifest:
    made = current(run, "messages", MessageSet)
    receiver, certificate = run.receiver()
    signer = run.signer()
    _insist_agreement(run, receiver)
    limit = size_limit(run)
    inputs = _inputs(run, made, limit, Parties(receiver, certificate, signer))
    submission = run.ledger.submission(run.key, run.config.profile, run.unit, run.period.year, inputs, run.now())
    folder = run.store.shipments(run.key, submission.number)
    if not (folder / MANIFEST).exists():
        with run.store.writing_folder(folder) as room, _documents(run, submission) as private:
            bench = _Bench(run, Parties(receiver, certificate, signer), limit, (room, private), submission)
            done = [bench.module(module) for module in made.modules]
            # From here on the numbers are taken; a run that dies now makes the same parts with the same ids again.
            kept = run.ledger.keep_ids(submission, list(bench.stored.values()))
            run.store.copy_submission(kept)
            guards.keep(run, submission.number)
            classes.keep(run, submission.number)
            manifest = _manifest(run, submission, made, done, limit)
            manifest = manifest.model_copy(update={"guard": tuple(bench.inspected)})
            (room / MANIFEST).write_text(manifest.model_dump_json(indent=1), encoding="utf-8")
    return manifest_of(run, submission.number)


@contextmanager
def _documents(run: Run, submission: Submission) -> Iterator[Path | None]:
    """Room for the head messages where a channel takes them; it is there before the parts are, or not needed."""
    if not _needs_documents(run):
        yield None
        return
    with run.store.writing_folder(run.store.documents(run.key, submission.number)) as private:
        yield private


def _needs_documents(run: Run) -> bool:
    return any(way.needs_document for way in run.config.ways(run.key.unit, run.config.profile).values())


def manifest_of(run: Run, number: int) -> Manifest:
    """The manifest of a submission. DataRefused when it was not prepared to the end."""
    path = run.store.shipments(run.key, number) / MANIFEST
    if not path.is_file():
        raise DataRefused(
            f"submission {number} of {run.key} is not prepared",
            where=str(path),
            fix=f"npr prepare {run.key.period} --unit {run.key.unit}",
        )
    return Manifest.model_validate_json(path.read_bytes())


def size_limit(run: Run) -> Limit:
    """The limit of this run: given, configured, or by the year of the data; never above what the network carries."""
    given = run.options.limit_bytes or run.config.shipping.packed_bytes
    ceiling = nhn_ceiling()
    ways = run.config.ways(run.key.unit, run.config.profile).values()
    if beyond := max((way.most_mail_bytes or 0 for way in ways), default=0):
        return Limit(min(given or beyond, beyond), "set by configuration")
    if given and given > ceiling.bytes:
        raise WrongUse(
            f"limit of {given} bytes is above what Norsk helsenett carries",
            where="shipping.packed_bytes or --limit-bytes",
            rule=ceiling.source,
            fix=f"give at most {ceiling.bytes}, or send over NHN-EDI-STOR",
        )
    default = default_limit(run.period.year)
    return Limit(given, "set by configuration") if given else Limit(default.bytes, default.certainty)


def _document_limit(run: Run) -> int | None:
    """The largest head message that the channel carries; None where mails are the limit."""
    ways = run.config.ways(run.key.unit, run.config.profile).values()
    return min((most for way in ways if (most := way.most_document_bytes)), default=None)


def _insist_agreement(run: Run, receiver: Receiver) -> None:
    snapshot = run.store.load("snapshot", run.key, Snapshot)
    known = [mail for mail in (run.unit.sender.mail, receiver.mail) if mail] if receiver.real else [receiver.mail]
    insist_agreement(run.config.profile, receiver.unit_her_id, snapshot.environment, known)


def _inputs(run: Run, made: MessageSet, limit: Limit, parties: Parties) -> str:
    rendered = current(run, "fragments", FragmentSet)
    return digest(
        {
            "pipeline": run.pipeline,
            "profile": run.config.profile,
            "unit": run.unit.model_dump(mode="json", exclude={"extract", "certificates"}),
            "messages": made.model_dump(mode="json"),
            # What was found is part of what a person approves, and code lists loaded since may find more.
            "findings": current(run, "findings", Findings).model_dump(mode="json"),
            "fragments": rendered.model_dump(mode="json"),
            "limit": limit.bytes,
            "guard": fingerprint_of_facts(),
            "gzip": parties.gzip(run),
            "form": parties.receiver.form.values(),
            "receiver": hashlib.sha256(parties.certificate.tbs_certificate_bytes).hexdigest(),
            **({"documents": _document_limit(run)} if _needs_documents(run) else {}),
            "signer": parties.signer and hashlib.sha256(parties.signer.certificate.tbs_certificate_bytes).hexdigest(),
        }
    )


@dataclass(frozen=True, slots=True)
class Parties:
    """Who receives, with which certificate, and who signs; signer None: the message handler that sends does."""

    receiver: Receiver
    certificate: x509.Certificate
    signer: Signer | None

    def gzip(self, run: Run) -> bool:
        """Whether messages are compressed before encryption."""
        return run.config.shipping.gzip or self.receiver.form.gzip.value


@dataclass(frozen=True, slots=True)
class _Done:
    """A message; content: digest of its body with lopenr 0, the same whatever its numbers."""

    message: MessageOut
    content: str
    shipments: tuple[ShipmentOut, ...]


class _Bench:
    """What all parts of a submission share while they are made."""

    def __init__(
        self,
        run: Run,
        parties: Parties,
        limit: Limit,
        rooms: tuple[Path, Path | None],
        submission: Submission,
    ) -> None:
        self.run = run
        self.parties = parties
        self.form = parties.receiver.form
        self.gzip = parties.gzip(run)
        self.limit = limit
        self.room, self.private = rooms
        self.document_limit = _document_limit(run)
        self.stored = {(ids.module, ids.part): ids for ids in submission.ids}
        self.next_lopenr = submission.first_lopenr
        self.created = submission.created_at
        self.expected = expected_of(run.store, run.key, run.unit)
        self.inspected: list[Inspected] = []

    def module(self, module: MessageRows) -> _Done:
        """All parts of one module, and the message as a whole."""
        layout = self.run.registry.as_recorded(module.schema_use)
        work = _Work(self, layout)
        whole = hashlib.sha256()
        content = hashlib.sha256(b"".join(work.shell_of(0)))
        body_bytes = 0
        parts: list[ShipmentOut] = []
        for number, (part, payload) in enumerate(work.plan()):
            self._insist_split(number + 1)
            shell = work.shell(number)
            if number == 0:
                whole.update(shell[0])
                body_bytes += len(shell[0]) + len(shell[1])
            for piece in work.rendered.pieces(part.first, part.last_exclusive):
                whole.update(piece)
                content.update(piece)
                body_bytes += len(piece)
            parts.append(work.finish(number, part, payload))
            self.run.progress(f"packing {layout.module}", part.last_exclusive, module.patients)
        whole.update(shell[1])
        self.next_lopenr += len(parts)
        message = MessageOut(
            module=layout.module,
            version=layout.version,
            patients=module.patients,
            records=sum(module.rows.values()),
            bytes=body_bytes,
            sha256=whole.hexdigest(),
        )
        return _Done(
            message, content.hexdigest(), tuple(part.model_copy(update={"parts": len(parts)}) for part in parts)
        )

    def part_ids(self, module: str, number: int) -> PartIds:
        """Ids of a part: the stored ones where the submission was begun before."""
        known = self.stored.get((module, number + 1))
        if known:
            return known
        ids = self.stored[module, number + 1] = PartIds(
            module=module,
            part=number + 1,
            lopenr=self.next_lopenr + number,
            msg_id=str(uuid.uuid4()),
            gen_date=self.created.isoformat(timespec="seconds"),
        )
        return ids

    def _insist_split(self, parts: int) -> None:
        shipping = self.run.config.shipping
        split.split_policy(self.run.config.profile, parts, shipping.split_agreement, shipping.split)


class _Work:
    """One module on the bench."""

    def __init__(self, bench: _Bench, layout: Layout) -> None:
        self.bench = bench
        self.layout = layout
        run = bench.run
        identity = layout.module in IDENTITY_MODULES
        self.rendered = Rendered(run.store.fragments(layout.module, run.key, identity=identity))
        self.schema: XMLSchema = compile_with_head(layout)
        inside = {node.id for node in nodes_of_patients(layout)}
        above = [node.id for node in layout.nodes if node.id not in inside]
        paths = {node: message_path(run, layout.module, node) for node in above}
        self.tables = {node: pl.read_parquet(path) for node, path in paths.items() if path.exists()}
        self.type = message_type(layout.module)
        self.shell_bytes = sum(map(len, self.shell(0))) - len(str(bench.next_lopenr))
        self.head_bytes = sum(map(len, self._dress(_SAMPLE_IDS)))

    def shell(self, number: int) -> tuple[bytes, bytes]:
        """Bytes around the patients of a part, with its lopenr."""
        return self.shell_of(self.bench.next_lopenr + number)

    def shell_of(self, lopenr: int) -> tuple[bytes, bytes]:
        """The same with a given lopenr."""
        melding = self.tables["Melding"].with_columns(lopenr=pl.lit(lopenr))
        return render_shell(self.layout, {**self.tables, "Melding": melding})

    def plan(self) -> Iterator[tuple[split.Part, bytes | None]]:
        """Ranges of patients, with the gzip payload where one is made on the way. Names a patient that is too large."""
        try:
            yield from self._gzip_parts() if self.bench.gzip else self._plain_parts()
        except split.PatientTooLarge as error:
            raise self._named(error) from None

    def _plain_parts(self) -> Iterator[tuple[split.Part, None]]:
        packing_of_any = self._packing(_SAMPLE_IDS)

        def size_of(melding: int) -> int:
            return packing.packed_size_of_payload(self._document_bytes(melding), packing_of_any)

        plan = split.plan_parts(self.rendered.ends, self._fixed, size_of, self._limit)
        return ((part, None) for part in plan)

    def _fixed(self, number: int) -> int:
        """Bytes of a part's Melding besides its patients: only the digits of lopenr differ between parts."""
        return self.shell_bytes + len(str(self.bench.next_lopenr + number))

    def _document_bytes(self, melding: int) -> int:
        return self.head_bytes + content_size(melding, self.bench.form.content.value)

    def _gzip_parts(self) -> Iterator[tuple[split.Part, bytes]]:
        size_of = partial(packing.packed_size_of_payload, packing=self._packing(_SAMPLE_IDS))
        # Compressed size depends on the very bytes, so the ids of a part are settled before it is filled.
        return split.plan_parts_gzip(
            self.rendered.bytes,
            self.rendered.ends,
            lambda number: self._around(number, self.bench.part_ids(self.layout.module, number)),
            size_of,
            self._limit,
        )

    @cached_property
    def _limit(self) -> int:
        """Bytes of a finished mail that neither the limit for mails nor the channel's for documents is passed by."""
        most, given = self.bench.document_limit, self.bench.limit.bytes
        if most is None or self.bench.gzip:  # how a document compresses says nothing about its length
            return given
        # Sizes of mails grow in steps of a cipher block, so the next step but one byte is the last that is safe.
        return min(given, packing.packed_size_of_payload(most + 1, self._packing(_SAMPLE_IDS)) - 1)

    def finish(self, number: int, part: split.Part, payload: bytes | None) -> ShipmentOut:
        """Validate, pack and write one part; the document itself is never whole in memory."""
        bench, module = self.bench, self.layout.module
        ids = bench.part_ids(module, number)
        around = self._around(number, ids)
        body = _Counted()
        melding = partial(self._melding, around, part)
        if payload is None:
            length = around.document_bytes(_patient_bytes(self.rendered, part))
            pieces = _document(around, melding())
        else:
            length, pieces = len(payload), iter([payload])
        faults = self._insist_valid(around, body.through(melding()), number)
        self._inspect(around, melding(), number, payload)
        name = f"{module}-{number + 1:03}.eml"
        document = _Counted()
        if bench.private:
            with (bench.private / name).with_suffix(".xml").open("wb") as file:
                file.writelines(document.through(_document(around, melding())))
        mail = _Counted()
        with (bench.room / name).open("wb") as file:
            file.writelines(mail.through(packing.mail_pieces(pieces, length, self._packing(ids))))
        if mail.bytes > self._limit:
            raise RuntimeError(f"{module} part {number + 1} is larger than planned")
        return ShipmentOut(
            module=module,
            part=number + 1,
            parts=0,
            packed_bytes=mail.bytes,
            limit_bytes=self._limit,
            patients=part.last_exclusive - part.first,
            path=name,
            sha256=mail.sha256.hexdigest(),
            body_sha256=body.sha256.hexdigest(),
            body_bytes=body.bytes,
            lopenr=ids.lopenr,
            msg_id=ids.msg_id,
            schema_faults=faults,
            document_sha256=document.sha256.hexdigest() if bench.private else "",
            document_bytes=document.bytes,
        )

    def _inspect(self, around: split.Around, melding: Iterator[bytes], number: int, payload: bytes | None) -> None:
        """The guard reads what is encrypted next: a gzip payload is opened again, and must be this document."""
        bench, body = self.bench, b"".join(melding)
        if payload is not None and packing.opened_payload(payload) != b"".join(_document(around, iter([body]))):
            raise RuntimeError(f"{self.layout.module} part {number + 1}: the payload is not its document")
        place = (self.layout.module, number + 1)
        # What stands in a container is read as it was before.
        read = b"".join([around.head, body, around.tail])
        bench.inspected.append(inspect_part(read, body, place, bench.expected, bench.run.config.profile))

    def _melding(self, around: split.Around, part: split.Part) -> Iterator[bytes]:
        yield around.prefix
        yield from self.rendered.pieces(part.first, part.last_exclusive)
        yield around.suffix

    def _around(self, number: int, ids: PartIds) -> split.Around:
        """Everything of the document but the patients: head message and shell."""
        opening, closing = self._dress(ids)
        prefix, suffix = self.shell(number)
        return split.Around(prefix, suffix, opening, closing, self.bench.form.content.value)

    def _dress(self, ids: PartIds) -> tuple[bytes, bytes]:
        return head(self._head(ids))

    def _head(self, ids: PartIds) -> HeadMessage:
        unit, receiver, form = self.bench.run.unit, self.bench.parties.receiver, self.bench.form
        production = self.bench.run.config.profile == "production"
        return HeadMessage(
            type_v=self.type.v,
            type_dn=self.type.dn,
            msg_id=ids.msg_id,
            gen_date=ids.gen_date,
            sender=Party(unit.organisation.name, unit.organisation.her_id, Party(unit.sender.name, unit.sender.her_id)),
            receiver=Party(receiver.name, receiver.her_id, Party(receiver.unit_name, receiver.unit_her_id)),
            processing_status=Coded("P", "Produksjon") if production else None,
            ack=Coded(form.ack.value.v, form.ack.value.dn) if form.ack.value.v else None,
            document_form=form.document.value,
            case_no=form.case_no.value,
            ref_type=Coded(form.ref_type.value.v, form.ref_type.value.dn),
            mime_type=form.mime_type.value,
            content=form.content.value,
        )

    def _packing(self, ids: PartIds) -> Packing:
        bench = self.bench
        sender, receiver = bench.run.unit.sender, bench.parties.receiver
        from_her, to_her = sender.her_id, receiver.unit_her_id
        return Packing(
            gzip=bench.gzip,
            certificate=bench.parties.certificate,
            ids=packing.ids_of(ids.msg_id, dt.datetime.fromisoformat(ids.gen_date)),
            from_her=from_her,
            to_her=to_her,
            from_mail=sender.mail if sender.mail and receiver.real else f"{from_her}@sender.invalid",
            to_mail=receiver.mail or f"{to_her}@receiver.invalid",
            description=_description(bench.run) if bench.form.description.value else "",
            signer=bench.parties.signer,
            **bench.form.routing(self.type.v, from_her, to_her).model_dump(),
        )

    def _insist_valid(self, around: split.Around, melding: Iterator[bytes], number: int) -> int:
        if around.content == "inline":
            faults = validate_stream(self.schema, chain([around.head], melding, [around.tail]))
        else:  # what is in the container is a document of its own, and only its length can make the container wrong
            faults = validate_stream(self.schema, [around.head, around.tail])
            faults += validate_stream(self.schema, melding)
        if faults:
            lines = [f"{f.element} {f.attribute or ''}: {f.text}" for f in faults[:SHOWN_FAULTS]]
            raise DataRefused(
                f"{self.layout.module} part {number + 1} does not validate: {len(faults)} faults",
                where="\n         ".join(lines),
                rule=schema_rule(self.layout, sending_day(self.bench.created)),
                fix="nothing was published; the mapping or the data break the model",
            )
        return len(faults)

    def _named(self, error: split.PatientTooLarge) -> DataRefused:
        ordinal = int(self.rendered.patients[error.index])
        path = self.bench.run.store.table("staging", "patients", self.bench.run.key)
        key = pl.scan_parquet(path).filter(pl.col("_patient") == ordinal).select("pasientNr").collect().item()
        return DataRefused(
            f"{self.layout.module}: {error.what}", where=f"pasientNr {key}", rule=error.rule, fix=error.fix
        )


class _Counted:
    """Bytes and digest of what went through."""

    def __init__(self) -> None:
        self.bytes = 0
        self.sha256 = hashlib.sha256()

    def through(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            self.bytes += len(piece)
            self.sha256.update(piece)
            yield piece


def _document(around: split.Around, melding: Iterator[bytes]) -> Iterator[bytes]:
    return chain([around.head], content_pieces(melding, around.content), [around.tail])


def _patient_bytes(rendered: Rendered, part: split.Part) -> int:
    before = int(rendered.ends[part.first - 1]) if part.first else 0
    return int(rendered.ends[part.last_exclusive - 1]) - before


def _description(run: Run) -> str:
    """Names and versions of the systems, as the network's version monitoring reads them (HIS 1210:2018)."""
    name, _, version = run.pipeline.partition(" ")
    epj = run.unit.epj
    told = {
        "MSH-system": name,
        "MSH-versjon": version,
        "fagsystem": epj.navnEPJ,
        "fagsystem-versjon": epj.versjonEPJ,
    }
    return json.dumps(told, ensure_ascii=False)


_SAMPLE_IDS = PartIds(
    module="ord", part=1, lopenr=1, msg_id=str(uuid.UUID(int=0)), gen_date="2000-01-01T00:00:00+00:00"
)


def _manifest(run: Run, submission: Submission, made: MessageSet, done: list[_Done], limit: Limit) -> Manifest:
    found = current(run, "findings", Findings)
    shipping = run.config.shipping
    agreement = shipping.split_agreement
    dropping = dropped(run)
    messages = tuple(one.message for one in done)
    parts = tuple(part for one in done for part in one.shipments)
    return Manifest(
        key=run.key,
        submission=submission.number,
        profile=run.config.profile,
        created_at=submission.created_at,
        pipeline=run.pipeline,
        snapshot=run.store.load("snapshot", run.key, Snapshot),
        tables=accounts(run),
        schemas=tuple(module.schema_use for module in made.modules),
        codes_sha256=codes_digest(),
        code_lists_sha256=found.codes,
        findings=found.by_consequence,
        unchecked=found.unchecked,
        nprid_reg=found.nprid_reg,
        messages=messages,
        shipments=parts,
        limit_certainty=limit.certainty,
        split={
            "allowed": str(shipping.split).lower(),
            "certainty": "C: how parts combine at the register is documented nowhere",
            "agreement": agreement.reference if agreement else "",
        },
        rulings=with_overrides(
            rulings(
                messages,
                parts,
                found,
                run.registry.version_of(run.period.year).version,
                sending_day(submission.created_at),
            ),
            overrides(run, dropping),
        ),
        dropped=dropping,
        content=digest(
            {
                "bodies": {one.message.module: one.content for one in done},
                "parts": [(part.module, part.part, part.patients) for part in parts],
                "findings": found.by_rule,
            }
        ),
    )


def insist_bytes(run: Run, manifest: Manifest) -> None:
    """Refuse when a packed part is not, byte for byte, the one that was made and validated."""
    folder = run.store.shipments(run.key, manifest.submission)
    documents = run.store.documents(run.key, manifest.submission)
    for part in manifest.shipments:
        path, document = folder / part.path, (documents / part.path).with_suffix(".xml")
        if part.document_sha256 and not (document.is_file() and _sha256(document) == part.document_sha256):
            raise DataRefused(
                f"{document.name}: not the head message that the manifest names",
                where=str(documents),
                fix="remove the parts folder and run again; it is made anew from the same data",
            )
        if not path.is_file() or _sha256(path) != part.sha256 or part.packed_bytes > part.limit_bytes:
            raise DataRefused(
                f"{part.path}: not the file the manifest names",
                where=str(folder),
                fix="remove the folder and run again; it is made anew from the same data",
            )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
