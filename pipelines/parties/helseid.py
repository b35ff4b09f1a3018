"""Access tokens of HelseID: client credentials with private_key_jwt, bound to a key of ours by DPoP (RFC 9449).

Belongs here: assertion, proof, the nonce dance, keeping a token until shortly before it expires. Does not belong here:
the APIs that want the token (``pipelines.channels.edi20``, ``pipelines.parties.address_register``). Forms: HelseID's
pages and navikt/emottak-edi-adapter (nhn-transport.md 4.1, certainty B).

No message of these functions holds a token, a proof or a byte of a key.
"""

from __future__ import annotations

import base64
import hashlib
import json
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey
from pydantic import BaseModel, Field, FiniteFloat, ValidationError

from pipelines.parties.keys import insist_private
from pipelines.parties.replies import Reply, reply_of
from schemas.config import HelseIdClient
from schemas.errors import DataRefused, WrongUse

ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ASSERTION_SECONDS: Final = 30  # HelseID takes no more than 60
EARLY_SECONDS: Final = 30  # a token is given up so long before it expires
OK, BAD_REQUEST, UNAUTHORISED, SERVER_ERROR = 200, 400, 401, 500


class NoToken(DataRefused):
    """HelseID gives no token. retryable: it may do so later as all is."""

    def __init__(self, what: str, *, where: str, fix: str, retryable: bool) -> None:
        super().__init__(what, where=where, fix=fix)
        self.retryable = retryable


@dataclass(frozen=True, slots=True)
class Client:
    """A client of HelseID. issuer: audience of the assertion."""

    token_url: str
    issuer: str
    client_id: str
    scope: str
    key: RSAKey | ECKey
    key_id: str = ""

    @classmethod
    def of(cls, given: HelseIdClient) -> Client:
        """As the settings have it, with its key read. WrongUse when others may read the key, or it is none."""
        return cls(
            token_url=given.token_url,
            issuer=given.issuer or _origin(given.token_url),
            client_id=given.client_id,
            scope=given.scope,
            key=private_key(given.key),
            key_id=given.key_id,
        )


def private_key(path: Path) -> RSAKey | ECKey:
    """The client's private key, PEM or JWK. WrongUse when others may read it, or it is none."""
    insist_private(path)
    data = path.read_bytes()
    for kind in (RSAKey, ECKey):
        try:
            given: Any = data if data.lstrip().startswith(b"-----") else _jwk(data)
            key = kind.import_key(given)
        except (JoseError, ValueError, TypeError, KeyError):
            continue
        if isinstance(key, RSAKey | ECKey) and key.is_private:
            return key
    raise WrongUse(
        f"{path}: holds no private RSA or EC key",
        where="npr.toml, key of the HelseID client",
        fix="give it as PEM or as one JWK",
    )


def _jwk(data: bytes) -> dict[str, str | list[str]]:
    found = json.loads(data)
    return {str(name): value for name, value in found.items()}


class _Token(BaseModel):
    """An answer of the token endpoint. Seconds may be a text; a token goes into a header as it is."""

    access_token: str = Field(pattern=r"^[!-~]+$")
    token_type: str
    expires_in: FiniteFloat


def _token_in(reply: Reply) -> _Token | None:
    """The token, None where there is none that is bound to our key."""
    try:
        found = _Token.model_validate(reply.body)
    except ValidationError:
        return None
    return found if reply.status == OK and found.token_type.casefold() == "dpop" else None


class HelseId:
    """Tokens for one client. The DPoP key lives as long as this object; tokens are bound to it."""

    def __init__(self, client: Client, http: httpx.Client) -> None:
        self._client = client
        self._http = http
        self._proof_key = ECKey.generate_key("P-256", auto_kid=False)
        self._token = ""
        self._until = 0.0
        self._nonces: dict[str, str] = {}

    def headers(self, method: str, url: str) -> dict[str, str]:
        """Authorization and a fresh proof for one call. NoToken where none can be had."""
        if not self._token or time.monotonic() > self._until:
            self._fetch()
        proof = self._proof(method, url, token=self._token)
        return {"Authorization": f"DPoP {self._token}", "DPoP": proof}

    def refused(self, url: str, reply: Reply) -> bool:
        """Whether an API did not take the token or wants a nonce, so that the same call may be made once more."""
        if reply.status != UNAUTHORISED:
            return False
        self._heed(url, reply)
        if "DPoP-Nonce" not in reply.headers:
            self._token = ""
        return True

    def _heed(self, url: str, reply: Reply) -> None:
        """Keep the nonce that a server asks for in proofs to come."""
        if nonce := reply.headers.get("DPoP-Nonce"):
            self._nonces[_origin(url)] = nonce

    def _fetch(self) -> None:
        url = self._client.token_url
        for _ in range(2):  # the first answer may ask for a nonce
            reply = self._asked(url)
            if reply.status != BAD_REQUEST or "DPoP-Nonce" not in reply.headers:
                break
        given = _token_in(reply)
        if given is None:
            raise NoToken(
                f"HelseID gives no DPoP token to client {self._client.client_id} (HTTP {reply.status})",
                where=url,
                fix="check client_id, key, key_id and scope with HelseID's self-service, and this machine's clock",
                retryable=reply.status >= SERVER_ERROR,
            )
        self._token = given.access_token
        self._until = time.monotonic() + max(given.expires_in - EARLY_SECONDS, 0)

    def _asked(self, url: str) -> Reply:
        client = self._client
        form = {
            "client_id": client.client_id,
            "grant_type": "client_credentials",
            "scope": client.scope,
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": self._assertion(),
        }
        try:
            headers = {"DPoP": self._proof("POST", url)}
            with self._http.stream("POST", url, data=form, headers=headers) as response:
                reply = reply_of(response)
        except httpx.HTTPError as error:
            raise NoToken(
                f"HelseID cannot be asked for a token: {type(error).__name__}",
                where=url,
                fix="check the line to it, then run again",
                retryable=True,
            ) from None
        self._heed(url, reply)
        return reply

    def _assertion(self) -> str:
        client, now = self._client, int(time.time())
        header = {"alg": _algorithm(client.key), "typ": "client-authentication+jwt"}
        header |= {"kid": client.key_id} if client.key_id else {}
        claims: dict[str, object] = {
            "iss": client.client_id,
            "sub": client.client_id,
            "aud": client.issuer,
            "jti": str(uuid.uuid4()),
            "iat": now,
            "nbf": now,
            "exp": now + ASSERTION_SECONDS,
        }
        return jwt.encode(header, claims, client.key, algorithms=[header["alg"]])

    def _proof(self, method: str, url: str, token: str = "") -> str:
        header = {"alg": "ES256", "typ": "dpop+jwt", "jwk": self._proof_key.as_dict(private=False)}
        claims = {"jti": str(uuid.uuid4()), "htm": method, "htu": url.partition("?")[0], "iat": int(time.time())}
        if nonce := self._nonces.get(_origin(url)):
            claims["nonce"] = nonce
        if token:
            claims["ath"] = _base64url(hashlib.sha256(token.encode("ascii")).digest())
        return jwt.encode(header, claims, self._proof_key, algorithms=["ES256"])


def _algorithm(key: RSAKey | ECKey) -> str:
    """RS256 is the least that HelseID takes; PS256 is the better one of the same key."""
    return (
        "PS256" if isinstance(key, RSAKey) else {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}[key.curve_name]
    )


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _base64url(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode("ascii")
