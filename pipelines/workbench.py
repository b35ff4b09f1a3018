"""Opens a partition: puts settings, store, receiver and channel together for one run.

Belongs here: the one resource that the assets get. Does not belong here: what the stages do with it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from cryptography import x509

from assets.ports import Options, Run
from pipelines.channels import channel_of
from pipelines.ledger.book import ledger_of
from pipelines.ledger.owner import owner
from pipelines.rehearsal import make_rehearsal_receiver
from pipelines.schemas_home import registry_of
from pipelines.settings import Settings
from pipelines.store import DiskStore
from schemas.errors import DataRefused, WrongUse
from schemas.period import Period
from schemas.receivers import Receiver, receiver
from schemas.records import Key
from schemas.reporting import modules_for

PIPELINE = f"npr-pipeline {version('npr-pipeline')}"
SOURCES = Path(__file__).parent.parent / "sql" / "sources"


def asked_of(period: Period, due: tuple[str, ...], asked: tuple[str, ...]) -> tuple[str, ...]:
    """The modules asked for, each once, in the order of the report. WrongUse for what the period does not have."""
    there = (*due, *period.on_request)
    if unknown := [module for module in asked if module not in there]:
        raise WrongUse(
            f"{period.key} has no message {', '.join(unknown)[:40]}",
            where="--module",
            rule="messages of a period: docs/calendar.md",
            fix=f"use one or more of: {', '.join(there)}",
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
            receiver=self._receiver,
            channel=lambda name="": channel_of(self.settings.config, unit_key, self.store, name),
            pipeline=PIPELINE,
            owner=owner(),
            progress=self.progress,
            registry=self.registry,
        )

    def _modules(self, period: Period, unit_key: str) -> tuple[str, ...]:
        unit = self.settings.config.units[unit_key]
        due = modules_for(period, unit.kind, unit.isf)
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

    def _receiver(self) -> tuple[Receiver, x509.Certificate]:
        profile = self.settings.config.profile
        chosen = receiver(profile, dt.datetime.now(dt.UTC).date())
        if profile == "rehearsal":
            return chosen, self._rehearsal_certificate()
        path = self.settings.config.shipping.receiver_certificate
        if path is None or not path.is_file():
            raise WrongUse(
                f"profile {profile} has no certificate of the receiver",
                where="npr.toml, shipping.receiver_certificate",
                fix="give the certificate of NPR from the Address Register, as PEM",
            )
        try:
            return chosen, x509.load_pem_x509_certificate(path.read_bytes())
        except ValueError:
            raise WrongUse(f"{path}: no PEM certificate", where="npr.toml, shipping.receiver_certificate") from None

    def _rehearsal_certificate(self) -> x509.Certificate:
        """The receiver made for rehearsals: anyone with NPR_HOME can open what was encrypted to it."""
        folder = self.store.home / "rehearsal"
        with self.store.locked("rehearsal"):
            if not (folder / "receiver.pem").exists():
                key, certificate = make_rehearsal_receiver(dt.datetime.now(dt.UTC))
                with self.store.writing_folder(folder) as room:
                    (room / "receiver-key.pem").touch(mode=0o600)
                    (room / "receiver-key.pem").write_bytes(key)
                    (room / "receiver.pem").write_bytes(certificate)
        return x509.load_pem_x509_certificate((folder / "receiver.pem").read_bytes())
