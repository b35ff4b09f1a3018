"""A small report on its whole way by the commands: prepared by the stages, sent, answered, and looked at by ``npr``.

Belongs here: one installation with a folder channel towards the register, and answers made for what it sent. Does not
belong here: what is expected of it.

The reports are those of ``guarded``: numbers that look real and are nobody's, so that the guard lets them pass.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
from click.testing import CliRunner
from conftest import ROOT, Outcome
from guarded import PERIOD, UNIT, Delivery

from assets import findings, fragments, messages, scope, shipments, snapshot, staging
from assets.ports import Options
from pipelines.home.store import DiskStore
from pipelines.ledger.book import SqlLedger, ledger_of
from pipelines.parties.rehearsal import make_rehearsal_receiver
from pipelines.settings import load_settings
from pipelines.workbench import DiskWorkbench
from schemas.records import Key, Manifest
from schemas.sending import SentPart

KEY = Key(period=PERIOD, unit=UNIT)
STAGES = (snapshot.take, staging.stage, scope.scope, messages.messages, findings.findings, fragments.fragments,
          shipments.shipments)  # fmt: skip
CHANNEL = """
[channels.drop]
kind = "folder"
path = "{place}/drop"
profiles = ["validation", "production"]
[inbox]
folders = ["{place}/inbox"]
"""


@dataclass(frozen=True)
class Installation:
    """One home with its npr.toml. drop: what left; inbox: where answers arrive."""

    place: Path

    @property
    def home(self) -> Path:
        """NPR_HOME."""
        return self.place / "var"

    @property
    def ledger(self) -> SqlLedger:
        """The ledger."""
        return ledger_of(self.home)

    @property
    def dropped(self) -> list[str]:
        """Names of the mails that left."""
        return sorted(path.name for path in (self.place / "drop").glob("*.eml"))

    def npr(self, *args: str) -> Outcome:
        """One command."""
        from pipelines.cli import cli  # noqa: PLC0415 - the command line imports what it needs when it runs

        given = ["--home", str(self.home), "--config", str(self.place / "npr.toml"), *args]
        result = CliRunner().invoke(cli, given)
        return Outcome(result.exit_code, result.stdout, result.stderr)

    def json(self, *args: str) -> Any:  # noqa: ANN401 - any JSON value
        """What a command says, which must go well."""
        outcome = self.npr(*args, "--json")
        assert outcome.code == 0, outcome.err
        return outcome.json

    def prepare(self, given: Delivery, profile: str) -> Manifest:
        """All stages but the hand-over."""
        settings = load_settings(config=self.place / "npr.toml", home=self.home, profile=profile)
        bench = DiskWorkbench(settings, Options(extract=given.write(self.place / "extract")))
        bench.store.prepare()
        run = bench.open(f"{PERIOD}|{UNIT}")
        for stage in STAGES:
            stage(run)
        return run.store.load("manifest", run.key, Manifest)

    def rows(self) -> dict[str, int]:
        """Episode -> its row in the staged table."""
        frame = pl.read_parquet(DiskStore(self.home).table("staging", "episodes", KEY), columns=["episodeID", "_row"])
        return dict(frame.iter_rows())

    def submit(self, profile: str) -> Outcome:
        """``npr submit``."""
        return self.npr("submit", PERIOD, "--unit", UNIT, "--to", profile)

    def parts(self, number: int) -> dict[str, SentPart]:
        """Parts of a submission by module."""
        return {part.module: part for part in self.ledger.parts(KEY, number)}

    def states(self, number: int) -> set[str]:
        """States of the parts of a submission."""
        return {part.state.value for part in self.parts(number).values()}

    def arrive(self, name: str, data: bytes) -> None:
        """A file comes into the inbox, written a minute ago."""
        path = self.place / "inbox" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        os.utime(path, (time.time() - 60,) * 2)

    def take_in(self) -> Any:  # noqa: ANN401 - any JSON value
        """``npr inbox``: exit code 1 in the look that sets a file aside, and then alone."""
        outcome = self.npr("inbox", "--json")
        assert outcome.code == bool(outcome.json["aside"]), outcome.err
        return outcome.json

    def theirs(self, *args: str) -> list[dict[str, Any]]:
        """NPR's lines of the work list."""
        (told,) = self.json("findings", PERIOD, "--unit", UNIT, *args)
        return [row for row in told["findings"] if row["origin"] == "NPR"]


def installation(place: Path) -> Installation:
    """A new installation of the sample's unit, with a receiver whose key nobody has."""
    text = (ROOT / "npr.toml").read_text(encoding="utf-8")
    _, certificate = make_rehearsal_receiver(datetime.now(UTC))
    (place / "receiver.pem").write_bytes(certificate)
    text = text.replace("[shipping]\n", '[shipping]\nreceiver_certificate = "receiver.pem"\n')
    (place / "npr.toml").write_text(text + CHANNEL.format(place=place), encoding="utf-8")
    return Installation(place)


# --- answers ---


def content_report(part: SentPart, rows: str = "", total: int | None = None, name: str = "csv") -> bytes:
    """NPR_ERR of a part, in CSV or html. rows: ``code;class;attribute;episodeID;action`` line by line."""
    head = {"Løpenummer": part.lopenr, "institusjonID": part.institusjon_id, "fraDatoPeriode": "2020-01-01"}
    if total is not None:
        head["Antall feil"] = total
    columns = "Feilkode;Klasse;Attributt;EpisodeID;Handling;Feiltekst"
    if name == "csv":
        lines = "".join(f"{key};{value}\n" for key, value in head.items())
        return f"{lines}\n{columns}\n{rows}".encode("cp1252")
    told = "".join(f"<p>{key}: {value}</p>" for key, value in head.items())
    cells = "".join(f"<tr><td>{line.replace(';', '<td>')}" for line in rows.splitlines())
    heading = f"<tr><th>{columns.replace(';', '<th>')}"
    return f"<html><head><title>NPR_ERR</title></head>{told}<table>{heading}{cells}</table></html>".encode()


def episodes(given: Delivery) -> list[str]:
    """Ids of the episodes that the period reports."""
    frame = given.tables["episodes"].filter(pl.col("utDatoTid").str.starts_with("2020-0"))
    return frame["episodeID"].to_list()
