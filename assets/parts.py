"""One message into parts: planned, validated, read by the guard, packed and written, one part at a time.

Belongs here: reading fragments, the XSD over every part, files and their digests. Does not belong here: where a part
ends (``transforms.shipping.split``), how large it may be (``assets.limits``), what it says of sender and receiver
(``transforms.shipping.dressing``), how it is packed (``transforms.shipping.packing``), the manifest
(``assets.manifests``).
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from assets.guard import expected_of, inspect_part
from assets.lake import IDENTITY_MODULES, message_path
from assets.limits import Limit, limits_of
from assets.ports import Run
from assets.rendered import Rendered
from assets.rulings import schema_rule, sending_day
from schemas.errors import DataRefused
from schemas.guard import Inspected
from schemas.lokalident import lokalident
from schemas.records import MessageOut, MessageRows, PartIds, ShipmentOut, Snapshot, Submission
from schemas.versions import message_type
from schemas.xsd import compile_with_head, validate_stream
from transforms.message.class_tables import nodes_of_patients
from transforms.message.render import render_shell
from transforms.pseudonyms import pseudonyms
from transforms.shipping import packing, split
from transforms.shipping.dressing import SAMPLE_IDS, Dress, Parties
from transforms.shipping.envelope import content_pieces, content_size, head

if TYPE_CHECKING:
    from lxml.etree import XMLSchema

    from schemas.layout import Layout

SHOWN_FAULTS = 5


@dataclass(frozen=True, slots=True)
class Done:
    """A message. content: digest of its body with lopenr 0, the same whatever its numbers. inspected: by the guard."""

    message: MessageOut
    content: str
    shipments: tuple[ShipmentOut, ...]
    inspected: tuple[Inspected, ...]


class Bench:
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
        self.limit = limit
        self.room, self.private = rooms
        self.stored = {(ids.module, ids.part): ids for ids in submission.ids}
        self.next_lopenr = submission.first_lopenr
        self.created = submission.created_at
        self.expected = expected_of(run.store, run.key, run.unit)

    def module(self, module: MessageRows) -> Done:
        """All parts of one module, and the message as a whole."""
        layout = self.run.registry.as_recorded(module.schema_use)
        work = Work(self, layout)
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
        shipments = tuple(part.model_copy(update={"parts": len(parts)}) for part in parts)
        return Done(message, content.hexdigest(), shipments, tuple(work.inspected))

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


class Work:
    """One module on the bench."""

    def __init__(self, bench: Bench, layout: Layout) -> None:
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
        self.dress = Dress(bench.parties, run.unit, message_type(layout.module), run.config.profile, run.pipeline)
        self.content = bench.parties.receiver.form.content.value
        self.inspected: list[Inspected] = []
        known = [attribute for node in layout.nodes if node.id == "Melding" for attribute in node.attributes]
        self.refers = any(one.name == "lokalident" and one.use != "prohibited" for one in known)
        self.shell_bytes = sum(map(len, self.shell(0))) - self._digits(0)
        self.head_bytes = sum(map(len, head(self.dress.head_message(SAMPLE_IDS))))
        self.limits = limits_of(run, self.dress, bench.limit.bytes, self._document_bytes)

    def shell(self, number: int) -> tuple[bytes, bytes]:
        """Bytes around the patients of a part, with its lopenr."""
        return self.shell_of(self.bench.next_lopenr + number)

    def shell_of(self, lopenr: int) -> tuple[bytes, bytes]:
        """The same with a given lopenr."""
        melding = self.tables["Melding"].with_columns(lopenr=pl.lit(lopenr))
        if self.refers:
            unit, year = self.bench.run.unit, self.bench.run.period.year
            melding = melding.with_columns(lokalident=pl.lit(lokalident(unit.institusjonID, year, lopenr)))
        return render_shell(self.layout, {**self.tables, "Melding": melding})

    def plan(self) -> Iterator[tuple[split.Part, bytes | None]]:
        """Ranges of patients, with the gzip payload where one is made on the way. Names a patient that is too large."""
        try:
            yield from self._gzip_parts() if self.bench.parties.gzip else self._plain_parts()
        except split.PatientTooLarge as error:
            raise self._named(error) from None

    def _plain_parts(self) -> Iterator[tuple[split.Part, None]]:
        return ((part, None) for part in split.plan_parts(self.rendered.ends, self._fixed, self.limits))

    def _fixed(self, number: int) -> int:
        """Bytes of a part's Melding besides its patients: only the digits of lopenr differ between parts."""
        return self.shell_bytes + self._digits(number)

    def _digits(self, number: int) -> int:
        """Bytes of lopenr in a part's Melding: alone, and within lokalident where the version has it."""
        return len(str(self.bench.next_lopenr + number)) * (2 if self.refers else 1)

    def _document_bytes(self, melding: int) -> int:
        return self.head_bytes + content_size(melding, self.content)

    def _gzip_parts(self) -> Iterator[tuple[split.Part, bytes]]:
        # Compressed size depends on the very bytes, so the ids of a part are settled before it is filled.
        return split.plan_parts_gzip(
            self.rendered.bytes,
            self.rendered.ends,
            lambda number: self._around(number, self.bench.part_ids(self.layout.module, number)),
            self.limits,
        )

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
            file.writelines(mail.through(packing.mail_pieces(pieces, length, self.dress.packing(ids))))
        limit = self.limits.large if part.large else self.limits.mail.most
        if mail.bytes > limit:
            raise RuntimeError(f"{module} part {number + 1} is larger than planned")
        return ShipmentOut(
            module=module,
            part=number + 1,
            parts=0,
            packed_bytes=mail.bytes,
            limit_bytes=limit,
            large=part.large,
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
        self.inspected.append(inspect_part(read, body, place, bench.expected, bench.run.config.profile))

    def _melding(self, around: split.Around, part: split.Part) -> Iterator[bytes]:
        yield around.prefix
        yield from self.rendered.pieces(part.first, part.last_exclusive)
        yield around.suffix

    def _around(self, number: int, ids: PartIds) -> split.Around:
        """Everything of the document but the patients: head message and shell."""
        opening, closing = head(self.dress.head_message(ids))
        prefix, suffix = self.shell(number)
        return split.Around(prefix, suffix, opening, closing, self.content)

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
        """By pseudonym and row: who it is, is to be found in the extract alone."""
        run, ordinal = self.bench.run, int(self.rendered.patients[error.index])
        staged = pl.scan_parquet(run.store.table("staging", "patients", run.key)).filter(pl.col("_patient") == ordinal)
        rows, keys = staged.select("_row", "pasientNr").collect()
        files = {file.table: file.name for file in run.store.load("snapshot", run.key, Snapshot).files}
        (told,) = pseudonyms(keys, run.store.pseudonym_key())
        where = f"patient ~{told}, {files.get('patients', 'patients')}: row {rows.item()}"
        return DataRefused(f"{self.layout.module}: {error.what}", where=where, rule=error.rule, fix=error.fix)


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
