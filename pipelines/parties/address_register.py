"""NHN's Address Register: who a HER-id is, and its current certificates.

Belongs here: asking the CommunicationParty API (REST), and keeping its answers for twelve hours under NPR_HOME. Does
not belong here: judging a certificate (``transforms.shipping.certificates``), access tokens
(``pipelines.parties.helseid``).

Paths and fields are those of navikt/ebxml-processor (certainty B) and of NHN's page on the API of 17.12.2025;
Helsenorge keeps answers as long (12 h). An answer that is older is never used in place of a new one: a certificate that
was exchanged would make a shipment that nobody can open.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from pydantic import AliasPath, BaseModel, ConfigDict, Field, ValidationError

from pipelines.home.store import DiskStore
from pipelines.parties.replies import Reply, reply_of
from schemas.config import Certificates, RegisterClient
from schemas.errors import DataRefused, WrongUse
from transforms.shipping.certificates import Purpose

if TYPE_CHECKING:
    import httpx

    from pipelines.parties.helseid import HelseId

FRESH = dt.timedelta(hours=12)
SECONDS = 20.0
MOST_BYTES = 1_000_000
OK = 200
FOLDER = "address-register"
M = TypeVar("M", bound=BaseModel)


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)


class Party(_Answer):
    """A communication party. organisation: of itself, or of the organisation above a service; "" where none is told."""

    her_id: int = Field(alias="herId")
    name: str = ""
    edi_address: str = Field(default="", alias="ediAddress")
    own_organisation: int | None = Field(
        default=None, validation_alias=AliasPath("organizationDetails", "organizationNumber")
    )
    parent_organisation: int | None = Field(
        default=None,
        validation_alias=AliasPath("serviceDetails", "parentOrganization", "organizationDetails", "organizationNumber"),
    )
    valid_from: dt.datetime | None = Field(default=None, alias="validFrom")
    valid_to: dt.datetime | None = Field(default=None, alias="validTo")

    @property
    def organisation(self) -> str:
        """Organisation number in nine digits."""
        number = self.own_organisation or self.parent_organisation
        return f"{number:09}" if number else ""


class _Certificate(_Answer):
    thumbprint: str
    value: str = Field(alias="certificateValue")


class AddressRegister:
    """One register. url: without path. client: of HelseID, which NHN's register wants; None: no token is shown."""

    def __init__(
        self,
        url: str,
        store: DiskStore,
        client: RegisterClient | None = None,
        now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC),
    ) -> None:
        self._url = url.rstrip("/")
        self._store = store
        self._client = client
        self._now = now

    @classmethod
    def of(cls, given: Certificates, store: DiskStore) -> AddressRegister | None:
        """The one that the settings name, if they do."""
        return cls(given.address_register, store, given.address_register_client) if given.address_register else None

    def look(self) -> str:
        """Whether the client gets a token, for ``npr doctor``. "": there is no client. Raises NprError."""
        import httpx  # noqa: PLC0415 - takes a while

        from pipelines.parties.helseid import Client, HelseId  # noqa: PLC0415 - the same

        if not self._client:
            return ""
        with httpx.Client(timeout=SECONDS, follow_redirects=False) as http:
            HelseId(Client.of(self._client), http).headers("GET", self._url)
        return f"HelseID gives a token to {self._client.client_id} for {self._url}"

    def party(self, her_id: str) -> Party:
        """Who a HER-id is. DataRefused when it is not there, not in force, or the register cannot be asked."""
        found = self._ask(her_id, f"communicationparty/{her_id}", Party)
        today = self._now()
        if str(found.her_id) != her_id:
            raise _strange(her_id)
        if (found.valid_from and _zoned(found.valid_from) > today) or (
            found.valid_to and _zoned(found.valid_to) < today
        ):
            raise DataRefused(
                f"HER-id {her_id} is not in force in the Address Register",
                where=self._url,
                fix="ask the party for its HER-id of today",
            )
        return found

    def certificate(self, her_id: str, purpose: Purpose) -> x509.Certificate:
        """The current certificate of a HER-id for a purpose, not judged yet."""
        found = self._ask(her_id, f"certificate/{her_id}/{purpose.value}", _Certificate)
        try:
            certificate = x509.load_der_x509_certificate(base64.b64decode(found.value, validate=True))
        except ValueError:
            raise _strange(her_id) from None
        # The register names certificates by SHA-1; it says which one, and protects nothing.
        if certificate.fingerprint(hashes.SHA1()).hex() != found.thumbprint.lower():  # noqa: S303
            raise _strange(her_id)
        return certificate

    def _ask(self, her_id: str, path: str, kind: type[M]) -> M:
        if not (her_id.isascii() and her_id.isdigit()):
            raise WrongUse("a HER-id is a number", where="HER-id", fix="give the HER-id as digits")
        body = self._kept(path)
        fresh = body is None
        if body is None:
            body = self._fetched(her_id, f"{self._url}/api/v1/{path}")
        try:
            answer = kind.model_validate(body)
        except ValidationError:
            raise _strange(her_id) from None
        if fresh:
            self._keep(path, body)
        return answer

    # --- kept answers -------------------------------------------------------------------------------------------------

    def _place(self, path: str) -> Path:
        return self._store.home / FOLDER / f"{path.replace('/', '-')}.json"

    def _kept(self, path: str) -> Any:  # noqa: ANN401 - JSON as it came
        try:
            held = json.loads(self._place(path).read_bytes())
            age = self._now() - dt.datetime.fromisoformat(held["fetched_at"])
            usable = held["register"] == self._url and dt.timedelta(0) <= age < FRESH
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return held["answer"] if usable else None

    def _keep(self, path: str, body: Any) -> None:  # noqa: ANN401
        held = {"register": self._url, "fetched_at": self._now().isoformat(), "answer": body}
        with self._store.writing(self._place(path)) as file:
            file.write_text(json.dumps(held, ensure_ascii=False, indent=1), encoding="utf-8")

    # --- asking -------------------------------------------------------------------------------------------------------

    def _fetched(self, her_id: str, address: str) -> Any:  # noqa: ANN401
        import httpx  # noqa: PLC0415 - takes a while, and most runs have the answer

        from pipelines.parties.helseid import Client, HelseId  # noqa: PLC0415 - the same

        try:
            with httpx.Client(timeout=SECONDS, follow_redirects=False) as http:
                tokens = HelseId(Client.of(self._client), http) if self._client else None
                return self._told(her_id, address, http, tokens, again=tokens is not None)
        except httpx.HTTPError as error:
            raise DataRefused(
                f"the Address Register cannot be asked for HER-id {her_id}: {type(error).__name__}",
                where=self._url,
                fix="try again, or give the certificate as a file in npr.toml, certificates.receiver",
            ) from None

    def _told(self, her_id: str, address: str, http: httpx.Client, tokens: HelseId | None, *, again: bool) -> Any:  # noqa: ANN401
        """again: a call whose token is not taken, or whose proof wants a nonce, is made once more."""
        headers = {"Accept": "application/json"} | (tokens.headers("GET", address) if tokens else {})
        with http.stream("GET", address, headers=headers) as response:
            reply = reply_of(response, MOST_BYTES)
        if again and tokens and tokens.refused(address, reply):
            return self._told(her_id, address, http, tokens, again=False)
        self._insist_answered(her_id, reply)
        return reply.body

    def _insist_answered(self, her_id: str, reply: Reply) -> None:
        if reply.status == OK:
            return
        reasons = {
            401: ("wants an access token", "check npr.toml, [certificates.address_register_client]"),
            403: ("does not let this client in", "have the scope nhn:cp-api/access-v2-dpop granted"),
            404: ("does not know it, or it has no such certificate", "check the HER-id with the party"),
        }
        what, fix = reasons.get(reply.status, ("cannot answer now", "try again later"))
        raise DataRefused(
            f"HER-id {her_id}: the Address Register {what} (HTTP {reply.status})", where=self._url, fix=fix
        )


def _zoned(when: dt.datetime) -> dt.datetime:
    """Times of the register occur without zone; they are read as UTC, which errs by two hours at most."""
    return when if when.tzinfo else when.replace(tzinfo=dt.UTC)


def _strange(her_id: str) -> DataRefused:
    return DataRefused(
        f"HER-id {her_id}: the answer of the Address Register is not what its description says",
        where="Address Register",
        fix="give the certificate as a file in npr.toml, certificates.receiver, and report this",
    )
