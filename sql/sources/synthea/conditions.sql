-- One row per raw condition, numbered within its encounter in the order of the file; one of no encounter stands alone.
-- Kodeverk is the system as delivered: SNOMED-CT is no letter of list 8410, so the check of codes sets those rows aside.
-- No version is told, so the year of the condition stands for it, as the yearly published systems have it.
SELECT
  _row AS _source_row,
  ENCOUNTER AS episodeID,
  row_number() OVER (PARTITION BY ENCOUNTER, CASE WHEN ENCOUNTER IS NULL THEN _row END ORDER BY _row) AS tilstNr,
  1 AS kodeNr,
  SYSTEM AS Kodeverk,
  year(try_cast(START AS TIMESTAMPTZ)) AS kodeVersjon,
  CODE AS kodeVerdi
FROM raw.conditions
