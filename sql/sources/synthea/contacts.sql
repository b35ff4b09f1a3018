-- One row per raw encounter. Codes are the SNOMED CT codes by which Synthea names the kind of encounter.
-- Telephone and video are kinds of contact of their own from 2021; before that they were indirect contacts with polIndir.
WITH known AS (
  SELECT
    _row,
    Id,
    ENCOUNTERCLASS,
    CODE,
    ENCOUNTERCLASS = 'VR' OR CODE IN ('185317003', '448337001') AS remote,
    CODE = '185317003' AS telephone,
    year(try_cast(START AS TIMESTAMPTZ)) < 2021 AS early
  FROM raw.encounters
)
SELECT
  _row AS _source_row,
  Id AS episodeID,
  CASE
    WHEN remote AND early THEN '5'
    WHEN remote AND telephone THEN '7'
    WHEN remote THEN '6'
    -- General, eye and first allergy examination.
    WHEN CODE IN ('162673000', '36228007', '170837001') THEN '1'
    -- Check up and follow-up of whatever kind.
    WHEN CODE IN ('185349003', '185389009', '390906007', '394701000', '439740005', '281036007', '170838006') THEN '3'
    ELSE '2'
  END AS kontaktType,
  CASE
    WHEN remote THEN '3' -- where the physician is
    WHEN ENCOUNTERCLASS = 'HH' THEN '4'
    WHEN CODE = '210098006' THEN '5' -- at a rest home
    ELSE '1'
  END AS stedAktivitet,
  CASE WHEN remote AND early AND telephone THEN '12' WHEN remote AND early THEN '8' END AS polIndir
FROM known
