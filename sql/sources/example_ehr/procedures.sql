SELECT
  p.encounter_no AS episodeID,
  p.service_no AS tjenesteNr,
  p.started AS startDatoTid,
  p.ended AS sluttDatoTid,
  p.measure_no AS tiltakNr,
  p.measure_kind AS typeTiltak,
  p.procedure_no AS prosNr,
  p.condition_no AS tilstNr,
  p.code_no AS kodeNr,
  p.code_system AS Kodeverk,
  p.code_year AS kodeVersjon,
  replace(p.code, '.', '') AS kodeVerdi
FROM ehr.procedure AS p
JOIN ehr.encounter AS e ON e.encounter_no = p.encounter_no
WHERE e.ended IS NULL OR e.ended >= date_trunc('year', :period_from) - interval '1 year'
