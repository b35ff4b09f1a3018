-- One row per raw procedure: each is a service of its own within its encounter, in the order of the file. Times and codes as
-- in episodes.sql and conditions.sql.
SELECT
  _row AS _source_row,
  ENCOUNTER AS episodeID,
  row_number() OVER (PARTITION BY ENCOUNTER, CASE WHEN ENCOUNTER IS NULL THEN _row END ORDER BY _row) AS tjenesteNr,
  coalesce(strftime(try_cast(START AS TIMESTAMPTZ), '%Y-%m-%dT%H:%M:%S'), START) AS startDatoTid,
  coalesce(strftime(try_cast(STOP AS TIMESTAMPTZ), '%Y-%m-%dT%H:%M:%S'), STOP) AS sluttDatoTid,
  1 AS tiltakNr,
  '1' AS typeTiltak, -- medical and surgical; Synthea does not tell imaging apart
  1 AS prosNr,
  1 AS kodeNr,
  SYSTEM AS Kodeverk,
  year(try_cast(START AS TIMESTAMPTZ)) AS kodeVersjon,
  CODE AS kodeVerdi
FROM raw.procedures
