"""NHN's EDI 2.0 (Meldingstjener), REST API version 3 or 2: it takes the head message, and packs and sends it itself.

Belongs here: the calls, and what their outcomes say of a part. Does not belong here: tokens
(``pipelines.parties.helseid``), the meaning of error codes (``schemas.edi20``), reading the AppRec itself.

EDI 2.0 documents no idempotency key and no way to look a sent message up by its MsgId. So the journal is written before
the last byte of a request is given to the line: without an entry the message certainly did not go, since a body shorter
than its Content-Length is no request. With an entry and no id the notifications are searched; where they tell nothing,
nobody knows, and the part stays in doubt.
"""

from __future__ import annotations

import base64
import datetime as dt
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

import httpx

from assets.checkpoints import checkpoint
from assets.ports import InDoubt, NotHandedOver
from pipelines.channels.common import (
    Deadline,
    Journal,
    Way,
    certain_until_begun,
    document_of,
    insist_addressed,
    receiver_of,
    refused,
)
from pipelines.channels.edi20_answers import Notification, msg_id_of, notifications, status_rows
from pipelines.parties.helseid import Client, HelseId, NoToken
from pipelines.parties.replies import Reply, reply_of
from schemas.config import Edi20Settings
from schemas.edi20 import Outcome, of_answer, of_connection
from schemas.errors import DataRefused
from schemas.receivers import receivers
from schemas.records import Manifest, ShipmentOut
from schemas.sending import Presence, Receipt, SentPart, TransportState
from schemas.submission_states import Event
from schemas.versions import message_type
from transforms.shipping.edi20_request import CLOSING, V3, body_bytes, opening

BLOCK: Final = 57 * 4096  # a multiple of three, so that pieces of base64 can be put together
TIMEOUT: Final = httpx.Timeout(30, read=100)
ALONE: Final = httpx.Limits(max_keepalive_connections=0)  # calls are minutes apart, and nobody closes a channel
PAGE, MOST_PAGES = 1000, 20
SUCCESS, ERROR, GONE = 200, 300, 404
_ID: Final = re.compile(r"[0-9A-Za-z-]{1,64}")
_ERROR: Final = re.compile(r"[A-Z][0-9]{2}")  # codes of list 8221
_OURS: Final = frozenset({"MessageSentStateUpdated", "MessageApprecInfoUpdated"})
TRANSPORT: Final = {
    "Acknowledged": Event.ACKNOWLEDGED,
    "Rejected": Event.REJECTED,
    "Abandoned": Event.ABANDONED,
}
APPREC: Final = {
    "Ok": Event.APPREC_OK,
    "Rejected": Event.APPREC_REJECTED,
    "OkErrorInMessagePart": Event.APPREC_PARTIAL,
}


class Edi20:
    """The channel."""

    def __init__(self, way: Way, settings: Edi20Settings) -> None:
        self.name = way.name
        self._way = way
        self._given = settings
        self._url = settings.url.rstrip("/")
        self._journal: Journal = way.journal()
        self._http = httpx.Client(timeout=TIMEOUT, follow_redirects=False, limits=ALONE)
        self._helseid = HelseId(Client.of(settings), self._http)
        self._configured = False

    def hand_over(self, part: ShipmentOut, path: Path, manifest: Manifest) -> Receipt:
        """Post the head message of a part. path, the packed mail, is not read."""
        with certain_until_begun():
            hosts = [urlsplit(one).hostname or "" for one in (self._url, self._given.token_url)]
            insist_addressed(self._way, manifest, hosts)
            document = document_of(self._way, part, manifest)
            request = self._request(part, manifest, document, path.name)
            self._configure()
        answer = self._posted(part.msg_id, request)
        reference = _id_in(answer)
        checkpoint("edi20.response")
        self._journal.done(part.msg_id, reference)
        return Receipt(reference=reference, at=dt.datetime.now(dt.UTC))

    def ask(self, part: SentPart) -> TransportState:
        """What the service says of a part, by its id, or by what the notifications name."""
        entry = self._journal.get(part.msg_id)
        reference = (entry.reference if entry else "") or part.reference
        if not reference and entry is None:
            return TransportState(presence=Presence.ABSENT, detail="its request was never sent whole")
        if not reference:
            reference = self._found(part)
            if reference:
                self._journal.done(part.msg_id, reference)
        if reference:
            return self._status(part, reference)
        taken = entry is not None and entry.done
        return TransportState(presence=Presence.THERE if taken else Presence.UNKNOWN, detail="the service gave no id")

    def look(self) -> str:
        """Whether the client gets a token, for ``npr doctor``; sends nothing. Raises NprError where it does not."""
        self._helseid.headers("GET", self._url)
        return f"HelseID gives a token to {self._given.client_id}; API version {self._given.version} at {self._url}"

    # --- posting ------------------------------------------------------------------------------------------------------

    def _request(self, part: ShipmentOut, manifest: Manifest, document: Path, name: str) -> _Body:
        to, what = receiver_of(manifest), message_type(part.module).v
        gzip = self._way.config.shipping.compresses(usual=to.form.gzip.value)
        words = opening(self._given, self._way.unit, to.unit_her_id, what, gzip=gzip)
        body = _Body(words, document, part.document_bytes)
        if body.length > self._given.body_bytes:
            raise refused(
                f"{name}: the request has {body.length} bytes, and EDI 2.0 takes {self._given.body_bytes}",
                where=self._url,
                rule="NHN: 35 MB",
                fix="lower npr.toml, shipping.packed_bytes, or send over NHN-EDI-STOR",
            )
        return body

    def _configure(self) -> None:
        """Say once per process how notifications are fetched, as version 3 asks for at start-up."""
        if self._configured or self._given.version != V3:
            return
        entry = {"herId": int(self._way.unit.sender.her_id), "receiveNotificationChannel": "Api"}
        try:
            reply = self._call("PUT", f"{self._url}/mshconfigurations", {"configurations": [entry]})
        except httpx.HTTPError as error:
            raise refused(
                f"EDI 2.0 cannot be reached: {type(error).__name__}",
                where=self._url,
                fix="check the line to it, then run again",
                retryable=True,
            ) from None
        if not _well(reply):
            outcome = of_answer(reply.status, _code(reply))
            raise refused(_said(reply, outcome), fix=outcome.fix, where=self._url, retryable=outcome.does != "stop")
        self._configured = True

    def _posted(self, msg_id: str, body: _Body) -> Reply:
        """The answer of success; anything else is raised as what it says of the part."""
        url = f"{self._url}/{'messages' if self._given.version == V3 else 'Messages'}"
        begun = _Begun(self._journal, msg_id)
        try:
            for _ in range(2):
                headers = {**self._headers("POST", url), "Content-Type": "application/json"}
                headers["Content-Length"] = str(body.length)
                checkpoint("edi20.request")
                with self._http.stream("POST", url, content=body.pieces(begun), headers=headers) as response:
                    reply = reply_of(response)
                checkpoint("edi20.answered")
                if not self._helseid.refused(url, reply):
                    break
        except httpx.HTTPError as error:
            outcome = of_connection(whole=begun.whole)
            raise self._raised(outcome, f"{outcome.why} ({type(error).__name__})", begun) from None
        except OSError as error:
            outcome = of_connection(whole=begun.whole)
            raise self._raised(outcome, f"a file says: {error.strerror}", begun) from None
        if not _well(reply):
            outcome = of_answer(reply.status, _code(reply))
            raise self._raised(outcome, _said(reply, outcome), begun)
        return reply

    def _raised(self, outcome: Outcome, what: str, begun: _Begun) -> NotHandedOver | InDoubt:
        if outcome.does == "ask":
            return InDoubt(what, where=self._url, rule="what is in doubt is settled by asking", fix=outcome.fix)
        begun.undo()
        return refused(what, where=self._url, fix=outcome.fix, retryable=outcome.does == "retry")

    # --- asking -------------------------------------------------------------------------------------------------------

    def _status(self, part: SentPart, reference: str) -> TransportState:
        reply = self._asked(f"/{quote(reference)}/status")
        if reply.status == GONE:  # purged there, or never known; the id proves that it was taken
            return TransportState(presence=Presence.THERE, reference=reference, detail="the service keeps no status")
        self._insist_answered(reply)
        to = {entry.unit_her_id for entry in receivers() if entry.profile == part.profile}
        events: list[Event] = []
        codes: set[str] = set()
        for row in status_rows(reply.body, self._url):
            if str(row.her_id) not in to:
                continue
            receipt = row.apprec or row
            found = TRANSPORT.get(row.transport or ""), APPREC.get(receipt.status or "")
            events += [event for event in found if event]
            codes |= {one.code for one in receipt.errors or () if one.code and _ERROR.fullmatch(one.code)}
        detail = f"AppRec {', '.join(sorted(codes))}" if codes else ""
        return TransportState(presence=Presence.THERE, reference=reference, events=tuple(events), detail=detail)

    def _found(self, part: SentPart) -> str:
        """Id of a message of ours by its MsgId, among those that notifications name; "" where none is it."""
        if self._given.version != V3:
            return ""  # version 2 lists received messages only
        seen: set[str] = set()
        offset = 0
        for _ in range(MOST_PAGES):
            query = f"?HerIds={self._way.unit.sender.her_id}&Offset={offset}&NotificationsToFetch={PAGE}"
            rows = self._rows(f"{self._url}/notifications{query}")
            for row in rows:
                related = row.related or ""
                if row.kind in _OURS and related not in seen and _ID.fullmatch(related):
                    seen.add(related)
                    if self._is_ours(related, part.msg_id):
                        return related
            offsets = [row.offset for row in rows if row.offset is not None]
            if len(rows) < PAGE or not offsets or max(offsets) < offset:
                break
            offset = max(offsets) + 1
        return ""

    def _rows(self, url: str) -> list[Notification]:
        reply = self._tried("GET", url)
        self._insist_answered(reply)
        return notifications(reply.body, self._url)

    def _is_ours(self, reference: str, msg_id: str) -> bool:
        reply = self._asked(f"/{quote(reference)}")
        return _well(reply) and msg_id_of(reply.body, self._url).casefold() == msg_id.casefold()

    def _asked(self, path: str) -> Reply:
        return self._tried("GET", f"{self._url}/{'messages' if self._given.version == V3 else 'Messages'}{path}")

    def _tried(self, method: str, url: str) -> Reply:
        checkpoint("edi20.ask")
        try:
            return self._call(method, url)
        except httpx.HTTPError as error:
            raise DataRefused(
                f"EDI 2.0 cannot be asked now: {type(error).__name__}", where=self._url, fix="npr resume asks again"
            ) from None

    def _insist_answered(self, reply: Reply) -> None:
        if _well(reply):
            return
        outcome = of_answer(reply.status, _code(reply))
        raise DataRefused(f"EDI 2.0 does not answer: {_said(reply, outcome)}", where=self._url, fix=outcome.fix)

    # --- calls --------------------------------------------------------------------------------------------------------

    def _call(self, method: str, url: str, body: dict[str, Any] | None = None, *, again: bool = True) -> Reply:
        """One call without a message; once more with a new token where the first is not taken."""
        with self._http.stream(method, url, json=body, headers=self._headers(method, url)) as response:
            reply = reply_of(response)
        if again and self._helseid.refused(url, reply):
            return self._call(method, url, body, again=False)
        return reply

    def _headers(self, method: str, url: str) -> dict[str, str]:
        source = f"npr-pipeline, {version('npr-pipeline')}"
        own = {"api-version": str(self._given.version), "nhn-source-system": source, "Accept": "application/json"}
        try:
            return own | self._helseid.headers(method, url)
        except NoToken as no:
            raise refused(no.what, where=no.where, fix=no.fix, retryable=no.retryable) from None


class _Begun:
    """What is known of one try while it runs. whole: the last byte may be on its way."""

    def __init__(self, journal: Journal, msg_id: str) -> None:
        self._journal, self._msg_id = journal, msg_id
        self._mine = False
        self.whole = False
        self.deadline = Deadline()

    def mark(self) -> None:
        if self._journal.begin(self._msg_id):
            self._mine = True
        self.whole = True

    def undo(self) -> None:
        """The try came to nothing; what an earlier one left stays."""
        if self._mine:
            self._journal.undo(self._msg_id)
            self._mine = False


@dataclass(frozen=True, slots=True)
class _Body:
    """The body of a request: words, and the document as base64; made while it is sent. size: of the document."""

    words: bytes
    document: Path
    size: int

    @property
    def length(self) -> int:
        """Bytes of the whole body."""
        return body_bytes(self.words, self.size)

    def pieces(self, begun: _Begun) -> Iterator[bytes]:
        """The body; the journal is written before its last piece."""
        begun.whole = False
        yield self.words
        with self.document.open("rb") as file:
            while block := file.read(BLOCK):
                if begun.deadline.over():
                    raise refused("the line is too slow for the message", fix="run again", retryable=True)
                yield base64.b64encode(block)
        begun.mark()
        checkpoint("edi20.last")
        yield CLOSING
        checkpoint("edi20.sent")


def _well(reply: Reply) -> bool:
    return SUCCESS <= reply.status < ERROR


def _id_in(reply: Reply) -> str:
    """The id that the service gave; "" where it gave none that can be read: taken it was all the same."""
    body = reply.body
    found = body.get("id", "") if isinstance(body, dict) else body
    return found if isinstance(found, str) and _ID.fullmatch(found) else ""


def _code(reply: Reply) -> int | None:
    code = reply.body.get("errorCode") if isinstance(reply.body, dict) else None
    return code if isinstance(code, int) else None


def _said(reply: Reply, outcome: Outcome) -> str:
    """Figures of an answer, and no word of it: its texts may quote the message."""
    request = str(reply.body.get("requestId", "")) if isinstance(reply.body, dict) else ""
    code = _code(reply)
    told = [f"HTTP {reply.status}", f"errorCode {code}" if code else ""]
    told.append(f"request {request}" if _ID.fullmatch(request) else "")
    return f"{outcome.why} ({', '.join(filter(None, told))})"
