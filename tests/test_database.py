"""Extracts out of a database: a real PostgreSQL, the example mapping, and what a database can do wrong."""

from __future__ import annotations

import datetime as dt
import json
import tomllib
import tracemalloc
import weakref
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import ehr
import polars as pl
import psycopg
import pytest
import stages
from conftest import ROOT, SAMPLE, call
from polars.testing import assert_frame_equal
from servers import Postgres

from assets import pulling, snapshot, staging
from assets.ports import Options, Query, Reading, Run
from pipelines import database
from schemas.config import Config, Database
from schemas.contract import load_contract
from schemas.errors import DataRefused, NprError, WrongUse
from schemas.records import Snapshot
from transforms.extract.typed_text import as_text, matched

pytestmark = pytest.mark.xdist_group("servers")

CONTRACT = load_contract()
REQUIRED = [table.name for table in CONTRACT if table.required]
SOURCES = ROOT / "sql" / "sources"
VALUE = "Hemmeligsen"  # stands in a row, and must stand in no message
SECRET = "pass-word-of-tests"
UNIT = "sorvik"


# --- tools ------------------------------------------------------------------------------------------------------------


def _config(batch: int = 1000, environment: str = "test") -> Config:
    raw = tomllib.loads((ROOT / "npr.toml").read_text(encoding="utf-8"))
    raw["units"][UNIT] |= {"database": "ehr", "source": "example_ehr", "extract": None}
    raw["databases"] = {"ehr": {"environment": environment, "batch": batch}}
    return Config.model_validate(raw)


def _run(home: Path, url: str, *, batch: int = 1000, sources: Path = SOURCES, config: Config | None = None) -> Run:
    """A run of the unit over the database; the first stages ask for nothing else of the outside."""
    config = config or _config(batch)

    def opened() -> AbstractContextManager[Reading]:
        return database.reading("ehr", config.databases["ehr"].model_copy(update={"secrets": _secrets(home, url)}))

    options = Options(source=None if sources is SOURCES else "tiny")
    return replace(stages.first_stages(home, "2020-T1", UNIT, config, options, sources), database=opened)


def _secrets(home: Path, url: str) -> Path:
    home.mkdir(exist_ok=True)
    path = home / "ehr.toml"
    path.touch(mode=0o600)
    path.write_text(f"url = {json.dumps(url)}\n", encoding="utf-8")
    return path


def _frame(run: Run, record: Snapshot, table: str) -> pl.DataFrame:
    folder = run.store.snapshot(UNIT, record.id, identity=CONTRACT.tables[table].identity)
    return pl.read_parquet(folder / f"{table}.parquet")


@pytest.fixture(scope="module")
def sample(postgres: Postgres) -> str:
    """The record system with the rows of the second sample unit; its address for the role that may only read."""
    frames = {}
    for path in (SAMPLE / UNIT).glob("*.csv"):
        text = path.read_bytes().decode("cp1252").encode()
        frames[path.stem] = pl.read_csv(text, infer_schema=False).lazy()
    ehr.fill(postgres.create("ehr"), frames)
    user, password = ehr.READER
    return postgres.url("ehr", user=user, password=password)


@pytest.fixture(scope="module")
def wards(postgres: Postgres) -> str:
    """A database with one table for the mapping ``tiny``."""
    url = postgres.create("wards")
    with psycopg.connect(url) as db:
        db.execute("CREATE TABLE ward (key text, name text, opened date, number int)")
        db.execute("INSERT INTO ward VALUES ('B', %s, '2020-01-01', 1), ('A', '', NULL, NULL)", [VALUE])
        db.execute("CREATE SEQUENCE s")
        db.execute(
            f"DO $$ BEGIN CREATE ROLE few LOGIN PASSWORD '{SECRET}'; EXCEPTION WHEN duplicate_object THEN END $$"
        )
    return url


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A whole mapping over that table, to be spoiled; returns the folder of mappings."""
    place = tmp_path / "sources" / "tiny"
    place.mkdir(parents=True)
    (place / "source.toml").write_text('kind = "database"\n[extract]\nsource_system = "Tiny"\n', encoding="utf-8")
    for name in REQUIRED:
        columns = ", ".join(f"NULL AS {c.name}" for c in CONTRACT.tables[name].columns if c.required)
        (place / f"{name}.sql").write_text(f"SELECT {columns} WHERE false", encoding="utf-8")
    (place / "units.sql").write_text("SELECT key AS enhetID, name AS enhetNavn FROM ward", encoding="utf-8")
    return place.parent


# --- the example mapping ----------------------------------------------------------------------------------------------


def test_a_database_gives_what_the_same_rows_in_files_give(sample: str, tmp_path: Path) -> None:
    pulled, filed = _run(tmp_path / "a", sample), _run(tmp_path / "b", sample)
    files = replace(filed, options=Options(SAMPLE / UNIT))
    for run in (pulled, files):
        snapshot.take(run)
        staging.stage(run)
    for table in CONTRACT:
        frames = []
        for run in (pulled, files):
            path = run.store.table("staging", table.name, run.key, identity=table.identity)
            frames.append(pl.read_parquet(path).drop("_row").sort(table.key))
        assert_frame_equal(*frames)
    assert pulled.store.load("snapshot", pulled.key, Snapshot).rows()["episodes"] == 400


def test_npr_run_goes_the_whole_way_from_a_database(sample: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "npr.toml").read_text(encoding="utf-8").replace("data/sample", str(SAMPLE))
    config = home.parent / "npr.toml"
    config.write_text(
        text.replace(f"[units.{UNIT}]\n", f'[units.{UNIT}]\ndatabase = "ehr-copy"\n')
        + '\n[databases.ehr-copy]\nenvironment = "test"\n',
        encoding="utf-8",
    )
    monkeypatch.setenv("NPR_DB_EHR_COPY_URL", sample)
    wanted = ("run", "2020-T1", "--unit", UNIT, "--source", "example_ehr", "--config", config, "--json")
    first = call(*wanted, home=home)
    assert first.code == 0, first.err
    assert {part["module"] for part in first.json["shipments"]} == {"ord", "ide", "sbs"}
    assert first.json["rows"]["episodes"]["in"] == 400
    manifest = json.loads(Path(first.json["manifest"]).read_text(encoding="utf-8"))
    assert (manifest["snapshot"]["environment"], manifest["snapshot"]["source"]) == ("test", "example_ehr")
    password = ehr.READER[1].encode()
    assert not [path for path in home.rglob("*") if path.is_file() and password in path.read_bytes()]


def test_identities_are_split_off_at_the_first_step(sample: str, tmp_path: Path) -> None:
    run = _run(tmp_path, sample)
    record = snapshot.take(run)
    assert snapshot.take(run) == record, "the same rows on the same day are the same snapshot"
    assert not (run.store.snapshot(UNIT, record.id) / "identities.parquet").exists()
    assert _frame(run, record, "identities").height > 50
    assert (tmp_path / "identity").stat().st_mode & 0o077 == 0
    assert not list(tmp_path.rglob("tmp/*")), "parts of the way are gone"


def test_snapshot_depends_on_rows_and_neither_on_batches_nor_on_their_order(
    sample: str, postgres: Postgres, tmp_path: Path
) -> None:
    runs = [_run(tmp_path / str(batch), sample, batch=batch) for batch in (7, 100_000)]
    first = snapshot.take(runs[0])
    with postgres.connect("ehr") as db:
        before = db.execute("SELECT encounter_no FROM ehr.encounter").fetchall()
        db.execute("CREATE INDEX other ON ehr.encounter (ward, encounter_no)")
        db.execute("CLUSTER ehr.encounter USING other")
        assert db.execute("SELECT encounter_no FROM ehr.encounter").fetchall() != before
    second = snapshot.take(runs[1])
    assert first.model_dump(exclude={"extracted_at"}) == second.model_dump(exclude={"extracted_at"})
    for table in CONTRACT:
        contents = set()
        for run in runs:
            folder = run.store.snapshot(UNIT, first.id, identity=table.identity)
            contents.add((folder / f"{table.name}.parquet").read_bytes())
        assert len(contents) == 1, table.name


def test_the_digest_is_that_of_the_table_as_a_csv_file(sample: str, tmp_path: Path) -> None:
    """Rows that arrive as a file in that form give the same digest, count and Parquet file."""
    run = _run(tmp_path, sample)
    record = snapshot.take(run)
    folder, lines = tmp_path / "files", [f'reporting_unit = "{UNIT}"', 'source_system = "x"', 'environment = "test"']
    folder.mkdir()
    lines += [f"extracted_at = {record.extracted_at.isoformat()}"]
    for file in record.files:
        _frame(run, record, file.table).drop("_row").write_csv(folder / f"{file.table}.csv")
        lines += [f"[files.{file.table}]", f'path = "{file.table}.csv"', f"rows = {file.rows}"]
    (folder / "extract.toml").write_text("\n".join(lines), encoding="utf-8")
    files = _run(tmp_path / "b", sample)
    other = replace(files, options=Options(folder))
    delivered = snapshot.take(other)
    for mine, theirs in zip(record.files, delivered.files, strict=True):
        assert (mine.table, mine.rows, mine.bytes, mine.sha256) == (
            theirs.table,
            theirs.rows,
            theirs.bytes,
            theirs.sha256,
        )
        assert_frame_equal(_frame(run, record, mine.table), _frame(other, delivered, mine.table))


# --- one moment, read only, one batch at a time -----------------------------------------------------------------------


def _query(sql: str) -> Query:
    return Query("tiny/units.sql", sql, {"period_from": dt.date(2020, 1, 1)})


def test_all_queries_see_one_moment(wards: str, tmp_path: Path) -> None:
    with _run(tmp_path, wards).database() as reading:
        before = reading.count(_query("SELECT * FROM ward"))
        with psycopg.connect(wards) as other:
            other.execute("INSERT INTO ward (key) VALUES ('C')")
        assert reading.count(_query("SELECT * FROM ward")) == before
    with _run(tmp_path, wards).database() as reading, psycopg.connect(wards) as other:
        assert reading.count(_query("SELECT * FROM ward")) == before + 1
        other.execute("DELETE FROM ward WHERE key = 'C'")


def test_nothing_can_be_written(wards: str, tmp_path: Path) -> None:
    with _run(tmp_path, wards).database() as reading, pytest.raises(DataRefused, match="the query writes"):
        reading.count(_query("SELECT nextval('s')"))


class _Watched:
    """A reading that looks on: how large a batch is, and whether the one before is gone when the next is asked for."""

    def __init__(self, reading: Reading) -> None:
        self.began = reading.began
        self._reading = reading
        self.batches: list[int] = []
        self.cursors = 0

    def count(self, query: Query) -> int:
        return self._reading.count(query)

    def rows(self, query: Query) -> tuple[Sequence[str], Iterator[Sequence[tuple[Any, ...]]]]:
        names, batches = self._reading.rows(query)
        return names, self._watch(batches)

    def _watch(self, batches: Iterator[Sequence[tuple[Any, ...]]]) -> Iterator[Sequence[tuple[Any, ...]]]:
        alive: weakref.ref[_Rows] | None = None
        while (rows := next(batches, None)) is not None:
            assert alive is None or alive() is None, "two batches are held"
            kept = [_Rows(rows)]
            alive = weakref.ref(kept[0])
            self.batches.append(len(rows))
            asking = self._reading._connection.exec_driver_sql("SELECT count(*) FROM pg_cursors WHERE name <> ''")  # type: ignore[attr-defined]
            self.cursors = max(self.cursors, asking.scalar_one())
            del rows
            yield kept.pop()


class _Rows(list):  # type: ignore[type-arg]
    """A list that can be watched."""


def test_no_more_than_one_batch_is_held(wards: str, tiny: Path, tmp_path: Path) -> None:
    rows, batch = 20_000, 500
    sql = "SELECT 'U' || i AS enhetID, repeat('x', 40) || i AS enhetNavn FROM generate_series(1, 20000) AS i"
    (tiny / "tiny" / "units.sql").write_text(sql, encoding="utf-8")
    run = _run(tmp_path / "home", wards, batch=batch, sources=tiny)
    seen: list[_Watched] = []

    @contextmanager
    def watching() -> Iterator[_Watched]:
        with run.database() as reading:
            seen.append(_Watched(reading))
            yield seen[0]

    watched = replace(run, database=watching)
    tracemalloc.start()
    record = snapshot.take(watched)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert record.rows()["units"] == rows
    assert seen[0].batches == [batch] * (rows // batch)
    assert seen[0].cursors == 1, "the server keeps the rows, and the client asks for a batch at a time"
    assert peak < 4_000_000, "all rows as Python objects take three times that"


# --- refusals ---------------------------------------------------------------------------------------------------------

UNITS = "SELECT key AS enhetID, name AS enhetNavn FROM ward"
REFUSALS = {
    "missing table": ("SELECT key AS enhetID FROM wards", WrongUse, 'relation "wards" does not exist'),
    "missing column": ("SELECT code AS enhetID FROM ward", WrongUse, 'column "code" does not exist'),
    "syntax": ("SELECT key AS enhetID FRM ward", WrongUse, "syntax error"),
    "two statements": ("SELECT key AS enhetID FROM ward; DROP TABLE ward", WrongUse, "syntax error"),
    "no select": ("DELETE FROM ward RETURNING key AS enhetID", WrongUse, "syntax error"),
    "column of no table": ("SELECT key AS enhetID, name AS nurse FROM ward", WrongUse, "does not have"),
    "required column": ("SELECT name AS enhetNavn FROM ward", WrongUse, "lacks columns"),
    "column twice": ("SELECT key AS enhetID, key AS EnhetId FROM ward", WrongUse, "a column twice"),
    "parameter": ("SELECT key AS enhetID FROM ward WHERE key = :nurse", WrongUse, "parameters that there are not"),
    "date for a text": ("SELECT opened AS enhetID FROM ward", DataRefused, "is of type date"),
    "boolean for a code": ("SELECT key AS enhetID, true AS sektor FROM ward", DataRefused, "is of type bool"),
    "bytes for a text": ("SELECT key::bytea AS enhetID FROM ward", DataRefused, "is of type bytes"),
    "value that does not convert": ("SELECT (name::int)::text AS enhetID FROM ward", DataRefused, "does not convert"),
    "control total": (
        "SELECT key AS enhetID FROM ward, generate_series(1, (random() * 1000000)::int % 1000)",
        DataRefused,
        "but the database counts",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_wrong_query_is_named_without_a_value_of_a_row(case: str, wards: str, tiny: Path, tmp_path: Path) -> None:
    sql, kind, said = REFUSALS[case]
    (tiny / "tiny" / "units.sql").write_text(sql, encoding="utf-8")
    run = _run(tmp_path / "home", wards, sources=tiny)
    with pytest.raises(kind) as refusal:
        snapshot.take(run)
    _insist_telling(refusal.value, said)
    assert not list((tmp_path / "home").rglob("*.parquet")), "nothing is kept"


def _insist_telling(refusal: BaseException, said: str, *, place: str = "tiny/units.sql") -> None:
    """What the message must say, and what neither it nor what hangs on it may hold."""
    assert isinstance(refusal, NprError)
    text = str(refusal)
    assert said in text
    assert place in text
    assert refusal.fix
    assert VALUE not in text
    assert SECRET not in text
    assert refusal.__suppress_context__ or refusal.__context__ is None


def test_a_role_without_rights_is_told_what_it_lacks(
    postgres: Postgres, wards: str, tiny: Path, tmp_path: Path
) -> None:
    assert wards
    url = postgres.url("wards", user="few", password=SECRET)
    with pytest.raises(WrongUse) as refusal:
        snapshot.take(_run(tmp_path / "home", url, sources=tiny))
    _insist_telling(refusal.value, "permission denied for table ward")


def test_a_lost_connection_keeps_nothing(postgres: Postgres, wards: str, tmp_path: Path, capfd: Any) -> None:  # noqa: ANN401
    ending = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'npr-pipeline'"

    def lose() -> None:
        with _run(tmp_path, wards, batch=10).database() as reading:
            _, batches = reading.rows(_query("SELECT key AS enhetID FROM ward, generate_series(1, 100000)"))
            next(batches)
            with postgres.connect() as db:
                db.execute(ending)
            list(batches)

    with pytest.raises(DataRefused) as refusal:
        lose()
    assert "connection was lost" in str(refusal.value) or "ended the query" in str(refusal.value)
    assert capfd.readouterr().err == ""


def test_wrong_addresses_and_passwords_are_told_apart(postgres: Postgres, tmp_path: Path) -> None:
    good = postgres.url("postgres")
    cases = {
        postgres.url("postgres", password=SECRET): (WrongUse, "refuses user or password"),
        postgres.url("postgres", user="nobody", password=SECRET): (WrongUse, "refuses user or password"),
        postgres.url("not_there"): (WrongUse, "no database of that name"),
        good.replace(f":{postgres.port}/", ":9/"): (DataRefused, "cannot be reached"),
        good.replace("127.0.0.1", "no-such-host.invalid"): (DataRefused, "cannot be reached"),
        f"oracle://u:{SECRET}@host/db": (WrongUse, "none of the kinds"),
        f"u:{SECRET}@host/db": (WrongUse, "is none"),
        f"postgresql://u:{SECRET}@host:port/db": (WrongUse, "is none"),
    }
    for url, (kind, said) in cases.items():
        with pytest.raises(kind) as refusal, _run(tmp_path, url).database():
            raise AssertionError("opened")
        _insist_telling(refusal.value, said, place="databases.ehr")
        assert postgres.password not in str(refusal.value)
        assert "127.0.0.1" not in str(refusal.value)


def test_credentials_come_from_environment_before_file_and_from_private_files_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ehr.toml"
    path.write_text('user = "from-file"\npassword = "p@ss/word"\n', encoding="utf-8")
    path.chmod(0o600)
    given = Database(environment="test", url="postgresql://host:5432/db", secrets=path)
    assert database.address("ehr", given).render_as_string(hide_password=False) == (
        "postgresql://from-file:p%40ss%2Fword@host:5432/db"
    )
    monkeypatch.setenv("NPR_DB_EHR_USER", "from-environment")
    assert database.address("ehr", given).username == "from-environment"
    path.chmod(0o640)
    with pytest.raises(WrongUse, match="is open to others"):
        database.address("ehr", given)
    path.chmod(0o600)
    for content in ("password = 1\n", 'pass = "x"\n', "password\n"):
        path.write_text(content, encoding="utf-8")
        with pytest.raises(WrongUse, match=r"not as agreed|not TOML"):
            database.address("ehr", given)
    with pytest.raises(WrongUse, match="No such file"):
        database.address("ehr", given.model_copy(update={"secrets": tmp_path / "none"}))
    with pytest.raises(WrongUse, match="has no address"):
        database.address("other", Database(environment="test"))
    with pytest.raises(ValueError, match=r"do not belong into npr\.toml"):
        Database(environment="test", url=f"postgresql://u:{SECRET}@host/db")
    with pytest.raises(ValueError, match="environment"):
        Database.model_validate({"url": "postgresql://host/db"})


def test_gates_hold_for_databases_too(sample: str, tmp_path: Path) -> None:
    config = _config().model_copy(update={"profile": "validation"})
    with pytest.raises(DataRefused, match="comes from a test environment"):
        snapshot.take(_run(tmp_path, sample, config=config))
    run = _run(tmp_path, sample)

    @contextmanager
    def early() -> Iterator[Reading]:
        with run.database() as reading:
            reading.began = dt.datetime(2020, 4, 29, 23, 59)
            yield reading

    with pytest.raises(DataRefused, match="taken before 2020-T1 ended"):
        snapshot.take(replace(run, database=early))
    unit = run.unit.model_copy(update={"database": None})
    homeless = replace(run, unit=unit)
    with pytest.raises(WrongUse, match="has no database"):
        snapshot.take(homeless)
    both = Options(SAMPLE / UNIT, "example_ehr")
    with pytest.raises(WrongUse, match="--extract names a folder"):
        snapshot.take(replace(run, options=both))
    raw = _config().model_dump()
    raw["units"][UNIT]["database"] = "other"
    with pytest.raises(ValueError, match=r"there is no \[databases\.other\]"):
        Config.model_validate(raw)


def test_rows_of_a_test_database_are_refused_wherever_they_come_from_later(sample: str, tmp_path: Path) -> None:
    snapshot.take(_run(tmp_path, sample))
    config = _config(environment="production").model_copy(update={"profile": "production"})
    with pytest.raises(DataRefused, match="TEST-08"):
        snapshot.take(_run(tmp_path, sample, config=config))
    assert snapshot.take(_run(tmp_path / "other", sample, config=config)).environment == "production"


def test_a_required_table_needs_a_query(wards: str, tiny: Path, tmp_path: Path) -> None:
    (tiny / "tiny" / "episodes.sql").unlink()
    with pytest.raises(DataRefused, match="episodes: not delivered"):
        snapshot.take(_run(tmp_path / "home", wards, sources=tiny))


# --- values as text ---------------------------------------------------------------------------------------------------

SUMMER = dt.timezone(dt.timedelta(hours=2))
TEXTS = [
    # contract column                      value of the driver                              text
    ("units.enhetNavn", 'Sørvik, "avd"', 'Sørvik, "avd"'),
    ("units.enhetNavn", "", ""),
    ("units.enhetNavn", None, None),
    ("units.reshID", 4207, "4207"),
    ("units.reshID", Decimal(4207), "4207"),
    ("conditions.tilstNr", 100, "100"),
    ("conditions.tilstNr", Decimal("1E+2"), "100"),
    ("conditions.tilstNr", 12.0, "12"),
    ("conditions.tilstNr", 12.5, "12.5"),  # no integer: the check of types says so of the row
    ("costs.total", Decimal("17425.440"), "17425.44"),
    ("costs.total", Decimal("100.00"), "100"),
    ("costs.total", Decimal("0.00"), "0"),
    ("costs.total", Decimal("-0.50"), "-0.5"),
    ("costs.total", Decimal("NaN"), "NaN"),
    ("referrals.sluttDato", dt.date(2020, 2, 29), "2020-02-29"),
    ("episodes.utDatoTid", dt.datetime(2020, 1, 1, 12, 0, 59, 999_999), "2020-01-01T12:00:59"),
    ("episodes.utDatoTid", dt.datetime(2020, 7, 1, 12, tzinfo=SUMMER), "2020-07-01T12:00:00"),
    ("episodes.utDatoTid", dt.datetime(2020, 1, 1, 12, tzinfo=SUMMER), "2020-01-01T11:00:00"),
    ("episodes.utDatoTid", "next week", "next week"),
]


@pytest.mark.parametrize(("column", "value", "text"), TEXTS)
def test_a_value_has_one_text_whatever_stands_beside_it(column: str, value: Any, text: str | None) -> None:  # noqa: ANN401
    name, _, column = column.partition(".")
    table = CONTRACT.tables[name]
    for rows in ([(value,)], [(None,), (value,)], [(None,)] * 200 + [(value,)]):
        assert as_text(rows, {column: 0}, table, "q")[column].to_list() == [None] * (len(rows) - 1) + [text]


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("episodes.utDatoTid", [dt.date(2020, 1, 1)]),
        ("referrals.sluttDato", [dt.datetime(2020, 1, 1, 0, 0)]),
        ("referrals.sluttDato", [20200101]),
        ("conditions.tilstNr", [True]),
        ("costs.total", [{"sum": 1}]),
        ("units.enhetNavn", [1.5]),
        ("units.enhetNavn", ["a", 1]),
    ],
)
def test_a_type_that_cannot_be_meant_is_refused(column: str, values: list[Any]) -> None:
    name, _, column = column.partition(".")
    table = CONTRACT.tables[name]
    with pytest.raises(DataRefused, match=f"q: column {column} is of type"):
        as_text([(value,) for value in values], {column: 0}, table, "q")


def test_columns_are_known_whatever_their_case() -> None:
    table = CONTRACT.tables["conditions"]
    folded = [name.lower() for name in reversed(table.names)]
    assert matched(folded, table, "q") == {name: folded.index(name.lower()) for name in table.names}


def test_no_two_columns_of_a_table_differ_in_case_alone() -> None:
    for table in CONTRACT:
        assert len({name.casefold() for name in table.names}) == len(table.names)


def test_fingerprint_tells_empty_from_missing(tmp_path: Path) -> None:
    digests = set()
    for values in (["", "a"], [None, "a"], ["a", ""]):
        pl.DataFrame({"x": values}, schema={"x": pl.String}).write_parquet(tmp_path / "x.parquet")
        digests.add(pulling.fingerprint(tmp_path / "x.parquet", ("x",)))
    assert len(digests) == 3
