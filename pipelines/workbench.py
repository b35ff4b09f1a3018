"""Opens a partition: puts settings, store, receiver and channel together for one run.

Belongs here: the one resource that the assets get. Does not belong here: what the stages do with it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from importlib.metadata import version
from pathlib import Path

from cryptography import x509

from assets.ports import Codes, Options, Reading, Run
from pipelines.channels import channel_of
from pipelines.home.codes import CodesHome
from pipelines.home.registry import registry_of
from pipelines.home.store import DiskStore
from pipelines.ledger.book import ledger_of
from pipelines.ledger.owner import owner
from pipelines.parties.address_register import AddressRegister
from pipelines.parties.keys import certificates_in, key_pair, own_signer, trust_of
from pipelines.parties.rehearsal import make_rehearsal_receiver, make_rehearsal_sender
from pipelines.settings import Settings
from schemas.config import Certificates, KeyFile, Unit
from schemas.errors import DataRefused, WrongUse
from schemas.period import Period
from schemas.receivers import Receiver, receiver
from schemas.records import Key
from schemas.reporting import modules_allowed
from transforms.shipping.certificates import Holder, Purpose, newest
from transforms.shipping.cms import KeyPair
from transforms.shipping.ebms import Signer, signer

PIPELINE = f"npr-pipeline {version('npr-pipeline')}"
RECEIVER, SENDER = "receiver", "sender"
MAKERS = {RECEIVER: make_rehearsal_receiver, SENDER: make_rehearsal_sender}
SOURCES = Path(__file__).parent.parent / "sql" / "sources"


def asked_of(period: Period, due: tuple[str, ...], asked: tuple[str, ...]) -> tuple[str, ...]:
    """The modules asked for, each once, in the order of the report. WrongUse for what the period does not have."""
    there = (*due, *period.on_request)
    if unknown := [module for module in asked if module not in there]:
        raise WrongUse(
            f"{period.key} has no message {', '.join(unknown)[:40]}",
            where="--module",
            rule="messages of a period: docs/calendar.md",
            fix="; ".join(
                [
                    f"use one or more of: {', '.join(there)}",
                    *(f"{module} is a report of its own: {key}" for module, key in period.elsewhere.items()),
                ]
            ),
        )
    if set(asked) == {"ide"}:
        raise WrongUse(
            "ide alone says nothing: it holds the patients of the activity",
            where="--module",
            rule="IDE-01, IDE-02: ide holds exactly the patients of the activity",
            fix=f"name the message it goes with as well, one of {', '.join(m for m in there if m != 'ide')}",
        )
    return tuple(module for module in there if module in asked)


def _silent(stage: str, done: int, total: int) -> None:
    """No progress shown."""


class DiskWorkbench:
    """Runs on the local disk store with the settings of ``npr.toml``."""

    def __init__(
        self, settings: Settings, options: Options, progress: Callable[[str, int, int], None] = _silent
    ) -> None:
        self.settings = settings
        self.options = options
        self.store = DiskStore(settings.home)
        self.progress = progress
        self.ledger = ledger_of(settings.home, settings.config.ledger.url, settings.config.ledger.url_file)
        self.registry = registry_of(settings.home)

    def open(self, partition_key: str) -> Run:
        """The run of a Dagster partition key ``period|unit``. WrongUse for what does not exist."""
        period_key, _, unit_key = partition_key.partition("|")
        period = Period.parse(period_key)
        unit = self.settings.config.units.get(unit_key)
        if unit is None:
            known = ", ".join(self.settings.config.units)
            raise WrongUse(f"no unit {unit_key!r} in {self.settings.path}", where="units", fix=f"units are {known}")
        return Run(
            key=Key(period=period.key, unit=unit_key),
            period=period,
            unit=unit,
            modules=self._modules(period, unit_key),
            config=self.settings.config,
            options=self.options,
            store=self.store,
            ledger=self.ledger,
            sources=SOURCES,
            now=lambda: dt.datetime.now(dt.UTC).replace(microsecond=0),
            receiver=lambda: self._receiver(unit),
            channel=partial(channel_of, self.settings.config, unit_key, self.store),
            large_channel=partial(channel_of, self.settings.config, unit_key, self.store, large=True),
            pipeline=PIPELINE,
            owner=owner(),
            progress=self.progress,
            registry=self.registry,
            database=lambda: self._database(unit),
            codes=self._codes,
            signer=lambda: self._signer(unit),
        )

    def _codes(self) -> Codes:
        home = CodesHome(self.settings.home)
        return Codes(home.tables(), home.digest())

    def _modules(self, period: Period, unit_key: str) -> tuple[str, ...]:
        unit = self.settings.config.units[unit_key]
        due = modules_allowed(period, unit.kind, unit.isf)
        if not due:
            isf = "with ISF" if unit.isf else "no ISF"
            raise DataRefused(
                f"{period.key} is not reported by {unit_key} (kind {unit.kind.value}, {isf})",
                rule="who reports what: docs/calendar.md",
                fix="run a period that the unit reports",
            )
        version = self.registry.version_of(period.year).version
        carrier = self.settings.config.tsb.module or self.registry.tsb_module(version)
        due = tuple(carrier if module == "tsb" else module for module in due)
        return asked_of(period, due, self.options.modules) if self.options.modules else due

    def _database(self, unit: Unit) -> AbstractContextManager[Reading]:
        from pipelines.database import reading  # noqa: PLC0415 - few runs need SQLAlchemy

        name = unit.database or ""
        return reading(name, self.settings.config.databases[name])

    def _receiver(self, unit: Unit) -> tuple[Receiver, x509.Certificate]:
        config, now = self.settings.config, dt.datetime.now(dt.UTC)
        chosen = receiver(config.profile, now.date())
        if agreed := config.shipping.form:
            fields = agreed.model_dump(exclude={"reference"}, exclude_none=True)
            chosen = chosen.model_copy(update={"form": chosen.form.agreed(fields, agreed.reference)})
        if not chosen.real:
            return chosen, self._rehearsal(RECEIVER).certificate
        given = config.certificates_of(unit)
        mail = given.receiver_mail or chosen.mail or self._mail_of_receiver(given, chosen.unit_her_id)
        holder = Holder(chosen.unit_her_id, frozenset(given.receiver_organisations))
        found = self._of_receiver(given, chosen.unit_her_id)
        certificate = newest(found, Purpose.ENCRYPTION, now, holder, trust_of(given))
        return chosen.model_copy(update={"mail": mail}), certificate

    def _mail_of_receiver(self, given: Certificates, her_id: str) -> str:
        """NPR's mail address by the Address Register; "" where none is given, or no channel mails."""
        config = self.settings.config
        mails = any(one.needs_address and config.profile in one.profiles for one in config.channels.values())
        register = AddressRegister.of(given, self.store)
        return register.party(her_id).edi_address if register and mails else ""

    def _of_receiver(self, given: Certificates, her_id: str) -> list[x509.Certificate]:
        """NPR's certificates, from files or from the Address Register."""
        paths = [*given.receiver, *filter(None, [self.settings.config.shipping.receiver_certificate])]
        if paths:
            return [one for path in paths for one in certificates_in(path)]
        if register := AddressRegister.of(given, self.store):
            return [register.certificate(her_id, Purpose.ENCRYPTION)]
        raise WrongUse(
            f"profile {self.settings.config.profile} has no certificate of the receiver (HER-id {her_id})",
            where="npr.toml, certificates.receiver",
            fix="give the certificate of NPR from the Address Register, as PEM, or certificates.address_register",
        )

    def _signer(self, unit: Unit) -> Signer | None:
        """Who signs for the unit; None outside a rehearsal where no key is given: then the message handler signs."""
        if self.settings.config.profile == "rehearsal":
            pair = self._rehearsal(SENDER)
            return signer(pair.key, pair.certificate)
        return own_signer(unit, self.settings.config.certificates_of(unit), dt.datetime.now(dt.UTC))

    def _rehearsal(self, party: str) -> KeyPair:
        """A party made for rehearsals: anyone with NPR_HOME can open what was encrypted to it, or sign as it."""
        folder = self.store.home / "rehearsal"
        key, certificate = folder / f"{party}-key.pem", folder / f"{party}.pem"
        with self.store.locked("rehearsal"):
            if not certificate.exists():
                folder.mkdir(exist_ok=True)
                made = MAKERS[party](dt.datetime.now(dt.UTC))
                for path, content in zip((key, certificate), made, strict=True):
                    with self.store.writing(path) as room:  # the certificate last: it says that the key is there
                        room.touch(mode=0o600)
                        room.write_bytes(content)
        return key_pair(KeyFile(file=key, certificate=certificate))
