-- One row per raw encounter.
-- Times: instants with an offset become Norwegian local time (the session's zone), cut to the second. A text that is no time
-- goes on as it is, to the check of types; so does a class or status we do not know, to the check of codes.
-- Home: convention country -> 9900 with debitor 11 (acute) or 30; other country -> 9000 with debitor 12; unknown, or a place
-- in Norway, of which the extract has no municipality -> 9999 with debitor 99 or 1.
WITH known AS (
  SELECT
    e.*,
    try_cast(e.START AS TIMESTAMPTZ) AS began,
    try_cast(e.STOP AS TIMESTAMPTZ) AS ended,
    try_cast(p.DEATHDATE AS TIMESTAMPTZ) AS died,
    p.COUNTRY AS country,
    -- EEA, Switzerland and the United Kingdom.
    p.COUNTRY IN ('AT', 'BE', 'BG', 'CH', 'CY', 'CZ', 'DE', 'DK', 'EE', 'ES', 'FI', 'FR', 'GB', 'GR', 'HR', 'HU', 'IE', 'IS',
                  'IT', 'LI', 'LT', 'LU', 'LV', 'MT', 'NL', 'PL', 'PT', 'RO', 'SE', 'SI', 'SK') AS convention,
    e.ENCOUNTERCLASS = 'EMER' AS acute
  FROM raw.encounters AS e
  -- A patient delivered twice must not double the encounters.
  LEFT JOIN (SELECT DISTINCT ON (Id) * FROM raw.patients ORDER BY Id, _row) AS p ON p.Id = e.PATIENT
)
SELECT
  _row AS _source_row,
  Id AS episodeID,
  PATIENT AS pasientNr,
  coalesce(strftime(began, '%Y-%m-%dT%H:%M:%S'), START) AS innDatoTid,
  coalesce(strftime(ended, '%Y-%m-%dT%H:%M:%S'), STOP) AS utDatoTid, -- empty while it lasts
  CASE
    WHEN STATUS NOT IN ('finished', 'in-progress') THEN STATUS -- planned, cancelled, entered-in-error: no care was given
    WHEN ENCOUNTERCLASS = 'IMP' THEN '1'
    WHEN ENCOUNTERCLASS IN ('AMB', 'EMER', 'HH', 'VR') THEN '3'
    ELSE ENCOUNTERCLASS
  END AS omsorgsniva,
  CASE
    WHEN country = 'NO' THEN '1'
    WHEN NOT convention THEN '12'
    WHEN convention AND acute THEN '11'
    WHEN convention THEN '30'
    ELSE '99'
  END AS debitor,
  CASE
    WHEN country = 'NO' THEN '9999'
    WHEN convention THEN '9900'
    WHEN NOT convention THEN '9000'
    ELSE '9999'
  END AS komNrHjem,
  CASE WHEN died < began THEN '2' ELSE '1' END AS inntilstand,
  CASE WHEN STOP IS NULL THEN NULL WHEN died <= greatest(began, ended) THEN '2' ELSE '1' END AS utTilstand,
  CASE WHEN acute THEN '1' ELSE '4' END AS innmateHast,
  ORGANIZATION AS behandlingsstedID,
  ORGANIZATION AS fagenhetID,
  ORGANIZATION AS avdelingID
FROM known
