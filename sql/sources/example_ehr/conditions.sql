SELECT
  d.encounter_no AS episodeID,
  d.condition_no AS tilstNr,
  d.code_no AS kodeNr,
  d.code_system AS Kodeverk,
  d.code_year AS kodeVersjon,
  replace(d.code, '.', '') AS kodeVerdi
FROM ehr.diagnosis AS d
JOIN ehr.encounter AS e ON e.encounter_no = d.encounter_no
WHERE e.ended IS NULL OR e.ended >= date_trunc('year', :period_from) - interval '1 year'
