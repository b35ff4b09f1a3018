"""Numbers and reports for tests of the guard: real in shape, of nobody, and made while a test runs.

A number that looks like a real person's may be somebody's, so none is stored in this repository. Those made here have
birth dates of 1854 to 1857. The first numbers were given out in October 1964, to people who lived then: whoever has
such a number would have been 106 or more. Their form, century and control digits are right, and no series of synthetic
numbers holds them, so nothing but the birth year tells them from the numbers of patients.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl
import stages
from conftest import ROOT, SAMPLE

from assets import dispatch
from assets.ports import Options, Run
from pipelines.channels import OutboxFolder
from pipelines.parties.rehearsal import make_rehearsal_receiver
from pipelines.settings import Settings, load_settings
from pipelines.workbench import DiskWorkbench
from schemas.decisions import Decision, DecisionKind
from schemas.identity_facts import identity_facts
from schemas.records import Manifest

PERIOD, UNIT = "2020-M03", "sorvik"
PATIENTS = 12
OFFSETS = {"plain": 0, "nav": 40, "nhn": 65, "tenor": 80}


def numbers(count: int, *, series: str = "plain", d_number: bool = False) -> list[str]:
    """``count`` different numbers with right control digits: real in shape, or of a synthetic series."""
    control = identity_facts().control
    found: list[str] = []
    born = np.datetime64("1854-01-01") + np.arange(4 * 365)
    for person in range(500, 750):
        months = born.astype("datetime64[M]")
        day = (born - months).astype(np.int64) + 1 + 40 * d_number
        month = months.astype(np.int64) % 12 + 1 + OFFSETS[series]
        year = (born.astype("datetime64[Y]").astype(np.int64) + 1970) % 100
        nine = (day * 100 + month) * 10**5 + year * 1000 + person
        digits = nine[:, None] // 10 ** np.arange(8, -1, -1) % 10
        k1 = -(digits @ np.array(control.first)) % 11
        k2 = -(np.column_stack([digits, k1]) @ np.array(control.second)) % 11
        found += [f"{n:011d}" for n in (nine * 100 + k1 * 10 + k2)[(k1 < 10) & (k2 < 10)].tolist()]
        if len(found) >= count:
            break
    return found[:count]


@cache
def crowd() -> pl.DataFrame:
    """100 000 numbers real in shape, as the identity table holds them."""
    return pl.DataFrame({"fid": numbers(100_000)}).with_columns(typeID=pl.lit("1"))


@dataclass
class Delivery:
    """What a hospital delivers, to be spoiled: table -> rows as text, and the words of extract.toml."""

    tables: dict[str, pl.DataFrame] = field(default_factory=dict)
    environment: str = "production"
    source_system: str = "Eksempel EPJ"
    names: dict[str, str] = field(default_factory=dict)  # table -> name of its file

    def put(self, table: str, column: str, place: int, value: str) -> str:
        """Put a value in; gives the one that stood there."""
        cells = self.tables[table][column].to_list()
        before, cells[place] = cells[place], value
        self.tables[table] = self.tables[table].with_columns(pl.Series(column, cells, dtype=pl.String))
        return str(before)

    def rename(self, column: str, value: str) -> None:
        """Change a key in every table that has it: of the first episode that the period reports, or its patient."""
        reported = self.tables["episodes"].filter(pl.col("innDatoTid").str.starts_with("2020-02"))
        before = reported[column][0]
        for name, frame in self.tables.items():
            if column in frame.columns:
                renamed = pl.when(pl.col(column) == before).then(pl.lit(value)).otherwise(column).alias(column)
                self.tables[name] = frame.with_columns(renamed)

    def write(self, folder: Path) -> Path:
        """Write it as an extract."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        lines = [
            f'contract = "1"\nsource_system = "{self.source_system}"\nenvironment = "{self.environment}"',
            f'extracted_at = 2021-01-04T03:00:00\nreporting_unit = "{UNIT}"',
        ]
        for table, frame in self.tables.items():
            name = self.names.get(table, f"{table}.csv")
            (folder / name).parent.mkdir(exist_ok=True)
            frame.write_csv(folder / name)
            lines.append(
                f'[files.{table}]\npath = "{name}"\nrows = {frame.height}\nseparator = ","\nencoding = "utf-8"'
            )
        (folder / "extract.toml").write_text("\n".join(lines), encoding="utf-8")
        return folder


@cache
def _sample() -> Mapping[str, pl.DataFrame]:
    tables = {
        path.stem: pl.read_csv(path, infer_schema=False, encoding="windows-1252")
        for path in sorted((SAMPLE / UNIT).glob("*.csv"))
        if path.stem != "tsb_starts"
    }
    recent = tables["episodes"].filter(pl.col("innDatoTid").str.starts_with("2020-0"))
    chosen = recent.filter(pl.col("innDatoTid") < "2020-03-20")["pasientNr"].unique().sort().head(PATIENTS)
    own = {name: frame.filter(pl.col("pasientNr").is_in(chosen.implode())) for name, frame in tables.items()
           if "pasientNr" in frame.columns}  # fmt: skip
    keys = {"episodeID": own["episodes"]["episodeID"], "henvisningsperiodeID": own["referrals"]["henvisningsperiodeID"]}
    for name, frame in tables.items():
        key = next((key for key in keys if key in frame.columns), None)
        if name not in own:
            own[name] = frame.filter(pl.col(key).is_in(keys[key].implode())) if key else frame
    own["identities"] = own["identities"].with_columns(fid=pl.Series(numbers(PATIENTS)), typeID=pl.lit("1"))
    return own


def delivery() -> Delivery:
    """A small report without a fault: few patients of the sample, with numbers that look real."""
    return Delivery(dict(_sample()))


@cache
def _receiver() -> tuple[bytes, bytes]:
    """Key and certificate of the receiver of all desks."""
    return make_rehearsal_receiver(datetime.now(UTC))


@dataclass
class Desk:
    """One home with a profile that addresses NPR, and a receiver whose key only the test has."""

    home: Path
    profile: str = "production"
    limit: int | None = None
    institution: str = ""
    known: tuple[dict[str, str], ...] = ()

    def settings(self) -> Settings:
        certificate = self.home.parent / "receiver" / "receiver.pem"
        if not certificate.exists():
            certificate.parent.mkdir(parents=True)
            key, pem = _receiver()
            certificate.write_bytes(pem)
            certificate.with_name("receiver-key.pem").write_bytes(key)
        read = load_settings(config=ROOT / "npr.toml", home=self.home, profile=self.profile)
        config = read.config.model_dump()
        config["shipping"] |= {
            "receiver_certificate": certificate,
            "split_agreement": {"who": "NPR", "when": "2020-01-01", "reference": "test"},
        }
        own = {"institusjonID": self.institution} if self.institution else {}
        config["units"][UNIT] |= {"known": self.known, **own}
        return Settings(type(read.config).model_validate(config), self.home, read.path)

    def run(self, extract: Path) -> Run:
        """The partition, with a channel into a folder in any profile."""
        bench = DiskWorkbench(self.settings(), Options(extract=extract, limit_bytes=self.limit))
        bench.store.prepare()
        return dataclasses.replace(
            bench.open(f"{PERIOD}|{UNIT}"),
            channel=lambda _name="": OutboxFolder(bench.store),
        )

    def prepare(self, extract: Path, between: Callable[[Run, str], None] = lambda _run, _stage: None) -> Run:
        """All stages but the hand-over. between: called after each stage, to break something."""
        run = self.run(extract)
        for stage in stages.MAKING:
            stage(run)
            between(run, stage.__name__)
        return run

    def send(self, extract: Path, between: Callable[[Run, str], None] = lambda _run, _stage: None) -> None:
        """All stages."""
        run = self.prepare(extract, between)
        self.decide(run)
        dispatch.dispatch(run)

    def decide(self, run: Run) -> None:
        """Named persons have said yes to all that the guard has no word in, so that it stands alone."""
        manifest = run.store.load("manifest", run.key, Manifest)
        for kind, content in ((DecisionKind.ACCEPT, manifest.content), (DecisionKind.APPROVE, manifest.sealed())):
            run.ledger.decide(
                Decision(
                    kind=kind,
                    period=run.key.period,
                    unit=run.key.unit,
                    subject=self.profile,
                    by="Kari Nordmann",
                    at=run.now(),
                    submission=manifest.submission,
                    content=content,
                )
            )

    @property
    def left(self) -> list[Path]:
        """What was handed over."""
        return sorted((self.home / "outbox").rglob("*.eml"))
