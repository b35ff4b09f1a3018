-- One row per raw encounter that names its provider. Synthea tells no profession: 9, annet helsepersonell (list 8401).
SELECT
  _row AS _source_row,
  Id AS episodeID,
  1 AS helsepersonNr,
  '9' AS polUtforende
FROM raw.encounters
WHERE PROVIDER IS NOT NULL
