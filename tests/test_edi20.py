"""The channel to EDI 2.0 against a stand-in that behaves as NHN's pages say: tokens, proofs, posting, doubt, status."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from authority import key_of, private_file, private_pem
from channels import BODY, document, dressed, way_of
from conftest import ROOT
from edi20_server import LONG, LONG_BLOCKS, Room, Server, running
from joserfc.jwk import RSAKey
from ledgers import T1, prepared

from assets.checkpoints import arm
from assets.ports import InDoubt, NotHandedOver
from pipelines.channels.edi20 import Edi20
from pipelines.home.store import DiskStore
from pipelines.ledger.book import SqlLedger, ledger_of
from pipelines.parties import helseid
from schemas.config import Edi20Settings
from schemas.edi20 import of_answer, of_connection, outcomes
from schemas.errors import DataRefused, WrongUse
from schemas.records import Manifest
from schemas.sending import Presence, SentPart
from schemas.submission_states import Event

API_V2 = ROOT / "../shared/reference/xsd/msh-api-v2.json"
pytestmark = pytest.mark.xdist_group("edi20")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running(RSAKey.import_key(private_pem(key_of("helseid")))) as made:
        yield made


class Bench:
    """One submission of two parts, a room of the server, and channels to it."""

    def __init__(self, home: Path, server: Server, name: str) -> None:
        self.home, self.server, self.name = home, server, name
        self.room: Room = server.rooms[name]
        self.ledger: SqlLedger = ledger_of(home)
        self.manifest: Manifest = dressed(prepared(self.ledger, home), DiskStore(home))
        self.key = private_file(home / "client.pem", private_pem(key_of("helseid")))

    def channel(self, **changes: Any) -> Edi20:  # noqa: ANN401
        url = self.server.url(self.name)
        given = {"kind": "edi20", "url": url, "token_url": f"{url}/connect/token", "client_id": "npr-client"}
        profile = changes.pop("profile", "rehearsal")
        settings = Edi20Settings.model_validate({**given, "key": self.key, **changes})
        return Edi20(way_of(self.home, "edi", profile), settings)

    def send(self, channel: Edi20, number: int = 0) -> str:
        part = self.manifest.shipments[number]
        path = DiskStore(self.home).shipments(T1, 1) / part.path
        return channel.hand_over(part, path, self.manifest).reference

    def part(self, number: int = 0, reference: str = "") -> SentPart:
        found = self.ledger.part(self.manifest.shipments[number].msg_id)
        return found.model_copy(update={"reference": reference})


@pytest.fixture
def bench(tmp_path: Path, server: Server, request: pytest.FixtureRequest) -> Bench:
    (tmp_path / "var").mkdir()
    name = "".join(letter for letter in request.node.name if letter.isalnum())
    return Bench(tmp_path / "var", server, name)


# --- posting ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [2, 3])
def test_a_journal_that_cannot_be_written_makes_no_doubt_of_an_answer(bench: Bench, version: int) -> None:
    channel = bench.channel(version=version)
    arm(fail=f"journal.done#1:{errno.ENOSPC}")
    try:
        reference = bench.send(channel)
    finally:
        arm()
    assert reference == bench.room.ids[bench.manifest.shipments[0].msg_id]
    assert channel.ask(bench.part(reference=reference)).presence is Presence.THERE


@pytest.mark.parametrize("version", [2, 3])
def test_the_document_goes_as_it_is_under_one_token(bench: Bench, version: int) -> None:
    channel = bench.channel(version=version)
    ids = [bench.send(channel, number) for number in (0, 1)]
    expected = [document(part.msg_id, part.module, "rehearsal") for part in bench.manifest.shipments]
    assert [content for _, content in bench.room.arrived] == expected
    assert ids == [bench.room.ids[part.msg_id] for part in bench.manifest.shipments]
    assert bench.room.token_calls == 2  # the first asks for the nonce
    assert bench.room.refused == ["400 use_dpop_nonce"]
    assert bench.room.configured == ([int(channel._way.unit.sender.her_id)] if version == 3 else [])
    assert bench.room.calls.index("POST connect/token") == 0
    bodies = bench.room.bodies
    if version == 3:
        assert [body["messageTypeIdentificator"] for body in bodies] == ["NPR_ORD", "NPR_IDE"]
        assert {(body["senderHerId"], *body["receiverHerIds"]) for body in bodies} == {(bench.room.configured[0], 0)}
    else:
        assert all(body["receiverHerIdsSubset"] == [0] for body in bodies)


@pytest.mark.skipif(not API_V2.is_file(), reason="NHN's API description is not beside this repository")
def test_requests_of_version_2_are_as_nhn_describes_them(bench: Bench) -> None:
    schemas = json.loads(API_V2.read_text(encoding="utf-8"))["components"]["schemas"]
    bench.send(bench.channel(version=2))
    (body,) = bench.room.bodies
    assert not list(_faults({**body, "businessDocument": "x"}, "PostMessageRequest", schemas))
    assert list(_faults({**body, "businessDocument": ""}, "PostMessageRequest", schemas))
    assert list(_faults({**body, "stranger": 1}, "PostMessageRequest", schemas))
    del body["contentType"]
    assert list(_faults({**body, "businessDocument": "x"}, "PostMessageRequest", schemas))


def _faults(value: Any, name: str, schemas: dict[str, Any]) -> Iterator[str]:  # noqa: ANN401
    """What the parts of OpenAPI that this description uses say against a value."""
    yield from _against(value, schemas[name], schemas)


def _against(value: Any, rule: dict[str, Any], schemas: dict[str, Any]) -> Iterator[str]:  # noqa: ANN401
    for one in rule.get("allOf", []):
        yield from _against(value, one, schemas)
    if "$ref" in rule:
        yield from _against(value, schemas[rule["$ref"].rpartition("/")[2]], schemas)
    kinds = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool}
    if "type" in rule and not isinstance(value, kinds[rule["type"]]):
        yield f"{value!r} is no {rule['type']}"
    if isinstance(value, str) and len(value) < rule.get("minLength", 0):
        yield "too short"
    if isinstance(value, list):
        for item in value:
            yield from _against(item, rule["items"], schemas)
    if isinstance(value, dict) and rule.get("type") == "object":
        yield from (f"{name} is missing" for name in rule.get("required", ()) if name not in value)
        for name, item in value.items():
            if name not in rule["properties"]:
                yield f"{name} is unknown"
            else:
                yield from _against(item, rule["properties"][name], schemas)


def test_a_request_over_the_limit_never_reaches_the_line(tmp_path: Path, server: Server) -> None:
    """One byte more or less: the limit is that of the JSON body, base64 and words together."""
    (tmp_path / "var").mkdir()
    bench = Bench(tmp_path / "var", server, "limit")
    size = _body_bytes(bench)
    for limit, goes in ((size, True), (size - 1, False)):
        channel = bench.channel()
        channel._given = channel._given.model_copy(update={"body_bytes": limit})
        bench.room.calls.clear()
        if goes:
            bench.room.limit = size
            assert bench.send(channel)
            assert bench.room.refused == ["400 use_dpop_nonce"]
        else:
            with pytest.raises(NotHandedOver, match=f"has {size} bytes, and EDI 2.0 takes {size - 1}") as refused:
                bench.send(channel)
            assert (refused.value.retryable, bench.room.calls) == (False, [])


def _body_bytes(bench: Bench) -> int:
    channel, part = bench.channel(), bench.manifest.shipments[0]
    path = (DiskStore(bench.home).documents(T1, 1) / part.path).with_suffix(".xml")
    return channel._request(part, bench.manifest, path, part.path).length


def test_a_large_document_goes_in_pieces(tmp_path: Path, server: Server) -> None:
    (tmp_path / "var").mkdir()
    bench = Bench(tmp_path / "var", server, "large")
    body = BODY[:100] + b"y" * 1_000_001 + BODY[100:]
    bench.manifest = dressed(bench.manifest, DiskStore(bench.home), body=body)
    bench.send(bench.channel())
    ((_, arrived),) = bench.room.arrived
    assert arrived == document(bench.manifest.shipments[0].msg_id, "ord", "rehearsal", body)


# --- tokens -----------------------------------------------------------------------------------------------------------


def test_a_token_that_is_no_longer_taken_is_fetched_anew_once(bench: Bench) -> None:
    channel = bench.channel()
    bench.send(channel)
    bench.room.revoked |= set(bench.room.tokens)
    bench.send(channel, 1)
    assert "401 token has run out" in bench.room.refused
    assert len(bench.room.arrived) == 2
    bench.room.faults = [(401, 0), (401, 0)]
    with pytest.raises(NotHandedOver, match="HTTP 401") as refused:
        bench.send(channel)
    assert refused.value.retryable


def test_a_token_that_ends_soon_is_not_used(bench: Bench) -> None:
    bench.room.token_seconds = 20
    channel = bench.channel()
    bench.send(channel)
    bench.send(channel, 1)
    assert len(bench.room.tokens) == 3  # configuration, and one for each message


def test_the_server_refuses_what_a_thief_would_send(bench: Bench) -> None:
    """The stand-in is as strict as the pages say: else the tests above would prove nothing."""
    import httpx  # noqa: PLC0415

    channel = bench.channel()
    bench.send(channel)
    url = f"{bench.server.url(bench.name)}/messages/x/status"
    headers = channel._headers("GET", url)
    get: Callable[[str, dict[str, str]], str] = lambda to, sent: httpx.get(to, headers=sent).json()["title"]  # noqa: E731
    assert get(url, headers) == "purged"
    assert get(url, headers) == "jti seen before"
    assert get(f"{url}x", channel._headers("GET", url)) == "htu"
    assert get(url, channel._headers("POST", url)) == "htm"
    assert get(url, {**channel._headers("GET", url), "Authorization": "DPoP stolen"}) == "token"
    other = bench.channel()
    other._helseid.headers("GET", url)
    stolen = {**channel._headers("GET", url), "DPoP": other._headers("GET", url)["DPoP"]}
    assert get(url, stolen) == "token"
    bare = {"jti": "1"} and {**channel._headers("GET", url), "DPoP": channel._helseid._proof("GET", url)}
    assert get(url, bare) == "ath"


def test_a_client_that_helseid_does_not_know_sends_nothing(bench: Bench) -> None:
    bench.key.write_bytes(private_pem(key_of("stranger")))
    channel = bench.channel(client_id="somebody")
    with pytest.raises(NotHandedOver, match="gives no DPoP token"):
        bench.send(channel)
    assert bench.room.arrived == []


def test_keys_are_private_and_of_a_known_kind(bench: Bench, tmp_path: Path) -> None:
    jwk = private_file(tmp_path / "key.jwk", json.dumps(RSAKey.generate_key(2048).as_dict(private=True)).encode())
    assert helseid.private_key(jwk).is_private
    with pytest.raises(WrongUse, match="no private RSA or EC key"):
        helseid.private_key(private_file(tmp_path / "text", b"no key"))
    bench.key.chmod(0o640)
    with pytest.raises(WrongUse, match="others may read it"):
        bench.channel()


# --- outcomes ---------------------------------------------------------------------------------------------------------

ANSWERS = [
    (400, 1001, "stop"),
    (400, 1010, "stop"),
    (400, 1100, "stop"),
    (400, 1102, "stop"),
    (400, 1200, "stop"),
    (400, 1201, "stop"),
    (403, 1202, "stop"),
    (423, 1210, "stop"),
    (400, 0, "stop"),
    (403, 0, "stop"),
    (404, 0, "stop"),
    (413, 0, "stop"),
    (418, 0, "stop"),
    (423, 0, "stop"),
    (429, 0, "retry"),
    (500, 0, "ask"),
    (500, 1001, "ask"),
    (503, 0, "ask"),
]


def test_every_answer_says_retry_stop_or_ask(bench: Bench) -> None:
    channel = bench.channel()
    for status, code, does in ANSWERS:
        assert of_answer(status, code).does == does, (status, code)
        bench.room.faults = [(status, code)]
        expected = InDoubt if does == "ask" else NotHandedOver
        with pytest.raises(expected, match=f"HTTP {status}") as raised:
            bench.send(channel)
        assert "a-value-of-a-row" not in str(raised.value)
        if isinstance(raised.value, NotHandedOver):
            assert raised.value.retryable == (does == "retry")
            assert channel.ask(bench.part()).presence is Presence.ABSENT
        else:
            assert channel.ask(bench.part()).presence is Presence.UNKNOWN
            channel._journal.undo(bench.part().msg_id)
    assert bench.room.arrived == []
    assert {code for _, code, _ in ANSWERS if code} == {int(v) for on, v in outcomes() if on == "code"}
    assert [of_connection(whole=whole).does for whole in (False, True)] == ["retry", "ask"]


def test_a_line_that_breaks_before_the_last_byte_is_no_doubt(bench: Bench) -> None:
    body = b"z" * 30_000_000  # more than the line holds in its buffers
    bench.manifest = dressed(bench.manifest, DiskStore(bench.home), body=body)
    bench.room.faults = ["drop"]
    channel = bench.channel(body_bytes=35_000_000)
    channel._given = channel._given.model_copy(update={"body_bytes": 50_000_000})
    with pytest.raises(NotHandedOver) as refused:
        bench.send(channel)
    assert refused.value.retryable
    assert channel.ask(bench.part()).presence is Presence.ABSENT
    assert bench.room.arrived == []


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("fault", ["lost", "hang"])
def test_a_lost_answer_is_settled_by_the_notifications(
    bench: Bench, fault: str, version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = bench.channel(version=version)
    monkeypatch.setattr(channel._http, "timeout", 0.3)
    bench.room.faults, bench.room.notifies = [fault], False
    with pytest.raises(InDoubt, match="after the whole message was sent"):
        bench.send(channel)
    assert channel.ask(bench.part()).presence is Presence.UNKNOWN
    bench.room.notifies = True
    said = bench.channel(version=version).ask(bench.part())  # another process
    if version == 2:  # has no list of what was sent
        assert said.presence is Presence.UNKNOWN
    else:
        assert (said.presence, said.reference) == (Presence.THERE, bench.room.ids[bench.part().msg_id])
    assert len(bench.room.arrived) == 1


def test_nothing_goes_while_another_client_holds_the_her_id(bench: Bench) -> None:
    bench.room.locked = True
    with pytest.raises(NotHandedOver, match="errorCode 1210"):
        bench.send(bench.channel())
    assert bench.room.arrived == []


def test_a_host_of_nhns_test_side_is_not_for_the_register(bench: Bench) -> None:
    channel = bench.channel(url="https://api.tjener.test.melding.nhn.no/", profile="validation")
    bench.manifest = bench.manifest.model_copy(update={"profile": "validation"})
    snapshot = bench.manifest.snapshot.model_copy(update={"environment": "production"})
    bench.manifest = bench.manifest.model_copy(update={"snapshot": snapshot})
    with pytest.raises(NotHandedOver, match="of the test side"):
        bench.send(channel)
    assert bench.room.calls == []


def test_forced_resends_are_byte_identical(bench: Bench) -> None:
    channel = bench.channel()
    for _ in range(20):
        bench.send(channel)
    assert len(bench.room.arrived) == 20
    assert len(set(bench.room.arrived)) == 1
    bench.room.faults = [(400, 1001)]
    with pytest.raises(NotHandedOver):
        bench.send(channel)
    assert channel.ask(bench.part()).presence is Presence.THERE  # a resend that failed does not undo the first


# --- status -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [2, 3])
def test_status_comes_late_and_in_any_order(bench: Bench, version: int) -> None:
    channel = bench.channel(version=version)
    reference = bench.send(channel)
    bench.room.states = [
        ("Unconfirmed", None),
        ("Acknowledged", None),
        ("Unconfirmed", None),
        ("Acknowledged", "Ok"),
        ("Unconfirmed", "Ok"),
        ("Abandoned", "Rejected"),
    ]
    said = [channel.ask(bench.part(0, reference)) for _ in range(6)]
    assert all(one.presence is Presence.THERE for one in said)
    assert [one.events for one in said] == [
        (),
        (Event.ACKNOWLEDGED,),
        (),
        (Event.ACKNOWLEDGED, Event.APPREC_OK),
        (Event.APPREC_OK,),
        (Event.ABANDONED, Event.APPREC_REJECTED),
    ]
    assert said[-1].detail == ("AppRec T02" if version == 3 else "")


def test_a_service_that_cannot_be_asked_says_nothing(bench: Bench) -> None:
    channel = bench.channel()
    bench.send(channel)
    gone = channel.ask(bench.part(0, "11111111-unknown"))
    assert (gone.presence, gone.events) == (Presence.THERE, ())
    nowhere = bench.channel(url="http://127.0.0.1:9")
    with pytest.raises(DataRefused, match="cannot be asked now"):
        nowhere.ask(bench.part())
    with pytest.raises(NotHandedOver) as refused:
        bench.send(nowhere, 1)
    assert refused.value.retryable


ROW = {"receiverHerId": 0, "transportDeliveryState": "Acknowledged"}
STRANGE_STATUS: dict[str, object] = {
    "a text": "x",
    "null": None,
    "a number": 5,
    "no JSON": b"<html>maintenance</html>",
    "brackets without end": b"[" * 100_000,
    "an object without the list": {"status": "ok"},
    "a list that is null": {"statusList": None},
    "a list of texts": {"statusList": ["x"]},
    "rows without receiver": {"statusList": [{"transportDeliveryState": "Acknowledged"}]},
    "a state that is a list": [{**ROW, "transportDeliveryState": ["Acknowledged"]}],
    "apprecInfo that is text": {"statusList": [{**ROW, "apprecInfo": "Ok"}]},
    "errors that are text": {"statusList": [{**ROW, "apprecInfo": {"appRecErrorList": "T02"}}]},
    "an error that is text": [{**ROW, "appRecErrorList": ["T02"]}],
}
KNOWN_STATUS: dict[str, tuple[object, tuple[Event, ...]]] = {
    "no rows": ([], ()),
    "nulls": ([{**ROW, "apprecInfo": None, "appRecStatus": None, "appRecErrorList": None}], (Event.ACKNOWLEDGED,)),
    "more fields": ({"statusList": [{**ROW, "new": [1]}], "new": 1}, (Event.ACKNOWLEDGED,)),
    "a state that is new": ([{**ROW, "transportDeliveryState": "Delayed"}], ()),
    "a receiver as text": ([{**ROW, "receiverHerId": "0"}], (Event.ACKNOWLEDGED,)),
}
STRANGE_NOTIFICATIONS: dict[str, object] = {
    "a list": [],
    "an object without the list": {},
    "a list that is text": {"notifications": "x"},
    "rows that are text": {"notifications": ["x"]},
    "an offset that is text": {"notifications": [{"offset": "7"}]},
    "an id that is a number": {"notifications": [{"relatedMessageId": 7}]},
}


@pytest.mark.parametrize("said", STRANGE_STATUS.values(), ids=STRANGE_STATUS)
def test_a_status_in_another_form_is_refused_and_changes_nothing(bench: Bench, said: object) -> None:
    bench.room.register["messages/r-1/status"] = b"null" if said is None else said
    with pytest.raises(DataRefused, match="tells the status of a message in another form") as refused:
        bench.channel().ask(bench.part(0, "r-1"))
    assert "npr resume asks again" in refused.value.fix


@pytest.mark.parametrize(("said", "events"), KNOWN_STATUS.values(), ids=KNOWN_STATUS)
def test_a_status_may_hold_more_and_less(bench: Bench, said: object, events: tuple[Event, ...]) -> None:
    bench.room.register["messages/r-1/status"] = said
    assert bench.channel().ask(bench.part(0, "r-1")).events == events


@pytest.mark.parametrize("said", STRANGE_NOTIFICATIONS.values(), ids=STRANGE_NOTIFICATIONS)
def test_notifications_in_another_form_leave_the_doubt(bench: Bench, said: object) -> None:
    bench.room.faults = ["lost"]
    with pytest.raises(InDoubt):
        bench.send(bench.channel())
    bench.room.register["notifications"] = said
    with pytest.raises(DataRefused, match="tells notifications in another form"):
        bench.channel().ask(bench.part())
    del bench.room.register["notifications"]
    bench.room.register[f"messages/{bench.room.ids[bench.part().msg_id]}"] = ["x"]
    with pytest.raises(DataRefused, match="tells a message in another form"):
        bench.channel().ask(bench.part())


def test_of_an_answer_without_end_no_more_is_read_than_shows_it(bench: Bench) -> None:
    bench.room.register["messages/r-1/status"] = LONG
    with pytest.raises(DataRefused, match="in another form"):
        bench.channel().ask(bench.part(0, "r-1"))
    assert bench.room.long_blocks < LONG_BLOCKS / 2


@pytest.mark.parametrize(
    "said",
    [
        *([], "x", {}, {"access_token": "t", "token_type": "DPoP", "expires_in": None}, b"[" * 100_000),
        {"access_token": "t", "token_type": "Bearer", "expires_in": 300},
        {"access_token": "blåbær", "token_type": "DPoP", "expires_in": 300},
        {"access_token": "t", "token_type": ["DPoP"], "expires_in": 300},
        LONG,
    ],
    ids=["list", "text", "empty", "no seconds", "brackets", "bearer", "no ASCII", "type is a list", "without end"],
)
def test_a_token_in_another_form_is_none(bench: Bench, said: object) -> None:
    bench.room.register["connect/token"] = said
    with pytest.raises(NotHandedOver, match="HelseID gives no DPoP token"):
        bench.send(bench.channel())
    assert bench.room.arrived == []


def test_doctor_asks_for_a_token_and_sends_nothing(bench: Bench) -> None:
    assert "gives a token" in bench.channel().look()
    assert set(bench.room.calls) == {"POST connect/token"}
