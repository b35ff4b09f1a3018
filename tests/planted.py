"""Known faults put into load data, all rules asked by the stages of a run, and the findings held against the faults.

Belongs here: lists of codes for such a run, the stages up to findings, the comparison. Does not belong here: the faults
(``transforms.sample.faults``).
"""

from __future__ import annotations

import datetime as dt
import time
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl
import stages

from assets import findings
from assets.ports import Codes, Options, Run
from pipelines.home.codes import carried
from pipelines.sample import write_parquet
from pipelines.settings import load_settings
from pipelines.workbench import DiskWorkbench
from schemas.contract import load_contract
from schemas.errors import DataRefused
from schemas.records import Findings
from transforms.code_validity import CodeTables, Edition, code_tables
from transforms.sample.faults import (
    CODES,
    FEEDING,
    ORGANISATIONS,
    PLANTED,
    YEAR,
    Frames,
    cleaned,
    plant,
    plants,
    spares,
)
from transforms.sample.hospital import YEAR_2020, generate, profile_of

ROOT = Path(__file__).parent.parent
UNIT = "nordfjell"
SPAN = (dt.date(YEAR - 4, 1, 1), dt.date(YEAR + 1, 12, 31))


@dataclass(frozen=True)
class Result:
    """planted: what must be found. missed, false: lines of PLANTED (without change) that lack or are too many."""

    planted: pl.DataFrame
    missed: pl.DataFrame
    false: pl.DataFrame
    record: Findings
    seconds: float

    @property
    def faults(self) -> int:
        """How many records were spoiled."""
        return self.planted["fault"].n_unique()


def clean(episodes: int, patients: int) -> Frames:
    """Load data without a fault."""
    return cleaned(generate(profile_of(UNIT), episodes=episodes, patients=patients, seed=2020, window=YEAR_2020))


def spoiled(frames: Frames, count: int) -> tuple[Frames, pl.DataFrame]:
    """The same with up to ``count`` faults of each kind."""
    return plant(frames, plants(spares(frames, load_contract())), count)


def codes_of(frames: Frames) -> CodeTables:
    """Lists of a run: the carried ones without the spare codes, and loaded ones that hold what the clean data use."""
    spare = spares(frames, load_contract())
    editions = [replace(one, codes=one.codes.filter(pl.col("code") != spare.get(one.name, ""))) for one in carried()]
    used = pl.concat([frames[name].select("Kodeverk", "kodeVerdi") for name in ("conditions", "procedures")]).unique()
    loaded = {name: used.filter(pl.col("Kodeverk") == letter)["kodeVerdi"] for letter, name in FEEDING.items()}
    loaded |= {"resh": frames["units"]["reshID"].drop_nulls(), "orgnr": frames["units"]["orgNr"].drop_nulls()}
    added = {"icd10": CODES, "orgnr": ORGANISATIONS}
    editions += [_edition(name, [*codes.unique(), *added.get(name, ())]) for name, codes in loaded.items()]
    return code_tables(editions, {letter: (name,) for letter, name in FEEDING.items()})


def _edition(name: str, codes: list[str]) -> Edition:
    days = {"valid_from": pl.lit(None, pl.Date), "valid_to": pl.lit(None, pl.Date)}
    return Edition(
        name, *SPAN, pl.DataFrame({"code": sorted(set(codes))}, schema={"code": pl.String}).with_columns(**days)
    )


def opened(home: Path, extract: Path, codes: CodeTables) -> Run:
    """A run of the year over an extract."""
    settings = load_settings(config=ROOT / "npr.toml", home=home)
    run = DiskWorkbench(settings, Options(extract=extract)).open(f"{YEAR}-A|{UNIT}")
    return replace(run, codes=lambda: Codes(codes, "planted"))


def asked(room: Path, frames: Frames, codes: CodeTables, planted: pl.DataFrame) -> Result:
    """Write the frames, run the stages up to findings, and compare."""
    write_parquet(room / "extract", UNIT, frames)
    run = opened(room / "home", room / "extract", codes)
    for stage in stages.MAKING[: stages.MAKING.index(findings.findings)]:
        stage(run)
    began = time.perf_counter()
    try:
        findings.findings(run)
    except DataRefused as refused:  # some faults make NPR drop the whole message; all are found nevertheless
        if "drop a whole message" not in refused.what:
            raise
    seconds = time.perf_counter() - began
    found = pl.read_parquet(run.store.table("finding", "findings", run.key)).select("rule", "table", "_row", "module")
    wanted = planted.select("rule", "table", "_row")
    sides = ["rule", "table", "_row"]
    return Result(
        planted=planted,
        missed=planted.join(found, on=sides, how="anti"),
        # One line for each finding of a message: a second one of the same row is one too many.
        false=pl.concat([
            found.join(wanted, on=sides, how="anti"),
            found.filter(~pl.struct(*sides, "module").is_first_distinct()),
        ]),
        record=run.store.load("findings", run.key, Findings),
        seconds=seconds,
    )  # fmt: skip


__all__ = ["PLANTED", "Result", "asked", "clean", "codes_of", "spoiled"]
