"""One document of the inbox, of whatever kind, as an answer.

Belongs here: telling the kinds apart, and what each says as events of a part. Does not belong here: taking mails and
archives apart (``transforms.answers.unpacking``), finding the part (the ledger).
"""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Final
from zoneinfo import ZoneInfo

from schemas.answered import Answered
from schemas.errors import DataRefused
from schemas.feedback_fields import FeedbackFields, Kind
from schemas.lokalident import numbers_of
from schemas.receipts import OSLO, Status, read_receipt
from schemas.sending import Answer
from schemas.submission_states import Event
from schemas.xsd import walk
from transforms.answers import feedback
from transforms.answers.bounce import is_bounce, read_bounce
from transforms.answers.told import Told
from transforms.answers.transport import read_transport
from transforms.answers.unpacking import Document
from transforms.shipping.ebms import SOAP
from transforms.validation.opening import as_utf8

MOST_RECEIPT: Final = 2_000_000
_OF_STATUS: Final[Mapping[Status, tuple[Event, ...]]] = {
    Status.RECEIVED: (Event.APPREC_OK,),
    Status.REJECTED: (Event.APPREC_REJECTED,),
    Status.IN_PART: (Event.APPREC_PARTIAL,),
}
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_LOPENR: Final = re.compile(r"[0-9]{1,9}")
_YEAR: Final = re.compile(r"(?:19|20)[0-9]{2}")
_ID: Final = re.compile(r"(?!\d{11}$)[!-~]{1,64}")  # eleven digits may be a person
_INSTITUTION: Final = re.compile(r"[0-9]{4,10}")
_CODE: Final = re.compile(r"[A-Za-z0-9_.-]{1,20}")
_MARKUP: Final = re.compile(rb"\s*(<!doctype\s+html|<html\b)", re.IGNORECASE)
_START: Final = 4_096

MsgIdOf = Callable[[str], str]


def read(document: Document, fields: FeedbackFields, received_at: dt.datetime, msg_id_of: MsgIdOf) -> Answered | None:
    """The answer in a document; None where it is none and does not look like one (a signature, guidance, a picture).

    msg_id_of: MsgId of the part whose ebMS message or mail has an id, or "". DataRefused for what looks like an answer
    and cannot be used.
    """
    data = document.data
    if len(data) > feedback.MOST:
        raise _refused(document, "is too large", f"at most {feedback.MOST} bytes")
    base = Answer(
        digest=hashlib.sha256(data).hexdigest(),
        kind="",
        events=(),
        received_at=received_at,
        source=document.name[:200],
    )
    if is_bounce(data):
        return _bounce(document, base, msg_id_of)
    if _is_html(data):
        told = Told(fields, document.name)
        return _report(document, base, told, feedback.html(data, told), form="html")
    if _is_xml(data):
        return _of_xml(document, base, fields, msg_id_of)
    if not feedback.is_text(data):
        return None
    told = Told(fields, document.name)
    found = feedback.table(data, told)
    kind = fields.kind_of(document.name)
    return _report(document, base, told, [], form="csv") if found or kind else None


def _is_html(data: bytes) -> bool:
    return bool(_MARKUP.match(_start(data))) or b"<html" in _start(data).lower()


def _is_xml(data: bytes) -> bool:
    start = _start(data).lstrip()
    return start.startswith(b"<") and (start[1:2] in (b"?", b"!") or start[1:2].isalpha())


def _start(data: bytes) -> bytes:
    """The beginning as ASCII, whatever the encoding; enough to tell markup."""
    return (
        data[:_START]
        .removeprefix(b"\xef\xbb\xbf")
        .removeprefix(b"\xff\xfe")
        .removeprefix(b"\xfe\xff")
        .replace(b"\0", b"")
    )


def _of_xml(document: Document, base: Answer, fields: FeedbackFields, msg_id_of: MsgIdOf) -> Answered | None:
    root = _root(document)
    if root.endswith("}AppRec") or root == "AppRec":
        return _receipt(document, base)
    if root == f"{{{SOAP}}}Envelope":
        return _transport(document, base, msg_id_of)
    told = Told(fields, document.name)
    says = feedback.xml(document.data, told)
    known = any(map(fields.kind_of, (*says, document.name)))
    return _report(document, base, told, says, form="xml") if known else None


def _root(document: Document) -> str:
    names: list[str] = []

    def visit(path: tuple[str, ...], _attributes: dict[str, str]) -> bool:
        names.append(path[0])
        return True

    found = walk(as_utf8([document.data], document.name).blocks, visit)
    if found.fault is not None and not names:
        raise _refused(document, "is not XML", found.fault.rule)
    return names[0]


# --- receipts ---


def _receipt(document: Document, base: Answer) -> Answered:
    if len(document.data) > MOST_RECEIPT:
        raise _refused(document, "is larger than any receipt", f"at most {MOST_RECEIPT} bytes")
    receipt = read_receipt(document.data, document.name)
    events = _OF_STATUS.get(receipt.status)
    if events is None:
        raise _refused(document, "has a status that is not known", "list 8258")
    codes = sorted({error.code for error in receipt.errors if _CODE.fullmatch(error.code)})
    told = {"kind": f"apprec {receipt.version}", "events": events, "msg_id": _id(document, receipt.original_id)}
    more = {"generated_at": _utc(receipt.generated), "detail": " ".join(codes)[:500]}
    return Answered(base.model_copy(update=told | more))


def _transport(document: Document, base: Answer, msg_id_of: MsgIdOf) -> Answered | None:
    answer = read_transport(document.data, document.name)
    if answer is None:
        return None
    ref = _id(document, answer.ref)
    told = {
        "kind": "ebms acknowledgment" if answer.event is Event.ACKNOWLEDGED else "ebms error",
        "events": (answer.event,),
        "msg_id": msg_id_of(ref) or ref,
        "generated_at": _moment(answer.at),
        "detail": " ".join(answer.codes),
    }
    return Answered(base.model_copy(update=told), references=answer.references)


def _bounce(document: Document, base: Answer, msg_id_of: MsgIdOf) -> Answered:
    bounce = read_bounce(document.data, document.name)
    told = {
        "kind": f"delivery report {bounce.action}",
        "events": bounce.events,
        "msg_id": msg_id_of(bounce.mail_id) or _id(document, bounce.mail_id),
        "detail": bounce.status,
    }
    return Answered(base.model_copy(update=told))


# --- reports ---


def _report(document: Document, base: Answer, told: Told, says: list[str], form: str) -> Answered | None:
    kind = _kind(document, told, says)
    if kind is None:
        if told.errors:
            raise _refused(document, "holds errors and does not say which report it is", "NPR_VAL or NPR_ERR")
        return None
    head = told.head
    total = int(head["errors_total"]) if _LOPENR.fullmatch(head.get("errors_total", "")) else None
    update = {
        "kind": f"{'NPR_VAL' if kind == 'schema_report' else 'NPR_ERR'} {form}",
        "events": (_event(document, kind, told, total),),
        "generated_at": _moment(head.get("generated", "")),
        "detail": f"{max(len(told.errors), total or 0)} errors",
        **_of_whom(document, head),
    }
    return Answered(base.model_copy(update=update), tuple(told.errors), total)


def _kind(document: Document, told: Told, says: list[str]) -> Kind | None:
    """What the document says it is goes before what its file is called."""
    inside = {kind for text in says if (kind := told.fields.kind_of(text))}
    if len(inside) > 1:
        raise _refused(document, "says that it is two kinds of report", "NPR_VAL or NPR_ERR")
    return next(iter(inside), None) or told.fields.kind_of(document.name)


def _event(document: Document, kind: Kind, told: Told, total: int | None) -> Event:
    if kind == "schema_report":
        return Event.SCHEMA_REJECTED  # it comes only when the message was refused
    if told.errors or total:
        return Event.CONTENT_ERRORS
    if total is None:
        # An unknown form of report would look the same, so silence is not read as praise.
        raise _refused(document, "tells no error, and not that there are none either", "a field mapping that fits it")
    return Event.CONTENT_CLEAN


def _of_whom(document: Document, head: Mapping[str, str]) -> dict[str, object]:
    """The message answered: MsgId, else lopenr of institution and year; lokalident gives what is not said otherwise.

    What lokalident says must agree with the rest. One that is not ours may be a MsgId, where nothing else is given.
    """
    lopenr = head.get("lopenr", "")
    institution = head.get("institusjon_id", "").replace(" ", "")
    year = _YEAR.match(head.get("period_from", ""))
    told: dict[str, object] = {
        "msg_id": _id(document, head["msg_id"]) if "msg_id" in head else "",
        "lopenr": int(lopenr) if _LOPENR.fullmatch(lopenr) else None,
        "institusjon_id": institution if _INSTITUTION.fullmatch(institution) else "",
        "year": int(year[0]) if year else None,
        "original_sha256": digest if _DIGEST.fullmatch(digest := head.get("sha256", "").lower()) else "",
    }
    ours = numbers_of(head.get("lokalident", ""))
    for name, value in ours._asdict().items() if ours else ():
        if told[name] not in (None, "", value):
            raise _refused(document, "names two messages, one of them by lokalident", "one answer, one message")
        told[name] = value
    whole = told["lopenr"] is not None and told["institusjon_id"] and told["year"] is not None
    if not told["msg_id"] and not whole and _ID.fullmatch(head.get("lokalident", "")):
        told["msg_id"] = head["lokalident"]
    return told


def _id(document: Document, text: str) -> str:
    if not _ID.fullmatch(text):
        raise _refused(document, "names its message by what is no id", "1 to 64 printed characters")
    return text


def _moment(text: str) -> dt.datetime | None:
    try:
        moment = dt.datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return _utc(moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(OSLO)))


def _utc(moment: dt.datetime | None) -> dt.datetime | None:
    """In UTC; None where that is outside the calendar."""
    try:
        return None if moment is None else moment.astimezone(dt.UTC)
    except (OverflowError, ValueError):
        return None


def _refused(document: Document, what: str, rule: str) -> DataRefused:
    return DataRefused(
        f"{document.name} {what}",
        where=document.name,
        rule=rule,
        fix="look at it yourself; docs/sending.md, Answers",
    )
