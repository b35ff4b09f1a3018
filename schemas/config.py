"""The shape of ``npr.toml``: profile, units, limits, agreements.

Belongs here: typed records and their limits. Does not belong here: reading files or the environment
(``pipelines.settings``).
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field, StringConstraints, field_validator, model_validator

from schemas.extract_file import Accepted
from schemas.receivers import Code, ContentForm, DocumentForm
from schemas.reporting import UnitKind
from schemas.strict import STRICT
from schemas.words import PersonName, Reason

Profile = Literal["rehearsal", "validation", "production"]
Executor = Literal["in_process", "multiprocess", "celery"]
Short = Annotated[str, StringConstraints(min_length=1, max_length=100)]
HerId = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,9}$")]
# Norwegian number by the model's own datatype 801 (hdir/DHHR.API).
Phone = Annotated[str, StringConstraints(pattern=r"^(\+47|0047|)( *[0-9] *){8}$")]
Email = Annotated[str, StringConstraints(pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+$", max_length=254)]
OrganisationNumber = Annotated[str, StringConstraints(pattern=r"^[0-9]{9}$")]
# Plain http for a stand-in on this machine alone.
HttpsUrl = Annotated[str, StringConstraints(pattern=r"^(https://|http://(127\.0\.0\.1|localhost)(:|/|$))\S*$")]
MailFolder = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._/-]{0,99}$")]
FEED_DIGITS = 10  # organisation number and the digit of a feed of its own
UnitKey = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$")]

TECHNICAL, EPJ_VENDOR = "1", "15"


class _Part(BaseModel):
    model_config = STRICT


class ContactPerson(_Part):
    """Kontaktperson. NPR answers by encrypted e-mail and sends its password by SMS, so both are needed."""

    type: Annotated[str, StringConstraints(pattern=r"^[0-9]{1,2}$")] = Field(description="code of list 8471")
    name: Short
    email: Email
    mobile: Phone


class Epj(_Part):
    """The electronic patient record system, as Melding names it."""

    leverandor: Short
    navnEPJ: Short
    versjonEPJ: Short


class HerAddress(_Part):
    """One organisation level of the head message. mail: its EDI address, where mails are sent from."""

    name: Short
    her_id: HerId
    mail: Email | None = None


class KeyFile(_Part):
    """One key pair of our own. file: PKCS#12, or PEM. certificate: PEM, where the file does not hold it.

    The password stands in an environment variable or in a file of its own, never in npr.toml. command: a program that
    signs with a key we never see (a smart card or HSM by PKCS#11); in place of file.
    """

    file: Path | None = None
    certificate: Path | None = None
    password_env: Short | None = None
    password_file: Path | None = None
    command: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _one_way(self) -> KeyFile:
        if (self.file is None) != bool(self.command):
            raise ValueError("give either file or command")
        if self.command and self.certificate is None:
            raise ValueError("command needs certificate, the PEM that belongs to the key")
        if self.password_env and self.password_file:
            raise ValueError("give either password_env or password_file")
        return self


class HelseIdClient(_Part):
    """A client of HelseID. key: its private key, PEM or JWK, mode 0600. issuer: empty = the host of token_url."""

    token_url: HttpsUrl
    issuer: str = ""
    client_id: Short
    key: Path
    key_id: str = ""
    scope: Short


class RegisterClient(HelseIdClient):
    """The client that asks the Address Register."""

    scope: Short = "nhn:cp-api/access-v2-dpop"


class Certificates(_Part):
    """Keys and certificates. Old and new ones may stand side by side: the newest valid one sends, all of them read.

    receiver: NPR's encryption certificate, PEM. receiver_signing: those that sign its receipts. organisations: whose
    numbers the certificates may carry; empty: own by foretakID and institusjonID, the receiver's unchecked. trust: CAs
    trusted as such; chain: CAs between; crl, ocsp: lists and answers as fetched (PEM or DER).
    """

    signing: tuple[KeyFile, ...] = ()
    reading: tuple[KeyFile, ...] = ()
    own_organisations: tuple[OrganisationNumber, ...] = ()
    receiver: tuple[Path, ...] = ()
    receiver_signing: tuple[Path, ...] = ()
    receiver_organisations: tuple[OrganisationNumber, ...] = ()
    receiver_mail: Email | None = None
    trust: tuple[Path, ...] = ()
    chain: tuple[Path, ...] = ()
    crl: tuple[Path, ...] = ()
    ocsp: tuple[Path, ...] = ()
    address_register: HttpsUrl | None = None
    address_register_client: RegisterClient | None = None

    @model_validator(mode="after")
    def _client_of_something(self) -> Certificates:
        if self.address_register_client and not self.address_register:
            raise ValueError("address_register_client needs address_register, the address that it asks")
        return self


class Known(_Part):
    """Something that the guard would stop, and that somebody vouches for.

    what: name of an attribute whose keys have eleven digits and are no identity numbers (episodeID), or the name of a
    unit that says test and treats patients.
    """

    what: Short
    why: Reason
    by: PersonName


class Unit(_Part):
    """One reporting unit: one institusjonID, one set of messages per period."""

    name: Short
    institusjonID: Annotated[str, StringConstraints(pattern=r"^[0-9]{4,10}$")] = Field(
        description="9-digit organisation number, RESH-id of an avtalespesialist, or organisation number and one digit "
        "for a feed of its own (0, 1, 2, 3, 9)"
    )
    foretakID: Annotated[str, StringConstraints(pattern=r"^[0-9]{9}$")] | None = None
    kind: UnitKind
    isf: bool = Field(description="has an ISF agreement")
    reports_since: dt.date | None = Field(default=None, description="earlier deadlines are not asked about here")
    organisation: HerAddress
    sender: HerAddress = Field(description="the unit that sends, below the organisation")
    contacts: tuple[ContactPerson, ...]
    epj: Epj
    extract: Path | None = None
    source: Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]{1,40}$")] | None = None
    database: UnitKey | None = Field(default=None, description="name of a [databases.NAME], for a source of that kind")
    accepted: tuple[Accepted, ...] = ()
    known: tuple[Known, ...] = ()
    certificates: Certificates | None = Field(default=None, description="of this unit, in place of [certificates]")

    @field_validator("contacts")
    @classmethod
    def _needed_contacts(cls, value: tuple[ContactPerson, ...]) -> tuple[ContactPerson, ...]:
        missing = {TECHNICAL, EPJ_VENDOR} - {contact.type for contact in value}
        if missing:
            kinds = " and ".join(sorted(missing, key=int))
            raise ValueError(f"contact persons of type {kinds} are missing; NPR answers to types 1 and 15 only")
        return value

    @model_validator(mode="after")
    def _form_of_id(self) -> Unit:
        digits = len(self.institusjonID)
        if self.kind is UnitKind.AVTALESPESIALIST and digits not in (4, 5, 6, 7, 8, 9):
            raise ValueError("institusjonID: an avtalespesialist reports under the RESH-id (or 9 digits inside ISF)")
        if self.kind is not UnitKind.AVTALESPESIALIST and digits not in (9, 10):
            raise ValueError("institusjonID: 9 digits (organisation number), or 10 for a feed of its own")
        if digits == FEED_DIGITS and self.institusjonID[-1] not in "01239":
            raise ValueError(
                "institusjonID: the 10th digit is 0 radiotherapy, 1 radiology, 2 radiology dose, 3 injury or 9 AMK"
            )
        if self.kind is UnitKind.AMK and digits == FEED_DIGITS and self.institusjonID[-1] != "9":
            raise ValueError("institusjonID: AMK reports under the organisation number and 9")
        return self


class Database(_Part):
    """A database that extracts are pulled from. User and password never stand here (docs/sources.md).

    environment: what the database holds, by its owner's word; nothing is guessed from its name. secrets: TOML file with
    url, user or password, mode 0600. batch: rows held in memory at a time.
    """

    environment: Literal["production", "test"]
    url: str | None = None
    secrets: Path | None = None
    batch: int = Field(default=20_000, ge=1, le=1_000_000)

    @field_validator("url")
    @classmethod
    def _no_secret(cls, value: str | None) -> str | None:
        if value and "@" in value.partition("://")[2].partition("/")[0]:
            raise ValueError("user and password do not belong into npr.toml; give them by environment or secrets file")
        return value


class SplitAgreement(_Part):
    """NPR's word that several parts of one report add up; without it a split in production stops."""

    who: Short
    when: dt.date
    reference: Short


class AgreedForm(_Part):
    """What NPR has confirmed of the form of its messages, field by field (schemas/receivers/npr.toml); who says so."""

    reference: Short
    document: DocumentForm | None = None
    case_no: Short | None = None
    content: ContentForm | None = None
    gzip: bool | None = None
    ref_type: Code | None = None
    mime_type: Short | None = None
    ack: Code | None = None
    service: Short | None = None
    action: Short | None = None
    from_role: Short | None = None
    to_role: Short | None = None
    cpa_id: Short | None = None
    description: bool | None = None


class Shipping(_Part):
    """How shipments are made. packed_bytes: limit in bytes of the finished file; empty = by the year of the data."""

    packed_bytes: int | None = Field(default=None, ge=20_000)
    gzip: bool = False
    split: bool = True
    split_agreement: SplitAgreement | None = None
    receiver_certificate: Path | None = None
    form: AgreedForm | None = None

    def compresses(self, *, usual: bool) -> bool:
        """Whether messages are compressed before encryption. usual: what the receiver's form says of it."""
        agreed = self.form.gzip if self.form else None
        return self.gzip or (usual if agreed is None else agreed)


class Workers(_Part):
    """Celery workers. redeliver_after: seconds after which a stage that a lost worker had is given to another one.

    Must be longer than the longest stage: a stage still at work would be begun once more beside itself.
    """

    redeliver_after: int = Field(default=3600, ge=1)


class TsbModule(_Part):
    """Overrides which module carries NPR-melding-TSB (tsb or sbs); empty = as versions.toml says."""

    module: Literal["sbs", "tsb"] | None = None


class GuardLimits(_Part):
    """When figures of a report are so unlike earlier ones that a named person must confirm them (docs/findings.md).

    fall_percent: records fewer than in the last report of the year. share_*: factor on the odds of a share. month_*:
    factor on the episodes of a month. minimum: records below which a figure says nothing. noise: standard errors that
    chance may explain. site_minimum: inpatient stays from which UNIT-11 speaks.
    """

    fall_percent: float = Field(default=5, gt=0, le=100)
    share_unusual: float = Field(default=2, gt=1)
    share_stop: float = Field(default=4, gt=1)
    month_unusual: float = Field(default=1.5, gt=1)
    month_stop: float = Field(default=2, gt=1)
    minimum: int = Field(default=20, ge=1)
    noise: float = Field(default=4, ge=0)
    site_minimum: int = Field(default=5, ge=1)


class LedgerSettings(_Part):
    """Where the ledger lies; empty = ledger.sqlite in NPR_HOME. Credentials never stand here, see docs/sending.md."""

    url: Short | None = None
    url_file: Path | None = None


class InboxSettings(_Part):
    """Where answers of the register are dropped (docs/sending.md, Answers).

    folders: empty = inbox in NPR_HOME. passwords: TOML file of mode 0600, month -> password of the register's archives.
    mapping: field names of its reports, in place of the packaged ones.
    """

    folders: tuple[Path, ...] = ()
    passwords: Path | None = None
    mapping: Path | None = None


class ChannelSettings(_Part):
    """One way out. units: empty = all. profiles: empty = it serves nothing new, and can still be asked.

    Settings of a kind stand in a subclass of its own, told apart by ``kind``.
    """

    units: tuple[UnitKey, ...] = ()
    profiles: tuple[Profile, ...] = ()

    def serves(self, unit: str, profile: str) -> bool:
        """Whether it is the way of this unit under this profile."""
        return profile in self.profiles and (not self.units or unit in self.units)

    @property
    def needs_document(self) -> bool:
        """Whether it carries the head message instead of the packed mail."""
        return False

    @property
    def needs_address(self) -> bool:
        """Whether it mails, so that the receiver's mail address must be known."""
        return False

    @property
    def most_mail_bytes(self) -> int | None:
        """The largest packed file it carries; None: the network's limit for mails."""
        return None

    @property
    def takes_large(self) -> bool:
        """Whether it is there for what no other channel of a unit can carry, and for nothing else."""
        return False


class OutboxSettings(ChannelSettings):
    """The outbox folder of NPR_HOME."""

    kind: Literal["outbox"]


class FolderSettings(ChannelSettings):
    """A folder that the hospital's own message handler reads.

    staging: beside path, on the same file system; empty = ``.staging-NAME`` beside it. taken: where the handler moves
    what it took. inbox: where it puts answers. payload: bare NPR XML, the whole head message, or the packed mail.
    """

    kind: Literal["folder"]
    path: Path
    staging: Path | None = None
    taken: Path | None = None
    inbox: Path | None = None
    payload: Literal["bare", "head", "mail"] = "mail"

    @property
    def needs_document(self) -> bool:
        """Whether the head message itself is handed over."""
        return self.payload != "mail"


class Edi20Settings(ChannelSettings, HelseIdClient):
    """NHN's REST API (EDI 2.0), with its HelseID client. body_bytes: the largest request body."""

    kind: Literal["edi20"]
    url: HttpsUrl
    version: Literal[2, 3] = 3
    scope: Short = "nhn:msh/api"
    body_bytes: int = Field(default=35_000_000, ge=10_000, le=35_000_000)

    @property
    def needs_document(self) -> bool:
        """EDI 2.0 packs, signs and encrypts itself."""
        return True


class SftpSettings(ChannelSettings):
    """A file area, for what no mail can hold (NHN-EDI-STOR). host_key: the server's, as in known_hosts without a name.

    folder: where finished files appear. taken: where they are moved when they were fetched, if that can be seen.
    file_bytes: the largest file. only_large: it takes nothing but patients who alone are above the limits of the unit's
    other channel.
    """

    kind: Literal["sftp"]
    host: Short
    port: int = Field(default=22, ge=1, le=65535)
    user: Short
    key: Path
    host_key: Annotated[str, StringConstraints(pattern=r"^(ssh-(ed25519|rsa)|ecdsa-sha2-nistp\d+) [A-Za-z0-9+/]+=*$")]
    folder: str = "."
    taken: str = ""
    file_bytes: int = Field(default=2_000_000_000, ge=20_000)
    only_large: bool = False

    @property
    def most_mail_bytes(self) -> int:
        """No mail carries it, so the network's limit for mails does not hold."""
        return self.file_bytes

    @property
    def takes_large(self) -> bool:
        """By its setting."""
        return self.only_large


class MailLine(_Part):
    """One line to a mail server, always under TLS. ca: PEM of the server's CA; empty = those of the system.

    tls: from the first byte (``tls``), or after STARTTLS, without which nothing is said. The password stands in an
    environment variable or in a file of mode 0600, never here.
    """

    host: Short
    tls: Literal["tls", "starttls"] = "tls"
    ca: Path | None = None
    user: Short | None = None
    password_env: Short | None = None
    password_file: Path | None = None

    @model_validator(mode="after")
    def _password_kept(self) -> MailLine:
        if bool(self.user) != bool(self.password_env or self.password_file):
            raise ValueError("user and one of password_env and password_file go together")
        if self.password_env and self.password_file:
            raise ValueError("give either password_env or password_file")
        return self


class MailboxSettings(MailLine):
    """The mailbox of the EDI account, by IMAP. message_bytes: larger messages are left there, and told of.

    done: folder that messages go to once they are stored; empty = they are marked as seen where they lie.
    """

    port: int = Field(default=993, ge=1, le=65535)
    folder: MailFolder = "INBOX"
    done: MailFolder | None = None
    message_bytes: int = Field(default=24_000_000, ge=1_000, le=24_000_000)


class EbxmlSmtpSettings(MailLine, ChannelSettings):
    """The packed mail by SMTP to Norsk helsenett's mail server: this program is the message handler.

    mailbox: where acknowledgments and bounces come; without one, doubt is never settled by asking.
    """

    kind: Literal["ebxml-smtp"]
    port: int = Field(default=465, ge=1, le=65535)
    mailbox: MailboxSettings | None = None

    @property
    def needs_address(self) -> bool:
        """The mail goes to the address that stands in it."""
        return True


AnyChannel = Annotated[
    OutboxSettings | FolderSettings | Edi20Settings | SftpSettings | EbxmlSmtpSettings, Field(discriminator="kind")
]


class Drop(_Part):
    """Folder in which extracts arrive, as UNIT/DELIVERY/extract.toml beside the files it names (docs/scheduling.md)."""

    folder: Path | None = None


class Schedule(_Part):
    """The schedules of Dagster. active: they and the sensors run unless stopped in the pages. at: hour and minute.

    rehearsal_day: what is due is asked as of this day; profile rehearsal alone heeds it.
    """

    active: bool = False
    rehearsal_day: dt.date | None = None
    at: Annotated[str, StringConstraints(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")] = "06:00"


class Mail(_Part):
    """Where notices are mailed to. password_file, password_env: with ``user``; never the password itself."""

    host: Short
    port: int = Field(default=25, ge=1, le=65535)
    starttls: bool = False
    ca: Path | None = Field(default=None, description="PEM of the CA of the server [default: those of the system]")
    sender: Email
    to: tuple[Email, ...] = Field(min_length=1)
    user: Short | None = None
    password_env: Short | None = None
    password_file: Path | None = None

    @model_validator(mode="after")
    def _kept(self) -> Mail:
        if self.user and not self.starttls:
            raise ValueError("starttls: a password never goes over an open line")
        return self


class Notify(_Part):
    """Who is told when the state of a report changes: counts, periods and units, never a row."""

    webhook: HttpsUrl | None = None
    mail: Mail | None = None


class Config(_Part):
    """The whole of ``npr.toml``."""

    profile: Profile = "rehearsal"
    approval: bool = Field(default=False, description="a named approval is asked for outside production as well")
    executor: Executor = "in_process"
    units: dict[UnitKey, Unit] = Field(min_length=1)
    databases: dict[UnitKey, Database] = Field(default_factory=dict)
    shipping: Shipping = Shipping()
    tsb: TsbModule = TsbModule()
    workers: Workers = Workers()
    dagster_yaml: Path | None = None
    retention_days: int = Field(default=730, ge=1)
    guards: GuardLimits = GuardLimits()
    ledger: LedgerSettings = LedgerSettings()
    inbox: InboxSettings = InboxSettings()
    channels: dict[UnitKey, AnyChannel] = Field(default_factory=dict)
    certificates: Certificates = Certificates()
    drop: Drop = Drop()
    schedule: Schedule = Schedule()
    notify: Notify = Notify()

    @model_validator(mode="after")
    def _known_databases(self) -> Config:
        for key, unit in self.units.items():
            if unit.database is not None and unit.database not in self.databases:
                raise ValueError(f"units.{key}.database: there is no [databases.{unit.database}]")
        return self

    def approved_first(self, profile: str) -> bool:
        """Whether a submission leaves only when a named person has approved it; in production always."""
        return self.approval or profile == "production"

    def ways(self, unit: str, profile: str, *, large: bool = False) -> dict[str, ChannelSettings]:
        """The channels that serve a unit under a profile. large: those for parts that the others cannot carry."""
        return {
            name: one for name, one in self.channels.items() if one.serves(unit, profile) and one.takes_large == large
        }

    def certificates_of(self, unit: Unit) -> Certificates:
        """Keys and certificates of a unit: its own section, or the common one."""
        return unit.certificates or self.certificates
