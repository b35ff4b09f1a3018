"""A stand-in for HelseID, NHN's EDI 2.0 and its Address Register, as nhn-transport.md 4.1 to 4.3 and 5 describes them.

Belongs here: what a client meets: nonce challenge, replayed and wrong proofs refused, tokens that run out, 423, size
limit, a hang after accepting, status that comes late and in any order, notifications. Does not belong here: our client.

Everything a server knows of one test lies below one room, a path of the address: ``/room/messages``. As a process of
its own (``apart``) it says at ``/room/taken`` what it has taken: in the order of arrival, MsgId and SHA-256.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from urllib.request import urlopen

from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey, import_key

LONG = object()
"""An answer much longer than any client should read."""
LONG_BLOCKS, BLANKS = 100, b" " * 1_000_000
MSG_ID = re.compile(rb"<MsgId>([^<]+)</MsgId>")


@dataclass
class Room:
    """What one test did and wants. faults: what happens to the next posts, in order.

    A fault is "hang" (taken, no answer), "drop" (the line is cut before the body is read), "lost" (taken, and the line
    is cut), or (status, errorCode). states: answers of the status, in order; the last one stays.
    """

    arrived: list[tuple[str, bytes]] = field(default_factory=list)
    ids: dict[str, str] = field(default_factory=dict)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)  # of the whole requests with a message
    faults: list[Any] = field(default_factory=list)
    states: list[tuple[str, str | None]] = field(default_factory=lambda: [("Unconfirmed", None)])
    locked: bool = False
    limit: int = 35_000_000
    notifies: bool = True
    configured: list[int] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    token_calls: int = 0
    revoked: set[str] = field(default_factory=set)
    token_seconds: int = 300
    tokens: dict[str, str] = field(default_factory=dict)  # token -> thumbprint of the DPoP key
    scope: str = "nhn:msh/api"
    register: dict[str, Any] = field(
        default_factory=dict
    )  # path -> what is said there, whoever asks; bytes as they are
    long_blocks: int = 0  # written of an answer without end
    nonce: str = ""  # that every proof towards the API must carry


class Server(ThreadingHTTPServer):
    """One server for many rooms. client_key: public, of the one HelseID client that it knows."""

    daemon_threads = True

    def __init__(self, client_key: RSAKey | ECKey) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.client_key = client_key
        self.rooms: dict[str, Room] = defaultdict(Room)
        self.seen: set[str] = set()
        self.nonces: set[str] = set()
        self.lock = threading.Lock()
        self.ended = threading.Event()
        self.quiet = threading.Condition()
        self.at_work = 0

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as the library has it
        """Count a line from the moment it is taken, so that whoever asks later finds all that came before."""
        with self.quiet:
            self.at_work += 1
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401
        """The end of a line."""
        super().shutdown_request(request)
        with self.quiet:
            self.at_work -= 1
            self.quiet.notify_all()

    def url(self, room: str) -> str:
        """Address of a room's API; its token endpoint is ``/connect/token`` below it."""
        return f"http://127.0.0.1:{self.server_port}/{room}"

    def handle_error(self, *_: object) -> None:
        """A client that went away is part of the tests."""


@contextmanager
def running(client_key: RSAKey | ECKey) -> Iterator[Server]:
    """A server in threads of its own."""
    server = Server(client_key)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def apart(key: Path) -> Iterator[str]:
    """A server in a process of its own; its address. key: of the client, PEM."""
    command = [sys.executable, __file__, str(key)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()
            process.wait(20)


def taken(url: str, room: str) -> list[tuple[str, str]]:
    """What a server apart has taken, when it is at rest: MsgId and SHA-256 of each document, in order."""
    with urlopen(f"{url}/{room}/taken", timeout=30) as answer:  # noqa: S310 - our own server
        return [(name, digest) for name, digest in json.load(answer)]


class _Refused(Exception):
    def __init__(self, status: int, code: int = 0, why: str = "", headers: dict[str, str] | None = None) -> None:
        super().__init__(why)
        self.status, self.code, self.why, self.headers = status, code, why, headers or {}


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_PUT(self) -> None:
        self._serve()

    @property
    def _address(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}{urlsplit(self.path).path}"

    def _serve(self) -> None:
        _, room_name, *rest = urlsplit(self.path).path.split("/")
        room, place = self.server.rooms[room_name], "/".join(rest)
        room.calls.append(f"{self.command} {place}")
        if place == "taken":
            with self.server.quiet:  # all that a killed client has sent is dealt with first
                self.server.quiet.wait_for(lambda: self.server.at_work == 1, 10)
            taken = [(name, hashlib.sha256(content).hexdigest()) for name, content in room.arrived]
            self._answer(200, taken, {"Connection": "close"})
            return
        posting = self.command == "POST" and place.casefold() == "messages"
        fault = room.faults.pop(0) if posting and room.faults else None
        if fault == "drop":
            self.close_connection = True
            self.connection.close()
            return
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            if place == "connect/token" and place not in room.register:
                self._token(room, body)
            elif place in room.register:
                if place != "connect/token":
                    self._check_call(room)
                self._told(room, room.register[place])
            else:
                _insist(len(body) <= room.limit, 413, "too large")
                self._check_call(room)
                _insist(bool(self.headers.get("nhn-source-system")), 400, "nhn-source-system")
                status, code = fault if isinstance(fault, tuple) else (0, 0)
                _insist(not status, status, "as told", code)
                self._api(room, place, body, fault)
        except _Refused as no:
            room.refused.append(f"{no.status} {no.why}")
            problem = {"title": no.why, "status": no.status, "errorCode": no.code, "requestId": str(uuid.uuid4())}
            problem["detail"] = "quotes a-value-of-a-row"  # a service may quote anything; nobody shall see it
            self._answer(no.status, problem, no.headers)

    def _answer(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:  # noqa: ANN401
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _told(self, room: Room, said: Any) -> None:  # noqa: ANN401
        if said is not LONG:
            self._answer(200, said)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(LONG_BLOCKS * len(BLANKS)))
        self.end_headers()
        for _ in range(LONG_BLOCKS):
            self.wfile.write(BLANKS)
            room.long_blocks += 1

    # --- HelseID ------------------------------------------------------------------------------------------------------

    def _token(self, room: Room, body: bytes) -> None:
        form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        room.token_calls += 1
        claims, key = self._proof()
        with self.server.lock:
            nonce = str(claims.get("nonce", ""))
            if nonce not in self.server.nonces:
                fresh = uuid.uuid4().hex
                self.server.nonces.add(fresh)
                raise _Refused(400, why="use_dpop_nonce", headers={"DPoP-Nonce": fresh})
            self.server.nonces.discard(nonce)
        try:
            token = jwt.decode(form["client_assertion"], self.server.client_key, algorithms=["PS256", "ES256"])
        except JoseError:
            raise _Refused(400, why="invalid_client") from None
        told = token.claims
        _insist(token.header["typ"] == "client-authentication+jwt", 400, "typ")
        _insist(told["iss"] == told["sub"] == form["client_id"] == "npr-client", 400, "client")
        _insist(told["aud"] == f"http://127.0.0.1:{self.server.server_port}", 400, "aud")
        _insist(told["nbf"] <= time.time() + 1 and 0 < told["exp"] - told["iat"] <= 60, 400, "time")
        _insist(form["scope"] == room.scope and form["grant_type"] == "client_credentials", 400, "scope")
        self._once(str(told["jti"]))
        value = uuid.uuid4().hex
        room.tokens[value] = key
        self._answer(200, {"access_token": value, "token_type": "DPoP", "expires_in": room.token_seconds})

    def _proof(self) -> tuple[dict[str, Any], str]:
        """Claims of the proof of this call, checked by the key inside it, and that key's thumbprint."""
        raw = self.headers.get("DPoP", "")
        _insist(bool(raw), 401, "no proof")
        header = jws.extract_compact(raw.encode()).headers()
        _insist(header.get("typ") == "dpop+jwt" and header.get("alg") == "ES256", 401, "typ")
        jwk = header["jwk"]
        _insist("d" not in jwk, 401, "private key in a proof")
        key = import_key(jwk)
        claims = jwt.decode(raw, key, algorithms=["ES256"]).claims
        _insist(claims["htm"] == self.command, 401, "htm")
        _insist(claims["htu"] == self._address, 401, "htu")
        _insist(abs(time.time() - claims["iat"]) < 60, 401, "iat")
        self._once(str(claims["jti"]))
        return claims, key.thumbprint()

    def _once(self, jti: str) -> None:
        with self.server.lock:
            _insist(jti not in self.server.seen, 401, "jti seen before")
            self.server.seen.add(jti)

    def _check_call(self, room: Room) -> None:
        claims, key = self._proof()
        kind, _, token = self.headers.get("Authorization", "").partition(" ")
        _insist(kind == "DPoP" and room.tokens.get(token) == key, 401, "token")
        _insist(token not in room.revoked, 401, "token has run out")
        ath = base64.urlsafe_b64encode(hashlib.sha256(token.encode()).digest()).rstrip(b"=").decode()
        _insist(claims.get("ath") == ath, 401, "ath")
        if room.nonce and claims.get("nonce") != room.nonce:
            raise _Refused(401, why="use_dpop_nonce", headers={"DPoP-Nonce": room.nonce})

    # --- the API ------------------------------------------------------------------------------------------------------

    def _api(self, room: Room, place: str, body: bytes, fault: object) -> None:
        version = int(self.headers.get("api-version", 0))
        if place == "mshconfigurations" and self.command == "PUT" and version == 3:
            if room.locked:
                raise _Refused(423, 1210, "locked")
            room.configured += [one["herId"] for one in json.loads(body)["configurations"]]
            self._answer(204, None)
        elif place == ("messages" if version == 3 else "Messages") and self.command == "POST":
            room.lengths.append(len(body))
            self._post(room, json.loads(body), version, fault)
        elif place == "notifications":
            offset = int(parse_qs(urlsplit(self.path).query)["Offset"][0])
            rows = [
                {"offset": n * 7, "relatedMessageId": one, "type": "MessageSentStateUpdated"}
                for n, one in enumerate(room.ids.values())
            ]
            shown = [row for row in rows if row["offset"] >= offset] if room.notifies else []  # type: ignore[operator]
            self._answer(200, {"notifications": shown})
        elif place.endswith("/status"):
            self._status(room, place.split("/")[1], version)
        else:
            found = {one: msg_id for msg_id, one in room.ids.items()}.get(place.split("/")[1])
            _insist(found is not None, 404, "not found", 1010)
            self._answer(200, {"id": place.split("/")[1], "businessDocumentId": found})

    def _post(self, room: Room, body: dict[str, Any], version: int, fault: object) -> None:
        room.bodies.append({**body, "businessDocument": len(body["businessDocument"])})
        document = base64.b64decode(body["businessDocument"], validate=True)
        _insist(document.startswith(b'<?xml version="1.0" encoding="UTF-8"?>'), 400, "encoding", 1001)
        if version == 3:
            _insist({"senderHerId", "receiverHerIds", "messageTypeIdentificator"} <= body.keys(), 400, "fields", 1001)
        msg_id = MSG_ID.search(document)
        assert msg_id
        name = msg_id[1].decode()
        room.arrived.append((name, document))
        room.ids.setdefault(name, str(uuid.uuid4()))
        if fault == "hang":
            self.server.ended.wait(20)
        if fault in {"hang", "lost"}:
            self.close_connection = True
            self.connection.close()
            return
        if version == 3:
            self._answer(202, {"id": room.ids[name]})
        else:
            self._answer(201, room.ids[name], {"Location": f"{self._address}/{room.ids[name]}"})

    def _status(self, room: Room, reference: str, version: int) -> None:
        _insist(reference in room.ids.values(), 404, "purged", 1010)
        transport, apprec = room.states.pop(0) if len(room.states) > 1 else room.states[0]
        errors = [{"errorCode": "T02", "details": "quotes a-value-of-a-row"}] if apprec == "Rejected" else None
        if version == 3:
            info = {"appRecStatus": apprec, "appRecErrorList": errors} if apprec else None
            row = {"receiverHerId": 0, "transportDeliveryState": transport, "sent": True, "apprecInfo": info}
            self._answer(
                200, {"statusList": [row, {**row, "receiverHerId": 999, "transportDeliveryState": "Rejected"}]}
            )
        else:
            self._answer(200, [{"receiverHerId": 0, "transportDeliveryState": transport, "appRecStatus": apprec}])


def _insist(holds: bool, status: int, why: str, code: int = 0) -> None:  # noqa: FBT001
    if not holds:
        raise _Refused(status, code, why)


def main() -> None:
    """Serve until the standard input ends."""
    key = RSAKey.import_key(Path(sys.argv[1]).read_bytes())
    with running(key) as server:
        print(f"http://127.0.0.1:{server.server_port}", flush=True)  # noqa: T201 - the address, for whoever started it
        sys.stdin.read()


if __name__ == "__main__":
    main()
