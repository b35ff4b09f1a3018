"""The invented record system of ``sql/sources/example_ehr``, filled from an extract by the contract.

Belongs here: making its tables and the reverse of its mapping. Does not belong here: what is tested with it. Used by
tests and by benchmarks/database.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import polars as pl
import psycopg
from conftest import ROOT

from schemas.contract import load_contract

SCHEMA = ROOT / "sql" / "sources" / "example_ehr" / "schema" / "ehr.sql"
READER = ("npr_reader", "reader-made-for-tests")
SLICE = 50_000

# EHR table -> how it is filled from raw contract tables, all text. Times of the contract are Norwegian local time.
FILL: Mapping[str, str] = {
    "patient": """
SELECT "pasientNr", CASE kjonn WHEN '1' THEN 'M' WHEN '2' THEN 'F' WHEN '9' THEN 'X' END,
  nullif(fodselsar, '0')::int, fodselsvekt::int FROM raw.patients""",
    "person_number": 'SELECT "pasientNr", fid, "typeID"::int, fodselsdato::date FROM raw.identities',
    "org_unit": """
SELECT "enhetID", "orgNr", "enhetNavn", sektor, "offAvdKode", "reshID"::bigint, "isfRefusjon" = '1', "enhetLokal"
FROM raw.units""",
    "referral": """
SELECT "henvisningsperiodeID", "pasientNr", "mottaksDato"::date, "ansienDato"::date, "vurdDato"::date,
  "rettTilHelsehjelp"::int, "fristStartBehandling"::date, "tildeltDato"::date, "ventetidSluttDato"::date,
  "ventetidSluttKode"::int, "sluttDato"::date, "henvType", "henvFormal", "henvFraTjeneste", "henvTilTjeneste",
  "henvFraInstitusjonID", "henvTilInstitusjonID", fagomrade, "omsNivaHenv"::int, "debitorHenvisning",
  "nyTilstand"::int, trygdenasjon, "komNrHjem", bydel, "behandlingsstedID", "fagenhetID", "avdelingID"
FROM raw.referrals""",
    "referral_postponement": """
SELECT "henvisningsperiodeID", "utsettNr"::int, "utsettDato"::date, "utsettKode" FROM raw.postponements""",
    "referral_event": """
SELECT "henvisningsperiodeID", "tidspunktNr"::int, "typeTidspunkt", tidspunkt::timestamptz FROM raw.referral_events""",
    "encounter": """
SELECT e."episodeID", "pasientNr", "henvisningsperiodeID", "innDatoTid"::timestamptz, "utDatoTid"::timestamptz,
  omsorgsniva::int, debitor, "komNrHjem", bydel, inntilstand::int, "utTilstand"::int, "innmateHast"::int, "fraSted",
  "tilSted", "fraInstitusjonID", "tilInstitusjonID", "episodeFag", "kommTjeneste", permisjonsdogn::int,
  "behandlingsstedID", "fagenhetID", "avdelingID", "tjenesteenhetID", "kontaktType", "stedAktivitet", "polIndir",
  "polkonAktivitet"
FROM raw.episodes AS e JOIN raw.contacts AS c ON c."episodeID" = e."episodeID" """,
    "encounter_staff": """
SELECT "episodeID", "helsepersonNr"::int, "polUtforende", spesialist, rolle, "helsepersonHPR"::bigint
FROM raw.health_personnel""",
    "diagnosis": """
SELECT "episodeID", "tilstNr"::int, "kodeNr"::int, "Kodeverk", "kodeVersjon"::int,
  regexp_replace("kodeVerdi", '^([A-Z][0-9]{2})([0-9]+)$', '\\1.\\2') FROM raw.conditions""",
    "procedure": """
SELECT "episodeID", "tjenesteNr"::int, "startDatoTid"::timestamptz, "sluttDatoTid"::timestamptz, "tiltakNr"::int,
  "typeTiltak", "prosNr"::int, "tilstNr"::int, "kodeNr"::int, "Kodeverk", "kodeVersjon"::int, "kodeVerdi"
FROM raw.procedures""",
    "treatment_start": """
SELECT "behandlingsstartID", "pasientNr", "henvisningsperiodeID", "startDato"::date,
  to_jsonb(t) - '{behandlingsstartID,pasientNr,henvisningsperiodeID,startDato}'::text[] FROM raw.tsb_starts AS t""",
    "cost": """
SELECT "episodeID", "kostnadNr"::int, drg, total::numeric, "kostnadKode", kostnad::numeric FROM raw.costs""",
}


def fill(url: str, frames: Mapping[str, pl.LazyFrame]) -> None:
    """Make the tables in an empty database, fill them, and make a role that may only read.

    frames: contract table -> rows as text or typed; a table that is missing is empty.
    """
    with psycopg.connect(url) as db:
        db.execute("SET TIME ZONE 'Europe/Oslo'; CREATE SCHEMA raw")
        db.execute(SCHEMA.read_text(encoding="utf-8"))
        for table in load_contract():
            columns = ", ".join(f'"{name}" text' for name in table.names)
            db.execute(f"CREATE UNLOGGED TABLE raw.{table.name} ({columns})")
            if table.name in frames:
                _copy(db, table.name, frames[table.name])
        for name, select in FILL.items():
            db.execute(f"INSERT INTO ehr.{name} {select}")
        db.execute("DROP SCHEMA raw CASCADE")
        user, password = READER
        db.execute(
            f"DO $$ BEGIN CREATE ROLE {user} LOGIN PASSWORD '{password}'; EXCEPTION WHEN duplicate_object THEN END $$;"
            f"GRANT USAGE ON SCHEMA ehr TO {user}; GRANT SELECT ON ALL TABLES IN SCHEMA ehr TO {user}"
        )
    with psycopg.connect(url, autocommit=True) as db:
        db.execute("ANALYZE")


def _copy(db: psycopg.Connection, table: str, frame: pl.LazyFrame) -> None:
    names = frame.collect_schema().names()
    listed = ", ".join(f'"{name}"' for name in names)
    with db.cursor() as cursor, cursor.copy(f"COPY raw.{table} ({listed}) FROM STDIN (FORMAT csv)") as copy:
        for text in _texts(frame):
            copy.write(text)


def _texts(frame: pl.LazyFrame) -> Iterator[str]:
    for batch in frame.collect_batches(chunk_size=SLICE):
        yield batch.write_csv(include_header=False, datetime_format="%Y-%m-%dT%H:%M:%S")
